"""Placing an order: it is priced, numbered, and reserved for, whole or not at all."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from ledger.domain import composing, customer, listing, location, price_tier, product, trading
from ledger.domain.composing import Composed, Step
from ledger.domain.customer import CustomerState
from ledger.domain.decision import (
    ActiveLocations,
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
    Lookup,
    Names,
    NewEvent,
    ProductNotFound,
    Refs,
    Refusal,
    State,
)
from ledger.domain.location import LocationState
from ledger.domain.order_allocation import (
    PLACES_MAX,
    Allocation,
    Availability,
    Wanted,
    allocate,
)
from ledger.domain.order_pricing import Price, price_of, total_amount
from ledger.domain.order_state import stream
from ledger.domain.order_steps import Part, reserve
from ledger.domain.posting import moment
from ledger.domain.price_tier import PriceTierState
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals import ProductIsDiscontinued
from ledger.domain.refusals_customers import CustomerIsErased, CustomerNotFound
from ledger.domain.refusals_orders import ProductIsInactive
from ledger.domain.stock_state import stream as stock_stream
from schemas.order import AllocationRule, OrderLine, OrderPlaced, PlaceOrder

_ACTIVE = ActiveLocations()
_LOOKED_FOR = frozenset({"most_stock", "split"})


def resolve(command: PlaceOrder, names: Names) -> Refs | Refusal:
    """Return the ids of the lines' products and of the location: the named or the default one."""
    return trading.resolve(command, names)


def rule_of(command: PlaceOrder) -> AllocationRule:
    """Return the rule that says where stock is reserved."""
    if command.location_id is not None or command.location is not None:
        return "named"
    return command.allocation or "default"


def streams(command: PlaceOrder, refs: Refs) -> Sequence[str]:
    """The order's own, the customer's, and the stock at the location unless it is looked for.

    Where stock is read, so is the product's listing there.
    """
    names = [stream(refs.new_id)]
    if command.customer_id is not None:
        names.append(customer.stream(command.customer_id))
    if rule_of(command) in _LOOKED_FOR or not refs.location_id:
        names += map(product.stream, dict.fromkeys(refs.products))
    elif command.effective_at is None:
        # What `composing.streams` says of reserving now, without making the steps.
        place = refs.location_id
        names.append(location.stream(place))
        for product_id in dict.fromkeys(refs.products):
            names += (
                product.stream(product_id),
                stock_stream(product_id, place),
                listing.stream(product_id, place),
            )
    else:
        names += composing.streams(_candidates(command, refs, [refs.location_id]))
        names += _listings(refs, [refs.location_id])
    return names


def more_streams(command: PlaceOrder, refs: Refs, states: Mapping[str, State]) -> Sequence[str]:
    """The price tier of the customer."""
    tier_id = _tier_id(command, states)
    return () if tier_id is None else (price_tier.stream(tier_id),)


def lookups(
    command: PlaceOrder, refs: Refs, states: Mapping[str, State], now: datetime
) -> Sequence[Lookup]:
    """The active locations where stock is looked for; else what reserving must know."""
    if rule_of(command) in _LOOKED_FOR:
        return (_ACTIVE,)
    if not refs.location_id or command.effective_at is None:
        return ()
    return composing.lookups(_candidates(command, refs, [refs.location_id]), states, now)


def streams_after(command: PlaceOrder, refs: Refs, facts: Facts) -> Sequence[str]:
    """The stock and the listings at the locations that were found."""
    found = _found(command, refs, facts)
    if not found:
        return ()
    return [*composing.streams(found), *_listings(refs, facts.found[_ACTIVE])]


def lookups_after(
    command: PlaceOrder, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Sequence[Lookup]:
    """What reserving at the locations that were found must know."""
    if command.effective_at is None:
        return ()
    return composing.lookups(_found(command, refs, facts), states, facts.now)


def decide(command: PlaceOrder, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    """Return the order and its reservations.

    Refusals: InvalidCommand, ProductNotFound, ProductIsDiscontinued, ProductIsInactive,
    LocationNotFound, CustomerNotFound, CustomerIsErased, ProductIsDisabled, InsufficientForLine,
    OrderTotalOutOfBounds, and those of reserving stock.
    """
    at = moment(command.effective_at, facts.now)
    if isinstance(at, InvalidCommand):
        return at
    refusal = _contradiction(command)
    if refusal is not None:
        return refusal
    if command.customer_id is not None:
        buyer: CustomerState = states[customer.stream(command.customer_id)]
        if not buyer.customer_id:
            return CustomerNotFound(customer_id=command.customer_id)
        if buyer.is_erased:
            return CustomerIsErased(customer_id=command.customer_id)
    wanted = _wanted(command, refs, states)
    if isinstance(wanted, Refusal):
        return wanted
    places = _places(command, refs, states, facts)
    if isinstance(places, Refusal):
        return places
    rule = rule_of(command)
    allocation = allocate(rule, wanted, places, Availability(states, facts, at))
    if isinstance(allocation, Refusal):
        return allocation
    prices = _prices(command, wanted, allocation, states)
    if isinstance(prices, Refusal):
        return prices
    order_id = refs.new_id
    number = f"ORD-{order_id}"
    composed = Composed(states, facts)
    placed: list[OrderLine] = []
    for line, price, claims in zip(wanted, prices, allocation.claims, strict=True):
        line_id = order_id * 1000 + line.line + 1
        waiting = line.quantity
        for claim in claims:
            part = Part(line_id, line.product_id, claim.location_id, claim.quantity)
            reserved = composed.add(reserve(number, part, command.effective_at))
            if isinstance(reserved, Refusal):
                return reserved
            waiting -= claim.quantity
        entry = command.lines[line.line]
        is_own = entry.unit is None or entry.unit == _unit(line.product_id, states)
        placed.append(
            OrderLine(
                id=line_id,
                product_id=line.product_id,
                quantity=line.quantity,
                unit_price=price.unit_price,
                price_source=price.source,
                claims=claims,
                backordered=waiting,
                unit=None if is_own else entry.unit,
                entered_quantity=None if is_own else entry.quantity,
            )
        )
    total = total_amount(placed)
    if isinstance(total, Refusal):
        return total
    event = OrderPlaced(
        order_id=order_id,
        order_number=number,
        channel=command.channel,
        lines=tuple(placed),
        total_amount=total,
        allocation=rule,
        customer_id=command.customer_id,
        location_id=allocation.location_id,
        considered=allocation.considered,
        shipping_address=command.shipping_address,
        reference=command.reference,
        notes=command.notes,
    )
    return [NewEvent(stream(order_id), event, at), *composed.events]


def _contradiction(command: PlaceOrder) -> InvalidCommand | None:
    if command.location_id is not None and command.location is not None:
        return InvalidCommand(field="location", fault="give only one of location_id and location")
    if command.allocation is not None and rule_of(command) == "named":
        fault = "must be left out where a location is named; leave one of the two out"
        return InvalidCommand(field="allocation", fault=fault)
    return None


def _tier_id(command: PlaceOrder, states: Mapping[str, State]) -> int | None:
    if command.customer_id is None:
        return None
    buyer: CustomerState = states[customer.stream(command.customer_id)]
    return buyer.price_tier_id


def _wanted(command: PlaceOrder, refs: Refs, states: Mapping[str, State]) -> list[Wanted] | Refusal:
    """Return what is wanted for the lines, in their order."""
    wanted: list[Wanted] = []
    for index, (entry, product_id) in enumerate(zip(command.lines, refs.products, strict=True)):
        sold: ProductState = states[product.stream(product_id)]
        refusal = _not_for_sale(sold, product_id, index)
        if refusal is not None:
            return refusal
        quantity = in_own_unit(sold, entry.quantity, entry.unit)
        if isinstance(quantity, InvalidCommand):
            return InvalidCommand(field=f"lines[{index}].{quantity.field}", fault=quantity.fault)
        wanted.append(Wanted(index, product_id, sold.sku, quantity, sold.backorders))
    return wanted


def _prices(
    command: PlaceOrder,
    wanted: Sequence[Wanted],
    allocation: Allocation,
    states: Mapping[str, State],
) -> list[Price] | InvalidCommand:
    """Return what the lines cost, each where it was looked for first."""
    tier_id = _tier_id(command, states)
    tier: PriceTierState | None = None if tier_id is None else states[price_tier.stream(tier_id)]
    prices: list[Price] = []
    for line, listed in zip(wanted, allocation.listings, strict=True):
        sold: ProductState = states[product.stream(line.product_id)]
        entry = command.lines[line.line]
        price = price_of(entry, line.line, sold, line.quantity, tier, listed.price)
        if isinstance(price, InvalidCommand):
            return price
        prices.append(price)
    return prices


def _unit(product_id: int, states: Mapping[str, State]) -> str:
    ordered: ProductState = states[product.stream(product_id)]
    return ordered.unit


def _not_for_sale(sold: ProductState, product_id: int, index: int) -> Refusal | None:
    if not sold.product_id:
        return ProductNotFound(product_id=product_id)
    if sold.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=sold.sku)
    if not sold.is_active:
        return ProductIsInactive(product_id=product_id, sku=sold.sku, line=index)
    return None


def _places(
    command: PlaceOrder, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Sequence[int] | Refusal:
    """Return the locations to reserve at, the default one first, or why there is none."""
    if rule_of(command) in _LOOKED_FOR:
        places: Sequence[int] = facts.found[_ACTIVE]
        if len(places) * len(set(refs.products)) > PLACES_MAX:
            fault = (
                f"would have to look at {len(places)} locations for each of "
                f"{len(set(refs.products))} products; name a location, or split the order up"
            )
            return InvalidCommand(field="allocation", fault=fault)
        if places:
            return places
    elif refs.location_id:
        place: LocationState = states[location.stream(refs.location_id)]
        if not place.location_id:
            return LocationNotFound(location_id=refs.location_id)
        return (refs.location_id,)
    fault = "must be given, as there is no location yet to reserve at; open one first"
    return InvalidCommand(field="location_id", fault=fault)


def _candidates(command: PlaceOrder, refs: Refs, places: Sequence[int]) -> list[Step]:
    """Return one step for each place that may be reserved at."""
    quantities = dict(zip(refs.products, (line.quantity for line in command.lines), strict=True))
    return [
        reserve("", Part(0, product_id, place, quantity), command.effective_at)
        for product_id, quantity in quantities.items()
        for place in places
    ]


def _found(command: PlaceOrder, refs: Refs, facts: Facts) -> list[Step]:
    if rule_of(command) not in _LOOKED_FOR:
        return []
    places: Sequence[int] = facts.found[_ACTIVE]
    if len(places) * len(set(refs.products)) > PLACES_MAX:
        return []
    return _candidates(command, refs, places)


def _listings(refs: Refs, places: Sequence[int]) -> list[str]:
    """Return the streams of the listings of the lines' products at some places."""
    return [
        listing.stream(product_id, place)
        for product_id in dict.fromkeys(refs.products)
        for place in places
    ]
