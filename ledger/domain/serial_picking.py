"""Serial numbers of what moves: which units, and where they are afterwards.

Going out without being named, the units known here longest by their numbers are picked first,
and those that came in without numbers last. A unit moves forward in time only: a movement that
is effective before its last one is refused, and passes it over where it is not named.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ledger.aliases import fold
from ledger.domain.decision import Facts, InvalidCommand, NewEvent, Refusal, SerialsAt
from ledger.domain.lots import Timeline
from ledger.domain.movements import IN_TRANSIT, UNRESTRICTED, Leg
from ledger.domain.refusals_tracking import (
    InsufficientSerials,
    LotsExceedStock,
    SerialElsewhere,
    SerialInStock,
    SerialMovedSince,
    SerialNotFound,
    SerialsNeeded,
)
from ledger.domain.serial import LIVE, STATUS_OF, SerialState, stream
from ledger.domain.tracked import Movement, Outcome, Parts, at_place, revision_in, with_parts
from schemas.lot import SerialMoved, SerialRegistered, SerialStatus
from schemas.stock import SERIALS_MAX, Account


class _Units(NamedTuple):
    """The serials that move, and the registration of those that were not known."""

    ids: tuple[int, ...]
    registered: Sequence[NewEvent] = ()


def follow(decision: Sequence[NewEvent], movement: Movement, leg: Leg) -> Outcome | Refusal:
    """Return a decision with the serials that it is of, and where these are then.

    Refusals: InvalidCommand, LotsExceedStock, SerialNotFound, SerialInStock, SerialElsewhere,
    SerialMovedSince, InsufficientSerials, SerialsNeeded.
    """
    place = movement.place
    timeline = Timeline(place, movement.facts)
    revision = revision_in(decision, movement.event)
    out, into = movement.out_of(leg), movement.into(leg)
    if revision is not None and revision.quantity > 0:
        timeline.add(revision.at, UNRESTRICTED, {None: revision.quantity})
    if out is not None:
        units = _going_out(movement, leg, out, timeline)
    else:
        units = _coming_in(movement, leg)
    if isinstance(units, Refusal):
        return units
    unnumbered = leg.quantity - len(units.ids)
    if out is None and into is not None:
        below = timeline.lowest(None, into)
        if units.ids and below.quantity < 0:
            return LotsExceedStock(**at_place(place, below.at), unassigned=below.quantity)
        timeline.add(None, into, {None: unnumbered})
    if revision is not None and revision.quantity < 0:
        low = timeline.lowest(None, UNRESTRICTED, revision.at)
        if low.quantity < -revision.quantity:
            return SerialsNeeded(
                **at_place(place, low.at), missing=-revision.quantity, unnumbered=low.quantity
            )
    status = STATUS_OF[leg.to_account]
    moved = [
        NewEvent(
            stream(serial_id),
            SerialMoved(
                serial_id=serial_id,
                product_id=place.product_id,
                location_id=leg.to_location_id,
                status=status,
            ),
            place.at,
        )
        for serial_id in units.ids
    ]
    return Outcome(
        (),
        with_parts(decision, movement.event, serials=units.ids),
        [*units.registered, *moved],
        Parts(serials=units.ids),
    )


# --- going out --------------------------------------------------------------------------


def _going_out(
    movement: Movement, leg: Leg, account: Account, timeline: Timeline
) -> _Units | Refusal:
    """Return the units that leave an account here; the rest of them has no numbers."""
    place = movement.place
    status = STATUS_OF[account]
    named: tuple[int, ...] = ()
    if movement.given is not None:
        named = movement.given.serials
    elif movement.serials:
        found = _named(movement, leg)
        if isinstance(found, Refusal):
            return found
        ids = [serial_id for _, serial_id in found]
        for number, serial_id in found:
            if serial_id is None:
                return SerialNotFound(
                    product_id=place.product_id, sku=place.product.sku, serial=number
                )
        named = tuple(serial_id for serial_id in ids if serial_id is not None)
    elif movement.purpose != "missing":
        picked = _picked(movement, leg, status)
        if isinstance(picked, Refusal):
            return picked
        named = picked
    for serial_id in named:
        state: SerialState = movement.states[stream(serial_id)]
        refusal = _not_there(movement, state, status) or _moved_since(movement, state)
        if refusal is not None:
            return refusal
    rest = leg.quantity - len(named)
    low = timeline.lowest(None, account)
    if rest and low.quantity < rest:
        unnumbered = max(low.quantity, Decimal(0))
        if movement.purpose == "missing":
            return SerialsNeeded(**at_place(place, low.at), missing=rest, unnumbered=unnumbered)
        return InsufficientSerials(
            **at_place(place, low.at or place.at),
            requested=leg.quantity,
            eligible=len(named) + unnumbered,
        )
    return _Units(named)


def _picked(movement: Movement, leg: Leg, status: SerialStatus) -> tuple[int, ...] | Refusal:
    """Return the units that go out when none is named."""
    place = movement.place
    picked: list[int] = []
    found = found_at(movement.facts, place.product_id, place.location_id, status)
    for serial_id in dict.fromkeys((*movement.refs.serials_first, *found)):
        if len(picked) == leg.quantity:
            break
        state: SerialState | None = movement.states.get(stream(serial_id))
        if (
            state is not None
            and state.is_at(place.location_id, status)
            and (state.moved_at is None or state.moved_at <= movement.at)
        ):
            picked.append(serial_id)
    if len(picked) > SERIALS_MAX:
        fault = (
            f"{leg.quantity:f} units have more than {SERIALS_MAX} serial numbers, which is the "
            f"most that one movement may have; split it up"
        )
        return InvalidCommand(field="quantity", fault=fault)
    return tuple(picked)


def found_at(
    facts: Facts, product_id: int, location_id: int, status: SerialStatus
) -> Sequence[int]:
    """Return the serials that were looked up of a place, the longest list there is."""
    answers = [
        answer
        for lookup, answer in facts.found.items()
        if isinstance(lookup, SerialsAt)
        and (lookup.product_id, lookup.location_id, lookup.status)
        == (product_id, location_id, status)
    ]
    return max(answers, key=len, default=())


def _not_there(
    movement: Movement, state: SerialState, status: SerialStatus
) -> SerialElsewhere | None:
    place = movement.place
    if state.is_at(place.location_id, status):
        return None
    assert state.status is not None, "a serial that is known has moved"
    return SerialElsewhere(
        product_id=place.product_id,
        sku=place.product.sku,
        serial=state.serial,
        serial_id=state.serial_id,
        wanted_location_id=place.location_id,
        wanted_status=status,
        location_id=state.location_id,
        serial_status=state.status,
    )


def _moved_since(movement: Movement, state: SerialState) -> SerialMovedSince | None:
    if state.moved_at is None or state.moved_at <= movement.at:
        return None
    return SerialMovedSince(
        product_id=movement.place.product_id,
        sku=movement.product.sku,
        serial=state.serial,
        serial_id=state.serial_id,
        effective_at=movement.at,
        moved_at=state.moved_at,
    )


# --- coming in --------------------------------------------------------------------------


def _coming_in(movement: Movement, leg: Leg) -> _Units | Refusal:
    """Return the units that come in from outside, or that were on their way."""
    place = movement.place
    if movement.given is not None:
        given = movement.given.serials
        for serial_id in given:
            known: SerialState | None = movement.states.get(stream(serial_id))
            if known is None:
                continue
            refusal = _moved_since(movement, known)
            if refusal is None and leg.from_account != IN_TRANSIT:
                refusal = _live(movement, known)
            if refusal is not None:
                return refusal
        return _Units(given)
    if not movement.serials:
        return _Units(())
    found = _named(movement, leg)
    if isinstance(found, Refusal):
        return found
    last = movement.facts.counters.get("serial", 0)
    registered: list[NewEvent] = []
    ids: list[int] = []
    for number, serial_id in found:
        if serial_id is None:
            serial_id = last + len(registered) + 1
            event = SerialRegistered(
                serial_id=serial_id, product_id=place.product_id, serial=number
            )
            registered.append(NewEvent(stream(serial_id), event, place.at))
        else:
            state: SerialState = movement.states[stream(serial_id)]
            refusal = _live(movement, state) or _moved_since(movement, state)
            if refusal is not None:
                return refusal
        ids.append(serial_id)
    return _Units(tuple(ids), registered)


def _live(movement: Movement, state: SerialState) -> SerialInStock | None:
    if state.status is None or state.status not in LIVE:
        return None
    return SerialInStock(
        product_id=movement.place.product_id,
        sku=movement.product.sku,
        serial=state.serial,
        serial_id=state.serial_id,
        location_id=state.location_id,
        serial_status=state.status,
    )


def _named(movement: Movement, leg: Leg) -> list[tuple[str, int | None]] | InvalidCommand:
    """Return the numbers that a client names with their ids, as many as there are units."""
    product_id = movement.place.product_id
    found: list[tuple[str, int | None]] = []
    seen: set[str] = set()
    for number in movement.serials:
        key = fold(number)
        if not key:
            return InvalidCommand(field="serials", fault="must not be blank; name the units")
        if key in seen:
            fault = f"{number!r} is named twice; name each unit once"
            return InvalidCommand(field="serials", fault=fault)
        seen.add(key)
        found.append((number, movement.refs.serials.get((product_id, key))))
    if len(found) != leg.quantity:
        fault = (
            f"are {len(found)} but {leg.quantity:f} {movement.product.unit} is to move; name one "
            f"for each, or none"
        )
        return InvalidCommand(field="serials", fault=fault)
    return found
