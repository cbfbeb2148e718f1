"""Reading stock at a moment: by the history of stock, which needs no fold however long a log is."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from api.context import Call
from api.moments import moment_of
from api.problems import Problem
from api.reads import Reading, reading
from projections.past import Moment, time_of
from projections.stock_history_queries import HistoryIsBehind, StockHistoryReader, open_history


class StockReading(NamedTuple):
    """A reading of the present, or with ``moment`` one of the past at that time, ``now``."""

    read: Reading
    moment: Moment | None
    now: datetime | None

    async def history(self, product_id: int | None = None) -> StockHistoryReader:
        """Return what reads stock at the moment; with ``product_id``, of that product alone.

        Raises Problem (412) while the history of stock is too far behind.
        """
        assert self.moment is not None, "the present is in the read models"
        try:
            return await open_history(
                self.read.connection,
                self.read.tenant_id,
                self.moment,
                now=self.now,
                product_id=product_id,
            )
        except HistoryIsBehind as behind:
            raise Problem(
                "not_yet",
                f"The history of stock is at position {behind.position}, not yet near "
                f"{self.moment.position}; try again.",
                headers=[(b"retry-after", b"1")],
                position=behind.position,
            ) from None


@asynccontextmanager
async def reading_stock(call: Call, values: Mapping[str, Any]) -> AsyncGenerator[StockReading]:
    """Open a snapshot for stock at the moment that a query asks for, or of the present.

    ``values`` are a query's, with `MIN_POSITION` and `MOMENT_PARAMETERS`. The position of what it
    gives is the moment's. Raises what `reading` and `moment_of` raise.
    """
    async with reading(call, values["min_position"]) as read:
        moment = await moment_of(read, values)
        if moment is None:
            yield StockReading(read, None, None)
            return
        known_at = values["known_at"]
        if moment.as_of is None and isinstance(known_at, datetime):
            now = known_at
        else:
            now = await time_of(read.connection, read.tenant_id, moment)
        read = read._replace(position=moment.position, moment=moment, now=now)
        yield StockReading(read, moment, now)
