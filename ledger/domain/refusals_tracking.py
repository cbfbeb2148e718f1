"""Why commands are refused that have to do with lots and serial numbers."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from ledger.domain.decision import Refusal


def _plain(value: Any) -> Any:
    """Return a value as a problem document shows it."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return value


class _TrackedRefusal(Refusal, frozen=True, kw_only=True):
    """A refusal about a tracked product; decimals and times are shown as strings."""

    product_id: int
    sku: str

    def extensions(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in super().extensions().items()}


class _PlaceRefusal(_TrackedRefusal, frozen=True, kw_only=True):
    location_id: int
    at: datetime | None = None

    def _when(self) -> str:
        return "" if self.at is None else f" at {self.at.isoformat()}"


class LotNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "lot_not_found"
    product_id: int | None = None
    lot: str | None = None
    lot_id: int | None = None

    def detail(self) -> str:
        name = f"with id {self.lot_id}" if self.lot is None else repr(self.lot)
        of = "" if self.product_id is None else f" of product {self.product_id}"
        return f"There is no lot {name}{of}; receive some of it first or check the spelling."


class LotTaken(_TrackedRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "lot_taken"
    lot: str
    lot_id: int

    def detail(self) -> str:
        return (
            f"Batch number {self.lot!r} of {self.sku!r} is lot {self.lot_id} already; receive "
            f"more of it, or choose another batch number."
        )


class LotDiffers(_TrackedRefusal, frozen=True, kw_only=True):
    """What is said of a lot is not what is known of it."""

    CODE: ClassVar[str] = "lot_differs"
    lot: str
    lot_id: int
    field: str
    present: str | None = None
    given: str | None = None

    def detail(self) -> str:
        present = self.present or "not known"
        return (
            f"{self.field} of lot {self.lot!r} of {self.sku!r} is {present}, not {self.given}; "
            f"leave it out, revise the lot, or give another batch number."
        )


class LotShort(_PlaceRefusal, frozen=True, kw_only=True):
    """A lot that was named has less here than was asked of it, now or at a later time."""

    CODE: ClassVar[str] = "lot_short"
    lot: str
    requested: Decimal
    available: Decimal

    def detail(self) -> str:
        return (
            f"{self.requested:f} of lot {self.lot!r} was asked for, but {self.available:f} of it "
            f"is at location {self.location_id}{self._when()}; ask for no more than that, or for "
            f"another lot too."
        )


class InsufficientLots(_PlaceRefusal, frozen=True, kw_only=True):
    """Lots that may go out, and what is of no lot, do not make up the quantity.

    ``past_removal`` are the batch numbers of lots that would, but whose removal date is past.
    """

    CODE: ClassVar[str] = "insufficient_lots"
    requested: Decimal
    eligible: Decimal
    past_removal: tuple[str, ...] = ()

    def detail(self) -> str:
        short = (
            f"{self.requested:f} of {self.sku!r} was asked for, but of what is at location "
            f"{self.location_id} {self.eligible:f} may go out{self._when()}"
        )
        if not self.past_removal:
            return f"{short}, lot by lot; ask for less, or correct what went out later first."
        shown = ", ".join(self.past_removal[:10])
        return (
            f"{short}: past their removal date are {shown}; name a lot in lots to send it anyway, "
            f"take it out by an adjustment, or ask for less."
        )


class LotsExceedStock(_PlaceRefusal, frozen=True, kw_only=True):
    """What is of no lot is below zero, so there is less on hand than there would be of lots."""

    CODE: ClassVar[str] = "lots_exceed_stock"
    unassigned: Decimal

    def detail(self) -> str:
        return (
            f"On hand of {self.sku!r} at location {self.location_id} is {self.unassigned:f} "
            f"without its lots and serial numbers{self._when()}, so there would be more of "
            f"these than there is; bring that to zero by an adjustment without lots and serials "
            f"first."
        )


class SerialNotFound(_TrackedRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "serial_not_found"
    serial: str

    def detail(self) -> str:
        return (
            f"There is no serial number {self.serial!r} of {self.sku!r}; receive it first or "
            f"check the spelling."
        )


class _SerialRefusal(_TrackedRefusal, frozen=True, kw_only=True):
    serial: str
    serial_id: int


class SerialInStock(_SerialRefusal, frozen=True, kw_only=True):
    """A unit that is to come in is in stock already: it can be in one place only."""

    CODE: ClassVar[str] = "serial_in_stock"
    location_id: int
    serial_status: str

    def detail(self) -> str:
        return (
            f"Serial number {self.serial!r} of {self.sku!r} is {self.serial_status} at location "
            f"{self.location_id}, so it cannot come in; check the number, or record first that "
            f"it went out."
        )


class SerialElsewhere(_SerialRefusal, frozen=True, kw_only=True):
    """A unit that was named is not where it is to be taken from."""

    CODE: ClassVar[str] = "serial_elsewhere"
    wanted_location_id: int
    wanted_status: str
    location_id: int
    serial_status: str

    def detail(self) -> str:
        return (
            f"Serial number {self.serial!r} of {self.sku!r} is {self.serial_status} at location "
            f"{self.location_id}, not {self.wanted_status} at location "
            f"{self.wanted_location_id}; name another one."
        )


class SerialMovedSince(_SerialRefusal, frozen=True, kw_only=True):
    """A unit cannot have moved before the last move that is known of it."""

    CODE: ClassVar[str] = "serial_moved_since"
    effective_at: datetime
    moved_at: datetime

    def detail(self) -> str:
        return (
            f"Serial number {self.serial!r} of {self.sku!r} last moved at "
            f"{self.moved_at.isoformat()}, after {self.effective_at.isoformat()}; give a later "
            f"effective_at, or reverse the later move first."
        )


class InsufficientSerials(_PlaceRefusal, frozen=True, kw_only=True):
    """Units that can be picked, numbered and not, do not make up the quantity."""

    CODE: ClassVar[str] = "insufficient_serials"
    requested: Decimal
    eligible: Decimal

    def detail(self) -> str:
        return (
            f"{self.requested:f} of {self.sku!r} was asked for, but {self.eligible:f} of the "
            f"units at location {self.location_id} can be taken{self._when()}; ask for less, or "
            f"give a later effective_at."
        )


class SerialsNeeded(_PlaceRefusal, frozen=True, kw_only=True):
    """Units are missing and it is not known which: that is for somebody to say."""

    CODE: ClassVar[str] = "serials_needed"
    missing: Decimal
    unnumbered: Decimal

    def detail(self) -> str:
        return (
            f"{self.missing:f} of {self.sku!r} would be missing at location {self.location_id}"
            f"{self._when()}, and {self.unnumbered:f} there has no serial number; take out the "
            f"missing units by an adjustment that names their serials, then count again."
        )


class ReservationIsAnOrders(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "reservation_is_an_orders"
    reservation_id: str

    def detail(self) -> str:
        return (
            f"Reservation {self.reservation_id!r} belongs to an order, and ids that begin with "
            f"order: are the orders' own; act on the order, or choose another reservation_id."
        )
