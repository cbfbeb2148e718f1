"""Purchase orders: commands and events.

Of each line, ordered = outstanding + received, where more may have been received than ordered
within the tolerance; returned is within received.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import (
    Code,
    Command,
    Event,
    Id,
    Instant,
    LongText,
    ShortText,
    Sku,
    keep_amount,
    keep_exact,
    require_one,
    require_positive,
)
from schemas.stock import LotPart, Lots, Serials, Unit

PurchaseOrderStatus = Literal["draft", "sent", "partial", "received", "closed", "cancelled"]
PURCHASE_LINES_MAX = 500

# --- commands ---------------------------------------------------------------------------


class PurchaseLineEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of a product, at ``unit_cost`` for one ``unit``; without one, its cost price."""

    product_id: Id | None = None
    sku: Sku | None = None
    quantity: Decimal
    unit: Unit | None = None
    unit_cost: Decimal | None = None

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)
        keep_amount(self, "unit_cost", self.unit_cost)


class CreatePurchaseOrder(Command, frozen=True, kw_only=True):
    """Draft an order to a supplier. Without a location the goods go to the default one.

    ``tolerance_percent`` is how much more than ordered may be received of a line.
    """

    TYPE: ClassVar[str] = "CreatePurchaseOrder"
    supplier_id: Id
    lines: Annotated[
        tuple[PurchaseLineEntry, ...], Meta(min_length=1, max_length=PURCHASE_LINES_MAX)
    ]
    location_id: Id | None = None
    location: Code | None = None
    expected_date: date | None = None
    tolerance_percent: Decimal = Decimal(0)
    effective_at: Instant | None = None
    reference: ShortText | None = None
    notes: LongText | None = None

    def __post_init__(self) -> None:
        keep_amount(self, "tolerance_percent", self.tolerance_percent)
        if self.tolerance_percent > 100:
            raise ValueError("tolerance_percent must not be above 100")


class _OfPurchaseOrder(Command, frozen=True, kw_only=True):
    purchase_order_id: Id
    effective_at: Instant | None = None
    notes: LongText | None = None


class SendPurchaseOrder(_OfPurchaseOrder, frozen=True, kw_only=True):
    """Send a draft to its supplier: from now on its goods are incoming."""

    TYPE: ClassVar[str] = "SendPurchaseOrder"


class PurchaseLineQuantity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of one line in the product's own unit, at what one of it actually cost.

    The line is named by its id, or by its product where that is on no other line.
    """

    line_id: Id | None = None
    product_id: Id | None = None
    quantity: Decimal
    unit_cost: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        require_one("line_id", self.line_id, "product_id", self.product_id)
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)
        keep_amount(self, "unit_cost", self.unit_cost)


class ReceivePurchaseOrder(_OfPurchaseOrder, frozen=True, kw_only=True):
    """Take goods in. No lines stand for all that is outstanding. A draft is sent by it."""

    TYPE: ClassVar[str] = "ReceivePurchaseOrder"
    lines: Annotated[tuple[PurchaseLineQuantity, ...], Meta(max_length=PURCHASE_LINES_MAX)] = ()


class ReturnPurchase(_OfPurchaseOrder, frozen=True, kw_only=True):
    """Send received goods back to the supplier."""

    TYPE: ClassVar[str] = "ReturnPurchase"
    lines: Annotated[
        tuple[PurchaseLineQuantity, ...], Meta(min_length=1, max_length=PURCHASE_LINES_MAX)
    ]
    reason: ShortText | None = None


class ClosePurchaseOrder(_OfPurchaseOrder, frozen=True, kw_only=True):
    """Nothing more will come of it; what has been received stays."""

    TYPE: ClassVar[str] = "ClosePurchaseOrder"


class CancelPurchaseOrder(_OfPurchaseOrder, frozen=True, kw_only=True):
    """Call it off before anything has been received."""

    TYPE: ClassVar[str] = "CancelPurchaseOrder"
    reason: ShortText | None = None


PurchaseOrderCommand = (
    CreatePurchaseOrder
    | SendPurchaseOrder
    | ReceivePurchaseOrder
    | ReturnPurchase
    | ClosePurchaseOrder
    | CancelPurchaseOrder
)

# --- events -----------------------------------------------------------------------------


class PurchaseLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line as it was ordered: quantity and cost are of the product's own unit.

    ``id`` is the purchase order's id times 1000 plus the line's number.
    """

    id: int
    product_id: int
    quantity: Decimal
    unit_cost: Decimal
    unit: str | None = None
    entered_quantity: Decimal | None = None


class PurchaseOrderCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PurchaseOrderCreated"
    purchase_order_id: int
    po_number: str
    supplier_id: int
    location_id: int
    lines: tuple[PurchaseLine, ...]
    total_amount: Decimal
    tolerance_percent: Decimal = Decimal(0)
    expected_date: date | None = None
    reference: str | None = None
    notes: str | None = None


class _PurchaseOrderEvent(Event, frozen=True, kw_only=True):
    purchase_order_id: int
    notes: str | None = None


class PurchaseOrderSent(_PurchaseOrderEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PurchaseOrderSent"


class ReceivedLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """So much of a line that came in, or went back, at what one of it cost."""

    line_id: int
    product_id: int
    quantity: Decimal
    unit_cost: Decimal
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class PurchaseOrderReceived(_PurchaseOrderEvent, frozen=True, kw_only=True):
    """Goods came in. ``receipt`` counts them per order; ``complete`` when nothing is left."""

    TYPE: ClassVar[str] = "PurchaseOrderReceived"
    receipt: int
    lines: tuple[ReceivedLine, ...]
    complete: bool = False


class PurchaseReturned(_PurchaseOrderEvent, frozen=True, kw_only=True):
    """Goods went back to the supplier. ``return_number`` counts them per order."""

    TYPE: ClassVar[str] = "PurchaseReturned"
    return_number: int
    lines: tuple[ReceivedLine, ...]
    reason: str | None = None


class PurchaseOrderClosed(_PurchaseOrderEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PurchaseOrderClosed"


class PurchaseOrderCancelled(_PurchaseOrderEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PurchaseOrderCancelled"
    reason: str | None = None


PurchaseOrderEvent = (
    PurchaseOrderCreated
    | PurchaseOrderSent
    | PurchaseOrderReceived
    | PurchaseReturned
    | PurchaseOrderClosed
    | PurchaseOrderCancelled
)
