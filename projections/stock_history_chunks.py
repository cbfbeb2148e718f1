"""Entries of stock in two times by column, gathered in chunks.

`projections.stock_history` says what a chunk and a run are. Items are numbers from 0 on here, and
chunks are rows of bytes.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from projections.log_columns import Ints
from projections.moves import MILLIONTHS, Sums
from projections.stock_history import Shape, run_of
from projections.stock_history_fold import ENTRY, FIGURES, NOWHERE

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

ENTRIES: Final = np.dtype(
    [
        ("at", ">u8"), ("position", ">u8"),
        ("source", "u1"), ("target", "u1"), ("moves", "u1"),
        ("quantity", ">u8"),
    ]
)  # fmt: skip
"""As `ENTRY` packs them."""
ENTRY_SIZE: Final = ENTRY.size
_BYTES: Final = f"V{ENTRY_SIZE}"
_SUMS_WIDTH: Final = NOWHERE + 1
_MOVEMENTS: Final = FIGURES.index("movements")

# Of an item: how many entries are open, how many chunks there are, and the sums of these.
_OPEN, _CHUNKS, _SUMS = range(3)


class Full(NamedTuple):
    """Chunks that are full: whose, which one it is, the entries, and the sums of those before.

    The sums, in millionths, have a column for each of `FIGURES` at least; late chunks have none.
    """

    slots: Ints
    numbers: Ints
    chunks: Array
    sums: Ints


class Runs(NamedTuple):
    """Chunks of runs: whose, of which level and run, and then as in `Full`, within the run."""

    slots: Ints
    levels: Ints
    runs: Ints
    numbers: Ints
    chunks: Array
    sums: Ints


class Straight:
    """The items' straight entries: what each has open is a row of bytes."""

    def __init__(self, shape: Shape) -> None:
        self._chunk = shape.chunk
        self._items = Sums(_SUMS + _SUMS_WIDTH)
        self._open = np.zeros((0, shape.chunk * ENTRY_SIZE), np.uint8)

    def open(self, count: int) -> tuple[Ints, Array, Ints]:
        """Return what the first so many items have: chunks, and open entries with their number."""
        items = self._reach(count)[:count]
        return items[:, _CHUNKS], self._open[:count], items[:, _OPEN]

    def _reach(self, count: int) -> Ints:
        items = self._items.reach(count)
        if count > len(self._open):
            more = np.zeros((len(items) - len(self._open), self._open.shape[1]), np.uint8)
            self._open = np.concatenate([self._open, more])
        return items

    def add(self, slots: Ints, packed: Array) -> Full:
        """Add entries by item, each item's in order, to what is open; return what is full."""
        items = self._reach(int(slots.max(initial=-1)) + 1)
        firsts, counts = _groups(slots)
        own = slots[firsts]
        before = items[own, _OPEN]
        full, left = np.divmod(before + counts, self._chunk)
        starts = np.cumsum(full) - full
        # Where each entry would be, if an item's open ones and these came one after the other.
        places = np.arange(len(slots)) - np.repeat(firsts - before, counts)
        capacity = np.repeat(full * self._chunk, counts)
        is_full = places < capacity
        entries = packed.view(_BYTES)
        chunks = np.empty((int(full.sum()), self._open.shape[1]), np.uint8)
        filled = np.flatnonzero(full)
        # With what is open in front of them; what it does not hold yet is written over.
        chunks[starts[filled]] = self._open[own[filled]]
        into = np.repeat(starts * self._chunk, counts) + places
        chunks.reshape(-1).view(_BYTES)[into[is_full]] = entries[is_full]
        into = slots * self._chunk + places - capacity
        self._open.reshape(-1).view(_BYTES)[into[~is_full]] = entries[~is_full]
        items[own, _OPEN] = left
        numbers = np.repeat(items[own, _CHUNKS] - starts, full) + np.arange(len(chunks))
        items[own, _CHUNKS] += full
        sums = _sums_of(chunks, self._chunk)
        # It may go round beyond 64 bits; the differences are right all the same.
        sums_before = np.cumsum(sums, axis=0) - sums
        owners, starts, full = own[filled], starts[filled], full[filled]
        sums_before += np.repeat(items[owners, _SUMS:] - sums_before[starts], full, axis=0)
        lasts = starts + full - 1
        items[owners, _SUMS:] = sums_before[lasts] + sums[lasts]
        return Full(np.repeat(owners, full), numbers, chunks, sums_before)


class _Item(msgspec.Struct):
    """An item's late entries: what is open, the chunks still needed, and the first one's number."""

    open: bytes = b""
    first: int = 0
    chunks: list[bytes] = []

    @property
    def count(self) -> int:
        """How many chunks there have been."""
        return self.first + len(self.chunks)


class Late:
    """The items' late entries, item by item: there are few. Runs are made of kept chunks."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._chunk_bytes = shape.chunk * ENTRY_SIZE
        self._items: dict[int, _Item] = {}
        self.held = 0
        """How many chunks are kept."""

    def open(self, count: int) -> tuple[Ints, Array, Ints]:
        """Return what the first so many items have: chunks, and open entries with their number."""
        chunks, entries = np.zeros((2, count), np.int64)
        rows = np.zeros((count, self._chunk_bytes), np.uint8)
        for slot, item in self._items.items():
            chunks[slot] = item.count
            rows[slot, : len(item.open)] = np.frombuffer(item.open, np.uint8)
            entries[slot] = len(item.open) // ENTRY_SIZE
        return chunks, rows, entries

    def add(self, slots: Ints, packed: Array) -> tuple[Full, Runs]:
        """Add entries by item, each item's as recorded; return what is full. It has no sums."""
        size = self._chunk_bytes
        content = packed.tobytes()
        firsts, counts = _groups(slots)
        full: list[tuple[int, int]] = []
        chunks: list[bytes] = []
        runs: list[tuple[int, ...]] = []
        parts: list[bytes] = []
        for slot, first, count in zip(
            slots[firsts].tolist(), firsts.tolist(), counts.tolist(), strict=True
        ):
            item = self._items.setdefault(slot, _Item())
            entries = item.open + content[first * ENTRY_SIZE : (first + count) * ENTRY_SIZE]
            whole = len(entries) // size * size
            item.open = entries[whole:]
            if whole:
                before = item.count
                new = [entries[start : start + size] for start in range(0, whole, size)]
                item.chunks += new
                full += [(slot, number) for number in range(before, item.count)]
                chunks += new
                self.held += len(new)
                self._run(slot, item, before, runs, parts)
        late, run = _table(full, 2), _table(runs, 4 + len(FIGURES))
        return (
            Full(late[:, 0], late[:, 1], self._rows(chunks), _NO_SUMS),
            Runs(run[:, 0], run[:, 1], run[:, 2], run[:, 3], self._rows(parts), run[:, 4:]),
        )

    def _run(
        self, slot: int, item: _Item, before: int, runs: list[tuple[int, ...]], parts: list[bytes]
    ) -> None:
        """Add the chunks of runs that are full with an item's new chunks, level by level."""
        span = 1
        for level in range(1, self._shape.levels + 1):
            span *= self._shape.fan
            for run in range(before // span, item.count // span):
                start = run * span - item.first
                made_of = item.chunks[start : start + span]
                for number, (_, sums, part) in enumerate(run_of(made_of, self._chunk_bytes)):
                    runs.append((slot, level, run, number, *sums))
                    parts.append(part)
        # What is in a run of the highest level goes into no other.
        done = item.count // span * span - item.first
        if done > 0:
            del item.chunks[:done]
            item.first += done
            self.held -= done

    def _rows(self, chunks: Sequence[bytes]) -> Array:
        return np.frombuffer(b"".join(chunks), np.uint8).reshape(-1, self._chunk_bytes)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, width)


def _groups(slots: Ints) -> tuple[Ints, Ints]:
    """Return where each item's begin, and how many they are."""
    firsts = np.flatnonzero(np.diff(slots, prepend=-1))
    return firsts, np.diff(firsts, append=len(slots))


def _sums_of(chunks: Array, chunk: int) -> Ints:
    """Add up each figure of each chunk, in millionths."""
    entries = chunks.reshape(-1).view(ENTRIES)
    rows = np.repeat(np.arange(len(chunks)) * _SUMS_WIDTH, chunk)
    quantities = entries["quantity"].astype(np.int64)
    sums = np.zeros(len(chunks) * _SUMS_WIDTH, np.int64)
    np.subtract.at(sums, rows + entries["source"], quantities)
    np.add.at(sums, rows + entries["target"], quantities)
    np.add.at(sums, rows + _MOVEMENTS, entries["moves"].astype(np.int64) * MILLIONTHS)
    return sums.reshape(-1, _SUMS_WIDTH)


def highest_before(groups: Ints, values: Ints, before: Ints) -> Ints:
    """Return for each value the highest of those in front of it in its group, and of ``before``.

    Groups are numbers from 0 on, in order; ``before`` is the same throughout a group.
    """
    highest = before.copy()
    is_first = np.diff(groups, prepend=-1) != 0
    later = np.flatnonzero(~is_first)
    if not len(later):
        return highest
    # By ranks, which leave room for the group: so none is above one of the next group.
    distinct, ranks = np.unique(values, return_inverse=True)
    lowest = (np.cumsum(is_first) - 1) * len(distinct)
    reached = np.maximum.accumulate(lowest + ranks)
    highest[later] = np.maximum(before[later], distinct[reached[later - 1] - lowest[later]])
    return highest


def opening(chunks: Array) -> Array:
    """Return the first entry of each chunk."""
    return chunks[:, :ENTRY_SIZE].copy().view(ENTRIES)[:, 0]


_NO_SUMS: Final[Ints] = np.zeros((0, 0), np.int64)
