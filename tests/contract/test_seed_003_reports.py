"""The examples of seed 003 (003_261f802407a223b4.txt) under "Reports", field by field."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from deploy.wiring import House, following
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

REPORTS: dict[str, dict[str, Any]] = {
    "dashboard": {
        "today": {"revenue": 4820.50, "orders": 12, "units_sold": 38},
        "open_orders": 44,
        "low_stock_count": 6,
        "out_of_stock_count": 2,
        "recent_orders": [
            {
                "id": 1042,
                "order_number": "ORD-1042",
                "customer_name": "Acme Corp",
                "total_amount": "149.97",
                "status": "fulfilling",
                "created_at": "2026-05-06T09:00:00Z",
            }
        ],
    },
    "financial": {
        "from": "2026-04-01",
        "to": "2026-04-30",
        "summary": {
            "revenue": 28450.80,
            "cogs": 10842.30,
            "gross_margin": 17608.50,
            "gross_margin_pct": 61.9,
        },
        "periods": [
            {"period": "2026-04-01", "revenue": 920.00, "cogs": 350.40, "gross_margin": 569.60}
        ],
    },
    "inventory": {
        "valuation_date": "2026-05-06",
        "total_value": 84320.50,
        "items": [
            {
                "product_id": 7,
                "sku": "WGT-500",
                "product_name": "Widget Pro 500",
                "warehouse_id": 1,
                "warehouse_name": "Sydney",
                "quantity": 200,
                "cost_price": "18.00",
                "total_value": 3600.00,
            }
        ],
        "total": 48,
    },
    "cogs": {
        "from": "2026-04-01",
        "to": "2026-04-30",
        "total_cogs": 10842.30,
        "items": [
            {
                "product_id": 7,
                "sku": "WGT-500",
                "product_name": "Widget Pro 500",
                "units_sold": 82,
                "cost_price": "18.00",
                "total_cogs": 1476.00,
            }
        ],
    },
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's shop: a product that was ordered by a customer, and partly fulfilled."""
    async with running_service(house) as service, following(house):
        for path, body, status in (
            (
                "/api/products",
                {
                    "name": "Widget Pro 500",
                    "sku": "WGT-500",
                    "base_price": 49.99,
                    "cost_price": 18.00,
                },
                201,
            ),
            ("/api/warehouses", {"name": "Sydney", "code": "SYD"}, 201),
            (
                "/api/inventory/receive",
                {"product_id": 1, "warehouse_id": 1, "quantity": 200, "unit_cost": "18.00"},
                200,
            ),
            ("/api/customers", {"name": "Acme Corp", "email": "procurement@acme.com"}, 201),
            (
                "/api/orders",
                {
                    "customer_id": 1,
                    "channel": "api",
                    "items": [{"product_id": 1, "quantity": 3, "unit_price": 49.99}],
                },
                201,
            ),
            (
                "/api/orders/1/fulfill",
                {"items": [{"order_item_id": 1001, "quantity_fulfilled": 2}]},
                200,
            ),
        ):
            response = await service.post(path, body)
            assert response.status_code == status, response.text
        yield service


async def read(shop: Service, path: str) -> dict[str, Any]:
    """Read a report that has seen everything."""
    position = (await shop.get("/api/orders")).headers["ledger-position"]
    joiner = "&" if "?" in path else "?"
    response = await shop.get(f"/api/reports/{path}{joiner}min_position={position}")
    assert response.status_code == 200, response.text
    return response.json()


async def test_every_report_has_the_documents_fields_and_types(shop: Service) -> None:
    """Numbers where it shows numbers, text where it shows text."""
    for name, example in REPORTS.items():
        assert_like(await read(shop, name), example, f"/api/reports/{name}")


async def test_the_figures_are_those_of_the_shop(shop: Service) -> None:
    """Three ordered, two delivered, at 49.99 each and a cost of 18.00."""
    today = datetime.now(UTC).date()
    dashboard = await read(shop, "dashboard")
    assert dashboard["today"] == {
        "date": today.isoformat(),
        "time_zone": "UTC",
        "revenue": 149.97,
        "orders": 1,
        "units_sold": 3,
    }
    assert dashboard["open_orders"] == 1
    assert dashboard["recent_orders"][0] | {"created_at": ""} == {
        "id": 1,
        "order_number": "ORD-1",
        "customer_name": "Acme Corp",
        "total_amount": "149.97",
        "status": "fulfilling",
        "created_at": "",
    }
    figures = {"revenue": 99.98, "cogs": 36, "gross_margin": 63.98}
    financial = await read(shop, "financial")
    assert financial["summary"] == {**figures, "gross_margin_pct": 64.0, "unpriced_units": 0}
    assert financial["from"] == today.replace(day=1).isoformat()
    assert financial["periods"][-1] == {"period": today.isoformat(), **figures}
    inventory = await read(shop, "inventory")
    assert inventory["total_value"] == 198 * 18
    assert (inventory["items"][0]["quantity"], inventory["items"][0]["cost_price"]) == (
        198,
        "18.00",
    )
    cogs = await read(shop, f"cogs?from={today}&to={today}")
    assert (cogs["total_cogs"], cogs["items"][0]["units_sold"]) == (36, 2)
    assert cogs["items"][0]["cost_price"] == "18.00"


async def test_periods_are_grouped_as_documented(shop: Service) -> None:
    """By day, week and month; every figure of the shop is in the last of them."""
    today = datetime.now(UTC).date()
    for group_by, period in (
        ("day", today),
        ("week", date.fromisocalendar(*today.isocalendar()[:2], 1)),
        ("month", today.replace(day=1)),
    ):
        reply = await read(shop, f"financial?from=2026-01-01&group_by={group_by}")
        assert reply["group_by"] == group_by
        last = reply["periods"][-1]
        assert (last["period"], last["revenue"]) == (period.isoformat(), 99.98)


async def test_reports_of_an_empty_shop_are_zeros(house: House) -> None:
    """Numbers still, not nulls; and lists that are empty."""
    async with running_service(house) as service:
        dashboard = (await service.get("/api/reports/dashboard")).json()
        assert dashboard["today"]["revenue"] == dashboard["today"]["units_sold"] == 0
        assert dashboard["recent_orders"] == []
        summary = (await service.get("/api/reports/financial")).json()["summary"]
        assert set(summary.values()) == {0}
        assert (await service.get("/api/reports/cogs")).json()["items"] == []
        assert (await service.get("/api/reports/inventory")).json()["items"] == []


async def test_a_key_that_may_read_reads_reports(shop: Service) -> None:
    """And whoever has no credentials does not."""
    for name in REPORTS:
        assert (await shop.get(f"/api/reports/{name}", key=shop.api_key)).status_code == 200
        anonymous = await shop.client.get(f"/api/reports/{name}")
        assert (anonymous.status_code, "error" in anonymous.json()) == (401, True)
