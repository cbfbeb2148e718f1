"""Those who buy: one row a customer, one row an address. What is personal in them is sealed."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.customer import (
    CustomerAddressAdded,
    CustomerErased,
    CustomerRegistered,
    CustomerRevised,
)

_CUSTOMER = Columns(
    "customer_id bigint",
    "name text",
    "email text null",
    "phone text null",
    "company text null",
    "customer_type text",
    "code text null",
    "price_tier_id bigint null",
    "subject text null",
    "email_key text null",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
    "erased_at timestamptz null",
)
_ADDRESS = Columns(
    "customer_id bigint",
    "address_id bigint",
    "type text",
    "line1 text null",
    "line2 text null",
    "city text null",
    "state text null",
    "postcode text null",
    "country text null",
    "name text null",
    "phone text null",
    "is_default boolean",
    "created_at timestamptz",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.customer (tenant_id, {_CUSTOMER.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_CUSTOMER.recordset})
        ON CONFLICT (tenant_id, customer_id) DO UPDATE
        SET {_CUSTOMER.overwrite(keep={"customer_id", "created_at", "erased_at"})}
    """,
    only_default="""
        UPDATE {schema}.customer_address a SET is_default = false
        FROM json_to_recordset($2::text::json) AS r (customer_id bigint, type text)
        WHERE a.tenant_id = $1 AND a.customer_id = r.customer_id AND a.type = r.type
          AND a.is_default
    """,
    address=f"""
        INSERT INTO {{schema}}.customer_address (tenant_id, {_ADDRESS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_ADDRESS.recordset})
    """,
    touch="""
        UPDATE {schema}.customer c SET version = r.version, position = r.position
        FROM json_to_recordset($2::text::json)
            AS r (customer_id bigint, version bigint, position bigint)
        WHERE c.tenant_id = $1 AND c.customer_id = r.customer_id
    """,
    erase="""
        UPDATE {schema}.customer c SET erased_at = r.erased_at, email_key = NULL
        FROM json_to_recordset($2::text::json) AS r (customer_id bigint, erased_at timestamptz)
        WHERE c.tenant_id = $1 AND c.customer_id = r.customer_id
    """,
)


class Customers:
    """Folds what is said of customers. Of each type, the last default address is the only one."""

    name: ClassVar[str] = "customers"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "customer": ("tenant_id", "customer_id"),
        "customer_address": ("tenant_id", "customer_id", "address_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {CustomerRegistered, CustomerRevised, CustomerAddressAdded, CustomerErased}
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables.

        Customers are found by their tier, and by their position: what has changed since.
        """
        create = "".join(
            columns.create(schema, table, self.tables[table])
            for table, columns in (("customer", _CUSTOMER), ("customer_address", _ADDRESS))
        )
        return f"""{create}
            CREATE INDEX customer_by_price_tier_id ON {schema}.customer (tenant_id, price_tier_id)
                WHERE price_tier_id IS NOT NULL;
            CREATE INDEX customer_by_position ON {schema}.customer (tenant_id, position);
        """

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each customer, its new addresses, and that it is erased."""
        stated: dict[int, dict[str, Any]] = {}
        touched: dict[int, dict[str, Any]] = {}
        addresses: list[dict[str, Any]] = []
        claimed: dict[tuple[int, str], dict[str, Any]] = {}
        erased: list[dict[str, Any]] = []
        for recorded in events:
            marks = {"version": recorded.version, "position": recorded.position}
            match recorded.event:
                case (
                    CustomerRegistered(customer_id=customer_id)
                    | CustomerRevised(customer_id=customer_id) as event
                ):
                    # created_at of a revised customer is only used where its row is new.
                    earlier = stated.get(customer_id, {"created_at": recorded.recorded_at})
                    stated[customer_id] = {
                        **msgspec.structs.asdict(event),
                        **marks,
                        "created_at": earlier["created_at"],
                        "revised_at": recorded.recorded_at,
                        "erased_at": None,
                    }
                case CustomerAddressAdded(customer_id=customer_id, type=kind) as event:
                    if event.is_default:
                        # One of this batch that was the default is not any more.
                        claim = claimed.get((customer_id, kind))
                        if claim is not None:
                            claim["is_default"] = False
                    row = {
                        **msgspec.structs.asdict(event.address),
                        "customer_id": customer_id,
                        "address_id": event.address_id,
                        "type": kind,
                        "is_default": event.is_default,
                        "created_at": recorded.recorded_at,
                        "position": recorded.position,
                    }
                    if event.is_default:
                        claimed[customer_id, kind] = row
                    addresses.append(row)
                    touched[customer_id] = {**marks, "customer_id": customer_id}
                case CustomerErased(customer_id=customer_id):
                    erased.append({"customer_id": customer_id, "erased_at": recorded.recorded_at})
                    touched[customer_id] = {**marks, "customer_id": customer_id}
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
        sql = _SQL.of(schema)
        if stated:
            await connection.execute(sql["state"], tenant_id, rows_as_json(stated.values()))
        if claimed:
            keys = [{"customer_id": customer_id, "type": kind} for customer_id, kind in claimed]
            await connection.execute(sql["only_default"], tenant_id, rows_as_json(keys))
        if addresses:
            await connection.execute(sql["address"], tenant_id, rows_as_json(addresses))
        # The version is the stream's, to which all of this belongs: If-Match names it.
        later = [
            row
            for customer_id, row in touched.items()
            if row["version"] > stated.get(customer_id, {"version": 0})["version"]
        ]
        if later:
            await connection.execute(sql["touch"], tenant_id, rows_as_json(later))
        if erased:
            await connection.execute(sql["erase"], tenant_id, rows_as_json(erased))


_SUBJECTS_OF_CUSTOMERS: Final = """
SELECT customer_id, subject FROM projections.customer
WHERE tenant_id = $1 AND customer_id = ANY ($2) AND subject IS NOT NULL
"""
_SUBJECTS_OF_ORDERS: Final = """
SELECT o.order_id, c.subject FROM projections.sales_order o
JOIN projections.customer c ON c.tenant_id = o.tenant_id AND c.customer_id = o.customer_id
WHERE o.tenant_id = $1 AND o.order_id = ANY ($2) AND c.subject IS NOT NULL
"""


async def subjects_of(
    connection: Connection, tenant_id: int, customers: Sequence[int], orders: Sequence[int]
) -> tuple[dict[int, str], dict[int, str]]:
    """Return whose keys seal what is said of customers and of their orders, by id.

    Those are left out that have none yet; orders go by their customers.
    """
    found: list[dict[int, str]] = []
    for statement, ids in ((_SUBJECTS_OF_CUSTOMERS, customers), (_SUBJECTS_OF_ORDERS, orders)):
        rows = await connection.fetch(statement, tenant_id, list(ids)) if ids else ()
        found.append({row[0]: row[1] for row in rows})
    return found[0], found[1]
