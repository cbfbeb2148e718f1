"""One SKU's stock, now or in the past: the shortest way to a figure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from api.context import Call
from api.endpoint import Routes, query
from api.ledger_events import find_item
from api.moments import MOMENT_PARAMETERS
from api.past import answer_at
from api.problems import Problem
from api.query import MIN_POSITION, Parameter
from api.reads import Reading, path_text, trimmed
from api.reply import Reply
from api.stock_at import StockReading, reading_stock
from api.tabular import Table
from ledger.aliases import SKU, fold
from projections import stock_queries
from projections.aliases import find_aliases
from projections.stock_history_queries import WhichItems
from projections.stock_queries import LevelFilter
from schemas.http_inventory import StockLevelReply

routes = Routes("Inventory")

LOCATIONS_MAX: Final = 1000
_ZERO: Final = Decimal(0)
_FIGURES: Final = {
    "on_hand": "on_hand",
    "available": "available",
    "reserved": "reserved",
    "quarantined": "quarantine",
    "in_transit": "in_transit",
}
"""What the reply calls the figures of a level, and what a level does."""

_PARAMETERS = (
    Parameter("location", "string", "At this location's code; in all without", maximum=50),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/stock/{sku:path}",
    "Read one SKU's stock",
    parameters=_PARAMETERS,
    replies={200: StockLevelReply},
    table=Table(),
    problems=("product_not_found", "location_not_found", "not_yet"),
)
async def get_stock(call: Call) -> Reply:
    """What there is of a SKU at a location, or in all of them. With ``as_of`` and ``known_at``,
    what there was at a time in the world, as it was known at a time of the log: it was reserved
    unless the reservation had expired by then. The SKU and the code are those of today."""
    sku = path_text(call, "/api/stock/")
    values = query(call, _PARAMETERS)
    location = values["location"]
    version: int | None = None
    async with reading_stock(call, values) as stock:
        read = stock.read
        location_id = None
        if location is not None:
            product_id, location_id = await find_item(read, sku, location)
        else:
            product_id = await _product(read, sku)
        if stock.moment is not None:
            figures = await _past(stock, product_id, location_id)
        else:
            figures, version = await _present(read, product_id, location_id)
    reply = StockLevelReply(
        sku=sku,
        product_id=product_id,
        location=location,
        location_id=location_id,
        **figures,
        as_of=values["as_of"],
        known_at=values["known_at"],
        position=read.position,
        version=version,
    )
    return answer_at(read, reply, [] if version is None else [(b"etag", b'"%d"' % version)])


async def _present(
    read: Reading, product_id: int, location_id: int | None
) -> tuple[dict[str, Any], int | None]:
    """Return the figures, and of one location the version of its stream."""
    if location_id is not None:
        row = await stock_queries.level_of(read.connection, read.tenant_id, product_id, location_id)
        rows = [] if row is None else [row]
    else:
        rows = await stock_queries.list_levels(
            read.connection,
            read.tenant_id,
            LevelFilter(product_id=product_id),
            limit=LOCATIONS_MAX,
        )
    figures = {name: _sum(row[figure] for row in rows) for name, figure in _FIGURES.items()}
    return figures, rows[0]["version"] if location_id is not None and rows else None


async def _past(stock: StockReading, product_id: int, location_id: int | None) -> dict[str, Any]:
    history = await stock.history(product_id)
    if location_id is not None:
        items = [(product_id, location_id)]
    else:
        items = await history.items(WhichItems(product_id=product_id), limit=LOCATIONS_MAX)
    levels = await history.levels(items)
    return {
        name: trimmed(_sum(getattr(level, figure) for level in levels.values()))
        for name, figure in _FIGURES.items()
    }


async def _product(read: Reading, sku: str) -> int:
    key = (SKU, fold(sku))
    found = await find_aliases(read.connection, read.tenant_id, [key])
    if key not in found:
        raise Problem("product_not_found", f"There is no product with sku {sku!r}.", sku=sku)
    return found[key]


def _sum(quantities: Iterable[Decimal]) -> Decimal:
    return sum(quantities, start=_ZERO)
