"""The examples of seed 003 about categories, products in full and suppliers, field by field."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

WIDGET: dict[str, Any] = {
    "name": "Widget Pro 500",
    "sku": "WGT-500",
    "base_price": 49.99,
    "cost_price": 18.00,
    "compare_at_price": "59.99",
    "barcode": "9312345678901",
    "vendor": "WidgetCo",
    "description": "Heavy-duty widget with 500N load rating.",
    "category_id": 3,
    "weight": "0.450",
    "images": [{"url": "/uploads/products/wgt500.jpg"}, {"url": "/uploads/products/back.jpg"}],
    "supplier_id": 1,
}
FASTENERS_PRO: dict[str, Any] = {
    "name": "FastenersPro Pty Ltd",
    "email": "orders@fastenerspro.com.au",
    "phone": "+61 3 9000 1234",
    "payment_terms": "Net 30",
    "lead_time_days": 7,
}


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """The document's categories, supplier and product."""
    async with running_service(house) as service:
        for path, body in (
            ("/api/products/categories", {"name": "Fasteners"}),
            ("/api/products/categories", {"name": "Bolts", "parent_id": 1}),
            ("/api/products/categories", {"name": "Hardware"}),
            ("/api/suppliers", FASTENERS_PRO),
            ("/api/products", WIDGET),
        ):
            response = await service.post(path, body)
            assert response.status_code == 201, response.text
        yield service


async def test_categories_are_listed_as_documented(shop: Service) -> None:
    """Flat, with their parents and how many products are in each."""
    listed = (await shop.get("/api/products/categories")).json()
    example = [
        {"id": 1, "name": "Fasteners", "parent_id": None, "product_count": 0},
        {"id": 2, "name": "Bolts", "parent_id": 1, "product_count": 0},
        {"id": 3, "name": "Hardware", "parent_id": None, "product_count": 1},
    ]
    assert_like(listed, {"categories": example})
    assert [{name: row[name] for name in example[0]} for row in listed["categories"]] == example


async def test_products_are_listed_with_the_names_of_their_categories(shop: Service) -> None:
    """The document's row, in which nothing is null."""
    listed = (await shop.get("/api/products?category=3")).json()
    assert_like(
        listed,
        {
            "products": [
                {
                    "id": 7,
                    "name": "Widget Pro 500",
                    "sku": "WGT-500",
                    "base_price": "49.99",
                    "cost_price": "18.00",
                    "barcode": "9312345678901",
                    "vendor": "WidgetCo",
                    "category_id": 3,
                    "category_name": "Hardware",
                    "tracking_type": "batch",
                    "is_active": True,
                    "total_stock": 320,
                }
            ],
            "total": 48,
            "page": 1,
            "limit": 50,
        },
    )
    assert listed["products"][0]["category_name"] == "Hardware"
    assert (await shop.get("/api/products?category=1")).json()["total"] == 0


async def test_a_product_is_shown_as_documented(shop: Service) -> None:
    """With its images, of which the first is the primary, and its variants."""
    variant = {
        **WIDGET,
        "sku": "WGT-500-R",
        "variant_of": 1,
        "options": [{"name": "Colour", "value": "Red"}],
    }
    assert (await shop.post("/api/products", variant)).status_code == 201
    shown = (await shop.get("/api/products/1")).json()
    assert_like(
        shown,
        {
            "id": 7,
            "name": "Widget Pro 500",
            "sku": "WGT-500",
            "base_price": "49.99",
            "cost_price": "18.00",
            "compare_at_price": "59.99",
            "barcode": "9312345678901",
            "vendor": "WidgetCo",
            "description": "Heavy-duty widget with 500N load rating.",
            "category_id": 3,
            "tracking_type": "batch",
            "weight": "0.450",
            "taxable": True,
            "requires_shipping": True,
            "is_active": True,
            "images": [{"id": 12, "url": "/uploads/products/wgt500.jpg", "is_primary": True}],
            "stock": [],
            "created_at": "2025-11-03T08:14:22Z",
            "variants": [
                {
                    "id": 8,
                    "sku": "WGT-500-R",
                    "name": "Widget Pro 500",
                    "base_price": "49.99",
                    "options": [{"name": "Colour", "value": "Red"}],
                    "is_active": True,
                    "total_stock": 0,
                }
            ],
        },
    )
    assert shown["images"] == [
        {"id": 1001, "url": "/uploads/products/wgt500.jpg", "is_primary": True},
        {"id": 1002, "url": "/uploads/products/back.jpg", "is_primary": False},
    ]
    assert (shown["category_name"], shown["supplier_name"]) == ("Hardware", FASTENERS_PRO["name"])
    assert [(one["id"], one["options"]) for one in shown["variants"]] == [(2, variant["options"])]
    assert (await shop.get("/api/products/2")).json()["variant_of"] == 1


async def test_updating_a_product_replaces_all_that_is_said_of_it(shop: Service) -> None:
    """What the body leaves out is gone; the document: "full replacement of product fields"."""
    body = {"name": "Widget", "sku": "WGT-500", "base_price": "1.5"}
    updated = await shop.call("PUT", "/api/products/1", body)
    assert (updated.status_code, updated.json()) == (200, {"message": "Product updated"})
    shown = (await shop.get("/api/products/1")).json()
    left = {"category_id", "category_name", "supplier_id", "barcode", "vendor", "weight"}
    assert {shown[name] for name in left} == {None}
    assert (shown["images"], shown["base_price"], shown["cost_price"]) == ([], "1.50", None)


async def test_products_are_exported_with_all_columns(shop: Service) -> None:
    """As text/csv, as an attachment, with the category's name."""
    exported = await shop.get("/api/products/export")
    assert exported.headers["content-type"].startswith("text/csv")
    assert "attachment" in exported.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(exported.text))
    assert {
        "id": "1",
        "name": "Widget Pro 500",
        "sku": "WGT-500",
        "base_price": "49.99",
        "cost_price": "18.00",
        "compare_at_price": "59.99",
        "category_id": "3",
        "category_name": "Hardware",
        "supplier_name": "FastenersPro Pty Ltd",
        "weight": "0.45",
        "backorders": "false",
        "is_active": "true",
        "images": "/uploads/products/wgt500.jpg /uploads/products/back.jpg",
        "total_stock": "0",
    }.items() <= row.items()


async def test_suppliers_are_listed_as_documented(shop: Service) -> None:
    """With how many products name each."""
    listed = (await shop.get("/api/suppliers")).json()
    assert_like(
        listed,
        {
            "suppliers": [
                {
                    "id": 3,
                    "name": "FastenersPro Pty Ltd",
                    "email": "orders@fastenerspro.com.au",
                    "phone": "+61 3 9000 1234",
                    "payment_terms": "Net 30",
                    "lead_time_days": 7,
                    "product_count": 14,
                }
            ],
            "total": 8,
        },
    )
    assert {**FASTENERS_PRO, "product_count": 1}.items() <= listed["suppliers"][0].items()


async def test_creating_a_supplier_answers_as_documented(shop: Service) -> None:
    """201 with the document's own body."""
    body = {name: FASTENERS_PRO[name] for name in ("name", "email", "payment_terms")}
    created = await shop.post("/api/suppliers", body)
    assert created.status_code == 201
    assert_like(
        created.json(),
        {
            "id": 9,
            "name": "FastenersPro Pty Ltd",
            "email": "orders@fastenerspro.com.au",
            "payment_terms": "Net 30",
            "created_at": "2026-05-06T12:00:00Z",
        },
    )
    assert body.items() <= created.json().items()
