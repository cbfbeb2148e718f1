"""What each stock event moves: the one definition that read models and explanations use.

An event moves at most one positive quantity of its product from one account to another, each
at a location, so the sum over all accounts is zero after every event (invariant I5).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, NamedTuple

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


class Told(NamedTuple):
    """An account that an event tells: by a field's value, or by what the value stands for."""

    field: str
    values: Mapping[str, Account] | None = None


class Rule(NamedTuple):
    """What the events of one type move: from where to where, and the fields that tell the rest.

    A quantity below zero moves the other way round, and one of zero (of a count that found what
    the books said, or of its reversal) moves nothing.
    """

    from_account: Account | Told
    to_account: Account | Told
    quantity: str = "quantity"
    from_place: str = "location_id"
    to_place: str = "location_id"


RULES: Final[Mapping[type[Event], Rule]] = {
    StockReceived: Rule(Told("source"), UNRESTRICTED),
    StockIssued: Rule(UNRESTRICTED, Told("destination")),
    StockAdjusted: Rule(ADJUSTMENT, UNRESTRICTED),
    StockCounted: Rule(ADJUSTMENT, UNRESTRICTED, quantity="variance"),
    CountVarianceRevised: Rule(ADJUSTMENT, UNRESTRICTED),
    TransferShipped: Rule(UNRESTRICTED, IN_TRANSIT, to_place="to_location_id"),
    TransferReceived: Rule(IN_TRANSIT, UNRESTRICTED),
    TransferLost: Rule(IN_TRANSIT, LOSS),
    StockQuarantined: Rule(UNRESTRICTED, QUARANTINE),
    QuarantineReleased: Rule(
        QUARANTINE, Told("disposition", {"restock": UNRESTRICTED, "scrap": LOSS})
    ),
    MovementReversed: Rule(
        Told("from_account"),
        Told("to_account"),
        from_place="from_location_id",
        to_place="to_location_id",
    ),
}
MOVING: Final = frozenset(RULES)
"""The types of events that may move something."""


def legs(event: Event) -> Leg | None:
    """Return what an event moves, or None when it moves nothing."""
    leg = _LEGS.get(type(event))
    return None if leg is None else leg(event)


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


def _leg_by(rule: Rule) -> Callable[[Any], Leg | None]:
    """Return what follows a rule for one event."""
    told = attrgetter(rule.quantity, rule.from_place, rule.to_place)
    from_account, to_account = _account_by(rule.from_account), _account_by(rule.to_account)

    def leg(event: Any) -> Leg | None:
        quantity, from_place, to_place = told(event)
        if quantity > 0:
            return Leg(from_account(event), from_place, to_account(event), to_place, quantity)
        if quantity < 0:
            return Leg(to_account(event), to_place, from_account(event), from_place, -quantity)
        return None

    return leg


def _account_by(account: Account | Told) -> Callable[[Any], Account]:
    if not isinstance(account, Told):
        return lambda _: account
    get = attrgetter(account.field)
    values = account.values
    return get if values is None else lambda event: values[get(event)]


_LEGS: Final = {kind: _leg_by(rule) for kind, rule in RULES.items()}


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
