"""Sales by business day: what went to customers and what it was sold for, net of reversals.

Revenue is recognised when goods go out: quantity times the price that their issue says. A
business day is the location's: the date, in the zone that it had when the movement was
recorded, of the time at which the movement took effect. What a reversal undoes is taken from
the day on which the reversal took effect, as its cost is.

``sale_price`` remembers the prices, by position, since a reversal names only the position of
what it undoes.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import CUSTOMER
from projections.projection import (
    BALANCE,
    QUANTITY,
    Columns,
    Connection,
    Statements,
    rows_as_json,
)
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import MovementReversed, StockIssued, StockReceived

if TYPE_CHECKING:
    from projections.sales_bulk import SalesBulk

AMOUNT: Final = "numeric(48,12)"
"""A sum of quantities times prices, to their last digit: a billion of the largest fit."""

_UNITS_SOLD: Final = 0
_UNITS_RETURNED: Final = 3
# Behind each of the two come what it was sold for or given back, and the units without a price.
_FIGURES: Final = (
    "units_sold",
    "revenue",
    "unpriced_sold",
    "units_returned",
    "refunded",
    "unpriced_returned",
)
_TYPES: Final = (BALANCE, AMOUNT, BALANCE) * 2

_DAY = Columns(
    "day date",
    "product_id bigint",
    "location_id bigint",
    *(f"{figure} {kind}" for figure, kind in zip(_FIGURES, _TYPES, strict=True)),
)
_PRICE = Columns("position bigint", f"unit_price {QUANTITY}")
_ZONE = Columns("location_id bigint", "time_zone text")
# Products of two decimals of 18 digits, and sums of a billion of them.
EXACT: Final = Context(prec=60)

_SQL = Statements(
    zones="SELECT location_id, time_zone FROM {schema}.sales_zone WHERE tenant_id = $1",
    keep_zones=f"""
        INSERT INTO {{schema}}.sales_zone (tenant_id, {_ZONE.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_ZONE.recordset})
        ON CONFLICT (tenant_id, location_id) DO UPDATE SET time_zone = excluded.time_zone
    """,
    prices="""
        SELECT position, unit_price FROM {schema}.sale_price
        WHERE tenant_id = $1 AND position = ANY ($2)
    """,
    keep_prices="""
        INSERT INTO {schema}.sale_price
        SELECT p.* FROM unnest((SELECT $1::text::{schema}.sale_price[])) AS p
    """,
    add=f"""
        INSERT INTO {{schema}}.sales_day AS d
        SELECT n.* FROM unnest((SELECT $1::text::{{schema}}.sales_day[])) AS n
        ON CONFLICT (tenant_id, day, product_id, location_id) DO UPDATE
        SET {", ".join(f"{figure} = d.{figure} + excluded.{figure}" for figure in _FIGURES)}
    """,
)


class Sales:
    """Adds up issues to customers and returns from them by day.

    ``revenue`` and ``refunded`` are of the units that had a price; ``unpriced_sold`` and
    ``unpriced_returned`` count those that had none.
    """

    name: ClassVar[str] = "sales"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "sales_day": ("tenant_id", "day", "product_id", "location_id"),
        "sale_price": ("tenant_id", "position"),
        "sales_zone": ("tenant_id", "location_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {StockIssued, StockReceived, MovementReversed, LocationOpened, LocationRevised}
    )

    def bulk_fold(self, tenant_id: int) -> "SalesBulk":
        """Return a quick fold, from a tenant's first event on."""
        # Loaded only where it is needed: it takes a moment, and some memory.
        from projections.sales_bulk import SalesBulk

        return SalesBulk(tenant_id)

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return (
            _DAY.create(schema, "sales_day", self.tables["sales_day"], "WITH (fillfactor = 80)")
            + _PRICE.create(schema, "sale_price", self.tables["sale_price"])
            + _ZONE.create(schema, "sales_zone", self.tables["sales_zone"])
        )

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
        prices: dict[int, Decimal] = {}
        reversed_positions = [
            recorded.event.reversed_position
            for recorded in events
            if isinstance(recorded.event, MovementReversed) and is_sale(recorded.event)
        ]
        if reversed_positions:
            rows = await connection.fetch(sql["prices"], tenant_id, reversed_positions)
            prices = {row[0]: row[1] for row in rows}
        with localcontext(EXACT):
            days, rezoned, priced = add_up(events, zones, prices)
        if rezoned:
            stated = [{"location_id": place, "time_zone": zones[place]} for place in rezoned]
            await connection.execute(sql["keep_zones"], tenant_id, rows_as_json(stated))
        if priced:
            text = ",".join(f'"({tenant_id},{position},{price})"' for position, price in priced)
            await connection.execute(sql["keep_prices"], f"{{{text}}}")
        if days:
            text = ",".join(
                f'"({tenant_id},{day},{product_id},{place},{",".join(map(str, figures))})"'
                for (day, product_id, place), figures in days.items()
            )
            await connection.execute(sql["add"], f"{{{text}}}")


Days = dict[tuple[date, int, int], list[Decimal | int]]
"""By business day, product and place, the figures of a row."""


def add_up(
    events: Sequence[RecordedEvent], zones: dict[int, str], prices: dict[int, Decimal]
) -> tuple[Days, set[int], list[tuple[int, Decimal]]]:
    """Return what a batch adds to each day, the places whose zone it states, and new prices.

    ``zones`` and ``prices`` are what was known before; both are brought up to date.
    """
    days: Days = {}
    rezoned: set[int] = set()
    priced: list[tuple[int, Decimal]] = []
    for recorded in events:
        event: Any = recorded.event
        kind: type[Event] = type(recorded.event)
        if kind is StockIssued or kind is StockReceived:
            sold = kind is StockIssued
            if (event.destination if sold else event.source) != CUSTOMER:
                continue
            quantity, price = event.quantity, event.unit_price
            if price is not None:
                prices[recorded.position] = price
                priced.append((recorded.position, price))
        elif kind is MovementReversed:
            if not is_sale(event):
                continue
            sold = event.from_account == CUSTOMER
            quantity, price = -event.quantity, prices.get(event.reversed_position)
        else:
            if zones.get(event.location_id) != event.time_zone:
                zones[event.location_id] = event.time_zone
                rezoned.add(event.location_id)
            continue
        place: int = event.location_id
        moment = recorded.effective_at
        zone = zones.get(place, "UTC")
        if zone != "UTC" or moment.tzinfo is not UTC:
            moment = moment.astimezone(_zone(zone))
        key = moment.date(), event.product_id, place
        figures = days.get(key)
        if figures is None:
            figures = days[key] = [0, 0, 0, 0, 0, 0]
        first = _UNITS_SOLD if sold else _UNITS_RETURNED
        figures[first] += quantity
        if price is None:
            figures[first + 2] += quantity
        else:
            figures[first + 1] += quantity * price
    return days, rezoned, priced


def is_sale(event: MovementReversed) -> bool:
    """Tell whether what was undone is a sale, or the return of one."""
    return CUSTOMER in (event.from_account, event.to_account)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


# --- queries ----------------------------------------------------------------------------


class DaySales(NamedTuple):
    """What a business day sold, all products together, at all locations or at one.

    ``revenue`` is net of what customers were given back, exact; ``unpriced_units`` went out
    without a price, those that came back without one not taken off.
    """

    day: date
    revenue: Decimal
    unpriced_units: Decimal


_BY_DAY = """
SELECT day, trim_scale(sum(revenue - refunded)), trim_scale(sum(unpriced_sold))
FROM projections.sales_day
WHERE tenant_id = $1 AND day BETWEEN $2 AND $3 AND ($4::bigint IS NULL OR location_id = $4)
GROUP BY day ORDER BY day
"""


async def sales_by_day(
    connection: Connection,
    tenant_id: int,
    first: date,
    last: date,
    *,
    location_id: int | None = None,
) -> list[DaySales]:
    """Return the days from ``first`` to ``last`` that sold or took back anything, in order."""
    rows = await connection.fetch(_BY_DAY, tenant_id, first, last, location_id)
    return [DaySales(*row) for row in rows]
