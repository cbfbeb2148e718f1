"""Movements of the past kept in memory, in columns, for what goes back to them.

A return asks for the issues of a reference, or for the last sale before it in the order of
costing; a reversal for the movement that it undoes. The past is kept in chunks, the order of the
log within each; eight of a size are joined, so there are few. What they are looked up by is sorted
when it is first asked for.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.log_columns import Ints
from projections.valuation_columns import SALE, Costed
from projections.valuation_origins import ISSUES_MAX

_JOINED: Final = 8
_MIXED: Final = np.uint64(0x9E3779B97F4A7C15)
_Array = npt.NDArray[Any]
Place = tuple[int, int, int]
"""Day, time and position: where something stands in the order of costing."""


class Issue(NamedTuple):
    """An outflow that goods come back from: where it is in the log, its day, how much it was."""

    position: int
    day: int
    quantity: int


class Original(NamedTuple):
    """A movement that is undone, as of `valuation_columns.Costed`."""

    day: int
    time: int
    kind: int
    quantity: int
    cost: int | None
    basis: int


class _Kept(NamedTuple):
    """Columns of `Costed`, as narrow as they can be."""

    positions: _Array
    products: _Array
    days: _Array
    times: _Array
    kinds: _Array
    quantities: _Array
    costs: _Array
    has_cost: _Array
    bases: _Array


class _Chunk:
    """Some movements, in the order of the log."""

    def __init__(self, kept: _Kept, named: tuple[_Array, _Array]) -> None:
        """Take the columns, and of the sales that have a reference its hash, and the row."""
        self.kept = kept
        self.first, self.last = int(kept.positions[0]), int(kept.positions[-1])
        self.named = named
        self._is_named_sorted = False
        self._sales: tuple[_Array, _Array] | None = None

    def by_reference(self) -> tuple[_Array, _Array]:
        """Return the hashes of references, sorted, and the row of each."""
        if not self._is_named_sorted:
            hashes, rows = self.named
            order = np.argsort(hashes, kind="stable")
            self.named = hashes[order], rows[order]
            self._is_named_sorted = True
        return self.named

    def sales(self) -> tuple[_Array, _Array]:
        """Return the products of sales, sorted, and the row of each, by its order of costing."""
        if self._sales is None:
            kept = self.kept
            rows = np.flatnonzero((kept.kinds == SALE) & (kept.quantities > 0)).astype(np.int32)
            # One after the other in the log is kept where all else is the same.
            products = kept.products[rows]
            order = np.lexsort((kept.times[rows], kept.days[rows], products))
            self._sales = products[order], rows[order]
        return self._sales

    def forget_sales(self) -> None:
        """Have them looked for anew, as there is one more."""
        self._sales = None


class Past:
    """What has crossed the boundary so far, and the stretch that is being folded."""

    def __init__(self) -> None:
        self.count = 0
        self._sizes: list[list[_Chunk]] = [[]]
        self._present: _Chunk | None = None
        self._numbers: dict[int, int] = {}
        self._back: Ints = np.zeros(0, np.int64)
        self._by_reference: list[tuple[_Chunk, list[int], list[int]]] = []
        self._by_sale: list[tuple[_Chunk, list[int], list[int]]] = []

    def begin(self, costed: Costed, back: Ints) -> None:
        """Take the next movements; those at ``back`` will be asked for what they come back from."""
        self._present = None
        if not len(costed.positions):
            return
        hashes = _hashes(costed.products, costed.references)
        named = np.flatnonzero(
            costed.has_reference & (costed.kinds == SALE) & (costed.quantities > 0)
        )
        kept = _Kept(*(getattr(costed, name) for name in _Kept._fields))
        self._present = _Chunk(kept, (hashes[named], named.astype(np.int32)))
        self._numbers = {row: number for number, row in enumerate(back.tolist())}
        self._back = costed.products[back]
        chunks: Sequence[_Chunk] = self._all() if len(back) else ()
        self._by_reference = [
            (chunk, *_spans(chunk.by_reference()[0], hashes[back])) for chunk in chunks
        ]
        self._by_sale = [(chunk, *_spans(chunk.sales()[0], self._back)) for chunk in chunks]

    def end(self) -> None:
        """Keep the movements, which are complete by now."""
        chunk, self._present = self._present, None
        if chunk is None:
            return
        self.count += len(chunk.kept.positions)
        joined = _joined([chunk])
        for size in self._sizes:
            size.append(joined)
            if len(size) < _JOINED:
                return
            joined = _joined(size)
            size.clear()
        self._sizes.append([joined])

    def original(self, position: int, product_id: int, before: int) -> Original | None:
        """Return the product's movement at a position, if there is one, ``before`` another."""
        if position >= before:
            return None
        for chunk in self._all():
            if chunk.first <= position <= chunk.last:
                kept = chunk.kept
                row = int(np.searchsorted(kept.positions, position))
                if kept.positions[row] != position or kept.products[row] != product_id:
                    return None
                return Original(
                    int(kept.days[row]),
                    int(kept.times[row]),
                    int(kept.kinds[row]),
                    int(kept.quantities[row]),
                    int(kept.costs[row]) if kept.has_cost[row] else None,
                    int(kept.bases[row]),
                )
        return None

    def issues_of(self, row: int, product_id: int, before: int) -> list[Issue]:
        """Return the latest issues of the reference that a return names, in the order of the log.

        It is one of those that were told of, and has a reference.
        """
        number = self._numbers[row]
        found: list[Issue] = []
        for chunk, lows, highs in self._by_reference:
            if lows[number] < highs[number]:
                rows = chunk.by_reference()[1][lows[number] : highs[number]]
                kept = chunk.kept
                is_so = (kept.products[rows] == product_id) & (kept.positions[rows] < before)
                found += _issues(kept, rows[is_so][-ISSUES_MAX:])
        return sorted(found)[-ISSUES_MAX:]

    def last_sale(self, row: int, place: Place) -> list[Issue]:
        """Return the last sale before a return's day, time and position, if there was one."""
        number = self._numbers[row]
        best: tuple[Place, _Chunk, int] | None = None
        for chunk, lows, highs in self._by_sale:
            if lows[number] < highs[number]:
                best = _last_before(chunk, lows[number], highs[number], place, best)
        if best is None:
            return []
        _, chunk, row = best
        return _issues(chunk.kept, np.array([row]))

    def sold(self) -> None:
        """What waited turned out to be a sale."""
        assert self._present is not None, "it is of the present stretch"
        self._present.forget_sales()
        if self._by_sale:
            self._by_sale[0] = (self._present, *_spans(self._present.sales()[0], self._back))

    def _all(self) -> Sequence[_Chunk]:
        """Return all chunks, the latest first."""
        present = [] if self._present is None else [self._present]
        return present + [chunk for size in self._sizes for chunk in reversed(size)]


def _last_before(
    chunk: _Chunk, low: int, high: int, place: Place, best: tuple[Place, _Chunk, int] | None
) -> tuple[Place, _Chunk, int] | None:
    """Return the last of some sales before a place, and its row, or what is better than that.

    Only what is before it in the log counts as well.
    """
    kept, rows = chunk.kept, chunk.sales()[1]

    def place_of(number: int) -> Place:
        row = rows[number]
        return int(kept.days[row]), int(kept.times[row]), int(kept.positions[row])

    last = place_of(high - 1)
    if best is not None and last < best[0]:
        return best
    # Mostly it is behind all of them.
    end = high if last < place else bisect_left(range(high), place, low, key=place_of)
    if chunk.last >= place[2]:
        known = np.flatnonzero(kept.positions[rows[low:end]] < place[2])
        end = low + int(known[-1]) + 1 if len(known) else low
    if end == low:
        return best
    found = last if end == high else place_of(end - 1)
    return best if best is not None and found < best[0] else (found, chunk, int(rows[end - 1]))


def _issues(kept: _Kept, rows: _Array) -> list[Issue]:
    columns = (kept.positions, kept.days, kept.quantities)
    return [
        Issue(*each) for each in zip(*(column[rows].tolist() for column in columns), strict=True)
    ]


def _spans(ordered: _Array, sought: _Array) -> tuple[list[int], list[int]]:
    """Return where each of what is sought begins, and ends."""
    low, high = (np.searchsorted(ordered, sought, side) for side in ("left", "right"))
    return low.tolist(), high.tolist()


def _hashes(products: Ints, references: Ints) -> Ints:
    """Return a number of each product and reference; of one product no two are the same."""
    return (products.view(np.uint64) * _MIXED).view(np.int64) ^ references


def _joined(chunks: Sequence[_Chunk]) -> _Chunk:
    """Return chunks that follow each other as one."""
    columns = zip(*(chunk.kept for chunk in chunks), strict=True)
    kept = _Kept(*(_narrow(np.concatenate(column)) for column in columns))
    firsts = np.cumsum([0, *(len(chunk.kept.positions) for chunk in chunks)])
    hashes = np.concatenate([chunk.named[0] for chunk in chunks])
    rows = [chunk.named[1] + first for chunk, first in zip(chunks, firsts[:-1], strict=True)]
    return _Chunk(kept, (hashes, np.concatenate(rows).astype(np.int32)))


def _narrow(column: _Array) -> _Array:
    """Return whole numbers in 8, 32 or 64 bits each, as they fit; flags as they are."""
    if column.dtype == np.bool_:
        return column
    least, most = int(column.min()), int(column.max())
    for kind in (np.int8, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= least and most <= limits.max:
            return column.astype(kind)
    return column.astype(np.int64)
