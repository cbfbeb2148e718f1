"""Products: the catalogue, and the one place that turns a client's quantity into a product's.

A product's unit and scale are for good, since all of its quantities are recorded in them;
alternative units may come and go. A product that is not active still has stock that moves; a
discontinued one takes no more commands.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from ledger.aliases import SKU, fold
from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    NewEvent,
    ProductNotFound,
    RecordedEvent,
    Refs,
    Refusal,
    State,
    StockOf,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals import (
    ProductFieldFixed,
    ProductHasStock,
    ProductIsDiscontinued,
    SkuTaken,
)
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductCommand,
    ProductDiscontinued,
    ProductRegistered,
    ProductRevised,
    RegisterProduct,
    ReviseProduct,
)


def stream(product_id: int) -> str:
    """Return the name of a product's stream."""
    return f"product-{product_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class ProductState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a product; ``product_id`` 0 is one that was never registered."""

    product_id: int = 0
    sku: str = ""
    unit: str = ""
    scale: int = 0
    alternative_units: tuple[AlternativeUnit, ...] = ()
    discontinued: bool = False
    facts: bytes = b""
    """Fingerprint of all that is said of it, to tell a revision that revises nothing."""


INITIAL: Final = ProductState()


def evolve(state: ProductState, recorded: RecordedEvent) -> ProductState:
    """Return the state after an event."""
    match recorded.event:
        case ProductRegistered() | ProductRevised() as event:
            return ProductState(
                product_id=event.product_id,
                sku=event.sku,
                unit=event.unit,
                scale=event.scale,
                alternative_units=event.alternative_units,
                facts=fingerprint(event),
            )
        case ProductDiscontinued():
            return msgspec.structs.replace(state, discontinued=True, alternative_units=())
        case event:
            raise TypeError(f"a product has no {type(event).__name__}")


# --- quantities -------------------------------------------------------------------------

_QUANTA: Final = tuple(Decimal(1).scaleb(-scale) for scale in range(FRACTION_DIGITS_MAX + 1))
_ZEROS: Final = tuple(Decimal(0).scaleb(-scale) for scale in range(FRACTION_DIGITS_MAX + 1))


def in_own_unit(
    product: ProductState, quantity: Decimal, unit: str | None, field: str = "quantity"
) -> Decimal | InvalidCommand:
    """Return a quantity in the product's own unit, with exactly its scale's digits.

    ``unit`` None is that unit. Refuses a unit the product does not have, and a quantity that
    is not exact in the scale: nothing is ever rounded.
    """
    scale = product.scale
    if unit is None or unit == product.unit:
        quantum = _QUANTA[scale]
        if not quantity:
            return _ZEROS[scale]
        if quantity.same_quantum(quantum):
            return quantity
        scaled = quantity.quantize(quantum)
        if scaled == quantity:
            return scaled
        fault = (
            f"{quantity:f} has more than the {scale} digits behind the point that quantities of "
            f"{product.sku!r} have; round it yourself"
        )
        return InvalidCommand(field=field, fault=fault)
    for alternative in product.alternative_units:
        if alternative.unit == unit:
            return _converted(product, quantity, alternative, field)
    units = ", ".join(repr(known) for known in _units(product))
    return InvalidCommand(
        field="unit", fault=f"{unit!r} is no unit of {product.sku!r}; use one of {units}"
    )


def _converted(
    product: ProductState, quantity: Decimal, alternative: AlternativeUnit, field: str
) -> Decimal | InvalidCommand:
    base = Fraction(quantity) * Fraction(alternative.numerator, alternative.denominator)
    count = base * 10**product.scale
    if count.denominator != 1:
        fault = (
            f"{quantity:f} {alternative.unit} is no exact number of {product.unit} with "
            f"{product.scale} digits behind the point; give the quantity in {product.unit}"
        )
        return InvalidCommand(field=field, fault=fault)
    if not -DECIMAL_LIMIT < base < DECIMAL_LIMIT:
        fault = (
            f"{quantity:f} {alternative.unit} is more {product.unit} than 12 digits can say; "
            f"split it up"
        )
        return InvalidCommand(field=field, fault=fault)
    return Decimal(count.numerator).scaleb(-product.scale)


def _units(product: ProductState) -> list[str]:
    return [product.unit, *(alternative.unit for alternative in product.alternative_units)]


# --- decisions --------------------------------------------------------------------------


class ProductDecider(Decider):
    """The decider of the catalogue."""

    def allocates(self, command: ProductCommand) -> str | None:
        """Registering counts an id."""
        return "product" if isinstance(command, RegisterProduct) else None

    def aliases(self, command: ProductCommand) -> Sequence[tuple[str, str]]:
        """The SKU, which must be free."""
        return () if isinstance(command, DiscontinueProduct) else ((SKU, fold(command.sku)),)

    def streams(self, command: ProductCommand, refs: Refs) -> Sequence[str]:
        """The product's own."""
        return (stream(_id(command, refs)),)

    def lookups(
        self, command: ProductCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """Discontinuing asks whether there is stock anywhere."""
        return (StockOf(command.product_id),) if isinstance(command, DiscontinueProduct) else ()

    def decide(
        self, command: ProductCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, ProductNotFound, ProductIsDiscontinued, ProductFieldFixed,
        ProductHasStock, SkuTaken.
        """
        product_id = _id(command, refs)
        name = stream(product_id)
        state: ProductState = states[name]
        if not isinstance(command, RegisterProduct):
            if not state.product_id:
                return ProductNotFound(product_id=product_id)
            if isinstance(command, DiscontinueProduct):
                return _discontinue(name, state, facts)
        refusal = _refusal(command, product_id, facts)
        if refusal is not None:
            return refusal
        said = _said(command)
        if isinstance(command, RegisterProduct):
            return [NewEvent(name, ProductRegistered(product_id=product_id, **said))]
        if state.discontinued:
            return ProductIsDiscontinued(product_id=product_id, sku=state.sku)
        if command.unit != state.unit:
            return ProductFieldFixed(product_id=product_id, field="unit", present=state.unit)
        if command.scale != state.scale:
            return ProductFieldFixed(product_id=product_id, field="scale", present=state.scale)
        event = ProductRevised(product_id=product_id, **said)
        return [] if fingerprint(event) == state.facts else [NewEvent(name, event)]


DECIDER: Final = ProductDecider()


def _id(command: ProductCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, RegisterProduct) else command.product_id


def _said(command: RegisterProduct | ReviseProduct) -> dict[str, Any]:
    said = msgspec.structs.asdict(command)
    said.pop("product_id", None)
    return said


def _refusal(
    command: RegisterProduct | ReviseProduct, product_id: int, facts: Facts
) -> Refusal | None:
    key = fold(command.sku)
    if not key:
        return InvalidCommand(field="sku", fault="must not be blank; give the product a SKU")
    if not command.name.strip():
        return InvalidCommand(field="name", fault="must not be blank; give the product a name")
    if command.tracking_type == "serial" and command.scale:
        fault = "must be 0 for a product that is tracked by serial numbers, which are whole"
        return InvalidCommand(field="scale", fault=fault)
    units = [command.unit, *(alternative.unit for alternative in command.alternative_units)]
    if len(set(units)) < len(units):
        fault = "must each have another name, and none the name of the product's own unit"
        return InvalidCommand(field="alternative_units", fault=fault)
    owner = facts.aliases.get((SKU, key))
    if owner is not None and owner != product_id:
        return SkuTaken(sku=command.sku, product_id=owner)
    return None


def _discontinue(name: str, state: ProductState, facts: Facts) -> Decision:
    if state.discontinued:
        return []
    if facts.has_stock[state.product_id]:
        return ProductHasStock(product_id=state.product_id, sku=state.sku)
    event = ProductDiscontinued(product_id=state.product_id, sku=state.sku)
    return [NewEvent(name, event)]
