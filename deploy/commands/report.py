"""`stockledger report`: stock, demand, value and cost of goods sold over time, as a chart."""

import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import Final, get_args

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.charts import By, Chart, ChartKind, Unfit, Wanted, chart_of
from deploy.commands._tenants import tenant_named
from deploy.plots import FORMATS, drawn, write_picture
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger

_DAY: Final = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@click.argument("kind", type=click.Choice(get_args(ChartKind)))
@click.option("--sku", help="Of this product only.")
@click.option("--location", metavar="CODE", help="At this location only; not of demand.")
@click.option("--from", "first", type=_DAY, help="First business day; a year before the last.")
@click.option("--to", "last", type=_DAY, help="Last business day; today if not said.")
@click.option("--by", type=click.Choice(get_args(By)), help="How long each period is.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture too: a file whose name ends in .svg or .png.",
)
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not said.")
def command(
    kind: ChartKind,
    sku: str | None,
    location: str | None,
    first: datetime | None,
    last: datetime | None,
    by: By | None,
    out: Path | None,
    tenant: str | None,
) -> None:
    """Draw stock on hand, demand, the value of stock or the cost of goods sold over time."""
    if out is not None and out.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"ends in neither {' nor '.join(FORMATS)}", param_hint="--out")
    wanted = Wanted(
        kind,
        sku,
        location,
        None if first is None else first.date(),
        None if last is None else last.date(),
        by,
    )
    settings = load_settings()
    # It tells of each font that it finds.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        chart = run(settings, _read(settings, tenant, wanted))
    except (LookupError, Unfit) as error:
        raise click.ClickException(str(error)) from error
    console = Console()
    # Not by way of the console: it would take the plot's own colours apart.
    sys.stdout.write(drawn(chart, console.width, colour=console.is_terminal) + "\n")
    if out is not None:
        write_picture(chart, out)
        sys.stdout.write(f"Written to {out}.\n")


async def _read(settings: Settings, tenant: str | None, wanted: Wanted) -> Chart:
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        with progress:
            task = progress.add_task("", total=None, visible=False)

            def show(what: str, done: int, total: int) -> None:
                progress.update(task, description=what, completed=done, total=total, visible=True)

            return await chart_of(house, tenant_id, wanted, show)
