"""Sales orders: commands and events.

Of each line, ordered = open + reserved + fulfilled + cancelled, and returned is within
fulfilled. ``open`` is what is neither reserved nor gone: a backorder.
"""

from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from schemas.address import Address, KeptAddress
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
from schemas.personal import PERSONAL
from schemas.stock import LotPart, Lots, Serials, Unit

OrderStatus = Literal["pending", "paid", "fulfilling", "fulfilled", "shipped", "cancelled"]
OPEN_STATUSES: Final[tuple[OrderStatus, ...]] = ("pending", "paid", "fulfilling")
"""Those of an order of which something is still to go out."""
Channel = Literal["manual", "api", "pos", "b2b"]
AllocationRule = Literal["named", "default", "most_stock", "split"]
PriceSource = Literal["given", "tier", "listing", "list"]
"""What said a price: the client, the customer's tier, the location's listing, the product."""
ReturnDisposition = Literal["quarantine", "restock"]
ORDER_LINES_MAX = 500

# --- commands ---------------------------------------------------------------------------


class OrderLineEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of a product, at ``unit_price`` for one ``unit``.

    Without a price the customer's price tier says it, or the product's list price.
    """

    product_id: Id | None = None
    sku: Sku | None = None
    quantity: Decimal
    unit: Unit | None = None
    unit_price: Decimal | None = None

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)
        keep_amount(self, "unit_price", self.unit_price)


class PlaceOrder(Command, frozen=True, kw_only=True):
    """Take an order: price it, number it, and reserve stock for all of its lines, or refuse it.

    With a location named, stock is reserved there. Otherwise ``allocation`` says where: at the
    default location; at the one location that can serve most of the order (``most_stock``); or
    each line wherever there is stock, the default location first (``split``). What is not
    available is refused, unless the product allows backorders.
    """

    TYPE: ClassVar[str] = "PlaceOrder"
    lines: Annotated[tuple[OrderLineEntry, ...], Meta(min_length=1, max_length=ORDER_LINES_MAX)]
    customer_id: Id | None = None
    location_id: Id | None = None
    location: Code | None = None
    allocation: Literal["default", "most_stock", "split"] | None = None
    channel: Channel = "api"
    shipping_address: Address | None = None
    effective_at: Instant | None = None
    reference: ShortText | None = None
    notes: Annotated[LongText | None, PERSONAL] = None


class _OfOrder(Command, frozen=True, kw_only=True):
    order_id: Id
    effective_at: Instant | None = None
    notes: Annotated[LongText | None, PERSONAL] = None


class ChangeOrderStatus(_OfOrder, frozen=True, kw_only=True):
    """Bring an order to a status, with all that this takes.

    ``fulfilled`` issues what is still to be fulfilled; ``cancelled`` releases what is reserved.
    """

    TYPE: ClassVar[str] = "ChangeOrderStatus"
    status: OrderStatus


class OrderLineQuantity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of one line, in the product's own unit."""

    order_item_id: Id
    quantity: Decimal
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)


_Lines = Annotated[tuple[OrderLineQuantity, ...], Meta(max_length=ORDER_LINES_MAX)]
_SomeLines = Annotated[
    tuple[OrderLineQuantity, ...], Meta(min_length=1, max_length=ORDER_LINES_MAX)
]


class FulfilOrder(_OfOrder, frozen=True, kw_only=True):
    """Issue goods for an order's lines from what is reserved; no lines stand for all the rest."""

    TYPE: ClassVar[str] = "FulfilOrder"
    lines: _Lines = ()


class CancelOrderLines(_OfOrder, frozen=True, kw_only=True):
    """Cancel so much of what is open or reserved; no lines stand for all of it."""

    TYPE: ClassVar[str] = "CancelOrderLines"
    lines: _Lines = ()
    reason: Annotated[ShortText | None, PERSONAL] = None


class CancelFulfilment(_OfOrder, frozen=True, kw_only=True):
    """Take back a fulfilment: the goods are back on the shelf, and reserved again."""

    TYPE: ClassVar[str] = "CancelFulfilment"
    fulfilment: Annotated[int, Meta(ge=1)]


class ReturnOrder(_OfOrder, frozen=True, kw_only=True):
    """Take goods back from a customer, at what they cost when they went out."""

    TYPE: ClassVar[str] = "ReturnOrder"
    lines: _SomeLines
    disposition: ReturnDisposition = "quarantine"
    location_id: Id | None = None
    reason: Annotated[ShortText | None, PERSONAL] = None


class AllocateBackorder(_OfOrder, frozen=True, kw_only=True):
    """Reserve what is open of an order from what is available by now.

    At its location; of an order that is split, at any that is active by now.
    """

    TYPE: ClassVar[str] = "AllocateBackorder"


OrderCommand = (
    PlaceOrder
    | ChangeOrderStatus
    | FulfilOrder
    | CancelOrderLines
    | CancelFulfilment
    | ReturnOrder
    | AllocateBackorder
)

# --- events -----------------------------------------------------------------------------


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """So much reserved for a line at a location, in the product's own unit."""

    location_id: int
    quantity: Decimal


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """What was available of a product at a location when it was decided where to reserve."""

    product_id: int
    location_id: int
    available: Decimal


class OrderLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line as it was taken: quantity and price are of the product's own unit.

    ``id`` is the order's id times 1000 plus the line's number. ``backordered`` is what was not
    reserved anywhere.
    """

    id: int
    product_id: int
    quantity: Decimal
    unit_price: Decimal
    price_source: PriceSource
    claims: tuple[Claim, ...] = ()
    backordered: Decimal = Decimal(0)
    unit: str | None = None
    entered_quantity: Decimal | None = None


class OrderPlaced(Event, frozen=True, kw_only=True):
    """An order was taken. ``total_amount`` is the sum of quantity times price of its lines."""

    TYPE: ClassVar[str] = "OrderPlaced"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    order_id: int
    order_number: str
    channel: Channel
    lines: tuple[OrderLine, ...]
    total_amount: Decimal
    allocation: AllocationRule
    customer_id: int | None = None
    location_id: int | None = None
    considered: tuple[Considered, ...] = ()
    shipping_address: KeptAddress | None = None
    reference: str | None = None
    notes: Annotated[str | None, PERSONAL] = None


class _OrderEvent(Event, frozen=True, kw_only=True):
    order_id: int
    notes: Annotated[str | None, PERSONAL] = None


class OrderPaid(_OrderEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "OrderPaid"


class OrderFulfilmentStarted(_OrderEvent, frozen=True, kw_only=True):
    """The order is being picked."""

    TYPE: ClassVar[str] = "OrderFulfilmentStarted"


class MovedLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """So much of a line that moved at a location, and of which lots and serials it was."""

    order_item_id: int
    product_id: int
    location_id: int
    quantity: Decimal
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class OrderFulfilled(_OrderEvent, frozen=True, kw_only=True):
    """Goods went out. ``fulfilment`` counts them per order; ``complete`` when nothing is left.

    The issues beside it in the log have ``reference`` ORDER_NUMBER/FULFILMENT.
    """

    TYPE: ClassVar[str] = "OrderFulfilled"
    fulfilment: int
    lines: tuple[MovedLine, ...]
    complete: bool = False


class FulfilmentCancelled(_OrderEvent, frozen=True, kw_only=True):
    """What went out in a fulfilment is back where it was, and reserved for the order again."""

    TYPE: ClassVar[str] = "FulfilmentCancelled"
    fulfilment: int
    lines: tuple[MovedLine, ...]


class OrderShipped(_OrderEvent, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "OrderShipped"


class CancelledLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """So much of a line that will not be: what was open of it, and what was reserved where."""

    order_item_id: int
    open: Decimal = Decimal(0)
    released: tuple[Claim, ...] = ()


class OrderLinesCancelled(_OrderEvent, frozen=True, kw_only=True):
    """A part of an order was cancelled. ``complete`` when all that is left of it is fulfilled."""

    TYPE: ClassVar[str] = "OrderLinesCancelled"
    lines: tuple[CancelledLine, ...]
    reason: Annotated[str | None, PERSONAL] = None
    complete: bool = False


class OrderCancelled(_OrderEvent, frozen=True, kw_only=True):
    """All of an order was cancelled, before any of it went out."""

    TYPE: ClassVar[str] = "OrderCancelled"
    lines: tuple[CancelledLine, ...]
    reason: Annotated[str | None, PERSONAL] = None


class ReturnedLine(MovedLine, frozen=True, kw_only=True):
    """So much of a line that came back to a location.

    It had gone out in ``fulfilment``, with the line of it that ``fulfilment_line`` counts
    from 0.
    """

    fulfilment: int
    fulfilment_line: int


class OrderReturned(_OrderEvent, frozen=True, kw_only=True):
    """Goods came back. ``return_number`` counts them per order."""

    TYPE: ClassVar[str] = "OrderReturned"
    return_number: int
    lines: tuple[ReturnedLine, ...]
    disposition: ReturnDisposition
    reason: Annotated[str | None, PERSONAL] = None


class BackorderAllocated(_OrderEvent, frozen=True, kw_only=True):
    """Some of what was open is reserved now."""

    TYPE: ClassVar[str] = "BackorderAllocated"
    lines: tuple[MovedLine, ...]


OrderEvent = (
    OrderPlaced
    | OrderPaid
    | OrderFulfilmentStarted
    | OrderFulfilled
    | FulfilmentCancelled
    | OrderShipped
    | OrderLinesCancelled
    | OrderCancelled
    | OrderReturned
    | BackorderAllocated
)
