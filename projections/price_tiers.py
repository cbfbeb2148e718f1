"""Price tiers: one row a tier, one row a price of a product from a quantity on."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.customer import PriceTierDefined, PriceTierRevised

_TIER = Columns(
    "price_tier_id bigint",
    "name text",
    f"discount_percent {QUANTITY}",
    "created_at timestamptz",
    "revised_at timestamptz",
    "version bigint",
    "position bigint",
)
_PRICE = Columns(
    "price_tier_id bigint",
    "product_id bigint",
    f"min_quantity {QUANTITY}",
    f"unit_price {QUANTITY}",
)

_SQL = Statements(
    state=f"""
        INSERT INTO {{schema}}.price_tier (tenant_id, {_TIER.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_TIER.recordset})
        ON CONFLICT (tenant_id, price_tier_id) DO UPDATE
        SET {_TIER.overwrite(keep={"price_tier_id", "created_at"})}
    """,
    drop_prices="""
        DELETE FROM {schema}.tier_price WHERE tenant_id = $1 AND price_tier_id = ANY($2::bigint[])
    """,
    prices=f"""
        INSERT INTO {{schema}}.tier_price (tenant_id, {_PRICE.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_PRICE.recordset})
    """,
)


class PriceTiers:
    """Folds what is said of price tiers; a revision replaces all prices of its tier."""

    name: ClassVar[str] = "price_tiers"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "price_tier": ("tenant_id", "price_tier_id"),
        "tier_price": ("tenant_id", "price_tier_id", "product_id", "min_quantity"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({PriceTierDefined, PriceTierRevised})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return "".join(
            columns.create(schema, table, self.tables[table])
            for table, columns in (("price_tier", _TIER), ("tier_price", _PRICE))
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write the last statement of each tier, with its prices in place of those before."""
        stated: dict[int, dict[str, Any]] = {}
        prices: dict[int, list[dict[str, Any]]] = {}
        for recorded in events:
            event = recorded.event
            if not isinstance(event, PriceTierDefined | PriceTierRevised):
                raise TypeError(f"{self.name} does not fold {type(event).__name__}")
            # created_at of a revised tier is only used where its row is new.
            earlier = stated.get(event.price_tier_id, {"created_at": recorded.recorded_at})
            stated[event.price_tier_id] = {
                "price_tier_id": event.price_tier_id,
                "name": event.name,
                "discount_percent": event.discount_percent,
                "created_at": earlier["created_at"],
                "revised_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
            prices[event.price_tier_id] = [
                {"price_tier_id": event.price_tier_id, **msgspec.structs.asdict(price)}
                for price in event.prices
            ]
        if not stated:
            return
        sql = _SQL.of(schema)
        await connection.execute(sql["state"], tenant_id, rows_as_json(stated.values()))
        await connection.execute(sql["drop_prices"], tenant_id, list(stated))
        rows = [row for of_tier in prices.values() for row in of_tier]
        if rows:
            await connection.execute(sql["prices"], tenant_id, rows_as_json(rows))
