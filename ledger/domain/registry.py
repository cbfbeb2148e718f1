"""Where a command or a stream finds its decider, its fold and its state."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final, NamedTuple, cast, get_args

from ledger.domain import (
    access,
    books,
    customer,
    divergence,
    import_batch,
    integration,
    listing,
    location,
    lot,
    order,
    price_tier,
    product,
    product_category,
    purchase_order,
    serial,
    stock,
    supplier,
    webhook,
)
from ledger.domain.decision import Decider, RecordedEvent, State
from schemas.access import AccessCommand, AccessEvent
from schemas.books import BooksCommand, BooksEvent
from schemas.category import CategoryCommand, CategoryEvent
from schemas.common import Command, Event
from schemas.customer import (
    CustomerCommand,
    CustomerEvent,
    EraseCustomer,
    PriceTierCommand,
    PriceTierEvent,
)
from schemas.demand import DemandCommand, DemandEvent
from schemas.import_batch import ImportBatchCommand, ImportBatchEvent
from schemas.integration import (
    ApplyExternalMovement,
    LinkCommand,
    LinkEvent,
    StockDivergenceDetected,
)
from schemas.listing import ListingCommand, ListingEvent
from schemas.location import LocationCommand, LocationEvent
from schemas.lot import LotCommand, LotEvent, SerialEvent
from schemas.order import OrderCommand, OrderEvent
from schemas.product import ProductCommand, ProductEvent
from schemas.purchase import PurchaseOrderCommand, PurchaseOrderEvent
from schemas.stock import StockCommand, StockEvent
from schemas.supplier import SupplierCommand, SupplierEvent
from schemas.webhook import WebhookCommand, WebhookEvent

Evolve = Callable[[State, RecordedEvent], State]


class _Category(NamedTuple):
    """What all streams whose names begin alike have in common."""

    state_type: type[Any]
    initial: State
    evolve: Evolve
    state_version: int
    commands: Any
    decider: Decider | None
    events: Any


def _of(module: ModuleType, commands: Any, events: Any) -> _Category:
    """Return a category from the names that every module of the domain has."""
    return _Category(
        type(module.INITIAL),
        module.INITIAL,
        module.evolve,
        module.STATE_VERSION,
        commands,
        getattr(module, "DECIDER", None),
        events,
    )


_CATEGORIES: Final[Mapping[str, _Category]] = {
    "stock": _of(stock, StockCommand, StockEvent),
    "product": _of(product, ProductCommand, ProductEvent),
    "category": _of(product_category, CategoryCommand, CategoryEvent),
    "lot": _of(lot, LotCommand, LotEvent),
    "serial": _of(serial, None, SerialEvent),
    "location": _of(location, LocationCommand, LocationEvent),
    "listing": _of(listing, ListingCommand, ListingEvent),
    "customer": _of(customer, CustomerCommand | EraseCustomer, CustomerEvent),
    "pricetier": _of(price_tier, PriceTierCommand, PriceTierEvent),
    "order": _of(order, OrderCommand, OrderEvent),
    "supplier": _of(supplier, SupplierCommand, SupplierEvent),
    "purchase": _of(purchase_order, PurchaseOrderCommand, PurchaseOrderEvent),
    "books": _of(books, BooksCommand, BooksEvent),
    "import": _of(import_batch, ImportBatchCommand | DemandCommand, ImportBatchEvent | DemandEvent),
    "access": _of(access, AccessCommand, AccessEvent),
    "webhook": _of(webhook, WebhookCommand, WebhookEvent),
    "link": _of(integration, LinkCommand, LinkEvent),
    "divergence": _of(divergence, ApplyExternalMovement, StockDivergenceDetected),
}


def _members(union: Any) -> tuple[Any, ...]:
    return () if union is None else get_args(union) or (union,)


_DECIDERS: Final[Mapping[type[Command], Decider]] = {
    command_type: kind.decider
    for kind in _CATEGORIES.values()
    if kind.decider is not None
    for command_type in cast("tuple[type[Command], ...]", _members(kind.commands))
}

COMMANDS: Final[Mapping[str, type[Command]]] = {
    command_type.TYPE: command_type for command_type in _DECIDERS
}


_EVOLVES: Final[Mapping[type[Event], Evolve]] = {
    event_type: kind.evolve
    for kind in _CATEGORIES.values()
    for event_type in cast("tuple[type[Event], ...]", _members(kind.events))
}


def decider_for(command_type: type[Command]) -> Decider:
    """Return the decider of a type of command; raise KeyError for one that is not ours."""
    return _DECIDERS[command_type]


def category(stream: str) -> str:
    """Return what a stream's name begins with: ``stock`` of ``stock-7-1``."""
    return stream.partition("-")[0]


def initial(category: str) -> State:
    """Return the state of a stream of this category before its first event."""
    return _CATEGORIES[category].initial


def evolve(category: str) -> Evolve:
    """Return the fold of this category's streams."""
    return _CATEGORIES[category].evolve


def evolve_by(event_type: type[Event]) -> Evolve:
    """Return the fold that takes in events of one type."""
    return _EVOLVES[event_type]


def events_by_category() -> dict[str, tuple[type[Event], ...]]:
    """Return the types of events that each category's streams may hold."""
    return {
        name: cast("tuple[type[Event], ...]", _members(kind.events))
        for name, kind in _CATEGORIES.items()
    }


def state_type(category: str) -> type[Any]:
    """Return the struct that this category's states are; snapshots hold it as JSON."""
    return _CATEGORIES[category].state_type


def state_version(category: str) -> int:
    """Return the version of this category's states; a snapshot of another one is not used."""
    return _CATEGORIES[category].state_version
