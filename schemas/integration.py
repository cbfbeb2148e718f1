"""Links to other systems: which of our places and products an outside id stands for.

Also what such a system said that does not agree with the books.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from schemas.common import (
    Code,
    Command,
    Event,
    Id,
    Instant,
    Name,
    ShortText,
    keep_amount,
    keep_exact,
    require_one,
    require_positive,
)
from schemas.product import AlternativeUnit, ReviseProduct, Scale
from schemas.stock import Unit
from schemas.supplier import ReviseSupplier

System = Literal["mipos", "mihwar", "woocommerce"]
ExternalId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
MovementType = Literal["add", "remove"]


class LinkStore(Command, frozen=True, kw_only=True):
    """Say that a store of another system is one of our locations.

    ``external_id`` is the store's name there. The same link again: nothing to do. A location may
    be linked to several systems, as one store of each; a store is one location's only.
    """

    TYPE: ClassVar[str] = "LinkStore"
    system: System
    external_id: ExternalId
    location_id: Id | None = None
    location: Code | None = None

    def __post_init__(self) -> None:
        require_one("location_id", self.location_id, "location", self.location)


class UnlinkStore(Command, frozen=True, kw_only=True):
    """End a link; one that is not there: nothing to do."""

    TYPE: ClassVar[str] = "UnlinkStore"
    system: System
    external_id: ExternalId


class LinkItem(Command, frozen=True, kw_only=True):
    """Say that an item of another system is one of our products.

    ``unit`` is the unit that the item's quantities are in, one of the product's; None: its own.
    A product is one item of each system, and an item is one product.
    """

    TYPE: ClassVar[str] = "LinkItem"
    system: System
    external_id: ExternalId
    product_id: Id
    unit: Unit | None = None


class UnlinkItem(Command, frozen=True, kw_only=True):
    """End a link; one that is not there: nothing to do."""

    TYPE: ClassVar[str] = "UnlinkItem"
    system: System
    external_id: ExternalId


class LinkSupplier(Command, frozen=True, kw_only=True):
    """Say that a supplier of another system is one of our suppliers."""

    TYPE: ClassVar[str] = "LinkSupplier"
    system: System
    external_id: ExternalId
    supplier_id: Id


class SyncSupplier(Command, frozen=True, kw_only=True):
    """Take over what another system says of one of its suppliers.

    The one that is linked, or has the external id as its code, or else a new one, which is
    linked in any case. ``known`` is what the books say of it, as read before: where they say
    otherwise by now, the command is refused, so that nothing said meanwhile is undone.
    """

    TYPE: ClassVar[str] = "SyncSupplier"
    system: System
    external_id: ExternalId
    name: Name
    known: ReviseSupplier | None = None


class SyncItem(Command, frozen=True, kw_only=True):
    """Take over what another system says of one of its items: what it is, and what is on hand.

    It is the product that is linked, or whose SKU is the external id, or else a new one, which
    is linked in any case. ``unit`` is what ``quantity`` is counted in and ``cost`` is of one of
    these. ``supplier`` is the external id of a supplier that is linked. ``unit`` and ``scale``
    are a new product's; another keeps its own, and ``quantity`` is in its own unit unless
    ``unit`` is one of its alternatives. ``known`` is what the catalogue says of the product, as
    read before: where it says otherwise by now, the command is refused.
    """

    TYPE: ClassVar[str] = "SyncItem"
    system: System
    external_id: ExternalId
    location_id: Id
    name: Name
    unit: Unit
    scale: Scale
    cost: Decimal
    quantity: Decimal
    supplier: ExternalId | None = None
    purchase_unit: AlternativeUnit | None = None
    known: ReviseProduct | None = None

    def __post_init__(self) -> None:
        keep_amount(self, "cost", self.cost)
        keep_exact(self, "quantity", self.quantity)


class ApplyExternalMovement(Command, frozen=True, kw_only=True):
    """Take over a movement that another system has made of one of its items.

    ``current_stock`` is what that system then says is on hand: where the books, with the
    movement, say otherwise, that is recorded as a divergence.
    """

    TYPE: ClassVar[str] = "ApplyExternalMovement"
    system: System
    location_id: Id
    item: ExternalId
    movement: MovementType
    quantity: Decimal
    current_stock: Decimal | None = None
    effective_at: Instant | None = None
    reference: ShortText | None = None

    def __post_init__(self) -> None:
        keep_exact(self, "quantity", self.quantity)
        require_positive("quantity", self.quantity)
        keep_exact(self, "current_stock", self.current_stock)


LinkCommand = (
    LinkStore | UnlinkStore | LinkItem | UnlinkItem | LinkSupplier | SyncSupplier | SyncItem
)
IntegrationCommand = LinkCommand | ApplyExternalMovement


class StoreLinked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "StoreLinked"
    system: System
    external_id: str
    location_id: int


class StoreUnlinked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "StoreUnlinked"
    system: System
    external_id: str
    location_id: int


class ItemLinked(Event, frozen=True, kw_only=True):
    """``unit`` is what the item's quantities are in, where it is not the product's own unit."""

    TYPE: ClassVar[str] = "ItemLinked"
    system: System
    external_id: str
    product_id: int
    unit: str | None = None


class ItemUnlinked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ItemUnlinked"
    system: System
    external_id: str
    product_id: int


class SupplierLinked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "SupplierLinked"
    system: System
    external_id: str
    supplier_id: int


class StockDivergenceDetected(Event, frozen=True, kw_only=True):
    """Another system's figure of what is on hand is not ours; ``difference`` is theirs less ours.

    Nothing moves by it.
    """

    TYPE: ClassVar[str] = "StockDivergenceDetected"
    system: System
    product_id: int
    location_id: int
    external_id: str
    on_hand: Decimal
    reported: Decimal
    difference: Decimal
    reported_at: datetime


LinkEvent = StoreLinked | StoreUnlinked | ItemLinked | ItemUnlinked | SupplierLinked
IntegrationEvent = LinkEvent | StockDivergenceDetected
