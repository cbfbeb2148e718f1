"""HTTP bodies and replies of purchase orders. Seed 003's fields are as its document has them.

A line is an item here, as there; ``warehouse_id`` and ``location_id`` are one thing, and so are
``warehouse`` and ``location`` (its code).
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import Code, Id, Instant, LongText, ShortText, Sku
from schemas.http_common import Money, PlainDecimal, Quantity
from schemas.purchase import PURCHASE_LINES_MAX, PurchaseOrderStatus
from schemas.stock import Lots, Serials, Unit

# --- bodies -----------------------------------------------------------------------------


class PurchaseItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of a product, at ``unit_cost`` for one ``unit``; without one, its cost price."""

    product_id: Id | None = None
    sku: Sku | None = None
    quantity: Decimal
    unit: Unit | None = None
    unit_cost: Decimal | None = None


class PurchaseOrderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A draft. Without a warehouse the goods go to the default one.

    ``tolerance_percent`` is how much more than ordered may be received of an item.
    """

    supplier_id: Id
    items: Annotated[
        tuple[PurchaseItemBody, ...], Meta(min_length=1, max_length=PURCHASE_LINES_MAX)
    ]
    warehouse_id: Id | None = None
    warehouse: Code | None = None
    location_id: Id | None = None
    location: Code | None = None
    expected_date: date | None = None
    tolerance_percent: Decimal = Decimal(0)
    effective_at: Instant | None = None
    reference: ShortText | None = None
    notes: LongText | None = None


class _ActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    effective_at: Instant | None = None
    notes: LongText | None = None


class PurchaseRemarksBody(_ActionBody, frozen=True, kw_only=True):
    """When it took effect, and remarks. The body may be left out."""


class PurchaseCancelBody(_ActionBody, frozen=True, kw_only=True):
    """Why it is called off. The body may be left out."""

    reason: ShortText | None = None


class ReceivedItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of an item came in, in the product's own unit, at what one of it actually cost.

    The item is named by its id, or by its product where that is on no other item.
    """

    purchase_order_item_id: Id | None = None
    product_id: Id | None = None
    quantity_received: Decimal
    unit_cost: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()


class PurchaseReceiveBody(_ActionBody, frozen=True, kw_only=True):
    """What came in; without items all that is outstanding. The body may be left out."""

    items: Annotated[tuple[ReceivedItemBody, ...], Meta(max_length=PURCHASE_LINES_MAX)] = ()


class PurchaseReturnItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of an item goes back, in the product's own unit.

    ``unit_cost`` is what the supplier credits for one of it: without it, what was last paid.
    """

    purchase_order_item_id: Id | None = None
    product_id: Id | None = None
    quantity: Decimal
    unit_cost: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()


class PurchaseReturnBody(_ActionBody, frozen=True, kw_only=True):
    """What goes back to the supplier, from what is available at the order's warehouse."""

    items: Annotated[
        tuple[PurchaseReturnItemBody, ...], Meta(min_length=1, max_length=PURCHASE_LINES_MAX)
    ]
    reason: ShortText | None = None


# --- replies ----------------------------------------------------------------------------


class PurchaseOrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase order in a list; ``created_at`` is when it was ordered in the world."""

    id: int
    po_number: str
    supplier_id: int
    supplier_name: str | None
    warehouse_id: int
    status: PurchaseOrderStatus
    total_amount: Money
    expected_date: date | None
    created_at: datetime


class PurchaseOrdersReply(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. ``next_cursor`` leads to what follows; null at the end."""

    purchase_orders: list[PurchaseOrderRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class PurchaseItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line: ``quantity`` is what was ordered, ``unit_cost`` what was agreed for one.

    ``unit`` and ``entered_quantity`` are what was ordered, where that was in another unit.
    """

    id: int
    product_id: int
    sku: str
    product_name: str
    quantity: Quantity
    unit_cost: Money
    quantity_received: Quantity
    quantity_returned: Quantity
    quantity_outstanding: Quantity
    unit: str | None
    entered_quantity: Quantity | None


class PurchaseMovedItem(msgspec.Struct, frozen=True, kw_only=True):
    """So much of an item that came in or went back, at what one of it cost."""

    purchase_order_item_id: int
    product_id: int
    quantity: Quantity
    unit_cost: Money


class ReceiptReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came in together. ``reference`` is that of its movements in the ledger."""

    receipt: int
    reference: str
    items: list[PurchaseMovedItem]
    notes: str | None
    received_at: datetime


class PurchaseReturnReply(msgspec.Struct, frozen=True, kw_only=True):
    """What went back together. ``reference`` is that of its movements in the ledger."""

    return_number: int
    reference: str
    items: list[PurchaseMovedItem]
    reason: str | None
    notes: str | None
    returned_at: datetime


class PurchaseOrderReply(PurchaseOrderRow, frozen=True, kw_only=True):
    """A purchase order whole. ``version`` is what If-Match takes."""

    warehouse_name: str | None
    tolerance_percent: PlainDecimal
    items: list[PurchaseItem]
    receipts: list[ReceiptReply]
    returns: list[PurchaseReturnReply]
    reference: str | None
    notes: str | None
    recorded_at: datetime
    version: int


class CreatedPurchaseItem(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    product_id: int
    quantity: Quantity
    unit_cost: Money


class PurchaseOrderCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    po_number: str
    status: PurchaseOrderStatus
    total_amount: Money
    created_at: datetime
    items: list[CreatedPurchaseItem]


class PurchaseReceivedReply(msgspec.Struct, frozen=True, kw_only=True):
    """``received_lines`` counts the items of which some came in; ``receipt`` is its number.

    Where nothing was outstanding any more, there is no receipt and no inventory was updated.
    """

    message: str
    received_lines: int
    inventory_updated: bool
    receipt: int | None
    status: PurchaseOrderStatus


class PurchaseReturnedReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    returned_lines: int
    return_number: int
    status: PurchaseOrderStatus


class PurchaseStatusReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    status: PurchaseOrderStatus
