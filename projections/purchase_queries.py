"""What is asked of purchase orders: lists, one whole, and what is incoming."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from asyncpg import Record

from projections.projection import Connection


class PurchaseFilter(NamedTuple):
    """Which purchase orders are meant: None is any."""

    status: str | None = None
    supplier_id: int | None = None
    location_id: int | None = None


_WHERE: Final = """
    o.tenant_id = $1
    AND ($2::text IS NULL OR o.status = $2)
    AND ($3::bigint IS NULL OR o.supplier_id = $3)
    AND ($4::bigint IS NULL OR o.location_id = $4)
"""

_FROM: Final = """
    FROM projections.purchase_order o
    LEFT JOIN projections.supplier s
        ON s.tenant_id = o.tenant_id AND s.supplier_id = o.supplier_id
"""

_LIST: Final = f"""
    SELECT o.*, s.name AS supplier_name {_FROM}
    WHERE {_WHERE} AND ($5::bigint IS NULL OR o.purchase_order_id < $5)
    ORDER BY o.purchase_order_id DESC LIMIT $6 OFFSET $7
"""

_COUNT: Final = f"SELECT count(*) FROM projections.purchase_order o WHERE {_WHERE}"


async def purchase_orders(
    connection: Connection,
    tenant_id: int,
    wanted: PurchaseFilter,
    *,
    before: int | None,
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return purchase orders, the last created first; ``before`` continues behind that id."""
    return await connection.fetch(_LIST, tenant_id, *wanted, before, limit, offset)


async def count(connection: Connection, tenant_id: int, wanted: PurchaseFilter) -> int:
    """Return how many purchase orders there are."""
    return await connection.fetchval(_COUNT, tenant_id, *wanted) or 0


_ONE: Final = f"""
    SELECT o.*, s.name AS supplier_name, w.name AS location_name {_FROM}
    LEFT JOIN projections.location w
        ON w.tenant_id = o.tenant_id AND w.location_id = o.location_id
    WHERE o.tenant_id = $1 AND o.purchase_order_id = $2
"""

_LINES: Final = """
    SELECT l.*, p.sku, p.name AS product_name
    FROM projections.purchase_line l
    JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.product_id
    WHERE l.tenant_id = $1 AND l.purchase_order_id = $2 ORDER BY l.line_id
"""

_RECEIPTS: Final = """
    SELECT receipt, lines::text AS lines, notes, received_at, recorded_at
    FROM projections.purchase_receipt
    WHERE tenant_id = $1 AND purchase_order_id = $2 ORDER BY receipt
"""

_RETURNS: Final = """
    SELECT return_number, lines::text AS lines, reason, notes, returned_at, recorded_at
    FROM projections.purchase_return
    WHERE tenant_id = $1 AND purchase_order_id = $2 ORDER BY return_number
"""


class PurchaseRows(NamedTuple):
    """A purchase order, its lines, what came in and what went back."""

    order: Record
    lines: Sequence[Record]
    receipts: Sequence[Record]
    returns: Sequence[Record]


async def purchase_order(
    connection: Connection, tenant_id: int, purchase_order_id: int
) -> PurchaseRows | None:
    """Return a purchase order whole, None where there is none."""
    row = await connection.fetchrow(_ONE, tenant_id, purchase_order_id)
    if row is None:
        return None
    queries = (_LINES, _RECEIPTS, _RETURNS)
    rows = [await connection.fetch(query, tenant_id, purchase_order_id) for query in queries]
    return PurchaseRows(row, *rows)


# --- incoming ---------------------------------------------------------------------------

INCOMING: Final = """
    coalesce((
        SELECT trim_scale(sum(i.incoming)) FROM projections.purchase_line i
        WHERE i.tenant_id = l.tenant_id AND i.product_id = l.product_id
          AND i.location_id = l.location_id AND i.incoming > 0
    ), 0)
"""
"""What is on its way for a level ``l`` (tenant_id, product_id, location_id), as an expression:
one look-up in an index that holds nothing but what is incoming."""

_INCOMING_OF: Final = """
    SELECT product_id, location_id, trim_scale(sum(incoming)) AS incoming
    FROM projections.purchase_line
    WHERE tenant_id = $1 AND incoming > 0
      AND ($2::bigint[] IS NULL OR product_id = ANY ($2))
      AND ($3::bigint IS NULL OR location_id = $3)
    GROUP BY product_id, location_id
"""


async def incoming_of(
    connection: Connection,
    tenant_id: int,
    products: Sequence[int] | None = None,
    location_id: int | None = None,
) -> dict[tuple[int, int], Decimal]:
    """Return what is on its way, by ``(product_id, location_id)``; what is not there is nothing.

    It may be on its way to a location where the product has never been, and has no level.
    """
    rows = await connection.fetch(
        _INCOMING_OF, tenant_id, None if products is None else list(products), location_id
    )
    return {(row["product_id"], row["location_id"]): row["incoming"] for row in rows}
