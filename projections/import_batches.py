"""Ingestion batches: how far each is, and which of its lines were refused and why."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.demand import DemandRecorded, ImportBatchReversed
from schemas.import_batch import (
    ImportBatchClosed,
    ImportBatchOpened,
    ImportChunkRecorded,
    LineRefusal,
)

_BATCH = Columns(
    "batch_id text",
    "kind text",
    "source_name text",
    "source_digest text",
    "options jsonb",
    "chunks bigint",
    "last_line bigint",
    "accepted bigint",
    "refused bigint",
    "lines bigint null",
    "opened_at timestamptz",
    "closed_at timestamptz null",
    "reversed_at timestamptz null",
    "reversed_reason text null",
    "version bigint",
    "position bigint",
)
_CHUNK = Columns(
    "batch_id text",
    "chunk bigint",
    "first_line bigint",
    "last_line bigint",
    "accepted bigint",
    "refused bigint",
    "digest text null",
)
_REFUSAL = Columns("batch_id text", "line bigint", "code text", "detail text")

_SQL = Statements(
    open=f"""
        INSERT INTO {{schema}}.import_batch (tenant_id, {_BATCH.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_BATCH.recordset})
    """,
    advance="""
        UPDATE {schema}.import_batch b
        SET chunks = b.chunks + r.chunks,
            last_line = greatest(b.last_line, r.last_line),
            accepted = b.accepted + r.accepted,
            refused = b.refused + r.refused,
            lines = coalesce(r.lines, b.lines),
            closed_at = coalesce(r.closed_at, b.closed_at),
            reversed_at = coalesce(r.reversed_at, b.reversed_at),
            reversed_reason = coalesce(r.reversed_reason, b.reversed_reason),
            version = r.version,
            position = r.position
        FROM json_to_recordset($2::text::json) AS r (
            batch_id text, chunks bigint, last_line bigint, accepted bigint, refused bigint,
            lines bigint, closed_at timestamptz, reversed_at timestamptz, reversed_reason text,
            version bigint, position bigint
        )
        WHERE b.tenant_id = $1 AND b.batch_id = r.batch_id
    """,
    add_chunks=f"""
        INSERT INTO {{schema}}.import_chunk (tenant_id, {_CHUNK.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_CHUNK.recordset})
    """,
    add_refusals=f"""
        INSERT INTO {{schema}}.import_refusal (tenant_id, {_REFUSAL.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_REFUSAL.recordset})
        ON CONFLICT (tenant_id, batch_id, line) DO UPDATE
        SET code = excluded.code, detail = excluded.detail
    """,
)


class ImportBatches:
    """Folds the progress of ingestion. ``lines`` is known, and ``closed_at`` set, at its end.

    A chunk's ``digest`` is of its lines as they came, where the batch is of a request that can
    be sent again; it is what tells the same lines from others.
    """

    name: ClassVar[str] = "import_batches"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "import_batch": ("tenant_id", "batch_id"),
        "import_chunk": ("tenant_id", "batch_id", "chunk"),
        "import_refusal": ("tenant_id", "batch_id", "line"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            ImportBatchOpened,
            ImportChunkRecorded,
            DemandRecorded,
            ImportBatchClosed,
            ImportBatchReversed,
        }
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return (
            _BATCH.create(schema, "import_batch", self.tables["import_batch"])
            + f"CREATE INDEX import_batch_by_age ON {schema}.import_batch"
            " (tenant_id, opened_at, batch_id);"
            + _CHUNK.create(schema, "import_chunk", self.tables["import_chunk"])
            + _REFUSAL.create(schema, "import_refusal", self.tables["import_refusal"])
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write batches that opened, then add up what was recorded of each since."""
        folded = _Folded()
        for recorded in events:
            folded.take(recorded)
        sql = _SQL.of(schema)
        for statement, rows in (
            ("open", folded.opened),
            ("advance", list(folded.advanced.values())),
            ("add_chunks", folded.chunks),
            ("add_refusals", folded.refusals),
        ):
            if rows:
                await connection.execute(sql[statement], tenant_id, rows_as_json(rows))


class _Folded:
    """What a stretch of the log comes to, as rows to write."""

    def __init__(self) -> None:
        self.opened: list[dict[str, Any]] = []
        self.advanced: dict[str, dict[str, Any]] = {}
        self.chunks: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []

    def take(self, recorded: RecordedEvent) -> None:
        """Take one event in."""
        match recorded.event:
            case ImportBatchOpened() as event:
                counts = dict.fromkeys(("chunks", "last_line", "accepted", "refused"), 0)
                self.opened.append(
                    msgspec.structs.asdict(event)
                    | counts
                    | {
                        "opened_at": recorded.recorded_at,
                        "version": recorded.version,
                        "position": recorded.position,
                    }
                )
            case ImportChunkRecorded() as event:
                self._chunk(recorded, event, event.accepted, event.refused, None)
            case DemandRecorded() as event:
                self._chunk(recorded, event, len(event.lines), len(event.refusals), event.digest)
            case ImportBatchClosed() as event:
                row = self._progress(event.batch_id, recorded)
                row["lines"] = event.lines
                row["closed_at"] = recorded.recorded_at
            case ImportBatchReversed() as event:
                row = self._progress(event.batch_id, recorded)
                row["reversed_at"] = recorded.recorded_at
                row["reversed_reason"] = event.reason
            case other:
                raise TypeError(f"{ImportBatches.name} does not fold {type(other).__name__}")

    def _chunk(
        self,
        recorded: RecordedEvent,
        event: ImportChunkRecorded | DemandRecorded,
        accepted: int,
        refused: int,
        digest: str | None,
    ) -> None:
        row = self._progress(event.batch_id, recorded)
        row["chunks"] += 1
        row["last_line"] = max(row["last_line"], event.last_line)
        row["accepted"] += accepted
        row["refused"] += refused
        self.chunks.append(
            {
                "batch_id": event.batch_id,
                "chunk": event.chunk,
                "first_line": event.first_line,
                "last_line": event.last_line,
                "accepted": accepted,
                "refused": refused,
                "digest": digest,
            }
        )
        # A line is told of once; should an old event tell of one twice, the last word stands.
        told: dict[int, LineRefusal] = {refusal.line: refusal for refusal in event.refusals}
        self.refusals += [
            {"batch_id": event.batch_id, **msgspec.structs.asdict(refusal)}
            for refusal in told.values()
        ]

    def _progress(self, batch_id: str, recorded: RecordedEvent) -> dict[str, Any]:
        row = self.advanced.setdefault(
            batch_id,
            {"batch_id": batch_id, "chunks": 0, "last_line": 0, "accepted": 0, "refused": 0},
        )
        row["version"] = recorded.version
        row["position"] = recorded.position
        return row


# --- queries ----------------------------------------------------------------------------

STATUSES: Final = ("open", "closed", "reversed")

_STATUS: Final = """
CASE WHEN b.reversed_at IS NOT NULL THEN 'reversed'
     WHEN b.closed_at IS NOT NULL THEN 'closed' ELSE 'open' END
"""

_LISTED: Final = f"""
SELECT b.batch_id, b.kind, b.source_name, b.source_digest, b.options::text AS options, b.chunks,
       b.accepted, b.refused, b.opened_at, b.closed_at, b.reversed_at, b.reversed_reason,
       b.version, {_STATUS} AS status
FROM projections.import_batch b
"""

_WANTED: Final = f"""
WHERE b.tenant_id = $1 AND ($2::text IS NULL OR b.kind = $2)
  AND ($3::text IS NULL OR {_STATUS} = $3)
"""


async def list_batches(
    connection: Connection,
    tenant_id: int,
    kind: str | None,
    status: str | None,
    limit: int,
    offset: int,
) -> tuple[list[Record], int]:
    """Return a page of batches, the latest first, and how many there are."""
    rows = await connection.fetch(
        f"{_LISTED}{_WANTED} ORDER BY b.opened_at DESC, b.batch_id LIMIT $4 OFFSET $5",
        tenant_id, kind, status, limit, offset,
    )  # fmt: skip
    total = await connection.fetchval(
        f"SELECT count(*) FROM projections.import_batch b {_WANTED}", tenant_id, kind, status
    )
    return rows, total or 0


async def read_batch(connection: Connection, tenant_id: int, batch_id: str) -> Record | None:
    """Return a batch; None where there is none."""
    return await connection.fetchrow(
        f"{_LISTED} WHERE b.tenant_id = $1 AND b.batch_id = $2", tenant_id, batch_id
    )


class KnownChunk(NamedTuple):
    """What is recorded of a chunk."""

    first_line: int
    last_line: int
    accepted: int
    refused: int
    digest: str | None


async def read_chunks(
    connection: Connection, tenant_id: int, batch_id: str, first: int = 0
) -> dict[int, KnownChunk]:
    """Return a batch's chunks from one on, by number."""
    rows = await connection.fetch(
        """
        SELECT chunk, first_line, last_line, accepted, refused, digest
        FROM projections.import_chunk WHERE tenant_id = $1 AND batch_id = $2 AND chunk >= $3
        """,
        tenant_id, batch_id, first,
    )  # fmt: skip
    return {row[0]: KnownChunk(*row[1:]) for row in map(tuple, rows)}


async def list_refusals(
    connection: Connection, tenant_id: int, batch_id: str, limit: int, offset: int = 0
) -> list[Record]:
    """Return a page of a batch's refused lines, in their order."""
    return await connection.fetch(
        """
        SELECT line, code, detail FROM projections.import_refusal
        WHERE tenant_id = $1 AND batch_id = $2 ORDER BY line LIMIT $3 OFFSET $4
        """,
        tenant_id, batch_id, limit, offset,
    )  # fmt: skip
