"""Categories of products: one row a category, with the one that it stands under."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.category import CategoryDefined, CategoryRevised
from schemas.common import Event

_COLUMNS = Columns(
    "category_id bigint",
    "name text",
    "parent_id bigint null",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.category (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, category_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"category_id", "created_at"})}
    """,
)


class Categories:
    """Folds what is said of categories."""

    name: ClassVar[str] = "categories"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"category": ("tenant_id", "category_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({CategoryDefined, CategoryRevised})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "category", self.tables["category"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each category."""
        stated: dict[int, dict[str, Any]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, CategoryDefined | CategoryRevised):
                raise TypeError(f"{self.name} does not fold {type(event).__name__}")
            # created_at of a revised category is only used where its row is new.
            earlier = stated.get(event.category_id, {"created_at": recorded.recorded_at})
            stated[event.category_id] = {
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
