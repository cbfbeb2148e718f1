"""Links to other systems, and what such a system says of its items and suppliers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from ledger.aliases import (
    EXTERNAL_ITEM,
    EXTERNAL_STORE,
    EXTERNAL_SUPPLIER,
    LOCATION,
    external_alias,
    fold,
)
from ledger.domain import integration_syncing, location, product, supplier
from ledger.domain.decision import (
    Alias,
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
    Lookup,
    Names,
    NewEvent,
    ProductNotFound,
    Refs,
    Refusal,
    State,
)
from ledger.domain.integration_linking import link_item, link_store, link_supplier
from ledger.domain.integration_state import (
    INITIAL,
    STATE_VERSION,
    evolve,
    item_stream,
    store_stream,
    supplier_stream,
)
from ledger.domain.location import LocationState
from ledger.domain.product import ProductState
from ledger.domain.refusals import ProductIsDiscontinued
from ledger.domain.refusals_customers import SupplierNotFound
from ledger.domain.supplier import SupplierState
from schemas.integration import (
    ItemUnlinked,
    LinkCommand,
    LinkItem,
    LinkStore,
    LinkSupplier,
    StoreUnlinked,
    SyncItem,
    SyncSupplier,
    UnlinkItem,
    UnlinkStore,
)

__all__ = ["DECIDER", "INITIAL", "STATE_VERSION", "evolve"]


class LinkDecider(Decider):
    """The decider of links, and of what is synchronised by them."""

    def resolve(self, command: LinkCommand, names: Names) -> Refs | Refusal:
        """The ids of what is named by a code, or by what the other system calls it."""
        match command:
            case LinkStore(location_id=None, location=code):
                assert code is not None, "one of the two is given"
                location_id = names.find_alias((LOCATION, fold(code)))
                if location_id is None:
                    return LocationNotFound(location=code)
                return Refs(location_id=location_id)
            case LinkStore(location_id=location_id):
                return Refs(location_id=location_id or 0)
            case UnlinkStore():
                owner = names.find_alias(_alias(command))
                return Refs(location_id=owner or 0)
            case LinkItem():
                return Refs(product_id=command.product_id)
            case UnlinkItem():
                owner = names.find_alias(_alias(command))
                return Refs(product_id=owner or 0)
            case LinkSupplier() | SyncSupplier():
                return Refs()
            case SyncItem():
                return integration_syncing.resolve_item(command, names)

    def aliases(self, command: LinkCommand) -> Sequence[Alias]:
        """What the other system calls it, and what else a synchronisation goes by."""
        match command:
            case SyncSupplier():
                return integration_syncing.supplier_aliases(command)
            case SyncItem():
                return integration_syncing.item_aliases(command)
            case _:
                return (_alias(command),)

    def streams(self, command: LinkCommand, refs: Refs) -> Sequence[str]:
        """The link's own, and that of what is linked."""
        match command:
            case LinkStore() | UnlinkStore():
                name = store_stream(command.system, refs.location_id)
                return (name, location.stream(refs.location_id)) if refs.location_id else ()
            case LinkItem() | UnlinkItem():
                name = item_stream(command.system, refs.product_id)
                return (name, product.stream(refs.product_id)) if refs.product_id else ()
            case LinkSupplier():
                name = supplier_stream(command.system, command.supplier_id)
                return name, supplier.stream(command.supplier_id)
            case SyncSupplier():
                return integration_syncing.supplier_streams(command)
            case SyncItem():
                return integration_syncing.item_streams(command, refs)

    def more_streams(
        self, command: LinkCommand, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """The lots of what is synchronised."""
        if isinstance(command, SyncItem):
            return integration_syncing.more_item_streams(command, refs, states)
        return ()

    def lookups(
        self, command: LinkCommand, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        """The serials of what is synchronised."""
        if isinstance(command, SyncItem):
            return integration_syncing.item_lookups(command, refs, states, now)
        return ()

    def streams_after(self, command: LinkCommand, refs: Refs, facts: Facts) -> Sequence[str]:
        """The streams of the serials that were found."""
        if isinstance(command, SyncItem):
            return integration_syncing.item_streams_after(command, refs, facts)
        return ()

    def decide(
        self, command: LinkCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the events, nothing when it is so already, or a refusal.

        Refusals: LocationNotFound, ProductNotFound, ProductIsDiscontinued, SupplierNotFound,
        InvalidCommand, StoreLinkedElsewhere, ItemLinkedElsewhere, SupplierLinkedElsewhere, and
        those of `integration_syncing`.
        """
        match command:
            case LinkStore(system=system, external_id=external_id):
                place: LocationState = states[location.stream(refs.location_id)]
                if not place.location_id:
                    return LocationNotFound(location_id=refs.location_id)
                return link_store(system, external_id, refs.location_id, states, facts)
            case UnlinkStore(system=system, external_id=external_id):
                if not refs.location_id:
                    return []
                ended = StoreUnlinked(
                    system=system, external_id=external_id, location_id=refs.location_id
                )
                return [NewEvent(store_stream(system, refs.location_id), ended)]
            case LinkItem():
                return _link_item(command, states, facts)
            case UnlinkItem(system=system, external_id=external_id):
                if not refs.product_id:
                    return []
                gone = ItemUnlinked(
                    system=system, external_id=external_id, product_id=refs.product_id
                )
                return [NewEvent(item_stream(system, refs.product_id), gone)]
            case LinkSupplier(system=system, external_id=external_id, supplier_id=supplier_id):
                party: SupplierState = states[supplier.stream(supplier_id)]
                if not party.supplier_id:
                    return SupplierNotFound(supplier_id=supplier_id)
                return link_supplier(system, external_id, supplier_id, states, facts)
            case SyncSupplier():
                return integration_syncing.sync_supplier(command, states, facts)
            case SyncItem():
                return integration_syncing.sync_item(command, refs, states, facts)


DECIDER: Final = LinkDecider()


def _alias(command: LinkStore | UnlinkStore | LinkItem | UnlinkItem | LinkSupplier) -> Alias:
    match command:
        case LinkStore() | UnlinkStore():
            kind = EXTERNAL_STORE
        case LinkItem() | UnlinkItem():
            kind = EXTERNAL_ITEM
        case LinkSupplier():
            kind = EXTERNAL_SUPPLIER
    return external_alias(kind, command.system, command.external_id)


def _link_item(command: LinkItem, states: Mapping[str, State], facts: Facts) -> Decision:
    product_id, unit = command.product_id, command.unit
    state: ProductState = states[product.stream(product_id)]
    if not state.product_id:
        return ProductNotFound(product_id=product_id)
    if state.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=state.sku)
    if unit == state.unit:
        unit = None
    if unit is not None and unit not in {each.unit for each in state.alternative_units}:
        fault = f"{unit!r} is no unit of {state.sku!r}; give the product such a unit first"
        return InvalidCommand(field="unit", fault=fault)
    return link_item(command.system, command.external_id, product_id, unit, states, facts)
