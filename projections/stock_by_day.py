"""Stock by business day: what came, went and stayed, a product, location and day.

A business day is the location's: the date, in the zone that it had when the movement was
recorded, of the time at which the movement took effect. A movement between accounts that are
both on hand (quarantine), or both not (a loss in transit), changes nothing here.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date
from functools import lru_cache
from typing import Any, ClassVar, Final, get_args
from zoneinfo import ZoneInfo

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from projections.bulk import CopyRows, text_field
from projections.projection import BALANCE, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import StockEvent

_ON_HAND: Final = frozenset({"unrestricted", "quarantine"})
_FIGURES: Final = ("received", "issued", "adjusted", "transferred_in", "transferred_out", "change")

_DAY = Columns(
    "product_id bigint",
    "location_id bigint",
    "day date",
    *(f"{figure} {BALANCE}" for figure in _FIGURES),
    "movements bigint",
)
_ZONE = Columns("location_id bigint", "time_zone text")

_SQL = Statements(
    zones="SELECT location_id, time_zone FROM {schema}.stock_by_day_zone WHERE tenant_id = $1",
    keep_zones=f"""
        INSERT INTO {{schema}}.stock_by_day_zone (tenant_id, {_ZONE.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_ZONE.recordset})
        ON CONFLICT (tenant_id, location_id) DO UPDATE SET time_zone = excluded.time_zone
    """,
    add=f"""
        INSERT INTO {{schema}}.stock_by_day AS d
        SELECT n.* FROM unnest((SELECT $1::text::{{schema}}.stock_by_day[])) AS n
        ON CONFLICT (tenant_id, product_id, location_id, day) DO UPDATE
        SET {", ".join(f"{figure} = d.{figure} + excluded.{figure}" for figure in _FIGURES)},
            movements = d.movements + excluded.movements
    """,
)


class StockByDay:
    """Adds up movements by day. ``change`` is what the day did to on hand.

    Each figure is net: what went back to a supplier is taken from ``received``, what a customer
    returned from ``issued``, and a reversal from the figure that it undoes. ``adjusted`` holds
    adjustments, counts and scrap. So received + transferred_in + adjusted - issued -
    transferred_out = change, and the sum of ``change`` up to a day is its closing balance.
    """

    name: ClassVar[str] = "stock_by_day"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "stock_by_day": ("tenant_id", "product_id", "location_id", "day"),
        "stock_by_day_zone": ("tenant_id", "location_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {*get_args(StockEvent), LocationOpened, LocationRevised}
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return _DAY.create(
            schema, "stock_by_day", self.tables["stock_by_day"], "WITH (fillfactor = 80)"
        ) + _ZONE.create(schema, "stock_by_day_zone", self.tables["stock_by_day_zone"])

    def bulk_fold(self, tenant_id: int) -> "StockByDayBulk":
        """Return the quick way into empty tables."""
        return StockByDayBulk(tenant_id)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add the batch up by day, then add it to the rows."""
        sql = _SQL.of(schema)
        rows = await connection.fetch(sql["zones"], tenant_id)
        zones: dict[int, str] = {row[0]: row[1] for row in rows}
        rezoned: set[int] = set()
        days: _Days = {}
        _add_up(events, zones, rezoned, days)
        if rezoned:
            stated = [{"location_id": place, "time_zone": zones[place]} for place in rezoned]
            await connection.execute(sql["keep_zones"], tenant_id, rows_as_json(stated))
        if days:
            text = ",".join(
                f'"({tenant_id},{product_id},{place},{day},{a},{b},{c},{d},{e},{f},{n})"'
                for (product_id, place, day), (a, b, c, d, e, f, n) in days.items()
            )
            await connection.execute(sql["add"], f"{{{text}}}")


_Days = dict[tuple[int, int, date], list[Any]]


def _add_up(
    events: Sequence[RecordedEvent], zones: dict[int, str], rezoned: set[int], days: _Days
) -> None:
    """Add events to days. ``zones`` is brought up to date, ``rezoned`` told which changed."""
    for recorded in events:
        event: Any = recorded.event
        leg = legs(event)
        if leg is None:
            if not isinstance(event, LocationOpened | LocationRevised):
                continue
            if zones.get(event.location_id) != event.time_zone:
                zones[event.location_id] = event.time_zone
                rezoned.add(event.location_id)
            continue
        from_account, from_place, to_account, to_place, quantity = leg
        from_shelf, to_shelf = from_account in _ON_HAND, to_account in _ON_HAND
        if from_shelf == to_shelf:
            continue
        if to_shelf:
            place, change, other, other_place = to_place, quantity, from_account, from_place
        else:
            place, change, other, other_place = from_place, -quantity, to_account, to_place
        product_id: int = event.product_id
        zone = zones.get(place, "UTC")
        day = recorded.effective_at
        if zone != "UTC" or day.tzinfo is not UTC:
            day = day.astimezone(_zone(zone))
        day = day.date()
        row = days.get((product_id, place, day))
        if row is None:
            row = days[product_id, place, day] = [0, 0, 0, 0, 0, 0, 0]
        match other:
            case "supplier":
                row[0] += change
            case "customer":
                row[1] -= change
            case "in_transit" if other_place == place:
                row[3] += change
            case "in_transit":
                row[4] -= change
            case _:
                row[2] += change
        row[5] += change
        row[6] += 1


class StockByDayBulk:
    """One tenant's days, in memory: the quick way into empty tables."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._zones: dict[int, str] = {}
        self._days: _Days = {}

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._zones) + len(self._days)

    def add(self, events: Sequence[RecordedEvent]) -> CopyRows:
        """Fold the next events; none of their rows is final."""
        _add_up(events, self._zones, set(), self._days)
        return {}

    def finish(self) -> CopyRows:
        """Return the days, and the zones."""
        tenant_id = self._tenant_id
        days = [
            f"{tenant_id}\t{product_id}\t{place}\t{day}\t{a}\t{b}\t{c}\t{d}\t{e}\t{f}\t{n}"
            for (product_id, place, day), (a, b, c, d, e, f, n) in self._days.items()
        ]
        zones = [f"{tenant_id}\t{place}\t{text_field(z)}" for place, z in self._zones.items()]
        self._days = {}
        return {"stock_by_day": days, "stock_by_day_zone": zones}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


_BY_DAY = """
SELECT d.product_id, d.location_id, d.day, trim_scale(d.received) AS received,
       trim_scale(d.issued) AS issued, trim_scale(d.adjusted) AS adjusted,
       trim_scale(d.transferred_in) AS transferred_in,
       trim_scale(d.transferred_out) AS transferred_out, trim_scale(d.change) AS change,
       trim_scale(sum(d.change) OVER (ORDER BY d.day)) AS closing, d.movements
FROM projections.stock_by_day d
WHERE d.tenant_id = $1 AND d.product_id = $2 AND d.location_id = $3 AND d.day <= $5
ORDER BY d.day
"""


async def by_day(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    location_id: int,
    first: date,
    last: date,
) -> list[Record]:
    """Return the days with movements from ``first`` to ``last``, each with what it closed at."""
    return await connection.fetch(
        f"SELECT * FROM ({_BY_DAY}) days WHERE day >= $4",
        tenant_id, product_id, location_id, first, last,
    )  # fmt: skip
