"""Standard costs as cost prices say, in memory: event by event, there are few."""

from bisect import bisect_right, insort
from datetime import date
from typing import Any, Final

from ledger.domain.books import day_in
from projections.bulk import Copied, text_field, text_rows
from projections.business_days import number_of
from projections.log_columns import Stretch, instant
from projections.valuation_entries import millionths
from schemas.books import BooksConfigured
from schemas.common import Event
from schemas.product import ProductRegistered, ProductRevised

_SAYING: Final[frozenset[type[Event]]] = frozenset(
    {ProductRegistered, ProductRevised, BooksConfigured}
)
_StandardAt = tuple[int, int, int, int]

Said = tuple[int, int, Any]
"""Position, when it was recorded in microseconds since 2000, and the event."""


class Prices:
    """One tenant's cost prices, and what they are of the books."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._books: BooksConfigured | None = None
        self._present: dict[int, int | None] = {}
        self._standards: dict[int, list[_StandardAt]] = {}
        self._count = 0
        self._new: list[str] = []

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._present) + self._count

    def take(self, recorded: int, position: int, event: Any) -> None:
        """Take in what is said of a product, or of the books, at a time."""
        if isinstance(event, BooksConfigured):
            self._books = event
            return
        product_id = event.product_id
        price = None if event.cost_price is None else millionths(event.cost_price)
        if price == self._present.get(product_id):
            return
        at = instant(recorded)
        day = day_in("UTC" if self._books is None else self._books.time_zone, at)
        if product_id not in self._present:
            # The first one holds for all time before as well.
            day = date.min
        self._present[product_id] = price
        stated = number_of(day), recorded, position, price or 0
        insort(self._standards.setdefault(product_id, []), stated)
        self._count += 1
        self._new.append(
            f"{self._tenant_id}\t{product_id}\t{position}\t{day}\t{at.isoformat()}\t"
            f"{_amount(price)}\tf\n"
        )

    def on(self, product_id: int, day: int) -> int:
        """Return the standard cost of one unit on a day, in days since 2000; 0 for none."""
        stated = self._standards.get(product_id)
        count = bisect_right(stated, day, key=_day) if stated else 0
        return stated[count - 1][3] if stated and count else 0

    def new_rows(self) -> Copied:
        """Return the standard costs that are new since this was asked last."""
        rows, self._new = self._new, []
        return text_rows(rows)

    def product_rows(self) -> Copied:
        """Return what is known of each product."""
        return text_rows(
            f"{self._tenant_id}\t{product_id}\t\\N\t{_amount(price)}\tt\t\\N\n"
            for product_id, price in self._present.items()
        )

    def books_rows(self) -> Copied:
        """Return what is known of the books, if anything."""
        books = self._books
        return text_rows(
            []
            if books is None
            else [
                f"{self._tenant_id}\t{books.valuation_method}\t{text_field(books.time_zone)}\tf\n"
            ]
        )


def said_of(stretch: Stretch) -> list[Said]:
    """Return what is said of products, and of the books, in no order."""
    found: list[Said] = []
    for column in stretch.of(_SAYING):
        found += zip(
            column.positions.tolist(), column.recorded.tolist(), column.events, strict=True
        )
    return found


def _day(stated: _StandardAt) -> int:
    return stated[0]


def _amount(amount: int | None) -> str:
    return r"\N" if amount is None else f"{amount}e-6"
