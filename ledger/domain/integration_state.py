"""Links to other systems: their streams, their state and its fold.

A link is in a stream of ours, named by what it leads to, and the outside name is an alias
(`ledger.aliases`): so both ways there is one at most.
"""

from typing import Final

import msgspec

from ledger.domain.decision import RecordedEvent
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StoreLinked,
    StoreUnlinked,
    SupplierLinked,
    System,
)


def store_stream(system: System, location_id: int) -> str:
    """Return the name of the stream of a location's link to a store of another system."""
    return f"link-{system}-store-{location_id}"


def item_stream(system: System, product_id: int) -> str:
    """Return the name of the stream of a product's link to an item of another system."""
    return f"link-{system}-item-{product_id}"


def supplier_stream(system: System, supplier_id: int) -> str:
    """Return the name of the stream of a supplier's link to one of another system."""
    return f"link-{system}-supplier-{supplier_id}"


STATE_VERSION: Final = 1


class LinkState(msgspec.Struct, frozen=True, gc=False):
    """What the other system calls it, empty without a link; and the unit its quantities are in."""

    external_id: str = ""
    unit: str | None = None


INITIAL: Final = LinkState()


def evolve(state: LinkState, recorded: RecordedEvent) -> LinkState:
    """Return the state after an event."""
    match recorded.event:
        case ItemLinked(external_id=external_id, unit=unit):
            return LinkState(external_id, unit)
        case StoreLinked(external_id=external_id) | SupplierLinked(external_id=external_id):
            return LinkState(external_id)
        case StoreUnlinked() | ItemUnlinked():
            return INITIAL
        case event:
            raise TypeError(f"a link has no {type(event).__name__}")
