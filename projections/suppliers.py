"""Those whom goods are bought from: one row a supplier."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.supplier import SupplierRegistered

_COLUMNS = Columns(
    "supplier_id bigint",
    "name text",
    "code text null",
    "email text null",
    "phone text null",
    "payment_terms text null",
    "lead_time_days integer null",
    "created_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.supplier (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
    """,
)


class Suppliers:
    """Folds what is said of suppliers."""

    name: ClassVar[str] = "suppliers"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"supplier": ("tenant_id", "supplier_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({SupplierRegistered})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "supplier", self.tables["supplier"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write a row for each supplier registered."""
        rows = [
            {
                **msgspec.structs.asdict(recorded.event),
                "created_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
            for recorded in events
        ]
        if rows:
            await connection.execute(_SQL.of(schema)["state"], tenant_id, rows_as_json(rows))
