"""HTTP bodies of the WooCommerce multi-location API (seed 004).

The document names fields and endpoints and shows no body; the shapes are chosen here. A foreign
client's item is read by `api.dialects.woocommerce.items`, which takes numbers as text as well;
the struct of an item here tells what it may hold.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.http_common import Money, Quantity
from schemas.product import VariantOption

Rollback = Literal["threshold", "all-or-nothing", "independent"]
Backorders = Literal["no", "notify", "yes"]

# --- errors -----------------------------------------------------------------------------


class WordPressErrorData(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP status, and what else is known of the error."""

    status: int
    detail: str | UnsetType = UNSET
    params: dict[str, str] | list[str] | UnsetType = UNSET


class WordPressError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as WordPress's REST API words it. ``code`` begins with ``rest_``."""

    code: str
    message: str
    data: WordPressErrorData


# --- writing ----------------------------------------------------------------------------


class InventoryItemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product or variation at one location, and what is said of it there.

    ``product_id`` or ``sku``, ``location_id`` or ``location_slug`` (the id counts where both are
    given). What is left out stays as it is; null or empty text for a price or ``backorders``
    means: as the product has it. Numbers may be text; flags may be yes or no, or 1 or 0.
    """

    product_id: int | str | None = None
    sku: str | int | None = None
    location_id: int | str | None = None
    location_slug: str | None = None
    stock: Decimal | UnsetType = UNSET
    regular_price: Decimal | UnsetType | None = UNSET
    sale_price: Decimal | UnsetType | None = UNSET
    backorders: Backorders | bool | UnsetType | None = UNSET
    disabled: bool | UnsetType | None = UNSET


class BulkSyncBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items, and what becomes of them all where some fail.

    ``threshold``: where more than ``rollback_percent`` of the items fail, none has an effect.
    ``all-or-nothing``: where one fails. ``independent``: each has its effect for itself.
    """

    items: Annotated[list[InventoryItemBody], Meta(min_length=1)]
    rollback: Rollback | UnsetType = UNSET
    rollback_percent: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET


ItemStatus = Literal["updated", "unchanged", "failed", "rolled_back"]


class InventoryItemResult(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What became of one item: ``index`` counts from 0. Of a failed one, what was sent of it.

    ``stock`` is what is on hand once the item has had its effect, if it says anything of that.
    What there is nothing to say of is left out.
    """

    index: int
    status: ItemStatus
    product_id: int | None = None
    sku: str | None = None
    location_id: int | None = None
    location_slug: str | None = None
    stock: Quantity | None = None
    code: str | None = None
    message: str | None = None


class BulkSyncReply(msgspec.Struct, frozen=True, kw_only=True):
    """``updated`` counts the items that took effect or were so already."""

    success: bool
    updated: int
    failed: int
    rolled_back: bool
    results: list[InventoryItemResult]


class BulkSyncRolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """None of the items had an effect, since too many failed; an error with their results."""

    code: str
    message: str
    data: WordPressErrorData
    success: bool
    updated: int
    failed: int
    rolled_back: bool
    results: list[InventoryItemResult]


class InventoryUpdateReply(msgspec.Struct, frozen=True, kw_only=True):
    """The one item, as it is now."""

    success: bool
    status: ItemStatus
    product_id: int
    sku: str
    location_id: int
    location_slug: str
    stock: Quantity | None


# --- reading ----------------------------------------------------------------------------


class StoreLocation(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    slug: str
    is_default: bool
    address: str | None
    city: str | None
    state: str | None
    postcode: str | None
    country: str | None


class StoreLocationsReply(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    locations: list[StoreLocation]
    total: int
    page: int
    per_page: int
    total_pages: int


class InventoryExportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One product at one location, in the shape of an item: sent back, it changes nothing.

    ``parent_id`` is the product that this one is a variation of. A price or ``backorders`` of
    null is as the product has it.
    """

    product_id: int
    sku: str
    name: str
    parent_id: int | None
    location_id: int
    location_slug: str
    stock: Quantity
    regular_price: Money | None
    sale_price: Money | None
    backorders: Backorders | None
    disabled: bool


class InventoryExportReply(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    items: list[InventoryExportRow]
    total: int
    page: int
    per_page: int
    total_pages: int


class StoreProductLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A product at a location; ``price`` is the one that counts there for those without a tier."""

    location_id: int
    location_slug: str
    stock: Quantity
    price: Money
    regular_price: Money | None
    sale_price: Money | None
    backorders: Backorders
    disabled: bool


class StoreProduct(msgspec.Struct, frozen=True, kw_only=True):
    """``type`` is variable for a product with variations and variation for one of those.

    ``attributes`` tell a variation from its siblings; ``variations`` are the ids of them all.
    """

    id: int
    name: str
    sku: str
    type: Literal["simple", "variable", "variation"]
    parent_id: int | None
    attributes: list[VariantOption]
    variations: list[int]
    status: Literal["publish", "draft"]
    regular_price: Money
    backorders: Backorders
    stock: Quantity
    locations: list[StoreProductLocation]


class StoreProductsReply(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    products: list[StoreProduct]
    total: int
    page: int
    per_page: int
    total_pages: int


# --- the log of inbound webhooks --------------------------------------------------------


class WebhookLogSwitchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool


class WebhookLogSwitchReply(msgspec.Struct, frozen=True, kw_only=True):
    """Whether inbound webhooks are logged, and since when and by whom that was chosen."""

    enabled: bool
    changed_at: datetime | None
    changed_by: str | None


class WebhookLogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One inbound webhook request: sizes are in bytes, the heads the first bytes of each body."""

    id: int
    received_at: datetime
    api_key_id: int
    path: str
    status: int
    duration_ms: int
    request_bytes: int
    response_bytes: int
    ip_address: str
    request_head: str
    response_head: str


class WebhookLogReply(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    enabled: bool
    entries: list[WebhookLogRow]
    total: int
    page: int
    limit: int
