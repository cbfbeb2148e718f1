"""The files that tables become: CSV as bytes to send, and XLSX in a folder of its own.

Text that a spreadsheet would take for a formula gets an apostrophe before it in both
(`api.formula_guard`); numbers are numbers by the schema, also below zero. All of this runs in
threads: it costs processor time, and nothing of it waits.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from xlsxwriter import Workbook

from api.formula_guard import guard
from api.problems import Problem
from api.tabular import CellKind, number_of, text_of

SHEET_ROWS_MAX: Final = 1_048_576
"""Lines of a sheet, its header among them: the format's own bound."""
CELL_CHARACTERS_MAX: Final = 32_767
"""Characters of a cell: the format's own bound."""
EXACT_DIGITS: Final = 15
"""Digits that a spreadsheet keeps of a number; one that has more is written as text."""
XLSX_NAME: Final = "table.xlsx"
_NAME_CHARACTERS_MAX: Final = 31
# The first day that every spreadsheet counts alike; the format has none before 1900.
_DATE_MIN: Final = date(1900, 3, 1)


# --- CSV --------------------------------------------------------------------------------


def csv_lines(rows: Iterable[Sequence[Any]], kinds: Sequence[CellKind]) -> bytes:
    """Return rows as CSV (RFC 4180) in UTF-8, without a byte order mark."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([_csv_cell(v, k) for v, k in zip(row, kinds, strict=True)] for row in rows)
    return text.getvalue().encode()


def _csv_cell(value: Any, kind: CellKind) -> str:
    """Return the text of a cell; null is empty, flags are true and false."""
    if value is None:
        return ""
    if kind == "number":
        number = number_of(value)
        if number is not None:
            # Money has its two decimals as it stands in the reply.
            return value if isinstance(value, str) else plain(number)
    elif kind == "json" and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return plain(value)
    return guard(text_of(value))


def plain(number: Decimal | int) -> str:
    """Return a number without an exponent."""
    return str(number) if isinstance(number, int) else format(number, "f")


# --- XLSX -------------------------------------------------------------------------------


class XlsxFile:
    """A workbook in the making. Rows are on the disk as soon as they are written.

    ``folder`` takes it and all that is needed on the way; who made it removes it. Raises Problem
    (413) where the format has no room for a sheet's rows or for a cell's text.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / XLSX_NAME
        # Nothing is made of text but text: no formula, no link, no number.
        # The library has no types of its own.
        self._book: Any = Workbook(
            str(self.path),
            {
                "constant_memory": True,
                "tmpdir": str(folder),
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
                "nan_inf_to_errors": False,
            },
        )
        self._bold = self._book.add_format({"bold": True})
        self._day = self._book.add_format({"num_format": "yyyy-mm-dd"})
        self._sheets: dict[str, tuple[Any, int]] = {}

    def add_sheet(self, name: str, header: Sequence[str]) -> None:
        """Add a sheet, whose first line is the header."""
        sheet = self._book.add_worksheet(self._title(name))
        sheet.freeze_panes(1, 0)
        for place, title in enumerate(header):
            sheet.set_column(place, place, max(10, min(40, len(title) + 2)))
            sheet.write_string(0, place, title, self._bold)
        self._sheets[name] = sheet, 1

    def _title(self, name: str) -> str:
        """Return a name that the format takes, and that no other sheet has."""
        title = name[-_NAME_CHARACTERS_MAX:].strip("'.")
        taken = {sheet.get_name().lower() for sheet, _ in self._sheets.values()}
        if title.lower() in taken:
            title = f"{title[: _NAME_CHARACTERS_MAX - 4]} {len(taken)}"
        return title

    def add(self, name: str, row: Sequence[Any], kinds: Sequence[CellKind]) -> None:
        """Add a row to a sheet."""
        sheet, line = self._sheets[name]
        if line >= SHEET_ROWS_MAX:
            raise Problem(
                "table_too_large",
                f"There are more than {SHEET_ROWS_MAX - 1:,} rows, which is all that a sheet has "
                "room for; ask for format=csv, or for less.",
                limit=SHEET_ROWS_MAX - 1,
            )
        for place, (value, kind) in enumerate(zip(row, kinds, strict=True)):
            if value is not None:
                self._write(sheet, line, place, value, kind)
        self._sheets[name] = sheet, line + 1

    def _write(self, sheet: Any, line: int, place: int, value: Any, kind: CellKind) -> None:
        if isinstance(value, bool):
            sheet.write_boolean(line, place, value)
            return
        if kind in ("number", "json"):
            number = None if kind == "json" and isinstance(value, str) else number_of(value)
            if number is not None:
                if is_exact(number):
                    sheet.write_number(line, place, float(number))
                else:
                    sheet.write_string(line, place, plain(number))
                return
        elif kind == "date":
            day = date.fromisoformat(value)
            if day >= _DATE_MIN:
                sheet.write_datetime(line, place, day, self._day)
                return
        text = guard(text_of(value))
        if len(text) > CELL_CHARACTERS_MAX:
            raise Problem(
                "table_too_large",
                f"A cell of line {line + 1} has {len(text):,} characters, and a spreadsheet has "
                f"room for {CELL_CHARACTERS_MAX:,}; ask for format=csv.",
                limit=CELL_CHARACTERS_MAX,
            )
        sheet.write_string(line, place, text)

    def close(self) -> int:
        """Finish the file; return its size in bytes."""
        self._book.close()
        return self.path.stat().st_size

    def let_go(self) -> None:
        """Let go of its files, finished or not."""
        self._book.fileclosed = True
        for sheet, _ in self._sheets.values():
            if sheet.row_data_fh is not None:
                sheet.row_data_fh.close()


def is_exact(number: Decimal | int) -> bool:
    """Tell whether a spreadsheet keeps every digit of a number."""
    if isinstance(number, int):
        return abs(number) < 10**EXACT_DIGITS
    return len(number.normalize().as_tuple().digits) <= EXACT_DIGITS
