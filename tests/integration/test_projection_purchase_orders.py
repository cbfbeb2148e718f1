"""The purchase orders projection: every figure, and the same rows whatever the batches are."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections import proofs
from projections.engine import Engine
from projections.projection import Connection
from projections.purchase_orders import PurchaseOrders
from projections.purchase_queries import INCOMING, incoming_of
from schemas.common import Command
from schemas.product import RegisterProduct
from schemas.purchase import (
    CancelPurchaseOrder,
    ClosePurchaseOrder,
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)
from schemas.stock import LotEntry
from schemas.supplier import RegisterSupplier
from tests.support.decisions import NOON, World, minutes, shop
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe


def entry(quantity: int, product_id: int = 1, **more: Any) -> PurchaseLineEntry:
    fields: dict[str, Any] = {"unit_cost": Decimal("2.5"), **more}
    return PurchaseLineEntry(product_id=product_id, quantity=Decimal(quantity), **fields)


def create(*lines: PurchaseLineEntry, **more: Any) -> CreatePurchaseOrder:
    fields: dict[str, Any] = {"location_id": 1, **more}
    return CreatePurchaseOrder(supplier_id=1, lines=lines, **fields)


def part(line_id: int, quantity: int, **more: Any) -> PurchaseLineQuantity:
    return PurchaseLineQuantity(line_id=line_id, quantity=Decimal(quantity), **more)


LOT = LotEntry(lot="A", quantity=Decimal(4))
COMMANDS: list[Command] = [
    create(
        entry(9, unit_cost=Decimal("0.333333")),
        entry(5, 2),
        expected_date=date(2026, 5, 10),
        tolerance_percent=Decimal("33.5"),
        reference="Q-1",
        notes="ring twice",
    ),
    create(entry(3), entry(4), location_id=2, effective_at=NOON - timedelta(days=400)),
    SendPurchaseOrder(purchase_order_id=1),
    create(entry(8)),
    ReceivePurchaseOrder(
        purchase_order_id=1, lines=(part(1002, 1), part(1001, 2), part(1002, 1)), notes="by van"
    ),
    ReceivePurchaseOrder(
        purchase_order_id=2, lines=(part(2002, 4, unit_cost=Decimal(3), lots=(LOT,)),)
    ),
    ReturnPurchase(purchase_order_id=1, lines=(part(1001, 1),), reason="broken", notes="n"),
    SendPurchaseOrder(purchase_order_id=3),
    CancelPurchaseOrder(purchase_order_id=3, reason="too dear"),
    ReceivePurchaseOrder(purchase_order_id=1, lines=(part(1001, 10),)),
    create(entry(7), entry(1), location_id=2),
    SendPurchaseOrder(purchase_order_id=4),
    create(entry(6)),
    SendPurchaseOrder(purchase_order_id=5),
    ClosePurchaseOrder(purchase_order_id=5),
    create(entry(1, 2)),
    ReceivePurchaseOrder(purchase_order_id=6, effective_at=NOON - timedelta(days=1)),
]


def world() -> World:
    """Return a world in which these commands were accepted."""
    trade = shop(product={"tracking_type": "batch"}).given(
        RegisterProduct(name="Mug", sku="MUG", base_price=Decimal(1)), RegisterSupplier(name="B")
    )
    for command in COMMANDS:
        trade.now += minutes(1)
        outcome = trade.do(command)
        assert isinstance(outcome, list), outcome
        assert outcome, f"{command} did nothing"
    return trade


def log() -> list[RecordedEvent]:
    """Return the purchase orders' events."""
    return [recorded for recorded in world().log if recorded.stream.startswith("purchase-")]


async def fold(pool: Pool, tenant_id: int, batches: Sequence[Sequence[RecordedEvent]]) -> None:
    async with tenant_transaction(pool, tenant_id) as connection:
        for batch in batches:
            await PurchaseOrders().apply(connection, "projections", tenant_id, batch)


async def tables(pool: Pool, tenant_id: int) -> dict[str, list[dict[str, Any]]]:
    """Return every table's rows, without the tenant."""
    async with tenant_transaction(pool, tenant_id) as connection:
        return {
            table: [
                json.loads(row[0])
                for row in await connection.fetch(
                    f"SELECT (to_jsonb(t) - 'tenant_id')::text FROM projections.{table} t "
                    f"ORDER BY {', '.join(key[1:])}"
                )
            ]
            for table, key in PurchaseOrders.tables.items()
        }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_any_batches_give_the_same_rows(
    database: DatabaseAddress, pool: Pool, tenant_id: int, size: int
) -> None:
    """All events one by one, against batches of a size."""
    events = log()
    other = await create_tenant(database)
    await fold(pool, other, [[event] for event in events])
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    await fold(pool, tenant_id, batches)
    found = await tables(pool, tenant_id)
    assert all(found.values()), "no table is left empty"
    assert found == await tables(pool, other)


async def test_every_line_stands_as_the_deciders_state_says(pool: Pool, tenant_id: int) -> None:
    """Ordered, received, returned, outstanding, and the status."""
    trade = world()
    events = [recorded for recorded in trade.log if recorded.stream.startswith("purchase-")]
    await fold(pool, tenant_id, [events])
    found = await tables(pool, tenant_id)
    states = [trade.states[f"purchase-{number}"] for number in range(1, 7)]
    assert [order["status"] for order in found["purchase_order"]] == [
        state.status for state in states
    ]
    assert [order["version"] for order in found["purchase_order"]] == [
        trade.versions[f"purchase-{number}"] for number in range(1, 7)
    ]
    figures = ("ordered", "received", "returned", "outstanding")
    assert [tuple(line[figure] for figure in figures) for line in found["purchase_line"]] == [
        tuple(getattr(line, figure) for figure in figures)
        for state in states
        for line in state.lines
    ]
    assert [(row["purchase_order_id"], row["receipt"]) for row in found["purchase_receipt"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (6, 1),
    ]
    lot = found["purchase_receipt"][2]["lines"][0]
    assert (lot["unit_cost"], lot["lots"]) == ("3", [{"lot_id": 1, "quantity": "4"}])
    (returned,) = found["purchase_return"]
    assert (returned["reason"], returned["lines"][0]["line_id"]) == ("broken", 1001)


async def test_incoming_is_what_is_outstanding_of_orders_on_their_way(
    pool: Pool, tenant_id: int
) -> None:
    """By product and location; drafts, closed and cancelled orders bring nothing in."""
    await fold(pool, tenant_id, [log()])
    async with tenant_transaction(pool, tenant_id) as connection:

        async def incoming(*wanted: Any) -> dict[tuple[int, int], Decimal]:
            return await incoming_of(connection, tenant_id, *wanted)

        # Order 1 has too much of product 1 and lacks 3 of product 2; of order 2, 3 of product 1
        # are to come; order 4 is whole.
        assert await incoming() == {(1, 2): 11, (2, 1): 3}
        assert await incoming([1]) == {(1, 2): 11}
        assert await incoming([1, 2], 1) == {(2, 1): 3}
        assert await incoming([9]) == {}
        shown = f"""
            SELECT product_id, location_id, {INCOMING} FROM (
                SELECT $1::integer AS tenant_id, product_id, location_id
                FROM (VALUES (1, 1), (1, 2), (2, 1)) AS v (product_id, location_id)
            ) l
        """
        rows = await connection.fetch(shown, tenant_id)
        assert [tuple(row) for row in rows] == [(1, 1, 0), (1, 2, 11), (2, 1, 3)]


# --- the proofs -------------------------------------------------------------------------


@pytest.fixture
async def stored(database: DatabaseAddress, pool: Pool, tenant_id: int) -> Any:
    """The whole log with its projections, and a connection of the owner's to spoil them with."""
    scribe = Scribe(pool, Engine(), tenant_id)
    await scribe.write(*((each.stream, each.event, each.effective_at) for each in world().log))
    owner = await asyncpg.connect(**database.owner)
    await owner.execute(f"SELECT set_config('ledger.tenant', '{tenant_id}', false)")
    yield owner
    await owner.close()


async def offences(owner: Connection, tenant_id: int, proof: proofs.Proof) -> list[str]:
    return (await proofs.prove(owner, tenant_id, proof, 30))[1]


SPOILED = {
    "purchase_line SET outstanding = 1 WHERE line_id = 1001": proofs.PURCHASE_LINES,
    "purchase_line SET incoming = 1 WHERE line_id = 5001": proofs.PURCHASE_LINES,
    "purchase_line SET returned = 13 WHERE line_id = 1001": proofs.PURCHASE_LINES,
    "purchase_receipt SET receipt = 3 WHERE receipt = 2": proofs.PURCHASE_RECEIPTS,
    "purchase_return SET lines = jsonb_set(lines, '{0,quantity}', '2')": proofs.PURCHASE_RECEIPTS,
}


@pytest.mark.parametrize("change", SPOILED)
async def test_what_is_not_so_is_found(stored: Connection, tenant_id: int, change: str) -> None:
    """Nothing before, one row after."""
    proof = SPOILED[change]
    assert await offences(stored, tenant_id, proof) == []
    assert await stored.execute(f"UPDATE projections.{change}") == "UPDATE 1"
    assert len(await offences(stored, tenant_id, proof)) == 1
