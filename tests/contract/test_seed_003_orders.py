"""The orders of seed 003 (003_261f802407a223b4.txt), field by field.

What the document shows, the service answers: the same fields with values of the same type. It
may answer more.
"""

import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
MONEY = re.compile(r"\d+\.\d{2}")

ADDRESS = {
    "line1": "123 George St",
    "city": "Sydney",
    "state": "NSW",
    "postcode": "2000",
    "country": "AU",
}
BODY: dict[str, Any] = {
    "customer_id": 1,
    "channel": "api",
    "items": [{"product_id": 1, "quantity": 3, "unit_price": 49.99}],
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's shop: 200 of its product in Sydney, and its customer."""
    async with running_service(house) as service:
        await service.stocked(200)
        customer = await service.post(
            "/api/customers",
            {"name": "Acme Corp", "email": "procurement@acme.com", "customer_type": "b2b"},
        )
        assert customer.status_code == 201, customer.text
        yield service


def has(shown: Any, answered: Any, path: str = "") -> None:
    """Assert that an answer has all that the document shows, of the same types and forms."""
    if isinstance(shown, dict):
        assert isinstance(answered, dict), path
        members = cast(dict[str, Any], answered)
        for name, value in cast(dict[str, Any], shown).items():
            assert name in members, f"{path}.{name} is missing"
            has(value, members[name], f"{path}.{name}")
    elif isinstance(shown, list):
        assert isinstance(answered, list), path
        assert answered, f"{path} is empty"
        has(cast(list[Any], shown)[0], cast(list[Any], answered)[0], f"{path}[0]")
    else:
        assert type(answered) is type(shown), f"{path}: {answered!r}, not as {shown!r}"
        for form in (INSTANT, MONEY):
            if isinstance(shown, str) and form.fullmatch(shown):
                assert form.fullmatch(answered), f"{path}: {answered!r}, not as {shown!r}"


CREATED = {
    "id": 1043,
    "order_number": "ORD-1043",
    "status": "pending",
    "total_amount": "149.97",
    "created_at": "2026-05-06T11:35:10Z",
}


async def test_creating_an_order_answers_as_documented(shop: Service) -> None:
    """The document's request, and all of its response."""
    response = await shop.post("/api/orders", BODY)
    assert response.status_code == 201, response.text
    order = response.json()
    has(CREATED, order)
    assert (order["id"], order["order_number"]) == (1, "ORD-1")
    assert (order["status"], order["total_amount"]) == ("pending", "149.97")


async def test_the_list_and_one_order_have_the_documents_fields_and_types(shop: Service) -> None:
    """GET /api/orders and /api/orders/:id of an order being picked."""
    await shop.post("/api/orders", {**BODY, "warehouse_id": 1, "shipping_address": ADDRESS})
    await shop.call("PATCH", "/api/orders/1/status", {"status": "fulfilling"})
    shown = {
        "id": 1042,
        "order_number": "ORD-1042",
        "customer_id": 42,
        "customer_name": "Acme Corp",
        "status": "fulfilling",
        "channel": "api",
        "total_amount": "149.97",
        "created_at": "2026-05-06T09:00:00Z",
    }
    listed = (await shop.get("/api/orders")).json()
    page = {
        "orders": [{**shown, "item_count": 1, "warehouse_id": 1}],
        "total": 382,
        "page": 1,
        "limit": 50,
    }
    has(page, listed)
    assert listed["total"] == 1
    assert listed["orders"][0]["customer_name"] == "Acme Corp"
    assert (listed["orders"][0]["item_count"], listed["orders"][0]["warehouse_id"]) == (1, 1)
    item = {
        "id": 2081,
        "product_id": 7,
        "sku": "WGT-500",
        "product_name": "Widget Pro 500",
        "quantity": 3,
        "unit_price": "49.99",
        "quantity_fulfilled": 0,
    }
    order = (await shop.get("/api/orders/1")).json()
    has({**shown, "shipping_address": ADDRESS, "items": [item]}, order)
    assert order["shipping_address"] == ADDRESS
    assert order["items"][0] | {"id": 2081, "product_id": 7} == order["items"][0] | item | {
        "product_id": 7
    }


async def test_changing_the_status_answers_as_documented(shop: Service) -> None:
    """PATCH /api/orders/:id/status, as far as shipped."""
    await shop.post("/api/orders", BODY)
    for status in ("paid", "fulfilling", "fulfilled", "shipped"):
        response = await shop.call("PATCH", "/api/orders/1/status", {"status": status})
        assert response.status_code == 200, response.text
        assert response.json() == {"message": "Order status updated", "status": status}


async def test_fulfilling_answers_as_documented(shop: Service) -> None:
    """POST /api/orders/:id/fulfill with order_item_id and quantity_fulfilled, and the stock."""
    item_id = (await shop.post("/api/orders", BODY)).json()["items"][0]["id"]
    body = {"items": [{"order_item_id": item_id, "quantity_fulfilled": 3}]}
    response = await shop.post("/api/orders/1/fulfill", body)
    assert response.status_code == 200, response.text
    shown = {
        "message": "Fulfillment recorded",
        "fulfilled_items": 1,
        "order_status": "fulfilled",
    }
    has(shown, response.json())
    assert {name: response.json()[name] for name in shown} == shown
    levels = (await shop.get("/api/inventory")).json()["inventory"]
    assert levels[0]["quantity"] == 197


async def test_statistics_answer_as_documented(shop: Service) -> None:
    """GET /api/orders/stats, with and without orders."""
    shown = {
        "period": "2026-05",
        "total_orders": 382,
        "total_revenue": "28450.80",
        "avg_order_value": "74.48",
        "by_status": {"pending": 14, "paid": 8, "fulfilling": 22, "fulfilled": 190, "shipped": 148},
    }
    empty = (await shop.get("/api/orders/stats")).json()
    has(shown, empty)
    assert (empty["total_orders"], empty["total_revenue"]) == (0, "0.00")
    assert empty["avg_order_value"] == "0.00"
    await shop.post("/api/orders", BODY)
    some = (await shop.get("/api/orders/stats")).json()
    has(shown, some)
    assert (some["total_orders"], some["total_revenue"]) == (1, "149.97")
    assert some["by_status"]["pending"] == 1


async def test_the_export_is_a_csv_attachment(shop: Service) -> None:
    """GET /api/orders/export: text/csv with Content-Disposition: attachment."""
    await shop.post("/api/orders", BODY)
    response = await shop.get("/api/orders/export")
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"].startswith("attachment")
    heading, row = list(csv.reader(io.StringIO(response.text)))
    order = dict(zip(heading, row, strict=True))
    assert (order["order_number"], order["total_amount"]) == ("ORD-1", "149.97")


async def test_the_external_api_lists_and_creates_as_documented(shop: Service) -> None:
    """GET and POST /api/external/orders, with a key."""
    body = {"channel": "api", "items": [{"product_id": 1, "quantity": 2, "unit_price": 49.99}]}
    response = await shop.post("/api/external/orders", body, key=shop.api_key)
    assert response.status_code == 201, response.text
    has({**CREATED, "total_amount": "99.98"}, response.json())
    assert response.json()["total_amount"] == "99.98"
    listed = (await shop.get("/api/external/orders", key=shop.api_key)).json()
    row = {**CREATED, "channel": "api", "total_amount": "149.97"}
    has({"orders": [row], "total": 382}, listed)


async def test_errors_have_the_documents_shape_and_statuses(shop: Service) -> None:
    """400, 401, 403, 404 and 409, each with ``error``."""
    await shop.post("/api/orders", BODY)
    answers = {
        400: await shop.post("/api/orders", {**BODY, "items": []}),
        401: await shop.client.get("/api/orders"),
        403: await shop.get("/api/external/orders"),
        404: await shop.get("/api/orders/99"),
        409: await shop.call("PATCH", "/api/orders/1/status", {"status": "shipped"}),
    }
    for status, answer in answers.items():
        assert answer.status_code == status, answer.text
        assert isinstance(answer.json()["error"], str)
