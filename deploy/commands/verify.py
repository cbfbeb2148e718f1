"""`stockledger verify`: proves ledgers, and says where one is not as it should be."""

import sys
from collections.abc import Sequence

import rich_click as click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from deploy.commands._progress import event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger
from projections.verify import Verdict, verify


@click.command()
@click.option("--tenant", metavar="SLUG", help="Whose ledger; everybody's if not said.")
def command(tenant: str | None) -> None:
    """Prove that log, tree, read models and stock figures agree. The service may go on.

    Ends with 1 when anything is not as it should be.
    """
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
