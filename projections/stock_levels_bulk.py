"""Stock levels, movements and holds folded in memory: the quick way into empty tables.

The rules are those of `projections.stock_levels`, gone through forwards, with every balance at
hand: so a movement's row is final when it is met, but for what reverses it.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, get_args

import msgspec
import numpy as np

from ledger.domain.movements import claim_of
from projections.binary_copy import (
    bigints,
    binary_rows,
    decimals,
    instants,
    integer,
    names,
    nulls,
    or_null,
)
from projections.bulk import Copied, CopyRows, instant_field, text_field, text_rows
from projections.log_columns import Ints, Stretch, instant, microseconds
from projections.moves import (
    ACCOUNTS,
    MILLIONTHS,
    MILLIONTHS_MAX,
    NO_POSITION,
    Moves,
    Slots,
    Sums,
    Total,
    one_in_millionths,
)
from projections.projection import Connection
from schemas.common import Event
from schemas.stock import (
    ReservationExtended,
    ReservationReleased,
    StockEvent,
    StockIssued,
    StockReserved,
)

RESERVED: Final = len(ACCOUNTS)
MOVEMENTS: Final = RESERVED + 1
_VERSION: Final = RESERVED + 2
POSITION: Final = RESERVED + 3
_WIDTH: Final = POSITION + 1
_STOCK: Final[frozenset[type[Event]]] = frozenset(get_args(StockEvent))
_CLAIMING: Final[frozenset[type[Event]]] = frozenset(
    {StockReserved, ReservationExtended, ReservationReleased, StockIssued}
)

_MARK_REVERSED: Final = """
UPDATE {schema}.movement m SET reversed_by = r.reversed_by
FROM unnest($2::bigint[], $3::bigint[]) AS r (reversed, reversed_by)
WHERE m.tenant_id = $1 AND m.position = r.reversed
"""


class _Hold(msgspec.Struct):
    reserved: Decimal
    left: Decimal
    owner: str | None
    expires_at: datetime | None
    created_at: datetime
    position: int


class Levels:
    """One tenant's levels and open holds, in memory."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._slots = Slots()
        self._levels = Sums(_WIDTH)
        self._holds: dict[tuple[int, int, str], _Hold] = {}
        self._total = Total()
        self._claimed = 0.0

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._slots.pairs) + len(self._holds)

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether every balance would still be held exactly, and what is reserved."""
        claimed = self._claimed + _claimed(stretch)
        return self._total.takes(moves) and claimed * MILLIONTHS < MILLIONTHS_MAX

    def _follow(self, stretch: Stretch, moves: Moves) -> tuple[Ints, Ints]:
        """Fold all but the balances of accounts.

        Return what these change by, in order, each with the index of its balance in `_balances`.
        """
        self._total.add(moves)
        self._claimed += _claimed(stretch)
        self._touch(stretch)
        self._claim(stretch)
        own = self._slots.of(moves.products, moves.locations)
        sources = _slots_at(self._slots, moves, moves.from_places, own)
        targets = _slots_at(self._slots, moves, moves.to_places, own)
        levels = self._levels.reach(len(self._slots.pairs))
        np.add.at(levels[:, MOVEMENTS], own, 1)
        for slots in (sources, targets):
            np.maximum.at(levels[:, POSITION], slots, moves.positions)
        # What leaves and what arrives, in turn, each by its place and account.
        keys = np.empty(2 * len(own), np.int64)
        keys[0::2] = sources * _WIDTH + moves.from_accounts
        keys[1::2] = targets * _WIDTH + moves.to_accounts
        changes = np.empty(2 * len(own), np.int64)
        changes[0::2] = -moves.quantities
        changes[1::2] = moves.quantities
        return keys, changes

    @property
    def _balances(self) -> Ints:
        """All levels' figures, one level's after the other's."""
        return self._levels.rows.reshape(-1)

    def _touch(self, stretch: Stretch) -> None:
        """Have the levels that events are of, with the last version and position."""
        for column in stretch.of(_STOCK):
            count = len(column.events)
            products = np.fromiter((e.product_id for e in column.events), np.int64, count)
            locations = np.fromiter((e.location_id for e in column.events), np.int64, count)
            own = self._slots.of(products, locations)
            levels = self._levels.reach(len(self._slots.pairs))
            np.maximum.at(levels[:, _VERSION], own, column.versions)
            np.maximum.at(levels[:, POSITION], own, column.positions)

    def _claim(self, stretch: Stretch) -> None:
        """Follow the holds, event by event: there are few, and each has a name."""
        claiming: list[tuple[int, Any, int]] = []
        for column in stretch.of(_CLAIMING):
            claiming += [
                (position, event, recorded)
                for position, event, recorded in zip(
                    column.positions.tolist(),
                    column.events,
                    column.recorded.tolist(),
                    strict=True,
                )
                if event.reservation_id is not None
            ]
        # One position has one event.
        for position, event, recorded in sorted(claiming, key=_first):
            key = event.product_id, event.location_id, event.reservation_id
            if isinstance(event, ReservationExtended):
                if hold := self._holds.get(key):
                    hold.expires_at = event.expires_at
                continue
            claim = claim_of(event)
            assert claim is not None, "what names a reservation changes it"
            change = claim[1]
            own = self._slots.slot(key[:2])
            levels = self._levels.reach(len(self._slots.pairs))
            levels[own, RESERVED] += one_in_millionths(change)
            if isinstance(event, StockReserved):
                self._holds[key] = _Hold(
                    change, change, event.owner, event.expires_at, instant(recorded), position
                )
            elif hold := self._holds.get(key):
                hold.left += change
                if hold.left <= 0:
                    del self._holds[key]


class StockLevelsBulk(Levels):
    """One tenant's levels and open holds; movements are given out as they are met."""

    def __init__(self, tenant_id: int) -> None:
        super().__init__(tenant_id)
        self._reversed: list[int] = []
        self._reversed_by: list[int] = []

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return super().held + len(self._reversed)

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; return their movements."""
        keys, changes = self._follow(stretch, moves)
        if not len(keys):
            return {}
        balances = running(self._balances, keys, changes)
        undoing = moves.reverses != NO_POSITION
        self._reversed += moves.reverses[undoing].tolist()
        self._reversed_by += moves.positions[undoing].tolist()
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(moves.positions),
            bigints(moves.products),
            bigints(moves.locations),
            names(moves.type_names, moves.types),
            names(ACCOUNTS, moves.from_accounts),
            bigints(moves.from_places),
            names(ACCOUNTS, moves.to_accounts),
            bigints(moves.to_places),
            decimals(moves.quantities),
            decimals(balances[0::2]),
            decimals(balances[1::2]),
            instants(moves.effective),
            instants(moves.recorded),
            or_null(bigints(moves.reverses), ~undoing),
            nulls(),
        )
        return {"movement": Copied(rows)}

    def finish(self) -> CopyRows:
        """Return the levels and the holds."""
        expiries: dict[int, datetime] = {}
        holds: list[str] = []
        for (product_id, location_id, name), hold in self._holds.items():
            slot = self._slots.slot((product_id, location_id))
            expires_at = hold.expires_at
            if expires_at is not None and expires_at <= expiries.get(slot, expires_at):
                expiries[slot] = expires_at
            holds.append(
                f"{self._tenant_id}\t{product_id}\t{location_id}\t{text_field(name)}\t"
                f"{hold.reserved}\t{hold.left}\t{text_field(hold.owner)}\t"
                f"{instant_field(expires_at)}\t{instant_field(hold.created_at)}\t{hold.position}\n"
            )
        return {"stock_level": self._level_rows(expiries), "reservation": text_rows(holds)}

    def _level_rows(self, expiries: Mapping[int, datetime]) -> Copied:
        products, locations = self._slots.columns()
        levels = self._levels.rows[: len(products)]
        expiring = np.zeros(len(products), np.int64)
        for slot, expires_at in expiries.items():
            expiring[slot] = microseconds(expires_at)
        never = np.ones(len(products), np.bool_)
        never[list(expiries)] = False
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(products),
            bigints(locations),
            *(decimals(levels[:, sums]) for sums in range(RESERVED + 1)),
            or_null(instants(expiring), never),
            *(bigints(levels[:, count]) for count in (MOVEMENTS, _VERSION, POSITION)),
        )
        return Copied(rows)

    async def settle(self, connection: Connection, schema: str) -> None:
        """Mark the movements that were reversed later."""
        if self._reversed:
            statement = _MARK_REVERSED.replace("{schema}", schema)
            await connection.execute(statement, self._tenant_id, self._reversed, self._reversed_by)


def _claimed(stretch: Stretch) -> float:
    """Return how many units were reserved in all; nothing that is reserved comes to more."""
    columns = stretch.of({StockReserved})
    return sum(float(event.quantity) for column in columns for event in column.events)


def _slots_at(slots: Slots, moves: Moves, places: Ints, own: Ints) -> Ints:
    """Return the slots of the movements' products at places; most are the movements' own."""
    elsewhere = np.flatnonzero(places != moves.locations)
    if not len(elsewhere):
        return own
    found = own.copy()
    found[elsewhere] = slots.of(moves.products[elsewhere], places[elsewhere])
    return found


def running(balances: Ints, keys: Ints, changes: Ints) -> Ints:
    """Add changes to balances, in order; return each one's balance after it.

    The sum over all keys may go round beyond 64 bits; the differences are right all the same.
    """
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_changes = keys[order], changes[order]
    sums = np.cumsum(sorted_changes)
    firsts = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
    counts = np.diff(firsts, append=len(keys))
    before = balances[sorted_keys[firsts]] - (sums[firsts] - sorted_changes[firsts])
    sums += np.repeat(before, counts)
    balances[sorted_keys[firsts]] = sums[firsts + counts - 1]
    after = np.empty_like(sums)
    after[order] = sums
    return after


def _first(claim: tuple[int, Any, int]) -> int:
    return claim[0]
