"""The catalogue: one row a product, with all that was last said of it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.product import ProductDiscontinued, ProductRegistered, ProductRevised

_COLUMNS = Columns(
    "product_id bigint",
    "name text",
    "sku text",
    f"base_price {QUANTITY}",
    f"cost_price {QUANTITY} null",
    f"compare_at_price {QUANTITY} null",
    "barcode text null",
    "vendor text null",
    "description text null",
    "category_id bigint null",
    "tracking_type text",
    f"weight {QUANTITY} null",
    "unit text",
    "scale smallint",
    "alternative_units jsonb",
    f"reorder_level {QUANTITY} null",
    "taxable boolean",
    "requires_shipping boolean",
    "is_active boolean",
    "backorders boolean",
    "variant_of bigint null",
    "options jsonb",
    "images jsonb",
    "supplier_id bigint null",
    "is_discontinued boolean",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.product (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, product_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"product_id", "created_at"})}
    """,
    discontinue="""
        UPDATE {schema}.product p
        SET is_discontinued = true, is_active = false, revised_at = r.revised_at,
            version = r.version, position = r.position
        FROM json_to_recordset($2::text::json)
            AS r (product_id bigint, revised_at timestamptz, version bigint, position bigint)
        WHERE p.tenant_id = $1 AND p.product_id = r.product_id
    """,
)


class Products:
    """Folds what is said of products. A discontinued one keeps its row, as it has a history."""

    name: ClassVar[str] = "products"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"product": ("tenant_id", "product_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {ProductRegistered, ProductRevised, ProductDiscontinued}
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        create = _COLUMNS.create(schema, "product", self.tables["product"])
        return create + "".join(
            f"CREATE INDEX product_by_{column} ON {schema}.product (tenant_id, {column})"
            f" WHERE {column} IS NOT NULL;"
            for column in ("category_id", "supplier_id", "variant_of")
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each product, then mark those taken out."""
        stated: dict[int, dict[str, Any]] = {}
        discontinued: dict[int, dict[str, Any]] = {}
        for recorded in events:
            marks = {
                "revised_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
            match recorded.event:
                case (
                    ProductRegistered(product_id=product_id)
                    | ProductRevised(product_id=product_id) as event
                ):
                    # created_at of a revised product is only used where its row is new.
                    earlier = stated.get(product_id, {"created_at": recorded.recorded_at})
                    stated[product_id] = {
                        **msgspec.structs.asdict(event),
                        **marks,
                        "created_at": earlier["created_at"],
                        "is_discontinued": False,
                    }
                case ProductDiscontinued(product_id=product_id):
                    discontinued[product_id] = {**marks, "product_id": product_id}
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
        sql = _SQL.of(schema)
        if stated:
            await connection.execute(sql["state"], tenant_id, rows_as_json(stated.values()))
        if discontinued:
            # Nothing is said of a product once it is discontinued, so it comes second.
            await connection.execute(
                sql["discontinue"], tenant_id, rows_as_json(discontinued.values())
            )


async def variants_of(
    connection: Connection, tenant_id: int, product_id: int, limit: int
) -> list[int]:
    """Return the ids of the products in the catalogue that are variants of one, in order."""
    rows = await connection.fetch(
        """
        SELECT product_id FROM projections.product
        WHERE tenant_id = $1 AND variant_of = $2 AND NOT is_discontinued
        ORDER BY product_id LIMIT $3
        """,
        tenant_id, product_id, limit,
    )  # fmt: skip
    return [row[0] for row in rows]
