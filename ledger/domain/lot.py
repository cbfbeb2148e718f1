"""Lots: batch numbers of a product, and the dates that say what goes out first.

How much there is of a lot, and where, is in the stock at each location. A lot is made known by
`RegisterLot`, or by the first movement that brings some of it in.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from ledger.aliases import LOT, fold, lot_key
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    ProductNotFound,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.product import ProductState
from ledger.domain.refusals import ProductIsDiscontinued
from ledger.domain.refusals_tracking import LotNotFound, LotTaken
from schemas.lot import LotCommand, LotRegistered, LotRevised, RegisterLot


def stream(lot_id: int) -> str:
    """Return the name of a lot's stream."""
    return f"lot-{lot_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class LotState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a lot; ``lot_id`` 0 is one that was never registered."""

    lot_id: int = 0
    product_id: int = 0
    lot: str = ""
    lot_number: str | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""

    @property
    def goes_out_before(self) -> date:
        """The day from which on nothing of it is picked: the latest there is without a date."""
        return self.removal_date or self.expiry_date or date.max

    @property
    def expires(self) -> date:
        """The expiry date, or the latest there is without one."""
        return self.expiry_date or date.max


INITIAL: Final = LotState()


def evolve(state: LotState, recorded: RecordedEvent) -> LotState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, LotRegistered | LotRevised):
        raise TypeError(f"a lot has no {type(event).__name__}")
    return LotState(
        lot_id=event.lot_id,
        product_id=event.product_id,
        lot=event.lot,
        lot_number=event.lot_number,
        manufacture_date=event.manufacture_date,
        expiry_date=event.expiry_date,
        removal_date=event.removal_date,
        facts=fingerprint(event),
    )


# --- decisions --------------------------------------------------------------------------


def date_fault(manufactured: date | None, expires: date | None) -> str | None:
    """Return what is wrong with a lot's dates, or None."""
    if manufactured is not None and expires is not None and expires < manufactured:
        return f"must not be before the lot was made, on {manufactured.isoformat()}"
    return None


class LotDecider(Decider):
    """The decider of lots that are registered or revised by themselves."""

    def allocates(self, command: LotCommand) -> str | None:
        """Registering counts an id."""
        return "lot" if isinstance(command, RegisterLot) else None

    def aliases(self, command: LotCommand) -> Sequence[tuple[str, str]]:
        """The batch number, which must be free for its product."""
        if isinstance(command, RegisterLot):
            return ((LOT, lot_key(command.product_id, command.lot)),)
        return ()

    def streams(self, command: LotCommand, refs: Refs) -> Sequence[str]:
        """The lot's own, and the product of a new one."""
        if isinstance(command, RegisterLot):
            return (stream(refs.new_id), f"product-{command.product_id}")
        return (stream(command.lot_id),)

    def decide(
        self, command: LotCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, ProductNotFound, ProductIsDiscontinued, LotNotFound, LotTaken.
        """
        fault = date_fault(command.manufacture_date, command.expiry_date)
        if fault is not None:
            return InvalidCommand(field="expiry_date", fault=fault)
        said: dict[str, Any] = msgspec.structs.asdict(command)
        if isinstance(command, RegisterLot):
            refusal = _refusal(command, states, facts)
            if refusal is not None:
                return refusal
            event = LotRegistered(lot_id=refs.new_id, **said)
            return [NewEvent(stream(refs.new_id), event)]
        state: LotState = states[stream(command.lot_id)]
        if not state.lot_id:
            return LotNotFound(lot_id=command.lot_id)
        event = LotRevised(product_id=state.product_id, lot=state.lot, **said)
        if fingerprint(event) == state.facts:
            return []
        return [NewEvent(stream(command.lot_id), event)]


DECIDER: Final = LotDecider()


def _refusal(command: RegisterLot, states: Mapping[str, State], facts: Facts) -> Refusal | None:
    product: ProductState = states[f"product-{command.product_id}"]
    if not product.product_id:
        return ProductNotFound(product_id=command.product_id)
    if product.discontinued:
        return ProductIsDiscontinued(product_id=product.product_id, sku=product.sku)
    if product.tracking_type != "batch":
        fault = (
            f"{product.sku!r} is not tracked by lots (its tracking_type is "
            f"{product.tracking_type}); name a product with tracking_type batch"
        )
        return InvalidCommand(field="product_id", fault=fault)
    if not fold(command.lot):
        return InvalidCommand(field="lot", fault="must not be blank; give the batch number")
    owner = facts.aliases.get((LOT, lot_key(command.product_id, command.lot)))
    if owner is not None:
        return LotTaken(
            product_id=product.product_id, sku=product.sku, lot=command.lot, lot_id=owner
        )
    return None
