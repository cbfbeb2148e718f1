"""How a decision about stock becomes events, and what refuses it: the rules all of them share.

**Time.** Without ``effective_at`` a command takes effect at the commit's time. One that is up
to five minutes ahead of it is taken to be now, since it is a client's clock that is ahead; so
no event is ever effective after it was recorded, and the present is after everything recorded.

**Availability** (invariant I6). A command that lowers available must leave it at the
location's limit or above, at its effective time and at every later one. One that raises it is
never refused for that.

**Counts.** What is on hand after a count is what was counted, whatever is recorded later of
the time before it: such a movement comes with a `CountVarianceRevised` at the count's time
that cancels its effect from then on.

**Closed periods.** Nothing takes effect on a business day that the books are closed for.

**Expiry.** A hold that has expired stops to count when somebody needs what it holds: the
command that does first records its release, effective when it expired.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from ledger.domain import books
from ledger.domain.backdating import (
    Change,
    Effect,
    effect_of,
    first_count,
    later_events,
    shortfalls,
)
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
    NewEvent,
    ProductNotFound,
    Refusal,
    State,
)
from ledger.domain.location import LocationState
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals import (
    BalanceOutOfBounds,
    InsufficientQuarantine,
    InsufficientStock,
    LocationInactive,
    ProductIsDiscontinued,
)
from ledger.domain.stock_state import ZERO, StockState
from schemas.common import DECIMAL_LIMIT, Event
from schemas.stock import CountVarianceRevised, ReservationReleased, StockReserved

AHEAD_MAX: Final = timedelta(minutes=5)
EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
RELEASES_MAX: Final = 200


class Place(NamedTuple):
    """A product at a location, at a time; ``at`` None is the commit's own."""

    stream: str
    product_id: int
    location_id: int
    stock: StockState
    product: ProductState
    location: LocationState
    at: datetime | None


def moment(effective_at: datetime | None, now: datetime) -> datetime | InvalidCommand | None:
    """Return when a command takes effect, None for now; refuse what no event can be of."""
    if effective_at is None:
        return None
    if effective_at > now:
        if effective_at - now > AHEAD_MAX:
            fault = (
                f"{effective_at.isoformat()} is more than {AHEAD_MAX.seconds // 60} minutes "
                f"ahead; record it once it has happened, or correct the clock"
            )
            return InvalidCommand(field="effective_at", fault=fault)
        return now
    if effective_at < EARLIEST:
        fault = f"must not be before {EARLIEST.year}; check the year"
        return InvalidCommand(field="effective_at", fault=fault)
    return effective_at


def place_of(
    product_id: int,
    location_id: int,
    effective_at: datetime | None,
    states: Mapping[str, State],
    now: datetime,
) -> Place | Refusal:
    """Return the place and time that a command is about, or why there is none."""
    at = None
    if effective_at is not None:
        at = moment(effective_at, now)
        if isinstance(at, InvalidCommand):
            return at
    product: ProductState = states[f"product-{product_id}"]
    if not product.product_id:
        return ProductNotFound(product_id=product_id)
    if product.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=product.sku)
    location: LocationState = states[f"location-{location_id}"]
    if not location.location_id:
        return LocationNotFound(location_id=location_id)
    if at is not None:
        shut = books.closed(states[books.STREAM], at, location.time_zone)
        if shut is not None:
            return shut
    name = f"stock-{product_id}-{location_id}"
    return Place(name, product_id, location_id, states[name], product, location, at)


class Measured(NamedTuple):
    """A quantity in the product's own unit, and what the client said where it was another."""

    quantity: Decimal
    unit: str | None = None
    entered: Decimal | None = None


def measure(
    product: ProductState, quantity: Decimal, unit: str | None
) -> Measured | InvalidCommand:
    """Return what a client's quantity is of the product's own unit."""
    base = in_own_unit(product, quantity, unit)
    if isinstance(base, InvalidCommand):
        return base
    if unit is None or unit == product.unit:
        return Measured(base)
    return Measured(base, unit, quantity)


def must_be_active(location: LocationState) -> LocationInactive | None:
    """Return the refusal of what would come in at a location that is not active."""
    if location.is_active:
        return None
    return LocationInactive(location_id=location.location_id, location=location.code)


def out_of_bounds(place: Place, balance: Decimal) -> BalanceOutOfBounds | None:
    """Return the refusal of a balance or difference that has too many digits."""
    if -DECIMAL_LIMIT < balance < DECIMAL_LIMIT:
        return None
    return _out_of_bounds(place, balance)


def _out_of_bounds(place: Place, balance: Decimal) -> BalanceOutOfBounds:
    return BalanceOutOfBounds(
        product_id=place.product_id,
        location_id=place.location_id,
        sku=place.product.sku,
        balance=balance,
    )


def expiries(place: Place, now: datetime, named: str | None = None) -> list[NewEvent]:
    """Return the releases of holds that have expired, first expired first.

    They are at most `RELEASES_MAX`, and the hold that is ``named``: the others are as dead,
    and are left to the next command.
    """
    stock = place.stock
    all_dead = stock.dead_at(now)
    dead = all_dead[:RELEASES_MAX]
    dead += tuple(expiry for expiry in all_dead[RELEASES_MAX:] if expiry[1] == named)
    return [
        NewEvent(
            place.stream,
            ReservationReleased(
                product_id=place.product_id,
                location_id=place.location_id,
                reservation_id=reservation_id,
                quantity=stock.quantity_held(reservation_id),
                cause="expired",
            ),
            expires_at,
        )
        for expires_at, reservation_id in dead
    ]


def _reservation_named(event: Event) -> str | None:
    """Return the name that a new reservation takes, whose last bearer has to be gone."""
    return event.reservation_id if isinstance(event, StockReserved) else None


def is_late(place: Place) -> bool:
    """Return whether something is recorded that is effective after this."""
    last = place.stock.last_effective_at
    return place.at is not None and last is not None and place.at < last


def post(place: Place, facts: Facts, event: Event, effect: Effect) -> Decision:
    """Return an event with what has to come with it, or why it can't be.

    ``effect`` is the event's own (`ledger.domain.backdating.effect_of`), which the caller
    knows. Refusals: InsufficientStock, InsufficientQuarantine, BalanceOutOfBounds.
    """
    stock = place.stock
    at = place.at
    if at is not None:
        last = stock.last_effective_at
        if last is not None and at < last:
            return post_late(place, facts, event, effect, at)
    unrestricted, quarantine, claimed = effect
    lowered = unrestricted - claimed
    before: list[NewEvent] | None = None
    # Decimals compare with a decimal, and tell whether they are zero, faster than with an int.
    if lowered < ZERO:
        available = stock.unrestricted - stock.reserved
        if stock.has_dead_at(facts.now):
            if at is not None and stock.dead_at(facts.now)[-1][0] > at:
                # What has expired since then still claimed its share at that time.
                return post_late(place, facts, event, effect, at)
            before = expiries(place, facts.now, _reservation_named(event))
            available = stock.available_at(facts.now)
        if available + lowered < place.location.stock_limit:
            return _insufficient(place, -lowered, available, None)
    if quarantine and quarantine < ZERO and stock.quarantine + quarantine < ZERO:
        return _insufficient_quarantine(place, -quarantine, stock.quarantine, None)
    on_hand = stock.unrestricted + stock.quarantine + unrestricted + quarantine
    if on_hand >= DECIMAL_LIMIT:
        return _out_of_bounds(place, on_hand)
    new = NewEvent(place.stream, event, at)
    return [new] if before is None else [*before, new]


def post_late(
    place: Place,
    facts: Facts,
    event: Event,
    effect: Effect,
    at: datetime,
    after_position: int | None = None,
) -> Decision:
    """Return what `post` does, for an event that something recorded is effective after.

    With ``after_position`` the event stands there in the order of events of its time, rather
    than after all of them.
    """
    stock = place.stock
    counted = stock.last_count_at is not None and (
        at < stock.last_count_at or (after_position is not None and at == stock.last_count_at)
    )
    new = NewEvent(place.stream, event, at)
    if effect.available >= 0 and effect.quarantine >= 0 and not (counted and effect.on_hand):
        return out_of_bounds(place, stock.on_hand + effect.on_hand) or [new]
    later = later_events(facts, place.stream, at) if is_late(place) else []
    changes = [Change(at, effect.available, effect.quarantine)]
    count = None
    if counted and effect.on_hand:
        count = first_count(facts.later[place.stream], at, after_position)
    revision = None
    if count is None:
        refusal = out_of_bounds(place, stock.on_hand + effect.on_hand)
        if refusal is not None:
            return refusal
    else:
        revised = CountVarianceRevised(
            product_id=place.product_id,
            location_id=place.location_id,
            quantity=-effect.on_hand,
            count_position=count.position,
        )
        revision = NewEvent(place.stream, revised, count.effective_at)
        changes.append(Change(count.effective_at, -effect.on_hand, ZERO))
    existing = [_change(e.effective_at, e.event, place.location_id) for e in later]
    released: list[NewEvent] = []
    available = stock.unrestricted - stock.reserved
    if effect.available < 0 or sum(change.available for change in changes) < 0:
        released = expiries(place, facts.now, _reservation_named(event))
        available = stock.available_at(facts.now)
        existing += [
            Change(expires_at, stock.quantity_held(reservation_id), ZERO)
            for expires_at, reservation_id in stock.dead_at(facts.now)
            if expires_at > at
        ]
    short, short_quarantine = shortfalls(
        available=available,
        quarantine=stock.quarantine,
        existing=existing,
        changes=changes,
        limit=place.location.stock_limit,
    )
    if short is not None:
        return _insufficient(place, short.requested, short.present, short.at)
    if short_quarantine is not None:
        return _insufficient_quarantine(
            place, short_quarantine.requested, short_quarantine.present, short_quarantine.at
        )
    if revision is None:
        return [*released, new]
    # What raises goes first, so that no position in between is short either.
    if effect.on_hand < 0:
        return [*released, revision, new]
    return [*released, new, revision]


def _change(at: datetime, event: Event, location_id: int) -> Change:
    effect = effect_of(event, location_id)
    return Change(at, effect.available, effect.quarantine)


def _insufficient(
    place: Place, requested: Decimal, available: Decimal, at: datetime | None
) -> InsufficientStock:
    return InsufficientStock(
        product_id=place.product_id,
        location_id=place.location_id,
        sku=place.product.sku,
        requested=requested,
        available=available,
        stock_limit=place.location.stock_limit,
        at=at,
    )


def _insufficient_quarantine(
    place: Place, requested: Decimal, quarantined: Decimal, at: datetime | None
) -> InsufficientQuarantine:
    return InsufficientQuarantine(
        product_id=place.product_id,
        location_id=place.location_id,
        sku=place.product.sku,
        requested=requested,
        quarantined=quarantined,
        at=at,
    )
