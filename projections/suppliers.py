"""Those whom goods are bought from: one row a supplier."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.supplier import SupplierRegistered, SupplierRevised

_COLUMNS = Columns(
    "supplier_id bigint",
    "name text",
    "code text null",
    "email text null",
    "phone text null",
    "payment_terms text null",
    "lead_time_days integer null",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.supplier (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, supplier_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"supplier_id", "created_at"})}
    """,
)


class Suppliers:
    """Folds what is said of suppliers."""

    name: ClassVar[str] = "suppliers"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"supplier": ("tenant_id", "supplier_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({SupplierRegistered, SupplierRevised})

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
        """Write the last statement of each supplier."""
        stated: dict[int, dict[str, Any]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, SupplierRegistered | SupplierRevised):
                raise TypeError(f"{self.name} does not fold {type(event).__name__}")
            # created_at of a revised supplier is only used where its row is new.
            earlier = stated.get(event.supplier_id, {"created_at": recorded.recorded_at})
            stated[event.supplier_id] = {
                **msgspec.structs.asdict(event),
                "created_at": earlier["created_at"],
                "revised_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
        if stated:
            await connection.execute(
                _SQL.of(schema)["state"], tenant_id, rows_as_json(stated.values())
            )
