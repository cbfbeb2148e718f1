"""Lots and serial numbers over HTTP: named or picked, in every route, many at once, and proven."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from deploy.wiring import House
from projections.engine import Engine
from tests.support.api import Service, running_service
from tests.support.proving import prove

TRACKED = ("lot = log", "lot_level = log", "serial = log", "stock_level = log",
           "lots within stock levels", "serials within stock levels", "conservation")  # fmt: skip


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """A product with batches (1), one with serial numbers (2), one with neither (3)."""
    async with running_service(house) as service:
        for number, tracking in enumerate(("batch", "serial", "none"), start=1):
            body = {"name": f"P{number}", "sku": f"P{number}", "base_price": 1}
            made = await service.post("/api/products", {**body, "tracking_type": tracking})
            assert made.status_code == 201, made.text
        for name in ("Sydney", "Melbourne"):
            made = await service.post("/api/warehouses", {"name": name, "code": name[:3]})
            assert made.status_code == 201, made.text
        yield service


async def done(shop: Service, path: str, body: dict[str, Any], status: int = 200) -> Any:
    """Post something that must go well."""
    response = await shop.post(path, body)
    assert response.status_code == status, (path, body, response.text)
    return response.json()


async def proven(database: DatabaseAddress, shop: Service) -> None:
    """Verify what has to do with lots and serials."""
    verdict = await prove(database, shop.house.pool, Engine(), shop.tenant_id)
    checks = {check.name: check for check in verdict.checks}
    assert {name: checks[name].faults for name in TRACKED if checks[name].faults} == {}


async def lots(shop: Service, query: str = "") -> dict[str, float]:
    """Return what is on hand of each batch."""
    reply = (await shop.get(f"/api/batches{query}")).json()
    return {batch["batch_number"]: batch["quantity"] for batch in reply["batches"]}


async def units(shop: Service) -> dict[str, tuple[str, int]]:
    """Return where each unit is."""
    reply = (await shop.get("/api/serials?limit=200")).json()
    return {each["serial_number"]: (each["status"], each["warehouse_id"])
            for each in reply["serials"]}  # fmt: skip


HERE: dict[str, Any] = {"product_id": 1, "warehouse_id": 1}
UNIT: dict[str, Any] = {"product_id": 2, "warehouse_id": 1}
ROUTE: dict[str, Any] = {"from_warehouse_id": 1, "to_warehouse_id": 2}


async def test_clients_that_know_no_lots_are_served(
    shop: Service, database: DatabaseAddress
) -> None:
    """The document's own bodies, of a product with batches: FEFO does the rest."""
    today = shop.house.now().date()
    for number, days in (("LATE", 90), ("SOON", 30)):
        expiry = (today + timedelta(days=days)).isoformat()
        body = {"product_id": 1, "batch_number": number, "expiry_date": expiry, "quantity": 10}
        await done(shop, "/api/batches", body, 201)
    await done(shop, "/api/inventory/adjust", {**HERE, "quantity": 5})
    moved = {"product_id": 1, **ROUTE, "quantity": 8}
    await done(shop, "/api/inventory/transfer", moved)
    assert await lots(shop, "?warehouse_id=2") == {"SOON": 8}
    adjusted = await done(shop, "/api/inventory/adjust", {**HERE, "quantity": -14})
    assert adjusted == {"message": "Inventory adjusted", "new_quantity": 3}
    assert await lots(shop) == {"LATE": 0, "SOON": 8}
    set_to = [{"sku": "P1", "warehouse_id": 1, "quantity": 1}]
    synced = await shop.post("/api/external/inventory/sync", set_to, key=shop.api_key)
    assert synced.json()["updated"] == 1, synced.text
    assert await lots(shop) == {"LATE": 0, "SOON": 8}
    await proven(database, shop)


async def test_lots_can_be_named_in_every_route(shop: Service, database: DatabaseAddress) -> None:
    """Coming in, going out, blocked, on the way, reserved, and going back."""

    def lot(quantity: int, **more: Any) -> list[dict[str, Any]]:
        return [{"lot": "A", "quantity": quantity, **more}]

    dates = {"expiry_date": "2031-05-01", "removal_date": "2031-04-01"}
    await done(shop, "/api/inventory/receive", {**HERE, "quantity": 9, "lots": lot(9, **dates)})
    await done(shop, "/api/inventory/receive", {**HERE, "quantity": 9})
    for path, body, left in (
        ("adjust", {**HERE, "quantity": -1, "lots": lot(1)}, 8),
        ("issue", {**HERE, "quantity": 1, "lots": lot(1), "unit_price": "2.50"}, 7),
        ("quarantine", {**HERE, "quantity": 2, "lots": lot(2)}, 7),
        ("quarantine/release", {**HERE, "quantity": 1, "lots": lot(1)}, 7),
        ("quarantine/release", {**HERE, "quantity": 1, "disposition": "scrap", "lots": lot(1)}, 6),
        ("transfer", {"product_id": 1, **ROUTE, "quantity": 1, "lots": lot(1)}, 6),
        ("transfers/ship", {"product_id": 1, **ROUTE, "quantity": 3, "lots": lot(3)}, 3),
        (
            "transfers/2/receive",
            {"product_id": 1, "warehouse_id": 2, "quantity": 2, "lost": 1, "lots": lot(2)},
            5,
        ),
        ("reserve", {**HERE, "quantity": 2, "reservation_id": "r"}, 5),
        ("reservations/r/issue", {**HERE, "quantity": 1, "lots": lot(1)}, 4),
    ):
        await done(shop, f"/api/inventory/{path}", body)
        assert await lots(shop) == {"A": left}, path
    last = (await shop.get("/api/inventory/movements?limit=1")).json()["movements"][0]["id"]
    await done(shop, f"/api/inventory/movements/{last}/reverse", {})
    assert await lots(shop) == {"A": 5}
    batch = (await shop.get("/api/batches")).json()["batches"][0]
    assert (batch["expiry_date"], batch["removal_date"]) == ("2031-05-01", "2031-04-01")
    await proven(database, shop)


async def test_what_is_wrong_with_lots_is_told(shop: Service) -> None:
    """A status, a code, and what a client needs to act."""
    old = {"lot": "OLD", "quantity": 5, "expiry_date": "2020-01-01"}
    await done(shop, "/api/inventory/receive", {**HERE, "quantity": 5, "lots": [old]})
    for path, body, status, code, members in (
        ("issue", {"quantity": 2}, 409, "insufficient_lots",
         {"requested": "2", "eligible": "0", "past_removal": ["OLD"]}),
        ("issue", {"quantity": 2, "lots": [{"lot": "X", "quantity": 2}]}, 404, "lot_not_found",
         {"lot": "X"}),
        ("adjust", {"quantity": -2, "lots": [{"lot": "OLD", "quantity": 1}]}, 400,
         "invalid_command", {"field": "lots"}),
        ("receive", {"quantity": 1, "lots": [{"lot": "OLD", "quantity": 1,
                                              "expiry_date": "2020-01-02"}]},
         409, "lot_differs", {"field": "expiry_date", "present": "2020-01-01"}),
        ("receive", {"quantity": 1, "lots": [{"lot": "OLD", "quantity": "1e300"}]}, 400,
         "invalid_field", {}),
        ("receive", {"quantity": 1, "lots": [{"lot": "", "quantity": 1}]}, 400,
         "invalid_field", {"field": "lots[0].lot"}),
        ("receive", {"quantity": 1, "lots": [{"lot": "A", "quantity": 1, "batch": 1}]}, 400,
         "invalid_field", {}),
        ("receive", {"quantity": 1, "serials": ["S"]}, 400, "invalid_command",
         {"field": "serials"}),
        ("reserve", {"quantity": 1, "reservation_id": "order:1042001"}, 409,
         "reservation_is_an_orders", {}),
    ):  # fmt: skip
        response = await shop.post(f"/api/inventory/{path}", {**HERE, **body})
        problem = response.json()
        assert (response.status_code, problem["code"]) == (status, code), response.text
        assert {name: problem.get(name) for name in members} == members
        assert problem["error"].endswith(".")
    plain = await shop.post(
        "/api/inventory/receive",
        {"product_id": 3, "warehouse_id": 1, "quantity": 1, "lots": [{"lot": "A", "quantity": 1}]},
    )
    assert (plain.status_code, plain.json()["field"]) == (400, "lots")


async def test_a_batch_is_revised_if_nobody_else_has(shop: Service) -> None:
    """Its version is in the list; a stale one is a 412, an unknown batch a 404."""
    body = {"product_id": 1, "batch_number": "A", "lot_number": "L1", "notes": "n"}
    await done(shop, "/api/batches", body, 201)
    path, change = "/api/batches/1", {"expiry_date": "2031-05-01"}
    for version, status in (("2", 412), ("1", 200), ("1", 412)):
        headers = {"If-Match": f'"{version}"'}
        answer = await shop.call("PUT", path, change, headers=headers)
        assert answer.status_code == status, answer.text
    batch = (await shop.get("/api/batches")).json()["batches"][0]
    assert (batch["expiry_date"], batch["lot_number"], batch["version"]) == ("2031-05-01", None, 2)
    assert (await shop.call("PUT", "/api/batches/9", change)).status_code == 404
    wrong = {"manufacture_date": "2031-05-02", **change}
    assert (await shop.call("PUT", path, wrong)).json()["field"] == "expiry_date"


async def test_a_batch_is_created_once_or_not_at_all(shop: Service) -> None:
    """With its quantity or not at all; a repeated request gets its first answer."""
    body = {"product_id": 1, "batch_number": "A", "quantity": 5, "warehouse_id": 9}
    assert (await shop.post("/api/batches", body)).status_code == 404
    assert await lots(shop) == {}
    body["warehouse_id"] = 1
    headers = {"Idempotency-Key": "batch-a"}
    first = await shop.post("/api/batches", body, headers=headers)
    again = await shop.post("/api/batches", body, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await lots(shop) == {"A": 5}


async def test_units_are_followed_through_every_route(
    shop: Service, database: DatabaseAddress
) -> None:
    """By number where they are named, the ones known longest where they are not."""
    numbers = [f"S{number}" for number in range(1, 9)]
    await done(shop, "/api/serials/bulk", {"product_id": 2, "serials": numbers}, 201)
    for path, body, serial, place in (
        ("issue", {**UNIT, "quantity": 1}, "S1", ("sold", 1)),
        ("issue", {**UNIT, "quantity": 1, "serials": ["S5"]}, "S5", ("sold", 1)),
        ("receive", {**UNIT, "warehouse_id": 2, "quantity": 1, "source": "customer",
                     "serials": ["S5"]}, "S5", ("in_stock", 2)),
        ("quarantine", {**UNIT, "quantity": 1}, "S2", ("quarantined", 1)),
        ("quarantine/release", {**UNIT, "quantity": 1}, "S2", ("in_stock", 1)),
        ("adjust", {**UNIT, "quantity": -1, "serials": ["S3"]}, "S3", ("lost", 1)),
        ("transfer", {"product_id": 2, **ROUTE, "quantity": 1}, "S2", ("in_stock", 2)),
        ("transfers/ship", {"product_id": 2, **ROUTE, "quantity": 2}, "S6", ("in_transit", 2)),
        ("transfers/2/receive", {"product_id": 2, "warehouse_id": 2, "quantity": 1, "lost": 1},
         "S6", ("lost", 2)),
        ("issue", {**UNIT, "quantity": 1, "destination": "supplier"}, "S7", ("returned", 1)),
    ):  # fmt: skip
        await done(shop, f"/api/inventory/{path}", body)
        assert (await units(shop))[serial] == place, path
    count = await shop.post("/api/inventory/count", {**UNIT, "quantity": 0})
    assert (count.status_code, count.json()["code"]) == (409, "serials_needed")
    await proven(database, shop)


async def test_many_at_once_never_send_one_unit_twice(
    shop: Service, database: DatabaseAddress
) -> None:
    """Requests that are decided in one group see what those before them have taken."""
    numbers = [f"S{number}" for number in range(1, 21)]
    await done(shop, "/api/serials/bulk", {"product_id": 2, "serials": numbers}, 201)
    body = {"product_id": 1, "batch_number": "A", "quantity": 20}
    await done(shop, "/api/batches", body, 201)
    requests = [
        shop.post("/api/inventory/issue", {"product_id": product, "warehouse_id": 1, "quantity": 1})
        for product in (1, 2)
        for _ in range(25)
    ]
    answers = [response.status_code for response in await asyncio.gather(*requests)]
    assert answers.count(200) == 40
    assert answers.count(409) == 10
    assert {status for status, _ in (await units(shop)).values()} == {"sold"}
    assert await lots(shop) == {"A": 0}
    await proven(database, shop)


async def test_commands_in_bulk_know_the_lots_and_units_of_those_before_them(
    shop: Service, database: DatabaseAddress
) -> None:
    """In one request: received, moved and sold by name."""
    at: dict[str, Any] = {"sku": "P1", "location": "SYD"}
    unit: dict[str, Any] = {"sku": "P2", "location": "SYD", "quantity": "1", "serials": ["S1"]}
    lot = {"lot": "A", "quantity": "4"}
    to = {"sku": "P1", "from_location": "SYD", "to_location": "MEL"}
    commands = [
        {"type": "ReceiveStock", "data": {**at, "quantity": "4", "lots": [lot]}},
        {"type": "ReceiveStock", "data": {**at, "quantity": "4", "lots": [lot]}},
        {"type": "TransferStock", "data": {**to, "quantity": "4", "lots": [lot]}},
        {"type": "IssueStock", "data": {**at, "quantity": "3"}},
        {"type": "ReceiveStock", "data": unit},
        {"type": "IssueStock", "data": unit},
        {"type": "ReceiveStock", "data": {**unit, "source": "customer"}},
    ]
    reply = await done(shop, "/api/ledger/commands", {"mode": "atomic", "commands": commands})
    assert {item["status"] for item in reply["results"]} == {"accepted"}, reply
    assert await lots(shop) == {"A": 5}
    assert await units(shop) == {"S1": ("in_stock", 1)}
    await proven(database, shop)
