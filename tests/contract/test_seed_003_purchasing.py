"""Seed 003's purchase orders (003_261f802407a223b4.txt), field by field."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

ALL = "/api/suppliers/purchase-orders/all"
ORDERS = "/api/suppliers/purchase-orders"

LISTED: dict[str, Any] = {
    "purchase_orders": [
        {
            "id": 88,
            "po_number": "PO-0088",
            "supplier_id": 3,
            "supplier_name": "FastenersPro Pty Ltd",
            "warehouse_id": 1,
            "status": "partial",
            "total_amount": "3240.00",
            "expected_date": "2026-05-10",
            "created_at": "2026-04-28T00:00:00Z",
        }
    ],
    "total": 21,
}
CREATED: dict[str, Any] = {
    "id": 89,
    "po_number": "PO-0089",
    "status": "draft",
    "total_amount": "1800.00",
    "created_at": "2026-05-06T12:10:00Z",
}
RECEIVED: dict[str, Any] = {
    "message": "Stock received",
    "received_lines": 3,
    "inventory_updated": True,
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's shop: a product, a warehouse and a supplier."""
    async with running_service(house) as service:
        await service.stocked(0)
        supplier = await service.post(
            "/api/suppliers",
            {"name": "FastenersPro Pty Ltd", "email": "orders@fastenerspro.com.au"},
        )
        assert supplier.status_code == 201, supplier.text
        yield service


def order(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A body as the document describes it."""
    return {"supplier_id": 1, "warehouse_id": 1, "items": list(items), **more}


async def test_creating_a_purchase_order_answers_as_documented(shop: Service) -> None:
    """A draft, with its number and its total as text."""
    body = order({"product_id": 1, "quantity": 100, "unit_cost": 18.00})
    created = await shop.post(ORDERS, body)
    assert created.status_code == 201, created.text
    assert_like(created.json(), CREATED)
    assert {**created.json(), "created_at": ""}.items() >= {
        "id": 1,
        "po_number": "PO-0001",
        "status": "draft",
        "total_amount": "1800.00",
    }.items()


async def test_purchase_orders_are_listed_as_documented(shop: Service) -> None:
    """With the supplier's name, the date as text, and a status that a receipt has changed."""
    expected = "2026-05-10"
    item = {"product_id": 1, "quantity": 180, "unit_cost": 18.00}
    await shop.post(ORDERS, order(item, expected_date=expected))
    part = {"items": [{"purchase_order_item_id": 1001, "quantity_received": 80}]}
    await shop.post(f"{ORDERS}/1/receive", part)
    response = await shop.get(ALL)
    assert response.status_code == 200
    assert_like(response.json(), LISTED)
    (row,) = response.json()["purchase_orders"]
    assert (row["status"], row["total_amount"], row["expected_date"]) == (
        "partial",
        "3240.00",
        expected,
    )
    assert response.json()["total"] == 1


async def test_the_lists_filters_are_the_documents(shop: Service) -> None:
    """status and supplier_id; a status that there is not is refused."""
    await shop.post("/api/suppliers", {"name": "Nuts"})
    item = {"product_id": 1, "quantity": 1, "unit_cost": 1}
    await shop.post(ORDERS, order(item))
    await shop.post(ORDERS, order(item, supplier_id=2))
    await shop.post(f"{ORDERS}/2/receive")

    async def ids(query: str) -> list[int]:
        reply = (await shop.get(f"{ALL}?{query}")).json()
        assert reply["total"] == len(reply["purchase_orders"])
        return [row["id"] for row in reply["purchase_orders"]]

    assert await ids("") == [2, 1]
    assert await ids("status=draft") == [1]
    assert await ids("status=received") == [2]
    assert await ids("supplier_id=2") == [2]
    assert await ids("supplier_id=2&status=draft") == []
    assert (await shop.get(f"{ALL}?status=open")).status_code == 400
    assert (await shop.get(f"{ALL}?supplier_id=x")).status_code == 400


async def test_receiving_answers_as_documented_and_increments_inventory(shop: Service) -> None:
    """The document's client creates a draft and receives it, with no more ado."""
    item = {"product_id": 1, "quantity": 10, "unit_cost": 18.00}
    await shop.post(ORDERS, order(item, item, item))
    received = await shop.post(f"{ORDERS}/1/receive", {})
    assert received.status_code == 200, received.text
    assert_like(received.json(), RECEIVED)
    assert received.json().items() >= RECEIVED.items()
    (level,) = (await shop.get("/api/inventory")).json()["inventory"]
    assert level["quantity"] == 30


async def test_the_roles_are_the_documents(shop: Service) -> None:
    """Creating and receiving are for admins and managers; anybody may read."""
    added = await shop.post(
        "/api/users",
        {"name": "Sam", "email": "sam@example.com", "role": "staff", "password": "long enough 1"},
    )
    assert added.status_code == 201, added.text
    login = await shop.client.post(
        "/api/auth/login", json={"email": "sam@example.com", "password": "long enough 1"}
    )
    staff = {"headers": {"Authorization": f"Bearer {login.json()['token']}"}}
    item = {"product_id": 1, "quantity": 1, "unit_cost": 1}
    assert (await shop.post(ORDERS, order(item), **staff)).status_code == 403
    assert (await shop.post(f"{ORDERS}/1/receive", {}, **staff)).status_code == 403
    assert (await shop.get(ALL, **staff)).status_code == 200


async def test_what_is_wrong_is_answered_with_the_documents_statuses(shop: Service) -> None:
    """400, 401, 404 and 409, each with an error."""
    item = {"product_id": 1, "quantity": 1, "unit_cost": 1}
    await shop.post(ORDERS, order(item))
    for body, status in (
        (order(), 400),
        (order({**item, "quantity": 0}), 400),
        (order(item, supplier_id=9), 404),
        (order(item, warehouse_id=9), 404),
        (order({**item, "product_id": 9}), 404),
    ):
        answer = await shop.post(ORDERS, body)
        assert (answer.status_code, isinstance(answer.json()["error"], str)) == (status, True)
    too_many = {"items": [{"purchase_order_item_id": 1001, "quantity_received": 2}]}
    assert (await shop.post(f"{ORDERS}/1/receive", too_many)).status_code == 409
    assert (await shop.post(f"{ORDERS}/9/receive", {})).status_code == 404
    assert (await shop.post(f"{ORDERS}/x/receive", {})).status_code == 404
    assert (await shop.client.get(ALL)).status_code == 401
