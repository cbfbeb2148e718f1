"""Links to other systems: which of our places and products an outside id stands for.

Also what such a system said that does not agree with the books.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from schemas.common import Code, Command, Event, Id, Instant, ShortText, keep_exact

System = Literal["mipos", "mihwar", "woocommerce"]
ExternalId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
MovementType = Literal["add", "remove"]


class LinkStore(Command, frozen=True, kw_only=True):
    """Say that a store of another system is one of our locations.

    ``external_id`` is the store's name there. The same link again: nothing to do. A location may
    be linked to several systems; a store is one location's only.
    """

    TYPE: ClassVar[str] = "LinkStore"
    system: System
    external_id: ExternalId
    location_id: Id | None = None
    location: Code | None = None


class UnlinkStore(Command, frozen=True, kw_only=True):
    """End a link; one that is not there: nothing to do."""

    TYPE: ClassVar[str] = "UnlinkStore"
    system: System
    external_id: ExternalId


class LinkItem(Command, frozen=True, kw_only=True):
    """Say that an item of another system is one of our products."""

    TYPE: ClassVar[str] = "LinkItem"
    system: System
    external_id: ExternalId
    product_id: Id


class LinkSupplier(Command, frozen=True, kw_only=True):
    """Say that a supplier of another system is one of our suppliers."""

    TYPE: ClassVar[str] = "LinkSupplier"
    system: System
    external_id: ExternalId
    supplier_id: Id


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
        if self.quantity <= 0:
            raise ValueError("quantity must be above zero")
        keep_exact(self, "current_stock", self.current_stock)


IntegrationCommand = LinkStore | UnlinkStore | LinkItem | LinkSupplier | ApplyExternalMovement


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
    TYPE: ClassVar[str] = "ItemLinked"
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


IntegrationEvent = (
    StoreLinked | StoreUnlinked | ItemLinked | SupplierLinked | StockDivergenceDetected
)
