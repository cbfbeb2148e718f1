"""The books over HTTP: methods, closing, landed costs and revaluations."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from deploy.wiring import House
from ledger.store import tenant_transaction
from projections.following import catch_up
from projections.valuation import Valuation
from projections.valuation_queries import inventory_value
from tests.support.api import Service, running_service


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A running service with one tenant."""
    async with running_service(house) as running:
        yield running


async def key_with(service: Service, *permissions: str) -> str:
    """Make an API key; keys have no role, so they are held to their permissions alone."""
    made = await service.post("/api/api-keys", {"name": "k", "permissions": [*permissions]})
    assert made.status_code == 201, made.text
    return made.json()["key"]


async def receipt(service: Service, quantity: int = 10, **more: Any) -> tuple[int, int, int]:
    """Receive goods at 2.00 each; return product, warehouse and the receipt's position."""
    product, warehouse = await service.stocked(quantity=0)
    done = await service.post(
        "/api/inventory/receive",
        {"product_id": product, "warehouse_id": warehouse, "quantity": quantity,
         "unit_cost": "2.00", **more},
    )  # fmt: skip
    assert done.status_code == 200, done.text
    return product, warehouse, int(done.headers["ledger-position"])


async def test_the_books_are_shown_and_configured(service: Service) -> None:
    """With their version, which If-Match holds a change to."""
    shown = await service.get("/api/books")
    assert (shown.status_code, shown.json()) == (
        200,
        {
            "valuation_method": "standard",
            "time_zone": "UTC",
            "closed_through": None,
            "version": 0,
        },
    )
    body = {"valuation_method": "fifo", "time_zone": "Australia/Sydney"}
    headers = {"If-Match": shown.headers["etag"]}
    done = await service.call("PUT", "/api/books", body, headers=headers)
    assert (done.status_code, done.json()) == (200, {"message": "Books updated"})
    position = done.headers["ledger-position"]
    shown = await service.get(f"/api/books?min_position={position}")
    assert shown.json() == {**body, "closed_through": None, "version": 1}
    stale = await service.call("PUT", "/api/books", body, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    wrong = await service.call("PUT", "/api/books", {"time_zone": "Mars/Base"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "time_zone")
    wrong = await service.call("PUT", "/api/books", {"valuation_method": "lifo"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "valuation_method")


async def test_a_product_may_have_its_own_method(service: Service) -> None:
    """Until null is chosen."""
    product, _ = await service.stocked(quantity=0)
    path = f"/api/books/products/{product}"
    assert (await service.get(path)).json() == {
        "product_id": product,
        "valuation_method": "standard",
        "chosen": False,
    }
    for chosen in ("average", None):
        done = await service.call("PUT", path, {"valuation_method": chosen})
        assert done.status_code == 200, done.text
        shown = (await service.get(path)).json()
        expected = (chosen or "standard", chosen is not None)
        assert (shown["valuation_method"], shown["chosen"]) == expected
    for method, body in (("GET", None), ("PUT", {"valuation_method": "fifo"})):
        missing = await service.call(method, "/api/books/products/999", body)
        assert (missing.status_code, missing.json()["code"]) == (404, "product_not_found")
    empty = await service.call("PUT", path, {})
    assert (empty.status_code, empty.json()["field"]) == (400, "valuation_method")


async def test_a_closed_period_takes_nothing_that_is_backdated_into_it(service: Service) -> None:
    """The refusal names the day and the period; what is effective after it goes on."""
    product, warehouse = await service.stocked()
    closed = await service.post("/api/books/close", {"through": "2024-12-31", "notes": "filed"})
    assert (closed.status_code, closed.json()) == (
        200,
        {"message": "The books are closed through 2024-12-31", "closed_through": "2024-12-31"},
    )
    late = {
        "product_id": product,
        "warehouse_id": warehouse,
        "quantity": 1,
        "effective_at": "2024-12-31T23:00:00Z",
    }
    for path in ("receive", "adjust"):
        refused = await service.post(f"/api/inventory/{path}", late)
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "period_closed")
        assert (problem["day"], problem["closed_through"]) == ("2024-12-31", "2024-12-31")
        assert "2024-12-31" in problem["detail"]
    later = {**late, "effective_at": "2025-01-01T00:00:00Z"}
    assert (await service.post("/api/inventory/receive", later)).status_code == 200
    fixed = await service.call("PUT", "/api/books", {"valuation_method": "fifo"})
    assert (fixed.status_code, fixed.json()["code"]) == (409, "valuation_method_fixed")
    opened = await service.post("/api/books/reopen", {"through": None})
    assert opened.json() == {"message": "The books are open", "closed_through": None}
    assert (await service.post("/api/inventory/receive", late)).status_code == 200


async def test_only_past_days_are_closed_and_in_order(service: Service) -> None:
    """A day that is not over, one that is closed already, one that was never."""
    future = await service.post("/api/books/close", {"through": "2999-01-01"})
    assert (future.status_code, future.json()["code"]) == (409, "day_not_over")
    await service.post("/api/books/close", {"through": "2025-06-30"})
    back = await service.post("/api/books/close", {"through": "2025-05-31"})
    assert (back.status_code, back.json()["code"]) == (409, "closed_further")
    ahead = await service.post("/api/books/reopen", {"through": "2025-07-31"})
    assert (ahead.status_code, ahead.json()["code"]) == (409, "not_closed_that_far")
    reopened = await service.post("/api/books/reopen", {"through": "2025-05-31"})
    assert reopened.json()["closed_through"] == "2025-05-31"
    for body in ({"through": "May"}, {"through": 5}, {}):
        wrong = await service.post("/api/books/close", body)
        assert (wrong.status_code, wrong.json()["field"]) == (400, "through")


async def test_a_landed_cost_and_a_revaluation_change_what_stock_is_worth(
    service: Service,
) -> None:
    """Once each, whatever is sent again with its key."""
    product, warehouse, position = await receipt(service)
    await service.call("PUT", "/api/books", {"valuation_method": "fifo"})
    body = {"position": position, "amount": 5.5, "reason": "freight"}
    headers = {"Idempotency-Key": "freight-1"}
    added = await service.post("/api/books/landed-costs", body, headers=headers)
    assert added.status_code == 201, added.text
    told = added.json()
    assert told == {
        "position": int(added.headers["ledger-position"]),
        "receipt_position": position,
        "product_id": product,
        "warehouse_id": warehouse,
        "amount": "5.50",
    }
    again = await service.post("/api/books/landed-costs", body, headers=headers)
    assert (again.status_code, again.json()) == (201, told)
    assert await worth(service) == "25.50"
    revalued = await service.post(
        "/api/books/revaluations", {"product_id": product, "unit_cost": "1.05"}
    )
    assert revalued.status_code == 201, revalued.text
    assert (revalued.json()["product_id"], revalued.json()["unit_cost"]) == (product, "1.05")
    assert await worth(service) == "10.50"


async def worth(service: Service) -> str:
    """Return what all stock is worth, once the valuation has caught up."""
    await catch_up(service.house.pool, Valuation(), service.tenant_id)
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        levels = await inventory_value(connection, service.tenant_id, date.max)
    return str(sum(level.value for level in levels))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("landed-costs", {"position": 0, "amount": 1}, "position"),
        ("landed-costs", {"position": 1, "amount": 0}, "amount"),
        ("landed-costs", {"position": 1, "amount": "1e400"}, "amount"),
        ("landed-costs", {"position": 1, "amount": 1, "per": "unit"}, "per"),
        ("revaluations", {"product_id": 1, "unit_cost": -1}, "unit_cost"),
        ("revaluations", {"product_id": 1, "unit_cost": "NaN"}, "unit_cost"),
        ("revaluations", {"unit_cost": 1}, "product_id"),
        ("revaluations", {"product_id": 1, "unit_cost": 1, "effective_at": "now"}, "effective_at"),
        ("reopen", {}, "through"),
    ],
)
async def test_a_wrong_value_is_refused_by_its_name(
    service: Service, path: str, body: dict[str, Any], field: str
) -> None:
    """400, with the field at fault."""
    wrong = await service.post(f"/api/books/{path}", body)
    assert (wrong.status_code, wrong.json()["field"]) == (400, field)


async def test_what_cannot_cost_more_is_refused(service: Service) -> None:
    """A position that is no receipt's, and one that is no event's."""
    product, warehouse, _ = await receipt(service)
    sold = await service.post(
        "/api/inventory/adjust",
        {"product_id": product, "warehouse_id": warehouse, "quantity": -1},
    )
    position = int(sold.headers["ledger-position"])
    refused = await service.post("/api/books/landed-costs", {"position": position, "amount": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_a_receipt")
    missing = await service.post("/api/books/landed-costs", {"position": 9999, "amount": 1})
    assert (missing.status_code, missing.json()["code"]) == (404, "movement_not_found")


async def test_a_key_that_may_only_read_keeps_no_books(service: Service) -> None:
    """It sees them."""
    key = await key_with(service, "read")
    assert (await service.get("/api/books", key=key)).status_code == 200
    for method, path, body in (
        ("PUT", "/api/books", {"valuation_method": "fifo"}),
        ("POST", "/api/books/close", {"through": "2024-12-31"}),
        ("POST", "/api/books/landed-costs", {"position": 1, "amount": 1}),
    ):
        refused = await service.call(method, path, body, key=key)
        assert refused.status_code == 403
