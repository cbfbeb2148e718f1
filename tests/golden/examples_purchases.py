"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from schemas.common import Event
from schemas.purchase import (
    PurchaseLine,
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    PurchaseReturned,
    ReceivedLine,
)
from schemas.stock import LotPart

_ORDER: Final[Mapping[str, Any]] = {
    "purchase_order_id": 88,
    "notes": "Ünïcode, “quotes” and a\nline break",
}
_MOVED: Final = (
    ReceivedLine(
        line_id=88001,
        product_id=12,
        quantity=Decimal("24.000"),
        unit_cost=Decimal("2.515000"),
        lots=(LotPart(lot_id=7, quantity=Decimal("20.000")),),
        serials=(285, 286),
    ),
    ReceivedLine(line_id=88002, product_id=13, quantity=Decimal(1), unit_cost=Decimal(0)),
)

EXAMPLES: Final[tuple[Event, ...]] = (
    PurchaseOrderCreated(
        **_ORDER,
        po_number="PO-0088",
        supplier_id=3,
        location_id=2,
        lines=(
            PurchaseLine(
                id=88001,
                product_id=12,
                quantity=Decimal("60.000"),
                unit_cost=Decimal("2.5"),
                unit="box",
                entered_quantity=Decimal(5),
            ),
            PurchaseLine(
                id=88002, product_id=13, quantity=Decimal(1), unit_cost=Decimal("0.000001")
            ),
        ),
        total_amount=Decimal("150.000001"),
        tolerance_percent=Decimal("2.5"),
        expected_date=date(2026, 5, 10),
        reference="NW 2026-05/3",
    ),
    PurchaseOrderSent(**_ORDER),
    PurchaseOrderReceived(**_ORDER, receipt=2, lines=_MOVED, complete=True),
    PurchaseReturned(**_ORDER, return_number=1, lines=_MOVED, reason="broken on arrival"),
    PurchaseOrderClosed(**_ORDER),
    PurchaseOrderCancelled(**_ORDER, reason="too dear"),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
