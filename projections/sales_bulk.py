"""Sales by business day folded in memory: the quick way into empty tables.

What goes to a customer or comes from one is gone through one by one, by the very rules of
`projections.sales`; all else is left out by column.
"""

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np

from ledger.domain.movements import CUSTOMER
from projections.binary_copy import bigints, binary_rows, decimals, integer
from projections.bulk import Copied, CopyRows, text_row, text_rows
from projections.log_columns import Column, Ints, Stretch
from projections.moves import ACCOUNT_NUMBERS, Moves, in_millionths
from projections.projection import Connection
from projections.sales import EXACT, Days, Sales, add_up, is_sale
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import MovementReversed

# What 16 bytes are of a row that is held.
_PRICES_A_ROW = 16
_MILLIONTH_DIGITS = 6


class _Prices(NamedTuple):
    """What a stretch's sales were priced at, in millionths, by position."""

    positions: Ints
    prices: Ints


class SalesBulk:
    """One tenant's days and zones; prices are given out as they are met, and remembered."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._zones: dict[int, str] = {}
        self._days: Days = {}
        self._prices: list[_Prices] = []
        self._priced = 0

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._zones) + len(self._days) + self._priced // _PRICES_A_ROW

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell that any can be folded: sums have as many digits as they need."""
        return True

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; return the prices."""
        customer = ACCOUNT_NUMBERS[CUSTOMER]
        sold = (moves.from_accounts == customer) | (moves.to_accounts == customer)
        positions = moves.positions[sold]

        def concerned(column: Column) -> Ints | None:
            if column.kind in (LocationOpened, LocationRevised):
                return None
            return np.flatnonzero(np.isin(column.positions, positions))

        events = stretch.in_order(Sales.event_types, concerned)
        undone = (
            recorded.event.reversed_position
            for recorded in events
            if isinstance(recorded.event, MovementReversed) and is_sale(recorded.event)
        )
        with localcontext(EXACT):
            days, _, priced = add_up(events, self._zones, self._known(undone))
            for key, figures in days.items():
                before = self._days.get(key)
                self._days[key] = (
                    figures
                    if before is None
                    else [a + b for a, b in zip(before, figures, strict=True)]
                )
        if not priced:
            return {}
        at, prices = zip(*priced, strict=True)
        known = _Prices(np.array(at, np.int64), in_millionths(prices))
        self._prices.append(known)
        self._priced += len(priced)
        rows = binary_rows(
            integer(self._tenant_id), bigints(known.positions), decimals(known.prices)
        )
        return {"sale_price": Copied(rows)}

    def _known(self, positions: Iterable[int]) -> dict[int, Decimal]:
        """Return the prices of positions in stretches before, those that have one."""
        found: dict[int, Decimal] = {}
        for position in positions:
            nth = bisect_right(self._prices, position, key=_first) - 1
            if nth >= 0:
                known = self._prices[nth]
                row = int(np.searchsorted(known.positions, position))
                if row < len(known.positions) and known.positions[row] == position:
                    price = Decimal(int(known.prices[row])).scaleb(-_MILLIONTH_DIGITS)
                    found[position] = price
        return found

    def finish(self) -> CopyRows:
        """Return the days, and the zones."""
        days = text_rows(
            text_row(self._tenant_id, *key, *figures) for key, figures in self._days.items()
        )
        zones = text_rows(text_row(self._tenant_id, *zoned) for zoned in self._zones.items())
        return {"sales_day": days, "sales_zone": zones}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


def _first(known: _Prices) -> int:
    return int(known.positions[0])
