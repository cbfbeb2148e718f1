"""Sums by product, business day and place, in columns."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.log_columns import Ints

LOOSE_ROWS_MAX: Final = 400_000
"""How many rows are kept, some of them of one key, before they are joined."""
_WHOLE_MAX: Final = 2**62


class Keys(NamedTuple):
    """What rows are of."""

    products: Ints
    days: Ints
    places: Ints


class DaySums:
    """Grows by a stretch at a time: mostly each has days of its own."""

    def __init__(self, width: int) -> None:
        """Take how many sums a row has."""
        self._width = width
        self._parts: list[tuple[Keys, Ints]] = []

    @property
    def count(self) -> int:
        """How many rows there are, at most."""
        return sum(len(keys.products) for keys, _ in self._parts)

    def add(self, keys: Keys) -> tuple[Ints, Ints]:
        """Return which row each key has, and all rows' sums: of each figure a column, to add to.

        They are a stretch's, and are joined with those of others later.
        """
        if self.count > LOOSE_ROWS_MAX:
            self.joined()
        order, firsts = _grouped(keys)
        numbers = np.zeros(len(order), np.int64)
        numbers[firsts] = 1
        rows = np.empty_like(numbers)
        rows[order] = np.cumsum(numbers) - 1
        sums = np.zeros((self._width, len(firsts)), np.int64)
        chosen = order[firsts]
        self._parts.append((Keys(*(column[chosen] for column in keys)), sums))
        return rows, sums

    def joined(self) -> tuple[Keys, Ints]:
        """Return all rows, in the order of their keys, and their sums by figure."""
        keys = Keys(*(_concatenated([part[0][nth] for part in self._parts]) for nth in range(3)))
        if len(self._parts) != 1:
            order, firsts = _grouped(keys)
            joined = np.zeros((self._width, len(firsts)), np.int64)
            if len(firsts):
                for figure in range(self._width):
                    column = _concatenated([sums[figure] for _, sums in self._parts])
                    np.add.reduceat(column[order], firsts, out=joined[figure])
            chosen = order[firsts]
            keys = Keys(*(column[chosen] for column in keys))
            self._parts = [(keys, joined)]
        return self._parts[0]


def _grouped(keys: Keys) -> tuple[Ints, Ints]:
    """Return the order of keys, and where in it another one begins."""
    packed = _packed(keys)
    order = np.lexsort(keys[::-1]) if packed is None else np.argsort(packed, kind="stable")
    columns = keys if packed is None else (packed,)
    differs: npt.NDArray[np.bool_] = np.zeros(len(order), np.bool_)
    differs[:1] = True
    for column in columns:
        ordered = column[order]
        differs[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(differs)


def _packed(keys: Keys) -> Ints | None:
    """Return one number for each key, in the order of keys: it is sorted faster; if it fits."""
    if not len(keys.products):
        return keys.products
    packed, range_so_far = np.zeros(len(keys.products), np.int64), 1
    for column in keys:
        least = int(column.min())
        width = int(column.max()) - least + 1
        range_so_far *= width
        if range_so_far > _WHOLE_MAX:
            return None
        packed = packed * width + (column - least)
    return packed


def _concatenated(columns: Sequence[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *columns])
