"""Ingestion batches: what was taken in from one file or feed, as events of its own."""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.common import Code, Command, Event, Name, ShortText

ImportKind = Literal[
    "order-lines", "products", "suppliers", "customers", "warehouses", "demand", "listings"
]
Count = Annotated[int, Meta(ge=0)]


class LineRefusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of the file that became no event: its number (1 is the first), and why."""

    line: Annotated[int, Meta(ge=1)]
    code: Annotated[str, Meta(min_length=1, max_length=50)]
    detail: ShortText = ""


class OpenImportBatch(Command, frozen=True, kw_only=True):
    """Start taking in a file. The same ``batch_id`` again means: nothing to do, already open.

    ``batch_id`` is derived from what the file holds and how it is read, so the same file
    again is the same batch.
    """

    TYPE: ClassVar[str] = "OpenImportBatch"
    batch_id: Code
    kind: ImportKind
    source_name: Name
    source_digest: ShortText
    options: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)


class RecordImportChunk(Command, frozen=True, kw_only=True):
    """Lines ``first_line`` to ``last_line`` have been dealt with, in the same commit as this."""

    TYPE: ClassVar[str] = "RecordImportChunk"
    batch_id: Code
    chunk: Annotated[int, Meta(ge=0)]
    first_line: Count
    last_line: Count
    accepted: Count
    refused: Count
    refusals: Annotated[tuple[LineRefusal, ...], Meta(max_length=1000)] = ()


class CloseImportBatch(Command, frozen=True, kw_only=True):
    """Every line has been dealt with."""

    TYPE: ClassVar[str] = "CloseImportBatch"
    batch_id: Code
    lines: Count
    accepted: Count
    refused: Count


ImportBatchCommand = OpenImportBatch | RecordImportChunk | CloseImportBatch


class ImportBatchOpened(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ImportBatchOpened"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    batch_id: str
    kind: ImportKind
    source_name: str
    source_digest: str
    options: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)


class ImportChunkRecorded(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ImportChunkRecorded"
    batch_id: str
    chunk: int
    first_line: int
    last_line: int
    accepted: int
    refused: int
    refusals: tuple[LineRefusal, ...] = ()


class ImportBatchClosed(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ImportBatchClosed"
    batch_id: str
    lines: int
    accepted: int
    refused: int


ImportBatchEvent = ImportBatchOpened | ImportChunkRecorded | ImportBatchClosed
