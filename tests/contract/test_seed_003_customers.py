"""The examples of seed 003 about customers, field by field (see `test_seed_003`)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

ACME = {
    "name": "Acme Corp",
    "email": "procurement@acme.com",
    "phone": "+61 2 9000 0000",
    "company": "Acme Corporation Pty Ltd",
    "customer_type": "b2b",
}
GEORGE_STREET = {
    "type": "shipping",
    "line1": "123 George St",
    "city": "Sydney",
    "state": "NSW",
    "postcode": "2000",
    "country": "AU",
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's customer, who has ordered twice and cancelled once."""
    async with running_service(house) as service:
        await service.stocked(200)
        assert (await service.post("/api/customers", ACME)).status_code == 201
        added = await service.post("/api/customers/1/addresses", GEORGE_STREET)
        assert added.status_code == 201, added.text
        for quantity in (3, 2, 1):
            await order(service, 1, quantity)
        cancelled = await service.call("PATCH", "/api/orders/3/status", {"status": "cancelled"})
        assert cancelled.status_code == 200, cancelled.text
        yield service


async def order(service: Service, customer_id: int, quantity: int, **line: Any) -> dict[str, Any]:
    """Place an order of one line; return the answer."""
    placed = await service.post(
        "/api/orders",
        {
            "customer_id": customer_id,
            "items": [{"product_id": 1, "quantity": quantity, **(line or {"unit_price": 49.99})}],
        },
    )
    assert placed.status_code == 201, placed.text
    return placed.json()


async def test_customers_are_listed_as_documented(shop: Service) -> None:
    """With what they have ordered; what was cancelled does not count."""
    listed = (await shop.get("/api/customers")).json()
    assert_like(
        listed,
        {
            "customers": [
                {
                    "id": 42,
                    "name": "Acme Corp",
                    "email": "procurement@acme.com",
                    "phone": "+61 2 9000 0000",
                    "company": "Acme Corporation Pty Ltd",
                    "customer_type": "b2b",
                    "total_orders": 18,
                    "total_spent": "4820.40",
                    "created_at": "2025-09-12T00:00:00Z",
                }
            ],
            "total": 94,
            "page": 1,
            "limit": 50,
        },
    )
    (acme,) = listed["customers"]
    assert ACME.items() <= acme.items()
    assert (acme["total_orders"], acme["total_spent"]) == (2, "249.95")
    assert (listed["total"], listed["page"], listed["limit"]) == (1, 1, 50)


async def test_a_customer_is_shown_as_documented(shop: Service) -> None:
    """With the addresses and the summary of the orders."""
    shown = (await shop.get("/api/customers/1")).json()
    assert_like(
        shown,
        {
            "id": 42,
            "name": "Acme Corp",
            "email": "procurement@acme.com",
            "company": "Acme Corporation Pty Ltd",
            "customer_type": "b2b",
            "total_orders": 18,
            "total_spent": "4820.40",
            "addresses": [{"id": 5, **GEORGE_STREET, "is_default": True}],
            "created_at": "2025-09-12T00:00:00Z",
        },
    )
    assert {**GEORGE_STREET, "is_default": True}.items() <= shown["addresses"][0].items()
    assert (shown["total_orders"], shown["total_spent"]) == (2, "249.95")


async def test_creating_a_customer_answers_as_documented(shop: Service) -> None:
    """201; the same e-mail address again is the document's 409."""
    body = {"name": "Acme Corp", "email": "two@acme.com", "customer_type": "b2b"}
    created = await shop.post("/api/customers", body)
    assert created.status_code == 201
    assert_like(
        created.json(),
        {
            "id": 95,
            "name": "Acme Corp",
            "email": "procurement@acme.com",
            "customer_type": "b2b",
            "created_at": "2026-05-06T11:40:00Z",
        },
    )
    again = await shop.post("/api/customers", body)
    assert (again.status_code, again.json()["error"]) == (409, "Email already exists")
    plain = (await shop.post("/api/customers", {"name": "Walk-in"})).json()
    assert (plain["customer_type"], plain["email"]) == ("retail", None)


async def test_adding_an_address_answers_as_documented(shop: Service) -> None:
    """201 with the address flat; it is not the default, as there is one of its type."""
    body = {**GEORGE_STREET, "line1": "45 Pitt St"}
    added = await shop.post("/api/customers/1/addresses", body)
    assert added.status_code == 201
    example = {"id": 18, "customer_id": 42, **body, "is_default": False}
    assert_like(added.json(), example)
    assert {**body, "customer_id": 1, "is_default": False}.items() <= added.json().items()


async def test_customers_are_listed_to_keys_as_documented(shop: Service) -> None:
    """Few fields, with a total."""
    listed = (await shop.get("/api/external/customers", key=shop.api_key)).json()
    assert_like(
        listed,
        {
            "customers": [
                {
                    "id": 42,
                    "name": "Acme Corp",
                    "email": "procurement@acme.com",
                    "company": "Acme Corporation Pty Ltd",
                    "customer_type": "b2b",
                }
            ],
            "total": 94,
        },
    )
    assert listed["total"] == 1
    assert (
        ACME.items()
        >= {name: listed["customers"][0][name] for name in ("name", "email", "company")}.items()
    )


async def test_a_price_tier_prices_the_lines_of_its_customers(shop: Service) -> None:
    """The document only says that there are B2B price tiers; this is how they work here."""
    tier = await shop.post(
        "/api/customers/price-tiers",
        {
            "name": "Trade",
            "discount_percent": 10,
            "prices": [{"product_id": 1, "unit_price": "40.00", "min_quantity": 10}],
        },
    )
    assert tier.status_code == 201, tier.text
    assert_like(
        tier.json(),
        {
            "id": 1,
            "name": "Trade",
            "discount_percent": 10,
            "price_count": 1,
            "created_at": "2026-05-06T11:40:00Z",
        },
    )
    joined = await shop.call("PUT", "/api/customers/1", {**ACME, "price_tier_id": 1})
    assert (joined.status_code, joined.json()) == (200, {"message": "Customer updated"})
    assert (await shop.get("/api/customers/1")).json()["price_tier_name"] == "Trade"
    # 10 % off the list price of 49.99; ten and more have a price of their own.
    assert (await order(shop, 1, 2, unit="each"))["total_amount"] == "89.982"
    assert (await order(shop, 1, 10, unit="each"))["total_amount"] == "400.00"
    assert (await order(shop, 1, 1, unit_price="45"))["total_amount"] == "45.00"
