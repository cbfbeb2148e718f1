"""What is linked to other systems, and where their figures of stock were not ours."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
    SupplierLinked,
)

_LINK = Columns(
    "target_id bigint",
    "kind text",
    "system text",
    "external_id text",
    "unit text null",
    "linked_at timestamptz",
    "position bigint",
)
_DIVERGENCE = Columns(
    "position bigint",
    "system text",
    "product_id bigint",
    "location_id bigint",
    "external_id text",
    f"on_hand {QUANTITY}",
    f"reported {QUANTITY}",
    f"difference {QUANTITY}",
    "reported_at timestamptz",
    "recorded_at timestamptz",
)

_SQL = Statements(
    link=f"""
        INSERT INTO {{schema}}.external_link (tenant_id, {_LINK.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_LINK.recordset})
        ON CONFLICT (tenant_id, target_id, kind, system) DO UPDATE
        SET {_LINK.overwrite(keep={"system", "kind", "target_id"})}
    """,
    unlink="""
        DELETE FROM {schema}.external_link l
        USING json_to_recordset($2::text::json) AS r (system text, kind text, target_id bigint)
        WHERE l.tenant_id = $1 AND l.system = r.system AND l.kind = r.kind
          AND l.target_id = r.target_id
    """,
    diverge=f"""
        INSERT INTO {{schema}}.stock_divergence (tenant_id, {_DIVERGENCE.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_DIVERGENCE.recordset})
    """,
)


class Integration:
    """Folds links to other systems, one row a link, and divergences, one row each."""

    name: ClassVar[str] = "integration"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "external_link": ("tenant_id", "target_id", "kind", "system"),
        "stock_divergence": ("tenant_id", "position"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            StoreLinked,
            StoreUnlinked,
            ItemLinked,
            ItemUnlinked,
            SupplierLinked,
            StockDivergenceDetected,
        }
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables.

        The indexes do not begin as the primary keys do, so that none stands in for another: on a
        table without statistics that would cost the same, and take as long as the table is.
        """
        return (
            _LINK.create(schema, "external_link", self.tables["external_link"])
            + f"""
            CREATE INDEX external_link_by_name ON {schema}.external_link
                (tenant_id, external_id, kind, system);
            """
            + _DIVERGENCE.create(schema, "stock_divergence", self.tables["stock_divergence"])
            + f"""
            CREATE INDEX stock_divergence_by_product ON {schema}.stock_divergence
                (tenant_id, product_id, location_id, position);
            """
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write what each link has come to, and the divergences."""
        links: dict[tuple[str, str, int], dict[str, Any] | None] = {}
        divergences: list[dict[str, Any]] = []
        for recorded in events:
            match recorded.event:
                case StoreLinked(system=system, location_id=target_id) as event:
                    links[system, "store", target_id] = _row(recorded, event.external_id)
                case ItemLinked(system=system, product_id=target_id) as event:
                    links[system, "item", target_id] = _row(recorded, event.external_id, event.unit)
                case SupplierLinked(system=system, supplier_id=target_id) as event:
                    links[system, "supplier", target_id] = _row(recorded, event.external_id)
                case StoreUnlinked(system=system, location_id=target_id):
                    links[system, "store", target_id] = None
                case ItemUnlinked(system=system, product_id=target_id):
                    links[system, "item", target_id] = None
                case StockDivergenceDetected() as event:
                    divergences.append(
                        {
                            **msgspec.structs.asdict(event),
                            "position": recorded.position,
                            "recorded_at": recorded.recorded_at,
                        }
                    )
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
        sql = _SQL.of(schema)
        keyed = [
            ({"system": system, "kind": kind, "target_id": target_id}, row)
            for (system, kind, target_id), row in links.items()
        ]
        ended = [key for key, row in keyed if row is None]
        linked = [{**key, **row} for key, row in keyed if row is not None]
        if ended:
            await connection.execute(sql["unlink"], tenant_id, rows_as_json(ended))
        if linked:
            await connection.execute(sql["link"], tenant_id, rows_as_json(linked))
        if divergences:
            await connection.execute(sql["diverge"], tenant_id, rows_as_json(divergences))


def _row(recorded: RecordedEvent, external_id: str, unit: str | None = None) -> dict[str, Any]:
    return {
        "external_id": external_id,
        "unit": unit,
        "linked_at": recorded.recorded_at,
        "position": recorded.position,
    }
