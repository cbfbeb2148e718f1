"""HTTP bodies and replies of batches and serial numbers (seed 003).

A batch is a lot to the ledger, and ``batch_number`` its ``lot``. A body names a place as those
of inventory do (`schemas.http_inventory`).
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.common import Code, Id, Instant, LongText, ShortText, Sku
from schemas.http_common import Quantity
from schemas.lot import SerialStatus
from schemas.stock import SERIALS_MAX


class _AtWarehouse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one product; at the default warehouse unless one is named."""

    product_id: Id | None = None
    sku: Sku | None = None
    warehouse_id: Id | None = None
    warehouse: Code | None = None
    location_id: Id | None = None
    location: Code | None = None
    effective_at: Instant | None = None
    unit_cost: Decimal | None = None


class BatchBody(_AtWarehouse, frozen=True, kw_only=True):
    """A new batch. ``quantity`` of it is received at the warehouse, none without one.

    Nothing of it is picked to go out from ``removal_date`` on, or from ``expiry_date`` without.
    """

    batch_number: Code
    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    quantity: Decimal | None = None
    notes: LongText | None = None


class BatchRevisionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is said of a batch; what is left out is no longer known."""

    lot_number: ShortText | None = None
    manufacture_date: date | None = None
    expiry_date: date | None = None
    removal_date: date | None = None
    notes: LongText | None = None


class BatchCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    product_id: int
    batch_number: str
    lot_number: str | None
    manufacture_date: date | None
    expiry_date: date | None
    removal_date: date | None
    quantity: Quantity
    warehouse_id: int | None
    notes: str | None
    created_at: datetime


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """``quantity`` is on hand, blocked goods included: everywhere, or at the warehouse asked for.

    ``version`` is what If-Match takes.
    """

    id: int
    product_id: int
    sku: str
    product_name: str
    batch_number: str
    lot_number: str | None
    manufacture_date: date | None
    expiry_date: date | None
    removal_date: date | None
    quantity: Quantity
    quarantined_quantity: Quantity
    in_transit_quantity: Quantity
    notes: str | None
    created_at: datetime
    version: int


class BatchesReply(msgspec.Struct, frozen=True, kw_only=True):
    batches: list[BatchRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None


class ExpiringBatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """``days_until_expiry`` is from today, by the books' time zone; below zero it has expired."""

    id: int
    product_id: int
    sku: str
    product_name: str
    batch_number: str
    expiry_date: date
    removal_date: date | None
    days_until_expiry: int
    quantity: Quantity


class ExpiringBatchesReply(msgspec.Struct, frozen=True, kw_only=True):
    batches: list[ExpiringBatchRow]
    total: int
    page: int
    limit: int
    today: date


class SerialBody(_AtWarehouse, frozen=True, kw_only=True):
    """A unit that is received at the warehouse."""

    serial_number: Code
    notes: LongText | None = None


class SerialsBody(_AtWarehouse, frozen=True, kw_only=True):
    """Units that are received at the warehouse, all of them or none."""

    serials: Annotated[tuple[Code, ...], Meta(min_length=1, max_length=SERIALS_MAX)]
    notes: LongText | None = None


class SerialCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    product_id: int
    serial_number: str
    warehouse_id: int
    status: SerialStatus
    created_at: datetime


class SerialsCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    """``ids`` are in the order of the numbers in the request."""

    message: str
    count: int
    ids: list[int]


class SerialRow(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that is sold, returned or lost was last at ``warehouse_id``."""

    id: int
    product_id: int
    sku: str
    product_name: str
    serial_number: str
    warehouse_id: int | None
    warehouse_name: str
    status: SerialStatus
    created_at: datetime
    moved_at: datetime | None


class SerialsReply(msgspec.Struct, frozen=True, kw_only=True):
    serials: list[SerialRow]
    total: int
    page: int
    limit: int
    next_cursor: str | None = None
