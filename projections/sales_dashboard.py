"""What the dashboard asks of orders. Its answers take as long as the day's orders are many."""

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from projections.projection import Connection


class PlacedOrders(NamedTuple):
    """How many orders there were, for how much, and of how many units in all."""

    orders: int
    revenue: Decimal
    units: Decimal


_PLACED: Final = """
WITH placed AS (
    SELECT order_id, total_amount - cancelled_amount AS amount
    FROM projections.sales_order
    WHERE tenant_id = $1 AND ordered_at >= $2 AND ordered_at < $3 AND status <> 'cancelled'
)
SELECT count(*), trim_scale(coalesce(sum(amount), 0)),
       trim_scale(coalesce((
           SELECT sum(l.ordered - l.cancelled)
           FROM placed JOIN projections.order_line l USING (order_id)
           WHERE l.tenant_id = $1
       ), 0))
FROM placed
"""


async def placed_between(
    connection: Connection, tenant_id: int, begins_at: datetime, ends_at: datetime
) -> PlacedOrders:
    """Return what was ordered from one time up to, not including, another.

    Orders that were cancelled are left out, and what was cancelled of the others.
    """
    row = await connection.fetchrow(_PLACED, tenant_id, begins_at, ends_at)
    assert row is not None, "an aggregate without GROUP BY always has a row"
    return PlacedOrders(*row)


async def count_open(connection: Connection, tenant_id: int) -> int:
    """Return how many orders are not all fulfilled yet, nor cancelled."""
    return (
        await connection.fetchval(
            """
            SELECT count(*) FROM projections.sales_order
            WHERE tenant_id = $1 AND status IN ('pending', 'paid', 'fulfilling')
            """,
            tenant_id,
        )
        or 0
    )
