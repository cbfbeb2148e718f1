"""Movements of goods in columns, as the valuation sees them: what crosses the boundary, and moves.

The rules are those of `projections.valuation_entries`, for a stretch of the log at once.
"""

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.business_days import BusinessDays
from projections.costing import MILLION
from projections.log_columns import Column, Ints, Stretch
from projections.moves import ACCOUNTS, NO_POSITION, Moves, in_millionths
from projections.valuation_entries import COMES_IN, GOES_OUT, IN_TRANSIT, OWNED, reference_key
from schemas.stock import StockIssued, StockReceived, TransferReceived

KINDS: Final = (
    "receipt", "return", "found", "sale", "supplier_return", "missed", "loss", "removal",
)  # fmt: skip
(RECEIPT, RETURN, FOUND, SALE, SUPPLIER_RETURN, MISSED, LOSS, REMOVAL) = range(len(KINDS))
REVERSAL: Final = len(KINDS)
"""What brings an outflow back, until it is known which."""
NO_KIND: Final = len(KINDS)
LAST_INBOUND: Final = FOUND
LAST_OUTBOUND: Final = LOSS
BASES: Final = ("stated", "present", "origin")
(STATED, PRESENT, ORIGIN) = range(len(BASES))
NO_BASIS: Final = len(BASES)

Flags = npt.NDArray[np.bool_]

_TRANSIT: Final = 1
_NOT_OWNED: Final = -1
_OWNED: Final = np.array(
    [int(OWNED[account] == IN_TRANSIT) if account in OWNED else _NOT_OWNED for account in ACCOUNTS]
)
_COMES_IN: Final = np.array([KINDS.index(COMES_IN.get(account, KINDS[0])) for account in ACCOUNTS])
_GOES_OUT: Final = np.array([KINDS.index(GOES_OUT.get(account, KINDS[0])) for account in ACCOUNTS])
_RECEIVED: Final = frozenset({StockReceived})
_ISSUED: Final = frozenset({StockIssued})
_ARRIVED: Final = frozenset({TransferReceived})


class Costed(NamedTuple):
    """What crossed the boundary, by position; what waits is completed in place.

    ``kinds`` and ``origin_kinds`` index `KINDS`, ``bases`` `BASES`; costs and quantities are in
    millionths, ``costs`` those that are ``has_cost``; ``accounts`` are 1 for what is on its way.
    """

    positions: Ints
    products: Ints
    locations: Ints
    days: Ints
    times: Ints
    kinds: Ints
    quantities: Ints
    accounts: Ints
    costs: Ints
    has_cost: Flags
    bases: Ints
    origins: Ints
    origin_kinds: Ints
    origin_is_stated: Flags
    references: Ints
    has_reference: Flags
    waits: Flags


class Transfers(NamedTuple):
    """What moved between places or accounts that are both owned."""

    products: Ints
    days: Ints
    quantities: Ints
    from_places: Ints
    from_accounts: Ints
    to_places: Ints
    to_accounts: Ints


def goods_of(stretch: Stretch, moves: Moves, days: BusinessDays) -> tuple[Costed, Transfers]:
    """Return what the movements of a stretch of the log are to the valuation."""
    sources, targets = _OWNED[moves.from_accounts], _OWNED[moves.to_accounts]
    comes, goes = sources == _NOT_OWNED, targets == _NOT_OWNED
    crossing = np.flatnonzero(comes != goes)
    is_moved = (sources != targets) | (moves.from_places != moves.to_places)
    inside = np.flatnonzero(~comes & ~goes & is_moved)
    places = np.where(comes, moves.to_places, moves.from_places)
    zoned = places.copy()
    for column in stretch.of(_ARRIVED):
        direct = np.fromiter(map(attrgetter("direct"), column.events), np.bool_)
        origins = np.fromiter(map(attrgetter("from_location_id"), column.events), np.int64)
        zoned[_rows_of(moves, column)[direct]] = origins[direct]
    on = days.of(stretch, moves.positions, zoned, moves.effective)
    kinds = np.where(comes, _COMES_IN[moves.from_accounts], _GOES_OUT[moves.to_accounts])
    undoing = moves.reverses != NO_POSITION
    count = len(kinds)
    costs, has_cost = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    references, has_reference = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    bases = np.where(comes & ~undoing, PRESENT, NO_BASIS)
    for rows, unit_costs in stated_of(stretch, moves):
        costs[rows] = shares(unit_costs, moves.quantities[rows])
        has_cost[rows] = True
        bases[rows] = STATED
    waits = undoing.copy()
    for column in stretch.of(_RECEIVED):
        rows = _rows_of(moves, column)
        back = np.flatnonzero((kinds[rows] == RETURN) & ~has_cost[rows])
        waits[rows[back]] = True
        named = [column.events[row].returns for row in back.tolist()]
        _refer(references, has_reference, rows[back], named)
    for column in stretch.of(_ISSUED):
        rows = _rows_of(moves, column)
        named = list(map(attrgetter("reference"), column.events))
        is_sold = kinds[rows] == SALE
        if not is_sold.all():
            named = [name for name, is_so in zip(named, is_sold.tolist(), strict=True) if is_so]
            rows = rows[is_sold]
        _refer(references, has_reference, rows, named)
    origin_kinds = np.where(undoing, kinds, NO_KIND)
    kinds[undoing] = np.where(comes, REVERSAL, REMOVAL)[undoing]
    every: list[Any] = [
        moves.positions, moves.products, places, on, moves.effective, kinds, moves.quantities,
        np.where(comes, targets, sources), costs, has_cost, bases, moves.reverses, origin_kinds,
        np.zeros(count, np.bool_), references, has_reference, waits,
    ]  # fmt: skip
    costed = Costed(*(column[crossing] for column in every))
    moved = moves.only(inside)
    transfers = Transfers(
        moved.products,
        on[inside],
        moved.quantities,
        moved.from_places,
        sources[inside],
        moved.to_places,
        targets[inside],
    )
    return costed, transfers


def stated_of(stretch: Stretch, moves: Moves) -> list[tuple[Ints, Ints]]:
    """Return which movements came in at a stated cost of a unit, and that."""
    found: list[tuple[Ints, Ints]] = []
    for column in stretch.of(_RECEIVED):
        unit_costs: list[Decimal | None] = list(map(attrgetter("unit_cost"), column.events))
        stated = [cost for cost in unit_costs if cost is not None]
        if stated:
            rows = _rows_of(moves, column)
            if len(stated) < len(rows):
                rows = rows[np.array([cost is not None for cost in unit_costs])]
            found.append((rows, in_millionths(stated)))
    return found


def shares(unit_costs: Ints, quantities: Ints) -> Ints:
    """Return `projections.costing.share` of unit costs, each of a quantity, over a million.

    No product of two of them is made, so all is exact as long as 64 bits hold what it comes to.
    """
    cost_wholes, cost_rests = np.divmod(unit_costs, MILLION)
    wholes, rests = np.divmod(quantities, MILLION)
    small = (2 * cost_rests * rests + MILLION) // (2 * MILLION)
    return unit_costs * wholes + cost_wholes * rests + small


def _rows_of(moves: Moves, column: Column) -> Ints:
    """Return where the movements of a column's events are; each of them is one."""
    return np.searchsorted(moves.positions, column.positions)


def _refer(references: Ints, has_reference: Flags, rows: Ints, named: Sequence[str | None]) -> None:
    """Give rows the keys of the references that they name, some of them none."""
    keys = {name: reference_key(name) for name in set(named) if name is not None}
    if keys:
        has = np.array([name is not None for name in named])
        references[rows[has]] = [keys[name] for name in named if name is not None]
        has_reference[rows] = has
