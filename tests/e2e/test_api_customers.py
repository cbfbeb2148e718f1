"""Customers, addresses and price tiers over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service

ADDRESS = {"type": "shipping", "line1": "123 George St", "city": "Sydney", "country": "AU"}


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a tenant of its own."""
    async with running_service(house) as running:
        yield running


async def customer(service: Service, name: str = "Acme", **more: Any) -> int:
    """Register a customer; return its id."""
    made = await service.post("/api/customers", {"name": name, **more})
    assert made.status_code == 201, made.text
    return made.json()["id"]


async def staff(service: Service) -> dict[str, str]:
    """Sign somebody in who has the least role; return the header."""
    body = {"name": "S", "email": "s@example.com", "password": "a long password", "role": "staff"}
    assert (await service.post("/api/users", body)).status_code == 201
    login = await service.client.post(
        "/api/auth/login", json={"email": "s@example.com", "password": "a long password"}
    )
    return {"Authorization": f"Bearer {login.json()['token']}"}


async def test_customers_are_searched_filtered_and_paged(service: Service) -> None:
    """By name, company and e-mail address in any case, and by type; wildcards are letters."""
    await customer(service, "Alba", email="orders@alba.example")
    await customer(service, "Bolt", company="Alba Holding", customer_type="b2b")
    await customer(service, "Fjord", customer_type="wholesale")
    await customer(service, "100% Wool", customer_type="b2b")

    async def found(query: str) -> tuple[list[int], int]:
        reply = await service.get(f"/api/customers?{query}")
        assert reply.status_code == 200, reply.text
        body = reply.json()
        return [row["id"] for row in body["customers"]], body["total"]

    assert await found("search=ALBA") == ([1, 2], 2)
    assert await found("search=orders@") == ([1], 1)
    assert await found("search=%25") == ([4], 1)
    assert await found("type=b2b") == ([2, 4], 2)
    assert await found("type=b2b&search=alba") == ([2], 1)
    assert await found("page=2&limit=3") == ([4], 4)
    first = (await service.get("/api/customers?limit=3")).json()
    assert await found(f"limit=3&cursor={first['next_cursor']}") == ([4], 4)
    refused = await service.get("/api/customers?type=friend")
    assert (refused.status_code, refused.json()["field"]) == (400, "type")


async def test_a_customer_is_replaced_but_for_addresses(service: Service) -> None:
    """If-Match takes the version that the ETag shows, which an address raises too."""
    number = await customer(service, email="a@b.example", phone="1", addresses=[ADDRESS])
    shown = await service.get(f"/api/customers/{number}")
    assert shown.headers["etag"] == '"2"'
    body = {"name": "Acme Ltd", "code": "ACME"}
    path = f"/api/customers/{number}"
    stale = await service.call("PUT", path, body, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    updated = await service.call("PUT", path, body, headers={"If-Match": '"2"'})
    assert (updated.status_code, updated.json()) == (200, {"message": "Customer updated"})
    now = (await service.get(path)).json()
    assert (now["name"], now["code"], now["email"], now["phone"]) == (
        "Acme Ltd",
        "ACME",
        None,
        None,
    )
    assert [address["line1"] for address in now["addresses"]] == ["123 George St"]
    assert (now["version"], now["total_orders"], now["total_spent"]) == (3, 0, "0.00")


async def test_each_type_has_one_default_address(service: Service) -> None:
    """The first, until another is added as it."""
    number = await customer(service)
    path = f"/api/customers/{number}/addresses"
    for body in (
        ADDRESS,
        {**ADDRESS, "type": "billing"},
        ADDRESS,
        {**ADDRESS, "is_default": True},
    ):
        assert (await service.post(path, body)).status_code == 201
    addresses = (await service.get(f"/api/customers/{number}")).json()["addresses"]
    assert [(row["id"], row["type"], row["is_default"]) for row in addresses] == [
        (1001, "shipping", False),
        (1002, "billing", True),
        (1003, "shipping", False),
        (1004, "shipping", True),
    ]


async def test_a_repeated_request_takes_effect_once(service: Service) -> None:
    """An Idempotency-Key stands for the address that was added with it."""
    number = await customer(service)
    for replayed in (None, "true"):
        added = await service.post(
            f"/api/customers/{number}/addresses", ADDRESS, headers={"Idempotency-Key": "once"}
        )
        assert (added.status_code, added.json()["id"]) == (201, 1001)
        assert added.headers.get("idempotent-replayed") == replayed
        assert "ledger-position" in added.headers
    assert len((await service.get(f"/api/customers/{number}")).json()["addresses"]) == 1


async def test_what_is_wrong_is_named(service: Service) -> None:
    """By its field, or by what is not there."""
    number = await customer(service)
    many = {"name": "Acme", "addresses": [ADDRESS] * 101}
    for path, body, status, named in (
        ("/api/customers", {"name": ""}, 400, "name"),
        ("/api/customers", {"name": "A", "email": "none"}, 400, "email"),
        ("/api/customers", {"name": "A", "customer_type": "friend"}, 400, "customer_type"),
        ("/api/customers", many, 400, "addresses"),
        ("/api/customers", {"name": "A", "price_tier_id": 9}, 404, "price_tier_not_found"),
        (f"/api/customers/{number}/addresses", {"line1": "x"}, 400, "type"),
        (f"/api/customers/{number}/addresses", {"type": "home"}, 400, "type"),
        ("/api/customers/99/addresses", ADDRESS, 404, "customer_not_found"),
        ("/api/customers/x/addresses", ADDRESS, 404, "customer_not_found"),
    ):
        refused = await service.post(path, body)
        told = refused.json()
        assert (refused.status_code, told.get("field", told["code"])) == (status, named), told


async def test_price_tiers_are_defined_shown_and_replaced(service: Service) -> None:
    """By a manager; with the names of their products, and how many customers are in them."""
    product_id, _ = await service.stocked(0)
    prices = [
        {"product_id": product_id, "unit_price": "40.50", "min_quantity": 10},
        {"product_id": product_id, "unit_price": 45},
    ]
    body = {"name": "Trade", "discount_percent": "2.5", "prices": prices}
    refused = await service.client.post(
        "/api/customers/price-tiers", json=body, headers=await staff(service)
    )
    assert refused.status_code == 403
    assert (await service.post("/api/customers/price-tiers", body)).status_code == 201
    await customer(service, price_tier_id=1)
    shown = await service.get("/api/customers/price-tiers/1")
    assert shown.headers["etag"] == '"1"'
    tier = shown.json()
    assert [(row["sku"], row["min_quantity"], row["unit_price"]) for row in tier["prices"]] == [
        ("WGT-500", 1, "45.00"),
        ("WGT-500", 10, "40.50"),
    ]
    assert (tier["discount_percent"], tier["customer_count"]) == (2.5, 1)
    path = "/api/customers/price-tiers/1"
    stale = await service.call("PUT", path, {"name": "Plain"}, headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    assert (await service.call("PUT", path, {"name": "Plain"})).status_code == 200
    listed = (await service.get("/api/customers/price-tiers")).json()
    (row,) = listed["price_tiers"]
    assert (row["name"], row["discount_percent"], row["price_count"]) == ("Plain", 0, 0)
    assert (listed["total"], row["customer_count"]) == (1, 1)


async def test_a_tier_that_cannot_be_is_refused(service: Service) -> None:
    """Two prices for one quantity, an unknown product, more than all off; and none there."""
    product_id, _ = await service.stocked(0)
    price = {"product_id": product_id, "unit_price": 1}
    for body, status, code in (
        (
            {"name": "T", "prices": [price, {**price, "min_quantity": "1.0"}]},
            409,
            "tier_price_twice",
        ),
        ({"name": "T", "prices": [{**price, "product_id": 99}]}, 404, "product_not_found"),
        ({"name": "T", "discount_percent": 101}, 400, "invalid_field"),
        ({"name": "T", "prices": [{**price, "min_quantity": 0}]}, 400, "invalid_field"),
    ):
        refused = await service.post("/api/customers/price-tiers", body)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    for method, body in (("GET", None), ("PUT", {"name": "T"})):
        missing = await service.call(method, "/api/customers/price-tiers/9", body)
        assert (missing.status_code, missing.json()["error"]) == (404, "Price tier not found")


async def test_a_tier_may_have_a_thousand_prices(service: Service) -> None:
    """Their body is longer than others may be."""
    product_id, _ = await service.stocked(0)
    prices = [
        {"product_id": product_id, "unit_price": "999999999.999999", "min_quantity": number}
        for number in range(1, 1001)
    ]
    made = await service.post("/api/customers/price-tiers", {"name": "T", "prices": prices})
    assert (made.status_code, made.json().get("price_count")) == (201, 1000), made.text


async def test_staff_keep_customers(service: Service) -> None:
    """The document names no role, so any user may, and a key that may write."""
    headers = await staff(service)
    made = await service.client.post("/api/customers", json={"name": "A"}, headers=headers)
    assert made.status_code == 201
    changed = await service.client.put("/api/customers/1", json={"name": "B"}, headers=headers)
    assert changed.status_code == 200
    made = await service.post("/api/api-keys", {"name": "R", "permissions": ["read"]})
    reader = made.json()["key"]
    refused = await service.post("/api/customers", {"name": "C"}, key=reader)
    assert refused.status_code == 403
    assert (await service.get("/api/customers", key=reader)).json()["total"] == 1
    assert (await service.get("/api/external/customers")).status_code == 403
