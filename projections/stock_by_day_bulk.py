"""Stock by business day folded in memory: the quick way into empty tables."""

from typing import Final

import numpy as np

from projections.binary_copy import bigints, binary_rows, dates, decimals, integer
from projections.bulk import Copied, CopyRows, text_field, text_rows
from projections.business_days import BusinessDays
from projections.log_columns import Stretch
from projections.moves import ACCOUNT_NUMBERS, ACCOUNTS, Moves, Slots, Sums, Total
from projections.projection import Connection
from projections.stock_by_day import (
    CHANGE,
    ELSEWHERE,
    FIGURE_OF,
    FIGURES,
    MOVEMENTS,
    ON_HAND,
)

_IS_ON_HAND: Final = np.array([account in ON_HAND for account in ACCOUNTS])
# By the number of the account at the other end. Both ends on hand is no movement here.
_OTHER: Final = [FIGURE_OF.get(account, (CHANGE, 0)) for account in ACCOUNTS]
_FIGURE: Final = np.array([figure for figure, _ in _OTHER])
_SIGN: Final = np.array([sign for _, sign in _OTHER])
_IN_TRANSIT: Final = ACCOUNT_NUMBERS["in_transit"]


class StockByDayBulk:
    """One tenant's days, in memory."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._business_days = BusinessDays()
        self._places = Slots()
        self._days = Slots()
        self._sums = Sums(MOVEMENTS + 1)
        self._total = Total()

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._business_days.zones) + len(self._days.pairs)

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether every figure would still be held exactly."""
        return self._total.takes(moves)

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; none of their rows is final."""
        self._total.add(moves)
        arriving = _IS_ON_HAND[moves.to_accounts]
        counted = np.flatnonzero(arriving != _IS_ON_HAND[moves.from_accounts])
        moves, arriving = moves.only(counted), arriving[counted]
        places = np.where(arriving, moves.to_places, moves.from_places)
        others = np.where(arriving, moves.from_accounts, moves.to_accounts)
        other_places = np.where(arriving, moves.from_places, moves.to_places)
        changes = np.where(arriving, moves.quantities, -moves.quantities)
        days = self._business_days.of(stretch, moves.positions, places, moves.effective)
        rows = self._days.of(self._places.of(moves.products, places), days)
        is_elsewhere = (others == _IN_TRANSIT) & (other_places != places)
        figures = np.where(is_elsewhere, ELSEWHERE[0], _FIGURE[others])
        signs = np.where(is_elsewhere, ELSEWHERE[1], _SIGN[others])
        sums = self._sums.reach(len(self._days.pairs))
        np.add.at(sums, (rows, figures), signs * changes)
        np.add.at(sums[:, CHANGE], rows, changes)
        np.add.at(sums[:, MOVEMENTS], rows, 1)
        return {}

    def finish(self) -> CopyRows:
        """Return the days, and the zones."""
        places, days = self._days.columns()
        pairs = np.array(self._places.pairs, np.int64).reshape(-1, 2)[places]
        sums = self._sums.rows[: len(places)]
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(pairs[:, 0]),
            bigints(pairs[:, 1]),
            dates(days),
            *(decimals(sums[:, figure]) for figure in range(len(FIGURES))),
            bigints(sums[:, MOVEMENTS]),
        )
        zones = text_rows(
            f"{self._tenant_id}\t{place}\t{text_field(zone)}\n"
            for place, zone in self._business_days.zones.items()
        )
        return {"stock_by_day": Copied(rows), "stock_by_day_zone": zones}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""
