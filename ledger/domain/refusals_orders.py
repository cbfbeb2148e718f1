"""Why commands about orders are refused."""

from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import Refusal
from ledger.domain.refusals import InsufficientStock
from schemas.order import Considered, OrderStatus


class OrderNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "order_not_found"
    order_id: int

    def detail(self) -> str:
        return f"There is no order with id {self.order_id}; check the id."


class OrderLineNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "order_line_not_found"
    order_id: int
    order_item_id: int
    order_items: tuple[int, ...]

    def detail(self) -> str:
        known = ", ".join(map(str, self.order_items[:10]))
        return (
            f"Order {self.order_id} has no line {self.order_item_id}; name one of its own: {known}."
        )


class FulfilmentNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "fulfilment_not_found"
    order_id: int
    fulfilment: int
    fulfilments: int

    def detail(self) -> str:
        return (
            f"Order {self.order_id} has no fulfilment {self.fulfilment}; it has had "
            f"{self.fulfilments}, numbered from 1."
        )


class IllegalTransition(Refusal, frozen=True, kw_only=True):
    """An order cannot get from the status it has to the one that was asked for."""

    CODE: ClassVar[str] = "illegal_transition"
    order_id: int
    order_status: OrderStatus
    requested_status: OrderStatus
    allowed: tuple[OrderStatus, ...]
    hint: str | None = None

    def detail(self) -> str:
        out = f"it may become {', '.join(self.allowed)}" if self.allowed else "it stays so for good"
        hint = f"; {self.hint}" if self.hint else ""
        return (
            f"Order {self.order_id} is {self.order_status} and cannot become "
            f"{self.requested_status}: {out}{hint}."
        )


class _LineFigures(Refusal, frozen=True, kw_only=True):
    """A refusal about a line that says how it stands: decimals are shown as strings."""

    order_id: int
    order_item_id: int
    sku: str
    requested: Decimal
    ordered: Decimal
    open: Decimal
    reserved: Decimal
    fulfilled: Decimal
    cancelled: Decimal
    returned: Decimal

    def extensions(self) -> dict[str, Any]:
        return {
            name: format(value, "f") if isinstance(value, Decimal) else value
            for name, value in super().extensions().items()
        }

    def _stands(self) -> str:
        return (
            f"of {self.ordered:f} ordered, {self.open:f} is open, {self.reserved:f} reserved, "
            f"{self.fulfilled:f} fulfilled and {self.cancelled:f} cancelled"
        )

    def _line(self) -> str:
        return f"line {self.order_item_id} ({self.sku!r})"


class ReservedExceeded(_LineFigures, frozen=True, kw_only=True):
    """More was to be fulfilled of a line than is reserved for it."""

    CODE: ClassVar[str] = "order_line_not_reserved"

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self._line()} was to be fulfilled but {self.reserved:f} is "
            f"reserved: {self._stands()}; fulfil no more than what is reserved, or allocate what "
            f"is open first."
        )


class CancellableExceeded(_LineFigures, frozen=True, kw_only=True):
    """More was to be cancelled of a line than is open or reserved."""

    CODE: ClassVar[str] = "order_line_not_cancellable"

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self._line()} was to be cancelled but only what is open or "
            f"reserved can be: {self._stands()}; cancel less, and take back what went out as a "
            f"return."
        )


class ReturnableExceeded(_LineFigures, frozen=True, kw_only=True):
    """More was to come back of a line than went out and has not come back."""

    CODE: ClassVar[str] = "order_line_not_returnable"

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self._line()} was to come back but {self.fulfilled:f} went "
            f"out and {self.returned:f} came back already; return no more than the difference."
        )


class OrderHasOpenLines(Refusal, frozen=True, kw_only=True):
    """Not all of an order is reserved, so not all of it can be fulfilled."""

    CODE: ClassVar[str] = "order_has_open_lines"
    order_id: int
    open_lines: tuple[tuple[int, Decimal], ...]

    def detail(self) -> str:
        said = ", ".join(f"{quantity:f} of line {line}" for line, quantity in self.open_lines[:5])
        return (
            f"Order {self.order_id} cannot be fulfilled whole, since {said} is not reserved; "
            f"allocate it once there is stock, cancel it, or fulfil the lines that are reserved."
        )

    def extensions(self) -> dict[str, Any]:
        return {
            "order_id": self.order_id,
            "open_lines": [
                {"order_item_id": line, "open": format(quantity, "f")}
                for line, quantity in self.open_lines
            ],
        }


class NothingReserved(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "nothing_reserved"
    order_id: int

    def detail(self) -> str:
        return (
            f"Nothing is reserved for order {self.order_id}, so nothing of it can be fulfilled; "
            f"allocate what is open once there is stock."
        )


class NothingToCancel(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "nothing_to_cancel"
    order_id: int
    order_status: OrderStatus

    def detail(self) -> str:
        return (
            f"Nothing of order {self.order_id} is open or reserved any more, as it is "
            f"{self.order_status}; take back what went out as a return, or cancel its fulfilment."
        )


class FulfilmentReturned(Refusal, frozen=True, kw_only=True):
    """Goods of a fulfilment came back as a return, so it cannot be taken back whole."""

    CODE: ClassVar[str] = "fulfilment_returned"
    order_id: int
    fulfilment: int
    order_item_id: int
    returned: Decimal

    def detail(self) -> str:
        return (
            f"Fulfilment {self.fulfilment} of order {self.order_id} cannot be cancelled, since "
            f"{self.returned:f} of line {self.order_item_id} came back already; return the rest "
            f"of it as well."
        )

    def extensions(self) -> dict[str, Any]:
        return {**super().extensions(), "returned": format(self.returned, "f")}


class ProductIsInactive(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "product_inactive"
    product_id: int
    sku: str
    line: int

    def detail(self) -> str:
        return (
            f"Product {self.product_id} ({self.sku!r}, line {self.line} counted from 0) is not "
            f"active, so it takes no orders; make it active or leave it out."
        )


class ProductIsDisabled(Refusal, frozen=True, kw_only=True):
    """A product is not sold where a line of an order would have to be served.

    ``location_ids`` are those of the locations looked at where it is disabled.
    """

    CODE: ClassVar[str] = "product_disabled"
    product_id: int
    sku: str
    line: int
    location_ids: tuple[int, ...]

    def detail(self) -> str:
        places = "location " if len(self.location_ids) == 1 else "locations "
        places += ", ".join(map(str, self.location_ids[:10]))
        return (
            f"Product {self.product_id} ({self.sku!r}, line {self.line} counted from 0) is "
            f"disabled at {places}, so it takes no orders there; name another location, or list "
            f"it there again."
        )


class InsufficientForLine(InsufficientStock, frozen=True, kw_only=True):
    """A line of an order asks for more than is available, and its product takes no backorders.

    ``line`` counts from 0; ``available`` is what the line may have, after those before it, of
    all places that were ``considered``. The location is the one that was looked at first.
    """

    line: int
    considered: tuple[Considered, ...]

    def detail(self) -> str:
        since = "" if self.at is None else f" from {self.at.isoformat()} on"
        return (
            f"Line {self.line} (counted from 0) asks for {self.requested:f} of {self.sku!r} but "
            f"{self.available:f} is available for it{since}; ask for less, name another location, "
            f"receive stock first, or let the product take backorders."
        )

    def extensions(self) -> dict[str, Any]:
        said = super().extensions()
        said["considered"] = [
            {**msgspec.structs.asdict(place), "available": format(place.available, "f")}
            for place in self.considered
        ]
        return said


class OrderTotalOutOfBounds(Refusal, frozen=True, kw_only=True):
    """An order's total would have more digits than an amount may (invariant I7)."""

    CODE: ClassVar[str] = "order_total_out_of_bounds"
    total_amount: Decimal

    def detail(self) -> str:
        return (
            f"The order adds up to {self.total_amount:f}, which has more than 12 digits before "
            f"the point; check quantities and prices, or split it up."
        )

    def extensions(self) -> dict[str, Any]:
        return {"total_amount": format(self.total_amount, "f")}
