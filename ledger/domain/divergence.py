"""Movements that another system has made, and whether its stock is then what the books say.

It is a receipt, or an issue to a customer. What the other system says is on hand moves nothing:
where that is not what is on hand now, with the movement, it is recorded as a divergence.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from ledger.aliases import EXTERNAL_ITEM, external_alias
from ledger.domain import composing, product, stock_state
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    Names,
    NewEvent,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.integration_state import LinkState, item_stream
from ledger.domain.posting import moment
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals_integration import ExternalItemNotFound
from ledger.domain.stock_state import StockState
from schemas.integration import ApplyExternalMovement, StockDivergenceDetected
from schemas.stock import IssueStock, ReceiveStock


def stream(product_id: int, location_id: int) -> str:
    """Return the name of the stream of what other systems say of a product at a location."""
    return f"divergence-{product_id}-{location_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class DivergenceState(msgspec.Struct, frozen=True, gc=False):
    """By how much the last figure that was told was off."""

    difference: Decimal = Decimal(0)


INITIAL: Final = DivergenceState()


def evolve(state: DivergenceState, recorded: RecordedEvent) -> DivergenceState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, StockDivergenceDetected):
        raise TypeError(f"a divergence has no {type(event).__name__}")
    return DivergenceState(event.difference)


# --- decisions --------------------------------------------------------------------------


class ExternalMovementDecider(Decider):
    """The decider of what other systems have moved."""

    def resolve(self, command: ApplyExternalMovement, names: Names) -> Refs | Refusal:
        """The product that the item is linked to; ExternalItemNotFound where it is to none."""
        alias = external_alias(EXTERNAL_ITEM, command.system, command.item)
        product_id = names.find_alias(alias)
        if product_id is None:
            return ExternalItemNotFound(system=command.system, external_id=command.item)
        return Refs(product_id, command.location_id)

    def streams(self, command: ApplyExternalMovement, refs: Refs) -> Sequence[str]:
        """Those of the movement, the item's link, and what was told before."""
        return (
            *composing.streams([_step(command, refs, None)]),
            item_stream(command.system, refs.product_id),
            stream(refs.product_id, refs.location_id),
        )

    def more_streams(
        self, command: ApplyExternalMovement, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """The lots at the place."""
        return composing.more_streams([_step(command, refs, None)], states)

    def lookups(
        self,
        command: ApplyExternalMovement,
        refs: Refs,
        states: Mapping[str, State],
        now: datetime,
    ) -> Sequence[Lookup]:
        """What the movement asks for."""
        return composing.lookups([_step(command, refs, _unit(command, refs, states))], states, now)

    def streams_after(
        self, command: ApplyExternalMovement, refs: Refs, facts: Facts
    ) -> Sequence[str]:
        """What the movement asks for then."""
        return composing.streams_after([_step(command, refs, None)], facts)

    def decide(
        self,
        command: ApplyExternalMovement,
        refs: Refs,
        states: Mapping[str, State],
        facts: Facts,
    ) -> Decision:
        """Return the movement, and a divergence where the figures are not the same after it.

        Refusals: ExternalItemNotFound, InvalidCommand, and those of receiving and issuing.
        """
        name = product.stream(refs.product_id)
        state: ProductState = states[name]
        if state.discontinued:
            return ExternalItemNotFound(
                system=command.system, external_id=command.item, product_id=refs.product_id
            )
        unit = _unit(command, refs, states)
        composed = Composed(states, facts)
        done = composed.add(_step(command, refs, unit))
        if isinstance(done, Refusal):
            return done
        diverged = _divergence(command, refs, unit, composed.states, facts)
        return diverged if isinstance(diverged, Refusal) else [*composed.events, *diverged]


DECIDER: Final = ExternalMovementDecider()


def _unit(command: ApplyExternalMovement, refs: Refs, states: Mapping[str, State]) -> str | None:
    """Return the unit that the item's quantities are in; None is the product's own."""
    link: LinkState = states[item_stream(command.system, refs.product_id)]
    return link.unit


def _step(command: ApplyExternalMovement, refs: Refs, unit: str | None) -> Step:
    kind = ReceiveStock if command.movement == "add" else IssueStock
    movement = kind(
        product_id=refs.product_id,
        location_id=refs.location_id,
        quantity=command.quantity,
        unit=unit,
        effective_at=command.effective_at,
        reason=command.system,
        reference=command.reference,
    )
    return Step(movement, refs)


def _divergence(
    command: ApplyExternalMovement,
    refs: Refs,
    unit: str | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Sequence[NewEvent] | Refusal:
    """Return the divergence where what is on hand now is not what the other system says."""
    if command.current_stock is None:
        return []
    product_id, location_id = refs.product_id, refs.location_id
    state: ProductState = states[product.stream(product_id)]
    reported = in_own_unit(state, command.current_stock, unit, "current_stock")
    if isinstance(reported, Refusal):
        return reported
    stock: StockState = states[stock_state.stream(product_id, location_id)]
    if reported == stock.on_hand:
        return []
    at = moment(command.effective_at, facts.now)
    if isinstance(at, InvalidCommand):
        return at
    event = StockDivergenceDetected(
        system=command.system,
        product_id=product_id,
        location_id=location_id,
        external_id=command.item,
        on_hand=stock.on_hand,
        reported=reported,
        difference=reported - stock.on_hand,
        reported_at=at or facts.now,
    )
    return [NewEvent(stream(product_id, location_id), event, at or facts.now)]
