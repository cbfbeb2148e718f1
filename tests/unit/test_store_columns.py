"""Columns on their way to the database: one text each, whose values cannot run into each other."""

import pytest

from ledger.store import joined, same_or_joined

SEPARATOR = "\x1e"


def test_values_are_told_apart() -> None:
    """Empty ones too."""
    assert joined(["stock-1-1", "", "stock-2-1"]).split(SEPARATOR) == ["stock-1-1", "", "stock-2-1"]


def test_one_value_for_all_rows_goes_once() -> None:
    """It is the text itself that rows without a value of their own then take."""
    assert same_or_joined(["StockAdjusted"] * 1_000) == "StockAdjusted"
    assert same_or_joined(["a", "b"]).split(SEPARATOR) == ["a", "b"]


@pytest.mark.parametrize("column", [joined, same_or_joined])
def test_a_value_that_would_pass_for_two_is_refused(column: object) -> None:
    """Or it would shift every later row of its column against the others."""
    assert callable(column)
    with pytest.raises(ValueError, match="record separator"):
        column(["plain", f"one{SEPARATOR}two"])
