"""Sales orders: what is decided about them, each decision with all that it does to stock.

The state and its fold are in `order_state`, the statuses in `order_transitions`. Placing is in
`order_placing`, with `order_pricing` and `order_allocation`; what goes out in
`order_fulfilment`, what is given up or reserved later in `order_cancelling`, what comes back in
`order_returns`. This module holds the changes of status and the decider.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ledger.domain import (
    composing,
    order_cancelling,
    order_fulfilment,
    order_placing,
    order_returns,
    order_tracking,
)
from ledger.domain.composing import Step
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    Names,
    NewEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.order_figures import product_streams
from ledger.domain.order_state import (
    INITIAL,
    STATE_VERSION,
    FulfilmentState,
    LineState,
    OrderState,
    evolve,
    hold_id,
    stream,
)
from ledger.domain.order_transitions import allowed
from ledger.domain.posting import moment
from ledger.domain.refusals_orders import IllegalTransition, OrderNotFound
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    FulfilOrder,
    OrderCommand,
    OrderFulfilmentStarted,
    OrderPaid,
    OrderShipped,
    PlaceOrder,
    ReturnOrder,
)

__all__ = [
    "DECIDER",
    "INITIAL",
    "STATE_VERSION",
    "FulfilmentState",
    "LineState",
    "OrderState",
    "evolve",
    "hold_id",
    "stream",
]

_OfOrder = (
    ChangeOrderStatus
    | FulfilOrder
    | CancelOrderLines
    | CancelFulfilment
    | ReturnOrder
    | AllocateBackorder
)

# --- changes of status ------------------------------------------------------------------

_SAID: Final[Mapping[str, type[OrderPaid | OrderFulfilmentStarted | OrderShipped]]] = {
    "paid": OrderPaid,
    "fulfilling": OrderFulfilmentStarted,
    "shipped": OrderShipped,
}


def _meant(command: _OfOrder) -> _OfOrder:
    """Return the command that a change of status stands for, where it moves or frees goods."""
    if isinstance(command, ChangeOrderStatus):
        if command.status == "fulfilled":
            return FulfilOrder(
                order_id=command.order_id, effective_at=command.effective_at, notes=command.notes
            )
        if command.status == "cancelled":
            return CancelOrderLines(
                order_id=command.order_id, effective_at=command.effective_at, notes=command.notes
            )
    return command


def _change(
    state: OrderState,
    command: ChangeOrderStatus,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what brings an order to a status; nothing to do when it has it."""
    if command.status == state.status:
        return []
    legal = allowed(state.status, has_fulfilled=state.has_fulfilled)
    if command.status not in legal:
        hint = None
        if command.status == "cancelled" and state.has_fulfilled:
            hint = "some of it has gone out, so cancel the rest of its lines, or return it"
        return IllegalTransition(
            order_id=state.order_id,
            order_status=state.status,
            requested_status=command.status,
            allowed=legal,
            hint=hint,
        )
    match _meant(command):
        case FulfilOrder() as fulfil:
            return order_fulfilment.fulfil_all(state, fulfil, at, states, facts)
        case CancelOrderLines() as cancel:
            return order_cancelling.cancel(state, cancel, at, states, facts)
        case _:
            event = _SAID[command.status](order_id=state.order_id, notes=command.notes)
            return [NewEvent(stream(state.order_id), event, at)]


# --- the decider ------------------------------------------------------------------------


class OrderDecider(Decider):
    """The decider of orders. The first stream is the order's own."""

    def resolve(self, command: OrderCommand, names: Names) -> Refs | Refusal:
        """The products and the location that a new order names."""
        return order_placing.resolve(command, names) if isinstance(command, PlaceOrder) else Refs()

    def allocates(self, command: OrderCommand) -> str | None:
        """Placing counts an id."""
        return "order" if isinstance(command, PlaceOrder) else None

    def streams(self, command: OrderCommand, refs: Refs) -> Sequence[str]:
        """The order's own; of a new one also the customer's and those it reserves in."""
        if isinstance(command, PlaceOrder):
            return order_placing.streams(command, refs)
        return (stream(command.order_id),)

    def more_streams(
        self, command: OrderCommand, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """The products and the stock that the order is about, the lots and serials of it.

        Of what is open that is to be reserved, also how it is listed.
        """
        if isinstance(command, PlaceOrder):
            return order_placing.more_streams(command, refs, states)
        state: OrderState = states[stream(command.order_id)]
        steps = _steps(state, command, states, None)
        return [
            *product_streams(state),
            *composing.streams(steps),
            *composing.more_streams(steps, states),
            *order_tracking.moved_streams(_moved(state, command)),
            *(
                order_cancelling.listed_streams(state)
                if isinstance(command, AllocateBackorder)
                else ()
            ),
        ]

    def lookups(
        self, command: OrderCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """What the steps must know of the past, and whose the named lots and serials are."""
        if isinstance(command, PlaceOrder):
            return order_placing.lookups(command, refs, states, now)
        state: OrderState = states[stream(command.order_id)]
        found = composing.lookups(_steps(state, command, states, None), states, now)
        if isinstance(command, FulfilOrder):
            found += order_tracking.owners(state, command.lines)
        elif isinstance(command, AllocateBackorder):
            found += order_cancelling.allocate_lookups(state)
        return found

    def streams_after(self, command: OrderCommand, refs: Refs, facts: Facts) -> Sequence[str]:
        """The stock at the locations that were found; the lots and serials that were found."""
        if isinstance(command, PlaceOrder):
            return order_placing.streams_after(command, refs, facts)
        found = order_tracking.found_streams(facts)
        return [*found, *order_cancelling.allocate_streams(facts)]

    def lookups_after(
        self, command: OrderCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Sequence[Lookup]:
        """What the steps must know of the past, now that all of them are known."""
        if isinstance(command, PlaceOrder):
            return order_placing.lookups_after(command, refs, states, facts)
        state: OrderState = states[stream(command.order_id)]
        wanted = composing.lookups(_steps(state, command, states, facts), states, facts.now)
        return [lookup for lookup in wanted if lookup not in facts.found]

    def decide(
        self, command: OrderCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the order's event and those of stock, nothing when it is so, or a refusal."""
        if isinstance(command, PlaceOrder):
            return order_placing.decide(command, refs, states, facts)
        state: OrderState = states[stream(command.order_id)]
        if not state.order_id:
            return OrderNotFound(order_id=command.order_id)
        at = moment(command.effective_at, facts.now)
        if isinstance(at, InvalidCommand):
            return at
        if at is not None and state.placed_at is not None and at < state.placed_at:
            fault = (
                f"the order is effective from {state.placed_at.isoformat()} only; give a later time"
            )
            return InvalidCommand(field="effective_at", fault=fault)
        match command:
            case ChangeOrderStatus():
                return _change(state, command, at, states, facts)
            case FulfilOrder():
                return order_fulfilment.fulfil(state, command, at, states, facts)
            case CancelOrderLines():
                return order_cancelling.cancel(state, command, at, states, facts)
            case CancelFulfilment():
                return order_fulfilment.cancel(state, command, at, states, facts)
            case ReturnOrder():
                return order_returns.take_back(state, command, at, states, facts)
            case AllocateBackorder():
                return order_cancelling.allocate(state, command, at, states, facts)


DECIDER: Final = OrderDecider()


def _steps(
    state: OrderState, command: _OfOrder, states: Mapping[str, State], facts: Facts | None
) -> list[Step]:
    """Return the steps that a command may take, for what must be read for them.

    Without ``facts`` the lots and serials that a client names are left out, since it is not
    known yet which they are.
    """
    match _meant(command):
        case FulfilOrder() as fulfil:
            return order_fulfilment.fulfil_steps(state, fulfil, states, facts)
        case CancelOrderLines() as cancel:
            return order_cancelling.cancel_steps(state, cancel)
        case CancelFulfilment() as cancel:
            return order_fulfilment.cancel_steps(state, cancel, states)
        case ReturnOrder() as taken_back:
            return order_returns.steps(state, taken_back, states)
        case AllocateBackorder() as allocate:
            return order_cancelling.allocate_steps(state, allocate, facts)
        case _:
            return []


def _moved(state: OrderState, command: _OfOrder) -> Sequence[Any]:
    """Return what went out and may come back by a command."""
    match command:
        case CancelFulfilment(fulfilment=number) if number <= len(state.fulfilments):
            return state.fulfilments[number - 1].lines
        case ReturnOrder(lines=lines):
            return list(order_returns.left_of(state, lines))
        case _:
            return ()
