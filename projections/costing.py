"""What goods cost: first in first out, and moving average, without a database.

All numbers are whole millionths, of a unit or of the currency, so that sums are exact; a share
of an amount is rounded to the nearest millionth.

One product's movements are costed in one order: by business day, then effective time, then
position. Goods come in as layers, each with what it cost in all. What goes out takes the oldest
units first; what goes out beyond them is owed, at a provisional cost, and takes the units that
come in next. So under FIFO nothing is ever posted again: the value at any place in that order is
what the last so many units on the curve of what came in cost, however often and however late the
curve is added to.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

MILLION: Final = 1_000_000

INBOUND: Final = frozenset({"receipt", "return", "found"})
OUTBOUND: Final = frozenset({"sale", "supplier_return", "missed", "loss"})
REMOVAL: Final = "removal"
REVALUATION: Final = "revaluation"


def share(amount: int, part: int, whole: int) -> int:
    """Return ``amount`` times ``part`` over ``whole``, rounded to the nearest; half goes up."""
    return (2 * amount * part + whole) // (2 * whole)


class Place(NamedTuple):
    """Where something stands in the order of costing."""

    day: date
    at: datetime
    position: int


_END: Final = datetime.max.replace(tzinfo=UTC)


def end_of(day: date) -> Place:
    """Return the place behind everything of a day."""
    return Place(day, _END, 2**63)


class Movement(NamedTuple):
    """One thing that changes what a product costs.

    ``quantity`` is what came in or went out; below zero for an outflow that was cancelled at
    its own time. ``cost`` is that of all of it where it is known by itself (of a revaluation:
    of one unit), None for what comes in at the present cost; ``landed`` was added to it since.
    ``origin`` is the position of what a removal removes or a cancellation cancels, and
    ``origin_kind`` what that was.
    """

    place: Place
    kind: str
    quantity: int
    cost: int | None = None
    landed: int = 0
    origin: int | None = None
    origin_kind: str | None = None

    @property
    def change(self) -> int:
        """What it does to the quantity owned."""
        if self.kind in INBOUND:
            return self.quantity
        return 0 if self.kind == REVALUATION else -self.quantity


class Layer(NamedTuple):
    """Goods that came in at once, and what all of them cost."""

    place: Place
    quantity: int
    cost: int

    def rest(self, quantity: int) -> int:
        """Return what the last ``quantity`` of its units cost."""
        return self.cost - share(self.cost, self.quantity - quantity, self.quantity)


class Removal(NamedTuple):
    """A layer was taken out again, at a place of its own: what it cost, it costs no more."""

    place: Place
    kind: str
    layer: Layer


class Marker(NamedTuple):
    """From its place on, whatever is on hand is worth ``unit_cost`` each."""

    place: Place
    unit_cost: int


class DayTotal(NamedTuple):
    """The layers of one day, added up; there may be none on a day that something moved.

    Not ``is_moving`` is a day of nothing but transfers.
    """

    day: date
    layers: int
    quantity: int
    cost: int
    is_moving: bool = True


class Standards:
    """What the standard cost of a product was on each day."""

    def __init__(self, stated: Sequence[tuple[date, int]] = ()) -> None:
        """Take what was stated, in order of time; of two on one day the later holds."""
        self._days = [day for day, _ in stated]
        self._costs = [cost for _, cost in stated]

    def on(self, day: date) -> int:
        """Return the standard cost of one unit on a day; 0 where none was ever stated."""
        count = bisect_right(self._days, day)
        return self._costs[count - 1] if count else 0


# --- first in, first out ----------------------------------------------------------------


class _Unread(Exception):
    """A value depends on the layers of a day, or on a standard cost, not read yet."""


class Curve:
    """What came into one product, by day, and by layer where that has been read.

    Days before the first may be left out where no value asked for reaches back to them. Ask for
    all values, and as long as `is_lacking` read what is missing and ask again.
    """

    def __init__(
        self,
        totals: Sequence[DayTotal],
        *,
        removals: Collection[Removal] = (),
        markers: Sequence[Marker] = (),
    ) -> None:
        self._moved = [total.day for total in totals if total.is_moving]
        self._totals = [total for total in totals if total.layers]
        self._days = [total.day for total in self._totals]
        self._layers: dict[date, list[Layer]] = {}
        self._removals = list(removals)
        self._markers = list(markers)
        self._marked = [marker.place for marker in markers]
        self.standards: Standards | None = None
        self.is_standard_unread = False
        self.unread: set[date] = set()

    @property
    def is_lacking(self) -> bool:
        """Whether a value that was asked for depends on what has not been read."""
        return bool(self.unread) or (self.is_standard_unread and self.standards is None)

    def read(self, day: date, layers: list[Layer]) -> None:
        """Take in the layers of a day, in their order."""
        self._layers[day] = layers
        self.unread.discard(day)

    def add(self, layer: Layer) -> None:
        """Take in a layer behind all others, of a curve that is read from its beginning."""
        day = layer.place.day
        if self._days and self._days[-1] == day:
            _, layers, quantity, cost, _ = self._totals[-1]
            self._totals[-1] = DayTotal(
                day, layers + 1, quantity + layer.quantity, cost + layer.cost
            )
        else:
            self._days.append(day)
            self._moved.append(day)
            self._totals.append(DayTotal(day, 1, layer.quantity, layer.cost))
        self._layers.setdefault(day, []).append(layer)

    def remove(self, removal: Removal) -> None:
        """Take a layer out again, at a place behind all that was taken in."""
        self._removals.append(removal)

    def mark(self, marker: Marker) -> None:
        """Say what one is worth from a place on that is behind all that was taken in."""
        self._markers.append(marker)
        self._marked.append(marker.place)

    def value(self, place: Place, quantity: int) -> int:
        """Return what ``quantity`` on hand, everything up to ``place`` known, is worth.

        Below zero for what is owed: at the cost of what came in last, else at the standard
        cost, else nothing. Where that has not been read, 0, and the curve is lacking.
        """
        try:
            return self._value(place, quantity) if quantity else 0
        except _Unread:
            return 0

    def _value(self, place: Place, quantity: int) -> int:
        marker = self._marker_at(place)
        dead = self._dead_at(place)
        if quantity < 0:
            return -self._owed(place, marker, dead, -quantity)
        needed, worth = quantity, 0
        for index in range(bisect_right(self._days, place.day) - 1, -1, -1):
            total = self._totals[index]
            if marker is not None and total.day < marker.place.day:
                break
            gone = dead.get(total.day, ())
            if self._is_whole(total.day, place, marker):
                there = total.quantity - sum(layer.quantity for layer in gone)
                if there <= needed:
                    worth += total.cost - sum(layer.cost for layer in gone)
                    needed -= there
                    if not needed:
                        return worth
                    continue
            for layer in reversed(self._alive(total, gone, place, marker)):
                if layer.quantity >= needed:
                    return worth + layer.rest(needed)
                worth += layer.cost
                needed -= layer.quantity
        assert marker is not None, f"{needed} more on hand at {place} than ever came in"
        return worth + share(marker.unit_cost, needed, MILLION)

    def _marker_at(self, place: Place) -> Marker | None:
        count = bisect_right(self._marked, place)
        return self._markers[count - 1] if count else None

    def _dead_at(self, place: Place) -> Mapping[date, list[Layer]]:
        """Return the layers that have been taken out, by their day."""
        dead: dict[date, list[Layer]] = {}
        for removal in self._removals:
            if removal.place <= place:
                dead.setdefault(removal.layer.place.day, []).append(removal.layer)
        return dead

    @staticmethod
    def _is_whole(day: date, place: Place, marker: Marker | None) -> bool:
        """Tell whether all layers of a day count: none is behind the place or the marker."""
        if day == place.day and place != end_of(day):
            return False
        return marker is None or day != marker.place.day

    def _alive(
        self, total: DayTotal, gone: Collection[Layer], place: Place, marker: Marker | None
    ) -> Sequence[Layer]:
        """Return the layers of a day that count, in their order."""
        layers = self._layers.get(total.day)
        if layers is None:
            if total.layers == 1 and self._is_whole(total.day, place, marker):
                if gone:
                    return ()
                return (Layer(end_of(total.day), total.quantity, total.cost),)
            self.unread.add(total.day)
            raise _Unread
        dead = {layer.place for layer in gone}
        return [
            layer
            for layer in layers
            if layer.place <= place
            and layer.place not in dead
            and (marker is None or layer.place > marker.place)
        ]

    def _owed(
        self,
        place: Place,
        marker: Marker | None,
        dead: Mapping[date, Collection[Layer]],
        quantity: int,
    ) -> int:
        for index in range(bisect_right(self._days, place.day) - 1, -1, -1):
            total = self._totals[index]
            if marker is not None and total.day < marker.place.day:
                break
            alive = self._alive(total, dead.get(total.day, ()), place, marker)
            if alive:
                return share(alive[-1].cost, quantity, alive[-1].quantity)
        if marker is not None:
            return share(marker.unit_cost, quantity, MILLION)
        if self.standards is None:
            self.is_standard_unread = True
            raise _Unread
        # The day of the last movement, so that no value changes on a day without any.
        count = bisect_right(self._moved, place.day)
        day = self._moved[count - 1] if count else place.day
        return share(self.standards.on(day), quantity, MILLION)


class Special(NamedTuple):
    """A movement that has to be costed by itself: ``change`` and what the day had changed with it.

    ``is_gain`` is a revaluation, all else an outflow.
    """

    place: Place
    is_gain: bool
    change: int
    after: int


def cost_of(curve: Curve, opening: int, special: Special) -> int:
    """Return what an outflow cost, or what a revaluation took off.

    ``opening`` is what was on hand at the beginning of the day.
    """
    place, after = special.place, opening + special.after
    before = place._replace(position=place.position - 1) if special.is_gain else place
    return curve.value(before, after - special.change) - curve.value(place, after)


# --- moving average ---------------------------------------------------------------------


class Pool(NamedTuple):
    """All that is owned of a product, under moving average.

    ``unit_cost`` is what one costs that goes out where there is none: the average when there
    was some last. Of a pool with stock it is the average, rounded.
    """

    quantity: int = 0
    value: int = 0
    unit_cost: int | None = None


class AveragePool:
    """Takes movements in the order of costing; each changes quantity and value.

    ``sold_cost`` is what was sold did cost, less what came back, and with what a receipt
    showed the provisional cost of goods owed to be wrong by.
    """

    def __init__(self, pool: Pool = Pool(), sold_cost: int = 0) -> None:  # noqa: B008
        self._quantity, self._value, self._unit_cost = pool
        self.sold_cost = sold_cost
        self._costs: dict[int, int] = {}

    @property
    def pool(self) -> Pool:
        """What is owned now."""
        if self._quantity > 0:
            return Pool(self._quantity, self._value, share(self._value, MILLION, self._quantity))
        return Pool(self._quantity, self._value, self._unit_cost)

    def take(self, movement: Movement, standard: int) -> int:
        """Take a movement in and return its cost: what came in for, or what went out for.

        ``standard`` is the standard cost of its day, for what comes in at the present cost
        where there is none yet.
        """
        if self._unit_cost is None and self._quantity <= 0 and standard:
            self._unit_cost = standard
        kind, quantity = movement.kind, movement.quantity
        if kind in INBOUND:
            cost = movement.cost
            if cost is None:
                cost = self._present_cost(quantity)
            cost += movement.landed
            self._come_in(quantity, cost)
            if kind == "return":
                self.sold_cost -= cost
            return cost
        if kind == REMOVAL:
            return self._take_out(movement)
        if kind == REVALUATION:
            assert movement.cost is not None, "a revaluation says what one is worth"
            self._unit_cost = movement.cost
            before, self._value = self._value, share(movement.cost, self._quantity, MILLION)
            return self._value - before
        cost = self._go_out(quantity) if quantity > 0 else -self._cancel(movement)
        self._costs[movement.place.position] = cost
        if kind == "sale":
            self.sold_cost += cost
        return cost

    def _present_cost(self, quantity: int) -> int:
        if self._quantity > 0:
            return share(self._value, quantity, self._quantity)
        return share(self._unit_cost or 0, quantity, MILLION)

    def _come_in(self, quantity: int, cost: int) -> None:
        owed = self._quantity < 0
        before = self._value
        self._quantity += quantity
        if not owed:
            self._value += cost
            return
        # What is left, or still owed, is of this receipt; the rest of it was owed.
        self._unit_cost = share(cost, MILLION, quantity)
        if self._quantity > 0:
            self._value = share(cost, self._quantity, quantity)
        else:
            self._value = share(self._unit_cost, self._quantity, MILLION)
        self.sold_cost += before + cost - self._value

    def _go_out(self, quantity: int) -> int:
        before = self._value
        if self._quantity > quantity:
            self._value -= share(self._value, quantity, self._quantity)
        else:
            if self._quantity > 0:
                self._unit_cost = share(self._value, MILLION, self._quantity)
            self._value = share(self._unit_cost or 0, self._quantity - quantity, MILLION)
        self._quantity -= quantity
        return before - self._value

    def _cancel(self, movement: Movement) -> int:
        """Bring back what went out at this very time, for what it went out for."""
        quantity = -movement.quantity
        cost = self._costs.get(movement.origin or 0)
        if cost is None:
            cost = self._present_cost(quantity)
        self._quantity += quantity
        self._value += cost
        return cost

    def _take_out(self, movement: Movement) -> int:
        """Take a layer out again at its own cost; what is left is never worth less than nothing."""
        quantity, before, held = movement.quantity, self._value, self._quantity
        cost = movement.cost
        if cost is None:
            cost = self._present_cost(quantity)
        cost += movement.landed
        if held > 0:
            self._unit_cost = share(before, MILLION, held)
        self._quantity -= quantity
        self._value -= cost
        if self._quantity <= 0:
            self._value = share(self._unit_cost or 0, self._quantity, MILLION)
        elif self._value < 0:
            self._value = 0
        self.sold_cost += before - cost - self._value
        if movement.origin_kind == "return":
            self.sold_cost += cost
        return cost
