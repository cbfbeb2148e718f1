"""Orders, purchase orders, lots, serials, value and reports in two times, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

import api.orders
import api.past
from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.wiring import House, following, house_at
from projections import known_snapshots
from projections.rebuild import rebuild
from tests.support.api import Service, running_service

APRIL = "2026-04-10T12:00:00Z"
MAY = "2026-05-10T12:00:00Z"
RANGE = "from=2026-04-01&to=2026-12-31"
PRODUCT = {"base_price": "49.99", "cost_price": "18"}

PLACES = (
    "/api/orders",
    "/api/orders?status=paid&limit=1",
    "/api/orders/stats?period=2026-05",
    "/api/orders/stats",
    "/api/orders/export",
    "/api/orders/1",
    "/api/orders/2",
    "/api/orders/1/explain",
    "/api/external/orders?status=pending",
    "/api/suppliers/purchase-orders/all",
    "/api/suppliers/purchase-orders/1",
    "/api/batches",
    "/api/batches/expiring?days=3000",
    "/api/serials",
    "/api/warehouses",
    "/api/inventory/summary",
    "/api/reports/dashboard",
    f"/api/reports/financial?group_by=month&{RANGE}",
    "/api/reports/inventory",
    "/api/reports/inventory?product_id=1&valuation_date=2026-05-31",
    f"/api/reports/cogs?group_by=week&{RANGE}",
    f"/api/reports/cogs?product_id=1&{RANGE}",
    f"/api/reports/demand?group_by=month&{RANGE}",
)


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service with what follows the log."""
    async with running_service(house) as service, following(house):
        yield service


async def done(service: Service, path: str, body: dict[str, Any], method: str = "POST") -> int:
    """Write something that must go well; return the position after it."""
    answer = await service.call(method, path, body)
    assert answer.status_code in (200, 201), (path, answer.text)
    return int(answer.headers["ledger-position"])


async def command(service: Service, kind: str, **data: Any) -> int:
    """Send a command that must go well; return the position after it."""
    answer = await service.post(
        "/api/ledger/commands", {"commands": [{"type": kind, "data": data}]}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["refused"] == 0, answer.text
    return int(answer.headers["ledger-position"])


async def trade(service: Service) -> int:
    """Buy, sell, order, return and track some goods, in April and May; return the position."""
    for number, tracking in enumerate(("none", "batch", "serial"), start=1):
        body = {**PRODUCT, "name": f"P{number}", "sku": f"P{number}", "tracking_type": tracking}
        await done(service, "/api/products", body)
    for name in ("Sydney", "Perth"):
        await done(service, "/api/warehouses", {"name": name, "code": name[:3]})
    await done(service, "/api/customers", {"name": "Jane", "email": "jane@example.com"})
    await done(service, "/api/suppliers", {"name": "Bolts"})
    await command(service, "ConfigureBooks", valuation_method="fifo")
    at = {"location_id": 1, "effective_at": APRIL}
    await command(service, "ReceiveStock", product_id=1, quantity="50", unit_cost="17", **at)
    lots = [{"lot": "L1", "quantity": "9", "expiry_date": "2027-01-31"}]
    await command(service, "ReceiveStock", product_id=2, quantity="9", lots=lots, **at)
    await command(service, "ReceiveStock", product_id=3, quantity="1", serials=["S1"], **at)
    bought: dict[str, Any] = {"supplier_id": 1, "warehouse_id": 1, "reference": "Q-1"}
    bought["items"] = [{"sku": "P1", "quantity": 10, "unit_cost": 19}]
    await done(service, "/api/suppliers/purchase-orders", bought)
    await done(service, "/api/suppliers/purchase-orders/1/send", {})
    body = {"items": [{"purchase_order_item_id": 1001, "quantity_received": 6}]}
    await done(service, "/api/suppliers/purchase-orders/1/receive", body)
    for quantity in (3, 4):
        items = [{"product_id": 1, "quantity": quantity, "unit_price": "40"}]
        await done(service, "/api/orders", {"customer_id": 1, "items": items})
    await done(service, "/api/orders/1/status", {"status": "paid"}, "PATCH")
    await done(service, "/api/orders/1/fulfill", {})
    sold = {"product_id": 1, "location_id": 1, "quantity": "5", "unit_price": "45"}
    await command(service, "IssueStock", effective_at=MAY, reference="C-1", **sold)
    lines = [{"sku": "P1", "quantity": 7, "orderDate": "2026-05-04"}]
    feed = "/api/integrations/v1/ingestion/order-lines"
    answer = await service.post(feed, {"lines": lines}, key=service.api_key)
    assert answer.status_code == 201, answer.text
    return await command(service, "RevalueStock", product_id=1, unit_cost="20")


async def change_the_world(service: Service) -> None:
    """Record late, rename, cancel, send back, revalue, choose another method."""
    body = {**PRODUCT, "name": "Renamed", "sku": "P1-NEW", "cost_price": "99"}
    await done(service, "/api/products/1", body, "PUT")
    await done(service, "/api/warehouses/1", {"name": "Hobart", "code": "HOB"}, "PUT")
    await done(service, "/api/customers/1", {"name": "June"}, "PUT")
    await done(service, "/api/orders/2/cancel", {})
    items = [{"order_item_id": 1001, "quantity": 1}]
    await done(service, "/api/orders/1/returns", {"items": items})
    at = {"location_id": 1, "effective_at": APRIL}
    await command(service, "ReceiveStock", product_id=1, quantity="11", unit_cost="3", **at)
    await command(service, "ReverseMovement", position=13)
    await command(service, "ConfigureBooks", valuation_method="average", time_zone="Asia/Tokyo")
    await command(service, "RevalueStock", product_id=1, unit_cost="1")
    body = {"items": [{"purchase_order_item_id": 1001, "quantity_received": 4}]}
    await done(service, "/api/suppliers/purchase-orders/1/receive", body)
    moved = {"product_id": 3, "from_warehouse_id": 1, "to_warehouse_id": 2, "quantity": 1}
    await done(service, "/api/inventory/transfer", moved)


def at(path: str, moment: str) -> str:
    """Return a path with a moment's parameters."""
    return f"{path}{'&' if '?' in path else '?'}{moment}"


async def ask(service: Service, path: str) -> httpx.Response:
    """Ask for something, with a key where only keys may."""
    key = service.api_key if path.startswith("/api/external/") else None
    return await service.call("GET", path, key=key)


async def answers(service: Service, moment: str) -> dict[str, tuple[int, bytes]]:
    """Ask all there is to ask about a moment; return statuses and bodies."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in PLACES:
        answer = await ask(service, at(path, moment))
        assert answer.status_code in (200, 404), (path, answer.text)
        if answer.status_code == 200:
            assert "ledger-known-position" in answer.headers, path
        # A problem names the request that it answers.
        found[path] = answer.status_code, answer.content if answer.status_code == 200 else b""
    return found


async def settled(service: Service, position: int) -> None:
    """Wait until what follows the log is there."""
    answer = await service.get(f"/api/reports/financial?min_position={position}")
    assert answer.status_code == 200, answer.text
    answer = await service.get(f"/api/reports/demand?min_position={position}")
    assert answer.status_code == 200, answer.text


async def test_at_the_head_the_past_is_the_present(service: Service) -> None:
    """Every list and report of the last position is, byte for byte, the one without a moment."""
    position = await trade(service)
    await settled(service, position)
    past = await answers(service, f"known_at={position}")
    for path in PLACES:
        assert (200, (await ask(service, path)).content) == past[path], path


async def test_the_same_moment_is_the_same_bytes_for_ever(
    house: House, service: Service, database: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is recorded, rebuilt and restarted since, folded in the request or kept."""
    position = await trade(service)
    clock = house.now
    moments = [f"known_at={position}", f"known_at={position - 7}", f"known_at={position - 14}"]
    moments += [
        f"known_at={position}&as_of={time}" for time in (APRIL, MAY, "2025-01-01T00:00:00Z")
    ]
    before = {moment: await answers(service, moment) for moment in moments}
    assert len({body["/api/reports/inventory"] for body in before.values()}) > 3
    await change_the_world(service)
    assert {moment: await answers(service, moment) for moment in moments} == before

    owners = [await asyncpg.connect(**database.owner) for _ in range(2)]
    names = [each.name for each in house.engine.projections]
    await rebuild(owners[0], owners[1], house.engine, names)
    for owner in owners:
        await owner.close()
    assert await answers(service, moments[1]) == before[moments[1]]

    async with house_at(Settings(data_dir=house.all_settings.data_dir), database) as again:
        monkeypatch.setattr(service.client, "_transport", httpx.ASGITransport(app_of(again)))
        again.now = lambda: clock().replace(year=2031)  # type: ignore[method-assign]
        assert await answers(service, moments[0]) == before[moments[0]]

        # A log that is too long for a request: the first to ask has it prepared.
        for module in (api.past, api.orders):
            monkeypatch.setattr(module, "FOLDED_AT_ONCE_MAX", 0)
        for moment in (moments[0], moments[4]):
            await prepared(service, again, at("/api/reports/inventory", moment))
            assert await answers(service, moment) == before[moment]


def app_of(house: House) -> Any:
    """Return the application on a house."""
    from api.app import create_app

    return create_app(house)


async def prepared(service: Service, house: House, path: str) -> None:
    """Ask for what has to be prepared, prepare it, and follow its progress."""
    answer = await service.get(path)
    assert answer.status_code == 503, answer.text
    problem = answer.json()
    assert problem["code"] == "being_prepared"
    assert answer.headers["retry-after"] == "2"
    progress = answer.headers["location"]
    assert progress == problem["progress"]
    waiting = await service.get(progress)
    assert (waiting.json()["state"], waiting.json()["folded"]) == ("waiting", 0)
    told: dict[str, Any] = {}
    making = asyncio.create_task(known_snapshots.run_known_snapshots(house.pool, house.engine))
    try:
        for _ in range(500):
            told = (await service.get(progress)).json()
            if told["state"] in ("ready", "failed"):
                break
            await asyncio.sleep(0.02)
    finally:
        making.cancel()
    assert told["state"] == "ready", told
    assert told["percent"] == 100
