"""Products: the catalogue's commands and events."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import Command, Event, Id, LongText, Name, ShortText, Sku, keep_exact
from schemas.stock import Unit

TrackingType = Literal["none", "batch", "serial"]
Scale = Annotated[int, Meta(ge=0, le=6, description="Digits behind the point of its quantities")]


class AlternativeUnit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``unit`` is ``numerator``/``denominator`` of the product's own unit, exactly."""

    unit: Unit
    numerator: Annotated[int, Meta(ge=1, le=10**9)]
    denominator: Annotated[int, Meta(ge=1, le=10**9)] = 1


class _ProductFields(Command, frozen=True, kw_only=True):
    """Everything a client says of a product. Amounts are in the tenant's currency."""

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

    def __post_init__(self) -> None:
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


class ProductRegistered(_ProductFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ProductRegistered"


class ProductRevised(_ProductFacts, frozen=True, kw_only=True):
    """The whole of what is said of the product from now on."""

    TYPE: ClassVar[str] = "ProductRevised"


class ProductDiscontinued(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ProductDiscontinued"
    product_id: int
    sku: str


ProductEvent = ProductRegistered | ProductRevised | ProductDiscontinued
