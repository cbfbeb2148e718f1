"""Lots (seed 003 calls them batches) and serial numbers: what a tracked product is made of.

How much there is of a lot, and where, follows from stock events, whose ``lots`` name them. A
serial number is in one place at a time; its own stream says which.
"""

from datetime import date
from typing import ClassVar, Literal

from schemas.common import Code, Command, Event, Id, LongText, ShortText

SerialStatus = Literal["in_stock", "quarantined", "in_transit", "sold", "returned", "lost"]

# --- commands ---------------------------------------------------------------------------


class RegisterLot(Command, frozen=True, kw_only=True):
    """Make a lot known before any of it comes in. ``lot`` is the batch number."""

    TYPE: ClassVar[str] = "RegisterLot"
    product_id: Id
    lot: Code
    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    notes: LongText | None = None


class ReviseLot(Command, frozen=True, kw_only=True):
    """Replace what is said of a lot; product and batch number stay."""

    TYPE: ClassVar[str] = "ReviseLot"
    lot_id: Id
    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    notes: LongText | None = None


LotCommand = RegisterLot | ReviseLot

# --- events -----------------------------------------------------------------------------


class _LotFacts(Event, frozen=True, kw_only=True):
    """``removal_date`` None stands for the expiry date."""

    lot_id: int
    product_id: int
    lot: str
    lot_number: str | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    notes: str | None = None


class LotRegistered(_LotFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "LotRegistered"


class LotRevised(_LotFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "LotRevised"


LotEvent = LotRegistered | LotRevised


class SerialRegistered(Event, frozen=True, kw_only=True):
    """A serial number was met for the first time; its place follows in `SerialMoved`."""

    TYPE: ClassVar[str] = "SerialRegistered"
    serial_id: int
    product_id: int
    serial: str


class SerialMoved(Event, frozen=True, kw_only=True):
    """The unit is at ``location_id`` in ``status``: sold and lost ones were there last."""

    TYPE: ClassVar[str] = "SerialMoved"
    serial_id: int
    product_id: int
    location_id: int
    status: SerialStatus


SerialEvent = SerialRegistered | SerialMoved
