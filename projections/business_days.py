"""Business days of many times in one go, each by the zone that its place had by then."""

from collections.abc import Iterator
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from ledger.domain.books import day_in, is_zone
from projections.log_columns import EPOCH, Ints, Stretch, instant
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised

_UTC_NAME: Final = "UTC"
_HOUR_US: Final = 3600 * 1_000_000
_DAY_US: Final = 24 * _HOUR_US
_FIRST_DAY: Final = EPOCH.date().toordinal()
_ZONING: Final[frozenset[type[Event]]] = frozenset({LocationOpened, LocationRevised})


class BusinessDays:
    """Follows the zones of places through the log."""

    def __init__(self) -> None:
        self.zones: dict[int, str] = {}

    def of(self, stretch: Stretch, positions: Ints, places: Ints, times: Ints) -> Ints:
        """Take a stretch's zones in; return the days of what is at ``positions``, which ascend.

        Days are days since 2000, times microseconds since 2000 UTC.
        """
        found = times // _DAY_US
        done = 0
        for position, place, zone in _zonings(stretch):
            if self.zones.get(place) != zone:
                until = int(np.searchsorted(positions, position))
                self._shift(found, places, times, slice(done, until))
                done = until
                self.zones[place] = zone
        self._shift(found, places, times, slice(done, None))
        return found

    def _shift(self, days: Ints, places: Ints, times: Ints, span: slice) -> None:
        """Give what is in zones other than UTC its days, by the zones as they are."""
        places, times, days = places[span], times[span], days[span]
        if not len(places):
            return
        zoned = {place: zone for place, zone in self.zones.items() if zone != _UTC_NAME}
        by_zone: dict[str, list[int]] = {}
        for place in np.intersect1d(places, list(zoned)).tolist():
            by_zone.setdefault(zoned[place], []).append(place)
        for zone, its in by_zone.items():
            here = np.flatnonzero(np.isin(places, its))
            days[here] = days_in(zone, times[here])


def days_in(zone: str, times: Ints) -> Ints:
    """Return the day of each time in a zone; a name that is no zone's stands for UTC."""
    if not len(times) or not is_zone(zone):
        return times // _DAY_US
    info = ZoneInfo(zone)
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    firsts = np.flatnonzero(np.diff(ordered // _HOUR_US, prepend=ordered[0] // _HOUR_US - 1))
    ends = np.append(firsts[1:], len(ordered))
    early = _offsets(info, ordered[firsts])
    late = _offsets(info, ordered[ends - 1])
    days = (ordered + np.repeat(early, ends - firsts)) // _DAY_US
    # Where the clocks were changed within the hour, each time is looked at by itself.
    for block in np.flatnonzero(early != late).tolist():
        for row in range(int(firsts[block]), int(ends[block])):
            days[row] = number_of(day_in(zone, instant(ordered[row])))
    found = np.empty_like(days)
    found[order] = days
    return found


def number_of(day: date) -> int:
    """Return a date in days since 2000."""
    return day.toordinal() - _FIRST_DAY


def date_of(day: int) -> date:
    """Return a day, in days since 2000, as a date."""
    return date.fromordinal(day + _FIRST_DAY)


def _offsets(info: ZoneInfo, times: Ints) -> Ints:
    """Return how far ahead of UTC a zone was at each time, in microseconds."""
    seconds: list[float] = []
    for time in times.tolist():
        offset = instant(time).astimezone(info).utcoffset()
        assert offset is not None, "a time in a zone is so much ahead"
        seconds.append(offset.total_seconds())
    return np.array(seconds, np.int64) * 1_000_000


def _zonings(stretch: Stretch) -> Iterator[tuple[int, int, str]]:
    """Yield where zones were stated: position, location and zone, in order."""
    found: list[tuple[int, int, str]] = []
    for column in stretch.of(_ZONING):
        events: Any = zip(column.positions.tolist(), column.events, strict=True)
        found += [(position, event.location_id, event.time_zone) for position, event in events]
    yield from sorted(found)
