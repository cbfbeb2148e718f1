"""From the names a client used in a command to the ids the deciders work with."""

from collections.abc import Callable
from typing import Any

from ledger.aliases import LOCATION, LOT, SERIAL, SKU, fold, lot_key, serial_key
from ledger.domain.decision import (
    Alias,
    Decider,
    LocationNotFound,
    Names,
    ProductNotFound,
    Refs,
    Refusal,
)
from schemas.common import Command

Resolver = Callable[[Any, Names], Refs | Refusal]


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


def resolver_for(command_type: type[Command], decider: Decider) -> Resolver:
    """Return the function that resolves commands of one type: its decider's own, or the usual.

    It gives the ids, or the refusal that an unknown SKU or code leads to.
    """
    if type(decider).resolve is not Decider.resolve:
        return decider.resolve
    fields = set(command_type.__struct_fields__)
    if {"product_id", "sku", "location_id", "location"} <= fields:
        return _tracked(_at_place) if "lots" in fields else _at_place
    if {"product_id", "sku", "from_location_id", "to_location_id"} <= fields:
        return _tracked(_between_places)
    if "product_id" in fields:
        return _product
    if "location_id" in fields:
        return _location
    return _nothing


def _at_place(command: Any, names: Names) -> Refs | Refusal:
    find = names.find_alias
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


def _between_places(command: Any, names: Names) -> Refs | Refusal:
    find = names.find_alias
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


def _tracked(resolve: Resolver) -> Resolver:
    """Return a resolver that finds the lots and serials of a command as well."""

    def resolve_all(command: Any, names: Names) -> Refs | Refusal:
        refs = resolve(command, names)
        if not (command.lots or command.serials) or isinstance(refs, Refusal):
            return refs
        product_id = refs.product_id
        lots = {fold(entry.lot): lot_key(product_id, entry.lot) for entry in command.lots}
        serials = {fold(number): serial_key(product_id, number) for number in command.serials}
        found = names.find_aliases(
            [*((LOT, key) for key in lots.values()), *((SERIAL, key) for key in serials.values())]
        )
        return refs._replace(
            lots={(product_id, name): found[LOT, key] for name, key in lots.items()},
            serials={(product_id, name): found[SERIAL, key] for name, key in serials.items()},
        )

    return resolve_all


def _product(command: Any, names: Names) -> Refs | Refusal:
    return Refs(product_id=command.product_id)


def _location(command: Any, names: Names) -> Refs | Refusal:
    return Refs(location_id=command.location_id)


def _nothing(command: Any, names: Names) -> Refs | Refusal:
    return Refs()
