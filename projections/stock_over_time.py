"""What was on hand at the end of each of some days, by location."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Context, Decimal, localcontext
from typing import Final

from projections.projection import Connection

# A day is in the last period that has ended by the day before it; what is before all is in 0.
_CHANGES: Final = """
SELECT location_id, width_bucket(day, $4::date[]) AS bucket, sum(change) AS change
FROM projections.stock_by_day
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR product_id = $2)
  AND ($3::bigint IS NULL OR location_id = $3) AND day <= $5
GROUP BY 1, 2 ORDER BY 1, 2
"""
_UNITS: Final = """
SELECT DISTINCT unit FROM projections.product
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR product_id = $2) ORDER BY unit
"""
_EXACT: Final = Context(prec=60)


async def closings(
    connection: Connection,
    tenant_id: int,
    starts: Sequence[date],
    last: date,
    *,
    product_id: int | None = None,
    location_id: int | None = None,
) -> Mapping[int, Sequence[Decimal]]:
    """Return what was on hand at the end of each period, by location.

    Periods begin at ``starts``, in order, each ends where the next begins, and the last one at
    ``last``. Of all products together where none is named. Days are the location's.
    """
    rows = await connection.fetch(_CHANGES, tenant_id, product_id, location_id, list(starts), last)
    changes: dict[int, dict[int, Decimal]] = {}
    for place, bucket, change in rows:
        changes.setdefault(place, {})[bucket] = change
    found: dict[int, Sequence[Decimal]] = {}
    with localcontext(_EXACT):
        for place, of_place in changes.items():
            held = of_place.get(0, Decimal(0))
            levels: list[Decimal] = []
            for number in range(1, len(starts) + 1):
                held += of_place.get(number, Decimal(0))
                levels.append(held)
            found[place] = levels
    return found


async def units_of(
    connection: Connection, tenant_id: int, product_id: int | None = None
) -> Sequence[str]:
    """Return the units that products are counted in, all of them or one."""
    return [row[0] for row in await connection.fetch(_UNITS, tenant_id, product_id)]
