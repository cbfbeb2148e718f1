"""HTTP bodies and replies of inventory. A body names a place as seed 003 does: a warehouse.

``warehouse_id`` and ``location_id`` are one thing, and so are ``warehouse`` and ``location``
(its code); a request gives one of the four, and one of ``product_id`` and ``sku``.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import Code, Id, Instant, LongText, ShortText, Sku
from schemas.http_common import Amount, Quantity
from schemas.stock import Account, Destination, Disposition, Lots, Origin, Serials, Unit


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    effective_at: Instant | None = None
    reason: ShortText | None = None
    reference: ShortText | None = None
    notes: LongText | None = None


class _AtWarehouse(_Body, frozen=True, kw_only=True):
    product_id: Id | None = None
    sku: Sku | None = None
    warehouse_id: Id | None = None
    warehouse: Code | None = None
    location_id: Id | None = None
    location: Code | None = None


class QuantityBody(_AtWarehouse, frozen=True, kw_only=True):
    """A quantity of a product at a warehouse, in its own unit unless ``unit`` names another."""

    quantity: Decimal
    unit: Unit | None = None


class TrackedBody(QuantityBody, frozen=True, kw_only=True):
    """Goods that may be tracked: of which lots they are, or which units by serial number."""

    lots: Lots = ()
    serials: Serials = ()


class ReceiveBody(TrackedBody, frozen=True, kw_only=True):
    """``returns`` is the reference of the issue that a customer's goods come back from."""

    source: Origin = "supplier"
    unit_cost: Decimal | None = None
    unit_price: Decimal | None = None
    returns: ShortText | None = None


class IssueBody(TrackedBody, frozen=True, kw_only=True):
    destination: Destination = "customer"
    unit_price: Decimal | None = None


class SetBody(QuantityBody, frozen=True, kw_only=True):
    expected_quantity: Decimal | None = None


class ReserveBody(QuantityBody, frozen=True, kw_only=True):
    reservation_id: Code | None = None
    owner: ShortText | None = None
    expires_at: Instant | None = None


class ReleaseQuarantineBody(TrackedBody, frozen=True, kw_only=True):
    disposition: Disposition = "restock"


class ExtendReservationBody(_AtWarehouse, frozen=True, kw_only=True):
    expires_at: Instant | None


class ReservationPartBody(_AtWarehouse, frozen=True, kw_only=True):
    """All that is left of a reservation, or ``quantity`` of it."""

    quantity: Decimal | None = None
    unit: Unit | None = None


class IssueReservedBody(ReservationPartBody, frozen=True, kw_only=True):
    """What goes out against a reservation, and of which lots or units it is."""

    unit_price: Decimal | None = None
    lots: Lots = ()
    serials: Serials = ()


class TransferBody(_Body, frozen=True, kw_only=True):
    product_id: Id | None = None
    sku: Sku | None = None
    from_warehouse_id: Id | None = None
    from_warehouse: Code | None = None
    from_location_id: Id | None = None
    from_location: Code | None = None
    to_warehouse_id: Id | None = None
    to_warehouse: Code | None = None
    to_location_id: Id | None = None
    to_location: Code | None = None
    quantity: Decimal
    unit: Unit | None = None
    lots: Lots = ()
    serials: Serials = ()


class ReceiveTransferBody(_AtWarehouse, frozen=True, kw_only=True):
    """Lots and serials are of what has arrived, or of what is lost when nothing has."""

    quantity: Decimal = Decimal(0)
    lost: Decimal = Decimal(0)
    lots: Lots = ()
    serials: Serials = ()


class ReverseBody(_Body, frozen=True, kw_only=True):
    """Remarks on a reversal."""


class SyncItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The absolute quantity on hand of a SKU at a warehouse, as another system has it."""

    sku: Sku
    quantity: Decimal
    warehouse_id: Id | None = None
    warehouse: Code | None = None
    location_id: Id | None = None
    location: Code | None = None
    expected_quantity: Decimal | None = None


class SyncBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be set. A bare array of the items is taken as well."""

    inventory: Annotated[tuple[SyncItem, ...], Meta(min_length=1)]


class SyncRefusal(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    sku: str
    error: str
    code: str


class SyncReply(msgspec.Struct, frozen=True, kw_only=True):
    """``updated`` counts items set or found right already; ``errors`` tells of those skipped."""

    message: str
    updated: int
    skipped: int
    errors: list[SyncRefusal]


class AdjustReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    new_quantity: Quantity


class TransferReply(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    quantity: Quantity


class StockReply(msgspec.Struct, frozen=True, kw_only=True):
    """The level after a stock command; ``positions`` are of the events that it recorded."""

    message: str
    product_id: int
    warehouse_id: int
    quantity: Quantity
    available: Quantity
    reserved: Quantity
    quarantined: Quantity
    in_transit: Quantity
    positions: list[int]
    transfer_id: int | None = None
    reservation_id: str | None = None


class InventoryRow(msgspec.Struct, frozen=True, kw_only=True):
    """``quantity`` is what is on hand, quarantined goods included.

    ``in_transit_quantity`` comes from other warehouses, ``incoming_quantity`` from suppliers.
    """

    product_id: int
    sku: str
    product_name: str
    warehouse_id: int
    warehouse_name: str
    quantity: Quantity
    reorder_level: Quantity | None
    reserved_quantity: Quantity
    available_quantity: Quantity
    quarantined_quantity: Quantity
    in_transit_quantity: Quantity
    incoming_quantity: Quantity


class InventoryReply(msgspec.Struct, frozen=True, kw_only=True):
    inventory: list[InventoryRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class InventorySummaryReply(msgspec.Struct, frozen=True, kw_only=True):
    total_skus: int
    total_stock_value: Amount
    low_stock_count: int
    out_of_stock_count: int
    warehouses: int


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    product_id: int
    sku: str
    product_name: str
    warehouse_id: int
    warehouse_name: str
    quantity: Quantity
    reorder_level: Quantity


class AlertsReply(msgspec.Struct, frozen=True, kw_only=True):
    alerts: list[AlertRow]
    total: int
    page: int
    limit: int


class MovementRow(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` is the position of its event. ``quantity`` is signed as the warehouse sees it:
    above zero when goods came on hand there, below when they went."""

    id: int
    product_id: int
    sku: str
    movement_type: str
    quantity: Quantity
    warehouse_id: int
    warehouse_name: str
    from_account: Account
    from_warehouse_id: int
    to_account: Account
    to_warehouse_id: int
    reference_id: str | None
    reason: str | None
    notes: str | None
    created_by_name: str | None
    effective_at: datetime
    created_at: datetime
    reverses: int | None
    reversed_by: int | None


class MovementsReply(msgspec.Struct, frozen=True, kw_only=True):
    movements: list[MovementRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class ExternalInventoryRow(msgspec.Struct, frozen=True, kw_only=True):
    product_id: int
    sku: str
    product_name: str
    warehouse_id: int
    warehouse_name: str
    quantity: Quantity


class ExternalInventoryReply(msgspec.Struct, frozen=True, kw_only=True):
    inventory: list[ExternalInventoryRow]
    total: int
    page: int
    limit: int


class StockLevelReply(msgspec.Struct, frozen=True, kw_only=True):
    """One SKU at one location, or in all of them. ``version`` is of the one location's stream.

    Of the past, with ``as_of`` or ``known_at``, ``position`` is that of what was known, and there
    is no version.
    """

    sku: str
    product_id: int
    location: str | None
    location_id: int | None
    on_hand: Quantity
    available: Quantity
    reserved: Quantity
    quarantined: Quantity
    in_transit: Quantity
    as_of: datetime | None
    known_at: datetime | int | None
    position: int
    version: int | None
