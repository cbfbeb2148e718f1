"""A file of past demand as the lines of an ingestion request, and back from refusals to the file.

Every line of the file is sent, in its order, also one that cannot be read: so the batch tells of
all of them, and a refusal's number leads back to the line.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec

from api.imports.cells import Unusable, decimal_of, text_of
from api.imports.refused import RefusedFile
from api.imports.tables import Cell, Line, Table
from api.imports.translation import Columns
from schemas.demand import PeriodKind

KNOWN_HEADINGS: Final[Mapping[str, Sequence[str]]] = {
    "sku": ("StockCode", "sku", "product_id", "inventory_item"),
    "quantity": ("Quantity", "qty", "ordered_qty"),
    "date": ("InvoiceDate", "orderDate", "date", "order_date"),
}
REQUIRED: Final = ("sku", "quantity", "date")
LINES_PER_PIECE: Final = 500
_encode = msgspec.json.Encoder().encode


class DemandOptions(NamedTuple):
    """How a file is read: ``columns`` maps fields to headings; ``time_zone`` None: the service's.

    ``source`` is the batch's name in the system that the file is from.
    """

    columns: Mapping[str, str]
    period: PeriodKind
    time_zone: str | None = None
    date_format: str | None = None
    source: str | None = None


class Refusal(NamedTuple):
    """A line that the service refused, by its number in the request, from 1."""

    line: int
    code: str
    detail: str


class DemandFile:
    """The lines of a file, ready to be sent. ``key`` is the request's Idempotency-Key.

    It is made of what the file holds and how it is read, so the same file again is the same
    request, whatever the file is called by then.
    """

    def __init__(self, table: Table, options: DemandOptions) -> None:
        self._table = table
        self._options = options
        self._columns = Columns(table, options.columns)
        identity = [table.digest, sorted(options.columns.items()), *options[1:]]
        self.key = "import-demand-" + hashlib.sha256(_encode(identity)).hexdigest()[:32]

    def pieces(self, sent: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
        """Yield the request's body, NDJSON; ``sent`` is told how many lines there were so far."""
        options = self._options
        header = {
            "externalSourceId": options.source or f"sha256:{self._table.digest[:32]}",
            "periodKind": options.period,
        }
        if options.time_zone is not None:
            header["timeZone"] = options.time_zone
        waiting = [_encode(header)]
        count = 0
        for count, line in enumerate(self._table.lines(), 1):
            waiting.append(_encode(self._line(line)))
            if len(waiting) >= LINES_PER_PIECE:
                yield b"\n".join(waiting) + b"\n"
                waiting.clear()
                sent(count)
        if waiting:
            yield b"\n".join(waiting) + b"\n"
        sent(count)

    def _line(self, line: Line) -> dict[str, str]:
        quantity = self._columns.cell(line, "quantity")
        try:
            amount = format(decimal_of("quantity", quantity), "f")
        except Unusable:
            amount = text_of(quantity)
        return {
            "sku": text_of(self._columns.cell(line, "sku")),
            "quantity": amount,
            "orderDate": order_date(self._columns.cell(line, "date"), self._options.date_format),
        }

    def tell_refused(self, refusals: Iterator[Refusal], file: RefusedFile) -> None:
        """Write the refused lines as the file has them; ``refusals`` come in the order of lines."""
        refusal = next(refusals, None)
        for number, line in enumerate(self._table.lines(), 1):
            if refusal is None:
                return
            if refusal.line == number:
                file.add(line, refusal.code, refusal.detail)
                refusal = next(refusals, None)


def order_date(cell: Cell, date_format: str | None) -> str:
    """Return a cell as ``orderDate``: its date, or the time as it is where it says its zone.

    What is no date is returned as the text that it is, for the service to refuse.
    """
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    text = text_of(cell)
    try:
        at = (
            datetime.fromisoformat(text)
            if date_format is None
            else datetime.strptime(text, date_format)  # noqa: DTZ007 - a date is all we need
        )
    except ValueError:
        return text
    if at.tzinfo is not None:
        return at.isoformat()
    day: date = at.date()
    return day.isoformat()
