"""One example of every event type in its present shape, every field of it filled in.

The files in ``events/`` are these as they were stored when that version was made. A file is
never changed: what it holds is what logs hold.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from schemas.access import ApiKeyCreated, ApiKeyRevoked, UserAdded
from schemas.common import Event
from schemas.import_batch import (
    ImportBatchClosed,
    ImportBatchOpened,
    ImportChunkRecorded,
    LineRefusal,
)
from schemas.location import LocationOpened, LocationRevised
from schemas.product import (
    AlternativeUnit,
    ProductDiscontinued,
    ProductRegistered,
    ProductRevised,
)
from schemas.stock import (
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    ReservationExtended,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from schemas.supplier import SupplierRegistered

FOLDER: Final = Path(__file__).parent / "events"

_PLACE: Final[Mapping[str, Any]] = {
    "product_id": 12,
    "location_id": 3,
    "reason": "cycle of the week",
    "reference": "PO-2041/7",
    "notes": "Ünïcode, “quotes” and a\nline break",
}
_QUANTITY: Final[Mapping[str, Any]] = {
    **_PLACE,
    "quantity": Decimal(60),
    "unit": "box",
    "entered_quantity": Decimal(5),
}
_PRODUCT: Final[Mapping[str, Any]] = {
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
_LOCATION: Final[Mapping[str, Any]] = {
    "location_id": 3,
    "name": "High Street",
    "code": "HST",
    "address": "1 High Street",
    "city": "York",
    "state": "North Yorkshire",
    "postcode": "YO1 7HH",
    "country": "GB",
    "time_zone": "Europe/London",
    "is_default": True,
    "stock_limit": Decimal("-10.5"),
    "is_active": False,
}
_UNTIL: Final = datetime(2031, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)

EXAMPLES: Final[tuple[Event, ...]] = (
    ApiKeyCreated(
        key_id=2,
        name="till",
        key_prefix="sl_live_4f",
        permissions=("read", "write"),
        expires_at=_UNTIL,
    ),
    ApiKeyRevoked(key_id=2),
    UserAdded(user_id=5, role="manager"),
    ImportBatchOpened(
        batch_id="b-7f3a",
        kind="order-lines",
        source_name="orders.csv",
        source_digest="sha256:7f3a",
        options={"timezone": "Europe/London"},
    ),
    ImportChunkRecorded(
        batch_id="b-7f3a",
        chunk=1,
        first_line=1001,
        last_line=2000,
        accepted=999,
        refused=1,
        refusals=(LineRefusal(line=1204, code="unknown_sku", detail="no such SKU"),),
    ),
    ImportBatchClosed(batch_id="b-7f3a", lines=2000, accepted=1997, refused=3),
    LocationOpened(**_LOCATION),
    LocationRevised(**_LOCATION),
    ProductRegistered(**_PRODUCT),
    ProductRevised(**_PRODUCT),
    ProductDiscontinued(product_id=12, sku="JAR-250"),
    SupplierRegistered(
        supplier_id=8,
        name="Glassworks",
        code="GLS",
        email="sales@glassworks.example",
        phone="+44 1904 000000",
        payment_terms="30 days",
        lead_time_days=14,
    ),
    StockReceived(**_QUANTITY, source="customer", unit_cost=Decimal("1.050000")),
    StockIssued(**_QUANTITY, reservation_id="cart-991"),
    StockAdjusted(
        **_PLACE,
        quantity=Decimal("-2.5"),
        unit="box",
        entered_quantity=Decimal(5),
        set_to=Decimal("57.5"),
    ),
    StockCounted(
        **_PLACE,
        counted=Decimal(58),
        expected=Decimal(60),
        variance=Decimal(-2),
        unit="box",
        entered_quantity=Decimal("4.833333"),
    ),
    CountVarianceRevised(**_PLACE, quantity=Decimal(-3), count_position=41),
    TransferShipped(**_QUANTITY, transfer_id=6, to_location_id=4, direct=True),
    TransferExpected(**_PLACE, transfer_id=6, from_location_id=3, quantity=Decimal(60)),
    TransferReceived(**_QUANTITY, transfer_id=6, from_location_id=3, direct=True),
    TransferLost(**_PLACE, transfer_id=6, from_location_id=3, quantity=Decimal("0.000001")),
    StockReserved(**_QUANTITY, reservation_id="cart-991", owner="web shop", expires_at=_UNTIL),
    ReservationExtended(**_PLACE, reservation_id="cart-991", expires_at=_UNTIL),
    ReservationReleased(**_PLACE, reservation_id="cart-991", quantity=Decimal(12), cause="expired"),
    StockQuarantined(**_QUANTITY),
    QuarantineReleased(**_QUANTITY, disposition="scrap"),
    MovementReversed(
        **_PLACE,
        reversed_position=40,
        reversed_type="TransferReceived",
        quantity=Decimal("999999999999.999999"),
        from_account="unrestricted",
        from_location_id=3,
        to_account="in_transit",
        to_location_id=3,
        transfer_id=6,
    ),
)

# What a golden file of an older version must read as, by type and version: an entry comes
# with each upcaster.
FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}


def golden_path(type_name: str, schema_version: int, folder: Path = FOLDER) -> Path:
    """Return where the stored example of a type's version is."""
    return folder / f"{type_name}.v{schema_version}.json"


def missing_goldens(event_types: Iterable[type[Event]], folder: Path = FOLDER) -> list[str]:
    """Return the names of the files that should be there: one for each version ever made."""
    return [
        path.name
        for event_type in event_types
        for version in range(1, event_type.SCHEMA_VERSION + 1)
        if not (path := golden_path(event_type.TYPE, version, folder)).exists()
    ]
