"""Examples of stock's events; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from schemas.common import Event
from schemas.stock import (
    CountVarianceRevised,
    LotPart,
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
_UNTIL: Final = datetime(2031, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)

# As they were stored before there were lots, serial numbers and prices.
_FIRST: Final[tuple[Event, ...]] = (
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

_LOTS: Final = (
    LotPart(lot_id=7, quantity=Decimal("58.5")),
    LotPart(lot_id=9, quantity=Decimal("1.5")),
)
_MORE: Final[Mapping[type[Event], Mapping[str, Any]]] = {
    StockReceived: {"unit_price": Decimal("2.95"), "returns": "ORD-1042/1"},
    StockIssued: {"destination": "supplier", "unit_price": Decimal("2.9500")},
}


def _tracked(event: Event) -> Event:
    """Return an event with the lots, serials and prices of its second version."""
    said: dict[str, Any] = {"lots": _LOTS, **_MORE.get(type(event), {})}
    if "serials" in event.__struct_fields__:
        said["serials"] = (201, 202)
    return msgspec.structs.replace(event, **said)


EXAMPLES: Final[tuple[Event, ...]] = (
    *map(_tracked, _FIRST),
    StockReserved(**_QUANTITY, reservation_id="cart-991", owner="web shop", expires_at=_UNTIL),
    ReservationExtended(**_PLACE, reservation_id="cart-991", expires_at=_UNTIL),
    ReservationReleased(**_PLACE, reservation_id="cart-991", quantity=Decimal(12), cause="expired"),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {(event.TYPE, 1): event for event in _FIRST}
