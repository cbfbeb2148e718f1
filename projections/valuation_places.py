"""What sales at one location did cost.

A product has one pool of cost over all locations, so what a day's sales of it cost is one amount.
Under FIFO and average it is shared among the locations that sold it on that day, by the units
they sold; what customers returned is taken off where it came back. At standard cost every unit
has its own cost, and nothing is shared. So the locations add up to the whole, exactly, for every
product and every stretch of days, and so do days to weeks and months.

A day may change the cost without any sale: goods that were owed came in dearer than they were
thought to be. That is shared by what came in.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from projections.costing_reads import Reader, millionths
from projections.money import by_largest_remainder
from projections.projection import SCHEMA, Connection
from projections.valuation_entries import NO_PLACE
from projections.valuation_queries import (
    AT_STANDARD,
    METHOD,
    STANDARD_OF_DAY,
    STANDARDS,
    Period,
    ProductCogs,
    day_before,
    fifo_cogs,
)


class _At(NamedTuple):
    """What a product did at a location on a day, in millionths."""

    location_id: int
    sold: int
    came_in: int
    returned_cost: int


class _Sold(NamedTuple):
    """What was sold of a product at the location on a day, and what it cost, in millionths."""

    product_id: int
    day: date
    units: int
    cogs: int


_AT_STANDARD_COST: Final = f"""
WITH {STANDARDS}
SELECT d.product_id, d.day, {millionths("(d.sold_qty - d.returned_qty)")},
       {millionths(f"({AT_STANDARD})")}
FROM projections.cost_day d {METHOD} {STANDARD_OF_DAY}
WHERE d.tenant_id = $1 AND d.location_id = $2 AND d.day BETWEEN $3 AND $4
  AND coalesce(p.method, b.method, 'standard') = 'standard'
"""

# All places of the days on which something moved at the location. What is told of a product
# alone, a revaluation, is at no place and has no share.
_SHARED: Final = f"""
SELECT d.product_id, d.day, coalesce(p.method, b.method), d.location_id,
       {millionths("d.sold_qty")}, {millionths("d.in_qty")}, {millionths("d.returned_cost")},
       {millionths("d.returned_qty")}
FROM projections.cost_day own
JOIN projections.cost_day d
    ON d.tenant_id = own.tenant_id AND d.product_id = own.product_id AND d.day = own.day {METHOD}
WHERE own.tenant_id = $1 AND own.location_id = $2 AND own.day BETWEEN $3 AND $4
  AND coalesce(p.method, b.method, 'standard') <> 'standard' AND d.location_id <> {NO_PLACE}
ORDER BY d.product_id, d.day, d.location_id
"""

_AVERAGED: Final = f"""
SELECT product_id, day, {millionths("sold_cost")} FROM projections.cost_average
WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[]) AND day BETWEEN $3 AND $4
"""


async def cogs_of_products_at(
    connection: Connection, tenant_id: int, location_id: int, first: date, last: date
) -> list[ProductCogs]:
    """Return what was sold at a location from ``first`` to ``last`` and its cost, by product id."""
    units: dict[int, int] = {}
    cogs: dict[int, int] = {}
    for sold in await _sold_at(connection, tenant_id, location_id, first, last):
        units[sold.product_id] = units.get(sold.product_id, 0) + sold.units
        cogs[sold.product_id] = cogs.get(sold.product_id, 0) + sold.cogs
    return [
        ProductCogs(product, Decimal(units[product]).scaleb(-6), Decimal(cogs[product]).scaleb(-6))
        for product in sorted(units)
        if units[product] or cogs[product]
    ]


async def cogs_of_periods_at(
    connection: Connection, tenant_id: int, location_id: int, periods: Sequence[Period]
) -> list[Decimal]:
    """Return the cost of what was sold at a location in each period, which are in order."""
    if not periods:
        return []
    totals = [0] * len(periods)
    whole = periods[0][0], periods[-1][1]
    index = 0
    sales = await _sold_at(connection, tenant_id, location_id, *whole)
    for sold in sorted(sales, key=lambda sold: sold.day):
        while periods[index][1] < sold.day:
            index += 1
        if periods[index][0] <= sold.day:
            totals[index] += sold.cogs
    return [Decimal(total).scaleb(-6) for total in totals]


async def _sold_at(
    connection: Connection, tenant_id: int, location_id: int, first: date, last: date
) -> list[_Sold]:
    """Return what was sold at a location, by product and day."""
    rows = await connection.fetch(_AT_STANDARD_COST, tenant_id, location_id, first, last)
    found = [_Sold(product, day, int(units), int(cost)) for product, day, units, cost in rows]
    places: dict[tuple[int, date], list[_At]] = {}
    units: dict[tuple[int, date], int] = {}
    by_method: dict[str, dict[int, None]] = {"fifo": {}, "average": {}}
    for row in await connection.fetch(_SHARED, tenant_id, location_id, first, last):
        product, day, method, place, sold, came_in, returned_cost, returned = row
        of_day = places.setdefault((product, day), [])
        of_day.append(_At(place, int(sold), int(came_in), int(returned_cost)))
        by_method[method][product] = None
        if place == location_id:
            units[product, day] = int(sold) - int(returned)
    costs: dict[tuple[int, date], int] = {}
    if averaged := list(by_method["average"]):
        rows = await connection.fetch(_AVERAGED, tenant_id, averaged, first, last)
        costs |= {(product, day): int(cost) for product, day, cost in rows}
    if by_method["fifo"]:
        costs |= await _fifo_days(connection, tenant_id, by_method["fifo"], places)
    for (product, day), of_day in places.items():
        cost = _share_of(location_id, costs.get((product, day), 0), of_day)
        found.append(_Sold(product, day, units[product, day], cost))
    return found


async def _fifo_days(
    connection: Connection,
    tenant_id: int,
    products: Iterable[int],
    places: Mapping[tuple[int, date], object],
) -> dict[tuple[int, date], int]:
    """Return what each product's sales cost on each of the days."""
    reader = Reader(connection, SCHEMA, tenant_id)
    days = sorted({day for _, day in places})
    wanted = dict.fromkeys(products, (day_before(days[0]), days[-1]))
    costs = await fifo_cogs(reader, await reader.ledgers_of(wanted), [(day, day) for day in days])
    return {
        (product, day): cost
        for product, of_days in costs.items()
        for day, cost in zip(days, of_days, strict=True)
    }


def _share_of(location_id: int, cost: int, places: Sequence[_At]) -> int:
    """Return one place's part of what a day's sales of a product cost."""
    gross = cost + sum(place.returned_cost for place in places)
    weights = [max(place.sold, 0) for place in places]
    if not any(weights):
        weights = [max(place.came_in, 0) for place in places]
    if not any(weights):
        weights = [1, *(0 for _ in places[1:])]
    parts = by_largest_remainder([gross * weight for weight in weights], sum(weights), gross)
    return sum(
        part - place.returned_cost
        for part, place in zip(parts, places, strict=True)
        if place.location_id == location_id
    )
