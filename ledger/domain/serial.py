"""Serial numbers: one stream a unit, which says where it is.

A unit is in one place at a time. What moves it is stock: each movement that it is part of puts
a `SerialMoved` beside itself, so there are no commands of its own.
"""

from datetime import datetime
from typing import Final

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import (
    ADJUSTMENT,
    CUSTOMER,
    IN_TRANSIT,
    LOSS,
    QUARANTINE,
    SUPPLIER,
    UNRESTRICTED,
)
from schemas.lot import SerialMoved, SerialRegistered, SerialStatus
from schemas.stock import Account

STATUS_OF: Final[dict[Account, SerialStatus]] = {
    UNRESTRICTED: "in_stock",
    QUARANTINE: "quarantined",
    IN_TRANSIT: "in_transit",
    CUSTOMER: "sold",
    SUPPLIER: "returned",
    ADJUSTMENT: "lost",
    LOSS: "lost",
}
"""What a unit is once a movement has taken it to an account."""

LIVE: Final = frozenset({"in_stock", "quarantined", "in_transit"})


def stream(serial_id: int) -> str:
    """Return the name of a serial's stream."""
    return f"serial-{serial_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class SerialState(msgspec.Struct, frozen=True, gc=False):
    """Where a unit is; ``serial_id`` 0 is one that was never met, ``location_id`` 0 nowhere."""

    serial_id: int = 0
    product_id: int = 0
    serial: str = ""
    location_id: int = 0
    status: SerialStatus | None = None
    moved_at: datetime | None = None

    def is_at(self, location_id: int, status: SerialStatus) -> bool:
        """Tell whether the unit is at a place in a status."""
        return self.location_id == location_id and self.status == status


INITIAL: Final = SerialState()


def evolve(state: SerialState, recorded: RecordedEvent) -> SerialState:
    """Return the state after an event."""
    match recorded.event:
        case SerialRegistered() as event:
            return SerialState(event.serial_id, event.product_id, event.serial)
        case SerialMoved() as event:
            return SerialState(
                state.serial_id,
                state.product_id,
                state.serial,
                event.location_id,
                event.status,
                recorded.effective_at,
            )
        case event:
            raise TypeError(f"a serial has no {type(event).__name__}")
