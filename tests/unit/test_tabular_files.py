"""The files that tables become: what any cell says comes back, and none is a formula."""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from api import tabular_files
from api.formula_guard import unguard
from api.problems import Problem
from api.tabular import CellKind
from api.tabular_files import CELL_CHARACTERS_MAX, XlsxFile, csv_lines, is_exact

# What JSON can carry and a request may hold: no half of a pair, and no NUL.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00￾￿")
texts = st.text(characters, max_size=12) | st.text(st.sampled_from("'=+-@\t\r\n,\"_x0041 "))
numbers = st.decimals(-(10**12), 10**12, places=6, allow_nan=False) | st.integers(-(2**53), 2**53)


def book_of(
    rows: Sequence[Sequence[Any]], kinds: Sequence[CellKind], header: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Return a sheet's lines as another program reads them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        book = XlsxFile(folder)
        book.add_sheet("rows", header)
        for row in rows:
            book.add("rows", row, kinds)
        assert book.close() == book.path.stat().st_size
        book.let_go()
        assert [path.name for path in folder.iterdir()] == [book.path.name]
        read = openpyxl.load_workbook(book.path)
        for line in read["rows"].iter_rows():
            for cell in line:
                assert cell.data_type != "f"
                assert cell.hyperlink is None
        # A control character is written as _x000D_, which spreadsheets read and openpyxl leaves.
        return [
            tuple(unescape(cell) if isinstance(cell, str) else cell for cell in line)
            for line in read["rows"].iter_rows(values_only=True)
        ]


@given(st.lists(st.tuples(texts, numbers), min_size=1, max_size=5))
def test_every_text_and_number_comes_back_from_csv(rows: list[tuple[str, Any]]) -> None:
    """Numbers to the last digit, below zero too; text whatever is in it."""
    text = csv_lines(rows, ["text", "number"]).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert [(unguard(t), Decimal(n)) for t, n in found] == [(t, Decimal(n)) for t, n in rows]
    assert all(not t.startswith(("=", "+", "-", "@", "\t", "\r")) for t, _ in found)


@settings(max_examples=30)
@given(st.lists(st.tuples(texts, numbers), min_size=1, max_size=20))
def test_every_text_and_number_comes_back_from_xlsx(rows: list[tuple[str, Any]]) -> None:
    """A number of more digits than a spreadsheet keeps is text, and so still exact."""
    _, *found = book_of(rows, ["text", "number"], ["text", "number"])
    for (text, number), (cell, figure) in zip(rows, found, strict=True):
        assert unguard(cell or "") == text
        assert isinstance(figure, int | float) == is_exact(number)
        assert Decimal(str(figure)) == Decimal(number)


def test_each_kind_of_cell() -> None:
    """Null is empty, a flag a flag, a date a date, an instant text, a list JSON, money a number."""
    kinds: list[CellKind] = ["text", "flag", "date", "text", "json", "number", "number", "date"]
    row = [None, True, "2026-05-06", "2026-05-06T12:00:00.123456Z", ["=1", 2], "-49.90", None]
    row = [*row, "1899-12-31"]
    (line,) = csv.reader(io.StringIO(csv_lines([row], kinds).decode()))
    assert line == [
        "",
        "true",
        "2026-05-06",
        "2026-05-06T12:00:00.123456Z",
        '["=1",2]',
        "-49.90",
        "",
        "1899-12-31",
    ]
    header = ["a", "b", "c", "d", "e", "f", "g", "h"]
    _, found = book_of([row], kinds, header)
    assert found[2].isoformat() == "2026-05-06T00:00:00"
    assert found[:2] == (None, True)
    assert found[3:] == (line[3], line[4], -49.9, None, "1899-12-31")


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "'=1"])
def test_text_that_would_be_a_formula_is_none_whatever_column_it_is_in(evil: str) -> None:
    """In a column of numbers too, which money is text of in JSON: -1 is one there."""
    for kind in ("text", "number", "json"):
        if kind == "number" and evil == "-1":
            continue
        (line,) = csv.reader(io.StringIO(csv_lines([[evil]], [kind]).decode(), newline=""))
        _, (cell,) = book_of([[evil]], [kind], ["h"])
        assert line[0] == f"'{evil}"
        assert cell == line[0]


def test_what_a_sheet_has_no_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is too long, and one row too many: nothing is cut off."""
    longest = "x" * CELL_CHARACTERS_MAX
    assert book_of([[longest]], ["text"], ["h"])[1] == (longest,)
    with pytest.raises(Problem, match="32,768 characters") as long:
        book_of([[longest + "x"]], ["text"], ["h"])
    assert long.value.status == 413
    monkeypatch.setattr(tabular_files, "SHEET_ROWS_MAX", 4)
    assert len(book_of([["a"]] * 3, ["text"], ["h"])) == 4
    with pytest.raises(Problem, match="more than 3 rows") as many:
        book_of([["a"]] * 4, ["text"], ["h"])
    assert many.value.code == "table_too_large"


def test_sheets_are_filled_side_by_side_and_have_names_of_their_own(tmp_path: Path) -> None:
    """Names are cut to what the format takes, and then told apart."""
    book = XlsxFile(tmp_path)
    names = ["a" * 40, "b" * 3 + "a" * 40, "figures"]
    for name in names:
        book.add_sheet(name, ["h"])
    for number in range(3):
        for name in names:
            book.add(name, [f"{name[:1]}{number}"], ["text"])
    book.close()
    read = openpyxl.load_workbook(book.path)
    assert len({name.lower() for name in read.sheetnames}) == 3
    assert [cell.value for sheet in read for cell in sheet["A"]] == [
        *("h", "a0", "a1", "a2"),
        *("h", "b0", "b1", "b2"),
        *("h", "f0", "f1", "f2"),
    ]
