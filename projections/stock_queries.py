"""What is asked of stock: levels, alerts, totals, movements and explanations.

Quantities come trimmed of zeros behind the point. *On hand* is unrestricted + quarantine;
*available* is unrestricted less what is reserved; a hold that has expired counts no longer,
whether or not it was released since.

A movement's ``movement_type`` is one of seed 003's four where it has a word for it:

==================================================  ==============
StockReceived                                       receive
StockIssued                                         shipment
StockAdjusted, StockCounted, CountVarianceRevised   adjustment
TransferShipped, TransferReceived, TransferLost     transfer
StockQuarantined, QuarantineReleased                quarantine
MovementReversed                                    reversal
==================================================  ==============
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncpg import Record

from projections.past import Moment
from projections.projection import Connection
from projections.purchase_queries import INCOMING

MOVEMENT_TYPES: Final = {
    "receive": ("StockReceived",),
    "shipment": ("StockIssued",),
    "adjustment": ("StockAdjusted", "StockCounted", "CountVarianceRevised"),
    "transfer": ("TransferShipped", "TransferReceived", "TransferLost"),
    "quarantine": ("StockQuarantined", "QuarantineReleased"),
    "reversal": ("MovementReversed",),
}
MOVEMENT_TYPE_OF: Final = {
    event_type: name for name, event_types in MOVEMENT_TYPES.items() for event_type in event_types
}

# Only a level with an expiry in the past has holds to leave out, so only it asks for them.
_RESERVED = """
    l.reserved - CASE WHEN l.next_expiry <= now() THEN (
        SELECT coalesce(sum(r.quantity_left), 0) FROM projections.reservation r
        WHERE r.tenant_id = l.tenant_id AND r.product_id = l.product_id
          AND r.location_id = l.location_id AND r.expires_at <= now()
    ) ELSE 0 END
"""

_LEVEL = f"""
    l.product_id, p.sku, p.name AS product_name, l.location_id, w.name AS location_name,
    w.code AS location_code,
    trim_scale(l.unrestricted + l.quarantine) AS on_hand,
    trim_scale({_RESERVED}) AS reserved,
    trim_scale(l.unrestricted - ({_RESERVED})) AS available,
    trim_scale(l.quarantine) AS quarantine,
    trim_scale(l.in_transit) AS in_transit,
    {INCOMING} AS incoming,
    trim_scale(p.reorder_level) AS reorder_level,
    l.version, l.position
"""

# A product or place that was made by nobody we know still has its stock shown.
# LATERAL holds the planner to one look-up a row: a page is then read in the order of the
# levels' key and no further than it reaches, whatever the statistics say.
_FROM = """
    FROM projections.stock_level l
    LEFT JOIN LATERAL (
        SELECT * FROM projections.product
        WHERE tenant_id = l.tenant_id AND product_id = l.product_id OFFSET 0
    ) p ON true
    LEFT JOIN LATERAL (
        SELECT * FROM projections.location
        WHERE tenant_id = l.tenant_id AND location_id = l.location_id OFFSET 0
    ) w ON true
"""

_MATCHING = """
    WHERE l.tenant_id = $1
      AND ($2::bigint IS NULL OR l.location_id = $2)
      AND ($3::bigint IS NULL OR l.product_id = $3)
      AND (NOT $4::boolean OR l.unrestricted + l.quarantine <= p.reorder_level)
      AND NOT coalesce(p.is_discontinued, false)
      AND (NOT $5::boolean OR p.is_active)
"""

_LIST = f"""
    SELECT {_LEVEL} {_FROM} {_MATCHING}
      AND (l.product_id, l.location_id) > ($6::bigint, $7::bigint)
    ORDER BY l.product_id, l.location_id LIMIT $8 OFFSET $9
"""

_COUNT = f"SELECT count(*) {_FROM} {_MATCHING}"

# Without a condition on the product, all levels less those of discontinued products, which
# are few and have nothing on hand.
_COUNT_ALL_LEVELS = """
    SELECT (
        SELECT count(*) FROM projections.stock_level l
        WHERE l.tenant_id = $1 AND ($2::bigint IS NULL OR l.location_id = $2)
          AND ($3::bigint IS NULL OR l.product_id = $3)
    ) - (
        SELECT count(*) FROM projections.product p
        JOIN projections.stock_level l
            ON l.tenant_id = p.tenant_id AND l.product_id = p.product_id
        WHERE p.tenant_id = $1 AND p.is_discontinued
          AND ($2::bigint IS NULL OR l.location_id = $2)
          AND ($3::bigint IS NULL OR l.product_id = $3)
    )
"""

_ONE = (
    f"SELECT {_LEVEL} {_FROM} WHERE l.tenant_id = $1 AND l.product_id = $2 AND l.location_id = $3"
)


class LevelFilter(NamedTuple):
    """Which levels: of a place, of a product, at or below the reorder level, of active products."""

    location_id: int | None = None
    product_id: int | None = None
    low_stock: bool = False
    active_only: bool = False


EVERY_LEVEL: Final = LevelFilter()


async def list_levels(
    connection: Connection,
    tenant_id: int,
    where: LevelFilter = EVERY_LEVEL,
    *,
    after: tuple[int, int] = (0, 0),
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return levels in the order of (product_id, location_id), from behind ``after``."""
    return await connection.fetch(_LIST, tenant_id, *where, *after, limit, offset)


async def count_levels(
    connection: Connection, tenant_id: int, where: LevelFilter = EVERY_LEVEL
) -> int:
    """Return how many levels there are."""
    if not (where.low_stock or where.active_only):
        return await connection.fetchval(_COUNT_ALL_LEVELS, tenant_id, *where[:2]) or 0
    return await connection.fetchval(_COUNT, tenant_id, *where) or 0


async def level_of(
    connection: Connection, tenant_id: int, product_id: int, location_id: int
) -> Record | None:
    """Return one level, or None where a product has never had stock."""
    return await connection.fetchrow(_ONE, tenant_id, product_id, location_id)


async def stocked_locations(
    connection: Connection, tenant_id: int, product_id: int
) -> Sequence[int]:
    """Return the locations where a product is on hand, in transit or reserved."""
    rows = await connection.fetch(
        """
        SELECT location_id FROM projections.stock_level
        WHERE tenant_id = $1 AND product_id = $2
          AND (unrestricted <> 0 OR quarantine <> 0 OR in_transit <> 0 OR reserved <> 0)
        ORDER BY location_id
        """,
        tenant_id,
        product_id,
    )
    return [row[0] for row in rows]


_SUMMARY = """
    WITH stock AS (
        SELECT p.product_id, p.reorder_level, p.cost_price,
               coalesce(sum(l.unrestricted + l.quarantine), 0) AS on_hand,
               coalesce(bool_or(l.unrestricted + l.quarantine <= p.reorder_level), false) AS low
        FROM projections.product p
        LEFT JOIN projections.stock_level l
            ON l.tenant_id = p.tenant_id AND l.product_id = p.product_id
        WHERE p.tenant_id = $1 AND NOT p.is_discontinued
        GROUP BY p.product_id, p.reorder_level, p.cost_price
    )
    SELECT count(*) AS total_skus,
           trim_scale(coalesce(sum(on_hand * coalesce(cost_price, 0)), 0)) AS total_stock_value,
           count(*) FILTER (WHERE low) AS low_stock_count,
           count(*) FILTER (WHERE on_hand <= 0) AS out_of_stock_count,
           (SELECT count(*) FROM projections.location w WHERE w.tenant_id = $1) AS locations
    FROM stock
"""


async def summary(connection: Connection, tenant_id: int) -> Record:
    """Return the tenant's figures: SKUs, value at cost price, low and out of stock, locations.

    A product without a cost price is worth nothing here. It is low where it is at or below its
    reorder level at one of its locations, and out where it has nothing anywhere (seed 003).
    """
    row = await connection.fetchrow(_SUMMARY, tenant_id)
    assert row is not None, "an aggregate without GROUP BY always has a row"
    return row


# Signed by what the movement did to the goods on hand at its place; between two accounts on
# hand (quarantine), or two that are not, it is as it was entered.
_SIGNED = """
    CASE WHEN m.from_account IN ('unrestricted', 'quarantine')
          AND m.to_account NOT IN ('unrestricted', 'quarantine')
         THEN -m.quantity ELSE m.quantity END
"""

_MOVEMENT = f"""
    m.position, m.product_id, p.sku, p.name AS product_name, m.location_id,
    w.name AS location_name, m.type, trim_scale({_SIGNED}) AS quantity,
    m.from_account, m.from_location_id, trim_scale(m.from_balance) AS from_balance,
    m.to_account, m.to_location_id, trim_scale(m.to_balance) AS to_balance,
    e.data ->> 'reference' AS reference, e.data ->> 'reason' AS reason,
    e.data ->> 'notes' AS notes, e.data ->> 'transfer_id' AS transfer_id,
    e.meta ->> 'actor' AS actor, e.meta ->> 'actor_name' AS actor_name,
    m.effective_at, m.recorded_at, m.reverses,
    CASE WHEN r.position <= coalesce($7::bigint, r.position)
          AND r.effective_at <= coalesce($8::timestamptz, r.effective_at)
         THEN r.position END AS reversed_by
"""
_MOVEMENT_JOINS = """
    JOIN ledger.event e ON e.tenant_id = m.tenant_id AND e.position = m.position
    LEFT JOIN projections.product p
        ON p.tenant_id = m.tenant_id AND p.product_id = m.product_id
    LEFT JOIN projections.location w
        ON w.tenant_id = m.tenant_id AND w.location_id = m.location_id
    LEFT JOIN projections.movement r
        ON r.tenant_id = m.tenant_id AND r.position = m.reversed_by
"""

# $7 and $8 are a moment's position and its time in the world.
_MOVEMENTS = f"""
    SELECT {_MOVEMENT}
    FROM (
        SELECT * FROM projections.movement m
        WHERE m.tenant_id = $1 AND m.position < $2
          AND ($3::bigint IS NULL OR m.location_id = $3)
          AND ($4::text[] IS NULL OR m.type = ANY ($4))
          AND ($8::timestamptz IS NULL OR m.effective_at <= $8)
        ORDER BY m.position DESC LIMIT $5 OFFSET $6
    ) m {_MOVEMENT_JOINS} ORDER BY m.position DESC
"""

# One product's movements are found through its streams in the log: "stock-7-" to "stock-7.",
# "." being the character behind "-". So movement needs no index of its own for them.
_MOVEMENTS_OF_PRODUCT = f"""
    SELECT {_MOVEMENT}
    FROM (
        SELECT m.* FROM ledger.event s
        JOIN projections.movement m ON m.tenant_id = s.tenant_id AND m.position = s.position
        WHERE s.tenant_id = $1 AND s.position < $2
          AND s.stream >= $9 AND s.stream < $10
          AND ($3::bigint IS NULL OR m.location_id = $3)
          AND ($4::text[] IS NULL OR m.type = ANY ($4))
          AND ($8::timestamptz IS NULL OR m.effective_at <= $8)
        ORDER BY m.position DESC LIMIT $5 OFFSET $6
    ) m {_MOVEMENT_JOINS} ORDER BY m.position DESC
"""


class MovementFilter(NamedTuple):
    """Which movements: of a product, of a location's stream, of event types."""

    product_id: int | None = None
    location_id: int | None = None
    types: Sequence[str] | None = None


EVERY_MOVEMENT: Final = MovementFilter()


async def list_movements(
    connection: Connection,
    tenant_id: int,
    where: MovementFilter = EVERY_MOVEMENT,
    *,
    before: int | None = None,
    moment: Moment | None = None,
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return movements, newest first, from before a position; ``position`` is a movement's id.

    With ``moment`` those that had been recorded and had happened by then, and what had become
    of them; names are as they are now.
    """
    position, as_of = moment or (None, None)
    last = 2**62 if position is None else position + 1
    parameters = [
        tenant_id, min(before or last, last), where.location_id, where.types, limit, offset,
        position, as_of,
    ]  # fmt: skip
    if where.product_id is None:
        return await connection.fetch(_MOVEMENTS, *parameters)
    streams = _streams(where.product_id, where.location_id)
    return await connection.fetch(_MOVEMENTS_OF_PRODUCT, *parameters, *streams)


async def count_movements(
    connection: Connection,
    tenant_id: int,
    where: MovementFilter = EVERY_MOVEMENT,
    *,
    moment: Moment | None = None,
) -> int:
    """Return how many movements there are, or were at a moment.

    Those of the present, without ``types``, are added up from the levels' own counts. All others
    are counted.
    """
    if where.types is None and moment is None:
        return await connection.fetchval(_COUNT_ALL, tenant_id, *where[:2]) or 0
    position, as_of = moment or (None, None)
    return await connection.fetchval(_COUNT_MOVEMENTS, tenant_id, *where, position, as_of) or 0


_COUNT_ALL: Final = """
SELECT coalesce(sum(movements), 0)::bigint FROM projections.stock_level
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR product_id = $2)
  AND ($3::bigint IS NULL OR location_id = $3)
"""
_COUNT_MOVEMENTS: Final = """
SELECT count(*) FROM projections.movement
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR product_id = $2)
  AND ($3::bigint IS NULL OR location_id = $3)
  AND ($4::text[] IS NULL OR type = ANY ($4))
  AND ($5::bigint IS NULL OR position <= $5)
  AND ($6::timestamptz IS NULL OR effective_at <= $6)
"""


# Every event of the item's stream, those that move nothing (claims) among them.
_EXPLAIN = f"""
    SELECT * FROM (
        SELECT e.position, e.version, e.type, trim_scale({_SIGNED}) AS quantity,
               m.from_account, m.from_location_id, m.to_account, m.to_location_id,
               trim_scale(sum(
                   CASE WHEN m.to_location_id = $4
                         AND m.to_account IN ('unrestricted', 'quarantine')
                        THEN m.quantity ELSE 0 END
                   - CASE WHEN m.from_location_id = $4
                           AND m.from_account IN ('unrestricted', 'quarantine')
                          THEN m.quantity ELSE 0 END
               ) OVER (ORDER BY e.version)) AS on_hand_after,
               e.effective_at, e.recorded_at, m.reverses, m.reversed_by,
               e.data::text AS data, e.meta ->> 'actor' AS actor,
               e.meta ->> 'actor_name' AS actor_name, e.meta ->> 'source' AS source
        FROM ledger.event e
        LEFT JOIN projections.movement m
            ON m.tenant_id = e.tenant_id AND m.position = e.position
        WHERE e.tenant_id = $1 AND e.stream = $2
          AND ($6::bigint IS NULL OR e.position <= $6)
          AND ($7::timestamptz IS NULL OR e.effective_at <= $7)
    ) history
    WHERE version < $3 ORDER BY version DESC LIMIT $5
"""


async def explain(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    location_id: int,
    *,
    before_version: int | None = None,
    moment: Moment | None = None,
    limit: int,
) -> list[Record]:
    """Return what happened to an item, newest first, with what was on hand after each event.

    ``moment`` bounds the events; what became of them is as the connection's tables have it.
    """
    stream = f"stock-{product_id}-{location_id}"
    position, as_of = moment or (None, None)
    return await connection.fetch(
        _EXPLAIN,
        tenant_id,
        stream,
        before_version or 2**62,
        location_id,
        limit,
        position,
        as_of,
    )


def _streams(product_id: int, location_id: int | None) -> tuple[str, str]:
    """Return the bounds, the second excluded, of a product's streams or of one of them."""
    if location_id is None:
        return f"stock-{product_id}-", f"stock-{product_id}."
    return f"stock-{product_id}-{location_id}", f"stock-{product_id}-{location_id}\x01"
