"""What messages tell besides their event: figures of stock, facts by kind and key, and in words.

Which of them an event changes, and which it may tell, is said here; what they come to is
`projections.webhook_fold`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from ledger.domain.movements import QUARANTINE, UNRESTRICTED, claim_of, legs
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
)
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductDiscontinued, ProductRegistered, ProductRevised
from schemas.purchase import PurchaseOrderCreated, PurchaseOrderReceived

Place = tuple[int, int]
"""A product's id and a location's."""
FactKey = tuple[str, str]
Fact = dict[str, Any]

MIPOS: Final = "mipos"
_WIDE: Final = Context(prec=60)
_ZERO: Final = Decimal(0)


class Change(NamedTuple):
    """What an event does to the figures of a product at a location."""

    unrestricted: Decimal
    quarantine: Decimal
    reserved: Decimal


class Figures:
    """The stock of a product at a location, as it stands after the events folded so far.

    ``changes`` counts these; with none there has not been any stock there yet.
    """

    __slots__ = ("changes", "quarantine", "reserved", "unrestricted")

    def __init__(
        self, unrestricted: Decimal, quarantine: Decimal, reserved: Decimal, changes: int
    ) -> None:
        self.unrestricted = unrestricted
        self.quarantine = quarantine
        self.reserved = reserved
        self.changes = changes

    @property
    def on_hand(self) -> Decimal:
        return self.unrestricted + self.quarantine

    @property
    def available(self) -> Decimal:
        """Holds count until their release is recorded, those that have expired too."""
        return self.unrestricted - self.reserved

    def add(self, change: Change) -> None:
        self.unrestricted += change.unrestricted
        self.quarantine += change.quarantine
        self.reserved += change.reserved
        self.changes += 1


def changes_of(event: Any) -> Mapping[Place, Change]:
    """Return what an event of stock does to the figures, where it does anything to them."""
    leg = legs(event)
    claim = claim_of(event)
    reserved = _ZERO if claim is None else claim[1]
    if leg is None:
        place = event.product_id, event.location_id
        return {place: Change(_ZERO, _ZERO, reserved)} if reserved else _NOTHING
    source, from_location_id, target, to_location_id, quantity = leg
    if from_location_id == to_location_id:
        change = _moved(source, target, quantity)._replace(reserved=reserved)
        return {(event.product_id, to_location_id): change} if any(change) else _NOTHING
    # Of the two places of a transfer, one may only be on its way there.
    found = {
        (event.product_id, from_location_id): _moved(source, None, quantity),
        (event.product_id, to_location_id): _moved(None, target, quantity),
    }
    return {where: change for where, change in found.items() if any(change)}


_NOTHING: Final[Mapping[Place, Change]] = MappingProxyType({})


def add_changes(totals: dict[Place, list[Any]], event: Any) -> None:
    """Add what `changes_of` an event are to totals: the three figures, and how many changes.

    It is the same sums for a fraction of the time: most tenants have no webhooks at all.
    """
    leg = legs(event)
    claim = claim_of(event)
    if leg is None:
        if claim is not None and claim[1]:
            total = _total(totals, (event.product_id, event.location_id))
            total[2] += claim[1]
            total[3] += 1
        return
    source, from_location_id, target, to_location_id, quantity = leg
    from_figure, to_figure = _FIGURE.get(source), _FIGURE.get(target)
    if from_location_id == to_location_id:
        reserved = _ZERO if claim is None else claim[1]
        if from_figure == to_figure and not reserved:
            return
        total = _total(totals, (event.product_id, to_location_id))
        if from_figure is not None:
            total[from_figure] -= quantity
        if to_figure is not None:
            total[to_figure] += quantity
        total[2] += reserved
        total[3] += 1
        return
    for figure, place, change in (
        (from_figure, from_location_id, -quantity),
        (to_figure, to_location_id, quantity),
    ):
        if figure is not None:
            total = _total(totals, (event.product_id, place))
            total[figure] += change
            total[3] += 1


_FIGURE: Final = {UNRESTRICTED: 0, QUARANTINE: 1}


def _total(totals: dict[Place, list[Any]], place: Place) -> list[Any]:
    total = totals.get(place)
    if total is None:
        total = totals[place] = [_ZERO, _ZERO, _ZERO, 0]
    return total


def _moved(source: str | None, target: str | None, quantity: Decimal) -> Change:
    """Return the change by a quantity that leaves one account and gets to another."""
    unrestricted = quarantine = _ZERO
    if target == UNRESTRICTED:
        unrestricted = quantity
    elif target == QUARANTINE:
        quarantine = quantity
    if source == UNRESTRICTED:
        unrestricted -= quantity
    elif source == QUARANTINE:
        quarantine -= quantity
    return Change(unrestricted, quarantine, _ZERO)


def facts_changed(event: Any) -> Sequence[FactKey]:
    """Return the facts that an event changes, or that it needs to change one."""
    match event:
        case ProductRegistered() | ProductRevised() | ProductDiscontinued():
            return (("product", str(event.product_id)),)
        case LocationOpened() | LocationRevised():
            return (("location", str(event.location_id)),)
        case StoreLinked() | StoreUnlinked() if event.system == MIPOS:
            return (("mipos_store", str(event.location_id)),)
        case ItemLinked() | ItemUnlinked() if event.system == MIPOS:
            return (("mipos_item", str(event.product_id)),)
        case ImportBatchOpened() | ImportBatchClosed():
            return (("batch", event.batch_id),)
        case PurchaseOrderCreated() | PurchaseOrderReceived():
            return (("purchase", str(event.purchase_order_id)),)
        case _:
            order_id = getattr(event, "order_id", None)
            return () if order_id is None else (("order", str(order_id)),)


def facts_told(event: Any, places: Iterable[Place]) -> list[FactKey]:
    """Return the facts that the messages about an event and its places may tell."""
    keys: list[FactKey] = []
    for product_id, location_id in places:
        keys += (
            ("product", str(product_id)),
            ("location", str(location_id)),
            ("mipos_item", str(product_id)),
            ("mipos_store", str(location_id)),
        )
    if isinstance(event, StockDivergenceDetected):
        keys += (("product", str(event.product_id)), ("location", str(event.location_id)))
    elif isinstance(event, PurchaseOrderReceived):
        keys += [("product", str(line.product_id)) for line in event.lines]
    return keys


def local_time(at: datetime, zone: str) -> str:
    """Return a moment as miPOS writes it, "2020-05-30 12:45:03", in a place's zone."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def is_whole(text: str) -> bool:
    """Tell whether an outside id is a plain whole number, which miPOS writes as one."""
    return text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text


def trimmed(value: Decimal) -> Decimal:
    """Return a decimal without zeros at its end: equal numbers are then written alike."""
    if value == value.to_integral_value():
        return value.quantize(Decimal(1), context=_WIDE)
    return value.normalize(_WIDE)


def instant(at: datetime) -> str:
    """Return a moment as RFC 3339 has it, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
