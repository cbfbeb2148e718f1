"""From the names a client used in a command to the ids the deciders work with."""

from collections.abc import Callable
from typing import Any

from ledger.aliases import LOCATION, SKU, fold
from ledger.domain.decision import LocationNotFound, ProductNotFound, Refs, Refusal
from schemas.common import Command

Alias = tuple[str, str]
FindAlias = Callable[[Alias], int | None]
Resolver = Callable[[Any, FindAlias], Refs | Refusal]


def aliases_named(command: Any) -> list[Alias]:
    """Return the aliases a command refers to a product or location by."""
    found: list[Alias] = []
    sku = getattr(command, "sku", None)
    if sku is not None and hasattr(command, "product_id"):
        found.append((SKU, fold(sku)))
    for field in ("location", "from_location", "to_location"):
        code = getattr(command, field, None)
        if code is not None:
            found.append((LOCATION, fold(code)))
    return found


def resolver_for(command_type: type[Command]) -> Resolver:
    """Return the function that resolves commands of one type.

    It gives the ids, or the refusal that an unknown SKU or code leads to.
    """
    fields = set(command_type.__struct_fields__)
    if {"product_id", "sku", "location_id", "location"} <= fields:
        return _at_place
    if {"product_id", "sku", "from_location_id", "to_location_id"} <= fields:
        return _between_places
    if "product_id" in fields:
        return _product
    if "location_id" in fields:
        return _location
    return _nothing


def _at_place(command: Any, find: FindAlias) -> Refs | Refusal:
    product_id = command.product_id
    if product_id is None:
        product_id = find((SKU, fold(command.sku)))
        if product_id is None:
            return ProductNotFound(sku=command.sku)
    location_id = command.location_id
    if location_id is None:
        location_id = find((LOCATION, fold(command.location)))
        if location_id is None:
            return LocationNotFound(location=command.location)
    return Refs(product_id, location_id)


def _between_places(command: Any, find: FindAlias) -> Refs | Refusal:
    product_id = command.product_id
    if product_id is None:
        product_id = find((SKU, fold(command.sku)))
        if product_id is None:
            return ProductNotFound(sku=command.sku)
    source = command.from_location_id
    if source is None:
        source = find((LOCATION, fold(command.from_location)))
        if source is None:
            return LocationNotFound(location=command.from_location)
    destination = command.to_location_id
    if destination is None:
        destination = find((LOCATION, fold(command.to_location)))
        if destination is None:
            return LocationNotFound(location=command.to_location)
    return Refs(product_id, source, destination)


def _product(command: Any, find: FindAlias) -> Refs | Refusal:
    return Refs(product_id=command.product_id)


def _location(command: Any, find: FindAlias) -> Refs | Refusal:
    return Refs(location_id=command.location_id)


def _nothing(command: Any, find: FindAlias) -> Refs | Refusal:
    return Refs()
