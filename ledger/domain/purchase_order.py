"""Purchase orders: what is decided about them, a receipt or return with all it does to stock.

The state and its fold are in `purchase_order_state`, the statuses in
`purchase_order_transitions`. Drafting is in `purchase_order_creating`, what comes in and goes
back in `purchase_order_receiving`. This module holds the changes of status and the decider.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from ledger.domain import composing, purchase_order_creating, purchase_order_receiving, stock
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
from ledger.domain.posting import moment
from ledger.domain.purchase_order_state import (
    INITIAL,
    STATE_VERSION,
    PurchaseLineState,
    PurchaseOrderState,
    evolve,
    stream,
)
from ledger.domain.purchase_order_transitions import TRANSITIONS
from ledger.domain.refusals_purchasing import IllegalPurchaseTransition, PurchaseOrderNotFound
from schemas.purchase import (
    CancelPurchaseOrder,
    ClosePurchaseOrder,
    CreatePurchaseOrder,
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCommand,
    PurchaseOrderSent,
    PurchaseOrderStatus,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)

__all__ = [
    "DECIDER",
    "INITIAL",
    "STATE_VERSION",
    "PurchaseLineState",
    "PurchaseOrderState",
    "evolve",
    "stream",
]

# --- changes of status ------------------------------------------------------------------

_Change = SendPurchaseOrder | ClosePurchaseOrder | CancelPurchaseOrder


def _change(state: PurchaseOrderState, command: _Change, at: datetime | None) -> Decision:
    """Return what brings a purchase order to a status; nothing to do when it has it."""
    purchase_order_id, notes = command.purchase_order_id, command.notes
    wanted: PurchaseOrderStatus
    match command:
        case SendPurchaseOrder():
            wanted = "sent"
            event = PurchaseOrderSent(purchase_order_id=purchase_order_id, notes=notes)
        case ClosePurchaseOrder():
            wanted = "closed"
            event = PurchaseOrderClosed(purchase_order_id=purchase_order_id, notes=notes)
        case CancelPurchaseOrder(reason=reason):
            wanted = "cancelled"
            event = PurchaseOrderCancelled(
                purchase_order_id=purchase_order_id, reason=reason, notes=notes
            )
    if state.status == wanted:
        return []
    legal = TRANSITIONS[state.status]
    if wanted not in legal:
        hint = None
        if wanted == "cancelled" and state.receipts and "closed" in legal:
            hint = "some of it has come in, so close it, or return what came"
        if wanted == "closed" and state.status == "draft":
            hint = "nothing was sent, so cancel it"
        return IllegalPurchaseTransition(
            purchase_order_id=purchase_order_id,
            purchase_order_status=state.status,
            requested_status=wanted,
            allowed=legal,
            hint=hint,
        )
    return [NewEvent(stream(purchase_order_id), event, at)]


# --- the decider ------------------------------------------------------------------------


class PurchaseOrderDecider(Decider):
    """The decider of purchase orders. The first stream is the order's own."""

    def resolve(self, command: PurchaseOrderCommand, names: Names) -> Refs | Refusal:
        """The products and the location that a new order names."""
        if isinstance(command, CreatePurchaseOrder):
            return purchase_order_creating.resolve(command, names)
        return Refs()

    def allocates(self, command: PurchaseOrderCommand) -> str | None:
        """Creating counts an id."""
        return "purchase" if isinstance(command, CreatePurchaseOrder) else None

    def streams(self, command: PurchaseOrderCommand, refs: Refs) -> Sequence[str]:
        """The order's own; of a new one also those of all that it names."""
        if isinstance(command, CreatePurchaseOrder):
            return purchase_order_creating.streams(command, refs)
        return (stream(command.purchase_order_id),)

    def more_streams(
        self, command: PurchaseOrderCommand, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """The products and the stock that a receipt or return is about, and the lots there."""
        if not isinstance(command, ReceivePurchaseOrder | ReturnPurchase):
            return ()
        state: PurchaseOrderState = states[stream(command.purchase_order_id)]
        steps = purchase_order_receiving.steps(state, command, None)
        return [
            *composing.streams(steps),
            *composing.more_streams(steps, states),
            *purchase_order_receiving.brought_streams(state, command),
        ]

    def lookups(
        self,
        command: PurchaseOrderCommand,
        refs: Refs,
        states: Mapping[str, State],
        now: datetime,
    ) -> Sequence[Lookup]:
        """What the steps must know of the past, and whose the named lots and serials are."""
        if not isinstance(command, ReceivePurchaseOrder | ReturnPurchase):
            return ()
        state: PurchaseOrderState = states[stream(command.purchase_order_id)]
        steps = purchase_order_receiving.steps(state, command, None)
        return [
            *composing.lookups(steps, states, now),
            *purchase_order_receiving.owners(state, command),
        ]

    def streams_after(
        self, command: PurchaseOrderCommand, refs: Refs, facts: Facts
    ) -> Sequence[str]:
        """The lots and serials that were found: by their names, and by stock for its movements."""
        return [
            *purchase_order_receiving.found_streams(facts),
            *stock.DECIDER.streams_after(command, refs, facts),
        ]

    def decide(
        self,
        command: PurchaseOrderCommand,
        refs: Refs,
        states: Mapping[str, State],
        facts: Facts,
    ) -> Decision:
        """Return the order's event and those of stock, nothing when it is so, or a refusal."""
        if isinstance(command, CreatePurchaseOrder):
            return purchase_order_creating.decide(command, refs, states, facts)
        state: PurchaseOrderState = states[stream(command.purchase_order_id)]
        if not state.purchase_order_id:
            return PurchaseOrderNotFound(purchase_order_id=command.purchase_order_id)
        at = moment(command.effective_at, facts.now)
        if isinstance(at, InvalidCommand):
            return at
        match command:
            case ReceivePurchaseOrder():
                return purchase_order_receiving.receive(state, command, at, states, facts)
            case ReturnPurchase():
                return purchase_order_receiving.give_back(state, command, at, states, facts)
            case SendPurchaseOrder() | ClosePurchaseOrder() | CancelPurchaseOrder():
                return _change(state, command, at)


DECIDER: Final = PurchaseOrderDecider()
