"""Aliases: the names by which clients know products and places. Ids never change; these may.

An alias is ``(kind, key)``; a key is folded so that two spellings of one name are one: SKUs
and codes ignore case and outer white space, since real files spell one SKU in two cases.
"""

from typing import NamedTuple

from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductDiscontinued, ProductRegistered, ProductRevised
from schemas.supplier import SupplierRegistered

SKU = "sku"
LOCATION = "location"
SUPPLIER = "supplier"


class AliasChange(NamedTuple):
    """The alias ``(kind, key)`` now stands for ``target_id``; all its older ones end."""

    kind: str
    target_id: int
    key: str | None


def fold(name: str) -> str:
    """Return the form of an alias under which it is unique."""
    return name.strip().casefold()


def alias_change(event: Event) -> AliasChange | None:
    """Return what an event says about aliases; the aliases projection folds exactly this."""
    match event:
        case ProductRegistered() | ProductRevised():
            return AliasChange(SKU, event.product_id, fold(event.sku))
        case ProductDiscontinued():
            return AliasChange(SKU, event.product_id, None)
        case LocationOpened() | LocationRevised():
            return AliasChange(LOCATION, event.location_id, fold(event.code))
        case SupplierRegistered(code=str() as code):
            return AliasChange(SUPPLIER, event.supplier_id, fold(code))
        case _:
            return None
