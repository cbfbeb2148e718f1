"""How much of each lot is at a place from a time on, and which lots are picked.

**What is picked** without a lot being named goes out FEFO, first expired first out: by removal
date (the expiry date without one), then expiry, receipt and lot id; what is of no known lot
comes last. Goods that leave for use, in an issue or a transfer, are of no lot whose removal
date is past by then.

**What is missing** by a count is of no known lot as far as there is some, and then of the lots
that were registered last: those that are picked last should be there still.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.domain.backdating import later_events
from ledger.domain.decision import Facts, RecordedEvent, State
from ledger.domain.lot import LotState, stream
from ledger.domain.movements import QUARANTINE, UNRESTRICTED, legs, parts_of
from ledger.domain.posting import Place, is_late
from ledger.domain.stock_state import ZERO
from schemas.common import Event
from schemas.stock import Account, CountVarianceRevised, LotPart

Key = int | None
"""A lot's id, `NUMBERED` for units whose serial numbers are known, None for what is of none."""

_ON_HAND: Final = frozenset({UNRESTRICTED, QUARANTINE})
_Changes = list[tuple[datetime, Decimal]]


class Lowest(NamedTuple):
    """The least there is of something from a time on, and when; None when it is at once."""

    quantity: Decimal
    at: datetime | None


class Timeline:
    """What there is of each lot at a place, from the time of a movement on.

    Figures are those after everything of a time. What a decision is about to change can be
    added, to see what is left then.
    """

    def __init__(self, place: Place, facts: Facts) -> None:
        self._at = facts.now if place.at is None else place.at
        stock = place.stock
        self._start: dict[tuple[Key, Account], Decimal] = defaultdict(Decimal)
        for lot_id, balance in stock.lots.items():
            self._start[lot_id, UNRESTRICTED] = balance.unrestricted
            self._start[lot_id, QUARANTINE] = balance.quarantine
        totals: tuple[tuple[Account, Decimal], ...] = (
            (UNRESTRICTED, stock.unrestricted),
            (QUARANTINE, stock.quarantine),
        )
        for account, total in totals:
            known = sum((self._start[lot_id, account] for lot_id in stock.lots), ZERO)
            self._start[None, account] = total - known
        self._changes: dict[tuple[Key, Account], _Changes] = defaultdict(list)
        if place.at is not None and is_late(place):
            for later in later_events(facts, place.stream, place.at):
                for key, account, change in changes_of(later.event, place.location_id):
                    self._start[key, account] -= change
                    self._changes[key, account].append((later.effective_at, change))

    @property
    def lot_ids(self) -> list[int]:
        """The lots of which there is some, at some time."""
        return sorted({key for key, _ in self._start if key is not None})

    def add(
        self, at: datetime | None, account: Account, parts: Mapping[Key, Decimal], sign: int = 1
    ) -> None:
        """Take into account what a decision changes at a time; None is the movement's own."""
        for key, quantity in parts.items():
            self._changes[key, account].append((at or self._at, sign * quantity))

    def lowest(self, key: Key, account: Account, since: datetime | None = None) -> Lowest:
        """Return the least there is of a lot in an account from ``since`` on."""
        start = self._at if since is None else max(since, self._at)
        value = self._start.get((key, account), ZERO)
        steps = sorted(self._changes.get((key, account), ()), key=lambda change: change[0])
        index = 0
        while index < len(steps) and steps[index][0] <= start:
            value += steps[index][1]
            index += 1
        low = Lowest(value, None if start == self._at else start)
        while index < len(steps):
            at = steps[index][0]
            while index < len(steps) and steps[index][0] == at:
                value += steps[index][1]
                index += 1
            if value < low.quantity:
                low = Lowest(value, at)
        return low


def changes_of(event: Event, location_id: int) -> Iterator[tuple[Key, Account, Decimal]]:
    """Yield what an event changes at a location, lot by lot; None is what is of no known one."""
    leg = legs(event)
    if leg is None:
        return
    parts: list[tuple[Key, Decimal]] = [*parts_of(event)]
    rest = leg.quantity - sum((quantity for _, quantity in parts), ZERO)
    if rest:
        parts.append((None, rest))
    for key, quantity in parts:
        if leg.from_location_id == location_id and leg.from_account in _ON_HAND:
            yield key, leg.from_account, -quantity
        if leg.to_location_id == location_id and leg.to_account in _ON_HAND:
            yield key, leg.to_account, quantity


def later_streams(facts: Facts) -> dict[str, None]:
    """Return the streams of the lots that later events are of: they may be here no more."""
    return {
        stream(part.lot_id): None
        for later in facts.later.values()
        for recorded in later
        for part in getattr(recorded.event, "lots", ())
    }


# --- picking ----------------------------------------------------------------------------


_NONE_FIRST: Final[Mapping[Key, Decimal]] = {}


class Picked(NamedTuple):
    """What was picked, by lot, and what could not be."""

    parts: dict[Key, Decimal]
    short: Decimal


def pick(
    timeline: Timeline,
    account: Account,
    quantity: Decimal,
    keys: Sequence[Key],
    since: datetime | None = None,
    first: Mapping[Key, Decimal] = _NONE_FIRST,
) -> Picked:
    """Take a quantity from lots in an order, from each as much as it has from then on.

    Before all else so much is taken of those that come ``first``, in the same order.
    """
    parts: dict[Key, Decimal] = {}
    left = quantity
    rounds = ([key for key in keys if key in first], keys) if first else (keys,)
    for number, of_round in enumerate(rounds, start=1):
        for key in of_round:
            if not left:
                break
            taken = parts.get(key, ZERO)
            part = min(timeline.lowest(key, account, since).quantity - taken, left)
            if number < len(rounds):
                part = min(part, first[key])
            if part > 0:
                parts[key] = taken + part
                left -= part
    return Picked(parts, left)


class Order(NamedTuple):
    """Lots in the order in which they are picked, and those that are past their removal date."""

    lot_ids: Sequence[int]
    past: Sequence[int]


def first_expired_first(
    place: Place, timeline: Timeline, states: Mapping[str, State], day: date | None
) -> Order:
    """Return lots FEFO. With a ``day`` those due for removal by it are set apart.

    A lot whose state was not read is one that is here no more, and is left out.
    """
    ranked: list[tuple[date, date, datetime, int]] = []
    balances = place.stock.lots
    for lot_id in timeline.lot_ids:
        lot: LotState | None = states.get(stream(lot_id))
        if lot is None:
            continue
        balance = balances.get(lot_id)
        # One that is all gone by now is of interest only where a count gives it back.
        since = _LATEST if balance is None else balance.since
        ranked.append((lot.goes_out_before, lot.expires, since, lot_id))
    ranked.sort()
    past = [] if day is None else [rank[3] for rank in ranked if rank[0] <= day]
    return Order([rank[3] for rank in ranked if rank[3] not in past], past)


_LATEST: Final = datetime.max.replace(tzinfo=UTC)


def missing_first(timeline: Timeline, own: Iterable[Key] = ()) -> list[Key]:
    """Return the order in which lots are missing; ``own`` come right behind what is of none."""
    keys: dict[Key, None] = {None: None, **dict.fromkeys(own)}
    keys.update(dict.fromkeys(reversed(timeline.lot_ids)))
    return list(keys)


def business_day(place: Place, now: datetime) -> date:
    """Return the day of a movement, by the clock of its location."""
    return (place.at or now).astimezone(ZoneInfo(place.location.time_zone)).date()


# --- counts -----------------------------------------------------------------------------


def found_by(events: Iterable[RecordedEvent], count_position: int) -> dict[Key, Decimal]:
    """Return what a count has changed of each lot with all its revisions; zeros left out."""
    found: dict[Key, Decimal] = defaultdict(Decimal)
    for recorded in events:
        event = recorded.event
        is_revision = (
            isinstance(event, CountVarianceRevised) and event.count_position == count_position
        )
        if is_revision or recorded.position == count_position:
            place: int = getattr(event, "location_id", 0)
            for key, _, change in changes_of(event, place):
                found[key] += change
    return {key: change for key, change in found.items() if change}


def given_back(found: Mapping[Key, Decimal], quantity: Decimal) -> dict[Key, Decimal]:
    """Return which lots a count that missed too much gives back: known ones first."""
    parts: dict[Key, Decimal] = {}
    left = quantity
    for key in sorted(found, key=lambda key: (key is None, key or 0)):
        part = min(-found[key], left)
        if part > 0:
            parts[key] = part
            left -= part
    if left:
        parts[None] = parts.get(None, ZERO) + left
    return parts


def lot_parts(parts: Mapping[Key, Decimal]) -> tuple[LotPart, ...]:
    """Return parts as events hold them: what is of no known lot goes without saying."""
    return tuple(
        LotPart(lot_id=key, quantity=quantity)
        for key, quantity in parts.items()
        if key is not None and quantity
    )
