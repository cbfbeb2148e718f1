"""Links to other systems over HTTP: made, listed, ended; and what is refused."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from ledger.store import tenant_transaction
from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.tenants import lasting_service, new_tenant

STORES = "/api/integrations/v1/stores"
ITEMS = "/api/integrations/v1/items"


@pytest.fixture(scope="module")
async def lasting(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    async with lasting_service(postgres, tmp_path_factory.mktemp("integrations")) as service:
        yield service


@pytest.fixture
async def service(lasting: Service) -> Service:
    """A tenant with two warehouses and two products."""
    service = await new_tenant(lasting)
    for number in (1, 2):
        for path, body in (
            ("/api/warehouses", {"name": f"W{number}", "code": f"W{number}"}),
            (
                "/api/products",
                {
                    "name": f"P{number}", "sku": f"P{number}", "base_price": 1,
                    "alternative_units": [{"unit": "box", "numerator": 12}],
                },
            ),
        ):  # fmt: skip
            assert (await service.post(path, body)).status_code == 201
    return service


def told(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    return response.json()


async def test_every_tenant_has_an_inventory_system_and_an_owner(service: Service) -> None:
    ids = (await service.get("/api/integrations/v1/inventory-system")).json()
    assert ids["user_id_tps"] == "1"
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        own = await connection.fetchval("SELECT inventory_system_id FROM ledger.tenant")
    assert UUID(ids["inventory_system_id"]) == own


async def test_stores_are_linked_listed_and_unlinked(service: Service) -> None:
    for system, external_id, place in (
        ("mipos", "a/b 1", {"warehouse": "w1"}),
        ("woocommerce", "a/b 1", {"warehouse_id": 1}),
        ("mipos", "2", {"warehouse_id": 2}),
    ):
        linked = {"system": system, "external_id": external_id, **place}
        for _again in range(2):
            response = await service.post(STORES, linked)
            assert (response.status_code, response.json()) == (200, {"message": "Store linked"})
    listed = (await service.get(f"{STORES}?system=mipos&limit=1")).json()
    assert (listed["total"], listed["page"], listed["limit"]) == (2, 1, 1)
    (row,) = listed["stores"]
    del row["linked_at"]
    assert row == {
        "system": "mipos",
        "external_id": "a/b 1",
        "warehouse_id": 1,
        "warehouse_name": "W1",
        "code": "W1",
    }
    behind = (await service.get(f"{STORES}?page=9")).json()
    assert (behind["stores"], behind["total"]) == ([], 3)
    for _again in range(2):
        response = await service.call("DELETE", f"{STORES}/mipos/a%2Fb%201")
        assert (response.status_code, response.json()) == (200, {"message": "Store unlinked"})
    assert (await service.get(f"{STORES}?external_id=a/b%201")).json()["total"] == 1
    told(await service.call("DELETE", f"{STORES}/nothing/2"), 404, "not_found")


async def test_what_is_linked_elsewhere_is_refused(service: Service) -> None:
    link = {"system": "mipos", "external_id": "1", "warehouse_id": 1}
    assert (await service.post(STORES, link)).status_code == 200
    problem = told(await service.post(STORES, {**link, "warehouse_id": 2}), 409,
                   "store_linked_elsewhere")  # fmt: skip
    assert problem["location_id"] == 1
    told(await service.post(STORES, {**link, "external_id": "2"}), 409, "store_linked_elsewhere")
    told(await service.post(STORES, {**link, "warehouse_id": 9}), 404, "location_not_found")
    told(await service.post(STORES, {**link, "system": "other"}), 400, "invalid_field")
    both = {**link, "warehouse": "W1"}
    told(await service.post(STORES, both), 400, "invalid_field")


async def test_items_are_linked_listed_and_unlinked(service: Service) -> None:
    link = {"system": "mipos", "external_id": "x", "product_id": 1, "unit": "box"}
    response = await service.post(ITEMS, link)
    assert (response.status_code, response.json()) == (200, {"message": "Item linked"})
    told(await service.post(ITEMS, {**link, "product_id": 2}), 409, "item_linked_elsewhere")
    told(await service.post(ITEMS, {**link, "external_id": "y"}), 409, "item_linked_elsewhere")
    told(await service.post(ITEMS, {**link, "unit": "crate"}), 400, "invalid_command")
    told(await service.post(ITEMS, {**link, "product_id": 9}), 404, "product_not_found")
    (row,) = (await service.get(ITEMS)).json()["items"]
    assert (row["external_id"], row["sku"], row["unit"]) == ("x", "P1", "box")
    assert (await service.call("DELETE", f"{ITEMS}/mipos/x")).status_code == 200
    assert (await service.get(ITEMS)).json() == {"items": [], "total": 0, "page": 1, "limit": 50}
    assert (await service.post(ITEMS, {**link, "product_id": 2})).status_code == 200


async def test_unknown_parameters_and_values_are_refused_by_name(service: Service) -> None:
    for path in (STORES, ITEMS, "/api/integrations/v1/divergences"):
        problem = told(await service.get(f"{path}?systm=mipos"), 400, "invalid_parameter")
        assert "systm" in problem["detail"]
        problem = told(await service.get(f"{path}?system=other"), 400, "invalid_parameter")
        assert problem["field"] == "system"
        told(await service.get(f"{path}?limit=201"), 400, "invalid_parameter")


async def test_reading_links_takes_any_role_and_making_them_a_manager(service: Service) -> None:
    made = await service.post("/api/api-keys", {"name": "reader", "permissions": ["read"]})
    reader = made.json()["key"]
    assert (await service.get(STORES, key=reader)).status_code == 200
    link = {"system": "mipos", "external_id": "1", "warehouse_id": 1}
    told(await service.post(STORES, link, key=reader), 403, "forbidden")
    told(await service.call("DELETE", f"{ITEMS}/mipos/x", key=reader), 403, "forbidden")


async def test_a_link_made_again_with_its_key_is_answered_as_before(service: Service) -> None:
    link = {"system": "mipos", "external_id": "1", "warehouse_id": 1}
    headers = {"Idempotency-Key": "link-1"}
    first = await service.post(STORES, link, headers=headers)
    again = await service.post(STORES, link, headers=headers)
    assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
