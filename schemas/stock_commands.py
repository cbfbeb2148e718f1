"""What can be asked of stock."""

from decimal import Decimal
from typing import ClassVar

from schemas.common import (
    Code,
    Command,
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
from schemas.stock_terms import (
    Destination,
    Disposition,
    Lots,
    Origin,
    Serials,
    Unit,
)


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
