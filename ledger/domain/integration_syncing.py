"""What another system says of its items and suppliers, taken over: in the catalogue and in stock.

The other system's word counts for the name, the cost, the supplier and the stock of an item;
all else that is said of a product is left as it is. So a decision must know all that is said
of it, which states do not keep: the command brings it, and is refused where it is out of date.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from ledger.aliases import (
    EXTERNAL_ITEM,
    EXTERNAL_SUPPLIER,
    SKU,
    SUPPLIER,
    external_alias,
    fold,
)
from ledger.domain import composing, integration_state, product, stock_state, supplier
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Alias,
    Decision,
    Facts,
    InvalidCommand,
    Lookup,
    Names,
    Refs,
    Refusal,
    State,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.integration_linking import link_item, link_supplier
from ledger.domain.integration_state import item_stream, supplier_stream
from ledger.domain.product import ProductState
from ledger.domain.refusals_integration import (
    ChangedMeanwhile,
    ExternalItemNotFound,
    ExternalSupplierNotFound,
)
from ledger.domain.supplier import SupplierState
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.integration import SyncItem, SyncSupplier
from schemas.product import AlternativeUnit, ProductRevised, RegisterProduct, ReviseProduct
from schemas.stock import SetStock
from schemas.supplier import RegisterSupplier, SupplierRevised

# --- suppliers --------------------------------------------------------------------------


def supplier_aliases(command: SyncSupplier) -> Sequence[Alias]:
    """The link, and the code that the supplier has without one."""
    external_id = command.external_id
    return (
        external_alias(EXTERNAL_SUPPLIER, command.system, external_id),
        (SUPPLIER, fold(external_id)),
    )


def supplier_streams(command: SyncSupplier) -> Sequence[str]:
    """Those of the supplier that it is known as, and of its link."""
    if command.known is None:
        return ()
    supplier_id = command.known.supplier_id
    return supplier.stream(supplier_id), supplier_stream(command.system, supplier_id)


def sync_supplier(command: SyncSupplier, states: Mapping[str, State], facts: Facts) -> Decision:
    """Return what is new of a supplier, and its link; nothing when it is all so already.

    Refusals: ChangedMeanwhile, SupplierLinkedElsewhere, and those of suppliers.
    """
    known = command.known
    owners = [facts.aliases[alias] for alias in supplier_aliases(command)]
    supplier_id = next((owner for owner in owners if owner is not None), None)
    if known is None and supplier_id is None:
        supplier_id = facts.counters.get("supplier", 0) + 1
        said: Any = RegisterSupplier(name=command.name, code=command.external_id.strip())
        states = {
            supplier.stream(supplier_id): supplier.INITIAL,
            supplier_stream(command.system, supplier_id): integration_state.INITIAL,
        }
    else:
        if known is None or supplier_id is None or known.supplier_id != supplier_id:
            return _changed(command)
        state: SupplierState = states[supplier.stream(supplier_id)]
        if fingerprint(SupplierRevised(**msgspec.structs.asdict(known))) != state.facts:
            return _changed(command)
        said = msgspec.structs.replace(known, name=command.name)
    facts = facts._replace(aliases={**facts.aliases, **_own_code(said.code, supplier_id)})
    decided = supplier.DECIDER.decide(said, Refs(new_id=supplier_id), states, facts)
    if isinstance(decided, Refusal):
        return decided
    linked = link_supplier(command.system, command.external_id, supplier_id, states, facts)
    return linked if isinstance(linked, Refusal) else [*decided, *linked]


def _own_code(code: str | None, supplier_id: int) -> Mapping[Alias, int | None]:
    """Return who has a code that was read with the supplier, or that nobody was found to have."""
    return {(SUPPLIER, fold(code)): supplier_id} if code else {}


# --- items ------------------------------------------------------------------------------


def item_aliases(command: SyncItem) -> Sequence[Alias]:
    """The link, the SKU that the product has without one, and the supplier's link."""
    external_id = command.external_id
    wanted = [
        external_alias(EXTERNAL_ITEM, command.system, external_id),
        (SKU, fold(external_id)),
    ]
    if command.supplier is not None:
        wanted.append(external_alias(EXTERNAL_SUPPLIER, command.system, command.supplier))
    return wanted


def resolve_item(command: SyncItem, names: Names) -> Refs:
    """Return the product's id and the location's; 0 is a product that there is not yet."""
    aliases = item_aliases(command)
    found = names.find_aliases(aliases)
    product_id = found[aliases[0]] or found[aliases[1]] or 0
    return Refs(product_id, command.location_id)


def item_streams(command: SyncItem, refs: Refs) -> Sequence[str]:
    """The product's, its link's and its stock's; and those of what the product names."""
    if not refs.product_id:
        return (f"location-{refs.location_id}",)
    names = dict.fromkeys(composing.streams([_step(command, refs, None)]))
    names[item_stream(command.system, refs.product_id)] = None
    if command.known is not None:
        names.update(dict.fromkeys(product.DECIDER.streams(command.known, refs)))
    return list(names)


def more_item_streams(command: SyncItem, refs: Refs, states: Mapping[str, State]) -> Sequence[str]:
    """The lots of a product that is there."""
    if not refs.product_id:
        return ()
    return composing.more_streams([_step(command, refs, None)], states)


def item_lookups(
    command: SyncItem, refs: Refs, states: Mapping[str, State], now: datetime
) -> Sequence[Lookup]:
    """The serials to pick from, of a product that is there."""
    if not refs.product_id:
        return ()
    unit = _unit(command, states[product.stream(refs.product_id)])
    return composing.lookups([_step(command, refs, unit)], states, now)


def item_streams_after(command: SyncItem, refs: Refs, facts: Facts) -> Sequence[str]:
    """The serials that were found."""
    if not refs.product_id:
        return ()
    return composing.streams_after([_step(command, refs, None)], facts)


def _step(command: SyncItem, refs: Refs, unit: str | None) -> Step:
    setting = SetStock(
        product_id=refs.product_id,
        location_id=refs.location_id,
        quantity=command.quantity,
        unit=unit,
        reason=command.system,
    )
    return Step(setting, refs)


def _unit(command: SyncItem, state: ProductState) -> str | None:
    """Return the alternative unit that an item is counted in; None is the product's own.

    Systems have names of their own for units: one that the product does not know is its own.
    """
    known = {alternative.unit for alternative in state.alternative_units}
    return command.unit if command.unit in known and command.unit != state.unit else None


def sync_item(command: SyncItem, refs: Refs, states: Mapping[str, State], facts: Facts) -> Decision:
    """Return what is new of a product, its link and its stock; nothing when it is so already.

    Refusals: ChangedMeanwhile, ExternalItemNotFound, ExternalSupplierNotFound,
    ItemLinkedElsewhere, and those of products and of setting stock.
    """
    supplier_id = None
    if command.supplier is not None:
        alias = external_alias(EXTERNAL_SUPPLIER, command.system, command.supplier)
        supplier_id = facts.aliases[alias]
        if supplier_id is None:
            return ExternalSupplierNotFound(system=command.system, external_id=command.supplier)
        # That it is linked says that there is one, and none is ever taken away.
        state = SupplierState(supplier_id=supplier_id)
        states = {**states, supplier.stream(supplier_id): state}
    if command.known is None and not refs.product_id:
        product_id = facts.counters.get("product", 0) + 1
        refs = refs._replace(product_id=product_id, new_id=product_id)
        states = {
            **states,
            product.stream(product_id): product.INITIAL,
            stock_state.stream(product_id, refs.location_id): stock_state.INITIAL,
            item_stream(command.system, product_id): integration_state.INITIAL,
        }
        said: RegisterProduct | ReviseProduct = _new_product(command, supplier_id)
    else:
        outdated = _outdated(command, refs, states)
        if outdated is not None:
            return outdated
        assert command.known is not None, "checked against what the catalogue says"
        present: ProductState = states[product.stream(refs.product_id)]
        cost = _cost(command, present)
        if isinstance(cost, InvalidCommand):
            return cost
        said = _revised(command, command.known, present, cost, supplier_id)
        own = (SKU, fold(said.sku))
        facts = facts._replace(aliases={**facts.aliases, own: refs.product_id})
    decided = product.DECIDER.decide(said, refs, states, facts)
    if isinstance(decided, Refusal):
        return decided
    composed = Composed(states, facts)
    composed.take(decided)
    unit = _unit(command, composed.states[product.stream(refs.product_id)])
    linked = link_item(
        command.system, command.external_id, refs.product_id, unit, composed.states, facts
    )
    if isinstance(linked, Refusal):
        return linked
    composed.take(linked)
    done = composed.add(_step(command, refs, unit))
    return done if isinstance(done, Refusal) else composed.events


def _outdated(command: SyncItem, refs: Refs, states: Mapping[str, State]) -> Refusal | None:
    """Return the refusal of what was made from a product that has changed, or is no more."""
    known, product_id = command.known, refs.product_id
    if product_id:
        state: ProductState = states[product.stream(product_id)]
        if state.discontinued:
            return ExternalItemNotFound(
                system=command.system, external_id=command.external_id, product_id=product_id
            )
        if known is not None and known.product_id == product_id:
            said = msgspec.structs.asdict(known)
            del said["category"], said["supplier"]
            if fingerprint(ProductRevised(**said)) == state.facts:
                return None
    return _changed(command)


def _changed(command: SyncItem | SyncSupplier) -> ChangedMeanwhile:
    return ChangedMeanwhile(system=command.system, external_id=command.external_id)


def _new_product(command: SyncItem, supplier_id: int | None) -> RegisterProduct:
    """Return the registration of an item that is new. What it sells for is not known yet."""
    purchase_unit = command.purchase_unit
    return RegisterProduct(
        name=command.name,
        sku=command.external_id.strip(),
        # Rather what it costs than nothing, until somebody says what it sells for.
        base_price=command.cost,
        cost_price=command.cost,
        unit=command.unit,
        scale=command.scale,
        alternative_units=() if purchase_unit is None else (purchase_unit,),
        supplier_id=supplier_id,
    )


def _revised(
    command: SyncItem,
    known: ReviseProduct,
    present: ProductState,
    cost: Decimal,
    supplier_id: int | None,
) -> ReviseProduct:
    """Return what is said of a product from now on: the other system's word on what is its own."""
    revised: dict[str, Any] = {"name": command.name, "cost_price": cost}
    if supplier_id is not None:
        revised["supplier_id"] = supplier_id
    bought_in = command.purchase_unit
    # What it is bought in is so many of what it is counted in: an alternative to the own unit.
    if bought_in is not None and bought_in.unit != known.unit and _unit(command, present) is None:
        revised["alternative_units"] = _with(known.alternative_units, bought_in)
    return msgspec.structs.replace(known, **revised)


def _cost(command: SyncItem, present: ProductState) -> Decimal | InvalidCommand:
    """Return the cost of one of the product's own unit, to the last digit that costs have."""
    counted_in = _unit(command, present)
    if counted_in is None:
        return command.cost
    unit = next(each for each in present.alternative_units if each.unit == counted_in)
    exact = Fraction(command.cost) * unit.denominator / unit.numerator
    cost = Decimal(round(exact * 10**FRACTION_DIGITS_MAX)).scaleb(-FRACTION_DIGITS_MAX)
    if cost >= DECIMAL_LIMIT:
        fault = (
            f"{command.cost:f} for one {counted_in} is more for one {present.unit} than 12 digits "
            f"can say; correct it"
        )
        return InvalidCommand(field="cost", fault=fault)
    return cost


def _with(units: Sequence[AlternativeUnit], unit: AlternativeUnit) -> tuple[AlternativeUnit, ...]:
    """Return units with another one, in the place of the one of its name."""
    if any(known.unit == unit.unit for known in units):
        return tuple(unit if known.unit == unit.unit else known for known in units)
    return (*units, unit)
