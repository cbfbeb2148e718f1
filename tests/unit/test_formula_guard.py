"""Text for CSV cells: no spreadsheet runs it, and it comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.formula_guard import guard, unguard

STARTS = ("=", "+", "-", "@", "\t", "\r")
texts = st.text(st.sampled_from("'=+-@\t\ra1 "), max_size=6) | st.text(max_size=6)


@given(texts)
def test_what_was_guarded_comes_back_and_is_no_formula(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(STARTS)


@given(texts, texts)
def test_two_texts_never_become_one(first: str, second: str) -> None:
    assert (guard(first) == guard(second)) == (first == second)


@pytest.mark.parametrize("text", ["", "TEA", "'quoted", "o'clock", "''", "1-2"])
def test_text_that_is_no_formula_stays_as_it_is(text: str) -> None:
    """Also on the way back: somebody's own file is not changed."""
    assert guard(text) == text
    assert unguard(text) == text
