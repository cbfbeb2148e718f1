"""Transfers: goods from one location to another, at once or in transit between.

A transfer is in both locations' streams: `TransferShipped` in the source's, and in the
destination's `TransferReceived` at once, or `TransferExpected` and, later, what became of it.
The two events of a transfer at once are next to each other in the log.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.domain import arrivals
from ledger.domain.backdating import Effect
from ledger.domain.decision import Decision, Facts, InvalidCommand, NewEvent, Refs, Refusal, State
from ledger.domain.posting import (
    Measured,
    Place,
    measure,
    must_be_active,
    out_of_bounds,
    place_of,
    post,
)
from ledger.domain.product import in_own_unit
from ledger.domain.refusals import TransferExceeded, TransferNotFound
from ledger.domain.tracked import Movement
from ledger.domain.tracking import follow, is_plain, misnamed
from schemas.stock import (
    ReceiveTransfer,
    ShipTransfer,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
    TransferStock,
)


class _Route(NamedTuple):
    source: Place
    destination: Place
    measured: Measured


def transfer(
    command: TransferStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Move goods in one step.

    Refusals: those of `posting` and `tracking`, InvalidCommand, LocationInactive.
    """
    route = _route(command, refs, states, facts)
    if isinstance(route, Refusal):
        return route
    source, destination, (quantity, _, _) = route
    shipped = _shipped(command, refs.new_id, route, direct=True)
    sent = post(source, facts, shipped, Effect(-quantity))
    if not is_plain(source.product, command):
        return _transfer_tracked(command, refs, states, facts, route, shipped, sent)
    if isinstance(sent, Refusal):
        return sent
    received = _received(command, refs.new_id, route)
    taken_in = post(destination, facts, received, Effect(quantity))
    if isinstance(taken_in, Refusal):
        return taken_in
    # What lowers comes last in its list and what raises first, so the two are neighbours.
    return [*sent, *taken_in]


def _transfer_tracked(
    command: TransferStock,
    refs: Refs,
    states: Mapping[str, State],
    facts: Facts,
    route: _Route,
    shipped: TransferShipped,
    sent: Decision,
) -> Decision:
    """Move goods of lots or with serials: what leaves one place is what comes to the other."""
    lots, serials = command.lots, command.serials
    leaving = follow(
        sent, Movement(route.source, shipped, refs, states, facts, lots, serials, None, "use")
    )
    if isinstance(leaving, Refusal):
        return leaving
    received = _received(command, refs.new_id, route)
    taken_in = post(route.destination, facts, received, Effect(route.measured.quantity))
    arriving = follow(
        taken_in,
        Movement(route.destination, received, refs, states, facts, given=leaving.parts),
    )
    if isinstance(arriving, Refusal):
        return arriving
    return [*leaving.decision, *arriving.decision, *arriving.after]


def _received(command: TransferStock, transfer_id: int, route: _Route) -> TransferReceived:
    quantity, unit, entered = route.measured
    return TransferReceived(
        product_id=route.destination.product_id,
        location_id=route.destination.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        transfer_id=transfer_id,
        from_location_id=route.source.location_id,
        direct=True,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )


def ship(command: ShipTransfer, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    """Send goods on their way.

    Refusals: those of `posting` and `tracking`, InvalidCommand, LocationInactive.
    """
    route = _route(command, refs, states, facts)
    if isinstance(route, Refusal):
        return route
    source, destination, (quantity, _, _) = route
    shipped = _shipped(command, refs.new_id, route, direct=False)
    sent = post(source, facts, shipped, Effect(-quantity))
    lots, serials = command.lots, command.serials
    leaving = follow(
        sent, Movement(source, shipped, refs, states, facts, lots, serials, None, "use")
    )
    if isinstance(leaving, Refusal):
        return leaving
    too_much = out_of_bounds(destination, destination.stock.in_transit + quantity)
    if too_much is not None:
        return too_much
    expected = TransferExpected(
        product_id=destination.product_id,
        location_id=destination.location_id,
        transfer_id=refs.new_id,
        from_location_id=source.location_id,
        quantity=quantity,
        lots=leaving.parts.lots,
        serials=leaving.parts.serials,
        reference=command.reference,
    )
    arrival = NewEvent(destination.stream, expected, destination.at)
    return [*leaving.decision, arrival, *leaving.after]


def receive(
    command: ReceiveTransfer, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Take in what has arrived of a transfer, and write off what never will.

    A location that is not active takes in what was sent there before it was closed. The lots
    and serials named are of what has arrived, or of what is lost when nothing has. Without
    names what was sent first arrives, and of what is lost no lot is known as far as can be.
    Refusals: those of `posting` and `tracking`, InvalidCommand, TransferNotFound,
    TransferExceeded.
    """
    place = place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)
    if isinstance(place, Refusal):
        return place
    quantity = in_own_unit(place.product, command.quantity, None)
    if isinstance(quantity, Refusal):
        return quantity
    lost = in_own_unit(place.product, command.lost, None, "lost")
    if isinstance(lost, Refusal):
        return lost
    incoming = place.stock.incoming.get(command.transfer_id)
    if incoming is None:
        return TransferNotFound(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            transfer_id=command.transfer_id,
        )
    if quantity + lost > incoming.quantity:
        return TransferExceeded(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            transfer_id=command.transfer_id,
            requested=quantity + lost,
            left=incoming.quantity,
        )
    if place.at is not None and place.at < incoming.since:
        fault = f"it is on its way from {incoming.since.isoformat()} only; give a later time"
        return InvalidCommand(field="effective_at", fault=fault)
    fault = misnamed(place.product, command)
    if fault is not None:
        return fault
    split = arrivals.split(place, incoming, command, refs, quantity, lost)
    if isinstance(split, Refusal):
        return split
    decision: list[NewEvent] = []
    moved: list[NewEvent] = []
    if quantity:
        received = TransferReceived(
            product_id=place.product_id,
            location_id=place.location_id,
            quantity=quantity,
            transfer_id=command.transfer_id,
            from_location_id=incoming.from_location_id,
            reason=command.reason,
            reference=command.reference,
            notes=command.notes,
        )
        posted = post(place, facts, received, Effect(quantity))
        outcome = follow(
            posted, Movement(place, received, refs, states, facts, given=split.arrived)
        )
        if isinstance(outcome, Refusal):
            return outcome
        decision.extend(outcome.decision)
        moved.extend(outcome.after)
    if lost:
        written_off = TransferLost(
            product_id=place.product_id,
            location_id=place.location_id,
            quantity=lost,
            transfer_id=command.transfer_id,
            from_location_id=incoming.from_location_id,
            reason=command.reason,
            reference=command.reference,
            notes=command.notes,
        )
        outcome = follow(
            [NewEvent(place.stream, written_off, place.at)],
            Movement(place, written_off, refs, states, facts, given=split.lost),
        )
        if isinstance(outcome, Refusal):
            return outcome
        decision.extend(outcome.decision)
        moved.extend(outcome.after)
    return [*decision, *moved]


def _route(
    command: TransferStock | ShipTransfer,
    refs: Refs,
    states: Mapping[str, State],
    facts: Facts,
) -> _Route | Refusal:
    if refs.location_id == refs.to_location_id:
        fault = "must be another location than the one it is from; choose where it goes"
        return InvalidCommand(field="to_location_id", fault=fault)
    source = place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)
    if isinstance(source, Refusal):
        return source
    destination = place_of(
        refs.product_id, refs.to_location_id, command.effective_at, states, facts.now
    )
    if isinstance(destination, Refusal):
        return destination
    inactive = must_be_active(destination.location)
    if inactive is not None:
        return inactive
    measured = measure(source.product, command.quantity, command.unit)
    if isinstance(measured, Refusal):
        return measured
    return _Route(source, destination, measured)


def _shipped(
    command: TransferStock | ShipTransfer, transfer_id: int, route: _Route, *, direct: bool
) -> TransferShipped:
    quantity, unit, entered = route.measured
    return TransferShipped(
        product_id=route.source.product_id,
        location_id=route.source.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        transfer_id=transfer_id,
        to_location_id=route.destination.location_id,
        direct=direct,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
