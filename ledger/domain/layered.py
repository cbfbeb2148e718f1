"""Collections that a state may share with the state before it, however large they are.

A state is never changed in place, so each event would copy whole what may have thousands of
members. Here an event copies about the square root of it. All is made of plain dicts and tuples,
which a snapshot holds as they are, and depends on nothing but what was put in, in that order.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

SMALL: Final = 64
"""Up to so many members a mapping is copied whole: that is as cheap as can be."""
CHUNK_MAX: Final = 128

# --- mappings ---------------------------------------------------------------------------
#
# A mapping is two dicts: what was settled at some time, and what has changed since, where None
# stands for a key that is gone.


def get(settled: Mapping[K, V], changed: Mapping[K, V | None], key: K) -> V | None:
    """Return what a key has, None where it has nothing."""
    return changed[key] if key in changed else settled.get(key)


def put(
    settled: dict[K, V], changed: dict[K, V | None], key: K, value: V | None
) -> tuple[dict[K, V], dict[K, V | None]]:
    """Return the mapping with another value for a key, or without it."""
    if len(settled) <= SMALL and not changed:
        if value is not None:
            return {**settled, key: value}, changed
        settled = settled.copy()
        settled.pop(key, None)
        return settled, changed
    changed = {**changed, key: value}
    if value is None and key not in settled:
        del changed[key]
    if len(changed) * len(changed) > len(settled):
        return merged(settled, changed), {}
    return settled, changed


def merged(settled: Mapping[K, V], changed: Mapping[K, V | None]) -> dict[K, V]:
    """Return the whole mapping as one dict, a new one."""
    whole = dict(settled)
    for key, value in changed.items():
        if value is None:
            whole.pop(key, None)
        else:
            whole[key] = value
    return whole


# --- what is kept in order --------------------------------------------------------------
#
# Members in ascending order, in chunks of `CHUNK_MAX` at most, none of them empty.

Chunks = tuple[tuple[T, ...], ...]


def with_member(chunks: Chunks[T], member: T) -> Chunks[T]:
    """Return the members and one more."""
    if not chunks:
        return ((member,),)
    index = max(bisect_right(chunks, member, key=_first) - 1, 0)
    chunk = chunks[index]
    place = bisect_right(chunk, member)  # type: ignore[type-var]
    grown = (*chunk[:place], member, *chunk[place:])
    if len(grown) <= CHUNK_MAX:
        return (*chunks[:index], grown, *chunks[index + 1 :])
    half = len(grown) // 2
    return (*chunks[:index], grown[:half], grown[half:], *chunks[index + 1 :])


def without_member(chunks: Chunks[T], member: T) -> Chunks[T]:
    """Return the members without one that is among them."""
    index = bisect_right(chunks, member, key=_first) - 1
    chunk = chunks[index]
    place = bisect_right(chunk, member) - 1  # type: ignore[type-var]
    assert chunk[place] == member, f"{member} is not among them"
    left = (*chunk[:place], *chunk[place + 1 :])
    if left:
        return (*chunks[:index], left, *chunks[index + 1 :])
    return (*chunks[:index], *chunks[index + 1 :])


def members_up_to(chunks: Chunks[T], bound: Any, key: Callable[[T], Any]) -> tuple[T, ...]:
    """Return the members whose key is up to a bound, in order; keys ascend as members do."""
    found: tuple[T, ...] = ()
    for chunk in chunks:
        if key(chunk[-1]) > bound:
            return found + chunk[: bisect_right(chunk, bound, key=key)]
        found += chunk
    return found


def _first(chunk: tuple[Any, ...]) -> Any:
    return chunk[0]
