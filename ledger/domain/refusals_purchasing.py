"""Why commands about purchase orders are refused."""

from decimal import Decimal
from typing import Any, ClassVar

from ledger.domain.decision import Refusal
from schemas.purchase import PurchaseOrderStatus


class PurchaseOrderNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "purchase_order_not_found"
    purchase_order_id: int

    def detail(self) -> str:
        return f"There is no purchase order with id {self.purchase_order_id}; check the id."


class PurchaseLineNotFound(Refusal, frozen=True, kw_only=True):
    """A purchase order has no line with that id, or of that product."""

    CODE: ClassVar[str] = "purchase_line_not_found"
    purchase_order_id: int
    line_id: int | None = None
    product_id: int | None = None
    purchase_order_items: tuple[int, ...]

    def detail(self) -> str:
        known = ", ".join(map(str, self.purchase_order_items[:10]))
        what = f"line {self.line_id}" if self.product_id is None else f"product {self.product_id}"
        return (
            f"Purchase order {self.purchase_order_id} has no {what}; name one of its own lines: "
            f"{known}."
        )


class IllegalPurchaseTransition(Refusal, frozen=True, kw_only=True):
    """A purchase order cannot get from the status it has to the one that was asked for."""

    CODE: ClassVar[str] = "illegal_purchase_transition"
    purchase_order_id: int
    purchase_order_status: PurchaseOrderStatus
    requested_status: PurchaseOrderStatus
    allowed: tuple[PurchaseOrderStatus, ...]
    hint: str | None = None

    def detail(self) -> str:
        out = f"it may become {', '.join(self.allowed)}" if self.allowed else "it stays so for good"
        hint = f"; {self.hint}" if self.hint else ""
        return (
            f"Purchase order {self.purchase_order_id} is {self.purchase_order_status} and cannot "
            f"become {self.requested_status}: {out}{hint}."
        )


class _LineFigures(Refusal, frozen=True, kw_only=True):
    """A refusal about a line that says how it stands: decimals are shown as strings."""

    purchase_order_id: int
    line_id: int
    sku: str
    requested: Decimal
    ordered: Decimal
    received: Decimal
    returned: Decimal
    most: Decimal

    def extensions(self) -> dict[str, Any]:
        return {
            name: format(value, "f") if isinstance(value, Decimal) else value
            for name, value in super().extensions().items()
        }

    def _line(self) -> str:
        return f"line {self.line_id} ({self.sku!r})"


class OverReceived(_LineFigures, frozen=True, kw_only=True):
    """More was to be received of a line than was ordered, beyond the order's tolerance.

    ``most`` is what may still be received of it.
    """

    CODE: ClassVar[str] = "purchase_line_over_received"
    tolerance_percent: Decimal

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self._line()} was to be received, but at most {self.most:f} "
            f"may be: {self.received:f} of {self.ordered:f} ordered has come in, and the order's "
            f"tolerance is {self.tolerance_percent:f} %; receive no more, "
            f"and order the rest anew."
        )


class PurchaseReturnExceeded(_LineFigures, frozen=True, kw_only=True):
    """More of a line was to go back than came in and has not gone back yet, which is ``most``."""

    CODE: ClassVar[str] = "purchase_line_not_returnable"

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self._line()} was to go back, but at most {self.most:f} may: "
            f"{self.received:f} of it has come in and {self.returned:f} has gone back; return no "
            f"more than that."
        )


class PurchaseTotalOutOfBounds(Refusal, frozen=True, kw_only=True):
    """A purchase order's total would have more digits than an amount may (invariant I7)."""

    CODE: ClassVar[str] = "purchase_total_out_of_bounds"
    total_amount: Decimal

    def detail(self) -> str:
        return (
            f"The purchase order adds up to {self.total_amount:f}, which has more than 12 digits "
            f"before the point; check quantities and costs, or split it up."
        )

    def extensions(self) -> dict[str, Any]:
        return {"total_amount": format(self.total_amount, "f")}
