"""Time in the world as against order in the log: what was so at a time, and what was later.

Events are ordered by effective time, and events of one time by their order in the log. A
movement recorded now at a past time comes after all that is recorded of that very time, so a
count of that time is before it and leaves it its effect.

Figures at a time are those after everything of that time, so availability is looked at once a
time: of two events of one instant neither is the lower point.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from ledger.domain.decision import Facts, RecordedEvent
from ledger.domain.movements import QUARANTINE, UNRESTRICTED, claim_of, legs
from ledger.domain.stock_state import ZERO
from schemas.common import Event
from schemas.stock import MovementReversed, StockCounted


class Effect(NamedTuple):
    """What an event changes at one location: two balances and what is claimed."""

    unrestricted: Decimal = ZERO
    quarantine: Decimal = ZERO
    claimed: Decimal = ZERO

    @property
    def on_hand(self) -> Decimal:
        """The change of what is on the premises."""
        return self.unrestricted + self.quarantine

    @property
    def available(self) -> Decimal:
        """The change of what may be issued or reserved."""
        return self.unrestricted - self.claimed


class Change(NamedTuple):
    """A difference from a time on: of available, and of what is in quarantine."""

    at: datetime
    available: Decimal
    quarantine: Decimal


class Shortfall(NamedTuple):
    """The first time when a figure would be too low: what it is now, and what was to go."""

    at: datetime
    present: Decimal
    requested: Decimal


_NO_EFFECT: Final = Effect()


def effect_of(event: Event, location_id: int) -> Effect:
    """Return what a stock event changes at a location."""
    leg = legs(event)
    claim = claim_of(event)
    if leg is None and claim is None:
        return _NO_EFFECT
    unrestricted = quarantine = ZERO
    if leg is not None:
        if leg.from_location_id == location_id:
            if leg.from_account == UNRESTRICTED:
                unrestricted -= leg.quantity
            elif leg.from_account == QUARANTINE:
                quarantine -= leg.quantity
        if leg.to_location_id == location_id:
            if leg.to_account == UNRESTRICTED:
                unrestricted += leg.quantity
            elif leg.to_account == QUARANTINE:
                quarantine += leg.quantity
    return Effect(unrestricted, quarantine, ZERO if claim is None else claim[1])


def total_effect(events: Iterable[RecordedEvent], location_id: int) -> Effect:
    """Return what events change together."""
    unrestricted = quarantine = claimed = ZERO
    for recorded in events:
        effect = effect_of(recorded.event, location_id)
        unrestricted += effect.unrestricted
        quarantine += effect.quarantine
        claimed += effect.claimed
    return Effect(unrestricted, quarantine, claimed)


def later_events(facts: Facts, stream: str, at: datetime) -> list[RecordedEvent]:
    """Return what is effective after a time; LookupError when that was not looked up."""
    try:
        found = facts.later[stream]
    except KeyError:
        raise LookupError(f"the later events of {stream} were not looked up") from None
    return [recorded for recorded in found if recorded.effective_at > at]


def first_count(
    found: Iterable[RecordedEvent], at: datetime, after_position: int | None
) -> RecordedEvent | None:
    """Return the first count after a time that has not been withdrawn.

    Counts of that very time are passed over, unless ``after_position`` says whose place in
    the order is meant. A reversal is never effective before what it reverses, so the events
    from a time on tell of each count among them whether it stands.
    """
    events = list(found)
    withdrawn = {
        recorded.event.reversed_position
        for recorded in events
        if isinstance(recorded.event, MovementReversed)
    }
    counts = [
        recorded
        for recorded in events
        if isinstance(recorded.event, StockCounted)
        and recorded.position not in withdrawn
        and (
            recorded.effective_at > at
            or (
                after_position is not None
                and recorded.effective_at == at
                and recorded.position > after_position
            )
        )
    ]
    return min(counts, key=lambda count: (count.effective_at, count.position), default=None)


def shortfalls(
    *,
    available: Decimal,
    quarantine: Decimal,
    existing: Sequence[Change],
    changes: Sequence[Change],
    limit: Decimal,
) -> tuple[Shortfall | None, Shortfall | None]:
    """Return where changes would bring available below ``limit``, and quarantine below zero.

    ``available`` and ``quarantine`` are as of now, with ``existing`` in them, which are all
    that is later than the first of ``changes``. Only times at which the changes together lower
    a figure can be short: raising one that is too low already is no fault.
    """
    for change in existing:
        available -= change.available
        quarantine -= change.quarantine
    steps = sorted(
        [(change, False) for change in existing] + [(change, True) for change in changes],
        key=lambda step: step[0].at,
    )
    short_available: Shortfall | None = None
    short_quarantine: Shortfall | None = None
    own_available = own_quarantine = ZERO
    for index, (change, is_own) in enumerate(steps):
        if is_own:
            own_available += change.available
            own_quarantine += change.quarantine
        else:
            available += change.available
            quarantine += change.quarantine
        if index + 1 < len(steps) and steps[index + 1][0].at == change.at:
            continue
        if short_available is None and own_available < 0 and available + own_available < limit:
            short_available = Shortfall(change.at, available, -own_available)
        if short_quarantine is None and own_quarantine < 0 and quarantine + own_quarantine < 0:
            short_quarantine = Shortfall(change.at, quarantine, -own_quarantine)
    return short_available, short_quarantine
