"""Cells: what text, numbers and dates of a file stand for, and what is refused."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from api.imports.cells import Unusable, decimal_of, harmless, instant_of, text_of, truth_of

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (71053.0, "71053"),
        ("  85123A ", "85123A"),
        ("two\nlines\x00", "two lines"),
        (None, ""),
        (0.1 + 0.2, "0.3"),
    ],
)
def test_text_is_what_the_author_wrote(cell: str | float | None, expected: str) -> None:
    """A number in a code column is the code, not a number with a point."""
    assert expected == text_of(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [(2.55, "2.55"), (13541.33, "13541.33"), ("-9360", "-9360"), (6.0, "6"), (1e-6, "0.000001")],
)
def test_numbers_are_exact(cell: str | float, expected: str) -> None:
    """A worksheet's binary number is read as the decimal it shows."""
    assert Decimal(expected) == decimal_of("price", cell)


@pytest.mark.parametrize(
    "cell",
    [
        *("", "1O", "5,25", "1e3", "NaN", "Infinity", "1_0", "６", "0.1234567", "1" * 13, "£5"),
        *(True, 1e300, float("nan"), float("inf"), None, "9" * 100_000),
    ],
)
def test_what_is_no_plain_decimal_is_refused(cell: str | float | bool | None) -> None:
    """Decimal itself would take several of these."""
    with pytest.raises(Unusable) as caught:
        decimal_of("price", cell)
    assert caught.value.code == "bad_price"
    assert len(caught.value.detail) < 200


def test_a_time_without_a_zone_is_on_the_shops_clocks() -> None:
    """Summer time counts."""
    assert datetime(2024, 7, 1, 11, tzinfo=UTC) == instant_of(
        "date", datetime.fromisoformat("2024-07-01 12:00"), LONDON, None
    )
    assert datetime(2010, 12, 1, 8, 26, tzinfo=UTC) == instant_of(
        "date", "2010-12-01 08:26", LONDON, None
    )


def test_a_zone_in_the_text_is_believed() -> None:
    """The declared zone is for times that lack one."""
    assert datetime(2024, 7, 1, 10, tzinfo=UTC) == instant_of(
        "date", "2024-07-01T12:00:00+02:00", LONDON, None
    )


def test_a_time_shown_twice_is_the_first_of_the_two() -> None:
    """01:30 came at 00:30 and at 01:30 UTC when clocks went back."""
    assert datetime(2024, 10, 27, 0, 30, tzinfo=UTC) == instant_of(
        "date", datetime.fromisoformat("2024-10-27 01:30"), LONDON, None
    )


def test_a_time_that_clocks_skipped_is_refused() -> None:
    """No clock in London showed 01:30 when they went forward."""
    with pytest.raises(Unusable) as caught:
        instant_of("date", datetime.fromisoformat("2025-03-30 01:30"), LONDON, None)
    assert caught.value.code == "no_such_local_time"


@pytest.mark.parametrize("cell", ["", "yesterday", "01/12/2010", 40513.35, "0001-01-01", None])
def test_what_is_no_date_is_refused(cell: str | float | None) -> None:
    """Also a number: a serial day count means nothing without its format."""
    with pytest.raises(Unusable) as caught:
        instant_of("date", cell, LONDON, None)
    assert caught.value.code == "bad_date"


def test_a_date_format_reads_other_writings() -> None:
    """As strptime does; then nothing else is accepted."""
    written = "%d/%m/%Y %H:%M"
    assert datetime(2010, 12, 1, 8, 26, tzinfo=UTC) == instant_of(
        "date", "01/12/2010 08:26", LONDON, written
    )
    with pytest.raises(Unusable):
        instant_of("date", "2010-12-01 08:26", LONDON, written)


def test_yes_and_no() -> None:
    """A blank cell is no; a riddle is refused."""
    assert [truth_of("x", c) for c in (None, "no", "Yes", 1.0)] == [False, False, True, True]
    with pytest.raises(Unusable):
        truth_of("x", "perhaps")


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\tx", "\r=1"])
def test_no_cell_is_left_a_formula(text: str) -> None:
    """A spreadsheet shows it and does not run it."""
    assert f"'{text}" == harmless(text)


@pytest.mark.parametrize("text", ["-9360", "plain", "-0.5", ""])
def test_harmless_cells_stay_as_they_are(text: str) -> None:
    """A negative number is no formula."""
    assert text == harmless(text)
