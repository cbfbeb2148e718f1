"""HTTP bodies and replies of orders. Seed 003's fields are as its document has them.

A line is an item here, as there; ``warehouse_id`` and ``location_id`` are one thing, and so are
``warehouse`` and ``location`` (its code).
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.address import Address, KeptAddress
from schemas.common import Code, Id, Instant, LongText, ShortText, Sku
from schemas.http_common import Money, Quantity
from schemas.order import (
    ORDER_LINES_MAX,
    AllocationRule,
    Channel,
    OrderStatus,
    PriceSource,
    ReturnDisposition,
)
from schemas.stock import Lots, Serials, Unit

# --- bodies -----------------------------------------------------------------------------


class OrderItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of a product, at ``unit_price`` for one ``unit``.

    Without a price the customer's price tier says it, or the product's list price.
    """

    product_id: Id | None = None
    sku: Sku | None = None
    quantity: Decimal
    unit: Unit | None = None
    unit_price: Decimal | None = None


class OrderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order. With a warehouse its stock is reserved there, else as ``allocation`` says.

    Without ``channel`` it is ``manual`` where a user places it, ``api`` where a key does.
    """

    items: Annotated[tuple[OrderItemBody, ...], Meta(min_length=1, max_length=ORDER_LINES_MAX)]
    customer_id: Id | None = None
    warehouse_id: Id | None = None
    warehouse: Code | None = None
    location_id: Id | None = None
    location: Code | None = None
    allocation: Literal["default", "most_stock", "split"] | None = None
    channel: Channel | None = None
    shipping_address: Address | None = None
    effective_at: Instant | None = None
    reference: ShortText | None = None
    notes: LongText | None = None


class _ActionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    effective_at: Instant | None = None
    notes: LongText | None = None


class OrderRemarksBody(_ActionBody, frozen=True, kw_only=True):
    """When it took effect, and remarks. The body may be left out."""


class OrderStatusBody(_ActionBody, frozen=True, kw_only=True):
    status: OrderStatus


class FulfilledItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of an item goes out, in the product's own unit."""

    order_item_id: Id
    quantity_fulfilled: Decimal
    lots: Lots = ()
    serials: Serials = ()


class FulfilBody(_ActionBody, frozen=True, kw_only=True):
    """What goes out; without items all that is reserved."""

    items: Annotated[tuple[FulfilledItemBody, ...], Meta(max_length=ORDER_LINES_MAX)] = ()


class CancelledItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    order_item_id: Id
    quantity: Decimal


class CancelBody(_ActionBody, frozen=True, kw_only=True):
    """What is cancelled; without items all that is open or reserved."""

    items: Annotated[tuple[CancelledItemBody, ...], Meta(max_length=ORDER_LINES_MAX)] = ()
    reason: ShortText | None = None


class ReturnedItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of an item comes back, in the product's own unit."""

    order_item_id: Id
    quantity: Decimal
    lots: Lots = ()
    serials: Serials = ()


class ReturnBody(_ActionBody, frozen=True, kw_only=True):
    """What comes back, to the warehouse it left unless another is named."""

    items: Annotated[tuple[ReturnedItemBody, ...], Meta(min_length=1, max_length=ORDER_LINES_MAX)]
    disposition: ReturnDisposition = "quarantine"
    warehouse_id: Id | None = None
    location_id: Id | None = None
    reason: ShortText | None = None


# --- replies ----------------------------------------------------------------------------


class OrderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An order in a list. ``warehouse_id`` is null for one that was split."""

    id: int
    order_number: str
    customer_id: int | None
    customer_name: str | None
    status: OrderStatus
    channel: Channel
    total_amount: Money
    item_count: int
    warehouse_id: int | None
    created_at: datetime


class OrdersReply(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. ``next_cursor`` leads to what follows; null at the end."""

    orders: list[OrderRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class OrderAddress(KeptAddress, frozen=True, kw_only=True, omit_defaults=True):
    """Where the goods go; what was not said is left out."""


class ReservedAt(msgspec.Struct, frozen=True, kw_only=True):
    warehouse_id: int
    quantity: Quantity


class OrderItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line: quantity = open + reserved + fulfilled + cancelled, returned within fulfilled.

    ``unit`` and ``entered_quantity`` are what was ordered, where that was in another unit.
    """

    id: int
    product_id: int
    sku: str
    product_name: str
    quantity: Quantity
    unit_price: Money
    quantity_fulfilled: Quantity
    quantity_reserved: Quantity
    quantity_open: Quantity
    quantity_cancelled: Quantity
    quantity_returned: Quantity
    price_source: PriceSource
    reserved_at: list[ReservedAt]
    unit: str | None
    entered_quantity: Quantity | None


class MovedItem(msgspec.Struct, frozen=True, kw_only=True):
    order_item_id: int
    product_id: int
    warehouse_id: int
    quantity: Quantity


class FulfilmentReply(msgspec.Struct, frozen=True, kw_only=True):
    """What went out together. ``reference`` is that of its issues in the ledger."""

    fulfilment: int
    reference: str
    is_cancelled: bool
    items: list[MovedItem]
    fulfilled_at: datetime


class ReturnReply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back together."""

    return_number: int
    disposition: ReturnDisposition
    reason: str | None
    items: list[MovedItem]
    returned_at: datetime


class OrderReply(msgspec.Struct, frozen=True, kw_only=True):
    """An order whole; ``version`` is what If-Match takes.

    ``created_at`` is when it was placed in the world, ``recorded_at`` when we heard of it.
    ``cancelled_amount`` is the part of ``total_amount`` whose quantities were cancelled.
    """

    id: int
    order_number: str
    customer_id: int | None
    customer_name: str | None
    status: OrderStatus
    channel: Channel
    total_amount: Money
    cancelled_amount: Money
    shipping_address: OrderAddress | None
    items: list[OrderItem]
    fulfilments: list[FulfilmentReply]
    returns: list[ReturnReply]
    warehouse_id: int | None
    allocation: AllocationRule
    reference: str | None
    notes: str | None
    created_at: datetime
    recorded_at: datetime
    version: int


class PlacedItem(msgspec.Struct, frozen=True, kw_only=True):
    """A line as it was taken; ``quantity_open`` is backordered."""

    id: int
    product_id: int
    quantity: Quantity
    unit_price: Money
    quantity_reserved: Quantity
    quantity_open: Quantity


class OrderCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    order_number: str
    status: OrderStatus
    total_amount: Money
    created_at: datetime
    items: list[PlacedItem]


class OrderStatusReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    status: OrderStatus


class FulfilReply(msgspec.Struct, frozen=True, kw_only=True):
    """``fulfilled_items`` counts the lines of which something went out in this fulfilment."""

    message: str
    fulfilled_items: int
    order_status: OrderStatus
    fulfilment: int


class OrderActionReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an order is after it; ``items`` are the lines that it was about, and how much."""

    message: str
    order_status: OrderStatus
    items: list[MovedItem]


class CancelledItem(msgspec.Struct, frozen=True, kw_only=True):
    order_item_id: int
    quantity: Quantity


class CancelReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    order_status: OrderStatus
    items: list[CancelledItem]


class ReturnCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    order_status: OrderStatus
    return_number: int
    items: list[MovedItem]


class StatusCounts(msgspec.Struct, frozen=True, kw_only=True):
    pending: int = 0
    paid: int = 0
    fulfilling: int = 0
    fulfilled: int = 0
    shipped: int = 0


class OrderStatsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Orders placed in a month, by its days in ``time_zone``; cancelled ones counted apart.

    Revenue is what was ordered less what was cancelled of it; the average is to the cent.
    """

    period: Annotated[str, Meta(description="The month, as 2026-05")]
    time_zone: str
    total_orders: int
    total_revenue: Money
    avg_order_value: Money
    by_status: StatusCounts
    cancelled_orders: int


class ConsideredPlace(msgspec.Struct, frozen=True, kw_only=True):
    """What was available of a product when it was looked for stock for the order."""

    product_id: int
    sku: str
    warehouse_id: int
    warehouse_name: str
    available: Quantity


class ExplainedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a line costs what it costs, and where it was reserved when the order was placed."""

    order_item_id: int
    product_id: int
    sku: str
    quantity: Quantity
    unit_price: Money
    price_source: PriceSource
    reserved_at: list[ReservedAt]
    backordered: Quantity


class OrderExplanationReply(msgspec.Struct, frozen=True, kw_only=True):
    """The decision that placed an order, as the event at ``position`` holds it."""

    id: int
    order_number: str
    allocation: AllocationRule
    warehouse_id: int | None
    considered: list[ConsideredPlace]
    items: list[ExplainedItem]
    position: int
    created_at: datetime
    recorded_at: datetime


class ExternalOrderRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    order_number: str
    status: OrderStatus
    channel: Channel
    total_amount: Money
    created_at: datetime


class ExternalOrdersReply(msgspec.Struct, frozen=True, kw_only=True):
    orders: list[ExternalOrderRow]
    total: int
    page: int
    limit: int
