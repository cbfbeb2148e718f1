"""Reservations: claims on what is available, which end by use, by release or by expiry.

A hold lives until ``expires_at`` by the commit's time. Its id may be used again once it is
gone. What it claims, it claims from its own effective time on, so nothing can be done with it
effective before that.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from ledger.domain.backdating import Effect
from ledger.domain.decision import Decision, Facts, InvalidCommand, NewEvent, Refs, Refusal, State
from ledger.domain.posting import Place, expiries, measure, out_of_bounds, place_of, post
from ledger.domain.refusals import (
    ReservationExceeded,
    ReservationExists,
    ReservationExpired,
    ReservationNotFound,
)
from ledger.domain.stock_state import ZERO, Hold
from ledger.domain.tracked import Movement
from ledger.domain.tracking import is_plain, track
from schemas.stock import (
    ExtendReservation,
    IssueReserved,
    ReleaseReservation,
    ReservationExtended,
    ReservationReleased,
    ReserveStock,
    StockIssued,
    StockReserved,
)

EXPIRY_BEFORE: Final = datetime(3000, 1, 1, tzinfo=UTC)


def reserve(
    command: ReserveStock, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Claim what is available; nothing to do when the same claim stands untouched.

    Refusals: those of `posting`, InvalidCommand, ReservationExists.
    """
    place = _place(command, refs, states, facts)
    if isinstance(place, Refusal):
        return place
    measured = measure(place.product, command.quantity, command.unit)
    if isinstance(measured, Refusal):
        return measured
    quantity, unit, entered = measured
    reservation_id = command.reservation_id
    if reservation_id is None:
        reservation_id = _unused_id(place, refs.new_id)
    hold = place.stock.hold(reservation_id)
    if hold is not None and _is_live(hold, facts.now):
        same = Hold(quantity, hold.since, command.expires_at, command.owner)
        if hold == same:
            return []
        return ReservationExists(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            reservation_id=reservation_id,
            quantity=hold.quantity,
        )
    refusal = _expiry_refusal(command.expires_at, facts.now)
    if refusal is not None:
        return refusal
    event = StockReserved(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        reservation_id=reservation_id,
        owner=command.owner,
        expires_at=command.expires_at,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    too_much = out_of_bounds(place, place.stock.reserved + quantity)
    return too_much or post(place, facts, event, Effect(claimed=quantity))


def extend(
    command: ExtendReservation, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Move a live hold's expiry, to later or to sooner; nothing to do when it is so already.

    Refusals: those of `posting`, InvalidCommand, ReservationNotFound, ReservationExpired.
    """
    place = _place(command, refs, states, facts)
    if isinstance(place, Refusal):
        return place
    hold = _live_hold(place, command.reservation_id, facts.now)
    if isinstance(hold, Refusal):
        return hold
    refusal = _expiry_refusal(command.expires_at, facts.now)
    if refusal is not None:
        return refusal
    if command.expires_at == hold.expires_at:
        return []
    event = ReservationExtended(
        product_id=place.product_id,
        location_id=place.location_id,
        reservation_id=command.reservation_id,
        expires_at=command.expires_at,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return [NewEvent(place.stream, event, place.at)]


def release(
    command: ReleaseReservation, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Give back a hold or a part of it; nothing to do when it is gone.

    One that has expired is released as expired, whatever part was asked for.
    Refusals: those of `posting`, InvalidCommand, ReservationExceeded.
    """
    place = _place(command, refs, states, facts)
    if isinstance(place, Refusal):
        return place
    hold = place.stock.hold(command.reservation_id)
    if hold is None:
        return []
    if not _is_live(hold, facts.now):
        return expiries(place, facts.now, command.reservation_id)
    refusal = _too_early(place, hold)
    if refusal is not None:
        return refusal
    quantity = hold.quantity
    if command.quantity is not None:
        measured = measure(place.product, command.quantity, command.unit)
        if isinstance(measured, Refusal):
            return measured
        quantity = measured.quantity
        if quantity > hold.quantity:
            return _exceeded(place, command, quantity, hold)
    event = ReservationReleased(
        product_id=place.product_id,
        location_id=place.location_id,
        reservation_id=command.reservation_id,
        quantity=quantity,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    return post(place, facts, event, Effect(claimed=-quantity))


def issue(
    command: IssueReserved, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Let goods go out against a live hold: what is available stays as it is.

    Refusals: those of `posting` and `tracking`, InvalidCommand, ReservationNotFound,
    ReservationExpired, ReservationExceeded.
    """
    place = _place(command, refs, states, facts)
    if isinstance(place, Refusal):
        return place
    hold = _live_hold(place, command.reservation_id, facts.now)
    if isinstance(hold, Refusal):
        return hold
    refusal = _too_early(place, hold)
    if refusal is not None:
        return refusal
    quantity, unit, entered = hold.quantity, None, None
    if command.quantity is not None:
        measured = measure(place.product, command.quantity, command.unit)
        if isinstance(measured, Refusal):
            return measured
        quantity, unit, entered = measured
        if quantity > hold.quantity:
            return _exceeded(place, command, quantity, hold)
    event = StockIssued(
        product_id=place.product_id,
        location_id=place.location_id,
        quantity=quantity,
        unit=unit,
        entered_quantity=entered,
        reservation_id=command.reservation_id,
        unit_price=command.unit_price,
        reason=command.reason,
        reference=command.reference,
        notes=command.notes,
    )
    posted = post(place, facts, event, Effect(-quantity, ZERO, -quantity))
    if is_plain(place.product, command):
        return posted
    lots, serials = command.lots, command.serials
    return track(posted, Movement(place, event, refs, states, facts, lots, serials, None, "use"))


_Command = ReserveStock | ExtendReservation | ReleaseReservation | IssueReserved


def _place(
    command: _Command, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Place | Refusal:
    return place_of(refs.product_id, refs.location_id, command.effective_at, states, facts.now)


def _is_live(hold: Hold, now: datetime) -> bool:
    return hold.expires_at is None or hold.expires_at > now


def _live_hold(place: Place, reservation_id: str, now: datetime) -> Hold | Refusal:
    hold = place.stock.hold(reservation_id)
    if hold is None:
        return ReservationNotFound(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            reservation_id=reservation_id,
        )
    if hold.expires_at is not None and hold.expires_at <= now:
        return ReservationExpired(
            product_id=place.product_id,
            location_id=place.location_id,
            sku=place.product.sku,
            reservation_id=reservation_id,
            expires_at=hold.expires_at,
        )
    return hold


def _unused_id(place: Place, new_id: int) -> str:
    """Return the counted id, or one made from it where a client has taken that name."""
    reservation_id = str(new_id)
    while place.stock.hold(reservation_id) is not None:
        reservation_id += "'"
    return reservation_id


def _expiry_refusal(expires_at: datetime | None, now: datetime) -> InvalidCommand | None:
    if expires_at is None:
        return None
    if expires_at <= now:
        fault = f"{expires_at.isoformat()} is past; give a later time, or none at all"
        return InvalidCommand(field="expires_at", fault=fault)
    if expires_at >= EXPIRY_BEFORE:
        fault = f"must be before the year {EXPIRY_BEFORE.year}; give none to hold until released"
        return InvalidCommand(field="expires_at", fault=fault)
    return None


def _too_early(place: Place, hold: Hold) -> InvalidCommand | None:
    if place.at is None or place.at >= hold.since:
        return None
    fault = f"the reservation is effective from {hold.since.isoformat()} only; give a later time"
    return InvalidCommand(field="effective_at", fault=fault)


def _exceeded(
    place: Place, command: ReleaseReservation | IssueReserved, requested: Decimal, hold: Hold
) -> ReservationExceeded:
    return ReservationExceeded(
        product_id=place.product_id,
        location_id=place.location_id,
        sku=place.product.sku,
        reservation_id=command.reservation_id,
        requested=requested,
        left=hold.quantity,
    )
