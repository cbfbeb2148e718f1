"""`stockledger export`: the log as a file, proven offline; and the analysts' tables, as files."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import asyncpg
import rich_click as click
from rich.console import Console
from rich.progress import TaskID

from deploy.commands._progress import event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger
from ledger.yielding import EXPORT_NICENESS, yield_to_others

if TYPE_CHECKING:
    # It takes a moment to load: only where it is needed.
    from deploy.parquet_tables import Manifest

Format = Literal["ndjson", "parquet"]


@click.group()
def command() -> None:
    """Write the log, or the analysts' tables, to files.

    It takes what the service on the same machine leaves of the processors.
    """
    yield_to_others(os.getpid(), EXPORT_NICENESS)


@command.command("log")
@click.option("--tenant", metavar="SLUG", help="Whose log; the first tenant's if not said.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "parquet"]),
    default="ndjson",
    show_default=True,
    help="Lines of JSON in one file, or a folder of Parquet files.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write, or with parquet the folder; one that an earlier run began is gone on "
    "with.",
)
@click.option(
    "--events-per-file",
    type=click.IntRange(1_000, 10_000_000),
    default=1_000_000,
    show_default=True,
    help="With parquet: how many events a file holds; the last one holds what is left.",
)
@click.pass_obj
def export_log(
    settings: Settings, tenant: str | None, form: Format, out: Path, events_per_file: int
) -> None:
    """Write every event, in the order of the log, in its exact bytes.

    As lines, an event a line of JSON, with OUT.checkpoints beside it, the signed checkpoints so
    far, and OUT.schema.json, which says what the events' data hold. As Parquet, an event a row,
    with OUT/_checkpoints and OUT/_schema.json. Prove all of it with `stockledger verify OUT --key
    KEY`. Run again, it adds what is new.
    """
    from deploy.parquet_log import NoExport

    console = Console(highlight=False, soft_wrap=True)
    try:
        with event_progress(console) as progress:
            task = progress.add_task(out.name, total=None)

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            before, events, notes = run(
                settings, _export_log(settings, tenant, form, out, events_per_file, show)
            )
    except (LookupError, NoExport) as error:
        raise click.ClickException(str(error)) from error
    console.print(f"{events - before:,} events written; {out} holds {events:,}.")
    beside = out / "_checkpoints" if form == "parquet" else f"{out}.checkpoints"
    console.print(f"{notes:,} checkpoints in {beside}.")


async def _export_log(
    settings: Settings,
    slug: str | None,
    form: Format,
    out: Path,
    events_per_file: int,
    show: Callable[[int, int], None],
) -> tuple[int, int, int]:
    """Return how many events were there before, how many are now, and how many checkpoints."""
    from deploy import ndjson_log, parquet_log

    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, slug)
        if form == "ndjson":
            return await ndjson_log.export_log(house.exports, tenant_id, out, house.now(), show)
        return await parquet_log.export_log(
            house.exports, tenant_id, out, show, events_per_file=events_per_file
        )


@command.command("tables")
@click.option("--tenant", metavar="SLUG", help="Whose tables; the first tenant's if not said.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write; one that an earlier run wrote is brought to the present.",
)
@click.option(
    "--tables",
    "names",
    metavar="NAME,NAME",
    help="Which tables; all there are if not said, and always those that the folder has.",
)
@click.option(
    "--since",
    type=click.IntRange(min=0),
    help="For a new folder: of event and movement only what came behind this position.",
)
@click.pass_obj
def export_tables(
    settings: Settings, tenant: str | None, out: Path, names: str | None, since: int | None
) -> None:
    """Write the views of the schema `analysis` to Parquet, all of them as of one position.

    Each table is a folder below OUT, and OUT/manifest.json says which files hold what, at which
    position. Run again, it adds to event and movement what is new, replaces all other tables, and
    then the manifest: who goes by it never sees two positions.
    """
    from deploy.parquet_log import NoExport

    console = Console(highlight=False, soft_wrap=True)
    wanted = [name.strip() for name in (names or "").split(",") if name.strip()]
    try:
        with event_progress(console) as progress:
            tasks: dict[str, TaskID] = {}

            def show(name: str, done: int) -> None:
                if name not in tasks:
                    tasks[name] = progress.add_task(name, total=None)
                progress.update(tasks[name], completed=done)

            manifest, written = run(
                settings, _export_tables(settings, tenant, out, wanted, since, show)
            )
            for name, task in tasks.items():
                progress.update(task, total=written[name], completed=written[name])
    except (LookupError, NoExport) as error:
        raise click.ClickException(str(error)) from error
    except (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedFunctionError) as error:
        raise click.ClickException(
            f"this database has no schema for analysts ({error}); run: stockledger migrate"
        ) from error
    for name, table in manifest.tables.items():
        console.print(f"{name}: {written[name]:,} rows written, {table.rows:,} there.")
    console.print(f"All of it as of position {manifest.position:,}: see {out / 'manifest.json'}.")


async def _export_tables(
    settings: Settings,
    slug: str | None,
    out: Path,
    names: Sequence[str],
    since: int | None,
    show: Callable[[str, int], None],
) -> "tuple[Manifest, Mapping[str, int]]":
    from deploy.parquet_tables import export_tables

    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, slug)
        return await export_tables(house.exports, tenant_id, out, show, names=names, since=since)
