"""Examples of the events of lots and serial numbers; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from schemas.common import Event
from schemas.lot import LotRegistered, LotRevised, SerialMoved, SerialRegistered

_LOT: Final[Mapping[str, Any]] = {
    "lot_id": 7,
    "product_id": 12,
    "lot": "BTH-2026-041",
    "lot_number": "L04-A",
    "manufacture_date": date(2026, 2, 10),
    "expiry_date": date(2028, 2, 10),
    "removal_date": date(2028, 1, 27),
    "notes": "Second shift, kiln 4",
}

EXAMPLES: Final[tuple[Event, ...]] = (
    LotRegistered(**_LOT),
    LotRevised(**_LOT),
    SerialRegistered(serial_id=201, product_id=31, serial="SN-20260401-0001"),
    SerialMoved(serial_id=201, product_id=31, location_id=3, status="quarantined"),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
