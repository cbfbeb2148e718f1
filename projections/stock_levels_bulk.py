"""Stock levels, movements and holds folded in memory: the quick way into empty tables.

The rules are those of `projections.stock_levels`, gone through forwards, with every balance at
hand: so a movement's row is final when it is met, but for what reverses it.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast, get_args

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from projections.bulk import CopyRows, text_field
from projections.projection import Connection
from schemas.common import Event
from schemas.stock import (
    Account,
    MovementReversed,
    ReservationExtended,
    ReservationReleased,
    StockIssued,
    StockReserved,
)

_ACCOUNTS: Final[tuple[str, ...]] = get_args(Account)
_INDEX: Final = {account: index for index, account in enumerate(_ACCOUNTS)}
_RESERVED: Final = len(_ACCOUNTS)
_MOVEMENTS: Final = _RESERVED + 1
_VERSION: Final = _RESERVED + 2
_POSITION: Final = _RESERVED + 3
_Level = list[Any]
_NEW: Final[_Level] = [0] * (_POSITION + 1)
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


class StockLevelsBulk:
    """One tenant's levels and open holds; movements are given out as they are met."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._levels: dict[tuple[int, int], _Level] = {}
        self._holds: dict[tuple[int, int, str], _Hold] = {}
        self._reversals: list[tuple[int, int]] = []

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._levels) + len(self._holds) + len(self._reversals)

    def add(self, events: Sequence[RecordedEvent]) -> CopyRows:
        """Fold the next events; return their movements."""
        levels, index, tenant_id = self._levels, _INDEX, self._tenant_id
        moved: list[str] = []
        recorded_last: datetime | None = None
        recorded_text = ""
        for position, _, version, any_event, effective_at, recorded_at in events:
            event = cast(Any, any_event)
            kind: type[Event] = type(any_event)
            product_id, location_id = event.product_id, event.location_id
            level = levels.get((product_id, location_id))
            if level is None:
                level = levels[product_id, location_id] = _NEW.copy()
            if version > level[_VERSION]:
                level[_VERSION] = version
            level[_POSITION] = position
            if kind in _CLAIMING and event.reservation_id is not None:
                self._claim(event, kind, level, position, recorded_at)
            leg = legs(any_event)
            if leg is None:
                continue
            from_account, from_place, to_account, to_place, quantity = leg
            source = (
                level if from_place == location_id else self._at(product_id, from_place, position)
            )
            target = level if to_place == location_id else self._at(product_id, to_place, position)
            reverses = r"\N"
            if kind is MovementReversed:
                reverses = str(event.reversed_position)
                self._reversals.append((event.reversed_position, position))
            if recorded_at != recorded_last:
                recorded_last, recorded_text = recorded_at, recorded_at.isoformat()
            if effective_at is recorded_at or effective_at == recorded_at:
                effective_text = recorded_text
            else:
                effective_text = effective_at.isoformat()
            from_index, to_index = index[from_account], index[to_account]
            from_balance = source[from_index] = source[from_index] - quantity
            to_balance = target[to_index] = target[to_index] + quantity
            level[_MOVEMENTS] += 1
            moved.append(
                f"{tenant_id}\t{position}\t{product_id}\t{location_id}\t{kind.TYPE}\t"
                f"{from_account}\t{from_place}\t{to_account}\t{to_place}\t{quantity}\t"
                f"{from_balance}\t{to_balance}\t{effective_text}\t{recorded_text}\t"
                f"{reverses}\t\\N"
            )
        return {"movement": moved}

    def _at(self, product_id: int, location_id: int, position: int) -> _Level:
        level = self._levels.get((product_id, location_id))
        if level is None:
            level = self._levels[product_id, location_id] = _NEW.copy()
        level[_POSITION] = position
        return level

    def _claim(
        self, event: Any, kind: type[Event], level: _Level, position: int, recorded_at: datetime
    ) -> None:
        key = event.product_id, event.location_id, event.reservation_id
        if kind is StockReserved:
            level[_RESERVED] += event.quantity
            self._holds[key] = _Hold(
                event.quantity, event.quantity, event.owner, event.expires_at, recorded_at, position
            )
            return
        hold = self._holds.get(key)
        if kind is ReservationExtended:
            if hold is not None:
                hold.expires_at = event.expires_at
            return
        level[_RESERVED] -= event.quantity
        if hold is not None:
            hold.left -= event.quantity
            if hold.left <= 0:
                del self._holds[key]

    def finish(self) -> CopyRows:
        """Return the levels and the holds."""
        tenant_id = self._tenant_id
        expiries: dict[tuple[int, int], datetime] = {}
        holds: list[str] = []
        for (product_id, location_id, name), hold in self._holds.items():
            place = product_id, location_id
            expires_at = hold.expires_at
            if expires_at is not None and expires_at <= expiries.get(place, expires_at):
                expiries[place] = expires_at
            holds.append(
                f"{tenant_id}\t{product_id}\t{location_id}\t{text_field(name)}\t{hold.reserved}\t"
                f"{hold.left}\t{text_field(hold.owner)}\t{_instant(expires_at)}\t"
                f"{_instant(hold.created_at)}\t{hold.position}"
            )
        levels = [
            f"{tenant_id}\t{product_id}\t{location_id}\t{a}\t{b}\t{c}\t{d}\t{e}\t{f}\t{g}\t"
            f"{reserved}\t{_instant(expiries.get((product_id, location_id)))}\t"
            f"{movements}\t{version}\t{position}"
            for (product_id, location_id), (
                a, b, c, d, e, f, g, reserved, movements, version, position
            ) in self._levels.items()
        ]  # fmt: skip
        self._levels, self._holds = {}, {}
        return {"stock_level": levels, "reservation": holds}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Mark the movements that were reversed later."""
        if self._reversals:
            statement = _MARK_REVERSED.replace("{schema}", schema)
            await connection.execute(
                statement, self._tenant_id, *zip(*self._reversals, strict=True)
            )


def _instant(at: datetime | None) -> str:
    return r"\N" if at is None else at.isoformat()
