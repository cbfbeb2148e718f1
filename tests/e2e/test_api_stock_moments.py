"""Stock as it was, and as it was known: the same question gets the same bytes for ever."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.wiring import House
from projections.following import catch_up
from projections.stock_history import StockHistory
from tests.support.api import Service, running_service

PATHS = (
    "/api/stock/WGT-500?",
    "/api/stock/WGT-500?location=W-WGT-500&",
    "/api/inventory?",
    "/api/inventory?limit=2&page=2&",
    "/api/inventory?warehouse_id=2&",
    "/api/inventory?low_stock=true&",
    "/api/inventory/alerts?",
    "/api/inventory/movements?",
    "/api/inventory/movements?product_id=1&",
    "/api/inventory/movements?product_id=1&warehouse_id=1&type=adjustment&",
)


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with two products in two warehouses, and things on their way."""
    async with running_service(house) as service:
        await service.stocked()
        await service.stocked(9, "MUG")
        await done(service, "/api/products/2", product("MUG", reorder_level="10"), method="PUT")
        await work(service, 1)
        yield service


async def done(service: Service, path: str, body: Any, method: str = "POST") -> None:
    """Write, and see that it took effect."""
    response = await service.call(method, path, body)
    assert response.status_code in (200, 201), response.text


def product(sku: str, **more: Any) -> dict[str, Any]:
    """Return a product's body."""
    return {"name": f"The {sku}", "sku": sku, "base_price": "9.50", **more}


async def work(service: Service, day: int) -> None:
    """Let much happen, some of it long ago."""
    at = {"product_id": 1, "warehouse_id": 1}
    long_ago = f"2026-02-{day:02d}T08:00:00Z"
    inventory = "/api/inventory"
    await done(service, f"{inventory}/receive", {**at, "quantity": 30, "effective_at": long_ago})
    await done(service, f"{inventory}/adjust", {**at, "quantity": -2})
    await done(service, f"{inventory}/quarantine", {**at, "quantity": 5})
    await done(
        service,
        f"{inventory}/transfer",
        {"product_id": 1, "from_warehouse_id": 1, "to_warehouse_id": 2, "quantity": 4},
    )
    await done(
        service,
        f"{inventory}/transfers/ship",
        {"product_id": 1, "from_warehouse_id": 1, "to_warehouse_id": 2, "quantity": 3},
    )
    soon = datetime.now(UTC) + timedelta(hours=1)
    await done(
        service,
        f"{inventory}/reserve",
        {**at, "quantity": 6, "reservation_id": f"r{day}", "expires_at": soon.isoformat()},
    )


async def head(service: Service) -> int:
    """Return the ledger's position."""
    return (await service.get("/api/ledger/head")).json()["position"]


async def asked(service: Service, moment: str) -> dict[str, bytes]:
    """Return what every path answers at a moment."""
    answers: dict[str, bytes] = {}
    for path in PATHS:
        response = await service.get(path + moment)
        assert response.status_code == 200, (path, response.text)
        assert "ledger-known-position" in response.headers
        answers[path] = response.content
    return answers


async def test_the_same_moment_gives_the_same_bytes(service: Service) -> None:
    """Whatever is recorded later, of whatever time, and whether or not it is folded already."""
    position = await head(service)
    moments = (
        f"known_at={position}",
        f"known_at={position}&as_of=2026-02-02T00:00:00Z",
        f"known_at={position // 2}",
    )
    first = {moment: await asked(service, moment) for moment in moments}
    assert len({tuple(answers.values()) for answers in first.values()}) == len(moments)
    await catch_up(service.house.pool, StockHistory(), service.tenant_id)
    assert {moment: await asked(service, moment) for moment in moments} == first
    await work(service, 2)
    movement = (await service.get("/api/inventory/movements?type=adjustment")).json()
    oldest = movement["movements"][-1]["id"]
    await done(service, f"/api/inventory/movements/{oldest}/reverse", {})
    await done(
        service, "/api/inventory/reservations/r1/release", {"product_id": 1, "warehouse_id": 1}
    )
    await done(service, "/api/products/1", product("WGT-500", reorder_level="999"), method="PUT")
    await service.stocked(1, "NEW")
    assert {moment: await asked(service, moment) for moment in moments} == first
    await catch_up(service.house.pool, StockHistory(), service.tenant_id)
    assert {moment: await asked(service, moment) for moment in moments} == first


async def test_the_last_moment_is_the_present(service: Service) -> None:
    """What is known at the last position is what the ordinary lists show, in each column."""
    for is_folded in (False, True):
        if is_folded:
            await catch_up(service.house.pool, StockHistory(), service.tenant_id)
        position = await head(service)
        for path in PATHS:
            now = (await service.get(path)).json()
            then = (await service.get(f"{path}known_at={position}")).json()
            for name in ("known_at", "version", "position"):
                now.pop(name, None)
                then.pop(name, None)
            assert then == now, path


async def test_a_discontinued_product_is_listed_until_it_was(service: Service) -> None:
    """As known before, as it was; as known since, no more; folded or not."""
    await service.stocked(1, "OLD")
    listed = await head(service)
    await done(
        service, "/api/inventory/adjust", {"sku": "OLD", "warehouse": "W-OLD", "quantity": -1}
    )
    response = await service.call("DELETE", "/api/products/3")
    assert response.status_code in (200, 204), response.text
    gone = await head(service)
    for is_folded in (False, True):
        if is_folded:
            await catch_up(service.house.pool, StockHistory(), service.tenant_id)
        found: list[tuple[list[str], int]] = []
        for position in (listed, gone):
            page = (await service.get(f"/api/inventory?warehouse_id=3&known_at={position}")).json()
            found.append(([row["sku"] for row in page["inventory"]], page["total"]))
        assert found == [(["OLD"], 1), ([], 0)]


async def test_a_reservation_counts_until_it_expires(service: Service) -> None:
    """Six are reserved for an hour; asked for two hours later, they are available."""
    position = await head(service)
    now = datetime.now(UTC)
    found: list[tuple[float, float]] = []
    for hours in (-1, 0, 2):
        as_of = (now + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not hours:
            as_of = (now + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/api/stock/WGT-500?location=W-WGT-500&known_at={position}&as_of={as_of}"
        stock = (await service.get(path)).json()
        found.append((stock["reserved"], stock["available"]))
    # 200 + 30 - 2 - 5 - 4 - 3 = 216 are free of a block.
    assert found == [(0, 30), (6, 210), (0, 216)]


async def test_a_position_that_is_not_there_yet_is_refused(service: Service) -> None:
    """Its answer could still change."""
    position = await head(service) + 1
    for path in PATHS:
        response = await service.get(f"{path}known_at={position}")
        assert (response.status_code, response.json()["field"]) == (400, "known_at"), path


async def test_the_example_of_the_documentation(service: Service) -> None:
    """docs/concepts/times.md."""
    await service.stocked(0, "PEN")
    at = {"sku": "PEN", "warehouse": "W-PEN"}
    for action, quantity, effective_at in (
        ("receive", 100, "2026-03-02T09:00:00Z"),
        ("issue", 30, "2026-03-03T10:00:00Z"),
        ("receive", 20, "2026-03-02T17:00:00Z"),
    ):
        body = {**at, "quantity": quantity, "effective_at": effective_at}
        await done(service, f"/api/inventory/{action}", body)
    last = await head(service)
    found: list[list[float]] = []
    for as_of in ("as_of=2026-03-02T18:00:00Z&", "as_of=2026-03-03T18:00:00Z&", ""):
        row = [
            (await service.get(f"/api/stock/PEN?{as_of}known_at={position}")).json()["on_hand"]
            for position in (last - 1, last)
        ]
        found.append(row)
    assert found == [[100, 120], [70, 90], [70, 90]]
