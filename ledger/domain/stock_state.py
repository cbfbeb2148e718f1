"""What decisions about a product at a location need to know, and how its events make it.

Accounts that nothing is decided on (supplier, customer, adjustment, loss) are left to the read
models; `ledger.domain.movements` says what each event moves between which.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

import msgspec

from ledger.domain import layered
from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import QUARANTINE, UNRESTRICTED, legs, parts_of
from schemas.common import Event
from schemas.stock import (
    CountVarianceRevised,
    LotPart,
    MovementReversed,
    QuarantineReleased,
    ReservationExtended,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)

ZERO: Final = Decimal(0)

_expires_at = itemgetter(0)


def stream(product_id: int, location_id: int) -> str:
    """Return the name of the stream of a product at a location."""
    return f"stock-{product_id}-{location_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 3


class Hold(msgspec.Struct, frozen=True, gc=False):
    """What is left of a claim. It is dead from ``expires_at`` on, whether released or not."""

    quantity: Decimal
    since: datetime
    expires_at: datetime | None = None
    owner: str | None = None


Expiry = tuple[datetime, str]
"""When a hold expires, and its reservation_id."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """What is left on its way here of a transfer, and since when all of that has been."""

    quantity: Decimal
    since: datetime
    from_location_id: int
    lots: tuple[LotPart, ...] = ()
    serials: tuple[int, ...] = ()


class LotBalance(msgspec.Struct, frozen=True, gc=False):
    """What there is of a lot here, and when the first of it came in."""

    unrestricted: Decimal
    quarantine: Decimal
    since: datetime


_NO_HOLDS: Final[dict[str, Hold]] = {}
_NONE_CHANGED: Final[dict[str, Hold | None]] = {}
_NOTHING_INCOMING: Final[dict[int, Incoming]] = {}
_NONE_REVERSED: Final[frozenset[int]] = frozenset()
_NO_LOTS: Final[dict[int, LotBalance]] = {}


class StockState(msgspec.Struct, frozen=True, gc=False):
    """A product at a location. The ids are 0 before the first event.

    ``reserved`` is the sum of all holds, expired ones included until their release is
    recorded. There may be thousands, so they are kept in layers (`ledger.domain.layered`):
    ``settled_holds`` and, over these, ``changed_holds``; and so are ``expiries``, those that do
    expire, first to expire first: the dead are found without a look at the living.
    ``last_effective_at`` and
    ``last_count_at`` are the latest effective times of any event and of a count (withdrawn
    ones included): a command effective at or after the first needs no look at the past.
    ``reversed`` holds the positions of this stream's movements that have been undone.
    ``lots`` has what is here of each known lot, by its id, and under `NUMBERED` the units whose
    serial numbers are known: what it does not cover of a balance is unassigned.
    """

    product_id: int = 0
    location_id: int = 0
    unrestricted: Decimal = ZERO
    quarantine: Decimal = ZERO
    reserved: Decimal = ZERO
    last_effective_at: datetime | None = None
    last_count_at: datetime | None = None
    expiries: layered.Chunks[Expiry] = ()
    settled_holds: dict[str, Hold] = msgspec.field(default_factory=lambda: _NO_HOLDS)
    changed_holds: dict[str, Hold | None] = msgspec.field(default_factory=lambda: _NONE_CHANGED)
    incoming: dict[int, Incoming] = msgspec.field(default_factory=lambda: _NOTHING_INCOMING)
    reversed: frozenset[int] = _NONE_REVERSED
    lots: dict[int, LotBalance] = msgspec.field(default_factory=lambda: _NO_LOTS)

    @property
    def on_hand(self) -> Decimal:
        """What is on the premises, blocked or not."""
        return self.unrestricted + self.quarantine

    @property
    def in_transit(self) -> Decimal:
        """What is on its way here."""
        return sum((transfer.quantity for transfer in self.incoming.values()), ZERO)

    @property
    def holds(self) -> dict[str, Hold]:
        """All holds by name: a new dict each time, so ask for one with `hold`."""
        return layered.merged(self.settled_holds, self.changed_holds)

    def hold(self, reservation_id: str) -> Hold | None:
        """Return a hold by its name, expired or not; None where there is none."""
        return layered.get(self.settled_holds, self.changed_holds, reservation_id)

    def has_dead_at(self, now: datetime) -> bool:
        """Tell whether `dead_at` finds any."""
        return bool(self.expiries) and self.expiries[0][0][0] <= now

    def dead_at(self, now: datetime) -> tuple[Expiry, ...]:
        """Return the holds that have expired by ``now`` and are not yet recorded as released."""
        return layered.members_up_to(self.expiries, now, _expires_at)

    def reserved_at(self, now: datetime) -> Decimal:
        """Return what is reserved by holds that have not expired by ``now``."""
        reserved = self.reserved
        for _, reservation_id in self.dead_at(now):
            reserved -= self.quantity_held(reservation_id)
        return reserved

    def quantity_held(self, reservation_id: str) -> Decimal:
        """Return what a hold that there is claims."""
        return _hold(self, reservation_id).quantity

    def available_at(self, now: datetime) -> Decimal:
        """Return what may be issued or reserved at ``now``."""
        return self.unrestricted - self.reserved_at(now)


INITIAL: Final = StockState()


def has_stock(state: StockState) -> bool:
    """Return whether anything is on hand, in transit or reserved."""
    return bool(state.unrestricted or state.quarantine or state.incoming or state.reserved)


def evolve(state: StockState, recorded: RecordedEvent) -> StockState:
    """Return the state after an event."""
    event = recorded.event
    at = recorded.effective_at
    last = state.last_effective_at
    if last is None or at > last:
        last = at
    return FOLDS[type(event)](state, event, at, last)


def _with_parts(state: StockState, event: Any, at: datetime) -> StockState:
    """Return the state with the lots that a movement was of."""
    leg = legs(event)
    assert leg is not None, "what has parts moves something"
    here = state.location_id
    lots = dict(state.lots)
    for lot_id, quantity in parts_of(event):
        before = lots.get(lot_id)
        unrestricted, quarantine, since = ZERO, ZERO, at
        if before is not None:
            unrestricted, quarantine, since = before.unrestricted, before.quarantine, before.since
        if leg.from_location_id == here:
            if leg.from_account == UNRESTRICTED:
                unrestricted -= quantity
            elif leg.from_account == QUARANTINE:
                quarantine -= quantity
        if leg.to_location_id == here:
            if leg.to_account == UNRESTRICTED:
                unrestricted += quantity
            elif leg.to_account == QUARANTINE:
                quarantine += quantity
        if unrestricted or quarantine:
            lots[lot_id] = LotBalance(unrestricted, quarantine, min(since, at))
        else:
            lots.pop(lot_id, None)
    return msgspec.structs.replace(state, lots=lots)


_Fold = Callable[[StockState, Any, datetime, datetime], StockState]


def _moved(
    state: StockState,
    event: Any,
    last: datetime,
    unrestricted: Decimal,
    quarantine: Decimal,
) -> StockState:
    """Return the state with these balances, and all else as it was."""
    return StockState(
        event.product_id,
        event.location_id,
        unrestricted,
        quarantine,
        state.reserved,
        last,
        state.last_count_at,
        state.expiries,
        state.settled_holds,
        state.changed_holds,
        state.incoming,
        state.reversed,
        state.lots,
    )


def _raised(
    state: StockState, event: StockReceived | StockAdjusted, at: datetime, last: datetime
) -> StockState:
    after = StockState(
        event.product_id,
        event.location_id,
        state.unrestricted + event.quantity,
        state.quarantine,
        state.reserved,
        last,
        state.last_count_at,
        state.expiries,
        state.settled_holds,
        state.changed_holds,
        state.incoming,
        state.reversed,
        state.lots,
    )
    return _with_parts(after, event, at) if event.lots or event.serials else after


def _issued(state: StockState, event: StockIssued, at: datetime, last: datetime) -> StockState:
    after = _moved(state, event, last, state.unrestricted - event.quantity, state.quarantine)
    if event.lots or event.serials:
        after = _with_parts(after, event, at)
    if event.reservation_id is None:
        return after
    return _less_held(after, event.reservation_id, event.quantity)


def _counted(state: StockState, event: StockCounted, at: datetime, last: datetime) -> StockState:
    after = _moved(state, event, last, state.unrestricted + event.variance, state.quarantine)
    if event.lots:
        after = _with_parts(after, event, at)
    if state.last_count_at is not None and state.last_count_at >= at:
        return after
    return msgspec.structs.replace(after, last_count_at=at)


def _revised(
    state: StockState, event: CountVarianceRevised, at: datetime, last: datetime
) -> StockState:
    after = _moved(state, event, last, state.unrestricted + event.quantity, state.quarantine)
    return _with_parts(after, event, at) if event.lots else after


def _shipped(state: StockState, event: TransferShipped, at: datetime, last: datetime) -> StockState:
    after = _moved(state, event, last, state.unrestricted - event.quantity, state.quarantine)
    return _with_parts(after, event, at) if event.lots or event.serials else after


def _expected(
    state: StockState, event: TransferExpected, at: datetime, last: datetime
) -> StockState:
    """Take so much of a transfer as on its way, whatever was expected of it before."""
    after = _moved(state, event, last, state.unrestricted, state.quarantine)
    before = state.incoming.get(event.transfer_id)
    since = at if before is None or before.since < at else before.since
    incoming = dict(state.incoming)
    if event.quantity:
        incoming[event.transfer_id] = Incoming(
            event.quantity, since, event.from_location_id, event.lots, event.serials
        )
    else:
        incoming.pop(event.transfer_id, None)
    return msgspec.structs.replace(after, incoming=incoming)


def _arrived(
    state: StockState, event: TransferReceived, at: datetime, last: datetime
) -> StockState:
    after = _moved(state, event, last, state.unrestricted + event.quantity, state.quarantine)
    if event.lots or event.serials:
        after = _with_parts(after, event, at)
    return after if event.direct else _less_incoming(after, event)


def _lost(state: StockState, event: TransferLost, at: datetime, last: datetime) -> StockState:
    return _less_incoming(_moved(state, event, last, state.unrestricted, state.quarantine), event)


def _less_incoming(state: StockState, event: TransferReceived | TransferLost) -> StockState:
    incoming = dict(state.incoming)
    transfer = incoming.pop(event.transfer_id)
    left = transfer.quantity - event.quantity
    if left:
        gone = frozenset(event.serials)
        incoming[event.transfer_id] = msgspec.structs.replace(
            transfer,
            quantity=left,
            lots=less_lots(transfer.lots, event.lots),
            serials=tuple(each for each in transfer.serials if each not in gone),
        )
    return msgspec.structs.replace(state, incoming=incoming)


def less_lots(parts: tuple[LotPart, ...], taken: tuple[LotPart, ...]) -> tuple[LotPart, ...]:
    """Return what is left of parts once others are taken from them, in their order."""
    if not taken:
        return parts
    gone = {part.lot_id: part.quantity for part in taken}
    return tuple(
        LotPart(lot_id=part.lot_id, quantity=left)
        for part in parts
        if (left := part.quantity - gone.get(part.lot_id, ZERO)) > 0
    )


def more_lots(parts: tuple[LotPart, ...], added: tuple[LotPart, ...]) -> tuple[LotPart, ...]:
    """Return parts with others added to them."""
    total: dict[int, Decimal] = {}
    for part in (*parts, *added):
        total[part.lot_id] = total.get(part.lot_id, ZERO) + part.quantity
    return tuple(LotPart(lot_id=lot_id, quantity=each) for lot_id, each in total.items())


def _reserved(state: StockState, event: StockReserved, at: datetime, last: datetime) -> StockState:
    hold = Hold(event.quantity, at, event.expires_at, event.owner)
    name = event.reservation_id
    settled, changed = layered.put(state.settled_holds, state.changed_holds, name, hold)
    return StockState(
        event.product_id,
        event.location_id,
        state.unrestricted,
        state.quarantine,
        state.reserved + event.quantity,
        last,
        state.last_count_at,
        _with_expiry(state.expiries, hold, name),
        settled,
        changed,
        state.incoming,
        state.reversed,
        state.lots,
    )


def _extended(
    state: StockState, event: ReservationExtended, at: datetime, last: datetime
) -> StockState:
    after = _moved(state, event, last, state.unrestricted, state.quarantine)
    name = event.reservation_id
    before = _hold(state, name)
    hold = msgspec.structs.replace(before, expires_at=event.expires_at)
    settled, changed = layered.put(state.settled_holds, state.changed_holds, name, hold)
    return msgspec.structs.replace(
        after,
        settled_holds=settled,
        changed_holds=changed,
        expiries=_with_expiry(_without_expiry(state.expiries, before, name), hold, name),
    )


def _given_back(
    state: StockState, event: ReservationReleased, at: datetime, last: datetime
) -> StockState:
    after = _moved(state, event, last, state.unrestricted, state.quarantine)
    return _less_held(after, event.reservation_id, event.quantity)


def _less_held(state: StockState, reservation_id: str, quantity: Decimal) -> StockState:
    hold = _hold(state, reservation_id)
    left = hold.quantity - quantity
    expiries = state.expiries
    rest: Hold | None = None
    if left:
        rest = msgspec.structs.replace(hold, quantity=left)
    else:
        expiries = _without_expiry(expiries, hold, reservation_id)
    settled, changed = layered.put(state.settled_holds, state.changed_holds, reservation_id, rest)
    return msgspec.structs.replace(
        state,
        reserved=state.reserved - quantity,
        settled_holds=settled,
        changed_holds=changed,
        expiries=expiries,
    )


def _hold(state: StockState, reservation_id: str) -> Hold:
    hold = state.hold(reservation_id)
    assert hold is not None, f"there is no hold {reservation_id!r}"
    return hold


def _with_expiry(
    expiries: layered.Chunks[Expiry], hold: Hold, reservation_id: str
) -> layered.Chunks[Expiry]:
    if hold.expires_at is None:
        return expiries
    return layered.with_member(expiries, (hold.expires_at, reservation_id))


def _without_expiry(
    expiries: layered.Chunks[Expiry], hold: Hold, reservation_id: str
) -> layered.Chunks[Expiry]:
    if hold.expires_at is None:
        return expiries
    return layered.without_member(expiries, (hold.expires_at, reservation_id))


def _quarantined(
    state: StockState, event: StockQuarantined, at: datetime, last: datetime
) -> StockState:
    quantity = event.quantity
    after = _moved(state, event, last, state.unrestricted - quantity, state.quarantine + quantity)
    return _with_parts(after, event, at) if event.lots or event.serials else after


def _unblocked(
    state: StockState, event: QuarantineReleased, at: datetime, last: datetime
) -> StockState:
    unrestricted = state.unrestricted
    if event.disposition == "restock":
        unrestricted += event.quantity
    after = _moved(state, event, last, unrestricted, state.quarantine - event.quantity)
    return _with_parts(after, event, at) if event.lots or event.serials else after


def _reversed(
    state: StockState, event: MovementReversed, at: datetime, last: datetime
) -> StockState:
    balances = {"unrestricted": state.unrestricted, "quarantine": state.quarantine}
    if event.from_location_id == event.location_id and event.from_account in balances:
        balances[event.from_account] -= event.quantity
    if event.to_location_id == event.location_id and event.to_account in balances:
        balances[event.to_account] += event.quantity
    after = _moved(state, event, last, balances["unrestricted"], balances["quarantine"])
    if event.lots or event.serials:
        after = _with_parts(after, event, at)
    return msgspec.structs.replace(after, reversed=state.reversed | {event.reversed_position})


FOLDS: Final[Mapping[type[Event], _Fold]] = {
    StockReceived: _raised,
    StockIssued: _issued,
    StockAdjusted: _raised,
    StockCounted: _counted,
    CountVarianceRevised: _revised,
    TransferShipped: _shipped,
    TransferExpected: _expected,
    TransferReceived: _arrived,
    TransferLost: _lost,
    StockReserved: _reserved,
    ReservationExtended: _extended,
    ReservationReleased: _given_back,
    StockQuarantined: _quarantined,
    QuarantineReleased: _unblocked,
    MovementReversed: _reversed,
}
