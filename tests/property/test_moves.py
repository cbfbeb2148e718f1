"""Movements in columns: exact figures, exact texts, and balances as they run."""

from collections import defaultdict
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from projections.log_columns import instant, microseconds
from projections.moves import MILLIONTHS, Slots, in_millionths, one_in_millionths
from projections.stock_levels_bulk import running

QUANTITIES = st.decimals(
    min_value=Decimal("-999999999999.999999"),
    max_value=Decimal("999999999999.999999"),
    places=6,
)


@given(st.lists(QUANTITIES, min_size=1), st.booleans())
def test_quantities_become_millionths(quantities: list[Decimal], are_whole: bool) -> None:
    """Exactly, whole or not, below zero or not, to the last of their 18 digits."""
    if are_whole:
        quantities = [Decimal(int(quantity)) for quantity in quantities]
    millionths = in_millionths(quantities)
    assert millionths.tolist() == [int(quantity * MILLIONTHS) for quantity in quantities]
    assert millionths.tolist() == [one_in_millionths(quantity) for quantity in quantities]


@given(st.lists(st.integers(-3_155_673_600_000_000, 220_000_000_000_000_000), min_size=1))
def test_times_are_told_to_the_microsecond(times: list[int]) -> None:
    """From 1900 on, there and back again."""
    assert [microseconds(instant(time)) for time in times] == times


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(-(10**12), 10**12)), min_size=1, max_size=30
        ),
        min_size=1,
        max_size=5,
    )
)
def test_each_change_gives_the_balance_after_it(batches: list[list[tuple[int, int]]]) -> None:
    """Of its own key, through any number of batches: as one would add them up by hand."""
    balances = np.zeros(6, np.int64)
    by_hand: defaultdict[int, int] = defaultdict(int)
    for batch in batches:
        expected: list[int] = []
        for key, change in batch:
            by_hand[key] += change
            expected.append(by_hand[key])
        keys, changes = np.array(batch, np.int64).T.copy()
        assert running(balances, keys, changes).tolist() == expected
    assert balances.tolist() == [by_hand[key] for key in range(6)]


def test_sums_over_many_keys_may_go_round() -> None:
    """Each balance fits, their sum does not."""
    large = 9 * 10**18
    keys, changes = np.arange(4), np.full(4, large)
    balances = np.zeros(4, np.int64)
    assert running(balances, keys, changes).tolist() == [large] * 4
    assert running(balances, keys, -changes).tolist() == [0] * 4


FIRSTS = st.sampled_from([0, 1, 2, 3, 2**40, 2**62])
SECONDS = st.sampled_from([0, 1, 2, -3, -(2**30), 2**40])


@given(st.lists(st.lists(st.tuples(FIRSTS, SECONDS), min_size=1)))
def test_a_pair_keeps_its_slot(batches: list[list[tuple[int, int]]]) -> None:
    """Slots are counted from 0, one a pair, in whatever batch it comes."""
    slots = Slots()
    known: dict[tuple[int, int], int] = {}
    for batch in batches:
        found = slots.of(*np.array(batch, np.int64).T)
        for pair, slot in zip(batch, found.tolist(), strict=True):
            assert known.setdefault(pair, slot) == slot
            assert slots.slot(pair) == slot
    assert sorted(known.values()) == list(range(len(known)))
    assert [known[pair] for pair in slots.pairs] == list(range(len(known)))
