"""Movements in columns: what each event of a stretch of the log moves."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow

from ledger.domain.movements import MOVING, RULES, Told
from projections.log_columns import Column, Ints, Stretch
from schemas.stock import Account, MovementReversed

pa: Any = pyarrow

ACCOUNTS: Final[tuple[str, ...]] = get_args(Account)
ACCOUNT_NUMBERS: Final = {account: number for number, account in enumerate(ACCOUNTS)}
MILLIONTHS: Final = 1_000_000
MILLIONTHS_MAX: Final = 9e18
"""What the sums of a column may come to: a little less than 64 bits hold."""
NO_POSITION: Final = 0
_UNKNOWN: Final = -1
_KNOWN_MAX: Final = 4_000_000
"""How many pairs a table of slots may have a place for, each of eight bytes."""

_QUANTITY: Final = pa.decimal128(18, 6)


class Moves(NamedTuple):
    """Movements by position. ``types`` index ``type_names``, accounts are numbers of ``ACCOUNTS``.

    Quantities are in millionths; ``reverses`` is a position or ``NO_POSITION``.
    """

    type_names: Sequence[str]
    types: Ints
    positions: Ints
    products: Ints
    locations: Ints
    from_accounts: Ints
    from_places: Ints
    to_accounts: Ints
    to_places: Ints
    quantities: Ints
    effective: Ints
    recorded: Ints
    reverses: Ints

    def only(self, chosen: "Chosen") -> "Moves":
        """Return some of them: by a mask, a slice, or their indices in another order."""
        return Moves(self.type_names, *(column[chosen] for column in self[1:]))


Mask = npt.NDArray[np.bool_]
Chosen = Mask | Ints | slice


def moves_of(stretch: Stretch) -> Moves:
    """Return what the events of a stretch of the log move, those that move something."""
    columns = stretch.of(MOVING)
    parts = [_moves(number, column) for number, column in enumerate(columns)]
    joined = [np.concatenate([_NONE, *values]) for values in zip(*parts, strict=True)]
    moves = Moves([column.kind.TYPE for column in columns], *(joined or [_NONE] * _COLUMNS))
    return moves.only(np.argsort(moves.positions, kind="stable"))


def _moves(number: int, column: Column) -> Sequence[Ints]:
    """Return the columns of `Moves` behind the names, of one type's events."""
    events = column.events
    rule = RULES[column.kind]
    quantities = in_millionths([*map(attrgetter(rule.quantity), events)])
    from_accounts = _accounts(rule.from_account, events)
    to_accounts = _accounts(rule.to_account, events)
    locations = fields_of(events, "location_id")
    from_places, to_places = (
        locations if place == "location_id" else fields_of(events, place)
        for place in (rule.from_place, rule.to_place)
    )
    back = quantities < 0
    if back.any():
        from_accounts, to_accounts = _exchanged(back, from_accounts, to_accounts)
        from_places, to_places = _exchanged(back, from_places, to_places)
    reverses = np.full(len(events), NO_POSITION)
    if column.kind is MovementReversed:
        reverses = fields_of(events, "reversed_position")
    columns = [
        np.full(len(events), number),
        column.positions,
        fields_of(events, "product_id"),
        locations,
        from_accounts,
        from_places,
        to_accounts,
        to_places,
        np.abs(quantities),
        column.effective,
        column.recorded,
        reverses,
    ]
    moved = quantities != 0
    return columns if moved.all() else [values[moved] for values in columns]


def _accounts(account: Account | Told, events: Sequence[Any]) -> Ints:
    """Return the number of an account of each event."""
    if not isinstance(account, Told):
        return np.full(len(events), ACCOUNT_NUMBERS[account])
    values = account.values or dict(zip(ACCOUNTS, ACCOUNTS, strict=True))
    numbers = {value: ACCOUNT_NUMBERS[name] for value, name in values.items()}
    told = attrgetter(account.field)
    met = set(map(told, events))
    if len(met) == 1:
        return np.full(len(events), numbers[met.pop()])
    return _numbers(map(numbers.__getitem__, map(told, events)))


def _exchanged(where: Mask, first: Ints, second: Ints) -> tuple[Ints, Ints]:
    return np.where(where, second, first), np.where(where, first, second)


_COLUMNS: Final = len(Moves._fields) - 1
_NONE: Final[Ints] = np.zeros(0, np.int64)


def _numbers(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def fields_of(events: Sequence[Any], name: str) -> Ints:
    """Return one field of each event, a whole number."""
    return np.fromiter(map(attrgetter(name), events), np.int64, len(events))


def in_millionths(quantities: Sequence[Decimal]) -> Ints:
    """Return quantities, of the bounds of invariant I7, in millionths."""
    _, buffer = pa.array(quantities, _QUANTITY).buffers()
    # 128 bits each, the lower half first: the upper one only says again that it is negative.
    return np.frombuffer(buffer, np.int64)[: 2 * len(quantities) : 2]


def one_in_millionths(quantity: Decimal) -> int:
    """Return a quantity, of the bounds of invariant I7, in millionths."""
    return int(quantity * MILLIONTHS)


class Total:
    """How much has moved in all, from when it was made; no sum of movements is above it."""

    def __init__(self) -> None:
        self._millionths = 0.0

    def takes(self, moves: Moves) -> bool:
        """Tell whether 64 bits would still hold every sum exactly, with these as well."""
        return self._millionths + moves.quantities.sum(dtype=np.float64) < MILLIONTHS_MAX

    def add(self, moves: Moves) -> None:
        """Count these in."""
        self._millionths += moves.quantities.sum(dtype=np.float64)


class Slots:
    """Numbers pairs of numbers, from 0 on in the order in which they are first met."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self._slots: dict[tuple[int, int], int] = {}
        # The slots of pairs as ids usually make them up: small numbers, of a small range.
        self._known = np.full((0, 0), _UNKNOWN)
        self._least = 0

    def of(self, first: Ints, second: Ints) -> Ints:
        """Return the slot of each pair."""
        if not len(first):
            return _NONE
        least, most = int(second.min()), int(second.max())
        if int(first.min()) < 0 or not self._reaches(int(first.max()), least, most):
            return self._met(first, second)
        seconds = second - self._least
        found = self._known[first, seconds]
        unknown = np.flatnonzero(found == _UNKNOWN)
        if len(unknown):
            found[unknown] = self._met(first[unknown], second[unknown])
            self._known[first[unknown], seconds[unknown]] = found[unknown]
        return found

    def _reaches(self, highest: int, least: int, most: int) -> bool:
        """Have the table of known slots reach so far, if it may become as large."""
        rows, width = self._known.shape
        if highest < rows and self._least <= least and most < self._least + width:
            return True
        if width:
            least, most = min(least, self._least), max(most, self._least + width - 1)
        # Twice as long as it must be now: ids grow.
        size = max(2 * (highest + 1), rows), most - least + 1
        if size[0] * size[1] > _KNOWN_MAX:
            return False
        known = np.full(size, _UNKNOWN)
        known[:rows, self._least - least :][:, :width] = self._known
        self._known, self._least = known, least
        return True

    def _met(self, first: Ints, second: Ints) -> Ints:
        """Return the slot of each pair, those of new ones among them."""
        distinct_first, which_first = np.unique(first, return_inverse=True)
        distinct_second, which_second = np.unique(second, return_inverse=True)
        width = len(distinct_second)
        met, which = np.unique(which_first * width + which_second, return_inverse=True)
        firsts, seconds = distinct_first[met // width], distinct_second[met % width]
        pairs = zip(firsts.tolist(), seconds.tolist(), strict=True)
        return _numbers(map(self.slot, pairs))[which]

    def slot(self, pair: tuple[int, int]) -> int:
        """Return the slot of a pair."""
        slot = self._slots.setdefault(pair, len(self.pairs))
        if slot == len(self.pairs):
            self.pairs.append(pair)
        return slot

    def columns(self) -> tuple[Ints, Ints]:
        """Return the pairs, by slot, in two columns."""
        both = np.array(self.pairs, np.int64).reshape(-1, 2)
        return both[:, 0].copy(), both[:, 1].copy()


class Sums:
    """Rows of sums that grow in number; each of ``width`` sums."""

    def __init__(self, width: int) -> None:
        self.rows = np.zeros((1024, width), np.int64)

    def reach(self, count: int) -> Ints:
        """Return the rows, at least so many; they stay the same until this is asked again."""
        if count > len(self.rows):
            more = max(count, 2 * len(self.rows)) - len(self.rows)
            self.rows = np.concatenate([self.rows, np.zeros((more, self.rows.shape[1]), np.int64)])
        return self.rows
