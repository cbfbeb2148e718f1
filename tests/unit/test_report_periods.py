"""Periods of reports: every day in exactly one, named by its first; and a margin's share."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.reports import Period, margin_pct, periods_of
from schemas.http_reports import GroupBy


def test_days_weeks_and_months() -> None:
    """From a Thursday to the Monday after next: weeks and months are cut at the range's ends."""
    first, last = date(2026, 4, 30), date(2026, 5, 11)
    assert len(periods_of(first, last, "day")) == 12
    assert periods_of(first, last, "week") == [
        Period(date(2026, 4, 27), first, date(2026, 5, 3)),
        Period(date(2026, 5, 4), date(2026, 5, 4), date(2026, 5, 10)),
        Period(date(2026, 5, 11), date(2026, 5, 11), last),
    ]
    assert periods_of(first, last, "month") == [
        Period(date(2026, 4, 1), first, first),
        Period(date(2026, 5, 1), date(2026, 5, 1), last),
    ]


def test_a_week_may_begin_in_the_year_before() -> None:
    """ISO 8601's weeks do not mind the year."""
    new_year = date(2027, 1, 1)
    assert periods_of(new_year, new_year, "week") == [
        Period(date(2026, 12, 28), new_year, new_year)
    ]


@given(
    st.dates(),
    st.integers(min_value=0, max_value=800),
    st.sampled_from(["day", "week", "month"]),
)
def test_periods_cover_the_range_once(first: date, days: int, group_by: GroupBy) -> None:
    """In order, without a gap, at both ends of the calendar too."""
    last = first + min(timedelta(days=days), date.max - first)
    periods = periods_of(first, last, group_by)
    assert (periods[0].first, periods[-1].last) == (first, last)
    for period in periods:
        assert period.label <= period.first <= period.last
    for earlier, later in pairwise(periods):
        assert earlier.last + timedelta(days=1) == later.first == later.label


@pytest.mark.parametrize(
    ("revenue", "cogs", "pct"),
    [
        ("28450.80", "10842.30", "61.9"),
        ("200", "99.9", "50.1"),  # 50.05 goes up
        ("200", "300.1", "-50.1"),  # and below zero, away from it
        ("3", "3", "0"),
        ("0", "5", "0"),
        ("-1", "5", "0"),
    ],
)
def test_a_margin_is_told_to_one_decimal(revenue: str, cogs: str, pct: str) -> None:
    """Halves away from zero; nothing has no share of nothing."""
    assert margin_pct(Decimal(revenue), Decimal(cogs)) == Decimal(pct)
