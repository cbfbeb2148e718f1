"""What an order does to stock: the commands it is composed of (`ledger.domain.composing`)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ledger.domain.composing import Step
from ledger.domain.decision import Refs
from ledger.domain.order_state import hold_id
from schemas.stock import (
    IssueReserved,
    LotEntry,
    QuarantineStock,
    ReceiveStock,
    ReleaseReservation,
    ReserveStock,
)


class Part(NamedTuple):
    """So much of a line at a location, and of which lots and serials where that is known.

    ``refs`` has the ids of these lots and serials, ``asked`` counts from 0 which of the client's
    lines it is for.
    """

    order_item_id: int
    product_id: int
    location_id: int
    quantity: Decimal
    lots: tuple[LotEntry, ...] = ()
    serials: tuple[str, ...] = ()
    refs: Refs = Refs()
    asked: int | None = None

    @property
    def of_stock(self) -> Refs:
        """The ids that a command of stock about this part is about."""
        return self.refs._replace(product_id=self.product_id, location_id=self.location_id)


def reserve(order_number: str, part: Part, effective_at: datetime | None) -> Step:
    """Return the step that claims so much for a line."""
    command = ReserveStock(
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=part.quantity,
        reservation_id=hold_id(part.order_item_id),
        owner=f"order {order_number}",
        effective_at=effective_at,
    )
    return Step(command, Refs(part.product_id, part.location_id))


def release(part: Part, effective_at: datetime | None, reason: str | None = None) -> Step:
    """Return the step that gives back so much of a line's claim."""
    command = ReleaseReservation(
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=part.quantity,
        reservation_id=hold_id(part.order_item_id),
        reason=reason,
        effective_at=effective_at,
    )
    return Step(command, Refs(part.product_id, part.location_id))


def claim_more(
    order_number: str, part: Part, held: Decimal, effective_at: datetime | None
) -> Sequence[Step]:
    """Return the steps that claim so much more for a line that has ``held`` there already.

    A claim cannot grow, so what is held is given back and all of it claimed anew.
    """
    if not held:
        return (reserve(order_number, part, effective_at),)
    return (
        release(part._replace(quantity=held), effective_at),
        reserve(order_number, part._replace(quantity=part.quantity + held), effective_at),
    )


def issue(reference: str, part: Part, unit_price: Decimal, effective_at: datetime | None) -> Step:
    """Return the step that lets so much of a line's claim go out."""
    command = IssueReserved(
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=part.quantity,
        reservation_id=hold_id(part.order_item_id),
        unit_price=unit_price,
        lots=part.lots,
        serials=part.serials,
        reference=reference,
        effective_at=effective_at,
    )
    return Step(command, part.of_stock)


def receive(
    returns: str,
    part: Part,
    unit_price: Decimal,
    effective_at: datetime | None,
    *,
    reference: str,
    reason: str | None,
) -> Step:
    """Return the step that takes so much of a line back from the customer."""
    command = ReceiveStock(
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=part.quantity,
        source="customer",
        unit_price=unit_price,
        returns=returns,
        lots=part.lots,
        serials=part.serials,
        reference=reference,
        reason=reason,
        effective_at=effective_at,
    )
    return Step(command, part.of_stock)


def quarantine(
    reference: str, part: Part, effective_at: datetime | None, reason: str | None
) -> Step:
    """Return the step that blocks what has come back."""
    command = QuarantineStock(
        product_id=part.product_id,
        location_id=part.location_id,
        quantity=part.quantity,
        lots=part.lots,
        serials=part.serials,
        reference=reference,
        reason=reason,
        effective_at=effective_at,
    )
    return Step(command, part.of_stock)
