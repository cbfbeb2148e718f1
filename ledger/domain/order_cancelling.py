"""Cancelling what is open or reserved of an order, and reserving what is open.

Of a line, what is open is cancelled first, then what is reserved, the latest claim first: so
what is left is where it was looked for first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec

from ledger.domain import listing
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    ActiveLocations,
    Decision,
    Facts,
    NewEvent,
    RecordedEvent,
    Refusal,
    State,
)
from ledger.domain.listing import ListingState
from ledger.domain.location import LocationState
from ledger.domain.order_allocation import PLACES_MAX, Availability, Wanted, spread
from ledger.domain.order_figures import figures, in_own_units, line_not_found
from ledger.domain.order_state import (
    ZERO,
    LineState,
    OrderState,
    evolve,
    stream,
)
from ledger.domain.order_steps import Part, claim_more, release
from ledger.domain.order_transitions import FULFILLABLE
from ledger.domain.refusals_orders import CancellableExceeded, NothingToCancel
from ledger.domain.stock_state import stream as stock_stream
from schemas.order import (
    AllocateBackorder,
    BackorderAllocated,
    CancelledLine,
    CancelOrderLines,
    Claim,
    MovedLine,
    OrderCancelled,
    OrderLineQuantity,
    OrderLinesCancelled,
)

# --- cancelling -------------------------------------------------------------------------


def cancel_steps(state: OrderState, command: CancelOrderLines) -> list[Step]:
    """Return the steps that cancelling may take: the release of every claim."""
    return [
        release(_part(line, claim), command.effective_at, command.reason)
        for line in state.lines
        for claim in line.claims
    ]


def cancel(
    state: OrderState,
    command: CancelOrderLines,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what ends of an order, and the releases of what was reserved for that.

    Nothing to do for an order that is cancelled whole. Refusals: InvalidCommand,
    OrderLineNotFound, CancellableExceeded, NothingToCancel, and those of stock.
    """
    if state.status == "cancelled" and not command.lines:
        return []
    lines = in_own_units(state, command.lines, states)
    if isinstance(lines, Refusal):
        return lines
    ended = _ended(state, lines, states)
    if isinstance(ended, Refusal):
        return ended
    if not ended:
        return NothingToCancel(order_id=state.order_id, order_status=state.status)
    composed = Composed(states, facts)
    for line, cancelled in ended:
        for claim in cancelled.released:
            step = release(_part(line, claim), command.effective_at, command.reason)
            done = composed.add(step)
            if isinstance(done, Refusal):
                return done
    event: OrderLinesCancelled | OrderCancelled = OrderLinesCancelled(
        order_id=state.order_id,
        lines=tuple(cancelled for _, cancelled in ended),
        reason=command.reason,
        notes=command.notes,
    )
    after = evolve(state, RecordedEvent(0, "", 0, event, facts.now, facts.now))
    if after.is_served and after.has_fulfilled:
        event = msgspec.structs.replace(event, complete=True)
    elif after.is_served:
        event = OrderCancelled(
            order_id=event.order_id, lines=event.lines, reason=event.reason, notes=event.notes
        )
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def _part(line: LineState, claim: Claim) -> Part:
    return Part(line.id, line.product_id, claim.location_id, claim.quantity)


def _ended(
    state: OrderState, lines: Sequence[OrderLineQuantity], states: Mapping[str, State]
) -> list[tuple[LineState, CancelledLine]] | Refusal:
    """Return what ends of which line; no lines stand for all that is open or reserved."""
    if not lines:
        return [
            (line, CancelledLine(order_item_id=line.id, open=line.open, released=line.claims))
            for line in state.lines
            if line.open or line.claims
        ]
    # A line may be named twice; it is cancelled once, by both together.
    asked: dict[int, Decimal] = {}
    for each in lines:
        asked[each.order_item_id] = asked.get(each.order_item_id, ZERO) + each.quantity
    ended: list[tuple[LineState, CancelledLine]] = []
    for order_item_id, quantity in asked.items():
        line = state.line(order_item_id)
        if line is None:
            return line_not_found(state, order_item_id)
        open_part = min(line.open, quantity)
        rest = quantity - open_part
        released: list[Claim] = []
        for claim in reversed(line.claims):
            taken = min(claim.quantity, rest)
            if taken:
                released.append(Claim(location_id=claim.location_id, quantity=taken))
                rest -= taken
        if rest:
            return CancellableExceeded(**figures(state, line, quantity, states))
        cancelled = CancelledLine(order_item_id=line.id, open=open_part, released=tuple(released))
        ended.append((line, cancelled))
    return ended


# --- allocating -------------------------------------------------------------------------


def _open_products(state: OrderState) -> tuple[int, ...]:
    """Return the products of which something is open that may be reserved."""
    if state.status not in FULFILLABLE:
        return ()
    return tuple(dict.fromkeys(line.product_id for line in state.lines if line.open))


def allocate_lookups(state: OrderState) -> list[ActiveLocations]:
    """Ask for the active locations, for what is open of an order that is split over them."""
    products = _open_products(state)
    return [ActiveLocations(products)] if products and state.allocation == "split" else []


def allocate_streams(facts: Facts) -> list[str]:
    """Return the stock at the locations that were found, and how the products are listed there."""
    names: dict[str, None] = {}
    for lookup, places in facts.found.items():
        if isinstance(lookup, ActiveLocations):
            for product_id in lookup.products if _are_few(lookup, places) else ():
                for place in places:
                    names[f"location-{place}"] = None
                    names[stock_stream(product_id, place)] = None
                    names[listing.stream(product_id, place)] = None
    return list(names)


def _are_few(lookup: ActiveLocations, places: Sequence[int]) -> bool:
    return len(lookup.products) * len(places) <= PLACES_MAX


def _places(state: OrderState, facts: Facts | None) -> Sequence[int]:
    """Return where what is open is looked for: all active locations, if the order is split.

    Where these are not known yet, or too many, it is where it was looked when it was placed.
    """
    for lookup in allocate_lookups(state):
        places: Sequence[int] | None = None if facts is None else facts.found[lookup]
        if places is not None and _are_few(lookup, places):
            return places
    return state.places


def allocate_steps(
    state: OrderState, command: AllocateBackorder, facts: Facts | None
) -> list[Step]:
    """Return the steps that allocating may take: more of every open line, at every place."""
    return [
        step
        for line in state.lines
        if line.open and state.status in FULFILLABLE
        for place in _places(state, facts)
        for step in claim_more(
            state.order_number,
            Part(line.id, line.product_id, place, line.open),
            line.claimed_at(place),
            command.effective_at,
        )
    ]


def listed_streams(state: OrderState) -> list[str]:
    """Return the listings that tell where what is open must not be reserved."""
    if state.allocation != "split":
        return []
    return [
        listing.stream(product_id, place)
        for product_id in _open_products(state)
        for place in state.places
    ]


def allocate(
    state: OrderState,
    command: AllocateBackorder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return the reservations of what is open, as far as it is available now.

    Lines are served in their order: at the order's one location, or, of an order that is split,
    at all locations that are active now and sell the product, by the rule that it was placed by.
    Nothing to do when nothing is open, or nothing is available. Refusals: those of reserving
    stock.
    """
    if state.status not in FULFILLABLE:
        return []
    availability = Availability(states, facts, at)
    composed = Composed(states, facts)
    moved: list[MovedLine] = []
    places = _places(state, facts)
    for index, line in enumerate(state.lines):
        # The streams of a line of which nothing is open have not been read.
        if not line.open:
            continue
        product_id = line.product_id
        sold = [place for place in places if _is_sold_at(state, product_id, place, states)]
        wanted = Wanted(index, product_id, "", line.open, backorders=True)
        for claim in spread(wanted, sold, availability):
            place = claim.location_id
            part = Part(line.id, product_id, place, claim.quantity)
            for step in claim_more(
                state.order_number, part, line.claimed_at(place), command.effective_at
            ):
                done = composed.add(step)
                if isinstance(done, Refusal):
                    return done
            moved.append(
                MovedLine(
                    order_item_id=line.id,
                    product_id=product_id,
                    location_id=place,
                    quantity=claim.quantity,
                )
            )
    if not moved:
        return []
    event = BackorderAllocated(order_id=state.order_id, lines=tuple(moved), notes=command.notes)
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def _is_sold_at(
    state: OrderState, product_id: int, place: int, states: Mapping[str, State]
) -> bool:
    """Tell whether a line of an order that is split may be served from a place."""
    if state.allocation != "split":
        return True
    location: LocationState = states[f"location-{place}"]
    listed: ListingState = states[listing.stream(product_id, place)]
    return location.is_active and not listed.disabled
