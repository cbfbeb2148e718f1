"""One SKU's stock, now or in the past: the shortest way to a figure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from asyncpg import Record

from api.context import Call
from api.endpoint import Routes, query
from api.ledger_events import find_item
from api.problems import Problem
from api.query import MIN_POSITION, Parameter
from api.reads import Reading, answer, path_text, reading
from api.reply import Reply
from ledger.aliases import SKU, fold
from projections import stock_queries
from projections.aliases import find_aliases
from projections.stock_queries import LevelFilter
from schemas.http_inventory import StockLevelReply

routes = Routes("Inventory")

LOCATIONS_MAX: Final = 1000
_ZERO: Final = Decimal(0)

_PARAMETERS = (
    Parameter("location", "string", "At this location's code; in all without", maximum=50),
    Parameter("as_of", "instant", "As it was at this business time"),
    Parameter("known_at", "instant", "As it was known at this time"),
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/stock/{sku:path}",
    "Read one SKU's stock",
    parameters=_PARAMETERS,
    replies={200: StockLevelReply},
    problems=("product_not_found", "location_not_found", "not_yet"),
)
async def get_stock(call: Call) -> Reply:
    """What there is of a SKU at a location, or in all of them. With ``as_of`` and ``known_at``,
    what there was at a time in the world, as it was known at a time of the log."""
    sku = path_text(call, "/api/stock/")
    values = query(call, _PARAMETERS)
    location, as_of, known_at = values["location"], values["as_of"], values["known_at"]
    async with reading(call, values["min_position"]) as read:
        location_id = None
        if location is not None:
            product_id, location_id = await find_item(read, sku, location)
        else:
            product_id = await _product(read, sku)
        is_past = as_of is not None or known_at is not None
        if location_id is not None and not is_past:
            row = await stock_queries.level_of(
                read.connection, read.tenant_id, product_id, location_id
            )
            rows = [] if row is None else [row]
        else:
            rows = await stock_queries.list_levels(
                read.connection,
                read.tenant_id,
                LevelFilter(location_id=location_id, product_id=product_id),
                limit=LOCATIONS_MAX,
            )
        past = []
        if is_past:
            past = [
                await stock_queries.level_as_of(
                    read.connection,
                    read.tenant_id,
                    product_id,
                    row["location_id"],
                    as_of=as_of,
                    known_at=known_at,
                )
                for row in rows
            ]
    version = rows[0]["version"] if location_id is not None and rows else None
    reply = StockLevelReply(
        sku=sku,
        product_id=product_id,
        location=location,
        location_id=location_id,
        on_hand=_sum(level.on_hand for level in past) if is_past else _total(rows, "on_hand"),
        available=None if is_past else _total(rows, "available"),
        reserved=None if is_past else _total(rows, "reserved"),
        quarantined=(
            _sum(level.quarantine for level in past) if is_past else _total(rows, "quarantine")
        ),
        in_transit=(
            _sum(level.in_transit for level in past) if is_past else _total(rows, "in_transit")
        ),
        as_of=as_of,
        known_at=known_at,
        position=read.position,
        version=version,
    )
    etag = [] if version is None or is_past else [(b"etag", b'"%d"' % version)]
    return answer(reply, read.position, etag)


async def _product(read: Reading, sku: str) -> int:
    key = (SKU, fold(sku))
    found = await find_aliases(read.connection, read.tenant_id, [key])
    if key not in found:
        raise Problem("product_not_found", f"There is no product with sku {sku!r}.", sku=sku)
    return found[key]


def _total(rows: Sequence[Record], name: str) -> Decimal:
    return _sum(row[name] for row in rows)


def _sum(quantities: Iterable[Decimal]) -> Decimal:
    return sum(quantities, start=_ZERO)
