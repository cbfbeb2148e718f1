"""Stock: a product at a location. What may happen to it, and what must not.

The state and its fold are in `stock_state`, the rules of time and availability that all
decisions share in `posting`, and what is a subject of its own in `reservations`, `transfers`
and `reversal`. This module holds the plain movements, counts, and the decider.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from ledger.domain import reservations, reversal, transfers
from ledger.domain.backdating import Effect, later_events, total_effect
from ledger.domain.decision import (
    Decider,
    Decision,
    EventAt,
    Facts,
    InvalidCommand,
    LaterEvents,
    Lookup,
    Refs,
    Refusal,
    State,
)
from ledger.domain.posting import (
    AHEAD_MAX,
    Measured,
    Place,
    is_late,
    measure,
    moment,
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
from ledger.domain.stock_state import (
    INITIAL,
    STATE_VERSION,
    ZERO,
    Hold,
    Incoming,
    StockState,
    evolve,
    has_stock,
    stream,
)
from schemas.common import Command
from schemas.stock import (
    AdjustStock,
    CountStock,
    ExtendReservation,
    IssueReserved,
    IssueStock,
    QuarantineReleased,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    TransferStock,
)

__all__ = [
    "DECIDER",
    "INITIAL",
    "STATE_VERSION",
    "Hold",
    "Incoming",
    "StockState",
    "evolve",
    "has_stock",
    "stream",
]


# --- plain movements --------------------------------------------------------------------

_AtPlace = ReceiveStock | IssueStock | AdjustStock | QuarantineStock | ReleaseQuarantine


def _measured(
    command: _AtPlace, refs: Refs, states: Mapping[str, State], facts: Facts
) -> tuple[Place, Measured] | Refusal:
    """Return the place a command is about and its quantity, or why there is none."""
    place = place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)
    if isinstance(place, Refusal):
        return place
    measured = measure(place.product, command.quantity, command.unit)
    if isinstance(measured, Refusal):
        return measured
    return place, measured


def _receive(
    command: ReceiveStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    found = _measured(command, refs, states, facts)
    if isinstance(found, Refusal):
        return found
    place, (quantity, unit, entered) = found
    inactive = must_be_active(place.location)
    if inactive is not None:
        return inactive
    event = StockReceived(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        source=command.source,
        unit_cost=command.unit_cost,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return post(place, facts, event, Effect(quantity))


def _issue(command: IssueStock, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    found = _measured(command, refs, states, facts)
    if isinstance(found, Refusal):
        return found
    place, (quantity, unit, entered) = found
    event = StockIssued(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return post(place, facts, event, Effect(-quantity))


def _adjust(
    command: AdjustStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    found = _measured(command, refs, states, facts)
    if isinstance(found, Refusal):
        return found
    place, (quantity, unit, entered) = found
    if quantity > 0:
        inactive = must_be_active(place.location)
        if inactive is not None:
            return inactive
    event = StockAdjusted(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return post(place, facts, event, Effect(quantity))


def _quarantine(
    command: QuarantineStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    found = _measured(command, refs, states, facts)
    if isinstance(found, Refusal):
        return found
    place, (quantity, unit, entered) = found
    event = StockQuarantined(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return post(place, facts, event, Effect(-quantity, quantity))


def _release_quarantine(
    command: ReleaseQuarantine, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    found = _measured(command, refs, states, facts)
    if isinstance(found, Refusal):
        return found
    place, (quantity, unit, entered) = found
    event = QuarantineReleased(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        disposition=command.disposition,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    restocked = quantity if command.disposition == "restock" else ZERO
    return post(place, facts, event, Effect(restocked, -quantity))


# --- counts and absolute figures --------------------------------------------------------


def _count(command: CountStock, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
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
        return decision
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


def _set(command: SetStock, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
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
    return out_of_bounds(place, delta) or post(place, facts, event, Effect(delta))


# --- the decider ------------------------------------------------------------------------

_Decide = Callable[[Any, Refs, Mapping[str, State], Facts], Decision]

_DECISIONS: Final[Mapping[type[Command], _Decide]] = {
    ReceiveStock: _receive,
    IssueStock: _issue,
    AdjustStock: _adjust,
    CountStock: _count,
    SetStock: _set,
    QuarantineStock: _quarantine,
    ReleaseQuarantine: _release_quarantine,
    TransferStock: transfers.transfer,
    ShipTransfer: transfers.ship,
    ReceiveTransfer: transfers.receive,
    ReserveStock: reservations.reserve,
    ExtendReservation: reservations.extend,
    ReleaseReservation: reservations.release,
    IssueReserved: reservations.issue,
    ReverseMovement: reversal.reverse,
}

# What can only raise available; later events matter to these only for a count among them.
_RAISING: Final = frozenset({ReceiveStock, ReceiveTransfer, IssueReserved})
# What changes nothing on hand and lowers nothing, or is as of now whatever it says.
_TIMELESS: Final = frozenset({ReleaseReservation, ExtendReservation, SetStock})
_NUMBERED: Final = frozenset({TransferStock, ShipTransfer})


class StockDecider(Decider):
    """The decider of stock. A transfer's first stream is the source's."""

    def allocates(self, command: Any) -> str | None:
        """Transfers count an id, and reservations that the client has not named."""
        if type(command) is ReserveStock:
            return "reservation" if command.reservation_id is None else None
        return "transfer" if type(command) in _NUMBERED else None

    def streams(self, command: Any, refs: Refs) -> Sequence[str]:
        """The stock, product and location, and a transfer's destination; see `reversal`."""
        product_id, location_id, to_location_id, _ = refs
        if isinstance(command, ReverseMovement):
            return ()
        here = (
            f"stock-{product_id}-{location_id}",
            f"product-{product_id}",
            f"location-{location_id}",
        )
        if not to_location_id:
            return here
        return (*here, f"stock-{product_id}-{to_location_id}", f"location-{to_location_id}")

    def lookups(
        self, command: Any, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """The later events where one may be short, or is a count; a movement to be undone."""
        if isinstance(command, ReverseMovement):
            return (EventAt(command.position),)
        effective_at = command.effective_at
        if effective_at is None:
            return ()
        at = moment(effective_at, now)
        kind = cast("type[Command]", type(command))
        if at is None or isinstance(at, InvalidCommand) or kind in _TIMELESS:
            return ()
        raises = kind in _RAISING or (kind is AdjustStock and command.quantity > 0)
        wanted: list[Lookup] = []
        places = ((refs.location_id, raises), (refs.to_location_id, True))
        for location_id, only_raised in places:
            if not location_id:
                continue
            name = stream(refs.product_id, location_id)
            stock: StockState = states[name]
            last = stock.last_count_at if only_raised else stock.last_effective_at
            if last is not None and at < last:
                wanted.append(LaterEvents(name, at))
        return wanted

    def streams_after(self, command: Any, refs: Refs, facts: Facts) -> Sequence[str]:
        """The streams of a movement to be undone."""
        if isinstance(command, ReverseMovement):
            return reversal.streams(command, facts)
        return ()

    def lookups_after(
        self, command: Any, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Sequence[Lookup]:
        """The later events of a movement to be undone, where they matter."""
        if isinstance(command, ReverseMovement):
            return reversal.lookups(command, states, facts)
        return ()

    def decide(
        self, command: Any, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the events, nothing when it is so already, or a refusal."""
        return _DECISIONS[type(command)](command, refs, states, facts)


DECIDER: Final = StockDecider()
