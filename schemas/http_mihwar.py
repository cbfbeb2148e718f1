"""HTTP bodies and replies of Mihwar's API (seed 000), in its spelling: camelCase."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.access import OVERLAP_HOURS_MAX, Scope
from schemas.common import Name, ShortText, Sku
from schemas.demand import PeriodKind

OrderDate = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=40,
        description="A date of the period, such as 2026-03-02, or a time with its zone in it",
        extra_json_schema={"examples": ["2026-03-02", "2026-03-02T23:30:00Z"]},
    ),
]
TimeZone = Annotated[str, Meta(min_length=1, max_length=50, pattern=r"^[A-Za-z0-9_+\-/]+$")]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a client sends."""


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What it is answered."""


class OrderLineBody(_Body, frozen=True, kw_only=True):
    """So much of a SKU was wanted in the period that ``orderDate`` is in."""

    sku: Sku
    quantity: Annotated[Decimal, Meta(description="Above zero, exact in the product's scale")]
    order_date: OrderDate
    period_kind: PeriodKind | None = None


class IngestionHeader(_Body, frozen=True, kw_only=True):
    """What is said of all lines; ``periodKind`` is of those that have none of their own."""

    external_source_id: ShortText | msgspec.UnsetType | None = msgspec.UNSET
    period_kind: PeriodKind | msgspec.UnsetType = msgspec.UNSET
    time_zone: TimeZone | msgspec.UnsetType = msgspec.UNSET


class IngestionBody(IngestionHeader, frozen=True, kw_only=True):
    """Historical quantities, as JSON; as NDJSON each line is one of ``lines``."""

    lines: Annotated[list[OrderLineBody], Meta(min_length=1)]


class RefusedLine(_Reply, frozen=True, kw_only=True):
    """``line`` counts from 1."""

    line: int
    code: str
    message: str


class IngestionReply(_Reply, frozen=True, kw_only=True):
    """``refusals`` are the first of the ``refused`` lines."""

    import_batch_id: str
    external_source_id: str | None
    period_kind: PeriodKind
    time_zone: str
    status: Literal["closed"]
    lines: int
    accepted: int
    refused: int
    refusals: list[RefusedLine]


class MihwarFault(_Reply, frozen=True, kw_only=True):
    """``code`` is stable, ``message`` says what is wrong and the way out."""

    code: str
    message: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    differing: list[str] | msgspec.UnsetType = msgspec.UNSET
    import_batch_id: str | msgspec.UnsetType = msgspec.UNSET


class MihwarErrorReply(_Reply, frozen=True, kw_only=True):
    """Every answer of these routes that is no success."""

    error: MihwarFault


# --- keys -------------------------------------------------------------------------------


class IntegrationKeyBody(_Body, frozen=True, kw_only=True):
    """``expiresAt`` is a date (the key lasts until that day ends, UTC) or a time with a zone."""

    name: Name
    permissions: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=3)] = ("write",)
    expires_at: Annotated[str, Meta(min_length=10, max_length=40)] | None = None


class IntegrationKeyRow(_Reply, frozen=True, kw_only=True):
    """A key without its secret. ``oldValidUntil`` is when the secret before the last one ends."""

    id: int
    name: str
    key_prefix: str
    permissions: list[Scope]
    is_active: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    rotated_at: datetime | None
    old_valid_until: datetime | None


class IntegrationKeysReply(_Reply, frozen=True, kw_only=True):
    keys: list[IntegrationKeyRow]
    total: int
    page: int
    limit: int


class IntegrationKeyCreatedReply(_Reply, frozen=True, kw_only=True):
    """The one reply that shows the key; a replay of it shows the key masked."""

    id: int
    name: str
    key: str
    permissions: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None


class RotationBody(_Body, frozen=True, kw_only=True):
    """For how many hours the secret up to now stays good beside the new one; 0: it ends now."""

    overlap_hours: Annotated[int, Meta(ge=0, le=OVERLAP_HOURS_MAX)] = 0


class KeyRotatedReply(_Reply, frozen=True, kw_only=True):
    """The one reply that shows the new secret; a replay of it shows it masked."""

    id: int
    key: str
    rotated_at: datetime
    old_valid_until: datetime | None


class KeyRevokedReply(_Reply, frozen=True, kw_only=True):
    id: int
    revoked: Literal[True] = True
