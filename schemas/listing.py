"""Listings: how one product is sold at one location, where that differs from its own terms."""

from decimal import Decimal
from typing import ClassVar

from schemas.common import Code, Command, Event, Id, Sku, keep_amount, require_one


class ListProduct(Command, frozen=True, kw_only=True):
    """Replace all that is said of a product at a location; None means: as the product has it.

    ``disabled`` keeps orders from being placed for it there. ``regular_price`` and
    ``sale_price`` are per unit: the sale price counts where there is one, then the regular one,
    then the product's base price.
    """

    TYPE: ClassVar[str] = "ListProduct"
    product_id: Id | None = None
    sku: Sku | None = None
    location_id: Id | None = None
    location: Code | None = None
    regular_price: Decimal | None = None
    sale_price: Decimal | None = None
    backorders: bool | None = None
    disabled: bool = False

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        require_one("location_id", self.location_id, "location", self.location)
        keep_amount(self, "regular_price", self.regular_price)
        keep_amount(self, "sale_price", self.sale_price)


ListingCommand = ListProduct


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
