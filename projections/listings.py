"""Listings: one row for each product at each location where something was said of it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.listing import ProductListed

_COLUMNS = Columns(
    "product_id bigint",
    "location_id bigint",
    f"regular_price {QUANTITY} null",
    f"sale_price {QUANTITY} null",
    "backorders boolean null",
    "disabled boolean",
    "listed_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.listing (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, product_id, location_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"product_id", "location_id"})}
    """,
)


class Listings:
    """Folds what is said of products at locations; ``listed_at`` is when the last was said."""

    name: ClassVar[str] = "listings"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "listing": ("tenant_id", "product_id", "location_id")
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({ProductListed})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "listing", self.tables["listing"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each product at each location."""
        stated: dict[tuple[int, int], dict[str, Any]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, ProductListed):
                raise TypeError(f"{self.name} does not fold {type(event).__name__}")
            stated[event.product_id, event.location_id] = {
                **msgspec.structs.asdict(event),
                "listed_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
        if stated:
            await connection.execute(
                _SQL.of(schema)["state"], tenant_id, rows_as_json(stated.values())
            )
