"""Whether something of another system may be linked to something of ours."""

from collections.abc import Mapping, Sequence

from ledger.aliases import EXTERNAL_ITEM, EXTERNAL_STORE, EXTERNAL_SUPPLIER, external_alias
from ledger.domain.decision import Facts, NewEvent, Refusal, State
from ledger.domain.integration_state import LinkState, item_stream, store_stream, supplier_stream
from ledger.domain.refusals_integration import (
    ItemLinkedElsewhere,
    StoreLinkedElsewhere,
    SupplierLinkedElsewhere,
)
from schemas.integration import ItemLinked, StoreLinked, SupplierLinked, System


def link_store(
    system: System,
    external_id: str,
    location_id: int,
    states: Mapping[str, State],
    facts: Facts,
) -> Sequence[NewEvent] | Refusal:
    """Return the link, nothing when it is so already, or StoreLinkedElsewhere."""
    owner = facts.aliases[external_alias(EXTERNAL_STORE, system, external_id)]
    if owner is not None and owner != location_id:
        return StoreLinkedElsewhere(system=system, external_id=external_id, location_id=owner)
    name = store_stream(system, location_id)
    state: LinkState = states[name]
    if state.external_id == external_id:
        return []
    if state.external_id:
        return StoreLinkedElsewhere(
            system=system, external_id=state.external_id, location_id=location_id
        )
    event = StoreLinked(system=system, external_id=external_id, location_id=location_id)
    return [NewEvent(name, event)]


def link_item(
    system: System,
    external_id: str,
    product_id: int,
    unit: str | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Sequence[NewEvent] | Refusal:
    """Return the link, nothing when it is so already, or ItemLinkedElsewhere.

    A product that is linked to this very item may come to have another unit.
    """
    owner = facts.aliases[external_alias(EXTERNAL_ITEM, system, external_id)]
    if owner is not None and owner != product_id:
        return ItemLinkedElsewhere(system=system, external_id=external_id, product_id=owner)
    name = item_stream(system, product_id)
    state: LinkState = states[name]
    if state == LinkState(external_id, unit):
        return []
    if state.external_id not in ("", external_id):
        return ItemLinkedElsewhere(
            system=system, external_id=state.external_id, product_id=product_id
        )
    event = ItemLinked(system=system, external_id=external_id, product_id=product_id, unit=unit)
    return [NewEvent(name, event)]


def link_supplier(
    system: System,
    external_id: str,
    supplier_id: int,
    states: Mapping[str, State],
    facts: Facts,
) -> Sequence[NewEvent] | Refusal:
    """Return the link, nothing when it is so already, or SupplierLinkedElsewhere."""
    owner = facts.aliases[external_alias(EXTERNAL_SUPPLIER, system, external_id)]
    if owner is not None and owner != supplier_id:
        return SupplierLinkedElsewhere(system=system, external_id=external_id, supplier_id=owner)
    name = supplier_stream(system, supplier_id)
    state: LinkState = states[name]
    if state.external_id == external_id:
        return []
    if state.external_id:
        return SupplierLinkedElsewhere(
            system=system, external_id=state.external_id, supplier_id=supplier_id
        )
    event = SupplierLinked(system=system, external_id=external_id, supplier_id=supplier_id)
    return [NewEvent(name, event)]
