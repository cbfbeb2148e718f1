"""The orders projection: every figure, and the same rows whatever the batches are."""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections.orders import Orders
from schemas.address import Address
from schemas.common import Command
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    PlaceOrder,
    ReturnOrder,
)
from schemas.stock import ReceiveStock
from tests.support.decisions import NOON, World, minutes, shop
from tests.support.postgres import create_tenant


def entry(quantity: int, **more: Any) -> OrderLineEntry:
    return OrderLineEntry(product_id=1, quantity=Decimal(quantity), **more)


def part(order_item_id: int, quantity: int) -> OrderLineQuantity:
    return OrderLineQuantity(order_item_id=order_item_id, quantity=Decimal(quantity))


def receive(quantity: int, location_id: int) -> ReceiveStock:
    return ReceiveStock(product_id=1, location_id=location_id, quantity=Decimal(quantity))


COMMANDS: list[Command] = [
    receive(4, 1),
    receive(3, 2),
    PlaceOrder(
        lines=(entry(9, unit_price=Decimal("0.333333")), entry(1)),
        allocation="split",
        shipping_address=Address(line1="123 George St", city="Sydney"),
        reference="WEB-1",
        notes="ring twice",
    ),
    ChangeOrderStatus(order_id=1, status="paid"),
    PlaceOrder(lines=(entry(2),), channel="pos", effective_at=NOON - timedelta(days=400)),
    FulfilOrder(order_id=1, lines=(part(1001, 5),)),
    CancelOrderLines(order_id=1, lines=(part(1001, 3),)),
    receive(9, 1),
    AllocateBackorder(order_id=1),
    AllocateBackorder(order_id=2),
    CancelFulfilment(order_id=1, fulfilment=1),
    FulfilOrder(order_id=1, lines=(part(1001, 2), part(1002, 1))),
    ReturnOrder(order_id=1, lines=(part(1001, 1),), reason="broken"),
    CancelOrderLines(order_id=1),
    ChangeOrderStatus(order_id=1, status="shipped"),
    ChangeOrderStatus(order_id=2, status="cancelled"),
    PlaceOrder(lines=(entry(1),), channel="manual"),
    ChangeOrderStatus(order_id=3, status="fulfilling"),
    ChangeOrderStatus(order_id=3, status="fulfilled"),
]


def log() -> list[RecordedEvent]:
    """Return the orders' events of a world in which these commands were accepted."""
    world: World = shop(locations=2, product={"backorders": True})
    for command in COMMANDS:
        world.now += minutes(1)
        outcome = world.do(command)
        assert isinstance(outcome, list), outcome
        assert outcome, f"{command} did nothing"
    return [recorded for recorded in world.log if recorded.stream.startswith("order-")]


async def fold(pool: Pool, tenant_id: int, batches: Sequence[Sequence[RecordedEvent]]) -> None:
    async with tenant_transaction(pool, tenant_id) as connection:
        for batch in batches:
            await Orders().apply(connection, "projections", tenant_id, batch)


async def rows(pool: Pool, tenant_id: int) -> dict[str, list[dict[str, Any]]]:
    async with tenant_transaction(pool, tenant_id) as connection:
        found: dict[str, list[dict[str, Any]]] = {}
        for table, key in Orders.tables.items():
            fetched = await connection.fetch(
                f"SELECT * FROM projections.{table} ORDER BY {', '.join(key)}"
            )
            found[table] = [
                {name: value for name, value in row.items() if name != "tenant_id"}
                for row in fetched
            ]
        return found


@pytest.fixture
def events() -> list[RecordedEvent]:
    """A log with every event of orders in it."""
    found = log()
    assert {type(recorded.event) for recorded in found} == Orders.event_types
    return found


async def test_any_batches_give_the_same_rows(
    database: DatabaseAddress, pool: Pool, events: list[RecordedEvent]
) -> None:
    """One by one, by threes, and all at once."""
    found: list[dict[str, list[dict[str, Any]]]] = []
    for size in (1, 3, len(events)):
        tenant_id = await create_tenant(database)
        batches = [events[start : start + size] for start in range(0, len(events), size)]
        await fold(pool, tenant_id, batches)
        found.append(await rows(pool, tenant_id))
    assert found[0] == found[1] == found[2]


async def test_every_figure_is_as_the_events_say(
    database: DatabaseAddress, pool: Pool, events: list[RecordedEvent]
) -> None:
    """Orders, lines, claims, fulfilments and returns."""
    tenant_id = await create_tenant(database)
    await fold(pool, tenant_id, [events])
    found = await rows(pool, tenant_id)
    first, second, third = found["sales_order"]
    assert (first["status"], second["status"], third["status"]) == (
        "shipped",
        "cancelled",
        "fulfilled",
    )
    assert (first["total_amount"], first["item_count"]) == (Decimal("5.499997"), 2)
    assert first["cancelled_amount"] == 7 * Decimal("0.333333")
    assert second["cancelled_amount"] == second["total_amount"] == 5
    assert json.loads(first["shipping_address"]) == {"line1": "123 George St", "city": "Sydney"}
    assert (first["location_id"], second["location_id"]) == (None, 1)
    assert (first["reference"], first["notes"], first["channel"]) == ("WEB-1", "ring twice", "api")
    assert second["ordered_at"] == NOON - timedelta(days=400)
    assert second["recorded_at"] > NOON
    figures = [
        {name: int(line[name]) for name in line if name in _FIGURES} for line in found["order_line"]
    ]
    assert figures[0] == {
        "ordered": 9,
        "open": 0,
        "reserved": 0,
        "fulfilled": 2,
        "cancelled": 7,
        "returned": 1,
    }
    for line in figures:
        stages = (line["open"], line["reserved"], line["fulfilled"], line["cancelled"])
        assert line["ordered"] == sum(stages)
    assert {claim["quantity"] for claim in found["order_claim"]} == {0}
    assert [
        (row["order_id"], row["fulfilment"], row["is_cancelled"])
        for row in found["order_fulfilment"]
    ] == [(1, 1, True), (1, 2, False), (3, 1, False)]
    (returned,) = found["order_return"]
    assert (returned["disposition"], returned["reason"]) == ("quarantine", "broken")
    versions = [
        max(e.version for e in events if e.stream == f"order-{order_id}") for order_id in (1, 2, 3)
    ]
    assert [order["version"] for order in found["sales_order"]] == versions


_FIGURES = {"ordered", "open", "reserved", "fulfilled", "cancelled", "returned"}
