"""Aliases: the names by which clients know products and places. Ids never change; these may.

An alias is ``(kind, key)``; a key is folded so that two spellings of one name are one: SKUs
and codes ignore case and outer white space, since real files spell one SKU in two cases.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.category import CategoryDefined, CategoryRevised
from schemas.common import Event
from schemas.customer import CustomerErased, CustomerRegistered, CustomerRevised
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StoreLinked,
    StoreUnlinked,
    SupplierLinked,
    System,
)
from schemas.location import LocationOpened, LocationRevised
from schemas.lot import LotRegistered, SerialRegistered
from schemas.product import ProductDiscontinued, ProductRegistered, ProductRevised
from schemas.supplier import SupplierRegistered, SupplierRevised

SKU = "sku"
LOCATION = "location"
DEFAULT_LOCATION = "default_location"
"""One alias, with an empty key: it passes to the location that was last said to be the default."""
SUPPLIER = "supplier"
CUSTOMER = "customer"
CUSTOMER_EMAIL = "customer_email"
CATEGORY = "category"
LOT = "lot"
SERIAL = "serial"
EXTERNAL_STORE = "external_store"
EXTERNAL_ITEM = "external_item"
EXTERNAL_SUPPLIER = "external_supplier"
"""What another system calls a location, product or supplier; each system has a kind of its own."""


class AliasChange(NamedTuple):
    """The alias ``(kind, key)`` now stands for ``target_id``; all its older ones end."""

    kind: str
    target_id: int
    key: str | None


def fold(name: str) -> str:
    """Return the form of an alias under which it is unique."""
    return name.strip().casefold()


def category_key(parent_id: int | None, name: str) -> str:
    """Return the key of a category: its name is unique under its parent, or at the top."""
    return f"{parent_id or 0}:{fold(name)}"


def lot_key(product_id: int, lot: str) -> str:
    """Return the key of a lot: its batch number is unique for its product."""
    return f"{product_id}:{fold(lot)}"


def serial_key(product_id: int, serial: str) -> str:
    """Return the key of a serial number, which is unique for its product."""
    return f"{product_id}:{fold(serial)}"


def external_alias(kind: str, system: System, external_id: str) -> tuple[str, str]:
    """Return the alias that another system's name for something is.

    Such names are opaque: they are not folded, since two that differ in case may be two things.
    """
    return f"{kind}:{system}", external_id


def alias_changes(event: Event) -> Sequence[AliasChange]:
    """Return what an event says about aliases; the aliases projection folds exactly this."""
    changes_of = _CHANGES.get(type(event))
    return () if changes_of is None else changes_of(event)


def _of_product(event: Any) -> Sequence[AliasChange]:
    return (AliasChange(SKU, event.product_id, fold(event.sku)),)


def _of_no_product(event: ProductDiscontinued) -> Sequence[AliasChange]:
    return (AliasChange(SKU, event.product_id, None),)


def _of_location(event: Any) -> Sequence[AliasChange]:
    code = AliasChange(LOCATION, event.location_id, fold(event.code))
    if not event.is_default:
        return (code,)
    return (code, AliasChange(DEFAULT_LOCATION, event.location_id, ""))


def _of_supplier(event: Any) -> Sequence[AliasChange]:
    code = fold(event.code or "") or None
    return (AliasChange(SUPPLIER, event.supplier_id, code),)


def _of_customer(event: Any) -> Sequence[AliasChange]:
    # What stands for a sealed address is unique as it is; an older one is there in plain text.
    email = event.email_key or fold(event.email or "") or None
    return (
        AliasChange(CUSTOMER, event.customer_id, fold(event.code or "") or None),
        AliasChange(CUSTOMER_EMAIL, event.customer_id, email),
    )


def _of_no_customer(event: CustomerErased) -> Sequence[AliasChange]:
    return (AliasChange(CUSTOMER_EMAIL, event.customer_id, None),)


def _of_category(event: Any) -> Sequence[AliasChange]:
    key = category_key(event.parent_id, event.name)
    return (AliasChange(CATEGORY, event.category_id, key),)


def _of_lot(event: LotRegistered) -> Sequence[AliasChange]:
    return (AliasChange(LOT, event.lot_id, lot_key(event.product_id, event.lot)),)


def _of_serial(event: SerialRegistered) -> Sequence[AliasChange]:
    return (AliasChange(SERIAL, event.serial_id, serial_key(event.product_id, event.serial)),)


def _of_store(event: StoreLinked | StoreUnlinked) -> Sequence[AliasChange]:
    kind, key = external_alias(EXTERNAL_STORE, event.system, event.external_id)
    is_linked = isinstance(event, StoreLinked)
    return (AliasChange(kind, event.location_id, key if is_linked else None),)


def _of_item(event: ItemLinked | ItemUnlinked) -> Sequence[AliasChange]:
    kind, key = external_alias(EXTERNAL_ITEM, event.system, event.external_id)
    is_linked = isinstance(event, ItemLinked)
    return (AliasChange(kind, event.product_id, key if is_linked else None),)


def _of_external_supplier(event: SupplierLinked) -> Sequence[AliasChange]:
    kind, key = external_alias(EXTERNAL_SUPPLIER, event.system, event.external_id)
    return (AliasChange(kind, event.supplier_id, key),)


_CHANGES: Final[Mapping[type[Event], Callable[[Any], Sequence[AliasChange]]]] = {
    ProductRegistered: _of_product,
    ProductRevised: _of_product,
    ProductDiscontinued: _of_no_product,
    LocationOpened: _of_location,
    LocationRevised: _of_location,
    SupplierRegistered: _of_supplier,
    SupplierRevised: _of_supplier,
    CustomerRegistered: _of_customer,
    CustomerRevised: _of_customer,
    CustomerErased: _of_no_customer,
    CategoryDefined: _of_category,
    CategoryRevised: _of_category,
    LotRegistered: _of_lot,
    SerialRegistered: _of_serial,
    StoreLinked: _of_store,
    StoreUnlinked: _of_store,
    ItemLinked: _of_item,
    ItemUnlinked: _of_item,
    SupplierLinked: _of_external_supplier,
}

ALIAS_EVENTS: Final = frozenset(_CHANGES)
"""The types of the events that say something about aliases."""
