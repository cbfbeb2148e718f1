"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from schemas.category import CategoryDefined, CategoryRevised
from schemas.common import Event
from schemas.product import (
    AlternativeUnit,
    ProductDiscontinued,
    ProductImageEntry,
    ProductRegistered,
    ProductRevised,
    VariantOption,
)
from schemas.supplier import SupplierRegistered, SupplierRevised

_PRODUCT_1: Final[Mapping[str, Any]] = {
    "product_id": 12,
    "name": "Jam jar, 250 ml",
    "sku": "JAR-250",
    "base_price": Decimal("2.950000"),
    "cost_price": Decimal("1.05"),
    "compare_at_price": Decimal("3.45"),
    "barcode": "5012345678900",
    "vendor": "Glassworks",
    "description": "With lid.",
    "category_id": 4,
    "tracking_type": "batch",
    "weight": Decimal("0.18"),
    "unit": "jar",
    "scale": 1,
    "alternative_units": (AlternativeUnit(unit="box", numerator=12, denominator=1),),
    "reorder_level": Decimal("24.5"),
    "taxable": False,
    "requires_shipping": False,
    "is_active": False,
}
_PRODUCT: Final[Mapping[str, Any]] = {
    **_PRODUCT_1,
    "backorders": True,
    "variant_of": 9,
    "options": (
        VariantOption(name="Volume", value="250 ml"),
        VariantOption(name="Deckel", value="Größe „M“"),
    ),
    "images": (
        ProductImageEntry(url="/uploads/jar-250.jpg", is_primary=True),
        ProductImageEntry(url="https://images.example/jar-250-2.jpg"),
    ),
    "supplier_id": 8,
}
_SUPPLIER: Final[Mapping[str, Any]] = {
    "supplier_id": 8,
    "name": "Glassworks",
    "code": "GLS",
    "email": "sales@glassworks.example",
    "phone": "+44 1904 000000",
    "payment_terms": "30 days",
    "lead_time_days": 14,
}
_CATEGORY: Final[Mapping[str, Any]] = {"category_id": 4, "name": "Gläser & Deckel", "parent_id": 2}

EXAMPLES: Final[tuple[Event, ...]] = (
    ProductRegistered(**_PRODUCT),
    ProductRevised(**_PRODUCT),
    ProductDiscontinued(product_id=12, sku="JAR-250"),
    SupplierRegistered(**_SUPPLIER),
    SupplierRevised(**_SUPPLIER),
    CategoryDefined(**_CATEGORY),
    CategoryRevised(**_CATEGORY),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {
    ("ProductRegistered", 1): ProductRegistered(**_PRODUCT_1),
    ("ProductRevised", 1): ProductRevised(**_PRODUCT_1),
}
