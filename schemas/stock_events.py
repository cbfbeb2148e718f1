"""What happens to stock: the storage format. `schemas.stock` says what an account is."""

from decimal import Decimal
from typing import ClassVar

from schemas.common import (
    Event,
    Instant,
)
from schemas.stock_terms import (
    Account,
    Destination,
    Disposition,
    LotPart,
    Origin,
    ReleaseCause,
)


class _StockEvent(Event, frozen=True, kw_only=True):
    """Every stock event names its product and location, and carries the client's remarks.

    ``entered_quantity`` and ``unit`` are what the client said when it was not in the
    product's own unit; ``quantity`` always is in that unit, and above zero unless it says
    otherwise.
    """

    product_id: int
    location_id: int
    reason: str | None = None
    reference: str | None = None
    notes: str | None = None


class _QuantifiedEvent(_StockEvent, frozen=True, kw_only=True):
    quantity: Decimal
    unit: str | None = None
    entered_quantity: Decimal | None = None


class _TrackedEvent(_QuantifiedEvent, frozen=True, kw_only=True):
    """A movement of goods that may be tracked: the lots it was of, and the ids of its serials."""

    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class StockReceived(_TrackedEvent, frozen=True, kw_only=True):
    """``source`` (supplier or customer) -> unrestricted. ``unit_cost`` is per base unit."""

    TYPE: ClassVar[str] = "StockReceived"
    source: Origin = "supplier"
    unit_cost: Decimal | None = None
    unit_price: Decimal | None = None
    returns: str | None = None


class StockIssued(_TrackedEvent, frozen=True, kw_only=True):
    """unrestricted -> ``destination`` (customer, or supplier for what goes back).

    With ``reservation_id`` it also uses up that much of the claim.
    """

    TYPE: ClassVar[str] = "StockIssued"
    reservation_id: str | None = None
    destination: Destination = "customer"
    unit_price: Decimal | None = None


class StockAdjusted(_TrackedEvent, frozen=True, kw_only=True):
    """adjustment -> unrestricted by the signed ``quantity``.

    ``set_to`` is the absolute on-hand figure a synchronising system asked for, where one did.
    """

    TYPE: ClassVar[str] = "StockAdjusted"
    set_to: Decimal | None = None


class StockCounted(_StockEvent, frozen=True, kw_only=True):
    """On hand was ``counted`` at the event's effective time; the books said ``expected``.

    adjustment -> unrestricted by ``variance`` = counted - expected, which may be zero or
    below it. ``lots`` says which lots the variance was of, as quantities above zero.
    """

    TYPE: ClassVar[str] = "StockCounted"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    counted: Decimal
    expected: Decimal
    variance: Decimal
    unit: str | None = None
    entered_quantity: Decimal | None = None
    lots: tuple[LotPart, ...] = ()


class CountVarianceRevised(_StockEvent, frozen=True, kw_only=True):
    """A movement recorded late, effective before a count, changed what that count explains.

    adjustment -> unrestricted by the signed ``quantity``, effective at the count's time, so
    that what was counted stays what was on hand. ``count_position`` is the count's.
    """

    TYPE: ClassVar[str] = "CountVarianceRevised"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    quantity: Decimal
    count_position: int
    lots: tuple[LotPart, ...] = ()


class TransferShipped(_TrackedEvent, frozen=True, kw_only=True):
    """unrestricted here -> in_transit at ``to_location_id``."""

    TYPE: ClassVar[str] = "TransferShipped"
    transfer_id: int
    to_location_id: int
    direct: bool = False


class TransferExpected(_StockEvent, frozen=True, kw_only=True):
    """The destination's side of a shipped transfer. No movement.

    ``quantity`` is on its way here from now on, whatever was expected of the transfer before:
    it is said again when a part of the transfer is undone, as zero when nothing comes any more.
    """

    TYPE: ClassVar[str] = "TransferExpected"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    transfer_id: int
    from_location_id: int
    quantity: Decimal
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class TransferReceived(_TrackedEvent, frozen=True, kw_only=True):
    """in_transit here -> unrestricted here."""

    TYPE: ClassVar[str] = "TransferReceived"
    transfer_id: int
    from_location_id: int
    direct: bool = False


class TransferLost(_StockEvent, frozen=True, kw_only=True):
    """in_transit here -> loss here: shipped, and never arrived."""

    TYPE: ClassVar[str] = "TransferLost"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    transfer_id: int
    from_location_id: int
    quantity: Decimal
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class StockReserved(_QuantifiedEvent, frozen=True, kw_only=True):
    """A claim on what is available. No movement."""

    TYPE: ClassVar[str] = "StockReserved"
    reservation_id: str
    owner: str | None = None
    expires_at: Instant | None = None


class ReservationExtended(_StockEvent, frozen=True, kw_only=True):
    """A claim now lasts until ``expires_at``, or until released."""

    TYPE: ClassVar[str] = "ReservationExtended"
    reservation_id: str
    expires_at: Instant | None = None


class ReservationReleased(_StockEvent, frozen=True, kw_only=True):
    """So much of a claim ended without goods going out."""

    TYPE: ClassVar[str] = "ReservationReleased"
    reservation_id: str
    quantity: Decimal
    cause: ReleaseCause = "released"


class StockQuarantined(_TrackedEvent, frozen=True, kw_only=True):
    """unrestricted -> quarantine."""

    TYPE: ClassVar[str] = "StockQuarantined"


class QuarantineReleased(_TrackedEvent, frozen=True, kw_only=True):
    """quarantine -> unrestricted, or -> loss when scrapped."""

    TYPE: ClassVar[str] = "QuarantineReleased"
    disposition: Disposition = "restock"


class MovementReversed(_StockEvent, frozen=True, kw_only=True):
    """The movement at ``reversed_position`` undone: the same quantity, the other way.

    Of a count it is the variance with all its revisions, adjustment and unrestricted swapped;
    zero when there was none, and then nothing moves but the count no longer stands.

    ``product_id`` and ``location_id`` are of the stream this is in; the two accounts name
    their own locations, since a transfer crosses two.
    """

    TYPE: ClassVar[str] = "MovementReversed"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    reversed_position: int
    reversed_type: str
    quantity: Decimal
    from_account: Account
    from_location_id: int
    to_account: Account
    to_location_id: int
    transfer_id: int | None = None
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


StockEvent = (
    StockReceived
    | StockIssued
    | StockAdjusted
    | StockCounted
    | CountVarianceRevised
    | TransferShipped
    | TransferExpected
    | TransferReceived
    | TransferLost
    | StockReserved
    | ReservationExtended
    | ReservationReleased
    | StockQuarantined
    | QuarantineReleased
    | MovementReversed
)
