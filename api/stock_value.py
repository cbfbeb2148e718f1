"""What stock is worth now, for the pages that show it beside other figures."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Final

from api.context import Call
from api.reads import Reading, reading
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
    call: Call, min_position: int | None
) -> AsyncGenerator[tuple[Reading, Sequence[ValuedLevel] | None]]:
    """Open a snapshot, with what every level is worth in it.

    None in place of the levels says that all are worth their cost price: that needs no other
    projection, and so is of this very instant. Otherwise the snapshot is one that the valuation
    has reached. Raises what `reading` raises.
    """
    async with reading(call, min_position) as read:
        if await read.connection.fetchval(_AT_STANDARD, read.tenant_id):
            yield read, None
            return
    async with reading(call, min_position, following=(VALUATION,)) as read:
        yield read, await inventory_value(read.connection, read.tenant_id, date.max)
