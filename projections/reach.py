"""Which events can have made a row of a read model, or the rows that a part of its key picks out.

A fold reads nothing but its own tables, so a row depends on the events of its own things alone:
a stock level on what is in its product's streams, an order's lines on the order's own. Naming
these is what makes explaining one figure of a long log affordable. Where nothing narrower is
known it is all streams of the categories that the projection folds.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, timedelta
from typing import Any, Final, NamedTuple

from ledger.domain.books import STREAM as BOOKS
from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from ledger.domain.registry import events_by_category
from projections.past import Streams
from projections.projection import Connection, Projection

_DAY: Final = timedelta(days=1)


class Span(NamedTuple):
    """The days from ``first`` to ``last``, both included; None is without end."""

    first: date | None
    last: date | None


Wanted = Mapping[str, Any]
"""Columns of a table's key, each with the value it has to have, or the `Span` of its days."""

Touches = Callable[[RecordedEvent], bool]
"""Tells of an event whether it may change what is wanted; False only where it cannot."""


class Reach(NamedTuple):
    """The streams to be folded, and which of their events may touch what is wanted."""

    streams: Streams
    touches: Touches


# Tables whose rows are made by the streams of one thing, each named after its id: the category,
# and the column that holds the id.
OWN_STREAM: Final[Mapping[str, tuple[str, str]]] = {
    "product": ("product", "product_id"),
    "location": ("location", "location_id"),
    "supplier": ("supplier", "supplier_id"),
    "category": ("category", "category_id"),
    "customer": ("customer", "customer_id"),
    "customer_address": ("customer", "customer_id"),
    "price_tier": ("pricetier", "price_tier_id"),
    "tier_price": ("pricetier", "price_tier_id"),
    "import_batch": ("import", "batch_id"),
    "import_chunk": ("import", "batch_id"),
    "import_refusal": ("import", "batch_id"),
    "demand": ("import", "batch_id"),
    "lot": ("lot", "lot_id"),
    "serial": ("serial", "serial_id"),
    "sales_order": ("order", "order_id"),
    "order_line": ("order", "order_id"),
    "order_claim": ("order", "order_id"),
    "order_fulfilment": ("order", "order_id"),
    "order_return": ("order", "order_id"),
    "purchase_order": ("purchase", "purchase_order_id"),
    "purchase_line": ("purchase", "purchase_order_id"),
    "purchase_receipt": ("purchase", "purchase_order_id"),
    "purchase_return": ("purchase", "purchase_order_id"),
    "stock_by_day_zone": ("location", "location_id"),
    "sales_zone": ("location", "location_id"),
    "cost_zone": ("location", "location_id"),
}
_ONE_STREAM: Final[Mapping[str, str]] = {
    "books": BOOKS,
    "books_product": BOOKS,
    "cost_books": BOOKS,
}
# Read models of stock: what happens to one product leaves the rows of all others as they are.
_BY_PRODUCT: Final = frozenset({"stock_levels", "stock_by_day", "sales", "valuation", "lots"})
# Tables of these whose rows an event elsewhere cannot touch, and of whose days on another day.
_BY_PLACE: Final = frozenset({"stock_level", "reservation", "stock_by_day", "sales_day"})
_BY_DAY: Final = frozenset({"stock_by_day", "sales_day"})


async def reach_of(
    connection: Connection, tenant_id: int, projection: Projection, table: str, wanted: Wanted
) -> Reach:
    """Return which events can have made what is wanted of a table."""
    if table in _ONE_STREAM:
        return Reach(Streams([_ONE_STREAM[table]]), _any)
    own = OWN_STREAM.get(table)
    if own is not None and own[1] in wanted:
        category, column = own
        return Reach(Streams([f"{category}-{wanted[column]}"]), _any)
    if projection.name in _BY_PRODUCT:
        product_id = await _product(connection, tenant_id, wanted)
        if product_id is not None:
            streams = _streams(projection, {"stock": f"stock-{product_id}-"})
            return Reach(streams, _touching(table, {**wanted, "product_id": product_id}))
        return Reach(_streams(projection, {}), _touching(table, wanted))
    return Reach(_streams(projection, {}), _any)


def _streams(projection: Projection, narrower: Mapping[str, str]) -> Streams:
    """Return all streams of the categories that a projection folds, some narrowed to a prefix."""
    categories = [
        category
        for category, kinds in events_by_category().items()
        if not projection.event_types.isdisjoint(kinds)
    ]
    return Streams((), [narrower.get(category, f"{category}-") for category in categories])


async def _product(connection: Connection, tenant_id: int, wanted: Wanted) -> int | None:
    """Return whose stock is wanted: said as such, or by a movement's position, or by a lot."""
    if "product_id" in wanted:
        return wanted["product_id"]
    if "position" in wanted:
        stream = await connection.fetchval(
            "SELECT stream FROM ledger.event WHERE tenant_id = $1 AND position = $2",
            tenant_id,
            wanted["position"],
        )
        category, _, rest = (stream or "").partition("-")
        return int(rest.partition("-")[0]) if category == "stock" else None
    if "lot_id" in wanted:
        return await connection.fetchval(
            """
            SELECT (data ->> 'product_id')::bigint FROM ledger.event
            WHERE tenant_id = $1 AND stream = $2 ORDER BY version LIMIT 1
            """,
            tenant_id,
            f"lot-{wanted['lot_id']}",
        )
    return None


def _any(_recorded: RecordedEvent) -> bool:
    return True


def _touching(table: str, wanted: Wanted) -> Touches:
    """Return what tells events that may touch rows of a read model of stock from all others."""
    product_id, location_id = wanted.get("product_id"), wanted.get("location_id")
    position, lot_id = wanted.get("position"), wanted.get("lot_id")
    reservation_id = wanted.get("reservation_id")
    place = location_id if table in _BY_PLACE else None
    days = _utc_days(wanted.get("day")) if table in _BY_DAY else None

    def touches(recorded: RecordedEvent) -> bool:
        event: Any = recorded.event
        about = getattr(event, "product_id", None)
        if about is None:
            # What is said of a place or of the books makes rows of its own only, but where it
            # has everything costed anew.
            return table.startswith("cost_") or "zone" in table
        if product_id is not None and about != product_id:
            return False
        if place is not None and not _is_at(event, place):
            return False
        if days is not None:
            day = recorded.effective_at.astimezone(UTC).date()
            if not days[0] <= day <= days[1]:
                return False
        if table in ("movement", "sale_price") and position is not None:
            return position in (recorded.position, getattr(event, "reversed_position", None))
        if reservation_id is not None:
            return getattr(event, "reservation_id", None) == reservation_id
        if table == "lot_level" and lot_id is not None:
            return any(part.lot_id == lot_id for part in getattr(event, "lots", ()))
        return True

    return touches


def _is_at(event: Any, location_id: int) -> bool:
    if event.location_id == location_id:
        return True
    leg = legs(event)
    return leg is not None and location_id in (leg.from_location_id, leg.to_location_id)


def _utc_days(wanted: date | Span | None) -> tuple[date, date] | None:
    """Return the days in UTC that days in any zone can reach into."""
    if wanted is None:
        return None
    span = wanted if isinstance(wanted, Span) else Span(wanted, wanted)
    first, last = span.first or date.min, span.last or date.max
    return (
        first - _DAY if first > date.min else first,
        last + _DAY if last < date.max else last,
    )


# What is not a row of the stream's own thing, though its stream makes it.
_NOT_OWN: Final = frozenset({"stock_by_day_zone", "sales_zone", "cost_zone", "demand"})


def rows_of_stream(stream: str) -> dict[str, Wanted]:
    """Return the tables that have rows of a stream's own thing, each with the key of these."""
    category, _, rest = stream.partition("-")
    if category == "stock":
        product_id, _, location_id = rest.partition("-")
        if product_id.isdecimal() and location_id.isdecimal():
            key = {"product_id": int(product_id), "location_id": int(location_id)}
            return {"stock_level": key, "reservation": key}
        return {}
    found: dict[str, Wanted] = {}
    for table, (own, column) in OWN_STREAM.items():
        if own == category and table not in _NOT_OWN:
            if column == "batch_id":
                found[table] = {column: rest}
            elif rest.isdecimal():
                found[table] = {column: int(rest)}
    if category == "books":
        found = {table: {} for table in ("books", "books_product")}
    return found
