"""HTTP replies of the catalogue and warehouses. Their bodies are the commands themselves."""

from datetime import datetime

import msgspec

from schemas.http_common import Money, PlainDecimal, Quantity
from schemas.product import AlternativeUnit, TrackingType, VariantOption


class ProductRow(msgspec.Struct, frozen=True, kw_only=True):
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
    """``id`` is the product's times 1000 plus the image's place, so it changes with the place."""

    id: int
    url: str
    is_primary: bool


class ProductVariant(msgspec.Struct, frozen=True, kw_only=True):
    """A variant, which is a product of its own: ``id`` is that product's."""

    id: int
    sku: str
    name: str
    base_price: Money
    options: list[VariantOption]
    is_active: bool
    total_stock: Quantity


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
    category_name: str | None
    supplier_id: int | None
    supplier_name: str | None
    tracking_type: TrackingType
    weight: PlainDecimal | None
    unit: str
    scale: int
    alternative_units: list[AlternativeUnit]
    reorder_level: Quantity | None
    taxable: bool
    requires_shipping: bool
    backorders: bool
    is_active: bool
    images: list[ProductImage]
    variant_of: int | None
    options: list[VariantOption]
    variants: list[ProductVariant]
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


class CategoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """``product_count`` has the products in it, not those in categories under it."""

    id: int
    name: str
    parent_id: int | None
    product_count: int
    created_at: datetime
    version: int


class CategoriesReply(msgspec.Struct, frozen=True, kw_only=True):
    categories: list[CategoryRow]


class CategoryCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    parent_id: int | None
    created_at: datetime


class SupplierRow(msgspec.Struct, frozen=True, kw_only=True):
    """``product_count`` has the products that name it as their supplier."""

    id: int
    name: str
    code: str | None
    email: str | None
    phone: str | None
    payment_terms: str | None
    lead_time_days: int | None
    product_count: int
    created_at: datetime


class SuppliersReply(msgspec.Struct, frozen=True, kw_only=True):
    """``next_cursor`` leads to what follows; null at the end."""

    suppliers: list[SupplierRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class SupplierReply(SupplierRow, frozen=True, kw_only=True):
    """A supplier whole; ``version`` is what If-Match takes."""

    version: int


class SupplierCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    code: str | None
    email: str | None
    phone: str | None
    payment_terms: str | None
    lead_time_days: int | None
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
