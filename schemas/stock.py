"""Stock: its commands, and its events, which are the storage format.

Every stock event that moves goods is one movement of a positive quantity from one account
to another. The accounts of a product at a location:

==============  ==================================================================
unrestricted    on the shelf and free of a block (SAP calls it unrestricted-use)
quarantine      on the premises, blocked
in_transit      on the way to this location
supplier        what came in from outside, counted negative
customer        what went out to customers
adjustment      what adjustments and counts found or missed
loss            scrapped, or lost on the way
==============  ==================================================================

On hand = unrestricted + quarantine. Available = on hand - reserved - quarantine.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import (
    Code,
    Command,
    Event,
    Id,
    Instant,
    LongText,
    ShortText,
    Sku,
    keep_amount,
    keep_exact,
    require_one,
    require_positive,
)

Destination = Literal["customer", "supplier"]
Account = Literal[
    "unrestricted", "quarantine", "in_transit", "supplier", "customer", "adjustment", "loss"
]
Disposition = Literal["restock", "scrap"]
ReleaseCause = Literal["released", "expired"]
Origin = Literal["supplier", "customer"]
Unit = Annotated[str, Meta(min_length=1, max_length=20)]
LOTS_MAX = 100
SERIALS_MAX = 1_000


class LotEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of one lot, in the product's own unit.

    ``lot`` is the batch number, unique for its product. What comes in of a lot that is not
    known yet makes it known, with the dates given here; of a known one they must agree.
    Nothing goes out of a lot from its ``removal_date`` on, unless a client names it.
    """

    lot: Code
    quantity: Decimal
    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None

    def __post_init__(self) -> None:
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)


Lots = Annotated[tuple[LotEntry, ...], Meta(max_length=LOTS_MAX)]
Serials = Annotated[tuple[Code, ...], Meta(max_length=SERIALS_MAX)]


class LotPart(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a movement was of one lot. What no part names is of no known lot."""

    lot_id: int
    quantity: Decimal


# --- commands ---------------------------------------------------------------------------


class _Remarks(Command, frozen=True, kw_only=True):
    """What any stock command may say besides what it does."""

    effective_at: Instant | None = None
    reason: ShortText | None = None
    reference: ShortText | None = None
    notes: LongText | None = None


class _AtPlace(_Remarks, frozen=True, kw_only=True):
    """One product at one location, each named by id or by alias."""

    product_id: Id | None = None
    sku: Sku | None = None
    location_id: Id | None = None
    location: Code | None = None

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        require_one("location_id", self.location_id, "location", self.location)


class _Quantified(_AtPlace, frozen=True, kw_only=True):
    """A positive quantity, in the product's unit unless ``unit`` names another of its units."""

    quantity: Decimal
    unit: Unit | None = None

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)


class ReceiveStock(_Quantified, frozen=True, kw_only=True):
    """Goods came in from outside: bought, or sent back by a customer.

    ``unit_cost`` is the cost of one of the product's base unit, and ``unit_price`` what a
    customer gets back for one. ``returns`` is the ``reference`` of the issue that a customer's
    goods come back from: they are worth what they cost then.
    """

    TYPE: ClassVar[str] = "ReceiveStock"
    source: Origin = "supplier"
    unit_cost: Decimal | None = None
    unit_price: Decimal | None = None
    returns: ShortText | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        _Quantified.__post_init__(self)
        keep_amount(self, "unit_cost", self.unit_cost)
        keep_amount(self, "unit_price", self.unit_price)


class IssueStock(_Quantified, frozen=True, kw_only=True):
    """Goods went out to a customer, from what is available, or back to a supplier.

    ``unit_price`` is what one of the product's base unit was sold for.
    """

    TYPE: ClassVar[str] = "IssueStock"
    destination: Destination = "customer"
    unit_price: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        _Quantified.__post_init__(self)
        keep_amount(self, "unit_price", self.unit_price)


class AdjustStock(_AtPlace, frozen=True, kw_only=True):
    """Correct the books by a signed quantity."""

    TYPE: ClassVar[str] = "AdjustStock"
    quantity: Decimal
    unit: Unit | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "quantity", self.quantity)
        if self.quantity == 0:
            raise ValueError("quantity must not be zero")


class CountStock(_AtPlace, frozen=True, kw_only=True):
    """Assert what was on hand (quarantined goods included) at ``effective_at``."""

    TYPE: ClassVar[str] = "CountStock"
    quantity: Decimal
    unit: Unit | None = None

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "quantity", self.quantity)
        if self.quantity < 0:
            raise ValueError("quantity must not be below zero: it is a count")


class SetStock(_AtPlace, frozen=True, kw_only=True):
    """Make on hand an absolute figure, as a synchronising system says it is.

    The last writer wins, unless ``expected_quantity`` says what the client believes is on
    hand now; when that is not so, the command is refused. The implied difference is what is
    recorded. Already so: nothing is recorded.
    """

    TYPE: ClassVar[str] = "SetStock"
    quantity: Decimal
    expected_quantity: Decimal | None = None
    unit: Unit | None = None

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "quantity", self.quantity)
        keep_exact(self, "expected_quantity", self.expected_quantity)


class _BetweenPlaces(_Remarks, frozen=True, kw_only=True):
    product_id: Id | None = None
    sku: Sku | None = None
    from_location_id: Id | None = None
    from_location: Code | None = None
    to_location_id: Id | None = None
    to_location: Code | None = None
    quantity: Decimal
    unit: Unit | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        require_one("product_id", self.product_id, "sku", self.sku)
        require_one("from_location_id", self.from_location_id, "from_location", self.from_location)
        require_one("to_location_id", self.to_location_id, "to_location", self.to_location)
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)


class TransferStock(_BetweenPlaces, frozen=True, kw_only=True):
    """Move goods between two locations in one step."""

    TYPE: ClassVar[str] = "TransferStock"


class ShipTransfer(_BetweenPlaces, frozen=True, kw_only=True):
    """Send goods to another location; they are in transit until received there."""

    TYPE: ClassVar[str] = "ShipTransfer"


class ReceiveTransfer(_AtPlace, frozen=True, kw_only=True):
    """Take in goods of a shipped transfer at its destination; ``lost`` never arrived."""

    TYPE: ClassVar[str] = "ReceiveTransfer"
    transfer_id: Id
    quantity: Decimal = Decimal(0)
    lost: Decimal = Decimal(0)
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_exact(self, "quantity", self.quantity)
        keep_exact(self, "lost", self.lost)
        if self.quantity < 0 or self.lost < 0:
            raise ValueError("quantity and lost must not be below zero")
        if self.quantity == 0 and self.lost == 0:
            raise ValueError("quantity and lost must not both be zero")


class ReserveStock(_Quantified, frozen=True, kw_only=True):
    """Claim available stock for an owner, until ``expires_at`` where one is given.

    ``reservation_id`` is the client's own name of it, unique per product and location;
    without one the ledger counts one.
    """

    TYPE: ClassVar[str] = "ReserveStock"
    reservation_id: Code | None = None
    owner: ShortText | None = None
    expires_at: Instant | None = None


class ExtendReservation(_AtPlace, frozen=True, kw_only=True):
    """Move a live reservation's expiry; null makes it last until released."""

    TYPE: ClassVar[str] = "ExtendReservation"
    reservation_id: Code
    expires_at: Instant | None


class ReleaseReservation(_AtPlace, frozen=True, kw_only=True):
    """Give back a reservation, or a part of it; one that is gone already is no error."""

    TYPE: ClassVar[str] = "ReleaseReservation"
    reservation_id: Code
    quantity: Decimal | None = None
    unit: Unit | None = None

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        if self.quantity is not None:
            keep_exact(self, "quantity", self.quantity)
            require_positive("quantity", self.quantity)


class IssueReserved(_AtPlace, frozen=True, kw_only=True):
    """Issue goods against a live reservation, all that is left of it or a part."""

    TYPE: ClassVar[str] = "IssueReserved"
    reservation_id: Code
    quantity: Decimal | None = None
    unit: Unit | None = None
    unit_price: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()

    def __post_init__(self) -> None:
        _AtPlace.__post_init__(self)
        keep_amount(self, "unit_price", self.unit_price)
        if self.quantity is not None:
            keep_exact(self, "quantity", self.quantity)
            require_positive("quantity", self.quantity)


class QuarantineStock(_Quantified, frozen=True, kw_only=True):
    """Block available goods where they are."""

    TYPE: ClassVar[str] = "QuarantineStock"
    lots: Lots = ()
    serials: Serials = ()


class ReleaseQuarantine(_Quantified, frozen=True, kw_only=True):
    """Free blocked goods for use, or scrap them."""

    TYPE: ClassVar[str] = "ReleaseQuarantine"
    disposition: Disposition = "restock"
    lots: Lots = ()
    serials: Serials = ()


class ReverseMovement(_Remarks, frozen=True, kw_only=True):
    """Undo an earlier movement, named by its position, by one that points at it.

    A transfer in one step is undone whole, whichever of its two movements is named.
    """

    TYPE: ClassVar[str] = "ReverseMovement"
    position: Id


StockCommand = (
    ReceiveStock
    | IssueStock
    | AdjustStock
    | CountStock
    | SetStock
    | TransferStock
    | ShipTransfer
    | ReceiveTransfer
    | ReserveStock
    | ExtendReservation
    | ReleaseReservation
    | IssueReserved
    | QuarantineStock
    | ReleaseQuarantine
    | ReverseMovement
)

# --- events -----------------------------------------------------------------------------


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
