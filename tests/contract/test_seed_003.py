"""The examples of seed 003 (003_261f802407a223b4.txt), field by field.

What the document shows, the service answers: the same fields with values of the same type. It
may answer more. Where an example has a value, the service may have null only if it is said so.
"""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from deploy.wiring import House
from tests.support.api import OWNER_EMAIL, OWNER_PASSWORD, Service, running_service


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's shop: a product, two warehouses, stock, and a correction."""
    async with running_service(house) as service:
        await _fill(service)
        yield service


async def _fill(service: Service) -> None:
    for path, body, status in (
        ("/api/products", {**PRODUCT_BODY, **PRODUCT_MORE}, 201),
        ("/api/warehouses", {"name": "Sydney", "code": "SYD", "address": "10 Distribution Dr",
                             "city": "Ryde", "state": "NSW"}, 201),
        ("/api/warehouses", {"name": "Melbourne", "code": "MEL", "city": "Dandenong",
                             "state": "VIC"}, 201),
        ("/api/inventory/receive", {"product_id": 1, "warehouse_id": 1, "quantity": 200}, 200),
        ("/api/inventory/receive", {"product_id": 1, "warehouse_id": 2, "quantity": 20}, 200),
        ("/api/inventory/adjust", {"product_id": 1, "warehouse_id": 1, "quantity": 50,
                                   "notes": "Cycle count correction"}, 200),
    ):  # fmt: skip
        response = await service.post(path, body)
        assert response.status_code == status, response.text


PRODUCT_BODY = {
    "name": "Widget Pro 500",
    "sku": "WGT-500",
    "base_price": 49.99,
    "cost_price": 18.00,
    "tracking_type": "batch",
}
PRODUCT_MORE = {
    "tracking_type": "none",
    "compare_at_price": "59.99",
    "barcode": "9312345678901",
    "vendor": "WidgetCo",
    "description": "Heavy-duty widget with 500N load rating.",
    "weight": "0.450",
    "reorder_level": 50,
}

WAREHOUSE_STOCK = {"warehouse_id": 1, "warehouse_name": "Sydney", "quantity": 200}
READS: dict[str, dict[str, Any]] = {
    "/api/products": {
        "products": [
            {
                "id": 7,
                "name": "Widget Pro 500",
                "sku": "WGT-500",
                "base_price": "49.99",
                "cost_price": "18.00",
                "barcode": "9312345678901",
                "vendor": "WidgetCo",
                "category_id": None,
                "category_name": None,
                "tracking_type": "batch",
                "is_active": True,
                "total_stock": 320,
            }
        ],
        "total": 48,
        "page": 1,
        "limit": 50,
    },
    "/api/products/1": {
        "id": 7,
        "name": "Widget Pro 500",
        "sku": "WGT-500",
        "base_price": "49.99",
        "cost_price": "18.00",
        "compare_at_price": "59.99",
        "barcode": "9312345678901",
        "vendor": "WidgetCo",
        "description": "Heavy-duty widget with 500N load rating.",
        "category_id": None,
        "tracking_type": "batch",
        "weight": "0.450",
        "taxable": True,
        "requires_shipping": True,
        "is_active": True,
        "images": [],
        "stock": [WAREHOUSE_STOCK],
        "created_at": "2025-11-03T08:14:22Z",
    },
    "/api/inventory": {
        "inventory": [
            {
                "product_id": 7,
                "sku": "WGT-500",
                "product_name": "Widget Pro 500",
                "warehouse_id": 1,
                "warehouse_name": "Sydney",
                "quantity": 200,
                "reorder_level": 50,
                "reserved_quantity": 12,
            }
        ],
        "total": 156,
    },
    "/api/inventory/summary": {
        "total_skus": 48,
        "total_stock_value": 84320.50,
        "low_stock_count": 6,
        "out_of_stock_count": 2,
        "warehouses": 3,
    },
    "/api/inventory/alerts": {
        "alerts": [
            {
                "product_id": 14,
                "sku": "BLT-M820",
                "product_name": "Bolt M8x20",
                "warehouse_id": 1,
                "warehouse_name": "Sydney",
                "quantity": 18,
                "reorder_level": 50,
            }
        ],
        "total": 6,
    },
    "/api/inventory/movements": {
        "movements": [
            {
                "id": 309,
                "product_id": 7,
                "sku": "WGT-500",
                "movement_type": "adjustment",
                "quantity": 50,
                "warehouse_id": 1,
                "warehouse_name": "Sydney",
                "reference_id": None,
                "notes": "Cycle count correction",
                "created_by_name": "Jane Doe",
                "created_at": "2026-05-05T14:30:00Z",
            }
        ],
        "total": 1240,
    },
    "/api/warehouses": {
        "warehouses": [
            {
                "id": 1,
                "name": "Sydney Warehouse",
                "code": "SYD",
                "address": "10 Distribution Dr",
                "city": "Ryde",
                "state": "NSW",
                "is_default": True,
                "total_skus": 48,
                "total_value": "62400.00",
            }
        ]
    },
    "/api/api-keys": {
        "api_keys": [
            {
                "id": 3,
                "name": "Shopify Connector",
                "key_prefix": "iom_live_abc1",
                "permissions": ["read", "write"],
                "last_used_at": None,
                "expires_at": None,
                "is_active": True,
                "created_at": "2026-01-10T00:00:00Z",
            }
        ]
    },
}
EXTERNAL_READS: dict[str, dict[str, Any]] = {
    "/api/external/products": {
        "products": [
            {
                "id": 7,
                "name": "Widget Pro 500",
                "sku": "WGT-500",
                "price": "49.99",
                "barcode": "9312345678901",
                "vendor": "WidgetCo",
                "total_stock": 320,
                "is_active": True,
            }
        ],
        "total": 48,
    },
    "/api/external/products/WGT-500": {
        "id": 7,
        "name": "Widget Pro 500",
        "sku": "WGT-500",
        "price": "49.99",
        "barcode": "9312345678901",
        "stock": [WAREHOUSE_STOCK],
    },
    "/api/external/inventory": {
        "inventory": [{**WAREHOUSE_STOCK, "product_id": 7, "sku": "A", "product_name": "B"}],
        "total": 156,
    },
}


def assert_like(actual: Any, example: Any, path: str = "$") -> None:
    """Assert that all of an example's fields are there, with values of its types."""
    if isinstance(example, dict):
        assert isinstance(actual, dict), path
        for name, value in cast(dict[str, Any], example).items():
            assert name in actual, f"{path}.{name} is missing"
            assert_like(actual[name], value, f"{path}.{name}")
    elif isinstance(example, list):
        assert isinstance(actual, list), path
        items = cast(list[Any], actual)
        for index, value in enumerate(cast(list[Any], example)):
            assert len(items) > index, f"{path} is too short"
            assert_like(items[index], value, f"{path}[{index}]")
    elif isinstance(example, bool) or example is None:
        assert isinstance(actual, type(example)), f"{path}: {actual!r}"
    elif isinstance(example, int | float):
        assert isinstance(actual, int | float), f"{path}: {actual!r}"
        assert not isinstance(actual, bool), f"{path}: {actual!r}"
    else:
        assert isinstance(actual, type(example)), f"{path}: {actual!r}"
        if example.endswith("Z") and example[:2] == "20":
            assert actual.endswith("Z"), f"{path}: {actual!r}"


async def test_every_read_has_the_documents_fields_and_types(shop: Service) -> None:
    """Products, inventory, warehouses and keys, as a user."""
    for path, example in READS.items():
        if path == "/api/inventory/movements":
            path = f"{path}?warehouse_id=1"
        response = await shop.get(path)
        assert response.status_code == 200, response.text
        assert_like(response.json(), example, path)


async def test_every_external_read_has_the_documents_fields_and_types(shop: Service) -> None:
    """With an API key."""
    for path, example in EXTERNAL_READS.items():
        response = await shop.get(path, key=shop.api_key)
        assert response.status_code == 200, response.text
        assert_like(response.json(), example, path)


async def test_figures_and_money_come_out_as_they_went_in(shop: Service) -> None:
    """Money as text with its decimals, quantities as numbers."""
    product = (await shop.get("/api/products/1")).json()
    assert product["base_price"] == "49.99"
    assert product["cost_price"] == "18.00"
    assert product["weight"] == "0.45"
    assert [level["quantity"] for level in product["stock"]] == [250, 20]
    summary = (await shop.get("/api/inventory/summary")).json()
    assert summary["total_stock_value"] == 270 * 18
    assert summary["low_stock_count"] == 1


async def test_creating_a_product_answers_as_documented(shop: Service) -> None:
    """The document's own body; the second one meets the document's own error."""
    body = {**PRODUCT_BODY, "sku": "WGT-501"}
    created = await shop.post("/api/products", body)
    assert created.status_code == 201
    assert_like(
        created.json(),
        {
            "id": 52,
            "name": "Widget Pro 500",
            "sku": "WGT-500",
            "base_price": "49.99",
            "cost_price": "18.00",
            "tracking_type": "batch",
            "is_active": True,
            "created_at": "2026-05-06T11:22:05Z",
        },
    )
    taken = await shop.post("/api/products", body)
    assert taken.status_code == 409
    assert taken.json()["error"] == "SKU already exists for this tenant"


async def test_updating_and_deleting_a_product_answer_as_documented(shop: Service) -> None:
    """Messages word for word."""
    product_id = (await shop.post("/api/products", {**PRODUCT_BODY, "sku": "X"})).json()["id"]
    updated = await shop.call("PUT", f"/api/products/{product_id}", {**PRODUCT_BODY, "sku": "Y"})
    assert (updated.status_code, updated.json()) == (200, {"message": "Product updated"})
    deleted = await shop.call("DELETE", f"/api/products/{product_id}")
    assert (deleted.status_code, deleted.json()) == (200, {"message": "Product deleted"})
    assert (await shop.get(f"/api/products/{product_id}")).status_code == 404


async def test_adjusting_and_transferring_answer_as_documented(shop: Service) -> None:
    """Seed 003's two writes to stock."""
    adjusted = await shop.post(
        "/api/inventory/adjust", {"product_id": 1, "warehouse_id": 2, "quantity": -5}
    )
    assert adjusted.json() == {"message": "Inventory adjusted", "new_quantity": 15}
    transferred = await shop.post(
        "/api/inventory/transfer",
        {"product_id": 1, "from_warehouse_id": 1, "to_warehouse_id": 2, "quantity": 30},
    )
    assert transferred.json() == {"message": "Transfer complete", "quantity": 30}


async def test_syncing_answers_as_documented(shop: Service) -> None:
    """Absolute quantities; what is unknown is skipped, and told of."""
    items = [
        {"sku": "WGT-500", "warehouse_id": 1, "quantity": 7},
        {"sku": "WGT-500", "warehouse_id": 2, "quantity": 20},
        {"sku": "NONE", "warehouse_id": 1, "quantity": 1},
    ]
    for body in ({"inventory": items}, items):
        synced = await shop.post("/api/external/inventory/sync", body, key=shop.api_key)
        assert synced.status_code == 200
        reply = synced.json()
        assert (reply["message"], reply["updated"], reply["skipped"]) == ("Inventory synced", 2, 1)


async def test_keys_are_created_and_revoked_as_documented(shop: Service) -> None:
    """The key is shown once, works, and is refused from its revocation on."""
    created = await shop.post(
        "/api/api-keys", {"name": "Shopify Connector", "permissions": ["read", "write"]}
    )
    assert created.status_code == 201
    key = created.json()
    assert_like(
        key,
        {
            "id": 4,
            "name": "Shopify Connector",
            "key": "iom_live_abc123xyz789fullkeyshownonce",
            "permissions": ["read", "write"],
            "expires_at": None,
            "created_at": "2026-05-06T12:45:00Z",
        },
    )
    assert (await shop.get("/api/external/products", key=key["key"])).status_code == 200
    revoked = await shop.call("DELETE", f"/api/api-keys/{key['id']}")
    assert revoked.json() == {"message": "API key revoked"}
    for method, path in (("GET", "/api/external/products"), ("POST", "/api/inventory/adjust")):
        body = {"product_id": 1, "warehouse_id": 1, "quantity": 1} if method == "POST" else None
        refused = await shop.call(method, path, body, key=key["key"])
        assert refused.status_code == 401, path


async def test_signing_in_gives_a_token(shop: Service) -> None:
    """And a wrong password gives a 401 with an error."""
    login = await shop.client.post(
        "/api/auth/login", json={"email": OWNER_EMAIL.upper(), "password": OWNER_PASSWORD}
    )
    assert_like(login.json(), {"token": "eyJhbGci..."})
    wrong = await shop.client.post(
        "/api/auth/login", json={"email": OWNER_EMAIL, "password": "wrong"}
    )
    assert wrong.status_code == 401
    assert wrong.json()["error"] == "Invalid credentials"


async def test_lists_are_paged_as_documented(shop: Service) -> None:
    """By page and limit, with the total; and by cursor, which skips and repeats nothing."""
    for number in range(5):
        await shop.post("/api/products", {**PRODUCT_BODY, "sku": f"P{number}"})
    second = (await shop.get("/api/products?page=2&limit=2")).json()
    assert ([p["id"] for p in second["products"]], second["total"]) == ([3, 4], 6)
    ids: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await shop.get(f"/api/products?limit=2&cursor={cursor}")).json()
        ids += [product["id"] for product in page["products"]]
        cursor = page["next_cursor"]
    assert ids == [1, 2, 3, 4, 5, 6]
    assert (await shop.get("/api/products?limit=201")).status_code == 400
