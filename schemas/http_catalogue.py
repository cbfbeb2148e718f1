"""HTTP replies of products and warehouses. Their bodies are the commands themselves."""

from datetime import datetime

import msgspec

from schemas.http_common import Money, PlainDecimal, Quantity
from schemas.product import AlternativeUnit, TrackingType


class ProductRow(msgspec.Struct, frozen=True, kw_only=True):
    """A product in a list. Categories and images are not kept yet: their fields are empty."""

    id: int
    name: str
    sku: str
    base_price: Money
    cost_price: Money | None
    barcode: str | None
    vendor: str | None
    category_id: int | None
    category_name: str | None = None
    tracking_type: TrackingType
    is_active: bool
    total_stock: Quantity


class ProductsReply(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` leads to what follows; null at the end."""

    products: list[ProductRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class WarehouseStock(msgspec.Struct, frozen=True, kw_only=True):
    warehouse_id: int
    warehouse_name: str
    quantity: Quantity


class ProductImage(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    url: str
    is_primary: bool


class ProductReply(msgspec.Struct, frozen=True, kw_only=True):
    """A product whole; ``version`` is what If-Match takes."""

    id: int
    name: str
    sku: str
    base_price: Money
    cost_price: Money | None
    compare_at_price: Money | None
    barcode: str | None
    vendor: str | None
    description: str | None
    category_id: int | None
    tracking_type: TrackingType
    weight: PlainDecimal | None
    unit: str
    scale: int
    alternative_units: list[AlternativeUnit]
    reorder_level: Quantity | None
    taxable: bool
    requires_shipping: bool
    is_active: bool
    images: list[ProductImage]
    stock: list[WarehouseStock]
    created_at: datetime
    version: int


class ProductCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    sku: str
    base_price: Money
    cost_price: Money | None
    tracking_type: TrackingType
    is_active: bool
    created_at: datetime


class WarehouseReply(msgspec.Struct, frozen=True, kw_only=True):
    """``total_skus`` counts products with stock there; ``total_value`` is at cost price."""

    id: int
    name: str
    code: str
    address: str | None
    city: str | None
    state: str | None
    postcode: str | None
    country: str | None
    time_zone: str
    is_default: bool
    is_active: bool
    stock_limit: Quantity
    total_skus: int
    total_value: Money
    created_at: datetime
    version: int


class WarehousesReply(msgspec.Struct, frozen=True, kw_only=True):
    warehouses: list[WarehouseReply]


class WarehouseCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    code: str
    address: str | None
    city: str | None
    state: str | None
    is_default: bool
    created_at: datetime


class ExternalProductRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    sku: str
    price: Money
    barcode: str | None
    vendor: str | None
    total_stock: Quantity
    is_active: bool


class ExternalProductsReply(msgspec.Struct, frozen=True, kw_only=True):
    products: list[ExternalProductRow]
    total: int
    page: int
    limit: int


class ExternalProductReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    sku: str
    price: Money
    barcode: str | None
    stock: list[WarehouseStock]
