"""What analysts' views say of value equals, to the last digit, what the service answers."""

import random
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.store import Pool, tenant_transaction
from projections.costing import share
from projections.projection import Connection
from projections.valuation_queries import cogs_of_products, inventory_value
from tests.property.test_valuation import FIRST, LAST, batches, fold, tell

_CENT = 10_000


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("backdated", [True, False])
async def test_random_histories_are_worth_and_cost_the_same(
    pool: Pool, tenant_id: int, seed: int, backdated: bool
) -> None:
    """By all methods, with returns, reversals, revaluations, stock below zero, and late entries."""
    source = random.Random(900 + seed * 2 + backdated)
    told, _ = tell(source, 120, backdated=backdated)
    async with tenant_transaction(pool, tenant_id) as connection:
        await fold(connection, tenant_id, told.events, batches(source))
        await _require_same_values(connection, tenant_id)
        await _require_same_costs(connection, tenant_id)


async def _require_same_values(connection: Connection, tenant_id: int) -> None:
    layers: defaultdict[int, list[Any]] = defaultdict(list)
    for row in await connection.fetch("SELECT * FROM analysis.valuation_layer"):
        layers[row["product_id"]].append(row)
    levels: defaultdict[int, list[Any]] = defaultdict(list)
    for level in await inventory_value(connection, tenant_id, date.max):
        levels[level.product_id].append(level)
    for product_id, places in levels.items():
        quantity = sum((level.quantity for level in places), Decimal(0))
        rows = layers.pop(product_id, [])
        assert sum((row["quantity"] for row in rows), Decimal(0)) == quantity
        value = int(sum((row["value"] for row in rows), Decimal(0)).scaleb(6))
        in_cents = Decimal(share(value, 1, _CENT)).scaleb(-2)
        assert in_cents == sum((level.value for level in places), Decimal(0)), rows
        assert all(row["quantity"] for row in rows)
    assert not layers


async def _require_same_costs(connection: Connection, tenant_id: int) -> None:
    rows = await connection.fetch("SELECT * FROM analysis.cogs_by_day")
    found = {(row["product_id"], row["day"]): row for row in rows}
    assert len(found) == len(rows)
    day = FIRST - timedelta(days=5)
    while day <= LAST:
        for cost in await cogs_of_products(connection, tenant_id, day, day):
            row = found.pop((cost.product_id, day))
            assert row["cogs"] == cost.cogs, row
            assert row["units_sold"] - row["units_returned"] == cost.units_sold
        day += timedelta(days=1)
    # What is left has rows and did nothing but move.
    for row in found.values():
        assert row["cogs"] == 0, row
        assert row["units_sold"] == row["units_returned"]
