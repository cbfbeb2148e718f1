"""What is asked of the valuation: what stock is worth at a day, and what was sold did cost.

All of it is by business day, each location's own, and all three methods answer alike. Read it in
a snapshot of ``reading(call, following=("valuation",))``.

**Standard**: what is on hand times the standard cost of the day; what was sold times that of its
own day. **Average**: the closings of the days. **FIFO**: the cost of goods sold of a period is
what was on hand before it and what came in, less what is on hand behind it and what went out
otherwise; either value is one look-up on the curve of what came in (`projections.costing`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from projections.costing import (
    MILLION,
    Movement,
    Unread,
    costs_of_day,
    end_of,
    share,
)
from projections.costing_reads import DayKey, Ledger, Reader, millionths
from projections.money import by_largest_remainder
from projections.projection import SCHEMA, Connection

_DAY: Final = timedelta(days=1)
_CENT: Final = MILLION // 100
Period = tuple[date, date]


class ValuedLevel(NamedTuple):
    """So much of a product at a location, and what it is worth: whole cents.

    Goods on their way to the location are a level of their own, ``in_transit``. ``unit_cost`` is
    that of the product, to six digits, whichever its place.
    """

    product_id: int
    location_id: int
    quantity: Decimal
    unit_cost: Decimal
    value: Decimal
    in_transit: bool = False


class ProductCogs(NamedTuple):
    """What was sold of a product in a period, net of returns, and what it did cost.

    ``cogs`` has up to six digits behind the point, so that the figures of adjoining periods add
    up exactly; `projections.money.in_cents` rounds a column of them.
    """

    product_id: int
    units_sold: Decimal
    cogs: Decimal


# --- inventory value --------------------------------------------------------------------

_PLACES: Final = f"""
SELECT d.product_id, coalesce(p.method, b.method, 'standard'), d.location_id,
       {millionths("sum(d.on_hand)")}, {millionths("sum(d.in_transit)")}
FROM projections.cost_day d
LEFT JOIN projections.cost_product p
    ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
WHERE d.tenant_id = $1 AND d.day <= $2 AND ($3::bigint IS NULL OR d.product_id = $3)
GROUP BY d.product_id, p.method, b.method, d.location_id
HAVING sum(d.on_hand) <> 0 OR sum(d.in_transit) <> 0
ORDER BY d.product_id, d.location_id
"""

_CLOSINGS: Final = f"""
SELECT w.product_id, {millionths("c.value")}
FROM unnest($2::bigint[]) AS w (product_id)
CROSS JOIN LATERAL (
    SELECT value FROM projections.cost_average
    WHERE tenant_id = $1 AND product_id = w.product_id AND day <= $3
    ORDER BY day DESC LIMIT 1
) c
"""


async def inventory_value(
    connection: Connection, tenant_id: int, day: date, *, product_id: int | None = None
) -> list[ValuedLevel]:
    """Return what was where at the end of a day and its value, by product and location.

    ``date.max`` is the present. A product's value is split over its places by quantity, so that
    they add up to it; a product of which there is nothing in all is worth nothing.
    """
    levels: dict[int, list[tuple[int, int, bool]]] = {}
    by_method: dict[str, list[int]] = {}
    for row in await connection.fetch(_PLACES, tenant_id, day, product_id):
        product, method, location_id, on_hand, in_transit = row
        if product not in levels:
            levels[product] = []
            by_method.setdefault(method, []).append(product)
        for quantity, on_its_way in ((int(on_hand), False), (int(in_transit), True)):
            if quantity:
                levels[product].append((location_id, quantity, on_its_way))
    quantities = {
        product: sum(quantity for _, quantity, _ in places) for product, places in levels.items()
    }
    reader = Reader(connection, SCHEMA, tenant_id)
    values: dict[int, int] = {}
    if products := by_method.get("standard"):
        for product, standards in (await reader.standards(products, only_prices=False)).items():
            values[product] = share(standards.on(day), quantities[product], MILLION)
    if products := by_method.get("average"):
        rows = await connection.fetch(_CLOSINGS, tenant_id, products, day)
        values |= {row[0]: int(row[1]) for row in rows}
    if products := by_method.get("fifo"):
        values |= await _fifo_values(reader, products, day, quantities)
    return [
        level
        for product, places in levels.items()
        for level in _valued(product, places, quantities[product], values.get(product, 0))
    ]


async def _fifo_values(
    reader: Reader, products: Sequence[int], day: date, quantities: Mapping[int, int]
) -> dict[int, int]:
    ledgers = await reader.ledgers_of(dict.fromkeys(products, (day, day)))
    values: dict[int, int] = {}
    while len(values) < len(ledgers):
        for product, ledger in ledgers.items():
            if product not in values:
                try:
                    values[product] = ledger.curve.value(end_of(day), quantities[product])
                except Unread:
                    continue
        await reader.fill(ledgers)
    return values


def _valued(
    product_id: int, places: Sequence[tuple[int, int, bool]], quantity: int, value: int
) -> list[ValuedLevel]:
    """Split a product's value over its places."""
    if quantity:
        sign = 1 if quantity > 0 else -1
        numerators = [value * part * sign for _, part, _ in places]
        total = share(value, 1, _CENT)
        parts = by_largest_remainder(numerators, abs(quantity) * _CENT, total)
        unit_cost = share(value * sign, MILLION, abs(quantity))
    else:
        parts, unit_cost = [0] * len(places), 0
    return [
        ValuedLevel(
            product_id,
            location_id,
            _decimal(held),
            _decimal(unit_cost),
            Decimal(part).scaleb(-2),
            on_its_way,
        )
        for (location_id, held, on_its_way), part in zip(places, parts, strict=True)
    ]


def _decimal(millionths: int) -> Decimal:
    return Decimal(millionths).scaleb(-6)


# --- cost of goods sold -----------------------------------------------------------------

# The standard costs, each with the days that it holds on.
_STANDARDS: Final = """
    standard AS (
        SELECT product_id, unit_cost, day AS since,
               coalesce(lead(day) OVER w, 'infinity'::date) AS until
        FROM projections.cost_standard WHERE tenant_id = $1
        WINDOW w AS (PARTITION BY product_id ORDER BY day, effective_at, position)
    )
"""

# What was sold, and, of what is at standard cost, what that was: by period and product.
_SOLD: Final = f"""
WITH {_STANDARDS}, period AS (
    SELECT * FROM unnest($2::date[], $3::date[]) WITH ORDINALITY AS p (first, last, number)
)
SELECT t.number, d.product_id, {millionths("sum(d.sold_qty - d.returned_qty)")},
       {millionths("sum(coalesce(round(d.sold_qty * s.unit_cost, 6), 0) - d.returned_cost)")},
       coalesce(p.method, b.method, 'standard')
FROM period t
JOIN projections.cost_day d ON d.tenant_id = $1 AND d.day BETWEEN t.first AND t.last
LEFT JOIN projections.cost_product p
    ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
LEFT JOIN standard s
    ON s.product_id = d.product_id AND d.day >= s.since AND d.day < s.until
WHERE $4::bigint IS NULL OR d.product_id = $4
GROUP BY t.number, d.product_id, p.method, b.method
"""

_AVERAGED: Final = f"""
WITH period AS (
    SELECT * FROM unnest($2::date[], $3::date[]) WITH ORDINALITY AS p (first, last, number)
)
SELECT t.number, c.product_id, {millionths("sum(c.sold_cost)")}
FROM period t JOIN projections.cost_average c
    ON c.tenant_id = $1 AND c.day BETWEEN t.first AND t.last
WHERE $4::bigint IS NULL OR c.product_id = $4
GROUP BY t.number, c.product_id
"""


async def cogs_of_products(
    connection: Connection,
    tenant_id: int,
    first: date,
    last: date,
    *,
    product_id: int | None = None,
) -> list[ProductCogs]:
    """Return the products with sales, returns or costs from ``first`` to ``last``, by id."""
    ((units, cogs),) = await _cogs(connection, tenant_id, [(first, last)], product_id)
    return [
        ProductCogs(product, _decimal(units.get(product, 0)), _decimal(cogs.get(product, 0)))
        for product in sorted({*units, *cogs})
        if units.get(product) or cogs.get(product)
    ]


async def cogs_of_periods(
    connection: Connection, tenant_id: int, periods: Sequence[Period]
) -> list[Decimal]:
    """Return the cost of goods sold of all products in each period, first and last day included.

    Periods are in order and do not overlap. Up to six digits behind the point.
    """
    found = await _cogs(connection, tenant_id, periods, None)
    return [_decimal(sum(of_period.cogs.values())) for of_period in found]


class _PeriodCogs(NamedTuple):
    """What was sold in a period and what it did cost, by product, in millionths."""

    units: dict[int, int]
    cogs: dict[int, int]


async def _cogs(
    connection: Connection, tenant_id: int, periods: Sequence[Period], product_id: int | None
) -> list[_PeriodCogs]:
    """Return for each period what was sold and what it did cost, by product."""
    found = [_PeriodCogs({}, {}) for _ in periods]
    if not periods:
        return found
    first = [period[0] for period in periods]
    last = [period[1] for period in periods]
    methods: set[str] = set()
    fifo: dict[int, Period] = {}
    for row in await connection.fetch(_SOLD, tenant_id, first, last, product_id):
        number, product, sold, cost, method = row
        of_period = found[int(number) - 1]
        of_period.units[product] = int(sold)
        methods.add(method)
        if method == "standard":
            of_period.cogs[product] = int(cost)
        elif method == "fifo":
            fifo[product] = (first[0] - _DAY, last[-1])
    if "average" in methods:
        for row in await connection.fetch(_AVERAGED, tenant_id, first, last, product_id):
            number, product, cost = row
            found[int(number) - 1].cogs[product] = int(cost)
    if fifo:
        reader = Reader(connection, SCHEMA, tenant_id)
        for product, costs in (await _fifo_cogs(reader, fifo, periods)).items():
            for of_period, cost in zip(found, costs, strict=True):
                of_period.cogs[product] = cost
    return found


async def _fifo_cogs(
    reader: Reader, wanted: Mapping[int, Period], periods: Sequence[Period]
) -> dict[int, list[int]]:
    ledgers = await reader.ledgers_of(wanted)
    movements = await reader.movements(
        (product, day.day)
        for product, ledger in ledgers.items()
        for day in ledger.days
        if day.specials and any(first <= day.day <= last for first, last in periods)
    )
    found: dict[int, list[int]] = {}
    while len(found) < len(ledgers):
        for product, ledger in ledgers.items():
            if product not in found:
                try:
                    found[product] = _fifo_cogs_of(product, ledger, periods, movements)
                except Unread:
                    continue
        await reader.fill(ledgers)
    return found


def _fifo_cogs_of(
    product_id: int,
    ledger: Ledger,
    periods: Sequence[Period],
    movements: Mapping[DayKey, Sequence[Movement]],
) -> list[int]:
    """Return the cost of goods sold of one product in each period."""
    curve, days = ledger.curve, ledger.days
    quantity, index = ledger.opening, 0
    found: list[int] = []
    for first, last in periods:
        while index < len(days) and days[index].day < first:
            quantity += days[index].change
            index += 1
        start = index
        cogs = -sum(
            removal.layer.cost for removal in ledger.removals if first <= removal.place.day <= last
        )
        before = quantity
        while index < len(days) and days[index].day <= last:
            day = days[index]
            cogs += day.in_cost - day.returned_cost
            if day.specials:
                costs = costs_of_day(curve, quantity, movements[product_id, day.day])
                cogs += costs.gained - costs.others
            quantity += day.change
            index += 1
        if index > start:
            cogs += curve.value(end_of(first - _DAY), before) - curve.value(end_of(last), quantity)
        found.append(cogs)
    return found


# --- price variance ---------------------------------------------------------------------

_VARIANCE: Final = f"""
WITH {_STANDARDS}
SELECT d.product_id,
       {millionths("sum(d.bought_cost - coalesce(round(d.bought_qty * s.unit_cost, 6), 0))")}
FROM projections.cost_day d
LEFT JOIN projections.cost_product p
    ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
LEFT JOIN standard s
    ON s.product_id = d.product_id AND d.day >= s.since AND d.day < s.until
WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
  AND coalesce(p.method, b.method, 'standard') = 'standard'
GROUP BY d.product_id
HAVING sum(d.bought_cost - coalesce(round(d.bought_qty * s.unit_cost, 6), 0)) <> 0
ORDER BY d.product_id
"""


async def purchase_price_variance(
    connection: Connection, tenant_id: int, first: date, last: date
) -> dict[int, Decimal]:
    """Return by how much purchases at a stated cost were dearer than standard, by product.

    Below zero, they were cheaper. It is neither in the value of stock nor in the cost of goods
    sold of products at standard cost.
    """
    rows = await connection.fetch(_VARIANCE, tenant_id, first, last)
    return {product_id: _decimal(int(variance)) for product_id, variance in rows}
