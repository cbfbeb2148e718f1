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
    Special,
    cost_of,
    end_of,
    share,
)
from projections.costing_reads import DayKey, Ledger, Reader, millionths
from projections.money import by_largest_remainder
from projections.projection import SCHEMA, Connection

_DAY: Final = timedelta(days=1)
_CENT: Final = MILLION // 100
Period = tuple[date, date]


def day_before(day: date) -> date:
    """Return the day before; of the first day there is, which nothing moves on, itself."""
    return day - min(_DAY, day - date.min)


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
    asked = ledgers
    while asked:
        for product, ledger in asked.items():
            values[product] = ledger.curve.value(end_of(day), quantities[product])
        asked = await reader.fill(asked)
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
STANDARDS: Final = """
    standard AS (
        SELECT product_id, unit_cost, day AS since,
               coalesce(lead(day) OVER w, 'infinity'::date) AS until
        FROM projections.cost_standard WHERE tenant_id = $1
        WINDOW w AS (PARTITION BY product_id ORDER BY day, effective_at, position)
    )
"""

METHOD: Final = """
    LEFT JOIN projections.cost_product p
        ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
    LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
"""
AT_STANDARD: Final = """
    coalesce(round(d.sold_qty * s.unit_cost, 6), 0) - d.returned_cost
"""
STANDARD_OF_DAY: Final = """
    LEFT JOIN standard s
        ON s.product_id = d.product_id AND d.day >= s.since AND d.day < s.until
"""

# What was sold, and, of what is at standard cost, what that was.
_SOLD: Final = f"""
WITH {STANDARDS}
SELECT d.product_id, coalesce(p.method, b.method, 'standard'),
       {millionths("sum(d.sold_qty - d.returned_qty)")}, {millionths(f"sum({AT_STANDARD})")}
FROM projections.cost_day d {METHOD} {STANDARD_OF_DAY}
WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
  AND ($4::bigint IS NULL OR d.product_id = $4)
GROUP BY d.product_id, p.method, b.method
"""

_AVERAGED: Final = f"""
SELECT product_id, {millionths("sum(sold_cost)")} FROM projections.cost_average
WHERE tenant_id = $1 AND day BETWEEN $2 AND $3 AND ($4::bigint IS NULL OR product_id = $4)
GROUP BY product_id
"""

# The same of all products together, in periods that are in order: a day is in the last of them
# that has begun by then, unless that is over.
_PERIOD: Final = "width_bucket(d.day, $2::date[])"
_WITHIN: Final = f"d.day >= ($2::date[])[1] AND d.day <= ($3::date[])[{_PERIOD}]"
_SOLD_IN_PERIODS: Final = f"""
WITH {STANDARDS}
SELECT {_PERIOD}, {millionths(f"sum({AT_STANDARD})")}
FROM projections.cost_day d {METHOD} {STANDARD_OF_DAY}
WHERE d.tenant_id = $1 AND {_WITHIN}
  AND coalesce(p.method, b.method, 'standard') = 'standard'
GROUP BY 1
"""
_AVERAGED_IN_PERIODS: Final = f"""
SELECT {_PERIOD}, {millionths("sum(d.sold_cost)")} FROM projections.cost_average d
WHERE d.tenant_id = $1 AND {_WITHIN} GROUP BY 1
"""
_DEFAULT: Final = "SELECT method FROM projections.cost_books WHERE tenant_id = $1"


async def cogs_of_products(
    connection: Connection,
    tenant_id: int,
    first: date,
    last: date,
    *,
    product_id: int | None = None,
) -> list[ProductCogs]:
    """Return the products with sales, returns or costs from ``first`` to ``last``, by id."""
    units: dict[int, int] = {}
    cogs: dict[int, int] = {}
    methods: set[str] = set()
    fifo: dict[int, Period] = {}
    for row in await connection.fetch(_SOLD, tenant_id, first, last, product_id):
        product, method, sold, cost = row
        units[product] = int(sold)
        methods.add(method)
        if method == "standard":
            cogs[product] = int(cost)
        elif method == "fifo":
            fifo[product] = (day_before(first), last)
    if "average" in methods:
        rows = await connection.fetch(_AVERAGED, tenant_id, first, last, product_id)
        cogs |= {row[0]: int(row[1]) for row in rows}
    if fifo:
        reader = Reader(connection, SCHEMA, tenant_id)
        costs = await fifo_cogs(reader, await reader.ledgers_of(fifo), [(first, last)])
        cogs |= {product: cost for product, (cost,) in costs.items()}
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
    if not periods:
        return []
    first = [period[0] for period in periods]
    last = [period[1] for period in periods]
    totals = [0] * len(periods)
    for query in (_SOLD_IN_PERIODS, _AVERAGED_IN_PERIODS):
        for number, cost in await connection.fetch(query, tenant_id, first, last):
            totals[int(number) - 1] += int(cost)
    reader = Reader(connection, SCHEMA, tenant_id)
    method: str = await connection.fetchval(_DEFAULT, tenant_id) or "standard"
    whole = day_before(first[0]), last[-1]
    ledgers = await reader.ledgers_of(
        dict.fromkeys(await reader.moved_at_fifo(*whole, method), whole)
    )
    for costs in (await fifo_cogs(reader, ledgers, periods)).values():
        totals = [total + cost for total, cost in zip(totals, costs, strict=True)]
    return [_decimal(total) for total in totals]


async def fifo_cogs(
    reader: Reader, ledgers: Mapping[int, Ledger], periods: Sequence[Period]
) -> dict[int, list[int]]:
    """Return the cost of goods sold of each product in each period."""
    specials = await reader.specials(
        (product, day.day)
        for product, ledger in ledgers.items()
        for day in ledger.days
        if day.specials and any(first <= day.day <= last for first, last in periods)
    )
    found: dict[int, list[int]] = {}
    asked = ledgers
    while asked:
        for product, ledger in asked.items():
            found[product] = _fifo_cogs_of(product, ledger, periods, specials)
        asked = await reader.fill(asked)
    return found


def _fifo_cogs_of(
    product_id: int,
    ledger: Ledger,
    periods: Sequence[Period],
    specials: Mapping[DayKey, Sequence[Special]],
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
                of_day = specials[product_id, day.day]
                cogs -= sum(cost_of(curve, quantity, special) for special in of_day)
            quantity += day.change
            index += 1
        if index > start:
            cogs += curve.value(end_of(day_before(first)), before) - curve.value(
                end_of(last), quantity
            )
        found.append(cogs)
    return found


# --- price variance ---------------------------------------------------------------------

_DEARER: Final = "sum(d.bought_cost - coalesce(round(d.bought_qty * s.unit_cost, 6), 0))"
_VARIANCE: Final = f"""
WITH {STANDARDS}
SELECT d.product_id, {millionths(_DEARER)}
FROM projections.cost_day d {METHOD} {STANDARD_OF_DAY}
WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
  AND coalesce(p.method, b.method, 'standard') = 'standard'
GROUP BY d.product_id HAVING {_DEARER} <> 0
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
