"""Links to other systems over HTTP: bodies and replies."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import Code, Id
from schemas.http_common import Quantity
from schemas.integration import ExternalId, System
from schemas.stock import Unit


class InventorySystemReply(msgspec.Struct, frozen=True, kw_only=True):
    """What another system calls this tenant, and the user that it belongs to."""

    inventory_system_id: Annotated[str, Meta(description="A UUID, this tenant's for good")]
    user_id_tps: Annotated[str, Meta(description="The owner's user id, as text")]


class LinkStoreBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of our warehouses a store of another system is, by its id or its code."""

    system: System
    external_id: Annotated[ExternalId, Meta(description="What the other system calls the store")]
    warehouse_id: Id | None = None
    warehouse: Code | None = None


class LinkItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of our products an item of another system is, and in which unit it counts."""

    system: System
    external_id: Annotated[ExternalId, Meta(description="What the other system calls the item")]
    product_id: Id
    unit: Annotated[
        Unit | None, Meta(description="One of the product's units; null is its own")
    ] = None


class StoreRow(msgspec.Struct, frozen=True, kw_only=True):
    system: str
    external_id: str
    warehouse_id: int
    warehouse_name: str
    code: str
    linked_at: datetime


class StoresReply(msgspec.Struct, frozen=True, kw_only=True):
    stores: list[StoreRow]
    total: int
    page: int
    limit: int


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """``unit`` is what the item's quantities are in."""

    system: str
    external_id: str
    product_id: int
    sku: str
    name: str
    unit: str
    linked_at: datetime


class ItemsReply(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ItemRow]
    total: int
    page: int
    limit: int


class DivergenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """``difference`` is what was reported less what was on hand; ``position`` is its event's."""

    position: int
    system: str
    external_id: str
    product_id: int
    sku: str
    warehouse_id: int
    warehouse_name: str
    on_hand: Quantity
    reported: Quantity
    difference: Quantity
    reported_at: datetime
    recorded_at: datetime


class DivergencesReply(msgspec.Struct, frozen=True, kw_only=True):
    divergences: list[DivergenceRow]
    total: int
    page: int
    limit: int
