"""Price tiers: what the customers of one pay, by product and quantity, or in per cent.

What a line of an order costs by them is worked out in `ledger.domain.order_pricing`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from ledger.domain import product
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
from ledger.domain.refusals_customers import PriceTierNotFound, TierPriceTwice
from schemas.customer import (
    DefinePriceTier,
    PriceTierCommand,
    PriceTierDefined,
    PriceTierRevised,
    TierPrice,
)


def stream(price_tier_id: int) -> str:
    """Return the name of a tier's stream."""
    return f"pricetier-{price_tier_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class PriceTierState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a tier; ``price_tier_id`` 0 is one that was never defined."""

    price_tier_id: int = 0
    discount_percent: Decimal = Decimal(0)
    prices: tuple[TierPrice, ...] = ()
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""


INITIAL: Final = PriceTierState()


def evolve(state: PriceTierState, recorded: RecordedEvent) -> PriceTierState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, PriceTierDefined | PriceTierRevised):
        raise TypeError(f"a price tier has no {type(event).__name__}")
    return PriceTierState(
        price_tier_id=event.price_tier_id,
        discount_percent=event.discount_percent,
        prices=event.prices,
        facts=fingerprint(event),
    )


# --- decisions --------------------------------------------------------------------------


class PriceTierDecider(Decider):
    """The decider of price tiers."""

    def allocates(self, command: PriceTierCommand) -> str | None:
        """Defining counts an id."""
        return "pricetier" if isinstance(command, DefinePriceTier) else None

    def streams(self, command: PriceTierCommand, refs: Refs) -> Sequence[str]:
        """The tier's own, and those of the products that it has prices of."""
        products = dict.fromkeys(product.stream(price.product_id) for price in command.prices)
        return (stream(_id(command, refs)), *products)

    def decide(
        self, command: PriceTierCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, PriceTierNotFound, ProductNotFound, TierPriceTwice.
        """
        price_tier_id = _id(command, refs)
        name = stream(price_tier_id)
        state: PriceTierState = states[name]
        if not isinstance(command, DefinePriceTier) and not state.price_tier_id:
            return PriceTierNotFound(price_tier_id=price_tier_id)
        refusal = _refusal(command, states)
        if refusal is not None:
            return refusal
        said: dict[str, Any] = {
            "name": command.name,
            "discount_percent": command.discount_percent,
            "prices": tuple(map(_plain, command.prices)),
        }
        if isinstance(command, DefinePriceTier):
            return [NewEvent(name, PriceTierDefined(price_tier_id=price_tier_id, **said))]
        event = PriceTierRevised(price_tier_id=price_tier_id, **said)
        return [] if fingerprint(event) == state.facts else [NewEvent(name, event)]


DECIDER: Final = PriceTierDecider()


def _id(command: PriceTierCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, DefinePriceTier) else command.price_tier_id


def _refusal(command: PriceTierCommand, states: Mapping[str, State]) -> Refusal | None:
    if not command.name.strip():
        return InvalidCommand(field="name", fault="must not be blank; give the tier a name")
    seen: set[tuple[int, Decimal]] = set()
    for price in command.prices:
        if not states[product.stream(price.product_id)].product_id:
            return ProductNotFound(product_id=price.product_id)
        place = (price.product_id, price.min_quantity)
        if place in seen:
            return TierPriceTwice(product_id=price.product_id, min_quantity=price.min_quantity)
        seen.add(place)
    return None


def _plain(price: TierPrice) -> TierPrice:
    """Return a price with its numbers in their shortest form, so that equal ones look alike."""
    return TierPrice(
        product_id=price.product_id,
        unit_price=_short(price.unit_price),
        min_quantity=_short(price.min_quantity),
    )


def _short(value: Decimal) -> Decimal:
    short = value.normalize()
    return short.quantize(Decimal(1)) if short == short.to_integral_value() else short
