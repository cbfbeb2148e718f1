"""`stockledger rebuild`: makes read models anew from the log, beside the live ones."""

import sys

import rich_click as click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.commands._progress import event_progress
from deploy.running import collect_seldom, keep_freed_memory, run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger
from projections.rebuild import RebuildFailed, Report, rebuild


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Rebuild every projection.")
@click.option(
    "--replace-different",
    is_flag=True,
    help="Put the rebuilt tables in place even where they differ from the live ones.",
)
def command(names: tuple[str, ...], everything: bool, replace_different: bool) -> None:
    """Rebuild the projections NAME from the log and swap them in. The service may go on.

    The swap needs live and rebuilt tables to agree. Where they do not, the live ones stay as they
    are and the command ends with 1. With --replace-different the log is folded once more, in
    another way, and the rebuilt tables are put in place if that agrees with them.
    """
    if everything == bool(names):
        raise click.UsageError("name the projections to rebuild, or give --all")
    settings = load_settings()
    console = Console()
    try:
        with event_progress(console) as progress:
            report = run(settings, _rebuild(settings, names, replace_different, progress))
    except (LookupError, RebuildFailed) as error:
        raise click.ClickException(str(error)) from error
    console.print(_table(report))
    rate = report.events / report.seconds if report.seconds else 0
    console.print(
        f"{report.events:,} events in {report.seconds:.1f} s ({rate:,.0f}/s); "
        + (
            "the rebuilt tables are in place."
            if report.swapped
            else "the live tables are as they were."
        )
    )
    if not report.swapped:
        console.print(
            "[bold red]Some tables are not as the log says.[/] Look into it; to put the rebuilt "
            "ones in their place, run this again with --replace-different."
        )
        sys.exit(1)
    if report.differing:
        console.print("Some tables were not as the log says; they are now.")


async def _rebuild(
    settings: Settings, names: tuple[str, ...], replace_different: bool, progress: Progress
) -> Report:
    async with open_ledger(settings) as house:
        collect_seldom()
        keep_freed_memory()
        wanted = names or tuple(projection.name for projection in house.engine.projections)
        task = progress.add_task("folding", total=None)
        async with house.admin() as reader, house.admin() as writer:
            return await rebuild(
                reader,
                writer,
                house.engine,
                wanted,
                lambda done, total: progress.update(task, completed=done, total=total),
                replace_different=replace_different,
                on_step=lambda step: progress.update(task, description=step),
            )


def _table(report: Report) -> Table:
    table = Table()
    for heading in ("Tenant", "Table", "Compared at", "Rows before", "Rows rebuilt", ""):
        justify = "left" if heading in ("Table", "") else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    for row in report.tables:
        table.add_row(
            str(row.tenant_id),
            row.table,
            f"{row.position:,}",
            f"{row.rows_live:,}",
            f"{row.rows_rebuilt:,}",
            "[green]equal[/]" if row.equal else "[bold red]DIFFERED[/]",
        )
    return table
