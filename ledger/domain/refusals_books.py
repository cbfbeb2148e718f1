"""Why commands about the books are refused."""

from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

from ledger.domain.decision import Refusal


class _BooksRefusal(Refusal, frozen=True, kw_only=True):
    """A refusal whose dates and amounts are shown as text."""

    def extensions(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in super().extensions().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value


class DayNotOver(_BooksRefusal, frozen=True, kw_only=True):
    """A period can be closed once its last day is over, in the zone of every location."""

    CODE: ClassVar[str] = "day_not_over"
    through: date
    today: date
    time_zone: str

    def detail(self) -> str:
        return (
            f"It is {self.today.isoformat()} in {self.time_zone}, and only days that are over "
            f"can be closed; close through an earlier day than {self.through.isoformat()}."
        )


class ClosedFurther(_BooksRefusal, frozen=True, kw_only=True):
    """Closing goes forward and reopening back; each refuses to do the other's work."""

    CODE: ClassVar[str] = "closed_further"
    through: date | None
    closed_through: date

    def detail(self) -> str:
        return (
            f"The books are closed through {self.closed_through.isoformat()} already; to open "
            f"the days after {self.through} again, reopen the period."
        )


class NotClosedThatFar(_BooksRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "not_closed_that_far"
    through: date
    closed_through: date | None = None

    def detail(self) -> str:
        state = (
            "not closed at all"
            if self.closed_through is None
            else f"closed through {self.closed_through.isoformat()} only"
        )
        return (
            f"The books are {state}, so there is nothing to reopen after "
            f"{self.through.isoformat()}; close the period to go there."
        )


class MethodFixed(_BooksRefusal, frozen=True, kw_only=True):
    """Another method would change the figures of a closed period."""

    CODE: ClassVar[str] = "valuation_method_fixed"
    valuation_method: str
    closed_through: date

    def detail(self) -> str:
        return (
            f"Stock is valued by the method {self.valuation_method}, and another one would change "
            f"what is closed through {self.closed_through.isoformat()}; reopen the period first."
        )


class NotAReceipt(_BooksRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "not_a_receipt"
    position: int
    event_type: str

    def detail(self) -> str:
        return (
            f"The event at position {self.position} ({self.event_type}) is no receipt from a "
            f"supplier; name the receipt that the cost belongs to."
        )


class ReceiptReversed(_BooksRefusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "receipt_reversed"
    position: int

    def detail(self) -> str:
        return (
            f"The receipt at position {self.position} has been reversed, so nothing can cost "
            f"more by it; name the receipt that took its place."
        )


class CostBelowZero(_BooksRefusal, frozen=True, kw_only=True):
    """A credit takes off more than the goods are said to have cost."""

    CODE: ClassVar[str] = "cost_below_zero"
    position: int
    cost: Decimal
    amount: Decimal

    def detail(self) -> str:
        return (
            f"The receipt at position {self.position} cost {self.cost:f} in all, so "
            f"{-self.amount:f} cannot be taken off it; take off less."
        )
