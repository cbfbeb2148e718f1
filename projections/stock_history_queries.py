"""Stock at a moment: any level as of any time, as it was known at any position.

What the log has behind the checkpoint of `projections.stock_history` is added from the log itself,
so that an answer is never behind what the reader has seen.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from projections.log_reading import decode_rows
from projections.past import Moment, time_of
from projections.projection import SCHEMA, Connection, Statements
from projections.stock_history import SHAPE, Shape
from projections.stock_history_fold import (
    FIGURES,
    FOR_EVER,
    NOWHERE,
    PURCHASE_EVENTS,
    STOCK_EVENTS,
    Item,
    Unfolded,
    instant,
    millionths,
    quantity_of,
    sums_of,
    unfold,
)

BEHIND_MAX: Final = 20_000
"""So many positions of the log are looked through at most; further behind, a read has to wait."""

_TYPES: Final = frozenset(kind.TYPE for kind in STOCK_EVENTS | PURCHASE_EVENTS)
_PURCHASES: Final = [kind.TYPE for kind in PURCHASE_EVENTS]
_RESERVED: Final = FIGURES.index("reserved")


class WhichItems(NamedTuple):
    """Which items: of a place, of a product; in the order of both, from behind ``after``."""

    location_id: int | None = None
    product_id: int | None = None
    after: Item = (0, 0)


EVERY_ITEM: Final = WhichItems()


class HistoryIsBehind(Exception):
    """The history of stock has not come far enough for this read; ``position`` is how far."""

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__(f"the history of stock is at position {position}")


class PastLevel(NamedTuple):
    """What was where, at a moment, and how many movements had made it so.

    ``reserved`` is of what had not expired by then.
    """

    unrestricted: Decimal
    quarantine: Decimal
    in_transit: Decimal
    supplier: Decimal
    customer: Decimal
    adjustment: Decimal
    loss: Decimal
    reserved: Decimal
    incoming: Decimal
    movements: Decimal

    @property
    def on_hand(self) -> Decimal:
        """What was on the premises, blocked or not."""
        return self.unrestricted + self.quarantine

    @property
    def available(self) -> Decimal:
        """What could have been issued or reserved."""
        return self.unrestricted - self.reserved


_NOTHING: Final = ", ".join("0::numeric" for _ in FIGURES)
_SUMS: Final = ", ".join(f"sum(part.{figure})" for figure in FIGURES)
_FIGURES: Final = ", ".join(f"h.{figure}" for figure in FIGURES)
_OF_ITEM: Final = (
    "h.tenant_id = $1 AND h.product_id = w.product_id AND h.location_id = w.location_id"
)

_SQL = Statements(
    checkpoint="""
        SELECT position FROM {schema}.checkpoint WHERE tenant_id = $1 AND name = 'stock_history'
    """,
    # $4 is the time, $5 the position, $6 how many chunks the runs of each level have, $7 the fan.
    sums=f"""
        SELECT w.product_id, w.location_id, {_SUMS}, string_agg(part.entries, ''::bytea)
        FROM unnest($2::bigint[], $3::bigint[]) AS w (product_id, location_id)
        CROSS JOIN LATERAL (
            SELECT {_NOTHING}, h.straight || h.late AS entries
            FROM {{schema}}.stock_history_item h WHERE {_OF_ITEM}
            UNION ALL
            SELECT {_FIGURES}, h.entries
            FROM (
                SELECT h.number FROM {{schema}}.stock_history_straight h
                WHERE {_OF_ITEM} AND h.at <= $4 ORDER BY h.at DESC, h.number DESC LIMIT 1
            ) happened
            CROSS JOIN LATERAL (
                SELECT h.number FROM {{schema}}.stock_history_straight h
                WHERE {_OF_ITEM} AND h.position <= $5
                ORDER BY h.position DESC, h.number DESC LIMIT 1
            ) known
            JOIN {{schema}}.stock_history_straight h
                ON {_OF_ITEM} AND h.number = least(happened.number, known.number)
            UNION ALL
            SELECT late.*
            FROM (
                SELECT h.number FROM {{schema}}.stock_history_late h
                WHERE {_OF_ITEM} AND h.position <= $5
                ORDER BY h.position DESC, h.number DESC LIMIT 1
            ) last
            CROSS JOIN LATERAL (
                SELECT {_NOTHING}, h.entries FROM {{schema}}.stock_history_late h
                WHERE {_OF_ITEM} AND h.number BETWEEN last.number / $7 * $7 AND last.number
                UNION ALL
                SELECT chunk.*
                FROM unnest($6::bigint[]) WITH ORDINALITY AS level (chunks, number)
                CROSS JOIN LATERAL generate_series(
                    CASE WHEN level.number = cardinality($6::bigint[]) THEN 0
                         ELSE last.number / (level.chunks * $7) * $7 END,
                    last.number / level.chunks - 1
                ) AS wanted (run)
                CROSS JOIN LATERAL (
                    SELECT {_FIGURES}, h.entries FROM {{schema}}.stock_history_sorted h
                    WHERE {_OF_ITEM} AND h.level = level.number AND h.run = wanted.run
                      AND h.at <= $4
                    ORDER BY h.at DESC, h.chunk DESC LIMIT 1
                ) chunk
            ) late
        ) AS part ({", ".join(FIGURES)}, entries)
        GROUP BY w.product_id, w.location_id
    """,
    # $4 is the time, $5 the position; $8 and $9 are items that only the log knows of yet. The
    # last that is said of a discontinued product is that it is.
    items="""
        SELECT product_id, location_id FROM (
            (
                SELECT DISTINCT h.product_id, h.location_id
                FROM {schema}.stock_history_begin h
                WHERE h.tenant_id = $1 AND h.at <= $4 AND h.position <= $5
                  AND ($2::bigint IS NULL OR h.location_id = $2)
                  AND ($3::bigint IS NULL OR h.product_id = $3)
                  AND (h.product_id, h.location_id) > ($6::bigint, $7::bigint)
                  AND NOT EXISTS (
                      SELECT FROM projections.product p
                      WHERE p.tenant_id = $1 AND p.product_id = h.product_id
                        AND p.is_discontinued AND p.position <= $5
                  )
                ORDER BY h.product_id, h.location_id LIMIT $10::bigint + $11::bigint
            )
            UNION
            SELECT * FROM unnest($8::bigint[], $9::bigint[]) AS ahead (product_id, location_id)
            WHERE (product_id, location_id) > ($6::bigint, $7::bigint)
              AND NOT EXISTS (
                  SELECT FROM projections.product p
                  WHERE p.tenant_id = $1 AND p.product_id = ahead.product_id
                    AND p.is_discontinued AND p.position <= $5
              )
        ) AS found
        ORDER BY product_id, location_id LIMIT $10 OFFSET $11
    """,
    count="""
        SELECT count(*) FROM (
            SELECT h.product_id, h.location_id
            FROM {schema}.stock_history_begin h
            WHERE h.tenant_id = $1 AND h.at <= $4 AND h.position <= $5
              AND ($2::bigint IS NULL OR h.location_id = $2)
              AND ($3::bigint IS NULL OR h.product_id = $3)
            UNION
            SELECT * FROM unnest($6::bigint[], $7::bigint[])
        ) AS found
        WHERE product_id NOT IN (
            SELECT product_id FROM projections.product
            WHERE tenant_id = $1 AND is_discontinued AND position <= $5
        )
    """,
)

# Read from the log, in its order; $5 bounds the products.
_BEHIND: Final = """
    SELECT position, stream, version, type, schema_version, data::text AS data, effective_at,
           recorded_at
    FROM ledger.event
    WHERE tenant_id = $1 AND position > $2 AND position <= $3
      AND (type = ANY ($4::text[]) OR stream LIKE 'stock-%'
           AND ($5::bigint IS NULL OR split_part(stream, '-', 2) = $5::text))
    ORDER BY position
"""


class StockHistoryReader:
    """Reads the history of one tenant's stock at one moment.

    All statements of the connection's transaction must see one state (repeatable read).
    """

    def __init__(
        self,
        connection: Connection,
        tenant_id: int,
        moment: Moment,
        *,
        now: datetime,
        ahead: Unfolded,
        shape: Shape = SHAPE,
        schema: str = SCHEMA,
    ) -> None:
        """Use `open_history`, which finds what is ``ahead``: in the log, and not folded yet."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._position = moment.position
        self._at = FOR_EVER if moment.as_of is None else instant(moment.as_of)
        self._now = instant(now)
        self._ahead = ahead
        self._shape = shape
        self._sql = _SQL.of(schema)

    async def items(
        self, which: WhichItems = EVERY_ITEM, *, limit: int, offset: int = 0
    ) -> list[Item]:
        """Return the items that had a stock event by the moment, by product and location.

        Those of products that had been discontinued are left out, as they are in the present.
        """
        rows = await self._connection.fetch(
            self._sql["items"],
            self._tenant_id,
            which.location_id,
            which.product_id,
            self._at,
            self._position,
            *which.after,
            *self._begun(which),
            limit,
            offset,
        )
        return [(row[0], row[1]) for row in rows]

    async def count_items(self, which: WhichItems = EVERY_ITEM) -> int:
        """Return how many items had a stock event by the moment, those before ``after`` too."""
        return await self._connection.fetchval(
            self._sql["count"],
            self._tenant_id,
            which.location_id,
            which.product_id,
            self._at,
            self._position,
            *self._begun(which),
        )

    async def levels(self, items: Sequence[Item]) -> dict[Item, PastLevel]:
        """Return the level of each item, zeros for one that had nothing."""
        if not items:
            return {}
        sums = await self._sums(items, self._at)
        if self._now != self._at:
            # All that is known has happened, and yet holds expire at some time.
            held = await self._sums(items, self._now)
            for item, figures in sums.items():
                figures[_RESERVED] = held[item][_RESERVED]
        return {
            item: PastLevel(*(quantity_of(each) for each in figures))
            for item, figures in sums.items()
        }

    def _begun(self, which: WhichItems) -> tuple[list[int], list[int]]:
        """Return the products and locations of the items that begin ahead."""
        found = [
            item
            for item, begun in self._ahead.begun.items()
            if any(at <= self._at for at, _ in begun)
            and which.product_id in (None, item[0])
            and which.location_id in (None, item[1])
        ]
        return [item[0] for item in found], [item[1] for item in found]

    async def _sums(self, items: Sequence[Item], at: int) -> dict[Item, list[int]]:
        """Return the sums of each item's entries effective by ``at``, in millionths."""
        fan, position = self._shape.fan, self._position
        found = {item: [0] * NOWHERE for item in items}
        rows = await self._connection.fetch(
            self._sql["sums"],
            self._tenant_id,
            [product_id for product_id, _ in found],
            [location_id for _, location_id in found],
            at,
            position,
            [fan**level for level in range(1, self._shape.levels + 1)],
            fan,
        )
        for product_id, location_id, *before, entries in rows:
            found[product_id, location_id] = [
                millionths(quantity) + more
                for quantity, more in zip(before, sums_of(entries, at, position), strict=False)
            ]
        for item, changes in self._ahead.changes.items():
            if (sums := found.get(item)) is not None:
                more = sums_of(b"".join(change.packed for change in changes), at, position)
                found[item] = [a + b for a, b in zip(sums, more, strict=False)]
        return found


async def open_history(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    *,
    now: datetime | None = None,
    product_id: int | None = None,
    shape: Shape = SHAPE,
    schema: str = SCHEMA,
) -> StockHistoryReader:
    """Return a reader of stock at a moment; with ``product_id``, of that product alone.

    ``now`` is the time by which holds have expired: the moment's own (`projections.past.time_of`)
    unless given. Raises HistoryIsBehind.
    """
    position = moment.position
    folded: int = await connection.fetchval(_SQL.of(schema)["checkpoint"], tenant_id) or 0
    ahead = Unfolded()
    if folded < position:
        if position - folded > BEHIND_MAX:
            raise HistoryIsBehind(folded)
        rows = await connection.fetch(_BEHIND, tenant_id, folded, position, _PURCHASES, product_id)
        ahead = await unfold(connection, schema, tenant_id, decode_rows(rows, _TYPES))
    return StockHistoryReader(
        connection,
        tenant_id,
        moment,
        now=now or await time_of(connection, tenant_id, moment),
        ahead=ahead,
        shape=shape,
        schema=schema,
    )
