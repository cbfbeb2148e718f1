"""Stock by business day folded in memory: the quick way into empty tables."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from projections.binary_copy import bigints, binary_rows, dates, decimals, integer
from projections.bulk import Copied, CopyRows, text_field, text_rows
from projections.log_columns import EPOCH, Ints, Stretch, instant
from projections.moves import ACCOUNT_NUMBERS, ACCOUNTS, Moves, Slots, Sums, Total
from projections.projection import Connection
from projections.stock_by_day import (
    CHANGE,
    ELSEWHERE,
    FIGURE_OF,
    FIGURES,
    MOVEMENTS,
    ON_HAND,
    UTC_NAME,
    day_of,
)
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised

_DAY_US: Final = 24 * 3600 * 1_000_000
_FIRST_DAY: Final = EPOCH.date().toordinal()
_ZONING: Final[frozenset[type[Event]]] = frozenset({LocationOpened, LocationRevised})
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
        self._zones: dict[int, str] = {}
        self._places = Slots()
        self._days = Slots()
        self._sums = Sums(MOVEMENTS + 1)
        self._total = Total()

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._zones) + len(self._days.pairs)

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether every figure would still be held exactly."""
        return self._total.takes(moves)

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; none of their rows is final."""
        self._total.add(moves)
        done = 0
        for position, location_id, zone in _zonings(stretch):
            if self._zones.get(location_id) != zone:
                until = int(np.searchsorted(moves.positions, position))
                self._add_up(moves.only(slice(done, until)))
                done = until
                self._zones[location_id] = zone
        self._add_up(moves.only(slice(done, None)))
        return {}

    def _add_up(self, moves: Moves) -> None:
        """Add movements to days, by the zones as they are."""
        arriving = _IS_ON_HAND[moves.to_accounts]
        counted = np.flatnonzero(arriving != _IS_ON_HAND[moves.from_accounts])
        if not len(counted):
            return
        moves, arriving = moves.only(counted), arriving[counted]
        places = np.where(arriving, moves.to_places, moves.from_places)
        others = np.where(arriving, moves.from_accounts, moves.to_accounts)
        other_places = np.where(arriving, moves.from_places, moves.to_places)
        changes = np.where(arriving, moves.quantities, -moves.quantities)
        rows = self._days.of(
            self._places.of(moves.products, places), self._dates(moves.effective, places)
        )
        is_elsewhere = (others == _IN_TRANSIT) & (other_places != places)
        figures = np.where(is_elsewhere, ELSEWHERE[0], _FIGURE[others])
        signs = np.where(is_elsewhere, ELSEWHERE[1], _SIGN[others])
        sums = self._sums.reach(len(self._days.pairs))
        np.add.at(sums, (rows, figures), signs * changes)
        np.add.at(sums[:, CHANGE], rows, changes)
        np.add.at(sums[:, MOVEMENTS], rows, 1)

    def _dates(self, times: Ints, places: Ints) -> Ints:
        """Return the business day of each time at each place, in days since 2000."""
        found = times // _DAY_US
        zoned = {place: zone for place, zone in self._zones.items() if zone != UTC_NAME}
        for place in np.intersect1d(places, list(zoned)).tolist():
            here = np.flatnonzero(places == place)
            distinct, which = np.unique(times[here], return_inverse=True)
            zone = zoned[place]
            days = [day_of(instant(at), zone).toordinal() - _FIRST_DAY for at in distinct.tolist()]
            found[here] = np.array(days)[which]
        return found

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
            for place, zone in self._zones.items()
        )
        return {"stock_by_day": Copied(rows), "stock_by_day_zone": zones}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


def _zonings(stretch: Stretch) -> Iterator[tuple[int, int, str]]:
    """Yield where zones were stated: position, location and zone, in order."""
    found: list[tuple[int, int, str]] = []
    for column in stretch.of(_ZONING):
        events: Any = zip(column.positions.tolist(), column.events, strict=True)
        found += [(position, event.location_id, event.time_zone) for position, event in events]
    yield from sorted(found)
