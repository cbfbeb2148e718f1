"""What decisions about a purchase order need to know, and how its events make it.

Of each line, ordered = outstanding + received, where more may have been received than was
ordered; returned is within received. ``outstanding`` is never stored: it is what the others
leave. Goods that went back are not outstanding again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.stock_state import less_lots, more_lots
from schemas.purchase import (
    PurchaseLine,
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    PurchaseOrderStatus,
    PurchaseReturned,
    ReceivedLine,
)
from schemas.stock import LotPart

ZERO: Final = Decimal(0)


def stream(purchase_order_id: int) -> str:
    """Return the name of a purchase order's stream."""
    return f"purchase-{purchase_order_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class PurchaseLineState(msgspec.Struct, frozen=True, gc=False):
    """How a line stands.

    ``unit_cost`` is what was agreed, ``paid`` what the last receipt cost. ``flow`` is what came
    in (above zero) and went back (below), and when, in the order it was recorded. ``lots`` and
    ``serials`` are those that came in and have not gone back.
    """

    id: int
    product_id: int
    ordered: Decimal
    unit_cost: Decimal
    paid: Decimal
    received: Decimal = ZERO
    returned: Decimal = ZERO
    flow: tuple[tuple[datetime, Decimal], ...] = ()
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()

    @property
    def kept(self) -> dict[int | None, Decimal]:
        """What came in and has not gone back, by lot; under None what was of no known lot."""
        by_lot: dict[int | None, Decimal] = {part.lot_id: part.quantity for part in self.lots}
        rest = self.received - self.returned - sum(by_lot.values(), ZERO)
        return {**by_lot, None: rest} if rest > 0 else by_lot

    @property
    def outstanding(self) -> Decimal:
        """What is still to come: nothing where more came than was ordered."""
        return max(self.ordered - self.received, ZERO)

    def lowest_kept(self, at: datetime) -> Decimal:
        """Return the least that had come in and not gone back, at a time or at any later one."""
        kept = sum((quantity for when, quantity in self.flow if when <= at), ZERO)
        lowest = kept
        later: dict[datetime, Decimal] = {}
        for when, quantity in self.flow:
            if when > at:
                later[when] = later.get(when, ZERO) + quantity
        for when in sorted(later):
            kept += later[when]
            lowest = min(lowest, kept)
        return lowest


class PurchaseOrderState(msgspec.Struct, frozen=True, gc=False):
    """A purchase order; ``purchase_order_id`` 0 is one that was never created."""

    purchase_order_id: int = 0
    po_number: str = ""
    status: PurchaseOrderStatus = "draft"
    location_id: int = 0
    tolerance_percent: Decimal = ZERO
    lines: tuple[PurchaseLineState, ...] = ()
    receipts: int = 0
    returns: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it is outstanding."""
        return not any(line.outstanding for line in self.lines)

    def line(self, line_id: int) -> PurchaseLineState | None:
        """Return a line, None where there is none with that id."""
        index = line_id - self.purchase_order_id * 1000 - 1
        return self.lines[index] if 0 <= index < len(self.lines) else None


INITIAL: Final = PurchaseOrderState()

_replace = msgspec.structs.replace


def evolve(state: PurchaseOrderState, recorded: RecordedEvent) -> PurchaseOrderState:
    """Return the state after an event."""
    match recorded.event:
        case PurchaseOrderCreated() as event:
            return PurchaseOrderState(
                purchase_order_id=event.purchase_order_id,
                po_number=event.po_number,
                location_id=event.location_id,
                tolerance_percent=event.tolerance_percent,
                lines=tuple(_ordered(line) for line in event.lines),
            )
        case PurchaseOrderReceived() as event:
            return _replace(
                state,
                status="received" if event.complete else "partial",
                lines=_moved(state, event.lines, recorded.effective_at, is_return=False),
                receipts=event.receipt,
            )
        case PurchaseReturned() as event:
            return _replace(
                state,
                lines=_moved(state, event.lines, recorded.effective_at, is_return=True),
                returns=event.return_number,
            )
        case event:
            status = _STATUSES.get(type(event))
            if status is None:
                raise TypeError(f"a purchase order has no {type(event).__name__}")
            return _replace(state, status=status)


_STATUSES: Final[Mapping[type[object], PurchaseOrderStatus]] = {
    PurchaseOrderSent: "sent",
    PurchaseOrderClosed: "closed",
    PurchaseOrderCancelled: "cancelled",
}


def _ordered(line: PurchaseLine) -> PurchaseLineState:
    return PurchaseLineState(
        line.id, line.product_id, line.quantity, line.unit_cost, paid=line.unit_cost
    )


def _moved(
    state: PurchaseOrderState, moved: Sequence[ReceivedLine], at: datetime, *, is_return: bool
) -> tuple[PurchaseLineState, ...]:
    """Return the lines after a receipt or return; one line may be in it several times."""
    first = state.purchase_order_id * 1000 + 1
    lines = list(state.lines)
    for part in moved:
        lines[part.line_id - first] = after(
            lines[part.line_id - first], part, at, is_return=is_return
        )
    return tuple(lines)


def after(
    line: PurchaseLineState, part: ReceivedLine, at: datetime, *, is_return: bool
) -> PurchaseLineState:
    """Return a line once a part of it has come in, or has gone back."""
    quantity = part.quantity
    if is_return:
        return _replace(
            line,
            returned=line.returned + quantity,
            flow=(*line.flow, (at, -quantity)),
            lots=less_lots(line.lots, part.lots),
            serials=tuple(each for each in line.serials if each not in part.serials),
        )
    return _replace(
        line,
        received=line.received + quantity,
        paid=part.unit_cost,
        flow=(*line.flow, (at, quantity)),
        lots=more_lots(line.lots, part.lots) if part.lots else line.lots,
        serials=(*line.serials, *part.serials),
    )
