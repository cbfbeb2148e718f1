"""Where stock is reserved for an order's lines: the rules, on figures alone.

``named`` and ``default`` look at one location. ``most_stock`` takes the one that can serve the
most lines whole, of these the one that serves the largest share of what is ordered, and of
these the first; the default location comes first, then the lowest id. ``split`` takes each
line from the default location, then from wherever most of its product is available.

Lines are served in their order, each from what those before it leave.

Where a product is disabled, no line for it is served: the one location of ``named`` and
``default`` refuses the order, ``most_stock`` passes over a location where any line's product is
disabled, and ``split`` over it for that line. Whether a line may wait for stock, and at what
price it is, is told by the listing at the location where it is looked for first, else by the
product.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from ledger.domain.backdating import effect_of, later_events
from ledger.domain.decision import Facts, State
from ledger.domain.listing import ListingState
from ledger.domain.listing import stream as listing_stream
from ledger.domain.location import LocationState
from ledger.domain.refusals_orders import InsufficientForLine, ProductIsDisabled
from ledger.domain.stock_state import StockState
from ledger.domain.stock_state import stream as stock_stream
from schemas.order import AllocationRule, Claim, Considered

ZERO: Final = Decimal(0)
PLACES_MAX: Final = 5_000
"""Products times locations that one decision may look at."""


class Wanted(NamedTuple):
    """So much of a product, for the line that ``line`` counts from 0.

    ``backorders`` is what the product says of waiting for stock, where its listing says nothing.
    """

    line: int
    product_id: int
    sku: str
    quantity: Decimal
    backorders: bool


class Allocation(NamedTuple):
    """What each line gets and where, what was looked at, and the one location, if it is one.

    ``listings`` has each line's listing at the location where it was looked for first.
    """

    claims: Sequence[tuple[Claim, ...]]
    considered: tuple[Considered, ...]
    location_id: int | None
    listings: Sequence[ListingState]


class Availability:
    """What is available of products at locations from a time on, less what has been taken.

    ``states`` has the streams of all of them. From a time in the past on, it is the least that
    is available at that time or at any later one, since a claim lasts.
    """

    def __init__(self, states: Mapping[str, State], facts: Facts, at: datetime | None) -> None:
        self._states = states
        self._facts = facts
        self.at = at
        self._free: dict[tuple[int, int], Decimal] = {}
        self._considered: list[Considered] = []

    @property
    def considered(self) -> tuple[Considered, ...]:
        """What was available where it was looked, in that order."""
        return tuple(self._considered)

    def of(self, product_id: int, location_id: int) -> Decimal:
        """Return what may still be reserved, zero where there is less than the limit."""
        place = (product_id, location_id)
        free = self._free.get(place)
        if free is None:
            stock: StockState = self._states[stock_stream(product_id, location_id)]
            available = _lowest(stock, product_id, location_id, self.at, self._facts)
            self._considered.append(
                Considered(product_id=product_id, location_id=location_id, available=available)
            )
            free = self._free[place] = max(available - self.limit(location_id), ZERO)
        return free

    def listing(self, product_id: int, location_id: int) -> ListingState:
        """Return how a product is sold at a location."""
        return self._states[listing_stream(product_id, location_id)]

    def limit(self, location_id: int) -> Decimal:
        """Return how far down a location may be reserved."""
        location: LocationState = self._states[f"location-{location_id}"]
        return location.stock_limit

    def take(self, product_id: int, location_id: int, most: Decimal) -> Decimal:
        """Take up to so much, and return how much it was."""
        taken = min(self.of(product_id, location_id), most)
        self._free[product_id, location_id] -= taken
        return taken


def _lowest(
    stock: StockState, product_id: int, location_id: int, at: datetime | None, facts: Facts
) -> Decimal:
    available = stock.available_at(facts.now)
    if at is None:
        return available
    # What has expired since then still claimed its share at that time.
    changes = [
        (expires_at, stock.quantity_held(reservation_id))
        for expires_at, reservation_id in stock.dead_at(facts.now)
        if expires_at > at
    ]
    if stock.last_effective_at is not None and at < stock.last_effective_at:
        name = stock_stream(product_id, location_id)
        changes += [
            (recorded.effective_at, effect_of(recorded.event, location_id).available)
            for recorded in later_events(facts, name, at)
        ]
    if not changes:
        return available
    changes.sort(key=lambda change: change[0])
    available -= sum((change for _, change in changes), ZERO)
    lowest = available
    for index, (when, change) in enumerate(changes):
        available += change
        if index + 1 == len(changes) or changes[index + 1][0] != when:
            lowest = min(lowest, available)
    return lowest


def allocate(
    rule: AllocationRule,
    lines: Sequence[Wanted],
    places: Sequence[int],
    availability: Availability,
) -> Allocation | InsufficientForLine | ProductIsDisabled:
    """Return what each line gets of ``places``, or the refusal of the first that must not wait."""
    location_id = None
    if rule == "split":
        looked: list[Sequence[int]] = [_sold_at(line, places, availability) for line in lines]
        unsold = next((line for line, sold in zip(lines, looked, strict=True) if not sold), None)
    else:
        common = places
        unsold = None
        for line in lines:
            common = _sold_at(line, common, availability)
            if not common:
                unsold = line
                break
        else:
            choose = rule == "most_stock"
            location_id = _best(lines, common, availability) if choose else common[0]
        looked = [(location_id,) for _ in lines] if location_id is not None else []
    if unsold is not None:
        return ProductIsDisabled(
            line=unsold.line,
            product_id=unsold.product_id,
            sku=unsold.sku,
            location_ids=tuple(
                place for place in places if availability.listing(unsold.product_id, place).disabled
            ),
        )
    claims = [spread(line, sold, availability) for line, sold in zip(lines, looked, strict=True)]
    listings: list[ListingState] = []
    for line, sold, claimed in zip(lines, looked, claims, strict=True):
        listed = availability.listing(line.product_id, sold[0])
        listings.append(listed)
        may_wait = line.backorders if listed.backorders is None else listed.backorders
        if may_wait:
            continue
        reserved = sum((claim.quantity for claim in claimed), ZERO)
        if reserved < line.quantity:
            return InsufficientForLine(
                line=line.line,
                product_id=line.product_id,
                location_id=sold[0],
                sku=line.sku,
                requested=line.quantity,
                available=reserved,
                stock_limit=availability.limit(sold[0]),
                at=availability.at,
                considered=tuple(
                    place
                    for place in availability.considered
                    if place.product_id == line.product_id
                ),
            )
    return Allocation(claims, availability.considered, location_id, listings)


def _sold_at(line: Wanted, places: Sequence[int], availability: Availability) -> Sequence[int]:
    """Return the places where a line's product is sold, in order."""
    product_id = line.product_id
    return [place for place in places if not availability.listing(product_id, place).disabled]


def spread(line: Wanted, places: Sequence[int], availability: Availability) -> tuple[Claim, ...]:
    """Take a line from the first place, then from those that have most; none is gone to twice."""
    product_id = line.product_id
    if len(places) == 1:
        taken = availability.take(product_id, places[0], line.quantity)
        return (Claim(location_id=places[0], quantity=taken),) if taken else ()
    free = {place: availability.of(product_id, place) for place in places}
    others = sorted(places[1:], key=lambda place: -free[place])
    claims: list[Claim] = []
    rest = line.quantity
    for place in (*places[:1], *others):
        if not rest:
            break
        taken = availability.take(product_id, place, rest)
        if taken:
            claims.append(Claim(location_id=place, quantity=taken))
            rest -= taken
    return tuple(claims)


def _best(lines: Sequence[Wanted], places: Sequence[int], availability: Availability) -> int:
    """Return the place that serves most; see the module."""

    def served(place: int) -> tuple[int, Fraction]:
        left: dict[int, Decimal] = {}
        whole, share = 0, Fraction(0)
        for line in lines:
            free = left.setdefault(line.product_id, availability.of(line.product_id, place))
            taken = min(free, line.quantity)
            left[line.product_id] = free - taken
            whole += taken == line.quantity
            share += Fraction(taken) / Fraction(line.quantity)
        return whole, share

    return max(places, key=served)
