"""What stock was worth at the end of each of some periods, all its places together.

The same figures as `projections.valuation_queries.inventory_value` at each of the days, read once
for all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from projections.costing import MILLION, end_of, share
from projections.costing_reads import Reader, millionths
from projections.projection import SCHEMA, Connection

_CENT: Final = MILLION // 100

# A day is in the last period that has begun by then; what is before all of them is in 0.
_PERIOD: Final = "width_bucket(d.day, $2::date[])"
_CHANGES: Final = f"""
SELECT d.product_id, coalesce(p.method, b.method, 'standard'), {_PERIOD},
       {millionths("sum(d.on_hand + d.in_transit)")}
FROM projections.cost_day d
LEFT JOIN projections.cost_product p
    ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
WHERE d.tenant_id = $1 AND d.day <= $3 AND ($4::bigint IS NULL OR d.product_id = $4)
GROUP BY 1, 2, 3
"""
_CLOSINGS: Final = f"""
SELECT DISTINCT ON (d.product_id, 2) d.product_id, {_PERIOD}, {millionths("d.value")}
FROM projections.cost_average d
WHERE d.tenant_id = $1 AND d.day <= $3 AND d.product_id = ANY ($4::bigint[])
ORDER BY d.product_id, 2, d.day DESC
"""


async def values_at_ends(
    connection: Connection,
    tenant_id: int,
    starts: Sequence[date],
    last: date,
    *,
    product_id: int | None = None,
) -> list[Decimal]:
    """Return the value of stock at the end of each period, in whole cents.

    Periods begin at ``starts``, in order, each ends where the next begins, and the last one at
    ``last``. Of one product, or of all.
    """
    rows = await connection.fetch(_CHANGES, tenant_id, list(starts), last, product_id)
    changes: dict[int, dict[int, int]] = {}
    by_method: dict[str, dict[int, None]] = {}
    for product, method, period, change in rows:
        changes.setdefault(product, {})[period] = int(change)
        by_method.setdefault(method, {})[product] = None
    held = {product: _carried(of_product, len(starts)) for product, of_product in changes.items()}
    ends = [*(start - timedelta(days=1) for start in starts[1:]), last]
    reader = Reader(connection, SCHEMA, tenant_id)
    totals = [0] * len(starts)
    if products := list(by_method.get("standard", ())):
        for product, standards in (await reader.standards(products, only_prices=False)).items():
            pairs = zip(ends, held[product], strict=True)
            _add(totals, held[product], [share(standards.on(d), q, MILLION) for d, q in pairs])
    if products := list(by_method.get("average", ())):
        closings: dict[int, dict[int, int]] = {}
        rows = await connection.fetch(_CLOSINGS, tenant_id, list(starts), last, products)
        for product, period, value in rows:
            closings.setdefault(product, {})[period] = int(value)
        for product, of_product in closings.items():
            _add(totals, held[product], _latest(of_product, len(starts)))
    if products := list(by_method.get("fifo", ())):
        for product, values in (await _fifo(reader, products, ends, held)).items():
            _add(totals, held[product], values)
    return [Decimal(total).scaleb(-2) for total in totals]


def _carried(changes: Mapping[int, int], count: int) -> list[int]:
    """Return what all changes up to each period come to."""
    quantity = changes.get(0, 0)
    found: list[int] = []
    for period in range(1, count + 1):
        quantity += changes.get(period, 0)
        found.append(quantity)
    return found


def _latest(values: Mapping[int, int], count: int) -> list[int]:
    """Return the last value that was there in each period or before it."""
    value = values.get(0, 0)
    found: list[int] = []
    for period in range(1, count + 1):
        value = values.get(period, value)
        found.append(value)
    return found


async def _fifo(
    reader: Reader,
    products: Sequence[int],
    ends: Sequence[date],
    held: Mapping[int, Sequence[int]],
) -> dict[int, list[int]]:
    asked = await reader.ledgers_of(dict.fromkeys(products, (ends[0], ends[-1])))
    found: dict[int, list[int]] = {}
    while asked:
        for product, ledger in asked.items():
            pairs = zip(ends, held[product], strict=True)
            found[product] = [ledger.curve.value(end_of(day), quantity) for day, quantity in pairs]
        asked = await reader.fill(asked)
    return found


def _add(totals: list[int], held: Sequence[int], values: Iterable[int]) -> None:
    """Add a product's values, each in whole cents; of nothing it is nothing."""
    for number, (quantity, value) in enumerate(zip(held, values, strict=True)):
        if quantity:
            totals[number] += share(value, 1, _CENT)
