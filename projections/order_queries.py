"""What is asked of sales orders: lists, one whole, a month's figures, and why it was so decided.

A day is one in the zone of the tenant's books; an order's day is that of the time at which it
was placed in the world. Quantities and amounts come trimmed of zeros behind the point.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from asyncpg import Record

from ledger.mapper import decode_event
from projections.books import books_of
from projections.projection import Connection
from schemas.order import OPEN_STATUSES, OrderPlaced


class OrderFilter(NamedTuple):
    """Which orders are meant: None is any. ``first`` and ``last`` are days, both included."""

    status: str | None = None
    customer_id: int | None = None
    first: date | None = None
    last: date | None = None
    order_id: int | None = None


# No order is effective outside of these, whose instants any zone can say.
_FIRST_DAY: Final = date(1800, 1, 1)
_LAST_DAY: Final = date(2500, 1, 1)

_WHERE: Final = """
    o.tenant_id = $1
    AND ($2::text IS NULL OR o.status = $2)
    AND ($3::bigint IS NULL OR o.customer_id = $3)
    AND ($4::timestamptz IS NULL OR o.ordered_at >= $4)
    AND ($5::timestamptz IS NULL OR o.ordered_at < $5)
    AND ($6::bigint IS NULL OR o.order_id = $6)
"""

_LIST: Final = f"""
SELECT o.order_id, o.order_number, o.customer_id, c.name AS customer_name, o.status, o.channel,
       trim_scale(o.total_amount) AS total_amount, o.item_count, o.location_id, o.reference,
       o.ordered_at
FROM projections.sales_order o
LEFT JOIN projections.customer c ON c.tenant_id = o.tenant_id AND c.customer_id = o.customer_id
WHERE {_WHERE} AND ($7::bigint IS NULL OR o.order_id < $7)
ORDER BY o.order_id DESC LIMIT $8 OFFSET $9
"""

_COUNT: Final = f"SELECT count(*) FROM projections.sales_order o WHERE {_WHERE}"


async def orders(
    connection: Connection,
    tenant_id: int,
    wanted: OrderFilter,
    *,
    before: int | None,
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return orders, the last placed first; ``before`` continues behind that id."""
    where = await _where(connection, tenant_id, wanted)
    return await connection.fetch(_LIST, tenant_id, *where, before, limit, offset)


async def count(connection: Connection, tenant_id: int, wanted: OrderFilter) -> int:
    """Return how many orders there are."""
    where = await _where(connection, tenant_id, wanted)
    return await connection.fetchval(_COUNT, tenant_id, *where) or 0


async def _where(
    connection: Connection, tenant_id: int, wanted: OrderFilter
) -> tuple[str | None, int | None, datetime | None, datetime | None, int | None]:
    start = end = None
    if wanted.first is not None or wanted.last is not None:
        zone = (await books_of(connection, tenant_id)).time_zone
        start = None if wanted.first is None else day_start(wanted.first, zone)
        if wanted.last is not None:
            end = day_start(min(wanted.last, _LAST_DAY) + timedelta(days=1), zone)
    return wanted.status, wanted.customer_id, start, end, wanted.order_id


def day_start(day: date, time_zone: str) -> datetime:
    """Return the first instant of a day in a zone; one too far off for an order comes nearer."""
    near = min(max(day, _FIRST_DAY), _LAST_DAY)
    return datetime.combine(near, time(), ZoneInfo(time_zone))


_ONE: Final = """
SELECT o.*, trim_scale(o.total_amount) AS total, trim_scale(o.cancelled_amount) AS cancelled_total,
       o.shipping_address::text AS address, c.name AS customer_name
FROM projections.sales_order o
LEFT JOIN projections.customer c ON c.tenant_id = o.tenant_id AND c.customer_id = o.customer_id
WHERE o.tenant_id = $1 AND o.order_id = $2
"""

_LINES: Final = """
SELECT l.*, p.sku, p.name AS product_name
FROM projections.order_line l
JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.product_id
WHERE l.tenant_id = $1 AND l.order_id = $2 ORDER BY l.order_item_id
"""

_CLAIMS: Final = """
SELECT order_item_id, location_id, quantity FROM projections.order_claim
WHERE tenant_id = $1 AND order_id = $2 AND quantity > 0 ORDER BY order_item_id, location_id
"""

_FULFILMENTS: Final = """
SELECT fulfilment, lines::text AS lines, is_cancelled, fulfilled_at
FROM projections.order_fulfilment
WHERE tenant_id = $1 AND order_id = $2 ORDER BY fulfilment
"""

_RETURNS: Final = """
SELECT return_number, lines::text AS lines, disposition, reason, returned_at
FROM projections.order_return
WHERE tenant_id = $1 AND order_id = $2 ORDER BY return_number
"""


class OrderRows(NamedTuple):
    """An order, its lines, what is reserved for them where, what went out and what came back."""

    order: Record
    lines: Sequence[Record]
    claims: Sequence[Record]
    fulfilments: Sequence[Record]
    returns: Sequence[Record]


async def order(connection: Connection, tenant_id: int, order_id: int) -> OrderRows | None:
    """Return an order whole, None where there is none."""
    row = await connection.fetchrow(_ONE, tenant_id, order_id)
    if row is None:
        return None
    queries = (_LINES, _CLAIMS, _FULFILMENTS, _RETURNS)
    rows = [await connection.fetch(query, tenant_id, order_id) for query in queries]
    return OrderRows(row, *rows)


# Each status is asked for in one pass; what was cancelled of an order is no revenue.
_STATS: Final = """
SELECT o.status, count(*) AS orders,
       trim_scale(sum(o.total_amount - o.cancelled_amount)) AS revenue
FROM projections.sales_order o
WHERE o.tenant_id = $1 AND o.ordered_at >= $2 AND o.ordered_at < $3
GROUP BY o.status
"""


async def month_by_status(
    connection: Connection, tenant_id: int, month: date, time_zone: str
) -> dict[str, Record]:
    """Return how many orders were placed in a month, and their revenue, by status.

    ``month`` is its first day, by the days of ``time_zone``.
    """
    after = (month + timedelta(days=31)).replace(day=1)
    rows = await connection.fetch(
        _STATS, tenant_id, day_start(month, time_zone), day_start(after, time_zone)
    )
    return {row["status"]: row for row in rows}


class Placed(NamedTuple):
    """An order's first event, where and when it is in the log."""

    event: OrderPlaced
    position: int
    effective_at: datetime
    recorded_at: datetime


_PLACED: Final = """
SELECT type, schema_version, data, position, effective_at, recorded_at FROM ledger.event
WHERE tenant_id = $1 AND stream = $2 AND version = 1
"""


async def placed(connection: Connection, tenant_id: int, order_id: int) -> Placed | None:
    """Return the event that placed an order, None where there is no such order."""
    row = await connection.fetchrow(_PLACED, tenant_id, f"order-{order_id}")
    if row is None:
        return None
    event = decode_event(row["type"], row["schema_version"], row["data"])
    assert isinstance(event, OrderPlaced), "an order's first event places it"
    return Placed(event, row["position"], row["effective_at"], row["recorded_at"])


async def names_of(
    connection: Connection, tenant_id: int, products: Sequence[int], locations: Sequence[int]
) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the SKUs of products and the names of locations, by id."""
    skus = await connection.fetch(
        "SELECT product_id, sku FROM projections.product "
        "WHERE tenant_id = $1 AND product_id = ANY ($2)",
        tenant_id,
        products,
    )
    names = await connection.fetch(
        "SELECT location_id, name FROM projections.location "
        "WHERE tenant_id = $1 AND location_id = ANY ($2)",
        tenant_id,
        locations,
    )
    return {row[0]: row[1] for row in skus}, {row[0]: row[1] for row in names}


_OPEN: Final = """
SELECT order_id FROM projections.sales_order
WHERE tenant_id = $1 AND customer_id = $2 AND status = ANY ($3) ORDER BY order_id LIMIT $4
"""


async def open_orders(
    connection: Connection, tenant_id: int, customer_id: int, limit: int
) -> list[int]:
    """Return the ids of a customer's orders of which something is still to go out."""
    rows = await connection.fetch(_OPEN, tenant_id, customer_id, list(OPEN_STATUSES), limit)
    return [row[0] for row in rows]
