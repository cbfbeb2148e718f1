"""What each event adds to the stock of two times: an entry says what, when, and since when known.

An entry takes a quantity from one figure of an item (a product at a location) and gives it to
another, from a time in the world on (``at``), and is known from a position of the log on. The
figures are the seven accounts of `schemas.stock`, what is reserved, what is incoming, and how
many movements there were. So any figure, as of a time and as known at a position, is the sum of
the entries with both at or below.

A movement is one entry, or one at each of two locations. A claim has an end that may come by
itself: a reservation expires. It is entered as what the event changes of the claim's course over
time: so much more from now on, so much less from the expiry on. The course of a claim is what the
fold of its events that are effective by a time says for that time, so entries add up to what such
a fold gives, whatever is recorded late.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final, NamedTuple, get_args

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from ledger.domain.purchase_order_transitions import INCOMING as INCOMING_STATUSES
from projections.projection import Connection, Statements
from schemas.common import Event
from schemas.purchase import (
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderSent,
)
from schemas.stock import (
    Account,
    ReservationExtended,
    ReservationReleased,
    StockEvent,
    StockIssued,
    StockReserved,
)

FIGURES: Final[tuple[str, ...]] = (*get_args(Account), "reserved", "incoming", "movements")
NOWHERE: Final = len(FIGURES)
"""In place of a figure: the other side of the entry is at another location, or nowhere."""
_CODE: Final[Mapping[str, int]] = {figure: code for code, figure in enumerate(FIGURES)}
_RESERVED: Final = _CODE["reserved"]
_INCOMING: Final = _CODE["incoming"]
_MOVEMENTS: Final = _CODE["movements"]

ENTRY: Final = struct.Struct(">QQBBBQ")
"""``at``, position, from which figure, to which, whether it is one of the movements in the item's
own stream, and how much (in millionths). Packed, entries are in the order of their bytes."""
FOR_EVER: Final = 2**63 - 1

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_MILLION: Final = 1_000_000
_ZERO: Final = Decimal(0)
_SMALLEST: Final = timedelta(microseconds=1)
# A sum may have 30 digits, two more than the default context keeps.
_WIDE: Final = Context(prec=60)

Item = tuple[int, int]
"""A product and a location."""
STOCK_EVENTS: Final[frozenset[type[Event]]] = frozenset(get_args(StockEvent))
PURCHASE_EVENTS: Final[frozenset[type[Event]]] = frozenset(
    {
        PurchaseOrderCreated,
        PurchaseOrderSent,
        PurchaseOrderReceived,
        PurchaseOrderClosed,
        PurchaseOrderCancelled,
    }
)
CLAIMING: Final[frozenset[type[Event]]] = frozenset(
    {StockReserved, ReservationExtended, ReservationReleased, StockIssued}
)
"""The types of events that may name a reservation, by its ``reservation_id``."""


def instant(time: datetime) -> int:
    """Return a time as microseconds since the beginning of the year 1."""
    passed = time - _BEGINNING
    return (passed.days * 86_400 + passed.seconds) * _MILLION + passed.microseconds


def time_of(at: int) -> datetime:
    """Return the time of an instant."""
    return _BEGINNING + at * _SMALLEST


def millionths(quantity: Decimal) -> int:
    """Return a quantity, or a sum of some, in millionths."""
    return int(quantity.scaleb(6, _WIDE))


def quantity_of(millionths: int) -> Decimal:
    """Return so many millionths as a quantity, whatever its length."""
    if not millionths:
        return _ZERO
    whole, rest = divmod(abs(millionths), _MILLION)
    return Decimal(f"{'-' if millionths < 0 else ''}{whole}.{rest:06d}")


class Change(NamedTuple):
    """An entry of an item; ``own`` says that ``at`` is the time of the event itself."""

    at: int
    packed: bytes
    own: bool


class ClaimStep(msgspec.Struct, array_like=True, frozen=True):
    """What an event did to a reservation: so many millionths more, or another expiry."""

    at: int
    quantity: int
    states_expiry: bool = False
    expires: int = FOR_EVER


class PurchaseStep(msgspec.Struct, array_like=True, frozen=True):
    """What an event did to a purchase order: its status from then on, and what came of lines."""

    at: int
    status: str
    received: dict[int, int] = {}


class PurchaseLine(msgspec.Struct, array_like=True, frozen=True):
    """How many millionths of which product a line orders."""

    line_id: int
    product_id: int
    ordered: int


class Purchase(msgspec.Struct, array_like=True):
    """A purchase order that may still bring something."""

    location_id: int
    lines: list[PurchaseLine]
    steps: list[PurchaseStep]


ClaimKey = tuple[int, int, str]

_SQL = Statements(
    claims="""
        SELECT product_id, location_id, reservation_id, steps FROM {schema}.stock_history_claim
        JOIN unnest($2::bigint[], $3::bigint[], $4::text[])
            AS w (product_id, location_id, reservation_id)
            USING (product_id, location_id, reservation_id)
        WHERE tenant_id = $1
    """,
    purchases="""
        SELECT purchase_order_id, content FROM {schema}.stock_history_purchase
        WHERE tenant_id = $1 AND purchase_order_id = ANY ($2::bigint[])
    """,
)
_STEPS: Final = msgspec.json.Decoder(list[ClaimStep])
_PURCHASE: Final = msgspec.json.Decoder(Purchase)


class Unfolded:
    """What a stretch of the log adds: entries by item, in order, and what claims have become.

    ``begun`` has, of each item that stock events touched, when they were effective and where they
    are in the log: those that were earlier than all before them. A claim without steps has ended,
    and so has a purchase order that is None.
    """

    def __init__(self) -> None:
        self.changes: dict[Item, list[Change]] = {}
        self.begun: dict[Item, list[tuple[int, int]]] = {}
        self.claims: dict[ClaimKey, list[ClaimStep]] = {}
        self.purchases: dict[int, Purchase | None] = {}

    def add(self, recorded: RecordedEvent) -> None:
        """Take in the next event."""
        event: Any = recorded.event
        kind = type(recorded.event)
        at = instant(recorded.effective_at)
        if kind in PURCHASE_EVENTS:
            self.purchase(event, at, recorded.position)
            return
        position = recorded.position
        product_id, location_id = event.product_id, event.location_id
        self._begin((product_id, location_id), at, position)
        leg = legs(event)
        if leg is not None:
            from_account, from_place, to_account, to_place, moved = leg
            source, target, quantity = _CODE[from_account], _CODE[to_account], millionths(moved)
            if from_place == to_place:
                item = (product_id, from_place)
                self._enter(item, at, position, source, target, quantity, from_place == location_id)
            else:
                for place, out_of, into in (
                    (from_place, source, NOWHERE), (to_place, NOWHERE, target)
                ):  # fmt: skip
                    item = (product_id, place)
                    self._enter(item, at, position, out_of, into, quantity, place == location_id)
                    self._begin(item, at, position)
        if kind in CLAIMING and event.reservation_id is not None:
            self.claim(event, at, position)

    def _begin(self, item: Item, at: int, position: int) -> None:
        begun = self.begun.get(item)
        if begun is None:
            self.begun[item] = [(at, position)]
        elif at < begun[-1][0]:
            begun.append((at, position))

    def _enter(
        self,
        item: Item,
        at: int,
        position: int,
        source: int,
        target: int,
        quantity: int,
        moves: bool = False,
        own: bool = True,
    ) -> None:
        changes = self.changes.get(item)
        if changes is None:
            changes = self.changes[item] = []
        packed = ENTRY.pack(at, position, source, target, moves, quantity)
        changes.append(Change(at, packed, own))

    def _owe(self, item: Item, figure: int, at: int, position: int, more: int, own: bool) -> None:
        """Enter a difference of a figure that has no other side."""
        if more > 0:
            self._enter(item, at, position, NOWHERE, figure, more, own=own)
        elif more < 0:
            self._enter(item, at, position, figure, NOWHERE, -more, own=own)

    def claim(self, event: Any, at: int, position: int) -> None:
        """Enter what an event of `CLAIMING` changes of the reservation that it names."""
        item = (event.product_id, event.location_id)
        key = (*item, event.reservation_id)
        before = self.claims.get(key, [])
        step = _claim_step(event, at)
        after = [*before, step]
        expiries = [each.expires for each in after if each.states_expiry]
        times = _from(at, (*(each.at for each in after), *expiries))
        for point, more in _differences(_reserved_at, before, after, times):
            self._owe(item, _RESERVED, point, position, more, point == at)
        ended = sum(each.quantity for each in after) <= 0
        self.claims[key] = [] if ended else after

    def purchase(self, event: Any, at: int, position: int) -> None:
        """Enter what an event of `PURCHASE_EVENTS` changes of what is incoming."""
        purchase_order_id: int = event.purchase_order_id
        if isinstance(event, PurchaseOrderCreated):
            lines = [
                PurchaseLine(line.id, line.product_id, millionths(line.quantity))
                for line in event.lines
            ]
            created = PurchaseStep(at, "draft")
            self.purchases[purchase_order_id] = Purchase(event.location_id, lines, [created])
            return
        purchase = self.purchases.get(purchase_order_id)
        if purchase is None:
            return
        before = purchase.steps
        step = _purchase_step(event, at)
        after = [*before, step]
        times = _from(at, (each.at for each in after))
        for line in purchase.lines:
            item = (line.product_id, purchase.location_id)

            def incoming_at(
                steps: Sequence[PurchaseStep], time: int, line: PurchaseLine = line
            ) -> int:
                return _incoming_at(line, steps, time)

            for point, more in _differences(incoming_at, before, after, times):
                self._owe(item, _INCOMING, point, position, more, point == at)
        purchase.steps = after
        if step.status in ("closed", "cancelled"):
            self.purchases[purchase_order_id] = None


def _claim_step(event: Any, at: int) -> ClaimStep:
    if isinstance(event, StockReserved | ReservationExtended):
        expires = FOR_EVER if event.expires_at is None else instant(event.expires_at)
        quantity = millionths(event.quantity) if isinstance(event, StockReserved) else 0
        return ClaimStep(at, quantity, True, expires)
    return ClaimStep(at, -millionths(event.quantity))


def _purchase_step(event: Any, at: int) -> PurchaseStep:
    match event:
        case PurchaseOrderSent():
            return PurchaseStep(at, "sent")
        case PurchaseOrderReceived():
            received: dict[int, int] = {}
            for line in event.lines:
                received[line.line_id] = received.get(line.line_id, 0) + millionths(line.quantity)
            return PurchaseStep(at, "received" if event.complete else "partial", received)
        case PurchaseOrderClosed():
            return PurchaseStep(at, "closed")
        case _:
            return PurchaseStep(at, "cancelled")


def _reserved_at(steps: Sequence[ClaimStep], time: int) -> int:
    """Return what is left at a time of a claim, by its steps that are effective by then."""
    left, expires = 0, FOR_EVER
    for step in steps:
        if step.at <= time:
            left += step.quantity
            if step.states_expiry:
                expires = step.expires
    return left if time < expires else 0


def _incoming_at(line: PurchaseLine, steps: Sequence[PurchaseStep], time: int) -> int:
    """Return what is on its way at a time for a line, by the steps effective by then.

    It is of what `projections.purchase_orders` calls incoming; an order that was not there yet
    brings nothing.
    """
    if steps[0].at > time:
        return 0
    status, left = "", line.ordered
    for step in steps:
        if step.at <= time:
            status = step.status
            left -= step.received.get(line.line_id, 0)
    return max(left, 0) if status in INCOMING_STATUSES else 0


def _from(at: int, times: Iterable[int]) -> list[int]:
    """Return the times from ``at`` on, each once and in order, with ``at`` as the first."""
    return sorted({at, *(time for time in times if at < time < FOR_EVER)})


def _differences(
    course: Callable[[Any, int], int], before: Any, after: Any, times: Iterable[int]
) -> Iterator[tuple[int, int]]:
    """Yield from when on by how much more one course is above another than it was until then."""
    gap = 0
    for time in times:
        now = course(after, time) - course(before, time)
        if now != gap:
            yield time, now - gap
            gap = now


def followed(events: Iterable[Event]) -> tuple[list[ClaimKey], list[int]]:
    """Return the reservations and the purchase orders that events name, each once."""
    keys: dict[ClaimKey, None] = {}
    orders: dict[int, None] = {}
    for event in events:
        named: Any = event
        kind = type(event)
        if kind in CLAIMING:
            if named.reservation_id is not None:
                keys[named.product_id, named.location_id, named.reservation_id] = None
        elif kind in PURCHASE_EVENTS:
            orders[named.purchase_order_id] = None
    return list(keys), list(orders)


async def unfold(
    connection: Connection, schema: str, tenant_id: int, events: Sequence[RecordedEvent]
) -> Unfolded:
    """Return what events add to what the tables in ``schema`` hold."""
    unfolded = Unfolded()
    keys, orders = followed(recorded.event for recorded in events)
    sql = _SQL.of(schema)
    if keys:
        rows = await connection.fetch(sql["claims"], tenant_id, *zip(*keys, strict=True))
        unfolded.claims.update({(a, b, c): _STEPS.decode(steps) for a, b, c, steps in rows})
    if orders:
        rows = await connection.fetch(sql["purchases"], tenant_id, orders)
        unfolded.purchases.update({number: _PURCHASE.decode(text) for number, text in rows})
    for recorded in events:
        unfolded.add(recorded)
    return unfolded


def sums_of(entries: bytes, at: int = FOR_EVER, position: int = FOR_EVER) -> list[int]:
    """Add up entries that are effective by ``at`` and known at ``position``, in millionths.

    One sum a figure, and at the end one for `NOWHERE`.
    """
    sums = [0] * (NOWHERE + 1)
    movements = 0
    for entry_at, known, source, target, moves, quantity in ENTRY.iter_unpack(entries):
        if entry_at <= at and known <= position:
            sums[source] -= quantity
            sums[target] += quantity
            movements += moves
    sums[_MOVEMENTS] = movements * _MILLION
    return sums
