"""Rows in COPY's binary format, made by column.

PostgreSQL reads a number or a time in this format several times as fast as in a text, and numpy
writes it as fast as it copies. Rows whose fields take the same bytes make up a block: a template
that is repeated, with holes that the columns fill. So rows come by the form that they have, and
not in the order of the columns.

The format: https://www.postgresql.org/docs/current/sql-copy.html, and of each type its ``recv``
function, as PostgreSQL has them.
"""

from collections.abc import Sequence
from struct import pack
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.log_columns import Ints

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + pack(">ii", 0, 0)
_END: Final = pack(">h", -1)
_NULL: Final = pack(">i", -1)
_MILLION: Final = 1_000_000
# A numeric's digits are of this base, with two of them behind the point for millionths.
_BASE: Final = 10_000
_FRACTION_DIGITS: Final = 2
_SCALE: Final = 6
_NEGATIVE: Final = 0x4000

_Array = npt.NDArray[Any]


class _Hole(NamedTuple):
    """Where a column's values go, and as what."""

    offset: int
    form: str
    values: _Array


class _Layout(NamedTuple):
    """The bytes of a field, its length among them, and what differs from row to row."""

    template: bytes
    holes: Sequence[_Hole] = ()


class Field(NamedTuple):
    """A field of every row. ``kinds`` say which of the layouts each row has; None is the first."""

    layouts: Sequence[_Layout]
    kinds: Ints | None = None


def integer(number: int) -> Field:
    """Return an ``integer`` that all rows have."""
    return Field([_Layout(pack(">ii", 4, number))])


def smallints(numbers: _Array) -> Field:
    """Return a ``smallint`` of each row."""
    return _fixed("h", numbers)


def bigints(numbers: _Array) -> Field:
    """Return a ``bigint`` of each row."""
    return _fixed("q", numbers)


def instants(times: Ints) -> Field:
    """Return a ``timestamptz`` of each row, from microseconds since 2000-01-01 UTC."""
    return _fixed("q", times)


def dates(days: Ints) -> Field:
    """Return a ``date`` of each row, from days since 2000-01-01."""
    return _fixed("i", days)


def names(known: Sequence[str], numbers: Ints) -> Field:
    """Return a ``text`` of each row: the one of its number, of those that are known."""
    texts = [name.encode() for name in known]
    return Field([_Layout(pack(">i", len(text)) + text) for text in texts], numbers)


def byteas(values: _Array, lengths: Ints | None = None) -> Field:
    """Return a ``bytea`` of each row: a row of bytes, or so many of its first ones."""
    if lengths is None:
        return Field([_bytes_of(values, values.shape[1])])
    met, kinds = np.unique(lengths, return_inverse=True)
    return Field([_bytes_of(values, length) for length in met.tolist()], kinds)


def nulls() -> Field:
    """Return a field that is null in all rows."""
    return Field([_Layout(_NULL)])


def or_null(field: Field, is_null: npt.NDArray[np.bool_]) -> Field:
    """Return a field that is null in some rows."""
    assert field.kinds is None, "a field of one layout"
    return Field([*field.layouts, _Layout(_NULL)], is_null.astype(np.int64))


def decimals(millionths: Ints) -> Field:
    """Return a ``numeric`` of scale 6 of each row, from millionths above -2**63."""
    # Each row has as many digits as the longest needs: who reads them drops noughts at both ends.
    wholes, rests = np.divmod(np.abs(millionths), _MILLION)
    digits: list[Ints] = []
    left = wholes
    most = int(wholes.max(initial=0))
    while most:
        left, digit = np.divmod(left, _BASE)
        digits.insert(0, digit)
        most //= _BASE
    weight = len(digits) - 1
    if rests.any():
        digits += [rests // 100, rests % 100 * 100]
    header = pack(">ihhhh", 8 + 2 * len(digits), len(digits), weight, 0, _SCALE)
    signs = np.where(millionths < 0, _NEGATIVE, 0)
    holes = [_Hole(8, ">u2", signs)] if signs.any() else []
    holes += [_Hole(12 + 2 * place, ">u2", digit) for place, digit in enumerate(digits)]
    return Field([_Layout(header + bytes(2 * len(digits)), holes)])


def binary_rows(*fields: Field) -> bytes:
    """Return rows as COPY reads them; nothing where there are none.

    At least one field differs from row to row, which tells how many there are.
    """
    kinds: Ints | None = None
    for field in fields:
        if field.kinds is not None:
            further = 0 if kinds is None else kinds * len(field.layouts)
            kinds = field.kinds + further
    blocks: list[memoryview] = []
    if kinds is None:
        hole = next(hole for field in fields for hole in field.layouts[0].holes)
        blocks.append(_block([field.layouts[0] for field in fields], len(hole.values), None))
    else:
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            first = rows[0]
            layouts = [
                field.layouts[0 if field.kinds is None else int(field.kinds[first])]
                for field in fields
            ]
            blocks.append(_block(layouts, len(rows), rows))
    return b"".join((_SIGNATURE, *blocks, _END)) if any(map(len, blocks)) else b""


def _block(layouts: Sequence[_Layout], count: int, rows: Ints | None) -> memoryview:
    """Return rows that take the same bytes: all of the columns', or some."""
    template = pack(">h", len(layouts))
    holes: list[_Hole] = []
    for layout in layouts:
        holes += [hole._replace(offset=len(template) + hole.offset) for hole in layout.holes]
        template += layout.template
    block = np.empty((count, len(template)), np.uint8)
    block[:] = np.frombuffer(template, np.uint8)
    shape: Any = {
        "names": [str(number) for number in range(len(holes))],
        "formats": [hole.form for hole in holes],
        "offsets": [hole.offset for hole in holes],
        "itemsize": len(template),
    }
    filled = block.view(np.dtype(shape))[:, 0]
    for number, hole in enumerate(holes):
        filled[str(number)] = hole.values if rows is None else hole.values[rows]
    return block.data


def _bytes_of(values: _Array, length: int) -> _Layout:
    template = pack(">i", length) + bytes(length)
    if not length:
        return _Layout(template)
    form = f"V{length}"
    return _Layout(template, [_Hole(4, form, values[:, :length].view(form)[:, 0])])


def _fixed(form: str, values: _Array) -> Field:
    length = {"h": 2, "i": 4, "q": 8}[form]
    return Field([_Layout(pack(">i", length) + bytes(length), [_Hole(4, f">i{length}", values)])])
