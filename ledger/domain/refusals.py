"""Why commands are refused: what is so, and the way out. Codes are the API's problem types."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from ledger.domain.decision import Refusal


def _plain(value: Any) -> Any:
    """Return a value as a problem document shows it: exact numbers as strings."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return value


class _StockRefusal(Refusal, frozen=True, kw_only=True):
    """A refusal about a product at a location; decimals and times are shown as strings."""

    product_id: int
    location_id: int
    sku: str | None = None

    def extensions(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in super().extensions().items()}

    def _place(self) -> str:
        product = f"product {self.product_id}" if self.sku is None else repr(self.sku)
        return f"{product} at location {self.location_id}"


class InsufficientStock(_StockRefusal, frozen=True, kw_only=True):
    """Available would fall below the location's limit, now or at a later effective time.

    ``available`` is what there is without the command at that time, ``at`` the time when it
    is not now.
    """

    CODE: ClassVar[str] = "insufficient_stock"
    requested: Decimal
    available: Decimal
    stock_limit: Decimal
    at: datetime | None = None

    def detail(self) -> str:
        when = "" if self.at is None else f" at {self.at.isoformat()}"
        limit = "" if not self.stock_limit else f", and it may not go below {self.stock_limit:f}"
        return (
            f"{self.requested:f} of {self._place()} was asked for but {self.available:f} is "
            f"available{when}{limit}; ask for less, or receive or release stock first."
        )


class InsufficientQuarantine(_StockRefusal, frozen=True, kw_only=True):
    """More would leave quarantine than is in it, now or at a later effective time."""

    CODE: ClassVar[str] = "insufficient_quarantine"
    requested: Decimal
    quarantined: Decimal
    at: datetime | None = None

    def detail(self) -> str:
        when = "" if self.at is None else f" at {self.at.isoformat()}"
        return (
            f"{self.requested:f} of {self._place()} was to leave quarantine but "
            f"{self.quarantined:f} is in it{when}; ask for no more than that."
        )


class BalanceOutOfBounds(_StockRefusal, frozen=True, kw_only=True):
    """A balance or a difference would have more digits than a quantity may (invariant I7)."""

    CODE: ClassVar[str] = "balance_out_of_bounds"
    balance: Decimal

    def detail(self) -> str:
        return (
            f"This would bring a balance of {self._place()} to {self.balance:f}, which has more "
            f"than 12 digits before the point; check the quantity."
        )


class CountBelowQuarantine(_StockRefusal, frozen=True, kw_only=True):
    """A count found less on hand than is blocked there."""

    CODE: ClassVar[str] = "count_below_quarantine"
    counted: Decimal
    quarantined: Decimal

    def detail(self) -> str:
        return (
            f"{self.counted:f} of {self._place()} was counted but {self.quarantined:f} is in "
            f"quarantine there, which a count includes; release or scrap what is not there first."
        )


class CountBelowClaims(_StockRefusal, frozen=True, kw_only=True):
    """After a count, available would be below the location's limit.

    ``available`` is what would be available at ``at`` if the count were taken.
    """

    CODE: ClassVar[str] = "count_below_claims"
    counted: Decimal
    reserved: Decimal
    quarantined: Decimal
    available: Decimal
    stock_limit: Decimal
    at: datetime | None = None

    def detail(self) -> str:
        when = "" if self.at is None else f" at {self.at.isoformat()}"
        return (
            f"With {self.counted:f} of {self._place()} counted, {self.available:f} would be "
            f"available{when}, below the limit of {self.stock_limit:f} ({self.reserved:f} is "
            f"reserved and {self.quarantined:f} in quarantine); release reservations or reverse "
            f"what went out later first, then count again."
        )


class QuantityConflict(_StockRefusal, frozen=True, kw_only=True):
    """On hand is not what the client believes it is."""

    CODE: ClassVar[str] = "quantity_conflict"
    expected_quantity: Decimal
    actual_quantity: Decimal

    def detail(self) -> str:
        return (
            f"{self.expected_quantity:f} of {self._place()} was expected on hand but it is "
            f"{self.actual_quantity:f}; read it again and decide anew."
        )


class ReservationExists(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "reservation_exists"
    reservation_id: str
    quantity: Decimal

    def detail(self) -> str:
        return (
            f"Reservation {self.reservation_id!r} of {self._place()} exists already, with "
            f"{self.quantity:f} left of it and other particulars; extend or release it, or "
            f"choose another reservation_id."
        )


class ReservationNotFound(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "reservation_not_found"
    reservation_id: str

    def detail(self) -> str:
        return (
            f"There is no live reservation {self.reservation_id!r} of {self._place()}; it may be "
            f"used up or released: check the id, or reserve again."
        )


class ReservationExpired(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "reservation_expired"
    reservation_id: str
    expires_at: datetime

    def detail(self) -> str:
        return (
            f"Reservation {self.reservation_id!r} of {self._place()} expired at "
            f"{self.expires_at.isoformat()}; reserve again, or issue from what is available."
        )


class ReservationExceeded(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "reservation_exceeded"
    reservation_id: str
    requested: Decimal
    left: Decimal

    def detail(self) -> str:
        return (
            f"{self.requested:f} was asked of reservation {self.reservation_id!r} of "
            f"{self._place()} but {self.left:f} is left of it; ask for no more than that."
        )


class TransferNotFound(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "transfer_not_found"
    transfer_id: int

    def detail(self) -> str:
        return (
            f"Nothing of transfer {self.transfer_id} is on its way as {self._place()}; it may be "
            f"received in full: check transfer_id, product and destination."
        )


class TransferExceeded(_StockRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "transfer_exceeded"
    transfer_id: int
    requested: Decimal
    left: Decimal

    def detail(self) -> str:
        return (
            f"{self.requested:f} was to be received or lost but {self.left:f} is left of transfer "
            f"{self.transfer_id} on its way as {self._place()}; take in no more than that, and "
            f"what was found beyond it by an adjustment."
        )


class LocationInactive(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "location_inactive"
    location_id: int
    location: str

    def detail(self) -> str:
        return (
            f"Location {self.location!r} is not active, so nothing comes in there; make it "
            f"active or use another one."
        )


class ProductIsDiscontinued(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "product_discontinued"
    product_id: int
    sku: str

    def detail(self) -> str:
        return (
            f"Product {self.product_id} ({self.sku!r}) is discontinued, so it takes no commands; "
            f"register a product anew."
        )


class ProductHasStock(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "product_has_stock"
    product_id: int
    sku: str

    def detail(self) -> str:
        return (
            f"Product {self.product_id} ({self.sku!r}) is still on hand, in transit or reserved "
            f"somewhere; bring that to zero first, or set is_active to false instead."
        )


class ProductFieldFixed(Refusal, frozen=True, kw_only=True):
    """Quantities are recorded in the product's unit and scale, so neither may change.

    How it is tracked may, while there is no stock of it anywhere that is, or is not, tracked.
    """

    CODE: ClassVar[str] = "product_field_fixed"
    product_id: int
    field: str
    present: str | int

    def detail(self) -> str:
        if self.field == "tracking_type":
            return (
                f"tracking_type of product {self.product_id} is {self.present!r} as long as any "
                f"of it is on hand, in transit or reserved; bring that to zero first."
            )
        return (
            f"{self.field} of product {self.product_id} is {self.present!r} for good, since its "
            f"quantities are recorded so; leave it as it is, add an alternative unit, or "
            f"register another product."
        )


class SkuTaken(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "sku_taken"
    sku: str
    product_id: int

    def detail(self) -> str:
        return (
            f"SKU already exists for this tenant: {self.sku!r} is product {self.product_id}; "
            f"choose another, or revise that product."
        )


class LocationCodeTaken(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "location_code_taken"
    location: str
    location_id: int

    def detail(self) -> str:
        return (
            f"Code {self.location!r} is location {self.location_id} already; choose another, or "
            f"revise that location."
        )


class SupplierCodeTaken(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "supplier_code_taken"
    code: str
    supplier_id: int

    def detail(self) -> str:
        return f"Code {self.code!r} is supplier {self.supplier_id} already; choose another."


class _MovementRefusal(Refusal, frozen=True, kw_only=True):
    position: int


class MovementNotFound(_MovementRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "movement_not_found"

    def detail(self) -> str:
        return f"There is no event at position {self.position}; check the position."


class NotAMovement(_MovementRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "not_a_movement"
    event_type: str

    def detail(self) -> str:
        return (
            f"The event at position {self.position} is a {self.event_type}, which moves no stock; "
            f"name the position of a movement."
        )


class AlreadyReversed(_MovementRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "already_reversed"

    def detail(self) -> str:
        return f"The movement at position {self.position} is reversed already; nothing is left."


class NotReversible(_MovementRefusal, frozen=True, kw_only=True):
    """A movement that has to be undone in another way; ``fault`` says why and how."""

    CODE: ClassVar[str] = "not_reversible"
    event_type: str
    fault: str

    def detail(self) -> str:
        return (
            f"The {self.event_type} at position {self.position} cannot be reversed: {self.fault}."
        )


class _BatchRefusal(Refusal, frozen=True, kw_only=True):
    batch_id: str


class ImportBatchNotFound(_BatchRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "import_batch_not_found"

    def detail(self) -> str:
        return f"There is no import batch {self.batch_id!r}; open it first."


class ImportBatchConflict(_BatchRefusal, frozen=True, kw_only=True):
    """The batch id stands for another file or another way of reading it."""

    CODE: ClassVar[str] = "import_batch_conflict"
    field: str

    def detail(self) -> str:
        return (
            f"Import batch {self.batch_id!r} is open with another {self.field}; derive batch_id "
            f"from what the file holds and how it is read."
        )


class ImportBatchIsClosed(_BatchRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "import_batch_closed"

    def detail(self) -> str:
        return f"Import batch {self.batch_id!r} is closed: all of its lines have been dealt with."


class ChunkAlreadyRecorded(_BatchRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "chunk_already_recorded"
    chunk: int
    next_chunk: int

    def detail(self) -> str:
        return (
            f"Chunk {self.chunk} of import batch {self.batch_id!r} has been dealt with; go on "
            f"with chunk {self.next_chunk}."
        )


class ChunkOutOfOrder(_BatchRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "chunk_out_of_order"
    chunk: int
    next_chunk: int

    def detail(self) -> str:
        return (
            f"Chunk {self.chunk} of import batch {self.batch_id!r} would leave a gap; the next "
            f"one is {self.next_chunk}."
        )


class ImportCountsDiffer(_BatchRefusal, frozen=True, kw_only=True):
    """What a command says of a batch does not add up with what its chunks said."""

    CODE: ClassVar[str] = "import_counts_differ"
    field: str
    stated: int
    actual: int

    def detail(self) -> str:
        return (
            f"{self.field} of import batch {self.batch_id!r} is given as {self.stated} but adds "
            f"up to {self.actual}; every line has to be accepted or refused, once."
        )


class ApiKeyNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "api_key_not_found"
    key_id: int

    def detail(self) -> str:
        return f"There is no API key {self.key_id}; check the id in the list of keys."
