"""Listings: how one product is sold at one location, where that differs from its own terms."""

from decimal import Decimal
from typing import ClassVar

from msgspec import UNSET, UnsetType

from schemas.common import (
    Code,
    Command,
    Event,
    Id,
    ShortText,
    Sku,
    keep_amount,
    keep_exact,
    require_one,
)

# --- commands ---------------------------------------------------------------------------


class _AtPlace(Command, frozen=True, kw_only=True):
    product_id: Id | None = None
    sku: Sku | None = None
    location_id: Id | None = None
    location: Code | None = None

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        require_one("location_id", self.location_id, "location", self.location)


class ListProduct(_AtPlace, frozen=True, kw_only=True):
    """Replace all that is said of a product at a location; None means: as the product has it.

    ``disabled`` keeps orders from being placed for it there. ``regular_price`` and
    ``sale_price`` are per unit: the sale price counts where there is one, then the regular one,
    then the product's base price.
    """

    TYPE: ClassVar[str] = "ListProduct"
    regular_price: Decimal | None = None
    sale_price: Decimal | None = None
    backorders: bool | None = None
    disabled: bool = False

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_amount(self, "regular_price", self.regular_price)
        keep_amount(self, "sale_price", self.sale_price)


class SyncListing(_AtPlace, frozen=True, kw_only=True):
    """Take over what another system says of a product at a location, all of it or none.

    What is left out stays as it is. ``stock`` is what is on hand, as for ``SetStock``; the
    others are as for ``ListProduct``.
    """

    TYPE: ClassVar[str] = "SyncListing"
    stock: Decimal | None = None
    regular_price: Decimal | UnsetType | None = UNSET
    sale_price: Decimal | UnsetType | None = UNSET
    backorders: bool | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    reference: ShortText | None = None

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "stock", self.stock)
        if self.regular_price is not UNSET:
            keep_amount(self, "regular_price", self.regular_price)
        if self.sale_price is not UNSET:
            keep_amount(self, "sale_price", self.sale_price)


ListingCommand = ListProduct | SyncListing

# --- events -----------------------------------------------------------------------------


class ProductListed(Event, frozen=True, kw_only=True):
    """The whole of what is said of a product at a location from now on."""

    TYPE: ClassVar[str] = "ProductListed"
    product_id: int
    location_id: int
    regular_price: Decimal | None = None
    sale_price: Decimal | None = None
    backorders: bool | None = None
    disabled: bool = False


ListingEvent = ProductListed
