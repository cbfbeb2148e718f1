"""Counts, and absolute figures from systems that synchronise.

What a count misses of a tracked product is of no known lot first (`ledger.domain.lots`). Of
units with serial numbers somebody has to say which are missing. An absolute figure is no look
at the shelf: what it takes is picked as any other correction.
"""

from collections.abc import Mapping

from ledger.domain.backdating import Effect, later_events, total_effect
from ledger.domain.decision import Decision, Facts, InvalidCommand, Refs, Refusal, State
from ledger.domain.posting import (
    AHEAD_MAX,
    is_late,
    measure,
    must_be_active,
    out_of_bounds,
    place_of,
    post,
)
from ledger.domain.product import in_own_unit
from ledger.domain.refusals import (
    CountBelowClaims,
    CountBelowQuarantine,
    InsufficientStock,
    QuantityConflict,
)
from ledger.domain.tracked import Movement
from ledger.domain.tracking import track
from schemas.stock import CountStock, SetStock, StockAdjusted, StockCounted


def count(command: CountStock, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    """Record what was found, and the difference to what the books say of that time.

    A location that is not active can be counted: it says what is there, not that more comes.
    """
    place = place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)
    if isinstance(place, Refusal):
        return place
    measured = measure(place.product, command.quantity, command.unit)
    if isinstance(measured, Refusal):
        return measured
    counted, unit, entered = measured
    stock = place.stock
    expected, quarantined = stock.on_hand, stock.quarantine
    if place.at is not None and is_late(place):
        since = total_effect(later_events(facts, place.stream, place.at), place.location_id)
        expected -= since.on_hand
        quarantined -= since.quarantine
    if counted < quarantined:
        return CountBelowQuarantine(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            counted=counted,
            quarantined=quarantined,
        )
    variance = counted - expected
    event = StockCounted(
        product_id=place.product_id,
        location_id=place.location_id,
        counted=counted,
        expected=expected,
        variance=variance,
        unit=unit,
        entered_quantity=entered,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    decision = out_of_bounds(place, variance) or post(place, facts, event, Effect(variance))
    if not isinstance(decision, InsufficientStock):
        if place.product.tracking_type == "none":
            return decision
        return track(decision, Movement(place, event, refs, states, facts, purpose="missing"))
    return CountBelowClaims(
        product_id=place.product_id,
        location_id=place.location_id,
        sku=place.product.sku,
        counted=counted,
        reserved=stock.reserved_at(facts.now),
        quarantined=quarantined,
        available=decision.available - decision.requested,
        stock_limit=decision.stock_limit,
        at=decision.at,
    )


def set_on_hand(
    command: SetStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Record the difference that makes on hand what it is said to be, as of now.

    What was on hand in the past is for a count to say, so ``effective_at`` may be no further
    from now than two clocks differ.
    """
    if command.effective_at is not None and facts.now - command.effective_at > AHEAD_MAX:
        fault = "must be left out: an absolute figure is as of now; use CountStock for the past"
        return InvalidCommand(field="effective_at", fault=fault)
    place = place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)
    if isinstance(place, Refusal):
        return place
    place = place._replace(at=facts.now)
    measured = measure(place.product, command.quantity, command.unit)
    if isinstance(measured, Refusal):
        return measured
    quantity, unit, entered = measured
    present = place.stock.on_hand
    if command.expected_quantity is not None:
        expected = in_own_unit(
            place.product, command.expected_quantity, command.unit, "expected_quantity"
        )
        if isinstance(expected, Refusal):
            return expected
        if expected != present:
            return QuantityConflict(
                product_id=place.product_id,
                location_id=place.location_id,
                sku=place.product.sku,
                expected_quantity=expected,
                actual_quantity=present,
            )
    delta = quantity - present
    if not delta:
        return []
    if delta > 0:
        inactive = must_be_active(place.location)
        if inactive is not None:
            return inactive
    event = StockAdjusted(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=delta,
        set_to=quantity,
        unit=unit,
        entered_quantity=entered,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    decision = out_of_bounds(place, delta) or post(place, facts, event, Effect(delta))
    if place.product.tracking_type == "none":
        return decision
    return track(decision, Movement(place, event, refs, states, facts))
