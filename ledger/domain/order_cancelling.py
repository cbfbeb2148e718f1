"""Cancelling what is open or reserved of an order, and reserving what is open.

Of a line, what is open is cancelled first, then what is reserved, the latest claim first: so
what is left is where it was looked for first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Decision,
    Facts,
    NewEvent,
    RecordedEvent,
    Refusal,
    State,
)
from ledger.domain.location import LocationState
from ledger.domain.order_allocation import Availability
from ledger.domain.order_figures import figures, in_own_units, line_not_found
from ledger.domain.order_state import (
    ZERO,
    LineState,
    OrderState,
    evolve,
    stream,
)
from ledger.domain.order_steps import Part, claim_more, release
from ledger.domain.order_transitions import FULFILLABLE
from ledger.domain.refusals_orders import CancellableExceeded, NothingToCancel
from schemas.order import (
    AllocateBackorder,
    BackorderAllocated,
    CancelledLine,
    CancelOrderLines,
    Claim,
    MovedLine,
    OrderCancelled,
    OrderLineQuantity,
    OrderLinesCancelled,
)

# --- cancelling -------------------------------------------------------------------------


def cancel_steps(state: OrderState, command: CancelOrderLines) -> list[Step]:
    """Return the steps that cancelling may take: the release of every claim."""
    return [
        release(_part(line, claim), command.effective_at, command.reason)
        for line in state.lines
        for claim in line.claims
    ]


def cancel(
    state: OrderState,
    command: CancelOrderLines,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what ends of an order, and the releases of what was reserved for that.

    Nothing to do for an order that is cancelled whole. Refusals: InvalidCommand,
    OrderLineNotFound, CancellableExceeded, NothingToCancel, and those of stock.
    """
    if state.status == "cancelled" and not command.lines:
        return []
    lines = in_own_units(state, command.lines, states)
    if isinstance(lines, Refusal):
        return lines
    ended = _ended(state, lines, states)
    if isinstance(ended, Refusal):
        return ended
    if not ended:
        return NothingToCancel(order_id=state.order_id, order_status=state.status)
    composed = Composed(states, facts)
    for line, cancelled in ended:
        for claim in cancelled.released:
            step = release(_part(line, claim), command.effective_at, command.reason)
            done = composed.add(step)
            if isinstance(done, Refusal):
                return done
    event: OrderLinesCancelled | OrderCancelled = OrderLinesCancelled(
        order_id=state.order_id,
        lines=tuple(cancelled for _, cancelled in ended),
        reason=command.reason,
        notes=command.notes,
    )
    after = evolve(state, RecordedEvent(0, "", 0, event, facts.now, facts.now))
    if after.is_served and after.has_fulfilled:
        event = msgspec.structs.replace(event, complete=True)
    elif after.is_served:
        event = OrderCancelled(
            order_id=event.order_id, lines=event.lines, reason=event.reason, notes=event.notes
        )
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def _part(line: LineState, claim: Claim) -> Part:
    return Part(line.id, line.product_id, claim.location_id, claim.quantity)


def _ended(
    state: OrderState, lines: Sequence[OrderLineQuantity], states: Mapping[str, State]
) -> list[tuple[LineState, CancelledLine]] | Refusal:
    """Return what ends of which line; no lines stand for all that is open or reserved."""
    if not lines:
        return [
            (line, CancelledLine(order_item_id=line.id, open=line.open, released=line.claims))
            for line in state.lines
            if line.open or line.claims
        ]
    # A line may be named twice; it is cancelled once, by both together.
    asked: dict[int, Decimal] = {}
    for each in lines:
        asked[each.order_item_id] = asked.get(each.order_item_id, ZERO) + each.quantity
    ended: list[tuple[LineState, CancelledLine]] = []
    for order_item_id, quantity in asked.items():
        line = state.line(order_item_id)
        if line is None:
            return line_not_found(state, order_item_id)
        open_part = min(line.open, quantity)
        rest = quantity - open_part
        released: list[Claim] = []
        for claim in reversed(line.claims):
            taken = min(claim.quantity, rest)
            if taken:
                released.append(Claim(location_id=claim.location_id, quantity=taken))
                rest -= taken
        if rest:
            return CancellableExceeded(**figures(state, line, quantity, states))
        cancelled = CancelledLine(order_item_id=line.id, open=open_part, released=tuple(released))
        ended.append((line, cancelled))
    return ended


# --- allocating -------------------------------------------------------------------------


def allocate_steps(state: OrderState, command: AllocateBackorder) -> list[Step]:
    """Return the steps that allocating may take: more of every open line, at every place."""
    return [
        step
        for line in state.lines
        if line.open and state.status in FULFILLABLE
        for place in state.places
        for step in claim_more(
            state.order_number,
            Part(line.id, line.product_id, place, line.open),
            line.claimed_at(place),
            command.effective_at,
        )
    ]


def allocate(
    state: OrderState,
    command: AllocateBackorder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return the reservations of what is open, as far as it is available where it was looked.

    Lines are served in their order, at the places that were looked at when the order was
    placed, in that order. Nothing to do when nothing is open, or nothing is available.
    Refusals: those of reserving stock.
    """
    if state.status not in FULFILLABLE:
        return []
    availability = Availability(states, facts, at)
    composed = Composed(states, facts)
    moved: list[MovedLine] = []
    for line in state.lines:
        rest = line.open
        for place in state.places if rest else ():
            # The streams of a line of which nothing is open have not been read.
            location: LocationState = states[f"location-{place}"]
            if not rest or (state.allocation == "split" and not location.is_active):
                continue
            taken = availability.take(line.product_id, place, rest)
            if not taken:
                continue
            part = Part(line.id, line.product_id, place, taken)
            for step in claim_more(
                state.order_number, part, line.claimed_at(place), command.effective_at
            ):
                done = composed.add(step)
                if isinstance(done, Refusal):
                    return done
            rest -= taken
            moved.append(
                MovedLine(
                    order_item_id=line.id,
                    product_id=line.product_id,
                    location_id=place,
                    quantity=taken,
                )
            )
    if not moved:
        return []
    event = BackorderAllocated(order_id=state.order_id, lines=tuple(moved), notes=command.notes)
    return [NewEvent(stream(state.order_id), event, at), *composed.events]
