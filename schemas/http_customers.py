"""HTTP bodies and replies of customers, their addresses and price tiers."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import Code, Id, Name, ShortText
from schemas.customer import ADDRESSES_MAX, AddressType, CustomerType
from schemas.http_common import Money, Quantity

Percent = Annotated[
    Decimal,
    Meta(
        description="Per cent, exact, as a JSON number",
        extra_json_schema={"type": "number", "format": "decimal"},
    ),
]


class AddressBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to add. The first of its type is the default whatever ``is_default`` says."""

    type: AddressType
    line1: ShortText | None = None
    line2: ShortText | None = None
    city: ShortText | None = None
    state: ShortText | None = None
    postcode: ShortText | None = None
    country: ShortText | None = None
    name: ShortText | None = None
    phone: ShortText | None = None
    is_default: bool = False


class CustomerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is said of a customer besides addresses."""

    name: Name
    email: ShortText | None = None
    phone: ShortText | None = None
    company: ShortText | None = None
    customer_type: CustomerType = "retail"
    code: Code | None = None
    price_tier_id: Id | None = None


class NewCustomerBody(CustomerBody, frozen=True, kw_only=True):
    """A customer to register, with addresses if there are any yet."""

    addresses: Annotated[tuple[AddressBody, ...], Meta(max_length=ADDRESSES_MAX)] = ()


class CustomerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A customer in a list. Cancelled orders, and cancelled parts of orders, do not count.

    With ``erased_at`` the customer was erased then: personal texts read ``[erased]``.
    """

    id: int
    name: str
    email: str | None
    phone: str | None
    company: str | None
    customer_type: CustomerType
    code: str | None
    price_tier_id: int | None
    total_orders: int
    total_spent: Money
    created_at: datetime
    erased_at: datetime | None


class CustomersReply(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` leads to what follows; null at the end."""

    customers: list[CustomerRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class AddressRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    type: AddressType
    line1: str | None
    line2: str | None
    city: str | None
    state: str | None
    postcode: str | None
    country: str | None
    name: str | None
    phone: str | None
    is_default: bool


class CustomerReply(msgspec.Struct, frozen=True, kw_only=True):
    """A customer whole; ``version`` is what If-Match takes, and goes up with addresses too."""

    id: int
    name: str
    email: str | None
    phone: str | None
    company: str | None
    customer_type: CustomerType
    code: str | None
    price_tier_id: int | None
    price_tier_name: str | None
    total_orders: int
    total_spent: Money
    open_orders: int
    first_order_at: datetime | None
    last_order_at: datetime | None
    addresses: list[AddressRow]
    created_at: datetime
    erased_at: datetime | None
    version: int


class CustomerCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    email: str | None
    phone: str | None
    company: str | None
    customer_type: CustomerType
    code: str | None
    price_tier_id: int | None
    created_at: datetime


class AddressAddedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    customer_id: int
    type: AddressType
    line1: str | None
    line2: str | None
    city: str | None
    state: str | None
    postcode: str | None
    country: str | None
    name: str | None
    phone: str | None
    is_default: bool


class EraseBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a customer is erased. It stays readable: nothing personal belongs in it."""

    reason: ShortText | None = None


class CustomerErasedReply(msgspec.Struct, frozen=True, kw_only=True):
    """``plain_events`` counts the events that tell of the customer in plain text, because they are
    older than sealing is: the log cannot be changed, so these stay readable in it."""

    id: int
    message: str
    plain_events: int


class PriceTierRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    discount_percent: Percent
    price_count: int
    customer_count: int
    created_at: datetime


class PriceTiersReply(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` leads to what follows; null at the end."""

    price_tiers: list[PriceTierRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class TierPriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one of a product's own unit costs from ``min_quantity`` on."""

    product_id: int
    sku: str
    product_name: str
    min_quantity: Quantity
    unit_price: Money


class PriceTierReply(msgspec.Struct, frozen=True, kw_only=True):
    """A price tier whole; ``version`` is what If-Match takes."""

    id: int
    name: str
    discount_percent: Percent
    prices: list[TierPriceRow]
    customer_count: int
    created_at: datetime
    version: int


class PriceTierCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    discount_percent: Percent
    price_count: int
    created_at: datetime


class ExternalCustomerRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    email: str | None
    company: str | None
    customer_type: CustomerType


class ExternalCustomersReply(msgspec.Struct, frozen=True, kw_only=True):
    customers: list[ExternalCustomerRow]
    total: int
    page: int
    limit: int
