"""Ingestion batches: one row a batch, with how far it has come."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened, ImportChunkRecorded

_COLUMNS = Columns(
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
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    open=f"""
        INSERT INTO {{schema}}.import_batch (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
    """,
    advance="""
        UPDATE {schema}.import_batch b
        SET chunks = b.chunks + r.chunks,
            last_line = greatest(b.last_line, r.last_line),
            accepted = b.accepted + r.accepted,
            refused = b.refused + r.refused,
            lines = coalesce(r.lines, b.lines),
            closed_at = coalesce(r.closed_at, b.closed_at),
            version = r.version,
            position = r.position
        FROM json_to_recordset($2::text::json) AS r (
            batch_id text, chunks bigint, last_line bigint, accepted bigint, refused bigint,
            lines bigint, closed_at timestamptz, version bigint, position bigint
        )
        WHERE b.tenant_id = $1 AND b.batch_id = r.batch_id
    """,
)


class ImportBatches:
    """Folds the progress of ingestion. ``lines`` is known, and ``closed_at`` set, at its end."""

    name: ClassVar[str] = "import_batches"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"import_batch": ("tenant_id", "batch_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {ImportBatchOpened, ImportChunkRecorded, ImportBatchClosed}
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "import_batch", self.tables["import_batch"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write batches that opened, then add up what was recorded of each since."""
        opened: list[dict[str, Any]] = []
        advanced: dict[str, dict[str, Any]] = {}
        for recorded in events:
            marks = {"version": recorded.version, "position": recorded.position}
            match recorded.event:
                case ImportBatchOpened() as event:
                    counts = dict.fromkeys(("chunks", "last_line", "accepted", "refused"), 0)
                    opened.append(
                        msgspec.structs.asdict(event)
                        | counts
                        | marks
                        | {"opened_at": recorded.recorded_at}
                    )
                case ImportChunkRecorded() as event:
                    row = _progress(advanced, event.batch_id, marks)
                    row["chunks"] += 1
                    row["last_line"] = max(row["last_line"], event.last_line)
                    row["accepted"] += event.accepted
                    row["refused"] += event.refused
                case ImportBatchClosed() as event:
                    row = _progress(advanced, event.batch_id, marks)
                    row["lines"] = event.lines
                    row["closed_at"] = recorded.recorded_at
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
        sql = _SQL.of(schema)
        if opened:
            await connection.execute(sql["open"], tenant_id, rows_as_json(opened))
        if advanced:
            await connection.execute(sql["advance"], tenant_id, rows_as_json(advanced.values()))


def _progress(
    advanced: dict[str, dict[str, Any]], batch_id: str, marks: dict[str, int]
) -> dict[str, Any]:
    row = advanced.setdefault(
        batch_id,
        {"batch_id": batch_id, "chunks": 0, "last_line": 0, "accepted": 0, "refused": 0},
    )
    row.update(marks)
    return row
