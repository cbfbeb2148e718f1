"""Tables out of files: line numbers, limits, damage."""

import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from api.imports import tables, xlsx_worker
from api.imports.refused import RefusedFile
from api.imports.tables import Line, Table, UnreadableFile

_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/{kind}" Target="{target}"/></Relationships>'
)
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def write_workbook(path: Path, sheet_data: str) -> Path:
    """Write a workbook of one sheet by hand, so that it may be as odd as a test needs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels", _RELATIONS.format(kind="officeDocument", target="xl/workbook.xml")
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            _RELATIONS.format(kind="worksheet", target="worksheets/sheet1.xml"),
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {_MAIN} xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/'
            'relationships"><sheets><sheet name="Lines" sheetId="1" r:id="rId1"/></sheets>'
            "</workbook>",
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {_MAIN}><sheetData>{sheet_data}</sheetData></worksheet>",
        )
    return path


def row(number: int, cells: Sequence[str | float | datetime]) -> str:
    """Return a sheet's row as XML."""
    parts: list[str] = []
    for column, cell in zip("ABCDEFGHIJ", cells, strict=False):
        match cell:
            case str():
                kind, value = ' t="inlineStr"', f"<is><t>{cell}</t></is>"
            case datetime():
                kind, value = ' t="d"', f"<v>{cell.isoformat()}</v>"
            case _:
                kind, value = "", f"<v>{cell}</v>"
        parts.append(f'<c r="{column}{number}"{kind}>{value}</c>')
    return f'<row r="{number}">{"".join(parts)}</row>'


def test_csv_lines_carry_their_numbers(tmp_path: Path) -> None:
    """Blank lines are no lines, and a quoted line break does not throw the count."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfSKU,Note\nA,"two\nlines"\n\n , \nB,x\n')
    table = Table(path)
    assert table.columns == ("SKU", "Note")
    assert [Line(2, ["A", "two\nlines"]), Line(6, ["B", "x"])] == list(table.lines())
    assert list(table.lines()) == list(table.lines())


def test_worksheet_lines_carry_their_numbers(tmp_path: Path) -> None:
    """As the spreadsheet shows them, also when rows above the header are empty."""
    path = write_workbook(
        tmp_path / "a.xlsx", row(3, ["SKU", "Price"]) + row(4, [71053, 2.55]) + row(9, ["A", 1])
    )
    table = Table(path)
    assert table.columns == ("SKU", "Price")
    assert [Line(4, [71053.0, 2.55]), Line(9, ["A", 1.0])] == list(table.lines())


def test_a_workbook_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is what comes out, not what the archive says of itself."""
    path = write_workbook(tmp_path / "a.xlsx", row(1, ["x" * 100_000]))
    monkeypatch.setattr(xlsx_worker, "UNZIPPED_BYTES_MAX", 50_000)
    with pytest.raises(xlsx_worker.Fault, match="unpacks to more"):
        xlsx_worker.check_size(str(path))


@pytest.mark.parametrize(
    "cell",
    ['<row r="1"><c r="XFD1"><v>1</v></c></row>', '<row r="9999999"><c r="A9999999"/></row>'],
)
def test_a_cell_far_away_makes_no_huge_table(tmp_path: Path, cell: str) -> None:
    """One cell at the edge must not ask for a table of billions."""
    path = write_workbook(tmp_path / "a.xlsx", cell)
    with pytest.raises(UnreadableFile, match="beyond"):
        Table(path)


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    """An exported web page, or anything else under that name."""
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UnreadableFile, match="no readable XLSX"):
        Table(path)


def test_a_csv_with_too_many_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read, not after."""
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "1\n" * 20)
    monkeypatch.setattr(tables, "CSV_ROWS_MAX", 10)
    with pytest.raises(UnreadableFile, match="more than 10 rows"):
        list(Table(path).lines())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"n\xe4me\n", "encoding"),
        ("a.csv", b'a\n"open', "unexpected end"),
        ("a.csv", b"a\n" + b"x" * 40_000, "field larger"),
        ("a.pdf", b"a", r"only \.csv and \.xlsx"),
    ],
)
def test_damage_is_told(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """With the file's name and the way out."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=says):
        list(Table(path).lines())


def test_a_file_that_changes_under_the_reader_is_noticed(tmp_path: Path) -> None:
    """Two readings of one import must see the same."""
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    table = Table(path)
    path.write_text("a\n1\n2\n")
    with pytest.raises(UnreadableFile, match="changed"):
        list(table.lines())


def test_refused_lines_keep_their_cells_and_run_nothing(tmp_path: Path) -> None:
    """Number, reason, what was wrong, and the cells; formulas are defused."""
    path = tmp_path / "refused.csv"
    with RefusedFile(path, ["SKU", "=Note"]) as refused:
        refused.add(Line(7, ["A", "=HYPERLINK(1)"]), "quantity_zero", "nothing moved")
    expected = "line,reason,detail,SKU,'=Note\n7,quantity_zero,nothing moved,A,'=HYPERLINK(1)\n"
    assert expected == path.read_text().replace("\r\n", "\n")


def test_no_refusal_leaves_no_file(tmp_path: Path) -> None:
    """An older one, which would mislead, goes too."""
    path = tmp_path / "refused.csv"
    path.write_text("old")
    with RefusedFile(path, ["SKU"]):
        pass
    assert list(tmp_path.iterdir()) == []
