"""One consistent position: whatever a reader asks in one transaction is the fold up to it.

While commands are written and the read models follow, a reader asks every view, in any order and
with pauses. The events that it saw are then folded afresh, for a tenant that has nothing else, and
every view must show that tenant the same rows.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from deploy.analysts import create_analyst
from deploy.commands.key import make_key
from ledger.domain.decision import RecordedEvent
from ledger.mapper import EVENT_TYPES, decode_event
from ledger.store import tenant_transaction
from projections.following import run_following
from projections.log_reading import of_types
from projections.projection import SCHEMA
from projections.star_view import PARTS
from projections.star_views import VIEWS
from projections.stock_levels import StockLevels
from tests.support.api import Service
from tests.support.postgres import TestServer, create_tenant
from tests.support.tenants import lasting_service

CHECKS = 4


@pytest.fixture
async def service(postgres: TestServer, tmp_path: Any) -> AsyncIterator[Service]:
    """A service whose read models follow."""
    async with lasting_service(postgres, tmp_path) as service:
        house = service.house
        following = asyncio.create_task(run_following(house.pool, house.feed, house.engine))
        yield service
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_all_figures_of_a_transaction_are_the_fold_up_to_its_position(
    service: Service,
) -> None:
    """At four moments under load, all views, to the last digit."""
    house = service.house
    source = random.Random(5)
    _, key = await make_key(house, service.tenant_id, "all", ("read", "write"))
    uri = await create_analyst(house.address, service.tenant_id, "ana")
    stop = asyncio.Event()
    writing = asyncio.create_task(write(service, key, stop))
    reader = await asyncpg.connect(uri)
    positions: list[int] = []
    expected: dict[str, Sequence[Any]] = {}
    try:
        for _ in range(CHECKS):
            await asyncio.sleep(0.4)
            shown, position = await look(reader, source)
            positions.append(position)
            assert [row["position"] for row in shown["event"]] == list(range(1, position + 1))
            expected = await folded(service, shown.pop("event"), position)
            for view, rows in shown.items():
                assert sorted(map(plain, rows)) == sorted(map(plain, expected[view])), view
    finally:
        stop.set()
        await writing
        await reader.close()
    assert positions == sorted(positions)
    assert len(set(positions)) > 2, positions
    assert expected["cogs_by_day"]
    assert expected["fulfilment_line"]


def plain(row: Any) -> str:
    """Return a row's values as text."""
    return str(tuple(row))


async def write(service: Service, key: str, stop: asyncio.Event) -> None:
    """Send receipts, orders, fulfilments, issues and counts until told to stop."""
    ids = [await service.stocked(50, f"SKU-{number}") for number in range(3)]
    chosen = await service.call("PUT", "/api/books", {"valuation_method": "fifo"})
    assert chosen.status_code == 200, chosen.text
    order = 0
    while not stop.is_set():
        commands: list[dict[str, Any]] = []
        for product_id, location_id in ids:
            item = {"product_id": product_id, "location_id": location_id}
            commands += [
                {"type": "ReceiveStock", "data": {**item, "quantity": 5, "unit_cost": "1.37"}},
                {"type": "IssueStock", "data": {**item, "quantity": 2, "unit_price": "9.99"}},
                {"type": "CountStock", "data": {**item, "quantity": 1000 + order % 7}},
            ]
            place = {
                "lines": [{"product_id": product_id, "quantity": 1}], "location_id": location_id
            }  # fmt: skip
            commands.append({"type": "PlaceOrder", "data": place})
        answer = await service.post("/api/ledger/commands", {"commands": commands}, key=key)
        assert answer.status_code == 200, answer.text
        order += len(ids)
        finished = [
            {"type": "ChangeOrderStatus", "data": {"order_id": order, "status": "paid"}},
            {"type": "FulfilOrder", "data": {"order_id": order}},
        ]
        answer = await service.post("/api/ledger/commands", {"commands": finished}, key=key)
        assert answer.status_code == 200, answer.text


async def look(reader: Any, source: random.Random) -> tuple[dict[str, Sequence[Any]], int]:
    """Ask every view in one transaction, in any order; return what they showed, and where."""
    names = [view.name for view in VIEWS]
    source.shuffle(names)
    shown: dict[str, Sequence[Any]] = {}
    async with reader.transaction():
        positions = {await reader.fetchval("SELECT analysis.position()")}
        for name in names:
            await asyncio.sleep(source.random() * 0.05)
            order = "ORDER BY position" if name == "event" else ""
            shown[name] = await reader.fetch(f"SELECT * FROM {name} {order}")
            positions.add(await reader.fetchval("SELECT analysis.position()"))
    (position,) = positions
    return shown, position


async def folded(
    service: Service, events: Sequence[Any], position: int
) -> dict[str, Sequence[Any]]:
    """Return what the views show of a tenant whose read models are folded from these events."""
    house = service.house
    tenant_id = await create_tenant(house.address)
    log = [
        RecordedEvent(
            row["position"], row["stream"], row["version"],
            decode_event(row["type"], row["schema_version"], row["data"]),
            row["effective_at"], row["recorded_at"],
        )
        for row in events
        if row["type"] in EVENT_TYPES
    ]  # fmt: skip
    async with tenant_transaction(house.pool, tenant_id) as connection:
        for projection in (StockLevels(), *(house.engine.named(name) for name in PARTS)):
            mine = of_types(log, projection.event_types)
            if mine:
                await projection.apply(connection, SCHEMA, tenant_id, mine)
        # As the read models' own follower leaves it; that of this tenant has nothing to do.
        await connection.executemany(
            "INSERT INTO projections.checkpoint (tenant_id, name, version, position) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, name) DO UPDATE SET position = $4",
            [(tenant_id, name, house.engine.named(name).version, position) for name in PARTS],
        )
        return {
            view.name: await connection.fetch(f"SELECT * FROM analysis.{view.name}")
            for view in VIEWS
        }
