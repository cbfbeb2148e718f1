"""Goods that come in for a purchase order, and those that go back to the supplier.

What comes in of a line must not be more than was ordered by the order's tolerance; what goes
back must have come in before, and be available where it came in. Each is a receipt or issue of
stock with a reference of its own, `PO-0088/1` or `PO-0088/R1`. The paper may be late: a receipt
may be of a time before the order was written down.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ledger.aliases import LOT, SERIAL, fold, lot_key, serial_key
from ledger.domain import lot, serial
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    NewEvent,
    OwnerOf,
    Refs,
    Refusal,
    State,
)
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.product import stream as product_stream
from ledger.domain.purchase_order_state import (
    PurchaseLineState,
    PurchaseOrderState,
    after,
    stream,
)
from ledger.domain.purchase_order_transitions import RECEIVABLE, TRANSITIONS
from ledger.domain.refusals_purchasing import (
    IllegalPurchaseTransition,
    OverReceived,
    PurchaseLineNotFound,
    PurchaseReturnExceeded,
)
from schemas.purchase import (
    PurchaseLineQuantity,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    PurchaseReturned,
    ReceivedLine,
    ReceivePurchaseOrder,
    ReturnPurchase,
)
from schemas.stock import IssueStock, ReceiveStock, StockIssued, StockReceived

_Moving = ReceivePurchaseOrder | ReturnPurchase
_WHOLE: Final = 100


# --- what is asked ----------------------------------------------------------------------


def asked_for(state: PurchaseOrderState, command: _Moving) -> Sequence[PurchaseLineQuantity]:
    """Return what of which line moves; a receipt without lines is of all that is outstanding."""
    if command.lines or isinstance(command, ReturnPurchase):
        return command.lines
    return [
        PurchaseLineQuantity(line_id=line.id, quantity=line.outstanding)
        for line in state.lines
        if line.outstanding
    ]


def _line_of(
    state: PurchaseOrderState, asked: PurchaseLineQuantity, index: int
) -> PurchaseLineState | Refusal:
    """Return the line that is meant, by its id or by a product that no other line has."""
    if asked.line_id is not None:
        found = [line for line in (state.line(asked.line_id),) if line is not None]
    else:
        found = [line for line in state.lines if line.product_id == asked.product_id]
    if len(found) > 1:
        ids = ", ".join(str(line.id) for line in found)
        fault = f"{asked.product_id} is on the lines {ids}; name one of these by its id"
        return InvalidCommand(field=f"lines[{index}].product_id", fault=fault)
    if not found:
        return PurchaseLineNotFound(
            purchase_order_id=state.purchase_order_id,
            line_id=asked.line_id,
            product_id=asked.product_id,
            purchase_order_items=tuple(line.id for line in state.lines),
        )
    return found[0]


def steps(state: PurchaseOrderState, command: _Moving, facts: Facts | None) -> list[Step]:
    """Return the steps of a receipt or return, for what must be read for them.

    Without ``facts`` it is not known yet which lots and serials are named.
    """
    found: list[Step] = []
    for index, asked in enumerate(asked_for(state, command)):
        line = _line_of(state, asked, index)
        if not isinstance(line, Refusal):
            found.append(_step(state, command, line, asked, asked.quantity, facts))
    return found


def brought_streams(state: PurchaseOrderState, command: _Moving) -> list[str]:
    """Return the streams of the serials that may go back where none is named."""
    if not isinstance(command, ReturnPurchase):
        return []
    names: list[str] = []
    for index, asked in enumerate(command.lines):
        line = _line_of(state, asked, index)
        if not isinstance(line, Refusal) and not asked.serials:
            names += map(serial.stream, line.serials)
    return names


def owners(state: PurchaseOrderState, command: _Moving) -> list[Lookup]:
    """Return what finds the ids of the lots and serials that a command names."""
    wanted: dict[Lookup, None] = {}
    for index, asked in enumerate(command.lines):
        line = _line_of(state, asked, index)
        if isinstance(line, Refusal):
            continue
        product_id = line.product_id
        for entry in asked.lots:
            wanted[OwnerOf((LOT, lot_key(product_id, entry.lot)))] = None
        for name in asked.serials:
            wanted[OwnerOf((SERIAL, serial_key(product_id, name)))] = None
    return list(wanted)


def found_streams(facts: Facts) -> list[str]:
    """Return the streams of the lots and serials that a command names and that there are."""
    names: list[str] = []
    for lookup, owner in facts.found.items():
        if isinstance(lookup, OwnerOf) and owner is not None:
            kind = lookup.alias[0]
            names.append(lot.stream(owner) if kind == LOT else serial.stream(owner))
    return names


def _named(product_id: int, asked: PurchaseLineQuantity, facts: Facts | None) -> Refs:
    """Return the ids of the lots and serials that a line names, None for those not known."""
    found: Mapping[Lookup, int | None] = {} if facts is None else facts.found
    lots = {
        (product_id, fold(entry.lot)): found.get(OwnerOf((LOT, lot_key(product_id, entry.lot))))
        for entry in asked.lots
    }
    serials = {
        (product_id, fold(name)): found.get(OwnerOf((SERIAL, serial_key(product_id, name))))
        for name in asked.serials
    }
    return Refs(lots=lots, serials=serials)


def _step(
    state: PurchaseOrderState,
    command: _Moving,
    line: PurchaseLineState,
    asked: PurchaseLineQuantity,
    quantity: Decimal,
    facts: Facts | None,
) -> Step:
    product_id, location_id = line.product_id, state.location_id
    refs = _named(product_id, asked, facts)._replace(product_id=product_id, location_id=location_id)
    if isinstance(command, ReceivePurchaseOrder):
        receive = ReceiveStock(
            product_id=product_id,
            location_id=location_id,
            quantity=quantity,
            unit_cost=line.unit_cost if asked.unit_cost is None else asked.unit_cost,
            lots=asked.lots,
            serials=asked.serials,
            reference=f"{state.po_number}/{state.receipts + 1}",
            effective_at=command.effective_at,
        )
        return Step(receive, refs)
    if not asked.lots and not asked.serials:
        # What this order brought goes back first.
        refs = refs._replace(lots_first=line.kept, serials_first=line.serials)
    issue = IssueStock(
        product_id=product_id,
        location_id=location_id,
        quantity=quantity,
        destination="supplier",
        lots=asked.lots,
        serials=asked.serials,
        reference=f"{state.po_number}/R{state.returns + 1}",
        reason=command.reason,
        effective_at=command.effective_at,
    )
    return Step(issue, refs)


# --- coming in --------------------------------------------------------------------------


def receive(
    state: PurchaseOrderState,
    command: ReceivePurchaseOrder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return the receipt with its movements; nothing to do when nothing is outstanding.

    Refusals: InvalidCommand, IllegalPurchaseTransition, PurchaseLineNotFound, OverReceived, and
    those of receiving stock.
    """
    if state.status not in RECEIVABLE:
        return IllegalPurchaseTransition(
            purchase_order_id=state.purchase_order_id,
            purchase_order_status=state.status,
            requested_status="received",
            allowed=TRANSITIONS[state.status],
            hint="order what is still needed anew",
        )
    if not asked_for(state, command):
        return []
    moved = _move(state, command, at, states, facts, _too_much)
    if isinstance(moved, Refusal):
        return moved
    lines, left, composed = moved
    event = PurchaseOrderReceived(
        purchase_order_id=state.purchase_order_id,
        receipt=state.receipts + 1,
        lines=lines,
        complete=not any(line.outstanding for line in left),
        notes=command.notes,
    )
    name = stream(state.purchase_order_id)
    sent: list[NewEvent] = []
    if state.status == "draft":
        sent.append(
            NewEvent(name, PurchaseOrderSent(purchase_order_id=state.purchase_order_id), at)
        )
    return [*sent, NewEvent(name, event, at), *composed.events]


def _too_much(
    state: PurchaseOrderState,
    line: PurchaseLineState,
    quantity: Decimal,
    product: ProductState,
    at: datetime,
) -> OverReceived | None:
    most = most_of(line.ordered, state.tolerance_percent, product.scale)
    if line.received + quantity <= most:
        return None
    return OverReceived(
        purchase_order_id=state.purchase_order_id,
        line_id=line.id,
        sku=product.sku,
        requested=quantity,
        ordered=line.ordered,
        received=line.received,
        returned=line.returned,
        most=most - line.received,
        tolerance_percent=state.tolerance_percent,
    )


def most_of(ordered: Decimal, tolerance_percent: Decimal, scale: int) -> Decimal:
    """Return the most that may come in of a line, in a product's scale, rounded down to it."""
    share = (_WHOLE + Fraction(tolerance_percent)) / _WHOLE
    count = Fraction(ordered) * share * 10**scale
    return Decimal(count.numerator // count.denominator).scaleb(-scale)


# --- going back -------------------------------------------------------------------------


def give_back(
    state: PurchaseOrderState,
    command: ReturnPurchase,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what goes back to the supplier. What went back is not outstanding again.

    Refusals: InvalidCommand, PurchaseLineNotFound, PurchaseReturnExceeded, and those of issuing
    stock.
    """
    moved = _move(state, command, at, states, facts, _not_there)
    if isinstance(moved, Refusal):
        return moved
    lines, _, composed = moved
    event = PurchaseReturned(
        purchase_order_id=state.purchase_order_id,
        return_number=state.returns + 1,
        lines=lines,
        reason=command.reason,
        notes=command.notes,
    )
    return [NewEvent(stream(state.purchase_order_id), event, at), *composed.events]


def _not_there(
    state: PurchaseOrderState,
    line: PurchaseLineState,
    quantity: Decimal,
    product: ProductState,
    at: datetime,
) -> Refusal | None:
    kept = line.received - line.returned
    if quantity > kept:
        return PurchaseReturnExceeded(
            purchase_order_id=state.purchase_order_id,
            line_id=line.id,
            sku=product.sku,
            requested=quantity,
            ordered=line.ordered,
            received=line.received,
            returned=line.returned,
            most=kept,
        )
    if quantity > line.lowest_kept(at):
        fault = (
            f"not so much of line {line.id} had come in by then, or it went back later; give a "
            f"later time"
        )
        return InvalidCommand(field="effective_at", fault=fault)
    return None


# --- both -------------------------------------------------------------------------------

_Check = Callable[
    [PurchaseOrderState, PurchaseLineState, Decimal, ProductState, datetime], Refusal | None
]


def _move(
    state: PurchaseOrderState,
    command: _Moving,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
    check: _Check,
) -> tuple[tuple[ReceivedLine, ...], Sequence[PurchaseLineState], Composed] | Refusal:
    """Move what is asked for line by line, each on what the earlier ones left.

    Return what moved, how all lines stand then, and the movements.
    """
    is_return = isinstance(command, ReturnPurchase)
    when = at or facts.now
    left = {line.id: line for line in state.lines}
    composed = Composed(states, facts)
    moved: list[ReceivedLine] = []
    for index, asked in enumerate(asked_for(state, command)):
        meant = _line_of(state, asked, index)
        if isinstance(meant, Refusal):
            return meant
        line = left[meant.id]
        product: ProductState = states[product_stream(line.product_id)]
        quantity = in_own_unit(product, asked.quantity, None, f"lines[{index}].quantity")
        if isinstance(quantity, InvalidCommand):
            return quantity
        refusal = check(state, line, quantity, product, when)
        if refusal is not None:
            return refusal
        done = composed.add(_step(state, command, line, asked, quantity, facts))
        if isinstance(done, Refusal):
            return _of_line(done, index)
        agreed = line.paid if is_return else line.unit_cost
        unit_cost = agreed if asked.unit_cost is None else asked.unit_cost
        part = _moved(line, unit_cost, done)
        moved.append(part)
        left[line.id] = after(line, part, when, is_return=is_return)
    return tuple(moved), list(left.values()), composed


def _moved(line: PurchaseLineState, unit_cost: Decimal, done: Sequence[NewEvent]) -> ReceivedLine:
    """Return what moved, with the lots and serials that stock says it was of."""
    event = next(new.event for new in done if isinstance(new.event, StockReceived | StockIssued))
    return ReceivedLine(
        line_id=line.id,
        product_id=line.product_id,
        quantity=event.quantity,
        unit_cost=unit_cost,
        lots=event.lots,
        serials=event.serials,
    )


def _of_line(refusal: Refusal, index: int) -> Refusal:
    """Return a refusal of stock that names the field within the line."""
    if isinstance(refusal, InvalidCommand) and refusal.field != "effective_at":
        return InvalidCommand(field=f"lines[{index}].{refusal.field}", fault=refusal.fault)
    return refusal
