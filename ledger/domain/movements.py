"""What each stock event moves: the one definition that read models and explanations use.

An event moves at most one positive quantity of its product from one account to another, each
at a location, so the sum over all accounts is zero after every event (invariant I5).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from schemas.common import Event
from schemas.stock import (
    Account,
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferLost,
    TransferReceived,
    TransferShipped,
)

UNRESTRICTED: Final = "unrestricted"
QUARANTINE: Final = "quarantine"
IN_TRANSIT: Final = "in_transit"
SUPPLIER: Final = "supplier"
CUSTOMER: Final = "customer"
ADJUSTMENT: Final = "adjustment"
LOSS: Final = "loss"

NUMBERED: Final = 0
"""Stands for a lot's id where units of a product are told apart by serial numbers."""


class Leg(NamedTuple):
    """So much, above zero, from one account at a location to another."""

    from_account: Account
    from_location_id: int
    to_account: Account
    to_location_id: int
    quantity: Decimal


def legs(event: Event) -> Leg | None:
    """Return what an event moves, or None when it moves nothing.

    Events with a signed quantity give a leg the other way round when it is below zero, and
    none when it is zero (a count that found what the books said).
    """
    return leg_of(type(event))(event)


def leg_of(kind: type[Event]) -> Callable[[Any], Leg | None]:
    """Return what `legs` does for events of one type: for whoever has many of them."""
    return _LEGS.get(kind, _none)


def parts_of(event: Event) -> list[tuple[int, Decimal]]:
    """Return how much of a movement was of which lot; the rest is of none that is known.

    Units with serial numbers are together one part, `NUMBERED`.
    """
    parts = [(part.lot_id, part.quantity) for part in getattr(event, "lots", ())]
    serials: tuple[int, ...] = getattr(event, "serials", ())
    if serials:
        parts.append((NUMBERED, Decimal(len(serials))))
    return parts


def claim_of(event: Event) -> tuple[str, Decimal] | None:
    """Return what an event changes of a reservation: its id and the signed difference.

    Above zero, more is claimed; None for an event that leaves all claims as they are.
    """
    claim = _CLAIMS.get(type(event))
    return None if claim is None else claim(event)


def _none(event: Event) -> None:
    """Most events move nothing."""


def _signed(event: Any, quantity: Decimal, to: Account) -> Leg | None:
    """Return adjustment -> ``to``, or back when ``quantity`` is below zero."""
    place: int = event.location_id
    if quantity > 0:
        return Leg(ADJUSTMENT, place, to, place, quantity)
    if quantity < 0:
        return Leg(to, place, ADJUSTMENT, place, -quantity)
    return None


def _received(event: StockReceived) -> Leg:
    return Leg(event.source, event.location_id, UNRESTRICTED, event.location_id, event.quantity)


def _issued(event: StockIssued) -> Leg:
    place = event.location_id
    return Leg(UNRESTRICTED, place, event.destination, place, event.quantity)


def _adjusted(event: StockAdjusted) -> Leg | None:
    return _signed(event, event.quantity, UNRESTRICTED)


def _counted(event: StockCounted) -> Leg | None:
    return _signed(event, event.variance, UNRESTRICTED)


def _revised(event: CountVarianceRevised) -> Leg | None:
    return _signed(event, event.quantity, UNRESTRICTED)


def _shipped(event: TransferShipped) -> Leg:
    return Leg(UNRESTRICTED, event.location_id, IN_TRANSIT, event.to_location_id, event.quantity)


def _arrived(event: TransferReceived) -> Leg:
    return Leg(IN_TRANSIT, event.location_id, UNRESTRICTED, event.location_id, event.quantity)


def _lost(event: TransferLost) -> Leg:
    return Leg(IN_TRANSIT, event.location_id, LOSS, event.location_id, event.quantity)


def _quarantined(event: StockQuarantined) -> Leg:
    return Leg(UNRESTRICTED, event.location_id, QUARANTINE, event.location_id, event.quantity)


def _unblocked(event: QuarantineReleased) -> Leg:
    to: Literal["unrestricted", "loss"] = "unrestricted" if event.disposition == "restock" else LOSS
    return Leg(QUARANTINE, event.location_id, to, event.location_id, event.quantity)


def _reversed(event: MovementReversed) -> Leg | None:
    # A count that had found what the books said is withdrawn without anything moving.
    if not event.quantity:
        return None
    return Leg(
        event.from_account,
        event.from_location_id,
        event.to_account,
        event.to_location_id,
        event.quantity,
    )


_LEGS: Final[Mapping[type[Event], Callable[[Any], Leg | None]]] = {
    StockReceived: _received,
    StockIssued: _issued,
    StockAdjusted: _adjusted,
    StockCounted: _counted,
    CountVarianceRevised: _revised,
    TransferShipped: _shipped,
    TransferReceived: _arrived,
    TransferLost: _lost,
    StockQuarantined: _quarantined,
    QuarantineReleased: _unblocked,
    MovementReversed: _reversed,
}
MOVING: Final = frozenset(_LEGS)
"""The types of events that may move something."""


def _claimed(event: StockReserved) -> tuple[str, Decimal]:
    return event.reservation_id, event.quantity


def _given_back(event: ReservationReleased) -> tuple[str, Decimal]:
    return event.reservation_id, -event.quantity


def _used_up(event: StockIssued) -> tuple[str, Decimal] | None:
    return None if event.reservation_id is None else (event.reservation_id, -event.quantity)


_CLAIMS: Final[Mapping[type[Event], Callable[[Any], tuple[str, Decimal] | None]]] = {
    StockReserved: _claimed,
    ReservationReleased: _given_back,
    StockIssued: _used_up,
}
