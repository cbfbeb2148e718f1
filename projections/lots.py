"""Lots: what is said of each, and how much of it is where.

``lot`` has one row a lot; ``lot_level`` one row a lot and location, with what there is of it on
the shelf, blocked, and on its way there. What is of no known lot is in `stock_level` alone.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import IN_TRANSIT, QUARANTINE, UNRESTRICTED, legs
from projections.projection import BALANCE, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.lot import LotEvent, LotRegistered, LotRevised
from schemas.stock import (
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    TransferLost,
    TransferReceived,
    TransferShipped,
)

if TYPE_CHECKING:
    from projections.lots_bulk import LotsBulk

_LOT = Columns(
    "lot_id bigint",
    "product_id bigint",
    "lot text",
    "lot_number text null",
    "manufacture_date date null",
    "expiry_date date null",
    "removal_date date null",
    "notes text null",
    "created_at timestamptz",
    "version bigint",
    "position bigint",
)
_LEVEL = Columns(
    "lot_id bigint",
    "location_id bigint",
    f"unrestricted {BALANCE}",
    f"quarantine {BALANCE}",
    f"in_transit {BALANCE}",
    "position bigint",
)
Facts = dict[int, dict[str, Any]]
"""By lot, its row."""
Levels = dict[tuple[int, int], list[Any]]
"""By lot and location, what there is unrestricted, in quarantine and in transit, and since when."""
FACTS: Final = tuple(_LOT.names)
_INDEX: Final = {UNRESTRICTED: 0, QUARANTINE: 1, IN_TRANSIT: 2}

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.lot (tenant_id, {_LOT.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_LOT.recordset})
        ON CONFLICT (tenant_id, lot_id) DO UPDATE SET {_LOT.overwrite(["lot_id", "created_at"])}
    """,
    add=f"""
        INSERT INTO {{schema}}.lot_level AS l (tenant_id, {_LEVEL.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_LEVEL.recordset})
        ON CONFLICT (tenant_id, lot_id, location_id) DO UPDATE
        SET unrestricted = l.unrestricted + excluded.unrestricted,
            quarantine = l.quarantine + excluded.quarantine,
            in_transit = l.in_transit + excluded.in_transit,
            position = excluded.position
    """,
)


class Lots:
    """Folds what is said of lots, and what moves of them."""

    name: ClassVar[str] = "lots"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "lot": ("tenant_id", "lot_id"),
        "lot_level": ("tenant_id", "lot_id", "location_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            LotRegistered,
            LotRevised,
            StockReceived,
            StockIssued,
            StockAdjusted,
            StockCounted,
            CountVarianceRevised,
            TransferShipped,
            TransferReceived,
            TransferLost,
            StockQuarantined,
            QuarantineReleased,
            MovementReversed,
        }
    )

    def bulk_fold(self, tenant_id: int) -> "LotsBulk":
        """Return a quick fold, from a tenant's first event on."""
        # Loaded only where it is needed: it takes a moment, and some memory.
        from projections.lots_bulk import LotsBulk

        return LotsBulk(tenant_id)

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables; lots are looked for by product."""
        return (
            _LOT.create(schema, "lot", self.tables["lot"])
            + f"CREATE INDEX lot_by_product ON {schema}.lot (tenant_id, product_id, lot_id);"
            + _LEVEL.create(schema, "lot_level", self.tables["lot_level"], "WITH (fillfactor = 80)")
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write lots as they are said to be, and add up what moved."""
        lots: Facts = {}
        levels: Levels = {}
        for recorded in events:
            event: Any = recorded.event
            if isinstance(event, LotRegistered | LotRevised):
                state_lot(lots, recorded, event)
            elif event.lots:
                add_lots(levels, recorded)
        sql = _SQL.of(schema)
        if lots:
            await connection.execute(sql["state"], tenant_id, rows_as_json(lots.values()))
        if levels:
            rows = [
                {
                    "lot_id": lot_id,
                    "location_id": location_id,
                    "unrestricted": unrestricted,
                    "quarantine": quarantine,
                    "in_transit": in_transit,
                    "position": position,
                }
                for (lot_id, location_id), (
                    unrestricted, quarantine, in_transit, position
                ) in levels.items()
            ]  # fmt: skip
            await connection.execute(sql["add"], tenant_id, rows_as_json(rows))


def state_lot(lots: Facts, recorded: RecordedEvent, event: LotEvent) -> None:
    """Take in what is said of a lot."""
    before = lots.get(event.lot_id)
    lots[event.lot_id] = {
        **msgspec.structs.asdict(event),
        "created_at": before["created_at"] if before else recorded.recorded_at,
        "version": recorded.version,
        "position": recorded.position,
    }


def add_lots(levels: Levels, recorded: RecordedEvent) -> None:
    """Add what an event moves of its lots to the levels at both of its ends."""
    event: Any = recorded.event
    leg = legs(event)
    assert leg is not None, "what has lots moves something"
    ends = (
        (leg.from_account, leg.from_location_id, -1),
        (leg.to_account, leg.to_location_id, 1),
    )
    for account, location_id, sign in ends:
        index = _INDEX.get(account)
        if index is None:
            continue
        for part in event.lots:
            level = levels.setdefault(
                (part.lot_id, location_id), [Decimal(0), Decimal(0), Decimal(0), 0]
            )
            level[index] += sign * part.quantity
            level[3] = recorded.position


# --- queries ----------------------------------------------------------------------------

_ROW = """
    SELECT b.lot_id, b.product_id, p.sku, p.name AS product_name, b.lot, b.lot_number,
           b.manufacture_date, b.expiry_date, b.removal_date, b.notes, b.created_at, b.version,
           trim_scale(l.on_hand) AS on_hand, trim_scale(l.quarantine) AS quarantine,
           trim_scale(l.in_transit) AS in_transit
"""
_FROM = """
    FROM projections.lot b
    LEFT JOIN projections.product p
        ON p.tenant_id = b.tenant_id AND p.product_id = b.product_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(unrestricted + quarantine), 0) AS on_hand,
               coalesce(sum(quarantine), 0) AS quarantine,
               coalesce(sum(in_transit), 0) AS in_transit
        FROM projections.lot_level v
        WHERE v.tenant_id = b.tenant_id AND v.lot_id = b.lot_id
          AND ($3::bigint IS NULL OR v.location_id = $3)
    ) l
"""
_WHERE = """
    WHERE b.tenant_id = $1 AND ($2::bigint IS NULL OR b.product_id = $2)
      AND ($3::bigint IS NULL OR EXISTS (
          SELECT FROM projections.lot_level v
          WHERE v.tenant_id = b.tenant_id AND v.lot_id = b.lot_id AND v.location_id = $3
      ))
      AND ($4::date IS NULL OR b.expiry_date <= $4)
"""
# What expires is of interest while there is some of it on the premises.
_STILL_HERE = "AND (l.on_hand > 0 OR NOT $5::boolean)"

_LIST = f"""
    {_ROW} {_FROM} {_WHERE} {_STILL_HERE} AND b.lot_id > $6
    ORDER BY b.lot_id LIMIT $7 OFFSET $8
"""
_SOONEST = f"""
    {_ROW} {_FROM} {_WHERE} {_STILL_HERE} AND b.lot_id > $6
    ORDER BY b.expiry_date, b.lot_id LIMIT $7 OFFSET $8
"""
_COUNT = f"SELECT count(*) {_FROM} {_WHERE} {_STILL_HERE}"
_TOTALS = "SELECT count(*) FROM projections.lot b WHERE b.tenant_id = $1"


async def list_lots(
    connection: Connection,
    tenant_id: int,
    *,
    product_id: int | None = None,
    location_id: int | None = None,
    expires_by: date | None = None,
    in_stock: bool = False,
    soonest_first: bool = False,
    after: int = 0,
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return lots in the order of their ids, or the one that expires soonest first.

    With a location, those that have been there, and how much of them is. ``expires_by`` is a
    date; lots without an expiry date do not expire.
    """
    return await connection.fetch(
        _SOONEST if soonest_first else _LIST,
        tenant_id,
        product_id,
        location_id,
        expires_by,
        in_stock,
        after,
        limit,
        offset,
    )


async def count_lots(
    connection: Connection,
    tenant_id: int,
    *,
    product_id: int | None = None,
    location_id: int | None = None,
    expires_by: date | None = None,
    in_stock: bool = False,
) -> int:
    """Return how many lots there are."""
    if product_id is None and location_id is None and expires_by is None and not in_stock:
        return await connection.fetchval(_TOTALS, tenant_id) or 0
    return (
        await connection.fetchval(_COUNT, tenant_id, product_id, location_id, expires_by, in_stock)
        or 0
    )
