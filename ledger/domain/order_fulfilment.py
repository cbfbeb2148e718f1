"""Goods that go out for an order, and a fulfilment that is taken back.

What goes out is taken from a line's claims in the order in which they were made. Lots and
serial numbers that a client names are handed on to those claims in the order they are named.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    RecordedEvent,
    Refusal,
    State,
)
from ledger.domain.order_figures import figures, in_line, in_own_units, line_not_found, line_of
from ledger.domain.order_state import (
    ZERO,
    FulfilmentState,
    OrderState,
    evolve,
    stream,
    with_claim,
)
from ledger.domain.order_steps import Part, claim_more, issue, receive
from ledger.domain.order_tracking import Named, tracked
from ledger.domain.order_transitions import FULFILLABLE, allowed
from ledger.domain.refusals_orders import (
    FulfilmentNotFound,
    FulfilmentReturned,
    IllegalTransition,
    NothingReserved,
    OrderHasOpenLines,
    ReservedExceeded,
)
from schemas.order import (
    CancelFulfilment,
    Claim,
    FulfilmentCancelled,
    FulfilOrder,
    MovedLine,
    OrderFulfilled,
    OrderLineQuantity,
)
from schemas.stock import StockIssued

CANCELLED_REASON: Final = "fulfilment cancelled"


def reference_of(order_number: str, fulfilment: int) -> str:
    """Return the reference that a fulfilment's issues have, and what came back of it names."""
    return f"{order_number}/{fulfilment}"


# --- going out --------------------------------------------------------------------------


def fulfil_steps(
    state: OrderState, command: FulfilOrder, states: Mapping[str, State], facts: Facts | None
) -> list[Step]:
    """Return the steps of a fulfilment; none when it will be refused.

    Without ``facts`` they are those of any lots and serials.
    """
    parts = _parts(state, command.lines, states, facts)
    return [] if isinstance(parts, Refusal) else _issues(state, parts, command.effective_at)


def fulfil(
    state: OrderState,
    command: FulfilOrder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return the fulfilment and its issues.

    Refusals: InvalidCommand, IllegalTransition, OrderLineNotFound, ReservedExceeded,
    NothingReserved, and those of issuing stock.
    """
    if state.status not in FULFILLABLE:
        return IllegalTransition(
            order_id=state.order_id,
            order_status=state.status,
            requested_status="fulfilled",
            allowed=allowed(state.status, has_fulfilled=state.has_fulfilled),
        )
    lines = in_own_units(state, command.lines, states)
    if isinstance(lines, Refusal):
        return lines
    parts = _parts(state, lines, states, facts)
    if isinstance(parts, Refusal):
        return parts
    if not parts:
        return NothingReserved(order_id=state.order_id)
    composed = Composed(states, facts)
    moved: list[MovedLine] = []
    for part, step in zip(parts, _issues(state, parts, command.effective_at), strict=True):
        issued = composed.add(step)
        if isinstance(issued, Refusal):
            return in_line(issued, part.asked)
        moved.append(_moved(part, issued))
    number = len(state.fulfilments) + 1
    event = OrderFulfilled(
        order_id=state.order_id, fulfilment=number, lines=tuple(moved), notes=command.notes
    )
    if _after(state, event, facts).is_served:
        event = msgspec.structs.replace(event, complete=True)
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def fulfil_all(
    state: OrderState,
    command: FulfilOrder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what `fulfil` does of all the rest; refused while some of it is not reserved."""
    waiting = tuple((line.id, line.open) for line in state.lines if line.open)
    if waiting and state.status in FULFILLABLE:
        return OrderHasOpenLines(order_id=state.order_id, open_lines=waiting)
    return fulfil(state, command, at, states, facts)


def _parts(
    state: OrderState,
    lines: Sequence[OrderLineQuantity],
    states: Mapping[str, State],
    facts: Facts | None,
) -> list[Part] | Refusal:
    """Return what goes out of which claim; no lines stand for all that is reserved."""
    if not lines:
        return [
            Part(line.id, line.product_id, claim.location_id, claim.quantity)
            for line in state.lines
            for claim in line.claims
        ]
    left: dict[int, tuple[Claim, ...]] = {}
    parts: list[Part] = []
    for index, asked in enumerate(lines):
        line = state.line(asked.order_item_id)
        if line is None:
            return line_not_found(state, asked.order_item_id)
        claims = left.get(line.id, line.claims)
        named = Named(line, index, asked, facts)
        rest = asked.quantity
        for claim in claims:
            if not rest:
                break
            taken = min(claim.quantity, rest)
            parts.append(named.part(claim.location_id, taken))
            claims = with_claim(claims, claim.location_id, -taken)
            rest -= taken
        if rest:
            return ReservedExceeded(**figures(state, line, asked.quantity, states))
        refusal = named.unused()
        if refusal is not None:
            return refusal
        left[line.id] = claims
    return parts


def _issues(state: OrderState, parts: Sequence[Part], effective_at: datetime | None) -> list[Step]:
    reference = reference_of(state.order_number, len(state.fulfilments) + 1)
    return [
        issue(reference, part, line_of(state, part.order_item_id).unit_price, effective_at)
        for part in parts
    ]


def _moved(part: Part, issued: Sequence[NewEvent]) -> MovedLine:
    """Return what went out, with the lots and serials that stock says it was of."""
    event = next(new.event for new in issued if isinstance(new.event, StockIssued))
    return MovedLine(
        order_item_id=part.order_item_id,
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=event.quantity,
        lots=event.lots,
        serials=event.serials,
    )


def _after(state: OrderState, event: OrderFulfilled, facts: Facts) -> OrderState:
    return evolve(state, RecordedEvent(0, "", 0, event, facts.now, facts.now))


# --- being taken back -------------------------------------------------------------------


def cancel_steps(
    state: OrderState, command: CancelFulfilment, states: Mapping[str, State]
) -> list[Step]:
    """Return the steps that take a fulfilment back; none when there is nothing to take."""
    fulfilment = _fulfilment(state, command.fulfilment)
    if fulfilment is None or fulfilment.is_cancelled:
        return []
    return [step for steps in _taking_back(state, fulfilment, command, states) for step in steps]


def cancel(
    state: OrderState,
    command: CancelFulfilment,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what brings a fulfilment's goods back on the shelf, and reserves them again.

    Nothing to do when it is cancelled already. Refusals: FulfilmentNotFound,
    FulfilmentReturned, IllegalTransition, InvalidCommand, and those of stock.
    """
    fulfilment = _fulfilment(state, command.fulfilment)
    if fulfilment is None:
        return FulfilmentNotFound(
            order_id=state.order_id,
            fulfilment=command.fulfilment,
            fulfilments=len(state.fulfilments),
        )
    if fulfilment.is_cancelled:
        return []
    if state.status == "shipped":
        return IllegalTransition(
            order_id=state.order_id,
            order_status=state.status,
            requested_status="fulfilling",
            allowed=(),
            hint="what was shipped comes back as a return",
        )
    if at is not None and at < fulfilment.at:
        fault = f"the fulfilment is effective from {fulfilment.at.isoformat()}; give a later time"
        return InvalidCommand(field="effective_at", fault=fault)
    for line, left in zip(fulfilment.lines, fulfilment.left, strict=True):
        if left.quantity != line.quantity:
            return FulfilmentReturned(
                order_id=state.order_id,
                fulfilment=fulfilment.number,
                order_item_id=line.order_item_id,
                returned=line.quantity - left.quantity,
            )
    composed = Composed(states, facts)
    for steps in _taking_back(state, fulfilment, command, states):
        for step in steps:
            done = composed.add(step)
            if isinstance(done, Refusal):
                return done
    event = FulfilmentCancelled(
        order_id=state.order_id,
        fulfilment=fulfilment.number,
        lines=fulfilment.lines,
        notes=command.notes,
    )
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def _fulfilment(state: OrderState, number: int) -> FulfilmentState | None:
    return state.fulfilments[number - 1] if number <= len(state.fulfilments) else None


def _taking_back(
    state: OrderState,
    fulfilment: FulfilmentState,
    command: CancelFulfilment,
    states: Mapping[str, State],
) -> list[list[Step]]:
    """Return for each line of a fulfilment the steps that take it back."""
    reference = reference_of(state.order_number, fulfilment.number)
    held: dict[tuple[int, int], Decimal] = {
        (line.id, claim.location_id): claim.quantity
        for line in state.lines
        for claim in line.claims
    }
    taking: list[list[Step]] = []
    for moved in fulfilment.lines:
        part = tracked(moved, moved.location_id, states)
        place = (moved.order_item_id, moved.location_id)
        before = held.get(place, ZERO)
        taking.append(
            [
                receive(
                    reference,
                    part,
                    line_of(state, moved.order_item_id).unit_price,
                    command.effective_at,
                    reference=reference,
                    reason=CANCELLED_REASON,
                ),
                *claim_more(state.order_number, part, before, command.effective_at),
            ]
        )
        held[place] = before + moved.quantity
    return taking
