"""Places where stock is kept: one row a location, exactly one of them the default."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised

_COLUMNS = Columns(
    "location_id bigint",
    "name text",
    "code text",
    "address text null",
    "city text null",
    "state text null",
    "postcode text null",
    "country text null",
    "time_zone text",
    "is_default boolean",
    f"stock_limit {QUANTITY}",
    "is_active boolean",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.location (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, location_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"location_id", "created_at"})}
    """,
    only_default="""
        UPDATE {schema}.location SET is_default = false
        WHERE tenant_id = $1 AND is_default AND location_id <> $2
    """,
)


class Locations:
    """Folds what is said of locations. The last one said to be the default is the only one."""

    name: ClassVar[str] = "locations"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"location": ("tenant_id", "location_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({LocationOpened, LocationRevised})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "location", self.tables["location"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each location; take the mark from the old default."""
        stated: dict[int, dict[str, Any]] = {}
        claimed_by: int | None = None
        for recorded in events:
            event = recorded.event
            if not isinstance(event, LocationOpened | LocationRevised):
                raise TypeError(f"{self.name} does not fold {type(event).__name__}")
            earlier = stated.get(event.location_id, {"created_at": recorded.recorded_at})
            stated[event.location_id] = {
                **msgspec.structs.asdict(event),
                "created_at": earlier["created_at"],
                "revised_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
            if event.is_default:
                claimed_by = event.location_id
                for location_id, row in stated.items():
                    row["is_default"] = location_id == claimed_by
        if not stated:
            return
        sql = _SQL.of(schema)
        await connection.execute(sql["state"], tenant_id, rows_as_json(stated.values()))
        if claimed_by is not None:
            await connection.execute(sql["only_default"], tenant_id, claimed_by)


async def active_locations(connection: Connection, tenant_id: int) -> list[int]:
    """Return the ids of the active locations, in order."""
    rows = await connection.fetch(
        """
        SELECT location_id FROM projections.location
        WHERE tenant_id = $1 AND is_active ORDER BY location_id
        """,
        tenant_id,
    )
    return [row[0] for row in rows]
