"""The books: how stock is valued, which periods are closed, and what changes value alone."""

from datetime import date
from decimal import Decimal
from typing import ClassVar, Literal

from schemas.common import (
    Command,
    Event,
    Id,
    Instant,
    LongText,
    ShortText,
    keep_amount,
    keep_exact,
)

ValuationMethod = Literal["standard", "average", "fifo"]

# --- commands ---------------------------------------------------------------------------


class ConfigureBooks(Command, frozen=True, kw_only=True):
    """Say how stock is valued unless its product says otherwise, and the zone of "today".

    A change of method applies to the whole history, as IAS 8 asks of a change of policy; so it
    is refused once a period is closed.
    """

    TYPE: ClassVar[str] = "ConfigureBooks"
    valuation_method: ValuationMethod = "standard"
    time_zone: ShortText = "UTC"


class ChooseValuation(Command, frozen=True, kw_only=True):
    """Value one product by a method of its own; null goes back to the books' method."""

    TYPE: ClassVar[str] = "ChooseValuation"
    product_id: Id
    valuation_method: ValuationMethod | None


class ClosePeriod(Command, frozen=True, kw_only=True):
    """Let nothing be recorded any more that is effective on a business day up to ``through``."""

    TYPE: ClassVar[str] = "ClosePeriod"
    through: date
    notes: LongText | None = None


class ReopenPeriod(Command, frozen=True, kw_only=True):
    """Open the days after ``through`` again; null opens all."""

    TYPE: ClassVar[str] = "ReopenPeriod"
    through: date | None
    notes: LongText | None = None


class AddLandedCost(Command, frozen=True, kw_only=True):
    """Add freight, duty or the like to what a receipt cost: ``amount`` in all, not a unit.

    ``position`` is that of the receipt.
    """

    TYPE: ClassVar[str] = "AddLandedCost"
    position: Id
    amount: Decimal
    reason: ShortText | None = None
    notes: LongText | None = None

    def __post_init__(self) -> None:
        keep_exact(self, "amount", self.amount)
        if self.amount == 0:
            raise ValueError("amount must not be zero")


class RevalueStock(Command, frozen=True, kw_only=True):
    """Say what one of a product is worth from ``effective_at`` on: all of it, everywhere."""

    TYPE: ClassVar[str] = "RevalueStock"
    product_id: Id
    unit_cost: Decimal
    effective_at: Instant | None = None
    reason: ShortText | None = None
    notes: LongText | None = None

    def __post_init__(self) -> None:
        keep_amount(self, "unit_cost", self.unit_cost)


BooksCommand = (
    ConfigureBooks | ChooseValuation | ClosePeriod | ReopenPeriod | AddLandedCost | RevalueStock
)

# --- events -----------------------------------------------------------------------------


class BooksConfigured(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "BooksConfigured"
    valuation_method: ValuationMethod
    time_zone: str


class ValuationChosen(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ValuationChosen"
    product_id: int
    valuation_method: ValuationMethod | None = None


class PeriodClosed(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PeriodClosed"
    through: date
    notes: str | None = None


class PeriodReopened(Event, frozen=True, kw_only=True):
    """Closed up to ``through`` from now on; None: nothing is closed."""

    TYPE: ClassVar[str] = "PeriodReopened"
    through: date | None = None
    notes: str | None = None


class LandedCostAdded(Event, frozen=True, kw_only=True):
    """The receipt at ``position`` cost ``amount`` more (less, below zero) than it said."""

    TYPE: ClassVar[str] = "LandedCostAdded"
    position: int
    product_id: int
    location_id: int
    amount: Decimal
    reason: str | None = None
    notes: str | None = None


class StockRevalued(Event, frozen=True, kw_only=True):
    """One of the product is worth ``unit_cost`` from the event's effective time on."""

    TYPE: ClassVar[str] = "StockRevalued"
    product_id: int
    unit_cost: Decimal
    reason: str | None = None
    notes: str | None = None


BooksEvent = (
    BooksConfigured
    | ValuationChosen
    | PeriodClosed
    | PeriodReopened
    | LandedCostAdded
    | StockRevalued
)
