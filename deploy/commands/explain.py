"""`stockledger explain`: the movements behind a stock figure."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger
from ledger.aliases import LOCATION, SKU, fold
from ledger.store import tenant_transaction
from projections import stock_queries
from projections.aliases import find_aliases

_LIMIT_MAX: Final = 10_000
_WIDE_COLUMNS: Final = 110


@click.command()
@click.argument("sku")
@click.argument("location")
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not said.")
@click.option(
    "--limit",
    type=click.IntRange(1, _LIMIT_MAX),
    default=20,
    show_default=True,
    help="How many of the newest events to show.",
)
def command(sku: str, location: str, tenant: str | None, limit: int) -> None:
    """Show the events behind what is on hand of SKU at LOCATION (its code), newest last."""
    settings = load_settings()
    try:
        level, rows = run(settings, _read(settings, sku, location, tenant, limit))
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    _show(Console(), sku, location, level, rows, limit)


async def _read(
    settings: Settings, sku: str, location: str, tenant: str | None, limit: int
) -> tuple[Any, list[Any]]:
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
            level = await stock_queries.level_of(connection, tenant_id, product_id, location_id)
            rows = await stock_queries.explain(
                connection, tenant_id, product_id, location_id, limit=limit + 1
            )
            return level, rows


def _show(
    console: Console, sku: str, location: str, level: Any, newest_first: list[Any], limit: int
) -> None:
    if level is None:
        console.print(f"Nothing has ever happened to {sku} at {location}.")
        return
    console.print(f"{level['sku']} at {level['location_code']}", markup=False, style="bold")
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
