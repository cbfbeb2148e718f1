"""A shop's order lines into products, opening stock, issues, returns and corrections.

The rules, each told by its refusal's code where a line is refused:

* A positive quantity is an issue. A negative one is a customer's return when its invoice is a
  cancellation (its number begins with the cancellation prefix) or the line has a customer, and
  else a correction of the books (damage, a lost box), with its description as the reason.
* A line that costs nothing is still a movement, of a price of zero. One whose code is no goods
  (postage, fees, gift vouchers, manual entries) is not, and is refused.
* An issue says what its line was sold for, and a return what was given back. It cannot say
  which sale comes back, as the file does not: so it has no cost of its own.
* A product is registered where it is first seen. Codes that differ only in case are one. It
  is named by the description seen most often, and priced by the last price above zero.
* Such files do not say what goods cost. With a cost ratio, a product's cost price and its
  opening stock's unit cost are that share of its first price above zero; without, unknown.
* Equal lines are not merged: an invoice may well list an article twice.
"""

import fnmatch
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from api.imports.cells import Unusable, decimal_of, instant_of, text_of
from api.imports.tables import Line, Table
from api.imports.translation import Columns, Fault, Translated
from ledger.aliases import fold
from schemas.common import DECIMAL_LIMIT, Command
from schemas.import_batch import ImportKind
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock, IssueStock, ReceiveStock

KNOWN_HEADINGS: Final[Mapping[str, Sequence[str]]] = {
    "invoice": ("InvoiceNo", "invoice", "order", "order_id"),
    "sku": ("StockCode", "sku", "product_id"),
    "description": ("Description", "product_name", "name"),
    "quantity": ("Quantity", "qty"),
    "date": ("InvoiceDate", "date", "order_date"),
    "price": ("UnitPrice", "price", "unit_price"),
    "customer": ("CustomerID", "customer", "customer_id"),
}
REQUIRED: Final = ("invoice", "sku", "quantity", "date")
NOT_GOODS: Final = (
    *("post", "dot", "c2", "d", "m", "s", "b", "bank charges", "amazonfee", "cruk", "pads"),
    *("gift_*", "adjust*", "test*"),
)
OpeningPolicy = Literal["cover", "none"]

SKU_LENGTH_MAX: Final = 100
INVOICE_LENGTH_MAX: Final = 200
NAME_LENGTH_MAX: Final = 200
_NAMES_KEPT_MAX: Final = 16
_SURVEY_STEP: Final = 1_000
_OPENING_LEAD: Final = timedelta(seconds=1)
_COST_STEP: Final = Decimal("0.000001")
_MICRO: Final = 6  # quantities are added up as whole millionths
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)


class OrderLineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How order lines are read. ``columns`` maps fields to headings.

    ``opening`` is the policy for goods that a shop had before its file begins. ``cover``:
    just before a product's earliest line it receives exactly what keeps on hand from ever
    going below zero. ``none``: nothing, so an issue of what is not there is refused.
    ``not_goods`` are codes, in any case, with ``*`` and ``?`` as wildcards. ``cost_ratio`` is
    what goods cost as a share of their first price; None: unknown.
    """

    columns: Mapping[str, str]
    zone: ZoneInfo
    location: str = "MAIN"
    opening: OpeningPolicy = "cover"
    not_goods: tuple[str, ...] = NOT_GOODS
    cancellation_prefix: str = "C"
    date_format: str | None = None
    cost_ratio: Decimal | None = None


class OrderLine(NamedTuple):
    """One usable line. ``key`` is the folded SKU; ``quantity`` is signed, as in the file.

    ``price`` is of one piece; None where the line has none.
    """

    sku: str
    key: str
    invoice: str
    description: str
    quantity: Decimal
    effective_at: datetime
    price: Decimal | None
    movement: Literal["issue", "return", "correction"]


def read_line(line: Line, columns: Columns, options: OrderLineOptions) -> OrderLine:
    """Return what a line says; raise Unusable with the rule that it breaks."""
    sku = text_of(columns.cell(line, "sku"))
    if not sku:
        raise Unusable("missing_sku", "the line names no article")
    if len(sku) > SKU_LENGTH_MAX:
        raise Unusable("bad_sku", f"the code is longer than {SKU_LENGTH_MAX} characters")
    key = fold(sku)
    if _is_no_goods(options.not_goods).fullmatch(key):
        raise Unusable("not_goods", f"{sku!r} is a charge or a note, not goods")
    invoice = text_of(columns.cell(line, "invoice"))
    if not invoice:
        raise Unusable("missing_invoice", "the line belongs to no document")
    if len(invoice) > INVOICE_LENGTH_MAX:
        raise Unusable("bad_invoice", f"longer than {INVOICE_LENGTH_MAX} characters")
    quantity = decimal_of("quantity", columns.cell(line, "quantity"))
    if quantity == 0:
        raise Unusable("quantity_zero", "nothing moved")
    date = columns.cell(line, "date")
    effective_at = instant_of("date", date, options.zone, options.date_format)
    price_cell = columns.cell(line, "price")
    price = decimal_of("price", price_cell) if text_of(price_cell) else None
    if price is not None and price < 0:
        raise Unusable("bad_price", f"{price} is below zero")
    prefix = options.cancellation_prefix.casefold()
    cancelled = bool(prefix) and invoice.casefold().startswith(prefix)
    if cancelled and quantity > 0:
        raise Unusable(
            "contradictory", f"{invoice!r} is a cancellation, and its quantity is above zero"
        )
    from_customer = cancelled or bool(text_of(columns.cell(line, "customer")))
    return OrderLine(
        sku=sku,
        key=key,
        invoice=invoice,
        description=text_of(columns.cell(line, "description"))[:NAME_LENGTH_MAX],
        quantity=quantity,
        effective_at=effective_at,
        price=price,
        movement="issue" if quantity > 0 else "return" if from_customer else "correction",
    )


@lru_cache(maxsize=16)
def _is_no_goods(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(fold(pattern)) for pattern in patterns) or r"\Z.")


class _Article:
    """What a first reading of the file tells of one product."""

    __slots__ = ("changes", "first_price", "names", "price", "scale", "sku", "times")

    def __init__(self, sku: str) -> None:
        self.sku = sku
        self.names: Counter[str] = Counter()
        self.first_price: Decimal | None = None
        self.price = Decimal(0)
        self.scale = 0
        self.times = array("q")  # microseconds since 1970
        self.changes = array("q")  # millionths

    def observe(self, line: OrderLine) -> None:
        """Take in one line of the product."""
        # What is written on a correction says what happened, not what the article is.
        tells = line.description and line.movement != "correction"
        if tells and (line.description in self.names or len(self.names) < _NAMES_KEPT_MAX):
            self.names[line.description] += 1
        if line.price:
            self.price = line.price
            if self.first_price is None:
                self.first_price = line.price
        self.scale = max(self.scale, -int(line.quantity.normalize().as_tuple().exponent))
        self.times.append((line.effective_at - _EPOCH) // _MICROSECOND)
        # What is sold goes out and what is returned comes in, but a correction is as signed.
        change = line.quantity if line.movement == "correction" else -line.quantity
        self.changes.append(int(change.scaleb(_MICRO)))

    @property
    def name(self) -> str:
        """The description seen most often, the first of equals; without any, the code."""
        return self.names.most_common(1)[0][0] if self.names else self.sku

    def cost(self, ratio: Decimal | None) -> Decimal | None:
        """Return what one costs as a share of its first price; None when either is unknown."""
        if ratio is None or self.first_price is None:
            return None
        return (self.first_price * ratio).quantize(_COST_STEP, ROUND_HALF_UP).normalize()

    def opening(self) -> tuple[Decimal, datetime] | None:
        """Return what must be there before the first line, and since when; None: nothing."""
        shortage = -lowest_balance(self.times, self.changes)
        if shortage == 0:
            return None
        since = _EPOCH + min(self.times) * _MICROSECOND - _OPENING_LEAD
        quantity = Decimal(shortage).scaleb(-_MICRO)
        if quantity >= DECIMAL_LIMIT:
            return None  # no single receipt can hold it: the lines that lack stock are refused
        return quantity.quantize(Decimal(1).scaleb(-self.scale)), since


def lowest_balance(times: Sequence[int], changes: Sequence[int]) -> int:
    """Return the lowest balance, at most 0, that changes recorded in this order ever show.

    A change recorded late counts from its own time on, and moves every balance after it; so
    what matters is the lowest prefix sum in order of time, after each of the recordings.
    O(n) when the times never go back, O(n log n) otherwise.
    """
    if all(earlier <= later for earlier, later in pairwise(times)):
        lowest = balance = 0
        for change in changes:
            balance += change
            lowest = min(lowest, balance)
        return lowest
    # A tree over the changes in order of time; each node knows the sum of its part and the
    # lowest prefix sum inside it, so one more recording is one walk to the root.
    ranks = [0] * len(times)
    for rank, index in enumerate(sorted(range(len(times)), key=times.__getitem__)):
        ranks[index] = rank
    leaves = 1 << (len(times) - 1).bit_length()
    sums, lows = [0] * (2 * leaves), [0] * (2 * leaves)
    lowest = 0
    for rank, change in zip(ranks, changes, strict=True):
        node = leaves + rank
        sums[node], lows[node] = change, min(0, change)
        while node := node // 2:
            left, right = 2 * node, 2 * node + 1
            sums[node] = sums[left] + sums[right]
            lows[node] = min(lows[left], sums[left] + lows[right])
        lowest = min(lowest, lows[1])
    return lowest


class OrderLineTranslator:
    """The translator of one file of order lines. ``survey`` it before ``translate``.

    It keeps 16 bytes a line and a little a product; everything else is read twice.
    """

    def __init__(self, table: Table, options: OrderLineOptions) -> None:
        self._table = table
        self._given = options
        self._columns = Columns(table, options.columns)
        self._articles: dict[str, _Article] = {}
        self._lines_total = 0

    @property
    def kind(self) -> ImportKind:
        """What the batch is a batch of."""
        return "order-lines"

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to."""
        given = self._given
        named = {
            "map": ",".join(f"{field}={given.columns[field]}" for field in sorted(given.columns)),
            "timezone": given.zone.key,
            "location": given.location,
            "opening": given.opening,
            "not_goods": ",".join(given.not_goods),
            "cancellation_prefix": given.cancellation_prefix,
            "date_format": given.date_format or "",
        }
        # Left out where it is not given: a file that was taken in before there was such an
        # option must be found again, and the options are part of its batch's name.
        if given.cost_ratio is not None:
            named["cost_ratio"] = format(given.cost_ratio.normalize(), "f")
        return named

    @property
    def lines_total(self) -> int:
        """How many lines the file has, blank ones left out."""
        return self._lines_total

    def survey(self) -> Iterator[int]:
        """Learn each product's name, price, scale and opening stock from the whole file."""
        for line in self._table.lines():
            self._lines_total += 1
            if self._lines_total % _SURVEY_STEP == 0:
                yield self._lines_total
            try:
                usable = read_line(line, self._columns, self._given)
            except Unusable:
                continue  # told when it is translated
            article = self._articles.get(usable.key)
            if article is None:
                article = self._articles[usable.key] = _Article(usable.sku)
            article.observe(usable)
        yield self._lines_total

    def opening(self) -> Sequence[Command]:
        """Open the location, unless it is there already."""
        place = self._given.location
        return [OpenLocation(name=place, code=place, time_zone=self._given.zone.key)]

    def translate(self) -> Iterator[Translated]:
        """Yield each line's commands; a product's own and its opening stock come first."""
        seen: set[str] = set()
        for line in self._table.lines():
            try:
                usable = read_line(line, self._columns, self._given)
            except Unusable as unusable:
                yield Translated(line, fault=Fault(unusable.code, unusable.detail))
                continue
            before: Sequence[Command] = ()
            if usable.key not in seen:
                seen.add(usable.key)
                before = self._introduce(self._articles[usable.key])
            yield Translated(line, own=self._movement(line, usable), before=before)

    def _introduce(self, article: _Article) -> list[Command]:
        cost = article.cost(self._given.cost_ratio)
        commands: list[Command] = [
            RegisterProduct(
                name=article.name,
                sku=article.sku,
                base_price=article.price,
                cost_price=cost,
                scale=article.scale,
            )
        ]
        if self._given.opening == "cover" and (opening := article.opening()) is not None:
            quantity, since = opening
            commands.append(
                ReceiveStock(
                    sku=article.sku,
                    location=self._given.location,
                    quantity=quantity,
                    effective_at=since,
                    unit_cost=cost,
                    reason="opening stock",
                    notes="worked out from the order lines that follow",
                )
            )
        return commands

    def _movement(self, line: Line, usable: OrderLine) -> Command:
        sku = self._articles[usable.key].sku
        place, at = self._given.location, usable.effective_at
        notes = f"line {line.number}"
        match usable.movement:
            case "issue":
                return IssueStock(
                    sku=sku,
                    location=place,
                    quantity=usable.quantity,
                    effective_at=at,
                    unit_price=usable.price,
                    reference=usable.invoice,
                    notes=notes,
                )
            case "return":
                return ReceiveStock(
                    sku=sku,
                    location=place,
                    quantity=-usable.quantity,
                    effective_at=at,
                    source="customer",
                    unit_price=usable.price,
                    reason="customer return",
                    reference=usable.invoice,
                    notes=notes,
                )
            case "correction":
                return AdjustStock(
                    sku=sku,
                    location=place,
                    quantity=usable.quantity,
                    effective_at=at,
                    reason=usable.description or "stock correction",
                    reference=usable.invoice,
                    notes=notes,
                )
