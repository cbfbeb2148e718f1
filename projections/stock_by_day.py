"""Stock by business day: what came, went and stayed, a product, location and day.

A business day is the location's: the date, in the zone that it had when the movement was
recorded, of the time at which the movement took effect. A movement between accounts that are
both on hand (quarantine), or both not (a loss in transit), changes nothing here.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args
from zoneinfo import ZoneInfo

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from projections.projection import BALANCE, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import StockEvent

if TYPE_CHECKING:
    from projections.stock_by_day_bulk import StockByDayBulk

ON_HAND: Final = frozenset({"unrestricted", "quarantine"})
FIGURES: Final = ("received", "issued", "adjusted", "transferred_in", "transferred_out", "change")
CHANGE: Final = FIGURES.index("change")
MOVEMENTS: Final = len(FIGURES)
# By the account at the other end: the figure, and whether what arrives is added to it or taken
# from it. What is on the way is another figure when it comes from, or goes to, another place.
FIGURE_OF: Final[Mapping[str, tuple[int, int]]] = {
    "supplier": (FIGURES.index("received"), 1),
    "customer": (FIGURES.index("issued"), -1),
    "adjustment": (FIGURES.index("adjusted"), 1),
    "loss": (FIGURES.index("adjusted"), 1),
    "in_transit": (FIGURES.index("transferred_in"), 1),
}
ELSEWHERE: Final = (FIGURES.index("transferred_out"), -1)

UTC_NAME: Final = "UTC"
"""The zone of a location that nothing has been said of."""

_DAY = Columns(
    "product_id bigint",
    "location_id bigint",
    "day date",
    *(f"{figure} {BALANCE}" for figure in FIGURES),
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
        SET {", ".join(f"{figure} = d.{figure} + excluded.{figure}" for figure in FIGURES)},
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
        # It takes a moment to load: only where it is needed.
        from projections.stock_by_day_bulk import StockByDayBulk

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
        from_shelf, to_shelf = from_account in ON_HAND, to_account in ON_HAND
        if from_shelf == to_shelf:
            continue
        if to_shelf:
            place, change, other, other_place = to_place, quantity, from_account, from_place
        else:
            place, change, other, other_place = from_place, -quantity, to_account, to_place
        product_id: int = event.product_id
        day = day_of(recorded.effective_at, zones.get(place, UTC_NAME))
        row = days.get((product_id, place, day))
        if row is None:
            row = days[product_id, place, day] = [0, 0, 0, 0, 0, 0, 0]
        figure, sign = FIGURE_OF[other]
        if other == "in_transit" and other_place != place:
            figure, sign = ELSEWHERE
        row[figure] += sign * change
        row[CHANGE] += change
        row[MOVEMENTS] += 1


def day_of(at: datetime, zone: str) -> date:
    """Return the date of a time in a zone."""
    if zone != UTC_NAME or at.tzinfo is not UTC:
        at = at.astimezone(_zone(zone))
    return at.date()


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
