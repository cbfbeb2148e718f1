"""`stockledger verify`: proves ledgers, and says where one is not as it should be.

With a file it proves that, against signed checkpoints: an export of a log, or one event's receipt.
It then needs neither database nor service.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from deploy.commands._progress import byte_progress, event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger
from ledger.notes import Checkpoint, VerifierKey
from ledger.offline import (
    PARQUET_MARK,
    RECEIPT_MARK,
    Checked,
    Finding,
    check_log,
    check_receipt,
    read_checkpoints,
)
from projections.verify import Verdict, verify

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--tenant", metavar="SLUG", help="Whose ledger; everybody's if not said.")
@click.option(
    "--checkpoint",
    "notes",
    type=_FILE,
    help="For an export: the signed checkpoints, a note or a line of JSON each; those that were "
    "exported with it (FILE.checkpoints, FOLDER/_checkpoints) if not said.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="For a file: a verifier key that you trust, <name>+<id>+<base64>; may be repeated.",
)
@click.option("--tenant-id", type=int, help="For an export without a header: the tenant's number.")
def command(
    file: Path | None,
    tenant: str | None,
    notes: Path | None,
    keys: tuple[str, ...],
    tenant_id: int | None,
) -> None:
    """Prove that log, tree, read models and stock figures agree. The service may go on.

    With FILE, an export of a log (lines of JSON; a folder of Parquet, or one such file) or an
    event's receipt, prove that against signed checkpoints, with no database and no service: every
    edit, insertion, deletion, reorder, and truncation is found, and told where.

    Ends with 1 when anything is not as it should be.
    """
    if file is not None:
        _verify_file(file, notes, keys, tenant_id)
        return
    settings = load_settings()
    console = Console()
    try:
        with event_progress(console) as progress:
            verdicts = run(settings, _verify(settings, tenant, progress))
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    for verdict in verdicts:
        console.print(_table(verdict))
    if not all(verdict.ok for verdict in verdicts):
        console.print("[bold red]Not everything is as it should be.[/]")
        sys.exit(1)
    console.print("[bold green]Everything is as it should be.[/]")


def _verify_file(
    file: Path, notes: Path | None, keys: Sequence[str], tenant_id: int | None
) -> None:
    if not keys:
        raise click.UsageError(
            "a file proves nothing without a key: name those that you trust with --key "
            "(`stockledger signing-keys list` where the service runs shows them)"
        )
    console = Console(highlight=False, soft_wrap=True)
    try:
        trusted = [VerifierKey.parse(key) for key in keys]
        begin = b"" if file.is_dir() else _beginning(file)
        if begin.startswith(RECEIPT_MARK):
            event = check_receipt(file.read_bytes(), trusted)
            console.print(
                f"[bold green]The event at position {event.position:,}, {event.type}, is in the "
                f"log that was signed, as it is in this file.[/]"
            )
            return
        checkpoints = read_checkpoints(_notes_of(file, notes), trusted)
        if file.is_dir() or begin.startswith(PARQUET_MARK):
            checked = _check_parquet(console, file, checkpoints, tenant_id)
        else:
            checked = _check_lines(console, file, checkpoints, tenant_id)
    except (ValueError, msgspec.MsgspecError) as fault:
        _wrong(console, [str(fault)])
    if not checked.ok:
        _wrong(console, [_told(finding) for finding in checked.findings])
    console.print(
        f"[bold green]{checked.events:,} events are as they were signed by "
        f"{checked.checkpoints:,} checkpoints.[/]"
    )
    behind = checked.events - checked.signed
    if behind:
        console.print(f"[yellow]The last {behind:,} are behind the newest of them: unsigned.[/]")


def _beginning(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(max(len(RECEIPT_MARK), len(PARQUET_MARK)))


def _notes_of(file: Path, notes: Path | None) -> str:
    """Return the checkpoints that were named, or those that were exported with a file."""
    places = [file.with_name(f"{file.name}.checkpoints")]
    if file.is_dir():
        places.insert(0, file / "_checkpoints")
    else:
        places.append(file.with_name("_checkpoints"))
    beside = notes or next((place for place in places if place.exists()), None)
    if beside is None:
        raise click.UsageError(f"there is no {places[0]}; name the checkpoints with --checkpoint")
    return beside.read_text(encoding="utf-8")


def _check_lines(
    console: Console, file: Path, checkpoints: Sequence[Checkpoint], tenant_id: int | None
) -> Checked:
    size = file.stat().st_size
    with file.open("rb") as lines, byte_progress(console) as progress:
        task = progress.add_task(file.name, total=size)
        checked = check_log(
            lines,
            checkpoints,
            tenant_id,
            lambda _: progress.update(task, completed=lines.tell()),
        )
        progress.update(task, completed=size)
    return checked


def _check_parquet(
    console: Console, path: Path, checkpoints: Sequence[Checkpoint], tenant_id: int | None
) -> Checked:
    # It takes a moment to load, and whoever has lines does not need it.
    from ledger.offline_parquet import check_parquet, describe, files_of

    files = files_of(path)
    with event_progress(console) as progress:
        task = progress.add_task(path.name, total=sum(describe(each).rows for each in files))
        return check_parquet(
            files, checkpoints, tenant_id, lambda done: progress.update(task, completed=done)
        )


def _told(finding: Finding) -> str:
    if finding.line is None:
        where = finding.file
    else:
        where = f"{finding.file}, row " if finding.file else "line "
        where += f"{finding.line:,}"
    return f"{where}: {finding.fault}" if where else finding.fault


def _wrong(console: Console, faults: Sequence[str]) -> NoReturn:
    for fault in faults:
        console.print(Text(fault))
    console.print("[bold red]This is not what was signed.[/]")
    sys.exit(1)


async def _verify(settings: Settings, slug: str | None, progress: Progress) -> list[Verdict]:
    verdicts: list[Verdict] = []
    async with open_ledger(settings) as house:
        if slug is None:
            async with house.pool.acquire() as connection:
                rows = await connection.fetch("SELECT ledger.tenant_ids()")
            tenants = [row[0] for row in rows]
        else:
            tenants = [await tenant_named(house.pool, slug)]
        for tenant_id in tenants:
            task = progress.add_task(f"tenant {tenant_id}", total=None)

            def show(done: int, total: int, task: TaskID = task) -> None:
                progress.update(task, completed=done, total=total)

            async with house.admin() as fresh:
                verdicts.append(await verify(house.pool, fresh, house.engine, tenant_id, show))
    return verdicts


def _table(verdict: Verdict) -> Table:
    table = Table(
        title=(
            f"Tenant {verdict.tenant_id} at position {verdict.position:,} ({verdict.seconds:.1f} s)"
        ),
        title_justify="left",
    )
    table.add_column("Check")
    table.add_column("Checked", justify="right")
    table.add_column("")
    table.add_column("Faults", overflow="fold")
    for check in verdict.checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]WRONG[/]"
        table.add_row(check.name, f"{check.checked:,}", mark, _lines(check.faults))
    return table


def _lines(faults: Sequence[str]) -> Text:
    return Text("\n".join(faults))
