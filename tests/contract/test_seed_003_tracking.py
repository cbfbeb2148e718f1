"""Seed 003 (003_261f802407a223b4.txt), "Batches / Lots" and "Serial Numbers", field by field."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from deploy.wiring import House
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

BATCH_BODY: dict[str, Any] = {
    "product_id": 1,
    "batch_number": "BTH-2026-042",
    "expiry_date": "2028-03-01",
    "quantity": 500,
}
BATCH: dict[str, Any] = {
    "id": 14,
    "product_id": 7,
    "sku": "WGT-500",
    "product_name": "Widget Pro 500",
    "batch_number": "BTH-2026-041",
    "lot_number": "L04-A",
    "manufacture_date": "2026-02-10",
    "expiry_date": "2028-02-10",
    "quantity": 200,
    "notes": None,
}
EXPIRING: dict[str, Any] = {
    "id": 9,
    "product_id": 22,
    "sku": "CHM-001",
    "product_name": "Chemical Compound A",
    "batch_number": "BTH-2026-009",
    "expiry_date": "2026-05-28",
    "days_until_expiry": 22,
    "quantity": 45,
}
SERIAL: dict[str, Any] = {
    "id": 201,
    "product_id": 31,
    "sku": "EQP-PRO-X1",
    "product_name": "ProX1 Equipment",
    "serial_number": "SN-20260401-0001",
    "warehouse_id": 1,
    "warehouse_name": "Sydney",
    "status": "in_stock",
    "created_at": "2026-04-01T00:00:00Z",
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's shop: a product with batches, one with serial numbers, two warehouses."""
    async with running_service(house) as service:
        product = {"name": "Widget Pro 500", "sku": "WGT-500", "base_price": 49.99}
        equipment = {"name": "ProX1 Equipment", "sku": "EQP-PRO-X1", "base_price": 990}
        plain = {"name": "Bolt", "sku": "BLT", "base_price": 1}
        for path, body in (
            ("/api/products", {**product, "tracking_type": "batch"}),
            ("/api/products", {**equipment, "tracking_type": "serial"}),
            ("/api/products", plain),
            ("/api/warehouses", {"name": "Sydney", "code": "SYD"}),
            ("/api/warehouses", {"name": "Melbourne", "code": "MEL"}),
        ):
            response = await service.post(path, body)
            assert response.status_code == 201, response.text
        yield service


async def made(shop: Service, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create something; return the reply."""
    response = await shop.post(path, body)
    assert response.status_code == 201, response.text
    assert int(response.headers["Ledger-Position"]) > 0
    return response.json()


async def test_creating_a_batch_answers_as_documented(shop: Service) -> None:
    """With its initial quantity on the shelf of the default warehouse; without one, with none."""
    reply = await made(shop, "/api/batches", BATCH_BODY)
    assert_like(
        reply,
        {
            "id": 39,
            "product_id": 7,
            "batch_number": "BTH-2026-042",
            "expiry_date": "2028-03-01",
            "quantity": 500,
            "created_at": "2026-05-06T12:30:00Z",
        },
    )
    assert (reply["id"], reply["quantity"], reply["warehouse_id"]) == (1, 500, 1)
    stock = (await shop.get("/api/inventory?product_id=1")).json()["inventory"]
    assert [(row["warehouse_id"], row["quantity"]) for row in stock] == [(1, 500)]
    empty = await made(shop, "/api/batches", {"product_id": 1, "batch_number": "B-2"})
    assert (empty["id"], empty["quantity"], empty["warehouse_id"]) == (2, 0, None)


async def test_batches_are_listed_as_documented(shop: Service) -> None:
    """By product, by warehouse, and by the days until they expire."""
    more = {
        "lot_number": "L04-A",
        "manufacture_date": "2026-02-10",
        "expiry_date": "2028-02-10",
        "quantity": 200,
    }
    await made(shop, "/api/batches", {**BATCH_BODY, **more})
    at_second = {"product_id": 1, "batch_number": "B-2", "quantity": 3, "warehouse_id": 2}
    await made(shop, "/api/batches", at_second)
    listed = await shop.get("/api/batches")
    assert_like(listed.json(), {"batches": [BATCH], "total": 38})
    for query, numbers in (
        ("", ["BTH-2026-042", "B-2"]),
        ("?product_id=1", ["BTH-2026-042", "B-2"]),
        ("?product_id=3", []),
        ("?warehouse_id=2", ["B-2"]),
        ("?expiring_days=0", []),
        ("?expiring_days=20000", ["BTH-2026-042"]),
        ("?page=2&limit=1", ["B-2"]),
        ("?cursor=1", ["B-2"]),
    ):
        reply = (await shop.get(f"/api/batches{query}")).json()
        assert [batch["batch_number"] for batch in reply["batches"]] == numbers, query
    assert (await shop.get("/api/batches?limit=201")).status_code == 400
    assert (await shop.get("/api/batches?expiring_days=soon")).status_code == 400


async def test_expiring_batches_are_listed_as_documented(shop: Service) -> None:
    """The soonest first, within 30 days unless another number is asked for, and only on hand."""
    today = shop.house.now().date()
    for number, days, quantity in (
        ("LATE", 31, 5),
        ("SOON", 22, 45),
        ("OVER", -2, 1),
        ("NONE", 3, 0),
    ):
        expiry = (today + timedelta(days=days)).isoformat()
        await made(
            shop,
            "/api/batches",
            {**BATCH_BODY, "batch_number": number, "expiry_date": expiry, "quantity": quantity},
        )
    await made(shop, "/api/batches", {"product_id": 1, "batch_number": "EVER", "quantity": 1})
    reply = (await shop.get("/api/batches/expiring")).json()
    assert_like(reply, {"batches": [EXPIRING], "total": 3})
    told = [(b["batch_number"], b["days_until_expiry"], b["quantity"]) for b in reply["batches"]]
    assert told == [("OVER", -2, 1), ("SOON", 22, 45)]
    wider = (await shop.get("/api/batches/expiring?days=31")).json()
    assert [batch["batch_number"] for batch in wider["batches"]] == ["OVER", "SOON", "LATE"]


async def test_creating_a_serial_number_answers_as_documented(shop: Service) -> None:
    """It is received at its warehouse, and listed there."""
    body = {"product_id": 2, "warehouse_id": 1, "serial_number": "SN-20260506-0001"}
    reply = await made(shop, "/api/serials", body)
    assert_like(
        reply,
        {
            "id": 285,
            "product_id": 31,
            "serial_number": "SN-20260506-0001",
            "warehouse_id": 1,
            "status": "in_stock",
            "created_at": "2026-05-06T12:35:00Z",
        },
    )
    listed = (await shop.get("/api/serials")).json()
    assert_like(listed, {"serials": [SERIAL], "total": 84})
    stock = (await shop.get("/api/inventory?product_id=2")).json()["inventory"]
    assert [(row["warehouse_id"], row["quantity"]) for row in stock] == [(1, 1)]


async def test_creating_serial_numbers_in_bulk_answers_as_documented(shop: Service) -> None:
    """All of them or none, and at most 1,000."""
    numbers = [f"SN-{number}" for number in range(10)]
    body: dict[str, Any] = {"product_id": 2, "warehouse_id": 2, "serials": numbers}
    reply = await made(shop, "/api/serials/bulk", body)
    assert reply == {
        "message": "Serial numbers created",
        "count": 10,
        "ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    }
    again = await shop.post("/api/serials/bulk", {**body, "serials": ["SN-NEW", "SN-3"]})
    assert (again.status_code, again.json()["code"]) == (409, "serial_in_stock")
    assert "location 2" in again.json()["error"]
    listed = (await shop.get("/api/serials?limit=200")).json()
    assert [serial["serial_number"] for serial in listed["serials"]] == numbers
    many = [f"M-{number}" for number in range(1001)]
    assert (await shop.post("/api/serials/bulk", {**body, "serials": many})).status_code == 400
    assert (await shop.post("/api/serials/bulk", {**body, "serials": []})).status_code == 400
    thousand = await made(shop, "/api/serials/bulk", {**body, "serials": many[:1000]})
    assert thousand["count"] == 1000


async def test_serial_numbers_are_filtered_as_documented(shop: Service) -> None:
    """By product, status and warehouse."""
    for warehouse_id, number in ((1, "A"), (1, "B"), (2, "C")):
        body = {"product_id": 2, "warehouse_id": warehouse_id, "serial_number": number}
        await made(shop, "/api/serials", body)
    sold = {"product_id": 2, "warehouse_id": 1, "quantity": 1, "serials": ["B"]}
    assert (await shop.post("/api/inventory/issue", sold)).status_code == 200
    for query, numbers in (
        ("product_id=2", ["A", "B", "C"]),
        ("product_id=1", []),
        ("warehouse_id=1", ["A", "B"]),
        ("status=in_stock", ["A", "C"]),
        ("status=sold&warehouse_id=1", ["B"]),
    ):
        reply = (await shop.get(f"/api/serials?{query}")).json()
        assert [serial["serial_number"] for serial in reply["serials"]] == numbers, query
    assert (await shop.get("/api/serials?status=gone")).status_code == 400


async def test_only_products_tracked_so_have_batches_and_serials(shop: Service) -> None:
    """Anything else is a 400 that names the field, or a 404 for a product there is not."""
    for path, body, status, field in (
        ("/api/batches", {**BATCH_BODY, "product_id": 3}, 400, "product_id"),
        ("/api/batches", {**BATCH_BODY, "product_id": 99}, 404, None),
        ("/api/batches", {**BATCH_BODY, "quantity": -1}, 400, "quantity"),
        ("/api/batches", {"product_id": 1}, 400, "batch_number"),
        ("/api/batches", {**BATCH_BODY, "expiry_date": "soon"}, 400, "expiry_date"),
        ("/api/serials", {"product_id": 1, "serial_number": "X"}, 400, "serials"),
        ("/api/serials", {"product_id": 99, "serial_number": "X"}, 404, None),
        ("/api/serials", {"product_id": 2, "serial_number": "X", "warehouse_id": 9}, 404, None),
    ):
        response = await shop.post(path, body)
        assert response.status_code == status, (body, response.text)
        assert response.json().get("field") == field, response.text
        assert response.json()["error"]
    taken = await made(shop, "/api/batches", BATCH_BODY)
    again = await shop.post("/api/batches", {**BATCH_BODY, "batch_number": "bth-2026-042 "})
    assert (again.status_code, again.json()["code"]) == (409, "lot_taken")
    assert again.json()["lot_id"] == taken["id"]
