"""Stock: a product at a location. What may happen to it, and what must not.

The state and its fold are in `stock_state`, the rules of time and availability that all
decisions share in `posting`, and what is a subject of its own in `counts`, `reservations`,
`transfers` and `reversal`; of which lots and serials a movement is, in `tracking`. This module
holds the plain movements and the decider.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

from ledger.domain import books, counts, lot, reservations, reversal, serial, transfers
from ledger.domain.backdating import Effect
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
    SerialsAt,
    State,
)
from ledger.domain.lots import later_streams
from ledger.domain.movements import NUMBERED
from ledger.domain.posting import (
    Measured,
    Place,
    measure,
    moment,
    must_be_active,
    place_of,
    post,
)
from ledger.domain.product import ProductState
from ledger.domain.refusals_tracking import ReservationIsAnOrders
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
from ledger.domain.tracked import Movement, Purpose
from ledger.domain.tracking import track
from schemas.common import Command, Event
from schemas.lot import SerialStatus
from schemas.stock import (
    SERIALS_MAX,
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


def _movement(
    place: Place,
    event: Event,
    command: _AtPlace,
    refs: Refs,
    states: Mapping[str, State],
    facts: Facts,
    purpose: Purpose = "correction",
) -> Movement:
    lots, serials = command.lots, command.serials
    return Movement(place, event, refs, states, facts, lots, serials, None, purpose)


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
        unit_price=command.unit_price,
        returns=command.returns,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    posted = post(place, facts, event, Effect(quantity))
    if place.product.tracking_type == "none" and not command.lots and not command.serials:
        return posted
    return track(posted, _movement(place, event, command, refs, states, facts))


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
        destination=command.destination,
        unit_price=command.unit_price,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    posted = post(place, facts, event, Effect(-quantity))
    if place.product.tracking_type == "none" and not command.lots and not command.serials:
        return posted
    # What goes back to its supplier may well be past its date.
    purpose = "use" if command.destination == "customer" else "correction"
    return track(posted, _movement(place, event, command, refs, states, facts, purpose))


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
    posted = post(place, facts, event, Effect(quantity))
    if place.product.tracking_type == "none" and not command.lots and not command.serials:
        return posted
    return track(posted, _movement(place, event, command, refs, states, facts))


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
    posted = post(place, facts, event, Effect(-quantity, quantity))
    if place.product.tracking_type == "none" and not command.lots and not command.serials:
        return posted
    return track(posted, _movement(place, event, command, refs, states, facts))


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
    posted = post(place, facts, event, Effect(restocked, -quantity))
    if place.product.tracking_type == "none" and not command.lots and not command.serials:
        return posted
    return track(posted, _movement(place, event, command, refs, states, facts))


# --- the decider ------------------------------------------------------------------------

_Decide = Callable[[Any, Refs, Mapping[str, State], Facts], Decision]

_DECISIONS: Final[Mapping[type[Command], _Decide]] = {
    ReceiveStock: _receive,
    IssueStock: _issue,
    AdjustStock: _adjust,
    CountStock: counts.count,
    SetStock: counts.set_on_hand,
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
# What moves no goods, and so is of no lots and serials.
_UNMOVED: Final = frozenset({ReserveStock, ExtendReservation, ReleaseReservation})
# What takes goods from where serials have this status.
_PICKED_FROM: Final[Mapping[type[Command], SerialStatus]] = {
    IssueStock: "in_stock",
    IssueReserved: "in_stock",
    AdjustStock: "in_stock",
    SetStock: "in_stock",
    TransferStock: "in_stock",
    ShipTransfer: "in_stock",
    QuarantineStock: "in_stock",
    ReleaseQuarantine: "quarantined",
}

ORDERS_OWN: Final = "order:"
"""What the reservation ids that belong to orders begin with."""


class StockDecider(Decider):
    """The decider of stock. A transfer's first stream is the source's."""

    def allocates(self, command: Any) -> str | None:
        """Transfers count an id, and reservations that the client has not named."""
        if type(command) is ReserveStock:
            return "reservation" if command.reservation_id is None else None
        return "transfer" if type(command) in _NUMBERED else None

    def streams(self, command: Any, refs: Refs) -> Sequence[str]:
        """The stock, product and location, and a transfer's destination; see `reversal`.

        Of another time than now also the books, which may be closed; and the lots and serials
        that are named.
        """
        if isinstance(command, ReverseMovement):
            return ()
        product_id, location_id, to_location_id, _, _, lots, serials, _, _ = refs
        names = (
            f"stock-{product_id}-{location_id}",
            f"product-{product_id}",
            f"location-{location_id}",
        )
        if to_location_id:
            names = (*names, f"stock-{product_id}-{to_location_id}", f"location-{to_location_id}")
        if command.effective_at is not None:
            names = (*names, books.STREAM)
        if lots:
            names = (*names, *(lot.stream(number) for number in lots.values() if number))
        if serials:
            names = (*names, *(serial.stream(number) for number in serials.values() if number))
        return names

    def more_streams(self, command: Any, refs: Refs, states: Mapping[str, State]) -> Sequence[str]:
        """The lots that are here, since their dates say which go out; serials on their way here."""
        product: ProductState | None = states.get(f"product-{refs[0]}")
        if product is None or product.tracking_type == "none":
            return ()
        stock: StockState | None = states.get(stream(refs.product_id, refs.location_id))
        if stock is None or type(command) in _UNMOVED:
            return ()
        if product.tracking_type == "batch":
            return [lot.stream(lot_id) for lot_id in stock.lots if lot_id != NUMBERED]
        if not isinstance(command, ReceiveTransfer):
            return ()
        incoming = stock.incoming.get(command.transfer_id)
        return () if incoming is None else [serial.stream(each) for each in incoming.serials]

    def lookups(
        self, command: Any, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """The later events where one may be short, or is a count; a movement to be undone.

        The serials that can be picked, where units are to go out that the client has not named.
        """
        if isinstance(command, ReverseMovement):
            return (EventAt(command.position),)
        product: ProductState = states[f"product-{refs[0]}"]
        effective_at = command.effective_at
        if effective_at is None:
            return () if product.tracking_type != "serial" else _picks(command, refs, states, False)
        at = moment(effective_at, now)
        kind = cast("type[Command]", type(command))
        if at is None or isinstance(at, InvalidCommand):
            return ()
        if kind in _TIMELESS:
            return () if product.tracking_type != "serial" else _picks(command, refs, states, False)
        # Of what is tracked something may be short lot by lot, whatever the total does.
        is_plain = product.tracking_type == "none"
        raises = is_plain and (kind in _RAISING or (kind is AdjustStock and command.quantity > 0))
        wanted: list[Lookup] = []
        places = ((refs.location_id, raises), (refs.to_location_id, is_plain))
        for location_id, only_raised in places:
            if not location_id:
                continue
            name = stream(refs.product_id, location_id)
            stock: StockState = states[name]
            last = stock.last_count_at if only_raised else stock.last_effective_at
            if last is not None and at < last:
                wanted.append(LaterEvents(name, at))
        if product.tracking_type == "serial":
            wanted += _picks(command, refs, states, bool(wanted))
        return wanted

    def streams_after(self, command: Any, refs: Refs, facts: Facts) -> Sequence[str]:
        """The streams of a movement to be undone; lots that were here, serials that are."""
        if isinstance(command, ReverseMovement):
            return reversal.streams(command, facts)
        names = later_streams(facts)
        for lookup, answer in facts.found.items():
            if isinstance(lookup, SerialsAt):
                names.update(dict.fromkeys(serial.stream(each) for each in answer))
        return list(names)

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
        """Return the events, nothing when it is so already, or a refusal.

        Refusals: ReservationIsAnOrders, and those of the commands.
        """
        return _BY_CLIENTS[type(command)](command, refs, states, facts)


def decide_step(command: Any, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    """Decide a command that is a step of a larger one, which may act on an order's claims."""
    return _DECISIONS[type(command)](command, refs, states, facts)


def _own_claims_only(decide: _Decide) -> _Decide:
    """Return a decision about a reservation that keeps clients off those of orders."""

    def decide_by_client(
        command: Any, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        reservation_id: str | None = command.reservation_id
        if reservation_id is not None and reservation_id.startswith(ORDERS_OWN):
            return ReservationIsAnOrders(reservation_id=reservation_id)
        return decide(command, refs, states, facts)

    return decide_by_client


_BY_CLIENTS: Final[Mapping[type[Command], _Decide]] = {
    **_DECISIONS,
    **{
        kind: _own_claims_only(_DECISIONS[kind])
        for kind in (ReserveStock, ExtendReservation, ReleaseReservation, IssueReserved)
    },
}


def _picks(
    command: Any, refs: Refs, states: Mapping[str, State], is_late: bool
) -> Sequence[Lookup]:
    """Return what finds the serials to pick from, where the client has named none.

    Of a movement in the past some may turn out to have moved since.
    """
    kind = cast("type[Command]", type(command))
    status = _PICKED_FROM.get(kind)
    if status is None or getattr(command, "serials", ()):
        return ()
    product: ProductState = states[f"product-{refs.product_id}"]
    stock: StockState = states[stream(refs.product_id, refs.location_id)]
    if command.quantity is None:
        hold = stock.hold(command.reservation_id)
        units = ZERO if hold is None else hold.quantity
    else:
        measured = measure(product, command.quantity, command.unit)
        if isinstance(measured, Refusal):
            return ()
        units = measured.quantity
        if isinstance(command, AdjustStock):
            units = -units
        elif isinstance(command, SetStock):
            units = stock.on_hand - units
    if units <= 0:
        return ()
    limit = SERIALS_MAX + 1 if is_late else min(int(units), SERIALS_MAX + 1)
    return (SerialsAt(refs.product_id, refs.location_id, status, limit),)


DECIDER: Final = StockDecider()
