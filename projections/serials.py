"""Serial numbers: one row a unit, with the place it is at, or was at last."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.lot import SerialMoved, SerialRegistered

_COLUMNS = Columns(
    "serial_id bigint",
    "product_id bigint",
    "serial text",
    "location_id bigint null",
    'status text COLLATE "C" null',
    "moved_at timestamptz null",
    "created_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    register=f"""
        INSERT INTO {{schema}}.serial (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
    """,
    move="""
        UPDATE {schema}.serial s
        SET location_id = r.location_id, status = r.status, moved_at = r.moved_at,
            version = r.version, position = r.position
        FROM json_to_recordset($2::text::json) AS r (
            serial_id bigint, location_id bigint, status text, moved_at timestamptz,
            version bigint, position bigint
        )
        WHERE s.tenant_id = $1 AND s.serial_id = r.serial_id
    """,
)


class Serials:
    """Folds where each unit is."""

    name: ClassVar[str] = "serials"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"serial": ("tenant_id", "serial_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({SerialRegistered, SerialMoved})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table; units are picked by place and status."""
        return (
            _COLUMNS.create(schema, "serial", self.tables["serial"])
            + f"CREATE INDEX serial_by_place ON {schema}.serial"
            + " (tenant_id, product_id, location_id, status, serial_id);"
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write new units, and where the others are after the batch."""
        registered: dict[int, dict[str, Any]] = {}
        moved: dict[int, dict[str, Any]] = {}
        for recorded in events:
            event = recorded.event
            if isinstance(event, SerialRegistered):
                registered[event.serial_id] = {
                    "serial_id": event.serial_id,
                    "product_id": event.product_id,
                    "serial": event.serial,
                    "location_id": None,
                    "status": None,
                    "moved_at": None,
                    "created_at": recorded.recorded_at,
                    "version": recorded.version,
                    "position": recorded.position,
                }
            elif isinstance(event, SerialMoved):
                place = {
                    "location_id": event.location_id,
                    "status": event.status,
                    "moved_at": recorded.effective_at,
                    "version": recorded.version,
                    "position": recorded.position,
                }
                new = registered.get(event.serial_id)
                if new is None:
                    moved[event.serial_id] = {"serial_id": event.serial_id, **place}
                else:
                    new.update(place)
        sql = _SQL.of(schema)
        if registered:
            rows = rows_as_json(registered.values())
            await connection.execute(sql["register"], tenant_id, rows)
        if moved:
            await connection.execute(sql["move"], tenant_id, rows_as_json(moved.values()))


# --- queries ----------------------------------------------------------------------------


async def serials_at(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    location_id: int,
    status: str,
    limit: int,
) -> list[int]:
    """Return the ids of a product's serials at a place and in a status, oldest first."""
    rows = await connection.fetch(
        """
        SELECT serial_id FROM projections.serial
        WHERE tenant_id = $1 AND product_id = $2 AND location_id = $3 AND status = $4
        ORDER BY serial_id LIMIT $5
        """,
        tenant_id,
        product_id,
        location_id,
        status,
        limit,
    )
    return [row[0] for row in rows]


_WHERE = """
    WHERE s.tenant_id = $1 AND ($2::bigint IS NULL OR s.product_id = $2)
      AND ($3::text IS NULL OR s.status = $3)
      AND ($4::bigint IS NULL OR s.location_id = $4)
"""
_LIST = f"""
    SELECT s.serial_id, s.product_id, p.sku, p.name AS product_name, s.serial, s.location_id,
           w.name AS location_name, s.status, s.created_at, s.moved_at, s.version
    FROM projections.serial s
    LEFT JOIN projections.product p
        ON p.tenant_id = s.tenant_id AND p.product_id = s.product_id
    LEFT JOIN projections.location w
        ON w.tenant_id = s.tenant_id AND w.location_id = s.location_id
    {_WHERE} AND s.serial_id > $5
    ORDER BY s.serial_id LIMIT $6 OFFSET $7
"""
_COUNT = f"SELECT count(*) FROM projections.serial s {_WHERE}"


async def list_serials(
    connection: Connection,
    tenant_id: int,
    *,
    product_id: int | None = None,
    status: str | None = None,
    location_id: int | None = None,
    after: int = 0,
    limit: int,
    offset: int = 0,
) -> list[Record]:
    """Return units in the order of their ids; sold and lost ones are where they were last."""
    return await connection.fetch(
        _LIST, tenant_id, product_id, status, location_id, after, limit, offset
    )


async def count_serials(
    connection: Connection,
    tenant_id: int,
    *,
    product_id: int | None = None,
    status: str | None = None,
    location_id: int | None = None,
) -> int:
    """Return how many units there are."""
    return await connection.fetchval(_COUNT, tenant_id, product_id, status, location_id) or 0
