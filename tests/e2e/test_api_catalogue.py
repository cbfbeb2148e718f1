"""Categories, suppliers and what is new of products, over HTTP."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.wiring import House, house_at
from ledger.domain.decision import Refusal
from ledger.domain.product_category import DEPTH_MAX
from ledger.ports import Meta
from ledger.store import tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.category import DefineCategory, ReviseCategory
from schemas.common import Command
from tests.support.api import Service, running_service


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a tenant of its own."""
    async with running_service(house) as running:
        yield running


async def category(service: Service, name: str, parent_id: int | None = None) -> int:
    """Define a category; return its id."""
    made = await service.post("/api/products/categories", {"name": name, "parent_id": parent_id})
    assert made.status_code == 201, made.text
    return made.json()["id"]


def product(sku: str, **more: Any) -> dict[str, Any]:
    """Return the body of a product."""
    return {"name": sku, "sku": sku, "base_price": "1.00", **more}


async def test_categories_form_a_tree(service: Service) -> None:
    """Names are unique under a parent, and none comes to stand under itself."""
    drinks = await category(service, "Drinks")
    tea = await category(service, "Tea", drinks)
    green = await category(service, "Green", tea)
    for parent_id in (drinks, tea, green):
        refused = await service.call(
            "PUT", f"/api/products/categories/{drinks}", {"name": "D", "parent_id": parent_id}
        )
        assert (refused.status_code, refused.json()["code"]) == (409, "category_under_itself")
    taken = await service.post("/api/products/categories", {"name": "TEA", "parent_id": drinks})
    assert (taken.status_code, taken.json()["category_id"]) == (409, tea)
    moved = await service.call("PUT", f"/api/products/categories/{green}", {"name": "Green tea"})
    assert (moved.status_code, moved.json()) == (200, {"message": "Category updated"})
    listed = (await service.get("/api/products/categories")).json()["categories"]
    assert [(row["id"], row["name"], row["parent_id"], row["version"]) for row in listed] == [
        (drinks, "Drinks", None, 1),
        (tea, "Tea", drinks, 1),
        (green, "Green tea", None, 2),
    ]
    stale = await service.call(
        "PUT",
        f"/api/products/categories/{green}",
        {"name": "Green"},
        headers={"If-Match": '"1"'},
    )
    assert stale.status_code == 412
    for body, method, path in (
        ({"name": "X", "parent_id": 99}, "POST", "/api/products/categories"),
        ({"name": "X"}, "PUT", "/api/products/categories/99"),
    ):
        missing = await service.call(method, path, body)
        assert (missing.status_code, missing.json()["error"]) == (404, "Category not found")


async def decide(house: House, tenant_id: int, *commands: Command) -> list[Refusal | None]:
    """Submit commands together; return what each was refused for."""
    refusals: list[Refusal | None] = []

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        refusals[:] = [outcome.refusal for outcome in outcomes]
        return Rendered(200, b"")

    await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(command) for command in commands],
            meta=Meta(actor="user:1", source="test"),
            atomic=False,
            render=render,
        )
    )
    return refusals


async def test_a_deep_chain_is_followed_to_its_end_by_a_service_that_knows_none_of_it(
    database: DatabaseAddress, tmp_path: Path, tenant_id: int
) -> None:
    """As after a restart, when every state has to be read; in one group with what makes it too."""
    async with house_at(Settings(data_dir=tmp_path), database) as house:
        chain = [
            DefineCategory(name=f"C{number}", parent_id=number or None)
            for number in range(DEPTH_MAX)
        ]
        refusals = await decide(house, tenant_id, *chain)
        assert refusals == [None] * DEPTH_MAX
    async with house_at(Settings(data_dir=tmp_path), database) as house:
        below, under_itself = await decide(
            house,
            tenant_id,
            DefineCategory(name="below", parent_id=DEPTH_MAX),
            ReviseCategory(category_id=1, name="C0", parent_id=DEPTH_MAX),
        )
        assert below is not None
        assert below.CODE == "category_too_deep"
        assert under_itself is not None
        assert under_itself.CODE == "category_under_itself"
        async with tenant_transaction(house.pool, tenant_id) as connection:
            count = await connection.fetchval("SELECT count(*) FROM projections.category")
        assert count == DEPTH_MAX


async def test_products_are_counted_in_their_category(service: Service) -> None:
    """Not in those above it, and not once they are taken out."""
    drinks = await category(service, "Drinks")
    tea = await category(service, "Tea", drinks)
    for sku, category_id in (("A", drinks), ("B", tea), ("C", tea)):
        body = product(sku, category_id=category_id)
        assert (await service.post("/api/products", body)).status_code == 201
    assert (await service.post("/api/products", product("D", category="drinks"))).status_code == 201
    assert (await service.call("DELETE", "/api/products/3")).status_code == 200
    listed = (await service.get("/api/products/categories")).json()["categories"]
    assert [row["product_count"] for row in listed] == [2, 1]


async def test_what_a_product_names_must_be_there(service: Service) -> None:
    """Category, supplier, and what it is a variant of, by id or name."""
    assert (await service.post("/api/products", product("A"))).status_code == 201
    for more, status, code in (
        ({"category_id": 9}, 404, "category_not_found"),
        ({"category": "None"}, 404, "category_not_found"),
        ({"supplier_id": 9}, 404, "supplier_not_found"),
        ({"supplier": "NONE"}, 404, "supplier_not_found"),
        ({"variant_of": 9}, 404, "product_not_found"),
        ({"variant_of": 2}, 409, "not_a_variant"),
        ({"category_id": 1, "category": "None"}, 400, "invalid_field"),
        ({"images": [{"url": "with a space"}]}, 400, "invalid_field"),
        ({"images": [{"url": "/a.jpg"}] * 51}, 400, "invalid_field"),
    ):
        refused = await service.post("/api/products", product("B", **more))
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text


async def test_a_product_and_its_variants(service: Service) -> None:
    """Variants are products with stock of their own; the product stays while it has some."""
    shirt, warehouse = await service.stocked(0, "SHIRT")
    for number, size in ((2, "M"), (3, "L")):
        options = [{"name": "Size", "value": size}]
        body = product(f"SHIRT-{size}", variant_of=shirt, options=options, backorders=True)
        assert (await service.post("/api/products", body)).json()["id"] == number
    received = {"product_id": 2, "warehouse_id": warehouse, "quantity": 5}
    assert (await service.post("/api/inventory/receive", received)).status_code == 200
    shown = (await service.get(f"/api/products/{shirt}")).json()
    assert [
        (row["id"], row["sku"], row["options"], row["total_stock"]) for row in shown["variants"]
    ] == [
        (2, "SHIRT-M", [{"name": "Size", "value": "M"}], 5),
        (3, "SHIRT-L", [{"name": "Size", "value": "L"}], 0),
    ]
    variant = (await service.get("/api/products/3")).json()
    assert (variant["variant_of"], variant["variants"], variant["backorders"]) == (1, [], True)
    refused = await service.call("DELETE", f"/api/products/{shirt}")
    assert (refused.status_code, refused.json()["code"]) == (409, "product_has_variants")
    tracked = {**product("SHIRT-M", variant_of=shirt), "tracking_type": "batch"}
    refused = await service.call("PUT", "/api/products/2", tracked)
    assert (refused.status_code, refused.json()["field"]) == (409, "tracking_type")


async def test_variants_made_in_one_batch_are_seen_by_what_follows_them(service: Service) -> None:
    """What a group of commands adds and takes away counts before any of it is in a table."""
    await service.post("/api/products", product("A"))

    def command(kind: str, **data: Any) -> dict[str, Any]:
        return {"type": kind, "data": data}

    reply = await service.post(
        "/api/ledger/commands",
        {
            "mode": "independent",
            "commands": [
                command("RegisterProduct", **product("B", variant_of=1)),
                command("DiscontinueProduct", product_id=1),
                command("DiscontinueProduct", product_id=2),
                command("DiscontinueProduct", product_id=1),
            ],
        },
    )
    results = reply.json()["results"]
    assert [result["status"] for result in results] == [
        "accepted",
        "refused",
        "accepted",
        "accepted",
    ]
    assert results[1]["problem"]["code"] == "product_has_variants"


async def test_suppliers_are_kept(service: Service) -> None:
    """Listed and searched, shown with a version, replaced, and unique by code."""
    for body in (
        {"name": "Hillside", "code": "HILL", "lead_time_days": 7},
        {"name": "Kiln & Anvil", "code": "KILN"},
    ):
        assert (await service.post("/api/suppliers", body)).status_code == 201
    assert (await service.post("/api/products", product("A", supplier="kiln"))).status_code == 201
    found = (await service.get("/api/suppliers?search=anvil")).json()
    assert ([row["product_count"] for row in found["suppliers"]], found["total"]) == ([1], 1)
    paged = (await service.get("/api/suppliers?limit=1&page=2")).json()
    assert ([row["id"] for row in paged["suppliers"]], paged["total"]) == ([2], 2)
    shown = await service.get("/api/suppliers/1")
    assert (shown.headers["etag"], shown.json()["code"]) == ('"1"', "HILL")
    taken = await service.call("PUT", "/api/suppliers/1", {"name": "H", "code": "kiln"})
    assert (taken.status_code, taken.json()["code"]) == (409, "supplier_code_taken")
    changed = await service.call(
        "PUT", "/api/suppliers/1", {"name": "Hillside Ltd"}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.json()) == (200, {"message": "Supplier updated"})
    now = (await service.get("/api/suppliers/1")).json()
    assert (now["name"], now["code"], now["lead_time_days"], now["version"]) == (
        "Hillside Ltd",
        None,
        None,
        2,
    )
    for method, body in (("GET", None), ("PUT", {"name": "X"})):
        missing = await service.call(method, "/api/suppliers/9", body)
        assert (missing.status_code, missing.json()["error"]) == (404, "Supplier not found")
