"""HTTP bodies and replies of ingestion batches and of the demand report."""

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.common import ShortText
from schemas.demand import PeriodKind
from schemas.http_common import Quantity
from schemas.import_batch import ImportKind

BatchStatus = Literal["open", "closed", "reversed"]


class ImportBatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. One that stays open was cut off: sent again, it goes on where it stopped."""

    id: str
    kind: ImportKind
    status: BatchStatus
    source_name: str
    source_digest: str
    options: dict[str, str]
    lines: int
    accepted: int
    refused: int
    chunks: int
    opened_at: datetime
    closed_at: datetime | None
    reversed_at: datetime | None
    reversed_reason: str | None


class ImportBatchesReply(msgspec.Struct, frozen=True, kw_only=True):
    import_batches: list[ImportBatchRow]
    total: int
    page: int
    limit: int


class ImportRefusalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line that became no event; ``line`` counts from 1."""

    line: int
    code: str
    detail: str


class ImportRefusalsReply(msgspec.Struct, frozen=True, kw_only=True):
    refusals: list[ImportRefusalRow]
    total: int
    page: int
    limit: int


class ReversalBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: ShortText | None = None


class BatchReversedReply(msgspec.Struct, frozen=True, kw_only=True):
    """``already``: it had been reversed before, and nothing was done."""

    id: str
    status: Literal["reversed"] = "reversed"
    already: bool = False


class DemandRow(msgspec.Struct, frozen=True, kw_only=True):
    product_id: int
    sku: str
    product_name: str
    period: Annotated[date, Meta(description="The day; the week's Monday; the first of the month")]
    quantity: Quantity


class DemandReply(msgspec.Struct, frozen=True, kw_only=True):
    """``total_quantity`` is of all ``total`` rows, not of the page alone."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    group_by: PeriodKind
    total_quantity: Quantity
    demand: list[DemandRow]
    total: int
    page: int
    limit: int
