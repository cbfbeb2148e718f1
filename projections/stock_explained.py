"""The quick form of an explanation: one product at one location, movement by movement."""

from typing import NamedTuple

from asyncpg import Record

from projections import stock_queries
from projections.locations import Locations
from projections.past import Moment, Streams, past
from projections.products import Products
from projections.projection import Connection
from projections.purchase_orders import PurchaseOrders
from projections.stock_levels import StockLevels


class ItemExplained(NamedTuple):
    """A level (None: nothing has happened to it), and what happened to it, newest first."""

    level: Record | None
    events: list[Record]


async def explain_item(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    location_id: int,
    moment: Moment | None = None,
    *,
    before_version: int | None = None,
    limit: int,
) -> ItemExplained:
    """Return a level, now or at a moment, with the newest ``limit`` events behind it.

    At a moment the product's own events are folded for it; the connection is then in a
    transaction in which nothing else has been.
    """
    if moment is None:
        level = await stock_queries.level_of(connection, tenant_id, product_id, location_id)
        events = await stock_queries.explain(
            connection,
            tenant_id,
            product_id,
            location_id,
            before_version=before_version,
            limit=limit,
        )
        return ItemExplained(level, events)
    # What is on order plays no part here: its tables are there for the query, and are empty.
    projections = [StockLevels(), Products(), Locations(), PurchaseOrders()]
    streams = Streams(
        [f"product-{product_id}", f"location-{location_id}"], [f"stock-{product_id}-"]
    )
    async with past(connection, tenant_id, moment, projections, streams) as then:
        level = await stock_queries.level_of(then, tenant_id, product_id, location_id)
        events = await stock_queries.explain(
            then,
            tenant_id,
            product_id,
            location_id,
            before_version=before_version,
            moment=moment,
            limit=limit,
        )
    return ItemExplained(level, events)
