"""What stock is worth and what was sold did cost, computed the slow way, for tests.

It shares nothing with what it checks: fractions instead of whole millionths, a queue that is
built anew at every movement, and every movement posted for itself. Costs that have to be derived
are derived when their event comes, from what has come by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from ledger.domain.decision import RecordedEvent
from schemas.books import LandedCostAdded, StockRevalued
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import (
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockReceived,
    TransferLost,
    TransferReceived,
    TransferShipped,
)

OWNED = ("unrestricted", "quarantine", "in_transit")
Key = tuple[date, datetime, int]


@dataclass
class Item:
    """One movement across the boundary, or a revaluation."""

    key: Key
    what: str  # in, out, removed, cancelled, revalued
    to_or_from: str
    quantity: Fraction
    cost: Fraction | None = None
    landed: Fraction = Fraction(0)
    undoes: int | None = None
    reference: str | None = None
    stated: bool = False

    @property
    def position(self) -> int:
        return self.key[2]


@dataclass
class Posted:
    """What one movement did to value and to the cost of goods sold."""

    key: Key
    quantity: Fraction
    value: Fraction
    sold_cost: Fraction
    sold: Fraction
    cost: Fraction


@dataclass
class Naive:
    """One product's history under one method."""

    method: str
    zones: dict[int, str]
    books_zone: str = "UTC"
    items: list[Item] = field(default_factory=list[Item])
    standards: list[tuple[date, datetime, int, Fraction, bool]] = field(
        default_factory=list[tuple[date, datetime, int, Fraction, bool]]
    )
    price: Fraction | None = None
    last_unit: Fraction | None = None
    places: dict[tuple[int, bool], list[tuple[date, Fraction]]] = field(
        default_factory=dict[tuple[int, bool], list[tuple[date, Fraction]]]
    )

    # --- events -------------------------------------------------------------------------

    def take(self, recorded: RecordedEvent) -> None:
        """Take the next event of the log in."""
        event: Any = recorded.event
        at, position = recorded.effective_at, recorded.position
        match event:
            case ProductRegistered() | ProductRevised():
                price = None if event.cost_price is None else Fraction(event.cost_price)
                if price != self.price:
                    self.price = price
                    day = _date(self.books_zone, recorded.recorded_at)
                    if all(is_revaluation for *_, is_revaluation in self.standards):
                        day = date.min  # The first one ever holds for all time before.
                    stated = (day, recorded.recorded_at, position, price or Fraction(0), False)
                    self.standards.append(stated)
            case StockRevalued():
                unit = Fraction(event.unit_cost)
                day = _date(self.books_zone, at)
                self.standards.append((day, at, position, unit, True))
                self.last_unit = unit
                self.items.append(Item((day, at, position), "revalued", "", Fraction(0), unit))
            case LandedCostAdded():
                for item in self.items:
                    if item.position == event.position:
                        item.landed += Fraction(event.amount)
            case StockReceived():
                self._in(recorded, event.location_id, event.source, "unrestricted")
            case StockIssued():
                self._out(recorded, event.location_id, event.destination, "unrestricted")
            case StockAdjusted() | CountVarianceRevised():
                self._adjust(recorded, Fraction(event.quantity))
            case StockCounted():
                self._adjust(recorded, Fraction(event.variance))
            case QuarantineReleased(disposition="scrap"):
                self._out(recorded, event.location_id, "loss", "quarantine")
            case TransferLost():
                self._out(recorded, event.location_id, "loss", "in_transit")
            case TransferShipped():
                day = _date(self.zones[event.location_id], at)
                self._place(event.location_id, False, day, -Fraction(event.quantity))
                self._place(event.to_location_id, True, day, Fraction(event.quantity))
            case TransferReceived():
                zone_of = event.from_location_id if event.direct else event.location_id
                day = _date(self.zones[zone_of], at)
                self._place(event.location_id, True, day, -Fraction(event.quantity))
                self._place(event.location_id, False, day, Fraction(event.quantity))
            case MovementReversed():
                self._reverse(recorded, event)
            case _:
                pass

    def _place(self, location: int, in_transit: bool, day: date, change: Fraction) -> None:
        self.places.setdefault((location, in_transit), []).append((day, change))

    def _adjust(self, recorded: RecordedEvent, quantity: Fraction) -> None:
        location: int = recorded.event.location_id  # type: ignore[attr-defined]
        if quantity > 0:
            self._in(recorded, location, "adjustment", "unrestricted", quantity)
        elif quantity < 0:
            self._out(recorded, location, "adjustment", "unrestricted", -quantity)

    def _key(self, recorded: RecordedEvent, location: int) -> Key:
        at = recorded.effective_at
        return _date(self.zones[location], at), at, recorded.position

    def _in(
        self,
        recorded: RecordedEvent,
        location: int,
        source: str,
        account: str,
        quantity: Fraction | None = None,
    ) -> None:
        event: Any = recorded.event
        quantity = Fraction(event.quantity) if quantity is None else quantity
        item = Item(self._key(recorded, location), "in", source, quantity)
        unit = getattr(event, "unit_cost", None)
        if unit is not None:
            item.cost, item.stated = Fraction(unit) * quantity, True
            self.last_unit = Fraction(unit)
        elif source == "customer":
            item.cost = self._returned(item, event.returns)
        elif self.method == "fifo":
            item.cost = quantity * self._present(item.key[0])
        self.items.append(item)
        self._place(location, account == "in_transit", item.key[0], quantity)

    def _out(
        self,
        recorded: RecordedEvent,
        location: int,
        target: str,
        account: str,
        quantity: Fraction | None = None,
    ) -> None:
        event: Any = recorded.event
        quantity = Fraction(event.quantity) if quantity is None else quantity
        item = Item(self._key(recorded, location), "out", target, quantity)
        item.reference = event.reference
        self.items.append(item)
        self._place(location, account == "in_transit", item.key[0], -quantity)

    def _reverse(self, recorded: RecordedEvent, event: MovementReversed) -> None:
        from_owned, to_owned = event.from_account in OWNED, event.to_account in OWNED
        quantity = Fraction(event.quantity)
        if not quantity:
            return
        if from_owned and to_owned:
            day = _date(self.zones[event.from_location_id], recorded.effective_at)
            was_on_its_way = event.from_account == "in_transit"
            is_on_its_way = event.to_account == "in_transit"
            self._place(event.from_location_id, was_on_its_way, day, -quantity)
            self._place(event.to_location_id, is_on_its_way, day, quantity)
            return
        undone = next((i for i in self.items if i.position == event.reversed_position), None)
        if undone is not None and undone.quantity != quantity:
            undone = None
        location, account, outside = event.to_location_id, event.to_account, event.from_account
        if from_owned:
            location, account = event.from_location_id, event.from_account
            outside = event.to_account
        key = self._key(recorded, location)
        if undone is not None and undone.key[1] == key[1]:
            key = (undone.key[0], *key[1:])
        in_transit = account == "in_transit"
        if undone is None or undone.what != ("in" if from_owned else "out"):
            if from_owned:
                self._out(recorded, location, outside, account, quantity)
                self.items[-1].reference = None
            else:
                item = Item(key, "in", outside, quantity)
                if self.method == "fifo":
                    item.cost = quantity * self._present(key[0])
                self.items.append(item)
                self._place(location, in_transit, key[0], quantity)
            return
        if from_owned:
            key = (max(key[0], undone.key[0]), *key[1:])
            item = Item(key, "removed", undone.to_or_from, quantity, undoes=undone.position)
            self.items.append(item)
            self._place(location, in_transit, key[0], -quantity)
            return
        if undone.key[1] == key[1]:
            item = Item(key, "cancelled", undone.to_or_from, quantity, undoes=undone.position)
        else:
            came_from = "customer" if undone.to_or_from == "customer" else "adjustment"
            item = Item(key, "in", came_from, quantity)
            item.cost = self._cost_of(undone)
        self.items.append(item)
        self._place(location, in_transit, key[0], quantity)

    # --- derived costs ------------------------------------------------------------------

    def standard(self, day: date) -> Fraction:
        """Return the standard cost of a day, as far as it has been told.

        A revaluation makes one only for what is valued at standard cost.
        """
        stated = [s for s in sorted(self.standards) if self.method == "standard" or not s[4]]
        found = Fraction(0)
        for since, _, _, cost, _ in stated:
            if since <= day:
                found = cost
        return found

    def _present(self, day: date) -> Fraction:
        return self.standard(day) if self.last_unit is None else self.last_unit

    def _returned(self, item: Item, reference: str | None) -> Fraction | None:
        sales = [i for i in self.items if i.what == "out" and i.to_or_from == "customer"]
        named = [i for i in sales if reference is not None and i.reference == reference]
        if not named:
            earlier = sorted((i for i in sales if i.key < item.key), key=lambda i: i.key)
            named = earlier[-1:]
        if named:
            cost = sum((self._cost_of(i) for i in named), Fraction(0))
            return cost * item.quantity / sum(i.quantity for i in named)
        if self.method == "standard":
            return item.quantity * self.standard(item.key[0])
        if self.method == "fifo":
            return item.quantity * self._present(item.key[0])
        return None

    def _cost_of(self, item: Item) -> Fraction:
        """Return what an outflow cost, all known that is known now."""
        if self.method == "standard":
            return item.quantity * self.standard(item.key[0])
        return next(p.cost for p in self.post() if p.key == item.key)

    # --- posting ------------------------------------------------------------------------

    def post(self) -> list[Posted]:
        """Post every movement, in the order of costing."""
        ordered = sorted(self.items, key=lambda item: item.key)
        return self._post_average(ordered) if self.method == "average" else self._post_fifo(ordered)

    def _post_fifo(self, ordered: Sequence[Item]) -> list[Posted]:
        posted: list[Posted] = []
        quantity, value = Fraction(0), Fraction(0)
        by_position = {item.position: item for item in ordered}
        for number, item in enumerate(ordered):
            quantity += _change(item)
            # A provisional cost that has changed since is no doing of this movement.
            before = self._queue_value(ordered[:number], item.key[0])
            adjusted = value - before
            value = self._queue_value(ordered[: number + 1], item.key[0])
            cost = sold_cost = sold = Fraction(0)
            match item.what:
                case "in":
                    came = _cost(item)
                    sold_cost = before + came - value
                    if item.to_or_from == "customer":
                        sold_cost -= came
                        sold = -item.quantity
                case "removed":
                    layer = by_position[item.undoes or 0]
                    sold_cost = before - _cost(layer) - value
                    if item.to_or_from == "customer":
                        sold_cost += _cost(layer)
                        sold = item.quantity
                case "out" | "cancelled":
                    cost = before - value
                    if item.to_or_from == "customer":
                        sold_cost = cost
                        sold = -_change(item)
                case _:
                    pass
            sold_cost += adjusted
            posted.append(Posted(item.key, quantity, value, sold_cost, sold, cost))
        return posted

    def _queue_value(self, items: Sequence[Item], day: date) -> Fraction:
        """Build the queue anew, without what has been taken out or cancelled by then."""
        gone = {i.undoes for i in items if i.what in ("removed", "cancelled")}
        queue: list[list[Fraction]] = []  # what is left, and what one of it cost
        owed = Fraction(0)
        last: Fraction | None = None
        for item in items:
            if item.position in gone:
                continue
            if item.what == "revalued":
                assert item.cost is not None
                last = item.cost
                queue = [[sum((left for left, _ in queue), Fraction(0)), last]]
            elif item.what == "in":
                last = _cost(item) / item.quantity
                settled = min(owed, item.quantity)
                owed -= settled
                queue.append([item.quantity - settled, last])
            elif item.what == "out":
                wanted = item.quantity
                while wanted and queue:
                    taken = min(wanted, queue[0][0])
                    queue[0][0] -= taken
                    wanted -= taken
                    if not queue[0][0]:
                        queue.pop(0)
                owed += wanted
        if last is None:
            last = self.standard(day)
        return sum((left * unit for left, unit in queue), Fraction(0)) - owed * last

    def _post_average(self, ordered: Sequence[Item]) -> list[Posted]:
        posted: list[Posted] = []
        quantity, value = Fraction(0), Fraction(0)
        unit: Fraction | None = None
        costs: dict[int, Fraction] = {}
        for item in ordered:
            if quantity > 0:
                unit = value / quantity
            elif unit is None:
                unit = self.standard(item.key[0]) or None
            average = unit or Fraction(0)
            before = value
            cost = sold_cost = sold = Fraction(0)
            match item.what:
                case "in":
                    came = item.cost if item.cost is not None else average * item.quantity
                    came += item.landed
                    owed = quantity < 0
                    quantity += item.quantity
                    if owed:
                        unit = came / item.quantity
                        value = quantity * unit
                    else:
                        value += came
                    costs[item.position] = came
                    sold_cost = before + came - value
                    if item.to_or_from == "customer":
                        sold_cost -= came
                        sold = -item.quantity
                case "removed":
                    layer = next(i for i in ordered if i.position == item.undoes)
                    came = layer.cost if layer.cost is not None else average * item.quantity
                    came += layer.landed
                    quantity -= item.quantity
                    value -= came
                    if quantity <= 0:
                        value = quantity * average
                    elif value < 0:
                        value = Fraction(0)
                    sold_cost = before - came - value
                    if item.to_or_from == "customer":
                        sold_cost += came
                        sold = item.quantity
                case "out":
                    quantity -= item.quantity
                    if quantity > 0:
                        value -= average * item.quantity
                    else:
                        value = quantity * average
                    cost = before - value
                    costs[item.position] = cost
                case "cancelled":
                    quantity += item.quantity
                    value += costs[item.undoes or 0]
                    cost = before - value
                case _:
                    unit = item.cost
                    value = quantity * (item.cost or 0)
            if item.what in ("out", "cancelled") and item.to_or_from == "customer":
                sold_cost = cost
                sold = -_change(item)
            posted.append(Posted(item.key, quantity, value, sold_cost, sold, cost))
        return posted

    # --- figures ------------------------------------------------------------------------

    def figures(self) -> "Figures":
        """Return what can be asked of the history as it is now."""
        return Figures(self, self.post())


@dataclass
class Figures:
    """Answers for days and periods."""

    naive: Naive
    posted: list[Posted]

    def value(self, day: date) -> Fraction:
        """Return what all of the product was worth at the end of a day."""
        seen = [p for p in self.posted if p.key[0] <= day]
        if not seen:
            return Fraction(0)
        if self.naive.method == "standard":
            return seen[-1].quantity * self.naive.standard(day)
        return seen[-1].value

    def quantity(self, day: date) -> Fraction:
        """Return how much of the product was owned at the end of a day."""
        seen = [p for p in self.posted if p.key[0] <= day]
        return seen[-1].quantity if seen else Fraction(0)

    def units_sold(self, first: date, last: date) -> Fraction:
        """Return what customers got less what they brought back."""
        return sum((p.sold for p in self.posted if first <= p.key[0] <= last), Fraction(0))

    def cogs(self, first: date, last: date) -> Fraction:
        """Return the cost of goods sold of a period."""
        if self.naive.method != "standard":
            within = (p.sold_cost for p in self.posted if first <= p.key[0] <= last)
            return sum(within, Fraction(0))
        cost = Fraction(0)
        items = {item.position: item for item in self.naive.items}
        for item in items.values():
            if not first <= item.key[0] <= last or item.to_or_from != "customer":
                continue
            match item.what:
                case "out" | "cancelled":
                    cost -= _change(item) * self.naive.standard(item.key[0])
                case "in":
                    cost -= _cost(item)
                case _:
                    cost += _cost(items[item.undoes or 0])
        return cost

    def at_places(self, day: date) -> dict[tuple[int, bool], Fraction]:
        """Return what was where, and what was on its way there, where that is not nothing."""
        found = {
            place: sum((change for on, change in changes if on <= day), Fraction(0))
            for place, changes in self.naive.places.items()
        }
        return {place: quantity for place, quantity in found.items() if quantity}


def _change(item: Item) -> Fraction:
    if item.what in ("in", "cancelled"):
        return item.quantity
    return -item.quantity


def _cost(item: Item) -> Fraction:
    """Return what came in cost; at standard cost not all of it needs a cost of its own."""
    return (item.cost or Fraction(0)) + item.landed


def _date(zone: str, at: datetime) -> date:
    return at.astimezone(ZoneInfo(zone)).date()
