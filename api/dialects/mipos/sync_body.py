"""miPOS's synchronisation: what it says, and all that is wrong in it.

A body in which nothing is wrong is decoded in one go. In any other, every entry is looked at for
itself, so that all that is wrong is said at once.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec
from msgspec import Meta

from api.decoding import DECODE_FAULTS
from api.dialects.mipos.answers import SYSTEM
from api.dialects.mipos.bodies import (
    TEXT,
    Document,
    Fields,
    decimal_of,
    decoded,
    is_missing,
    label,
)
from schemas.integration import SyncItem, SyncSupplier
from schemas.product import AlternativeUnit, ReviseProduct
from schemas.supplier import ReviseSupplier

_NAME_LENGTH_MAX: Final = 200
_SHORT_NAME_LENGTH_MAX: Final = 20
_ID_LENGTH_MAX: Final = 100
_FACTOR: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})|([0-9]{1,9}(?:\.[0-9]{1,6})?)")
_FACTOR_PART_MAX: Final = 10**9

_Name = Annotated[str, Meta(min_length=1, max_length=_NAME_LENGTH_MAX)]
_ShortName = Annotated[str, Meta(min_length=1, max_length=_SHORT_NAME_LENGTH_MAX)]
_ExternalId = Annotated[str, Meta(min_length=1, max_length=_ID_LENGTH_MAX)]


class ItemSaid(msgspec.Struct, frozen=True, gc=False):
    """An item in which nothing is wrong. ``purchase_unit_factor`` is a field of ours."""

    name: _Name
    external_id: _ExternalId
    purchase_unit_external_id: _ExternalId
    consumption_unit_external_id: _ExternalId
    supplier_external_id: _ExternalId
    cost: str
    stock: str
    purchase_unit_factor: str | None = None


class _UnitSaid(msgspec.Struct, frozen=True, gc=False):
    name: _Name
    short_name: _ShortName
    external_id: _ExternalId


class _SupplierSaid(msgspec.Struct, frozen=True, gc=False):
    name: _Name
    external_id: _ExternalId


class _Whole(msgspec.Struct, frozen=True, gc=False):
    items: list[ItemSaid]
    units: list[_UnitSaid]
    suppliers: list[_SupplierSaid]
    user_id_tps: _ExternalId
    inventory_system_id: _ExternalId


_decode_whole = msgspec.json.Decoder(_Whole).decode


class SyncSaid(NamedTuple):
    """What a synchronisation says: ``units`` has short names and ``suppliers`` names, by their
    ids, and ``scale`` is how many digits behind the point the finest figure of stock has."""

    user_id_tps: str
    inventory_system_id: str
    units: Mapping[str, str]
    suppliers: Mapping[str, str]
    items: Sequence[ItemSaid]
    scale: int
    wrong: Sequence[str] = ()

    def item(self, said: ItemSaid, location_id: int, known: ReviseProduct | None) -> SyncItem:
        """Return the command that takes an item over."""
        purchase_unit = None
        bought_in, counted_in = said.purchase_unit_external_id, said.consumption_unit_external_id
        if said.purchase_unit_factor is not None and bought_in != counted_in:
            factor = factor_of(said.purchase_unit_factor)
            assert factor is not None, "one that is none has been told"
            purchase_unit = AlternativeUnit(
                unit=self.units[bought_in],
                numerator=factor.numerator,
                denominator=factor.denominator,
            )
        return SyncItem(
            system=SYSTEM,
            external_id=said.external_id,
            location_id=location_id,
            name=said.name,
            unit=self.units[counted_in],
            scale=self.scale,
            cost=Decimal(said.cost),
            quantity=Decimal(said.stock),
            supplier=said.supplier_external_id,
            purchase_unit=purchase_unit,
            known=known,
        )

    def supplier(self, external_id: str, known: ReviseSupplier | None) -> SyncSupplier:
        """Return the command that takes a supplier over."""
        return SyncSupplier(
            system=SYSTEM,
            external_id=external_id,
            name=self.suppliers[external_id],
            known=known,
        )


def factor_of(text: str) -> Fraction | None:
    """Return a factor such as 12, 0.5 or 1/3, exactly; None for what is none, or out of bounds."""
    match = _FACTOR.fullmatch(text.strip())
    if match is None:
        return None
    if match[2] is None:
        factor = Fraction(match[3])
    else:
        factor = Fraction(int(match[1]), int(match[2])) if int(match[2]) else Fraction(0)
    if not factor or max(factor.numerator, factor.denominator) > _FACTOR_PART_MAX:
        return None
    return factor


def sync_said(body: bytes, items_max: int) -> SyncSaid:
    """Return what a synchronisation says, or all that is wrong in it.

    Raise Problem: 400 when it is no JSON object, 422 when one of its own fields is missing or
    cannot be right.
    """
    return _said_at_once(body, items_max) or said_in_part(decoded(body), items_max)


# --- in one go --------------------------------------------------------------------------


def _said_at_once(body: bytes, items_max: int) -> SyncSaid | None:
    """Return what a body says in which nothing is wrong and nothing has to be looked at."""
    # Without these no text has a control character in it, and no key is written in two ways.
    if b"\\" in body or b"\x7f" in body:
        return None
    try:
        whole = _decode_whole(body)
    except DECODE_FAULTS:
        return None
    items, units, suppliers = whole.items, whole.units, whole.suppliers
    if not (1 <= len(items) <= items_max and 1 <= len(units) <= items_max):
        return None
    if not 1 <= len(suppliers) <= items_max or not _each_key_once(body, whole):
        return None
    short_names = {unit.external_id: unit.short_name for unit in units}
    names = {supplier.external_id: supplier.name for supplier in suppliers}
    ids = {item.external_id for item in items}
    if (len(ids), len(short_names), len(names)) != (len(items), len(units), len(suppliers)):
        return None
    around = (whole.user_id_tps, whole.inventory_system_id)
    texts = (*around, *short_names, *short_names.values(), *names, *names.values(), *ids)
    if any(text != text.strip() for text in texts):
        return None
    if any(unit.name != unit.name.strip() for unit in units):
        return None
    scale = 0
    for item in items:
        stock, cost, name = item.stock, item.cost, item.name
        if (
            item.purchase_unit_external_id not in short_names
            or item.consumption_unit_external_id not in short_names
            or item.supplier_external_id not in names
            or name != name.strip()
            or decimal_of(stock) is None
            or decimal_of(cost) is None
            or cost[0] == "-"
        ):
            return None
        factor = item.purchase_unit_factor
        if factor is not None and factor_of(factor) is None:
            return None
        scale = max(scale, len(stock.partition(".")[2]))
    return SyncSaid(*around, short_names, names, items, scale)


def _each_key_once(body: bytes, whole: _Whole) -> bool:
    """Tell whether no object has a key twice; False may be wrong, where a text is such a key."""
    items, units, suppliers = len(whole.items), len(whole.units), len(whole.suppliers)
    factors = sum(item.purchase_unit_factor is not None for item in whole.items)
    times = {
        "items": 1, "units": 1, "suppliers": 1, "user_id_tps": 1, "inventory_system_id": 1,
        "name": items + units + suppliers, "external_id": items + units + suppliers,
        "short_name": units, "purchase_unit_external_id": items,
        "consumption_unit_external_id": items, "supplier_external_id": items, "cost": items,
        "stock": items, "purchase_unit_factor": factors,
    }  # fmt: skip
    return all(body.count(b'"%s"' % key.encode()) == count for key, count in times.items())


# --- entry by entry ---------------------------------------------------------------------


def said_in_part(said: Document, items_max: int) -> SyncSaid:
    """Return what a synchronisation says, or all that is wrong in it; see `sync_said`."""
    fields = Fields(said)
    items = _listed(fields, "items", items_max)
    system_id = fields.text("inventory_system_id")
    units = _listed(fields, "units", items_max)
    suppliers = _listed(fields, "suppliers", items_max)
    user_id = fields.text("user_id_tps")
    fields.check()
    reading = _SyncReading()
    known_units = reading.units(units)
    known_suppliers = reading.suppliers(suppliers)
    read = reading.items(items, known_units, known_suppliers)
    return SyncSaid(
        user_id,
        system_id,
        known_units,
        known_suppliers,
        read,
        max((len(item.stock.partition(".")[2]) for item in read), default=0),
        (
            *(sentence for sentence in _IN_ORDER if sentence in reading.wrong),
            *(sentence for sentence in reading.wrong if sentence not in _IN_ORDER),
        ),
    )


def _listed(fields: Fields, field: str, length_max: int) -> Sequence[Document]:
    value = fields.require(field)
    if value is None:
        return ()
    if not isinstance(value, list):
        fields.refuse(field, f"The {field} must be an array.")
        return ()
    listed = cast(list[Any], value)
    if len(listed) > length_max:
        fields.refuse(field, f"The {field} may not have more than {length_max} items.")
    return [cast(Document, entry) if isinstance(entry, dict) else {} for entry in listed]


# The document's sentences, in its order. The two with a place for an id are made below.
_IN_ORDER: Final = (
    "The item must have a name.",
    "The item must have an external id.",
    "The item must have an purchase unit external id.",
    "The item must have an consumption unit external id.",
    "The item must have a supplier external id.",
    "The item must have a cost.",
    "The item must have a stock.",
    "The unit must have a name.",
    "The unit must have a short name.",
    "The unit must have an external id.",
    "The supplier must have a name.",
    "The supplier must have an external id.",
    "The item purchase unit external id must be a string.",
    "The item consumption unit external id must be a string.",
    "The item cost must be a string.",
    "The item stock must be a string.",
)

# What each field of an entry is called where it is missing.
_MUST_HAVE: Final[Mapping[str, Mapping[str, str]]] = {
    "item": {
        "name": "a name",
        "external_id": "an external id",
        "purchase_unit_external_id": "an purchase unit external id",
        "consumption_unit_external_id": "an consumption unit external id",
        "supplier_external_id": "a supplier external id",
        "cost": "a cost",
        "stock": "a stock",
    },
    "unit": {"name": "a name", "short_name": "a short name", "external_id": "an external id"},
    "supplier": {"name": "a name", "external_id": "an external id"},
}
_LENGTH_MAX: Final[Mapping[str, int]] = {
    "name": _NAME_LENGTH_MAX,
    "short_name": _SHORT_NAME_LENGTH_MAX,
}


_NO_FACTOR: Final = "The item purchase unit factor must be a string such as 12, 0.5 or 1/3."


class _SyncReading:
    """Reads a synchronisation's entries; each sentence about them is said once."""

    def __init__(self) -> None:
        self.wrong: dict[str, None] = {}

    def _refuse(self, sentence: str) -> None:
        self.wrong[sentence] = None

    def _entry(self, kind: str, said: Document) -> dict[str, str] | None:
        """Return the fields of an entry as text; None when one of them is wrong."""
        found: dict[str, str] = {}
        for field, must_have in _MUST_HAVE[kind].items():
            value = said.get(field)
            length_max = _LENGTH_MAX.get(field, _ID_LENGTH_MAX)
            if is_missing(value):
                self._refuse(f"The {kind} must have {must_have}.")
            elif not isinstance(value, str):
                self._refuse(f"The {kind} {label(field)} must be a string.")
            elif len(value.strip()) > length_max:
                self._refuse(
                    f"The {kind} {label(field)} may not be greater than {length_max} characters."
                )
            elif not TEXT.fullmatch(value.strip()):
                self._refuse(f"The {kind} {label(field)} format is invalid.")
            else:
                found[field] = value.strip()
        return found if len(found) == len(_MUST_HAVE[kind]) else None

    def _entries(self, kind: str, said: Iterable[Document]) -> Mapping[str, dict[str, str] | None]:
        """Return entries by their external ids; an id that is given twice is wrong."""
        found: dict[str, dict[str, str] | None] = {}
        for entry in said:
            fields = self._entry(kind, entry)
            external_id = entry.get("external_id")
            if not isinstance(external_id, str) or is_missing(external_id):
                continue
            found[external_id.strip()] = fields
        self._once(kind, said)
        return found

    def _once(self, kind: str, said: Iterable[Document]) -> None:
        """Refuse external ids that are given twice."""
        seen: set[str] = set()
        for entry in said:
            external_id = entry.get("external_id")
            if not isinstance(external_id, str) or is_missing(external_id):
                continue
            if external_id.strip() in seen:
                self._refuse(
                    f"{kind.capitalize()} external id ({external_id.strip()}) is given twice in "
                    f"{kind}s array"
                )
            seen.add(external_id.strip())

    def units(self, said: Iterable[Document]) -> Mapping[str, str]:
        """Return the short names of units by their external ids."""
        return {
            external_id: "" if fields is None else fields["short_name"]
            for external_id, fields in self._entries("unit", said).items()
        }

    def suppliers(self, said: Iterable[Document]) -> Mapping[str, str]:
        """Return the names of suppliers by their external ids."""
        return {
            external_id: "" if fields is None else fields["name"]
            for external_id, fields in self._entries("supplier", said).items()
        }

    def items(
        self, said: Sequence[Document], units: Mapping[str, str], suppliers: Mapping[str, str]
    ) -> Sequence[ItemSaid]:
        """Return the items, or none of them when anything is wrong."""
        read: list[ItemSaid] = []
        for entry in said:
            self._named(entry, "purchase_unit_external_id", units, "units")
            self._named(entry, "consumption_unit_external_id", units, "units")
            self._named(entry, "supplier_external_id", suppliers, "suppliers")
            factor = entry.get("purchase_unit_factor")
            if is_missing(factor):
                factor = None
            elif not isinstance(factor, str) or factor_of(factor) is None:
                self._refuse(_NO_FACTOR)
                factor = None
            fields = self._entry("item", entry)
            if fields is not None:
                self._number("cost", fields["cost"], lambda cost: cost >= 0)
                self._number("stock", fields["stock"], lambda stock: True)
                read.append(ItemSaid(**fields, purchase_unit_factor=factor))
        self._once("item", said)
        return () if self.wrong else read

    def _named(self, said: Document, field: str, known: Mapping[str, Any], array: str) -> None:
        value = said.get(field)
        if isinstance(value, str) and value.strip() and value.strip() not in known:
            self._refuse(f"Item {label(field)} ({value.strip()}) not found in {array} array")

    def _number(self, field: str, text: str, is_right: Callable[[Decimal], bool]) -> None:
        number = decimal_of(text)
        if number is None:
            self._refuse(f"The item {field} ({text}) must be a number.")
        elif not is_right(number):
            self._refuse(f"The item {field} ({text}) must be at least 0.")
