"""`stockledger explain`: the events behind a stock figure, or behind any figure of a read model."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.problems import Problem
from deploy.commands._explaining import (
    figure_of,
    show_row,
    show_steps,
    steps_json,
    title_of,
    unsealed,
)
from deploy.commands._moments import POINT, TIME, moment_at
from deploy.commands._progress import event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger
from ledger.aliases import LOCATION, SKU, fold
from ledger.store import tenant_transaction
from projections import explaining
from projections.aliases import find_aliases
from projections.explaining_fold import Explanation
from projections.figures import Figure
from projections.past import Moment
from projections.stock_explained import ItemExplained, explain_item

_LIMIT_MAX: Final = 10_000
_WIDE_COLUMNS: Final = 110


@click.command()
@click.argument("what", metavar="SKU|TABLE")
@click.argument("rest", metavar="[LOCATION|COLUMN=VALUE...]", nargs=-1)
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not said.")
@click.option("--as-of", type=TIME, help="Of what had happened in the world by this time.")
@click.option("--known-at", type=POINT, help="Of what had been recorded by this position or time.")
@click.option(
    "--before", type=click.IntRange(min=1), help="Of a TABLE: only steps before this position."
)
@click.option(
    "--limit",
    type=click.IntRange(1, _LIMIT_MAX),
    default=20,
    show_default=True,
    help="How many of the newest events to show.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Of a TABLE: how it is printed.",
)
@click.pass_obj
def command(
    settings: Settings,
    what: str,
    rest: tuple[str, ...],
    tenant: str | None,
    as_of: datetime | None,
    known_at: int | datetime | None,
    before: int | None,
    limit: int,
    form: str,
) -> None:
    """Show the events that made a figure, newest last, with running values.

    SKU LOCATION: what is on hand of a SKU at a location (its code), movement by movement.

    TABLE COLUMN=VALUE…: a row of any read model, named by its key, such as `stock_level sku=MUG
    location=MAIN` or `sales_order order_id=7`; with a part of the key, the sum of its rows:
    `cost_day sku=MUG day_from=2026-05-01 day_to=2026-05-31` is the cost of goods sold of a month.
    The tables are in GET /api/ledger/read-models and in docs/reference/tables.md.
    """
    console = Console(highlight=False)
    try:
        if len(rest) == 1 and "=" not in rest[0]:
            moment, item = run(
                settings, _read_item(settings, what, rest[0], tenant, known_at, as_of, limit)
            )
            _show(console, what, rest[0], moment, item, limit)
            return
        figure, moment, made = run(
            settings, _read(settings, what, rest, tenant, known_at, as_of, before, limit)
        )
    except (LookupError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except Problem as problem:
        raise click.ClickException(problem.detail) from problem
    if form == "json":
        shown = {
            "table": figure.model.table,
            "known_position": moment.position,
            "as_of": moment.as_of,
            "figure": made.figure,
            "brought_forward": made.brought_forward,
            "steps": steps_json(made),
            "next_before": made.before,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    console.print(f"{title_of(figure)}{_at(moment)}", markup=False, style="bold")
    if not made.steps and made.before is None:
        console.print("Nothing has ever changed it.")
        return
    show_steps(console, figure, made)
    if made.before is not None:
        console.print(f"There is more before that: --limit, or --before {made.before}.")
    if before is None:
        show_row(console, made.figure)


def _at(moment: Moment) -> str:
    as_of = "" if moment.as_of is None else f", as of {moment.as_of:%Y-%m-%d %H:%M:%S}Z"
    return f": known at position {moment.position:,}{as_of}"


async def _read(
    settings: Settings,
    table: str,
    pairs: tuple[str, ...],
    tenant: str | None,
    known_at: int | datetime | None,
    as_of: datetime | None,
    before: int | None,
    limit: int,
) -> tuple[Figure, Moment, Explanation]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            figure = await figure_of(connection, tenant_id, table, pairs)
            moment = await moment_at(connection, tenant_id, known_at, as_of)
            with event_progress(Console(stderr=True), transient=True) as progress:
                task = progress.add_task("events", total=None)
                made = await explaining.explain(
                    connection,
                    tenant_id,
                    figure,
                    moment,
                    before=before,
                    limit=limit,
                    folded_max=None,
                    progress=lambda done, of: progress.update(task, completed=done, total=of),
                )
            return figure, moment, await unsealed(house, tenant_id, made)


# --- the quick form: a SKU at a location ----------------------------------------------------


async def _read_item(
    settings: Settings,
    sku: str,
    location: str,
    tenant: str | None,
    known_at: int | datetime | None,
    as_of: datetime | None,
    limit: int,
) -> tuple[Moment | None, ItemExplained]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            wanted = [(SKU, fold(sku)), (LOCATION, fold(location))]
            ids = await find_aliases(connection, tenant_id, wanted)
            for alias, said in zip(wanted, (sku, location), strict=True):
                if alias not in ids:
                    raise LookupError(f"there is no {alias[0]} {said!r}; check the spelling")
            product_id, location_id = ids[wanted[0]], ids[wanted[1]]
            moment = None
            if known_at is not None or as_of is not None:
                moment = await moment_at(connection, tenant_id, known_at, as_of)
            return moment, await explain_item(
                connection, tenant_id, product_id, location_id, moment, limit=limit + 1
            )


def _show(
    console: Console,
    sku: str,
    location: str,
    moment: Moment | None,
    item: ItemExplained,
    limit: int,
) -> None:
    level, newest_first = item
    if level is None:
        by_then = "" if moment is None else " by then"
        console.print(f"Nothing has ever happened to {sku} at {location}{by_then}.", markup=False)
        return
    console.print(
        f"{level['sku']} at {level['location_code']}{'' if moment is None else _at(moment)}",
        markup=False,
        style="bold",
    )
    is_wide = console.width >= _WIDE_COLUMNS
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("position", justify="right", no_wrap=True)
    grid.add_column("effective (UTC)", no_wrap=True)
    grid.add_column("event", no_wrap=True)
    grid.add_column("quantity", justify="right", no_wrap=True)
    if is_wide:
        grid.add_column("from → to", no_wrap=True)
    grid.add_column("on hand", justify="right", style="bold", no_wrap=True)
    grid.add_column("remarks", overflow="fold")
    for row in reversed(newest_first[:limit]):
        moved = f"{row['from_account']} → {row['to_account']}" if row["from_account"] else ""
        grid.add_row(
            f"{row['position']:,}",
            _instant(row["effective_at"]),
            row["type"],
            _number(row["quantity"]),
            *([moved] if is_wide else []),
            _number(row["on_hand_after"]),
            Text(_remarks(row)),
        )
    console.print(grid)
    if len(newest_first) > limit:
        console.print("There is more before that: --limit.")
    console.print(
        f"On hand {_number(level['on_hand'])}, reserved {_number(level['reserved'])},"
        f" available {_number(level['available'])}, in quarantine"
        f" {_number(level['quarantine'])}, on the way here {_number(level['in_transit'])}."
    )


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _number(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,f}"


def _remarks(row: Any) -> str:
    data = msgspec.json.decode(row["data"])
    parts = [data.get("reference"), data.get("reason"), data.get("notes")]
    if row["reverses"]:
        parts.append(f"reverses {row['reverses']:,}")
    if row["reversed_by"]:
        parts.append(f"reversed by {row['reversed_by']:,}")
    return "; ".join(part for part in parts if part)
