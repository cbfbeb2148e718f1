"""Demand: what customers wanted in the past, as another system tells. It moves no stock."""

from datetime import date
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import Code, Command, Event, Sku, keep_exact
from schemas.import_batch import Count, LineRefusal

PeriodKind = Literal["day", "week", "month"]
DEMAND_LINES_MAX = 1_000


class DemandEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So much of a product was wanted in the period that ``order_date`` is in.

    ``line`` is its number in the request or file, 1 for the first. A week begins on Monday.
    """

    line: Annotated[int, Meta(ge=1)]
    sku: Sku
    quantity: Decimal
    order_date: date
    period: PeriodKind = "day"

    def __post_init__(self) -> None:
        keep_exact(self, "quantity", self.quantity)
        if self.quantity <= 0:
            raise ValueError("quantity must be above zero")


class RecordDemandChunk(Command, frozen=True, kw_only=True):
    """Take in a batch's next lines: those of known SKUs are accepted, each other is refused.

    ``refusals`` are lines refused before they got here; ``digest`` is of the chunk as it came.
    """

    TYPE: ClassVar[str] = "RecordDemandChunk"
    batch_id: Code
    chunk: Annotated[int, Meta(ge=0)]
    first_line: Count
    last_line: Count
    digest: str
    lines: Annotated[tuple[DemandEntry, ...], Meta(max_length=DEMAND_LINES_MAX)] = ()
    refusals: Annotated[tuple[LineRefusal, ...], Meta(max_length=DEMAND_LINES_MAX)] = ()


class ReverseImportBatch(Command, frozen=True, kw_only=True):
    """Take back all that a demand batch recorded. One reversed already: nothing to do."""

    TYPE: ClassVar[str] = "ReverseImportBatch"
    batch_id: Code
    reason: Annotated[str, Meta(max_length=200)] | None = None


class DemandLine(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted line: its product is known by id from here on."""

    line: int
    product_id: int
    quantity: Decimal
    order_date: date
    period: PeriodKind = "day"


class DemandRecorded(Event, frozen=True, kw_only=True):
    """One chunk of a batch: the lines that were accepted, and those that were refused."""

    TYPE: ClassVar[str] = "DemandRecorded"
    batch_id: str
    chunk: int
    first_line: int
    last_line: int
    digest: str
    lines: tuple[DemandLine, ...] = ()
    refusals: tuple[LineRefusal, ...] = ()


class ImportBatchReversed(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ImportBatchReversed"
    batch_id: str
    reason: str | None = None


DemandCommand = RecordDemandChunk | ReverseImportBatch
DemandEvent = DemandRecorded | ImportBatchReversed
