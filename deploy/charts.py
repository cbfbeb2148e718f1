"""What charts show: figures over time of one tenant, read in one snapshot.

The figures are those of the API's reports, from the same queries: the closing stock of a period's
last day, what stock was worth at its end, what was wanted in it, and what its sales did cost.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from decimal import Context, Decimal, localcontext
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from api.reports import Period, periods_of
from deploy.plots import Chart, Series
from deploy.wiring import House, following
from ledger.aliases import LOCATION, SKU, fold
from ledger.store import Connection, tenant_transaction
from projections import (
    demand,
    stock_over_time,
    valuation_places,
    valuation_queries,
    value_over_time,
)
from projections.aliases import find_aliases
from projections.books import books_of
from projections.money import in_cents

ChartKind = Literal["stock", "demand", "value", "cogs"]
By = Literal["day", "week", "month"]
OnProgress = Callable[[str, int, int], None]
"""Told what is done, how much of it is, and how much there is."""

POINTS_MAX: Final = 1_200
"""Periods of a chart: three years of days and more."""
LINES_MAX: Final = 6
"""Locations with a line of their own; the others share one."""
FOLLOW_S_MAX: Final = 600.0
# The read model that each is drawn from.
_READ: Final[Mapping[ChartKind, str]] = {
    "stock": "stock_by_day",
    "demand": "demand",
    "value": "valuation",
    "cogs": "valuation",
}
_NAMES: Final[Mapping[ChartKind, str]] = {
    "stock": "Stock on hand",
    "demand": "Demand",
    "value": "Value of stock",
    "cogs": "Cost of goods sold",
}
_MONEY: Final = "in the currency of the books"
_DEMAND_ROWS: Final = 50_000
_EXACT: Final = Context(prec=60)
_ZERO: Final = Decimal(0)


class Wanted(NamedTuple):
    """What to draw. Days are business days; None is a year up to today, by what suits it."""

    kind: ChartKind
    sku: str | None = None
    location: str | None = None
    first: date | None = None
    last: date | None = None
    by: By | None = None


class Unfit(ValueError):
    """What is asked for cannot be drawn; the message says why, and what could be."""


class _View(NamedTuple):
    """Where the figures are read, and of what."""

    connection: Connection
    tenant_id: int
    periods: Sequence[Period]
    by: By
    product_id: int | None
    location_id: int | None
    on_progress: OnProgress


async def chart_of(
    house: House,
    tenant_id: int,
    wanted: Wanted,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Chart:
    """Return a chart of what a tenant's log says up to now; raise Unfit for what is none."""
    async with _caught_up(house, tenant_id, _READ[wanted.kind], on_progress) as connection:
        position = await connection.fetchval(_HEAD, tenant_id)
        name = await connection.fetchval(_NAME, tenant_id)
        zone = (await books_of(connection, tenant_id)).time_zone
        today = house.now().astimezone(ZoneInfo(zone)).date()
        first, last, by = _range(wanted, today)
        product_id, location_id = await _ids(connection, tenant_id, wanted)
        view = _View(
            connection,
            tenant_id,
            periods_of(first, last, by),
            by,
            product_id,
            location_id,
            on_progress,
        )
        series, unit = await _FIGURES[wanted.kind](view)
        which = _which(wanted)
    ends = "at the end of each" if wanted.kind in ("stock", "value") else "in each"
    return Chart(
        title=f"{_NAMES[wanted.kind]}, {which}",
        unit=unit,
        kind="line" if wanted.kind in ("stock", "value") else "bars",
        by=by,
        days=[period.label for period in view.periods],
        series=series,
        decimals=2 if unit == _MONEY else 0,
        caption=(
            f"{name}, {ends} {by}, {first} to {last}. Business days; today is {today} in {zone}. "
            f"As of ledger position {position:,}."
        ),
    )


_HEAD: Final = "SELECT position FROM ledger.head WHERE tenant_id = $1"
_NAME: Final = "SELECT name FROM ledger.tenant WHERE tenant_id = $1"
_REACHED: Final = """
SELECT h.position, coalesce(c.position, 0)
FROM ledger.head h
LEFT JOIN projections.checkpoint c ON c.tenant_id = h.tenant_id AND c.name = $2
WHERE h.tenant_id = $1
"""


@asynccontextmanager
async def _caught_up(
    house: House, tenant_id: int, projection: str, on_progress: OnProgress
) -> AsyncGenerator[Connection]:
    """Give a snapshot in which a following projection has reached the head of the log.

    Where no service runs that would keep it up, it is brought there first.
    """
    async with AsyncExitStack() as stack:
        deadline = time.monotonic() + FOLLOW_S_MAX
        is_following = False
        while True:
            async with tenant_transaction(
                house.pool, tenant_id, isolation="repeatable read"
            ) as connection:
                row = await connection.fetchrow(_REACHED, tenant_id, projection)
                assert row is not None, "a tenant has a head"
                head, reached = row
                if reached >= head:
                    yield connection
                    return
            if time.monotonic() > deadline:
                raise Unfit(
                    f"{projection} is at position {reached:,} of {head:,} after"
                    f" {FOLLOW_S_MAX:.0f} seconds; ask again when it has caught up"
                )
            if not is_following:
                await stack.enter_async_context(following(house))
                is_following = True
            on_progress("catching up", reached, head)
            await asyncio.sleep(_POLL_S)


_POLL_S: Final = 0.05


def _range(wanted: Wanted, today: date) -> tuple[date, date, By]:
    """Return the first and the last day, and how far the points are apart."""
    last = wanted.last or today
    first = wanted.first or last - timedelta(days=364)
    if first > last:
        raise Unfit(f"from: {first} is after {last}, the last day; give an earlier one")
    days = (last - first).days + 1
    by: By = wanted.by or ("day" if days <= 92 else "week" if days <= 1_100 else "month")
    if wanted.first is None:
        # Where nobody said on which day to begin, it is with a whole period.
        first = periods_of(first, first, by)[0].label
    points = days // {"day": 1, "week": 7, "month": 28}[by]
    if points > POINTS_MAX:
        raise Unfit(
            f"by: {points:,} points are more than the {POINTS_MAX:,} that a chart shows; take a "
            "longer period, or a shorter range"
        )
    return first, last, by


async def _ids(
    connection: Connection, tenant_id: int, wanted: Wanted
) -> tuple[int | None, int | None]:
    """Return the ids of the product and the location that are named."""
    keys = [
        None if named is None else (kind, fold(named))
        for kind, named in ((SKU, wanted.sku), (LOCATION, wanted.location))
    ]
    known = await find_aliases(connection, tenant_id, [key for key in keys if key is not None])
    for key, named in zip(keys, (wanted.sku, wanted.location), strict=True):
        if key is not None and key not in known:
            raise Unfit(f"there is no {key[0]} {named!r}; check the spelling")
    product_id, location_id = (None if key is None else known[key] for key in keys)
    return product_id, location_id


def _which(wanted: Wanted) -> str:
    what = wanted.sku or "all products"
    return what if wanted.location is None else f"{what} at {wanted.location}"


async def _unit(view: _View) -> str:
    """Return what quantities are counted in; raise Unfit where that differs."""
    units = await stock_over_time.units_of(view.connection, view.tenant_id, view.product_id)
    if len(units) > 1:
        raise Unfit(
            f"sku: products are counted in {', '.join(units[:5])}, which do not add up; name one"
        )
    return units[0] if units else "units"


# --- figures ----------------------------------------------------------------------------


async def _stock(view: _View) -> tuple[Sequence[Series], str]:
    unit = await _unit(view)
    levels = await stock_over_time.closings(
        view.connection,
        view.tenant_id,
        [period.first for period in view.periods],
        view.periods[-1].last,
        product_id=view.product_id,
        location_id=view.location_id,
    )
    rows = await view.connection.fetch(_LOCATIONS, view.tenant_id)
    names = {row[0]: str(row[1]) for row in rows}
    # The places with the most come first: their order says which share a line.
    by_size = sorted(levels, key=lambda place: (-max(map(abs, levels[place])), place))
    own, others = by_size[:LINES_MAX], by_size[LINES_MAX:]
    series = [Series(names.get(place, str(place)), levels[place]) for place in sorted(own)]
    if others:
        summed = _added([levels[place] for place in others])
        series.append(Series(f"{len(others)} other locations", summed))
    if len(series) > 1:
        series.append(Series("all locations", _added(list(levels.values()))))
    return series, unit


_LOCATIONS: Final = "SELECT location_id, name FROM projections.location WHERE tenant_id = $1"


def _added(columns: Sequence[Sequence[Decimal]]) -> Sequence[Decimal]:
    with localcontext(_EXACT):
        return [sum(figures, _ZERO) for figures in zip(*columns, strict=True)]


async def _demand(view: _View) -> tuple[Sequence[Series], str]:
    if view.location_id is not None:
        raise Unfit("location: demand is of a product, not of a place; leave it out")
    unit = await _unit(view)
    sums = dict.fromkeys((period.label for period in view.periods), _ZERO)
    wanted = demand.DemandFilter(view.periods[0].first, view.periods[-1].last, view.product_id)
    offset, total = 0, 1
    with localcontext(_EXACT):
        while offset < total:
            rows, total, _ = await demand.demand_by_period(
                view.connection, view.tenant_id, wanted, view.by, _DEMAND_ROWS, offset
            )
            for row in rows:
                sums[row["period"]] += row["quantity"]
            offset += _DEMAND_ROWS
            view.on_progress("adding up", min(offset, total), total)
    return [Series("demand", list(sums.values()))], unit


async def _value(view: _View) -> tuple[Sequence[Series], str]:
    if view.location_id is None:
        values = await value_over_time.values_at_ends(
            view.connection,
            view.tenant_id,
            [period.first for period in view.periods],
            view.periods[-1].last,
            product_id=view.product_id,
        )
    else:
        values = await _values_at(view, view.location_id)
    return [Series("value", values)], _MONEY


async def _values_at(view: _View, location_id: int) -> list[Decimal]:
    """Return the value of what is at a location: its share of a product's is another each day."""
    values: list[Decimal] = []
    for number, period in enumerate(view.periods, start=1):
        levels = await valuation_queries.inventory_value(
            view.connection, view.tenant_id, period.last, product_id=view.product_id
        )
        with localcontext(_EXACT):
            values.append(sum((e.value for e in levels if e.location_id == location_id), _ZERO))
        view.on_progress("valuing", number, len(view.periods))
    return values


async def _cogs(view: _View) -> tuple[Sequence[Series], str]:
    connection, tenant_id = view.connection, view.tenant_id
    days = [(period.first, period.last) for period in view.periods]
    if view.product_id is not None:
        costs = [await _cogs_of_product(view, *period) for period in days]
    elif view.location_id is not None:
        costs = await valuation_places.cogs_of_periods_at(
            connection, tenant_id, view.location_id, days
        )
    else:
        costs = await valuation_queries.cogs_of_periods(connection, tenant_id, days)
    return [Series("cost of goods sold", in_cents(list(costs)))], _MONEY


async def _cogs_of_product(view: _View, first: date, last: date) -> Decimal:
    if view.location_id is None:
        costs = await valuation_queries.cogs_of_products(
            view.connection, view.tenant_id, first, last, product_id=view.product_id
        )
    else:
        costs = await valuation_places.cogs_of_products_at(
            view.connection, view.tenant_id, view.location_id, first, last
        )
    return sum((cost.cogs for cost in costs if cost.product_id == view.product_id), _ZERO)


_FIGURES: Final = {"stock": _stock, "demand": _demand, "value": _value, "cogs": _cogs}
