"""Layered collections against plain ones: the same members, nothing that was handed out changed."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain import layered

_KEYS = st.integers(0, 300).map(str)
_STEPS = st.lists(st.tuples(_KEYS, st.one_of(st.none(), st.integers())), max_size=300)


@given(st.integers(0, 250), _STEPS)
@settings(max_examples=200)
def test_a_mapping_has_what_a_dict_has(filled: int, steps: list[tuple[str, int | None]]) -> None:
    """Whatever is put in and taken out, also what was never there; earlier versions stay."""
    plain: dict[str, int] = {}
    settled: dict[str, int] = {}
    changed: dict[str, int | None] = {}
    versions: list[tuple[dict[str, int], dict[str, int | None], dict[str, int]]] = []
    for key, value in [*((str(number), -number) for number in range(filled)), *steps]:
        settled, changed = layered.put(settled, changed, key, value)
        plain.pop(key, None)
        if value is not None:
            plain[key] = value
        assert layered.get(settled, changed, key) == value
        versions.append((settled, changed, plain.copy()))
    for settled, changed, expected in versions[:: max(len(versions) // 10, 1)]:
        assert layered.merged(settled, changed) == expected
        assert len(changed) ** 2 <= max(len(settled), 1)
        assert all(
            layered.get(settled, changed, str(key)) == expected.get(str(key)) for key in range(300)
        )


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 500)), max_size=500), st.data())
@settings(max_examples=100)
def test_members_are_in_order_whatever_comes_and_goes(
    added: list[tuple[int, int]], data: Any
) -> None:
    """As in a list that is sorted; no chunk is empty, or too long."""
    chunks: layered.Chunks[tuple[int, int]] = ()
    plain: list[tuple[int, int]] = []
    for member in dict.fromkeys(added):
        chunks = layered.with_member(chunks, member)
        plain.append(member)
    for member in data.draw(st.lists(st.sampled_from(plain), unique=True)) if plain else ():
        chunks = layered.without_member(chunks, member)
        plain.remove(member)
    plain.sort()
    assert [member for chunk in chunks for member in chunk] == plain
    assert all(0 < len(chunk) <= layered.CHUNK_MAX for chunk in chunks)
    for bound in (-1, 0, 7, 20, 40, 41):
        found = layered.members_up_to(chunks, bound, lambda member: member[0])
        assert list(found) == [member for member in plain if member[0] <= bound]


@pytest.mark.parametrize("count", [10, 1_000, 5_000])
def test_an_event_copies_a_small_part_of_what_there_is(count: int) -> None:
    """About the square root of it, on the average of many; at first all of a few."""
    settled: dict[str, int] = {}
    changed: dict[str, int | None] = {}
    copied = 0
    for number in range(count):
        before = settled
        settled, changed = layered.put(settled, changed, str(number), number)
        copied += len(changed) if settled is before else len(settled)
    assert copied / count <= max(layered.SMALL, 3 * count**0.5)


def test_a_snapshot_holds_the_layers_as_they_are() -> None:
    """So a state that is read back goes on exactly as the one that was kept."""
    settled: dict[str, int] = {}
    changed: dict[str, int | None] = {}
    for number in range(200):
        settled, changed = layered.put(settled, changed, str(number), number)
    settled, changed = layered.put(settled, changed, "7", None)
    assert changed
    kept = msgspec.json.encode((settled, changed))
    assert msgspec.json.decode(kept, type=tuple[dict[str, int], dict[str, int | None]]) == (
        settled,
        changed,
    )
