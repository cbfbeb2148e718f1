"""What decisions about an order need to know, and how its events make it.

Of each line, ordered = open + reserved + fulfilled + cancelled, and returned is within
fulfilled. ``open`` is never stored: it is what the others leave.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.order_transitions import REOPENED
from schemas.common import Event
from schemas.order import (
    AllocationRule,
    BackorderAllocated,
    CancelledLine,
    Claim,
    FulfilmentCancelled,
    MovedLine,
    OrderCancelled,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLine,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
    OrderStatus,
    ReturnedLine,
)
from schemas.stock import LotPart

ZERO: Final = Decimal(0)


def stream(order_id: int) -> str:
    """Return the name of an order's stream."""
    return f"order-{order_id}"


def hold_id(order_item_id: int) -> str:
    """Return the name that a line's reservations have on the streams of stock."""
    return f"order:{order_item_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class LineState(msgspec.Struct, frozen=True, gc=False):
    """How a line stands; ``claims`` is what is reserved for it, in the order it was claimed."""

    id: int
    product_id: int
    ordered: Decimal
    unit_price: Decimal
    claims: tuple[Claim, ...] = ()
    fulfilled: Decimal = ZERO
    cancelled: Decimal = ZERO
    returned: Decimal = ZERO

    @property
    def reserved(self) -> Decimal:
        """What is reserved for it, at whatever locations."""
        return sum((claim.quantity for claim in self.claims), ZERO)

    def claimed_at(self, location_id: int) -> Decimal:
        """Return what is reserved for it at a location."""
        return sum(
            (claim.quantity for claim in self.claims if claim.location_id == location_id), ZERO
        )

    @property
    def open(self) -> Decimal:
        """What is neither reserved nor gone: a backorder."""
        return self.ordered - self.reserved - self.fulfilled - self.cancelled


class FulfilmentState(msgspec.Struct, frozen=True, gc=False):
    """A fulfilment: what went out in it, and ``left`` of that, which has not come back.

    Both have the same lines in the same order; ``at`` is when it took effect.
    """

    number: int
    at: datetime
    lines: tuple[MovedLine, ...]
    left: tuple[MovedLine, ...]
    is_cancelled: bool = False


class OrderState(msgspec.Struct, frozen=True, gc=False):
    """An order; ``order_id`` 0 is one that was never placed.

    ``places`` are the locations that were looked at when it was placed, in that order.
    """

    order_id: int = 0
    order_number: str = ""
    status: OrderStatus = "pending"
    allocation: AllocationRule = "default"
    places: tuple[int, ...] = ()
    placed_at: datetime | None = None
    lines: tuple[LineState, ...] = ()
    fulfilments: tuple[FulfilmentState, ...] = ()
    returns: int = 0

    @property
    def has_fulfilled(self) -> bool:
        """Whether any of it has gone out, whether or not it came back as a return."""
        return any(line.fulfilled for line in self.lines)

    @property
    def is_served(self) -> bool:
        """Whether nothing of it is open or reserved."""
        return not any(line.claims or line.open for line in self.lines)

    def line(self, order_item_id: int) -> LineState | None:
        """Return a line, None where there is none with that id."""
        index = order_item_id - self.order_id * 1000 - 1
        return self.lines[index] if 0 <= index < len(self.lines) else None


INITIAL: Final = OrderState()


def evolve(state: OrderState, recorded: RecordedEvent) -> OrderState:
    """Return the state after an event."""
    fold = _FOLDS.get(type(recorded.event))
    if fold is None:
        raise TypeError(f"an order has no {type(recorded.event).__name__}")
    return fold(state, recorded.event, recorded.effective_at)


_replace = msgspec.structs.replace


def _placed(state: OrderState, event: OrderPlaced, at: datetime) -> OrderState:
    return OrderState(
        order_id=event.order_id,
        order_number=event.order_number,
        allocation=event.allocation,
        places=_places(event),
        placed_at=at,
        lines=tuple(_taken(line) for line in event.lines),
    )


def _places(event: OrderPlaced) -> tuple[int, ...]:
    if event.location_id is not None:
        return (event.location_id,)
    return tuple(dict.fromkeys(place.location_id for place in event.considered))


def _taken(line: OrderLine) -> LineState:
    return LineState(line.id, line.product_id, line.quantity, line.unit_price, line.claims)


def _paid(state: OrderState, event: OrderPaid, at: datetime) -> OrderState:
    return _replace(state, status="paid")


def _started(state: OrderState, event: OrderFulfilmentStarted, at: datetime) -> OrderState:
    return _replace(state, status="fulfilling")


def _shipped(state: OrderState, event: OrderShipped, at: datetime) -> OrderState:
    return _replace(state, status="shipped")


def _fulfilled(state: OrderState, event: OrderFulfilled, at: datetime) -> OrderState:
    lines = _Lines(state)
    for moved in event.lines:
        line = lines.of(moved.order_item_id)
        lines.put(
            _replace(
                line,
                claims=with_claim(line.claims, moved.location_id, -moved.quantity),
                fulfilled=line.fulfilled + moved.quantity,
            )
        )
    fulfilment = FulfilmentState(event.fulfilment, at, event.lines, event.lines)
    return _replace(
        state,
        status="fulfilled" if event.complete else "fulfilling",
        lines=lines.all(),
        fulfilments=(*state.fulfilments, fulfilment),
    )


def _taken_back(state: OrderState, event: FulfilmentCancelled, at: datetime) -> OrderState:
    lines = _Lines(state)
    for moved in event.lines:
        line = lines.of(moved.order_item_id)
        lines.put(
            _replace(
                line,
                claims=with_claim(line.claims, moved.location_id, moved.quantity),
                fulfilled=line.fulfilled - moved.quantity,
            )
        )
    fulfilments = tuple(
        _replace(fulfilment, left=(), is_cancelled=True)
        if fulfilment.number == event.fulfilment
        else fulfilment
        for fulfilment in state.fulfilments
    )
    status = REOPENED.get(state.status, state.status)
    return _replace(state, status=status, lines=lines.all(), fulfilments=fulfilments)


def _part_cancelled(
    state: OrderState, event: OrderLinesCancelled | OrderCancelled, at: datetime
) -> OrderState:
    lines = _Lines(state)
    for cancelled in event.lines:
        line = lines.of(cancelled.order_item_id)
        claims = line.claims
        for claim in cancelled.released:
            claims = with_claim(claims, claim.location_id, -claim.quantity)
        gone = line.cancelled + total_of(cancelled)
        lines.put(_replace(line, claims=claims, cancelled=gone))
    status = state.status
    if isinstance(event, OrderCancelled):
        status = "cancelled"
    elif event.complete:
        status = "fulfilled"
    return _replace(state, status=status, lines=lines.all())


def _returned(state: OrderState, event: OrderReturned, at: datetime) -> OrderState:
    lines = _Lines(state)
    for moved in event.lines:
        line = lines.of(moved.order_item_id)
        lines.put(_replace(line, returned=line.returned + moved.quantity))
    fulfilments = tuple(
        _replace(fulfilment, left=_less_returned(fulfilment, event.lines))
        for fulfilment in state.fulfilments
    )
    return _replace(state, lines=lines.all(), fulfilments=fulfilments, returns=event.return_number)


def _allocated(state: OrderState, event: BackorderAllocated, at: datetime) -> OrderState:
    lines = _Lines(state)
    for moved in event.lines:
        line = lines.of(moved.order_item_id)
        claims = with_claim(line.claims, moved.location_id, moved.quantity)
        lines.put(_replace(line, claims=claims))
    return _replace(state, lines=lines.all())


_FOLDS: Final[Mapping[type[Event], Callable[[OrderState, Any, datetime], OrderState]]] = {
    OrderPlaced: _placed,
    OrderPaid: _paid,
    OrderFulfilmentStarted: _started,
    OrderFulfilled: _fulfilled,
    FulfilmentCancelled: _taken_back,
    OrderShipped: _shipped,
    OrderLinesCancelled: _part_cancelled,
    OrderCancelled: _part_cancelled,
    OrderReturned: _returned,
    BackorderAllocated: _allocated,
}


# --- parts ------------------------------------------------------------------------------


class _Lines:
    """An order's lines while some of them are being replaced."""

    def __init__(self, state: OrderState) -> None:
        self._first = state.order_id * 1000 + 1
        self._lines = list(state.lines)

    def of(self, order_item_id: int) -> LineState:
        return self._lines[order_item_id - self._first]

    def put(self, line: LineState) -> None:
        self._lines[line.id - self._first] = line

    def all(self) -> tuple[LineState, ...]:
        return tuple(self._lines)


def with_claim(claims: tuple[Claim, ...], location_id: int, change: Decimal) -> tuple[Claim, ...]:
    """Return claims with so much more or less at a location; what is down to zero is gone."""
    found = False
    changed: list[Claim] = []
    for claim in claims:
        if claim.location_id == location_id:
            found = True
            quantity = claim.quantity + change
            if quantity:
                changed.append(Claim(location_id=location_id, quantity=quantity))
        else:
            changed.append(claim)
    if not found:
        changed.append(Claim(location_id=location_id, quantity=change))
    return tuple(changed)


def total_of(line: CancelledLine) -> Decimal:
    """Return how much of a line was cancelled, open and reserved together."""
    return sum((claim.quantity for claim in line.released), line.open)


def _less_returned(
    fulfilment: FulfilmentState, returned: Sequence[ReturnedLine]
) -> tuple[MovedLine, ...]:
    """Return what is left of a fulfilment after a return, of each lot and serial as well."""
    left = list(fulfilment.left)
    for back in returned:
        if back.fulfilment == fulfilment.number:
            left[back.fulfilment_line] = less(left[back.fulfilment_line], back)
    return tuple(left)


def less(line: MovedLine, taken: MovedLine) -> MovedLine:
    """Return a moved line without a part of it."""
    gone = {part.lot_id: part.quantity for part in taken.lots}
    lots = tuple(
        LotPart(lot_id=part.lot_id, quantity=quantity)
        for part in line.lots
        if (quantity := part.quantity - gone.get(part.lot_id, ZERO)) > 0
    )
    serials = tuple(serial for serial in line.serials if serial not in taken.serials)
    return _replace(line, quantity=line.quantity - taken.quantity, lots=lots, serials=serials)
