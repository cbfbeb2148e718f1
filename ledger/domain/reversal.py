"""Undoing a movement by one that points at it.

A reversal is a movement of its own: goods go back the way they came, effective now unless the
client says otherwise, and never before what it undoes. So a count between the two keeps its
say, as it should when goods really come back. To take out an entry that was wrong from the
start, give the movement's own effective time: the reversal then stands at the movement's place
in the order of events, and counts since then absorb it.

A count is withdrawn as of its own time unless the client says otherwise, with all that late
movements have added to its variance: the books then are as if it had not been made, and it no
longer holds against movements that are recorded late.

The same lots and serials go back. What was of no known lot then is taken from what is of none,
and from other lots where that is not enough.

A transfer in one step is undone in both places. What was shipped can be undone while all of
it is still on its way; what was received or lost goes back to being on its way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from ledger.domain import books, lot, serial
from ledger.domain.backdating import effect_of
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    LaterEvents,
    Lookup,
    NewEvent,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.lots import found_by, lot_parts
from ledger.domain.movements import ADJUSTMENT, UNRESTRICTED, Leg, legs
from ledger.domain.posting import Place, moment, out_of_bounds, place_of, post, post_late
from ledger.domain.refusals import AlreadyReversed, MovementNotFound, NotAMovement, NotReversible
from ledger.domain.stock_state import ZERO, StockState, more_lots, stream
from ledger.domain.tracked import Movement, Outcome, Parts
from ledger.domain.tracking import follow
from schemas.stock import (
    CountVarianceRevised,
    MovementReversed,
    ReverseMovement,
    StockCounted,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)

_TICK: Final = timedelta(microseconds=1)


class _Movement(NamedTuple):
    """A movement of the log that a command names, and where its product and location are."""

    recorded: RecordedEvent
    product_id: int
    location_id: int
    leg: Leg


def streams(command: ReverseMovement, facts: Facts) -> Sequence[str]:
    """Return the streams to read: of the movement and its twin, or where it was going."""
    movements = _movements(command, facts)
    if isinstance(movements, Refusal):
        return ()
    names: dict[str, None] = {books.STREAM: None}
    for movement in movements:
        parts = _parts(movement.recorded)
        names.update(dict.fromkeys(lot.stream(part.lot_id) for part in parts.lots))
        names.update(dict.fromkeys(serial.stream(each) for each in parts.serials))
        names[movement.recorded.stream] = None
        names[f"product-{movement.product_id}"] = None
        names[f"location-{movement.location_id}"] = None
        event = movement.recorded.event
        if isinstance(event, TransferShipped) and not event.direct:
            names[stream(event.product_id, event.to_location_id)] = None
    return tuple(names)


def lookups(
    command: ReverseMovement, states: Mapping[str, State], facts: Facts
) -> Sequence[Lookup]:
    """Return the later events to read: a count's revisions, and what a reversal comes before."""
    movements = _movements(command, facts)
    if isinstance(movements, Refusal):
        return ()
    wanted: list[Lookup] = []
    for movement in movements:
        original = movement.recorded
        at = _effective_at(command, original, facts.now)
        if isinstance(at, Refusal):
            return ()
        stock: StockState = states[original.stream]
        last = stock.last_effective_at
        if isinstance(original.event, StockCounted) or at == original.effective_at:
            wanted.append(LaterEvents(original.stream, original.effective_at - _TICK))
        elif at is not None and last is not None and at < last:
            wanted.append(LaterEvents(original.stream, at))
    return wanted


def reverse(
    command: ReverseMovement, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Undo a movement, or a transfer in one step whole.

    Refusals: those of `posting` and `tracking`, InvalidCommand, MovementNotFound,
    NotAMovement, AlreadyReversed, NotReversible.
    """
    movements = _movements(command, facts)
    if isinstance(movements, Refusal):
        return movements
    decision: list[NewEvent] = []
    moved: Sequence[NewEvent] = ()
    parts: Parts | None = None
    # The later one first: of a transfer in one step, what the destination gives back.
    for movement in reversed(movements):
        undone = _undo(command, movement, parts, states, facts)
        if isinstance(undone, Refusal):
            return undone
        decision.extend(undone.decision)
        parts, moved = undone.parts, undone.after
    return [*decision, *moved]


def _parts(recorded: RecordedEvent) -> Parts:
    """Return the lots and serials that a movement was of; a count's are told by `_withdrawn`."""
    event = recorded.event
    return Parts(getattr(event, "lots", ()), getattr(event, "serials", ()))


def _movements(command: ReverseMovement, facts: Facts) -> list[_Movement] | Refusal:
    """Return the movement named and, of a transfer in one step, both, in log order."""
    position = command.position
    recorded = facts.events.get(position)
    if recorded is None:
        return MovementNotFound(position=position)
    event = recorded.event
    if isinstance(event, MovementReversed):
        fault = "it undoes a movement itself; record what happened as a new one"
        return NotReversible(position=position, event_type=event.TYPE, fault=fault)
    if isinstance(event, CountVarianceRevised):
        fault = (
            f"it keeps what was counted at position {event.count_position}; reverse that count, "
            f"or the movement that was recorded late"
        )
        return NotReversible(position=position, event_type=event.TYPE, fault=fault)
    movement = _movement(recorded)
    if movement is None:
        return NotAMovement(position=position, event_type=event.TYPE)
    twin = _twin(recorded, facts)
    if twin is None:
        return [movement]
    return [movement, twin] if twin.recorded.position > position else [twin, movement]


def _movement(recorded: RecordedEvent) -> _Movement | None:
    event = recorded.event
    if isinstance(event, StockCounted):
        # How much it moved depends on what was revised since; see _withdrawn.
        leg = Leg(ADJUSTMENT, event.location_id, UNRESTRICTED, event.location_id, ZERO)
        return _Movement(recorded, event.product_id, event.location_id, leg)
    leg = legs(event)
    if leg is None:
        return None
    _, product_id, location_id = recorded.stream.split("-")
    return _Movement(recorded, int(product_id), int(location_id), leg)


def _twin(recorded: RecordedEvent, facts: Facts) -> _Movement | None:
    event = recorded.event
    if not isinstance(event, TransferShipped | TransferReceived) or not event.direct:
        return None
    offset = 1 if isinstance(event, TransferShipped) else -1
    other = facts.events[recorded.position + offset]
    assert isinstance(other.event, TransferShipped | TransferReceived)
    assert other.event.transfer_id == event.transfer_id
    return _movement(other)


def _effective_at(
    command: ReverseMovement, original: RecordedEvent, now: datetime
) -> datetime | InvalidCommand | None:
    """Return when the reversal takes effect, None for now."""
    if command.effective_at is None:
        own = original.effective_at
        return own if own == now or isinstance(original.event, StockCounted) else None
    at = moment(command.effective_at, now)
    if isinstance(at, InvalidCommand) or at is None or at >= original.effective_at:
        return at
    fault = (
        f"must not be before the movement itself, which is effective at "
        f"{original.effective_at.isoformat()}"
    )
    return InvalidCommand(field="effective_at", fault=fault)


def _undo(
    command: ReverseMovement,
    movement: _Movement,
    given: Parts | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Outcome | Refusal:
    """Return what undoes one movement; ``given`` is what its twin has given back."""
    original = movement.recorded
    event = original.event
    at = _effective_at(command, original, facts.now)
    if isinstance(at, InvalidCommand):
        return at
    place = place_of(movement.product_id, movement.location_id, None, states, facts.now)
    if isinstance(place, Refusal):
        return place
    shut = books.closed(states[books.STREAM], at, place.location.time_zone)
    if shut is not None:
        return shut
    place = place._replace(at=at)
    if original.position in place.stock.reversed:
        return AlreadyReversed(position=original.position)
    leg, parts = movement.leg, given or _parts(original)
    if isinstance(event, StockCounted):
        withdrawn = _withdrawn(event, original, facts)
        if isinstance(withdrawn, Refusal):
            return withdrawn
        leg, parts = withdrawn
    reversal = MovementReversed(
        product_id=movement.product_id,
        location_id=movement.location_id,
        reversed_position=original.position,
        reversed_type=event.TYPE,
        quantity=leg.quantity,
        from_account=leg.to_account,
        from_location_id=leg.to_location_id,
        to_account=leg.from_account,
        to_location_id=leg.from_location_id,
        transfer_id=getattr(event, "transfer_id", None),
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    posted = _post(place, original, facts, reversal)
    refs = Refs(movement.product_id, movement.location_id)
    outcome = follow(posted, Movement(place, reversal, refs, states, facts, given=parts))
    if isinstance(outcome, Refusal):
        return outcome
    expected = _expected_again(movement, outcome.parts, place, states)
    if isinstance(expected, Refusal):
        return expected
    if expected is None:
        return outcome
    return outcome._replace(decision=[*outcome.decision, expected])


def _post(place: Place, original: RecordedEvent, facts: Facts, event: MovementReversed) -> Decision:
    too_much = out_of_bounds(place, event.quantity)
    if too_much is not None:
        return too_much
    effect = effect_of(event, place.location_id)
    if place.at is not None and place.at == original.effective_at:
        return post_late(place, facts, event, effect, place.at, original.position)
    return post(place, facts, event, effect)


def _withdrawn(
    event: StockCounted, original: RecordedEvent, facts: Facts
) -> tuple[Leg, Parts] | NotReversible:
    """Return what a count has moved up to now, its revisions included; it may be nothing."""
    found = found_by(facts.later[original.stream], original.position)
    variance = sum(found.values(), ZERO)
    if any(change < 0 for change in found.values()) and any(
        change > 0 for change in found.values()
    ):
        fault = (
            "movements that were recorded late have made it take from some lots and add to "
            "others; count again instead"
        )
        return NotReversible(position=original.position, event_type=event.TYPE, fault=fault)
    place = event.location_id
    lots = lot_parts({key: abs(change) for key, change in found.items()})
    if variance < 0:
        return Leg(UNRESTRICTED, place, ADJUSTMENT, place, -variance), Parts(lots)
    return Leg(ADJUSTMENT, place, UNRESTRICTED, place, variance), Parts(lots)


def _expected_again(
    movement: _Movement, parts: Parts, place: Place, states: Mapping[str, State]
) -> NewEvent | Refusal | None:
    """Return what the destination is to expect once part of a two-step transfer is undone."""
    event = movement.recorded.event
    if isinstance(event, TransferShipped) and not event.direct:
        name = stream(event.product_id, event.to_location_id)
        destination: StockState = states[name]
        incoming = destination.incoming.get(event.transfer_id)
        if incoming is None or incoming.quantity != event.quantity:
            fault = (
                "some of it has been received or lost already; reverse that first, or send "
                "back what has arrived"
            )
            return NotReversible(
                position=movement.recorded.position, event_type=event.TYPE, fault=fault
            )
        quantity, to, source = ZERO, event.to_location_id, event.location_id
        parts = Parts()
    elif isinstance(event, TransferLost) or (
        isinstance(event, TransferReceived) and not event.direct
    ):
        incoming = place.stock.incoming.get(event.transfer_id)
        quantity = event.quantity
        if incoming is not None:
            quantity += incoming.quantity
            parts = Parts(more_lots(incoming.lots, parts.lots), (*incoming.serials, *parts.serials))
        name, to, source = place.stream, event.location_id, event.from_location_id
    else:
        return None
    expected = TransferExpected(
        product_id=event.product_id,
        location_id=to,
        transfer_id=event.transfer_id,
        from_location_id=source,
        quantity=quantity,
        lots=parts.lots,
        serials=parts.serials,
    )
    return NewEvent(name, expected, place.at)
