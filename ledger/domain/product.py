"""Products: the catalogue, and the one place that turns a client's quantity into a product's.

A product's unit and scale are for good, since all of its quantities are recorded in them;
alternative units may come and go. How it is tracked may change while there is no stock of it
anywhere. A product that is not active still has stock that moves; a discontinued one takes no
more commands.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec

from ledger.aliases import CATEGORY, SKU, SUPPLIER, category_key, fold
from ledger.domain import product_category, supplier
from ledger.domain.decision import (
    Alias,
    Decider,
    Decision,
    Facts,
    HasVariants,
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
from ledger.domain.refusals_customers import (
    CategoryNotFound,
    NotAVariant,
    ProductHasVariants,
    SupplierNotFound,
)
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductCommand,
    ProductDiscontinued,
    ProductImageEntry,
    ProductRegistered,
    ProductRevised,
    RegisterProduct,
    ReviseProduct,
    TrackingType,
)


def stream(product_id: int) -> str:
    """Return the name of a product's stream."""
    return f"product-{product_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class ProductState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a product; ``product_id`` 0 is one that was never registered."""

    product_id: int = 0
    sku: str = ""
    unit: str = ""
    scale: int = 0
    alternative_units: tuple[AlternativeUnit, ...] = ()
    tracking_type: TrackingType = "none"
    base_price: Decimal = Decimal(0)
    cost_price: Decimal | None = None
    backorders: bool = False
    is_active: bool = True
    variant_of: int | None = None
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
                tracking_type=event.tracking_type,
                base_price=event.base_price,
                cost_price=event.cost_price,
                backorders=event.backorders,
                is_active=event.is_active,
                variant_of=event.variant_of,
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

    def aliases(self, command: ProductCommand) -> Sequence[Alias]:
        """The SKU, which must be free; the category's name and the supplier's code, if given."""
        if isinstance(command, DiscontinueProduct):
            return ()
        wanted: list[Alias] = [(SKU, fold(command.sku))]
        if command.category is not None:
            wanted.append((CATEGORY, category_key(None, command.category)))
        if command.supplier is not None:
            wanted.append((SUPPLIER, fold(command.supplier)))
        return wanted

    def streams(self, command: ProductCommand, refs: Refs) -> Sequence[str]:
        """The product's own, and those of what it names by id."""
        names = [stream(_id(command, refs))]
        if isinstance(command, DiscontinueProduct):
            return names
        if command.category_id is not None:
            names.append(product_category.stream(command.category_id))
        if command.supplier_id is not None:
            names.append(supplier.stream(command.supplier_id))
        if command.variant_of is not None:
            names.append(stream(command.variant_of))
        return names

    def lookups(
        self, command: ProductCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """Whether there is stock anywhere, or there are variants, where it matters."""
        if isinstance(command, RegisterProduct):
            return ()
        product_id = command.product_id
        if isinstance(command, DiscontinueProduct):
            return (StockOf(product_id), HasVariants(product_id))
        state: ProductState = states[stream(product_id)]
        wanted: list[Lookup] = []
        if command.tracking_type != state.tracking_type:
            wanted.append(StockOf(product_id))
        if command.variant_of is not None and state.variant_of is None:
            wanted.append(HasVariants(product_id))
        return wanted

    def decide(
        self, command: ProductCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, ProductNotFound, ProductIsDiscontinued, ProductFieldFixed,
        ProductHasStock, ProductHasVariants, SkuTaken, CategoryNotFound, SupplierNotFound,
        NotAVariant.
        """
        product_id = _id(command, refs)
        name = stream(product_id)
        state: ProductState = states[name]
        if not isinstance(command, RegisterProduct):
            if not state.product_id:
                return ProductNotFound(product_id=product_id)
            if isinstance(command, DiscontinueProduct):
                return _discontinue(name, state, facts)
        refusal = _refusal(command, product_id, facts) or _named(command, states, facts)
        if refusal is None and command.variant_of is not None:
            refusal = _not_a_variant(command.variant_of, product_id, states, facts)
        if refusal is not None:
            return refusal
        said = _said(command, facts)
        if isinstance(command, RegisterProduct):
            return [NewEvent(name, ProductRegistered(product_id=product_id, **said))]
        refusal = _fixed(command, state, facts)
        if refusal is not None:
            return refusal
        event = ProductRevised(product_id=product_id, **said)
        return [] if fingerprint(event) == state.facts else [NewEvent(name, event)]


DECIDER: Final = ProductDecider()


def _id(command: ProductCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, RegisterProduct) else command.product_id


def _said(command: RegisterProduct | ReviseProduct, facts: Facts) -> dict[str, Any]:
    """Return the event's fields: ids in place of names, and one of the images as the primary."""
    said = msgspec.structs.asdict(command)
    said.pop("product_id", None)
    category, code = said.pop("category"), said.pop("supplier")
    if category is not None:
        said["category_id"] = facts.aliases[CATEGORY, category_key(None, category)]
    if code is not None:
        said["supplier_id"] = facts.aliases[SUPPLIER, fold(code)]
    said["images"] = _with_primary(command.images)
    return said


def _with_primary(images: Sequence[ProductImageEntry]) -> tuple[ProductImageEntry, ...]:
    """Return images of which one is the primary: the first said to be it, else the first."""
    chosen = next((place for place, image in enumerate(images) if image.is_primary), 0)
    return tuple(
        ProductImageEntry(url=image.url, is_primary=place == chosen)
        for place, image in enumerate(images)
    )


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
    options = [fold(option.name) for option in command.options]
    if len(set(options)) < len(options):
        fault = "must each have another name; give the values of one option together"
        return InvalidCommand(field="options", fault=fault)
    owner = facts.aliases.get((SKU, key))
    if owner is not None and owner != product_id:
        return SkuTaken(sku=command.sku, product_id=owner)
    return None


def _named(
    command: RegisterProduct | ReviseProduct, states: Mapping[str, State], facts: Facts
) -> Refusal | None:
    """Return the refusal of a category or supplier that there is not."""
    category_id, category = command.category_id, command.category
    if category_id is not None and not states[product_category.stream(category_id)].category_id:
        return CategoryNotFound(category_id=category_id)
    if category is not None and not facts.aliases[CATEGORY, category_key(None, category)]:
        return CategoryNotFound(category=category)
    supplier_id, code = command.supplier_id, command.supplier
    if supplier_id is not None and not states[supplier.stream(supplier_id)].supplier_id:
        return SupplierNotFound(supplier_id=supplier_id)
    if code is not None and not facts.aliases[SUPPLIER, fold(code)]:
        return SupplierNotFound(supplier=code)
    return None


def _not_a_variant(
    variant_of: int, product_id: int, states: Mapping[str, State], facts: Facts
) -> Refusal | None:
    if variant_of == product_id:
        objection = "that is the product itself; leave variant_of out"
        return NotAVariant(variant_of=variant_of, objection=objection)
    whole: ProductState = states[stream(variant_of)]
    if not whole.product_id:
        return ProductNotFound(product_id=variant_of)
    if whole.discontinued:
        return ProductIsDiscontinued(product_id=variant_of, sku=whole.sku)
    if whole.variant_of is not None:
        objection = f"that is a variant itself; name {whole.variant_of}, which it is a variant of"
        return NotAVariant(variant_of=variant_of, objection=objection)
    if facts.found.get(HasVariants(product_id)):
        objection = f"product {product_id} has variants itself; revise those first"
        return NotAVariant(variant_of=variant_of, objection=objection)
    return None


def _fixed(command: ReviseProduct, state: ProductState, facts: Facts) -> Refusal | None:
    """Return the refusal of a revision that the product's history stands against."""
    product_id = state.product_id
    if state.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=state.sku)
    if command.unit != state.unit:
        return ProductFieldFixed(product_id=product_id, field="unit", present=state.unit)
    if command.scale != state.scale:
        return ProductFieldFixed(product_id=product_id, field="scale", present=state.scale)
    if command.tracking_type != state.tracking_type and facts.has_stock[product_id]:
        return ProductFieldFixed(
            product_id=product_id, field="tracking_type", present=state.tracking_type
        )
    return None


def _discontinue(name: str, state: ProductState, facts: Facts) -> Decision:
    if state.discontinued:
        return []
    if facts.has_stock[state.product_id]:
        return ProductHasStock(product_id=state.product_id, sku=state.sku)
    if facts.found[HasVariants(state.product_id)]:
        return ProductHasVariants(product_id=state.product_id, sku=state.sku)
    event = ProductDiscontinued(product_id=state.product_id, sku=state.sku)
    return [NewEvent(name, event)]
