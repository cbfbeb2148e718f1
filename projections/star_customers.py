"""What analysts are told of customers: no name, no address, nothing that says who it is."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.customer import CustomerRegistered, CustomerRevised

_COLUMNS: Final = Columns(
    "customer_id bigint",
    "customer_type text",
    "price_tier_id bigint null",
    "created_at timestamptz",
    "revised_at timestamptz",
    "position bigint",
)

_SQL: Final = Statements(
    state=f"""
        INSERT INTO {{schema}}.star_customer (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, customer_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"customer_id", "created_at"})}
    """,
)


class StarCustomers:
    """Folds of which kind customers are."""

    tables: ClassVar[Mapping[str, Sequence[str]]] = {"star_customer": ("tenant_id", "customer_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({CustomerRegistered, CustomerRevised})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "star_customer", self.tables["star_customer"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each customer."""
        stated: dict[int, dict[str, Any]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, CustomerRegistered | CustomerRevised):
                raise TypeError(f"star_customer does not fold {type(event).__name__}")
            # created_at of a revised customer is only used where its row is new.
            earlier = stated.get(event.customer_id, {"created_at": recorded.recorded_at})
            stated[event.customer_id] = {
                "customer_id": event.customer_id,
                "customer_type": event.customer_type,
                "price_tier_id": event.price_tier_id,
                "created_at": earlier["created_at"],
                "revised_at": recorded.recorded_at,
                "position": recorded.position,
            }
        await connection.execute(_SQL.of(schema)["state"], tenant_id, rows_as_json(stated.values()))
