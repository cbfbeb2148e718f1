"""Where a command or a stream finds its decider, its fold and its state."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast, get_args

from ledger.domain import access, import_batch, location, product, stock, supplier
from ledger.domain.decision import Decider, RecordedEvent, State
from schemas.access import AccessCommand, AccessEvent
from schemas.common import Command, Event
from schemas.import_batch import ImportBatchCommand, ImportBatchEvent
from schemas.location import LocationCommand, LocationEvent
from schemas.product import ProductCommand, ProductEvent
from schemas.stock import StockCommand, StockEvent
from schemas.supplier import SupplierCommand, SupplierEvent

Evolve = Callable[[State, RecordedEvent], State]


class _Category(NamedTuple):
    """What all streams whose names begin alike have in common."""

    state_type: type[Any]
    initial: State
    evolve: Evolve
    state_version: int


_CATEGORIES: Final[Mapping[str, _Category]] = {
    "stock": _Category(stock.StockState, stock.INITIAL, stock.evolve, stock.STATE_VERSION),
    "product": _Category(
        product.ProductState, product.INITIAL, product.evolve, product.STATE_VERSION
    ),
    "location": _Category(
        location.LocationState, location.INITIAL, location.evolve, location.STATE_VERSION
    ),
    "supplier": _Category(
        supplier.SupplierState, supplier.INITIAL, supplier.evolve, supplier.STATE_VERSION
    ),
    "import": _Category(
        import_batch.ImportBatchState,
        import_batch.INITIAL,
        import_batch.evolve,
        import_batch.STATE_VERSION,
    ),
    "access": _Category(access.AccessState, access.INITIAL, access.evolve, access.STATE_VERSION),
}


def _members(union: Any) -> tuple[type[Command], ...]:
    return get_args(union) or (union,)


_UNIONS: Final[tuple[tuple[Any, Decider], ...]] = (
    (StockCommand, stock.DECIDER),
    (ProductCommand, product.DECIDER),
    (LocationCommand, location.DECIDER),
    (SupplierCommand, supplier.DECIDER),
    (ImportBatchCommand, import_batch.DECIDER),
    (AccessCommand, access.DECIDER),
)
_DECIDERS: Final[Mapping[type[Command], Decider]] = {
    command_type: decider for union, decider in _UNIONS for command_type in _members(union)
}

COMMANDS: Final[Mapping[str, type[Command]]] = {
    command_type.TYPE: command_type for command_type in _DECIDERS
}


_EVOLVES: Final[Mapping[type[Event], Evolve]] = {
    event_type: _CATEGORIES[category].evolve
    for category, union in (
        ("stock", StockEvent),
        ("product", ProductEvent),
        ("location", LocationEvent),
        ("supplier", SupplierEvent),
        ("import", ImportBatchEvent),
        ("access", AccessEvent),
    )
    for event_type in cast("tuple[type[Event], ...]", get_args(union) or (union,))
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


def state_type(category: str) -> type[Any]:
    """Return the struct that this category's states are; snapshots hold it as JSON."""
    return _CATEGORIES[category].state_type


def state_version(category: str) -> int:
    """Return the version of this category's states; a snapshot of another one is not used."""
    return _CATEGORIES[category].state_version
