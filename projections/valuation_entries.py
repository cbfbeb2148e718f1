"""What each event is to the valuation: an entry, or a transfer, which changes no cost."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ledger.domain.books import day_in
from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import Leg, legs
from projections.costing import INBOUND, MILLION, REMOVAL, REVALUATION, Movement, Place, share
from schemas.books import LandedCostAdded, StockRevalued
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import MovementReversed, StockIssued, StockReceived, TransferReceived

ON_HAND: Final = "on_hand"
IN_TRANSIT: Final = "in_transit"
STANDARD: Final = "standard"
LANDED: Final = "landed"
REVERSAL: Final = "reversal"
NO_PLACE: Final = 0
"""The location of what is of a product everywhere."""

OWNED: Final = {"unrestricted": ON_HAND, "quarantine": ON_HAND, "in_transit": IN_TRANSIT}
COMES_IN: Final = {
    "supplier": "receipt",
    "customer": "return",
    "adjustment": "found",
    "loss": "found",
}
GOES_OUT: Final = {
    "supplier": "supplier_return",
    "customer": "sale",
    "adjustment": "missed",
    "loss": "loss",
}

Transferred = Callable[[int, date, int, str, int], None]
"""Told of a product, day, location, ``on_hand`` or ``in_transit``, and the change of it."""


class Entry(msgspec.Struct):
    """What one event is to the valuation; what waits for an answer is completed by it."""

    product_id: int
    location_id: int
    place: Place
    kind: str
    quantity: int = 0
    cost: int | None = None
    landed: int = 0
    basis: str | None = None
    origin: int | None = None
    origin_kind: str | None = None
    origin_basis: str | None = None
    reference_key: int | None = None
    account: str = ON_HAND
    unit_cost: int | None = None
    waits: bool = False

    def movement(self) -> Movement:
        """Return it as the core of costing sees it."""
        return Movement(
            self.place,
            self.kind,
            self.quantity,
            self.cost,
            self.landed,
            self.origin,
            self.origin_kind,
        )


class EventReader:
    """Reads events in the order of the log, with the zones as they were recorded by then."""

    def __init__(self, zones: dict[int, str], time_zone: str, transferred: Transferred) -> None:
        """Take the zones of places, that of the books, and who is told of transfers."""
        self.zones = zones
        self.rezoned: set[int] = set()
        self._time_zone = time_zone
        self._transferred = transferred

    def read(self, recorded: RecordedEvent) -> Entry | None:
        """Return what an event is to the valuation, None for nothing."""
        leg = legs(recorded.event)
        return self._without_goods(recorded) if leg is None else self._with_goods(recorded, leg)

    def _without_goods(self, recorded: RecordedEvent) -> Entry | None:
        event = recorded.event
        match event:
            case LocationOpened() | LocationRevised():
                if self.zones.get(event.location_id) != event.time_zone:
                    self.zones[event.location_id] = event.time_zone
                    self.rezoned.add(event.location_id)
                return None
            case ProductRegistered() | ProductRevised():
                price = event.cost_price
                at, kind = recorded.recorded_at, STANDARD
                unit_cost = None if price is None else millionths(price)
            case StockRevalued():
                at, kind = recorded.effective_at, REVALUATION
                unit_cost = millionths(event.unit_cost)
            case LandedCostAdded():
                place = Place(date.min, recorded.effective_at, recorded.position)
                return Entry(
                    event.product_id,
                    event.location_id,
                    place,
                    LANDED,
                    landed=millionths(event.amount),
                    origin=event.position,
                    waits=True,
                )
            case _:
                return None
        place = Place(day_in(self._time_zone, at), at, recorded.position)
        return Entry(event.product_id, NO_PLACE, place, kind, cost=unit_cost, unit_cost=unit_cost)

    def _with_goods(self, recorded: RecordedEvent, leg: Leg) -> Entry | None:
        event: Any = recorded.event
        from_account, from_place, to_account, to_place, amount = leg
        source, target = OWNED.get(from_account), OWNED.get(to_account)
        if source is None:
            if target is None:
                return None
            location_id, kind, account = to_place, COMES_IN[from_account], target
        elif target is None:
            location_id, kind, account = from_place, GOES_OUT[to_account], source
        else:
            if source != target or from_place != to_place:
                self._transfer(recorded, leg, source, target)
            return None
        quantity = millionths(amount)
        at = recorded.effective_at
        place = Place(self._day(location_id, at), at, recorded.position)
        entry = Entry(event.product_id, location_id, place, kind, quantity, account=account)
        match event:
            case MovementReversed():
                entry.kind = REVERSAL if kind in INBOUND else REMOVAL
                entry.origin_kind = kind
                entry.origin = event.reversed_position
                entry.waits = True
            case StockReceived():
                if event.unit_cost is not None:
                    entry.unit_cost = millionths(event.unit_cost)
                    entry.cost = share(entry.unit_cost, quantity, MILLION)
                    entry.basis = "stated"
                elif kind == "return":
                    if event.returns is not None:
                        entry.reference_key = reference_key(event.returns)
                    entry.waits = True
                else:
                    entry.basis = "present"
            case StockIssued():
                if kind == "sale" and event.reference is not None:
                    entry.reference_key = reference_key(event.reference)
            case _ if kind in INBOUND:
                entry.basis = "present"
            case _:
                pass
        return entry

    def _transfer(self, recorded: RecordedEvent, leg: Leg, source: str, target: str) -> None:
        """Move goods between places. Both sides are of one day, as the pool stays the same."""
        event: Any = recorded.event
        zone_of = leg.from_location_id
        if isinstance(event, TransferReceived) and event.direct:
            zone_of = event.from_location_id
        day = self._day(zone_of, recorded.effective_at)
        quantity = millionths(leg.quantity)
        self._transferred(event.product_id, day, leg.from_location_id, source, -quantity)
        self._transferred(event.product_id, day, leg.to_location_id, target, quantity)

    def _day(self, location_id: int, at: datetime) -> date:
        zone = self.zones.get(location_id, "UTC")
        return at.date() if zone == "UTC" and at.tzinfo is UTC else day_in(zone, at)


def millionths(value: Decimal) -> int:
    """Return a number of at most six digits behind the point in whole millionths."""
    return int(value.scaleb(6))


def reference_key(reference: str) -> int:
    """Return a reference as a number; that two of a product are one is a chance in 2^64."""
    digest = blake2b(reference.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
