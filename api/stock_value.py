"""What stock is worth now, for the pages that show it beside other figures."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Final

from api.context import Call
from api.past import reading_at
from api.reads import Reading
from projections.valuation_queries import ValuedLevel, inventory_value

VALUATION: Final = "valuation"

# By the books as they are written with the events: the valuation hears of a change later.
_AT_STANDARD = """
SELECT NOT EXISTS (
    SELECT FROM projections.books WHERE tenant_id = $1 AND valuation_method <> 'standard'
) AND NOT EXISTS (
    SELECT FROM projections.books_product WHERE tenant_id = $1 AND valuation_method <> 'standard'
)
"""


@asynccontextmanager
async def reading_values(
    call: Call, values: Mapping[str, Any], projections: Sequence[str]
) -> AsyncGenerator[tuple[Reading, Sequence[ValuedLevel] | None]]:
    """Open a reading at the moment that a query asks for, with what every level is worth in it.

    ``projections`` are those that are read besides (`api.past.reading_at`). None in place of the
    levels says that all are worth their cost price: that needs no other projection, and so is of
    this very instant. Otherwise the reading is one that the valuation has reached. Raises what
    `reading_at` raises.
    """
    async with reading_at(call, values, (*projections, "books")) as read:
        if await read.connection.fetchval(_AT_STANDARD, read.tenant_id):
            yield read, None
            return
    async with reading_at(call, values, (*projections, VALUATION)) as read:
        yield read, await inventory_value(read.connection, read.tenant_id, date.max)
