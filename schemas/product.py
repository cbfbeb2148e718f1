"""Products: the catalogue's commands and events."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import (
    Command,
    Event,
    Id,
    LongText,
    Name,
    ShortText,
    Sku,
    keep_exact,
    require_at_most_one,
)
from schemas.stock import Unit

TrackingType = Literal["none", "batch", "serial"]
Scale = Annotated[int, Meta(ge=0, le=6, description="Digits behind the point of its quantities")]


class AlternativeUnit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``unit`` is ``numerator``/``denominator`` of the product's own unit, exactly."""

    unit: Unit
    numerator: Annotated[int, Meta(ge=1, le=10**9)]
    denominator: Annotated[int, Meta(ge=1, le=10**9)] = 1


class ProductImageEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a picture of a product is. The first one said to be the primary is it."""

    url: Annotated[str, Meta(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20]+$")]
    is_primary: bool = False


class VariantOption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tells a variant from its siblings: ``Size`` is ``XL``."""

    name: Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[^\x00]+$")]
    value: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]


Images = Annotated[tuple[ProductImageEntry, ...], Meta(max_length=50)]
Options = Annotated[tuple[VariantOption, ...], Meta(max_length=10)]


class _ProductFields(Command, frozen=True, kw_only=True):
    """Everything a client says of a product. Amounts are in the tenant's currency.

    ``backorders`` lets orders be taken for more of it than is available. A variant is a
    product of its own whose ``variant_of`` names the product it is one of. ``category`` is the
    name of a category at the top, in place of its id, and ``supplier`` a supplier's code.
    """

    name: Name
    sku: Sku
    base_price: Decimal
    cost_price: Decimal | None = None
    compare_at_price: Decimal | None = None
    barcode: ShortText | None = None
    vendor: ShortText | None = None
    description: LongText | None = None
    category_id: Id | None = None
    tracking_type: TrackingType = "none"
    weight: Decimal | None = None
    unit: Unit = "each"
    scale: Scale = 0
    alternative_units: Annotated[tuple[AlternativeUnit, ...], Meta(max_length=20)] = ()
    reorder_level: Decimal | None = None
    taxable: bool = True
    requires_shipping: bool = True
    is_active: bool = True
    backorders: bool = False
    variant_of: Id | None = None
    options: Options = ()
    images: Images = ()
    supplier_id: Id | None = None
    category: Name | None = None
    supplier: ShortText | None = None

    def __post_init__(self) -> None:
        require_at_most_one("category_id", self.category_id, "category", self.category)
        require_at_most_one("supplier_id", self.supplier_id, "supplier", self.supplier)
        for field in ("base_price", "cost_price", "compare_at_price", "weight", "reorder_level"):
            value = keep_exact(self, field, getattr(self, field))
            if value is not None and value < 0:
                raise ValueError(f"{field} must not be below zero")


class RegisterProduct(_ProductFields, frozen=True, kw_only=True):
    """Put a product in the catalogue. Its id is counted by the ledger."""

    TYPE: ClassVar[str] = "RegisterProduct"


class ReviseProduct(_ProductFields, frozen=True, kw_only=True):
    """Replace all that is said of a product. Its id stays; its old SKU is free again."""

    TYPE: ClassVar[str] = "ReviseProduct"
    product_id: Id


class DiscontinueProduct(Command, frozen=True, kw_only=True):
    """Take a product out of the catalogue; its history stays. Refused while it has stock."""

    TYPE: ClassVar[str] = "DiscontinueProduct"
    product_id: Id


ProductCommand = RegisterProduct | ReviseProduct | DiscontinueProduct


class _ProductFacts(Event, frozen=True, kw_only=True):
    product_id: int
    name: str
    sku: str
    base_price: Decimal
    cost_price: Decimal | None = None
    compare_at_price: Decimal | None = None
    barcode: str | None = None
    vendor: str | None = None
    description: str | None = None
    category_id: int | None = None
    tracking_type: TrackingType = "none"
    weight: Decimal | None = None
    unit: str = "each"
    scale: int = 0
    alternative_units: tuple[AlternativeUnit, ...] = ()
    reorder_level: Decimal | None = None
    taxable: bool = True
    requires_shipping: bool = True
    is_active: bool = True
    backorders: bool = False
    variant_of: int | None = None
    options: tuple[VariantOption, ...] = ()
    images: tuple[ProductImageEntry, ...] = ()
    supplier_id: int | None = None


class ProductRegistered(_ProductFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ProductRegistered"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1


class ProductRevised(_ProductFacts, frozen=True, kw_only=True):
    """The whole of what is said of the product from now on."""

    TYPE: ClassVar[str] = "ProductRevised"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1


class ProductDiscontinued(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ProductDiscontinued"
    product_id: int
    sku: str


ProductEvent = ProductRegistered | ProductRevised | ProductDiscontinued
