"""The log as Parquet: an event a row, data and meta in the exact text that was hashed."""

from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow

from api.exports.columns import INSTANT, ArrowSchema, Column, schema_of
from api.exports.copying import BlockReader, CopyWriter, ParquetWriter, copied
from api.exports.event_schemas import event_schemas
from ledger.checkpoints import origin_of
from ledger.offline_parquet import FORMAT, FORMAT_VERSION
from ledger.store import Connection, read_head

pa: Any = pyarrow

COLUMNS: Final = (
    Column("position", "position", pa.int64(), "The event's place in the log, from 1, with no gap"),
    Column("stream", "stream", pa.string(), "Whose event it is, such as stock-7-1"),
    Column("version", "version", pa.int64(), "Its place in the stream, from 1"),
    Column("type", "type", pa.string(), "What happened, such as StockReceived"),
    Column("schema_version", "schema_version", pa.int16(), "Which version of the type data is in"),
    Column("data", "data", pa.string(), "What it says: JSON, in the exact text that was hashed"),
    Column("meta", "meta", pa.string(), "Who did it and how: JSON, in the exact text too"),
    Column("effective_at", "effective_at", INSTANT, "When it happened in the world"),
    Column("recorded_at", "recorded_at", INSTANT, "When it was recorded; it never goes back"),
    Column(
        "leaf_hash",
        "encode(leaf_hash, 'hex')",
        pa.binary(32),
        "The event's hash as a leaf of the log's tree: SHA-256",
        is_bytes=True,
    ),
)
FEW_VALUES: Final = ("type", "schema_version", "meta")

_TREE: Final = "SELECT log_id FROM proof.tree WHERE tenant_id = $1"
_NOTE: Final = """
SELECT note FROM proof.checkpoint
WHERE tenant_id = $1 AND size <= $2 ORDER BY size DESC LIMIT 1
"""


class Log(NamedTuple):
    """A tenant's log as it was looked at: its name, its last position, its newest checkpoint."""

    tenant_id: int
    origin: str
    head: int
    note: str


async def look_at(connection: Connection, tenant_id: int) -> Log:
    """Return what there is of a log; raise LookupError when nothing has been signed of it."""
    log_id = await connection.fetchval(_TREE, tenant_id)
    if log_id is None:
        raise LookupError("nothing has been signed of this log yet; start the service once")
    head = (await read_head(connection, tenant_id)).position
    note: str | None = await connection.fetchval(_NOTE, tenant_id, head)
    return Log(tenant_id, origin_of(log_id), head, note or "")


def file_schema(log: Log, first: int, last: int) -> ArrowSchema:
    """Return the schema of a file that holds the events from ``first`` to ``last``."""
    metadata = {
        FORMAT: FORMAT_VERSION,
        "tenant_id": str(log.tenant_id),
        "origin": log.origin,
        "first_position": str(first),
        "last_position": str(last),
        "checkpoint": log.note,
        "event_schemas": msgspec.json.encode(event_schemas()).decode(),
    }
    return schema_of(COLUMNS, metadata)


def writer(sink: Any, schema: ArrowSchema) -> CopyWriter:
    """Return a writer of events."""
    return CopyWriter(
        BlockReader(COLUMNS, schema), ParquetWriter(sink, schema, few_values=FEW_VALUES)
    )


def event_blocks(
    connection: Connection, tenant_id: int, first: int, last: int, *, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield the events from one position to another as blocks for a writer of them.

    See ``copied``.
    """
    columns = ", ".join(column.expression for column in COLUMNS)
    query = (
        f"SELECT {columns} FROM ledger.event WHERE tenant_id = {int(tenant_id)}"
        f" AND position BETWEEN {int(first)} AND {int(last)} ORDER BY position"
    )
    return copied(connection, query, timeout_s=timeout_s)
