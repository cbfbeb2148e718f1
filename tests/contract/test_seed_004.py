"""The WooCommerce multi-location API of seed 004 (004_1f45fa69cb158fda.txt), line by line.

The document shows paths, headers, fields, a limit and a table of errors, and no body; what the
bodies are is chosen, and `docs/guides/woocommerce.md` says it.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.woocommerce import BASE, Shop, new_shop, serving

UPDATE = "/inventory/update"
BULK = "/inventory/bulk-sync"
TEA: dict[str, Any] = {"sku": "TEA", "location_slug": "main", "stock": 5}


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A running service; each test has a tenant of its own."""
    async with serving(postgres, tmp_path_factory.mktemp("woocommerce")) as service:
        yield service


@pytest.fixture
async def shop(service: Service) -> Shop:
    """The shop of the tests."""
    return await new_shop(service)


def is_error(response: Any, status: int, code: str, words: str) -> dict[str, Any]:
    """Assert WordPress's error shape; return the body."""
    body = response.json()
    assert (response.status_code, body["code"], body["data"]["status"]) == (status, code, status)
    assert body["message"].startswith(words), body
    assert response.headers["content-type"].startswith("application/json")
    return body


# --- the table of endpoints ---------------------------------------------------------------


async def test_the_six_endpoints_are_where_the_document_has_them(shop: Shop) -> None:
    """Each takes its method and its credential, and answers that it was done."""
    answers = [
        await shop.send(BULK, {"items": [TEA]}),
        await shop.send(UPDATE, TEA),
        await shop.send("/inventory/export", method="GET"),
        await shop.push(TEA),
        await shop.send("/locations", method="GET"),
        await shop.send("/products", method="GET"),
    ]

    assert [(answer.status_code, answer.json()["success"]) for answer in answers] == [
        (200, True)
    ] * 6


NAMES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"product_id": 1}, {"location_id": 1}),
    ({"product_id": "1"}, {"location_id": "1"}),
    ({"sku": "TEA"}, {"location_slug": "main"}),
    ({"sku": " tea "}, {"location_slug": "MAIN"}),
    ({"product_id": 1, "sku": "TEA"}, {"location_id": 1, "location_slug": "main"}),
    ({"product_id": 0, "sku": "TEA"}, {"location_id": "", "location_slug": "main"}),
    ({"product_id": None, "sku": "TEA"}, {"location_id": None, "location_slug": "main"}),
]


async def test_a_product_is_named_by_id_or_sku_and_a_location_by_id_or_slug(shop: Shop) -> None:
    """In whichever way, it is the one item at the one place."""
    for count, (product, place) in enumerate(NAMES):
        response = await shop.send(UPDATE, {**product, **place, "stock": f"7.{count + 1}"})

        assert response.json() == {
            "success": True,
            "status": "updated",
            "product_id": 1,
            "sku": "TEA",
            "location_id": 1,
            "location_slug": "main",
            "stock": float(f"7.{count + 1}"),
        }, (product, place)
    assert await shop.stock(1) == 7.7


async def test_every_field_of_the_table_is_kept_per_location(shop: Shop) -> None:
    """Stock, both prices, backorders and disabled; the other location stays as it was."""
    item = {**TEA, "regular_price": "3.10", "sale_price": 2.95} | {
        "backorders": "notify",
        "disabled": True,
    }

    response = await shop.send(UPDATE, item)

    assert response.status_code == 200, response.text
    kept = await shop.listing(1)
    assert kept["regular_price"] == "3.10"
    assert kept["sale_price"] == "2.95"
    assert (kept["backorders"], kept["disabled"]) == (True, True)
    assert await shop.stock(1) == 5
    assert await shop.listing(1, 2) is None
    assert await shop.stock(1, 2) is None


async def test_what_an_item_leaves_out_stays_and_null_is_as_the_product_has_it(shop: Shop) -> None:
    """A price alone moves no stock; stock alone changes no price; null takes a price away."""
    listed = {**TEA, "regular_price": "3.10", "sale_price": "2.95", "backorders": "no"}
    await shop.send(UPDATE, listed)
    place = {"sku": "TEA", "location_slug": "main"}

    await shop.send(UPDATE, {**place, "stock": 8})
    await shop.send(UPDATE, {**place, "sale_price": ""})
    kept = await shop.listing(1)
    await shop.send(UPDATE, {**place, "regular_price": None, "backorders": ""})
    bare = await shop.listing(1)

    assert await shop.stock(1) == 8
    assert (kept["regular_price"], kept["sale_price"], kept["backorders"]) == ("3.10", None, False)
    assert (bare["regular_price"], bare["sale_price"], bare["backorders"]) == (None, None, None)


async def test_backorders_are_taken_as_woocommerce_writes_them_or_as_a_boolean(shop: Shop) -> None:
    """In any of these forms it says whether more may be ordered than there is."""
    forms: list[tuple[object, bool]] = [
        ("no", False),
        ("notify", True),
        (False, False),
        ("yes", True),
        ("0", False),
        ("Yes", True),
        (0, False),
        (True, True),
    ]
    for sent, kept in forms:
        await shop.send(UPDATE, {"sku": "TEA", "location_id": 1, "backorders": sent})

        assert (await shop.listing(1))["backorders"] is kept, sent


async def test_figures_are_exact_however_they_are_written(shop: Shop) -> None:
    """A number with digits that no binary number has, as a number and as text."""
    as_number = b'{"sku":"TEA","location_slug":"main","stock":123456789012.001}'
    as_text = b'{"sku":"TEA","location_slug":"north","stock":"123456789012.001"}'

    for body in (as_number, as_text):
        response = await shop.send(UPDATE, body)
        assert b'"stock":123456789012.001' in response.content, response.text


async def test_the_same_figure_again_is_unchanged_and_records_nothing(shop: Shop) -> None:
    """An absolute figure that is so already is no movement."""
    first = await shop.send(UPDATE, TEA)

    again = await shop.send(UPDATE, TEA)

    assert (first.json()["status"], again.json()["status"]) == ("updated", "unchanged")
    assert first.headers["ledger-position"] == again.headers["ledger-position"]


async def test_the_source_of_what_came_by_each_way_is_recorded(shop: Shop) -> None:
    """The log tells a client's update from an outside system's push."""
    await shop.send(UPDATE, TEA)
    await shop.push({**TEA, "stock": 6})

    events = (await shop.service.get("/api/ledger/events?stream=stock-1-1")).json()["events"]

    assert [event["meta"]["source"] for event in events] == ["woocommerce", "woocommerce-webhook"]


# --- the table of errors ------------------------------------------------------------------


async def test_unauthorized(shop: Shop) -> None:
    """A missing or wrong API key, at each endpoint that takes one."""
    client = shop.service.client
    for key in ("", "sl_live_1_wrong", "a" * 5000):
        headers = {"X-API-Key": key} if key else {}
        for method, path in (
            ("POST", BULK),
            ("POST", UPDATE),
            ("GET", "/inventory/export"),
            ("GET", "/locations"),
            ("GET", "/products"),
        ):
            response = await client.request(method, BASE + path, headers=headers, json=TEA)
            is_error(response, 401, "rest_unauthorized", "Unauthorized")


async def test_invalid_webhook_secret(shop: Shop) -> None:
    """A missing or wrong secret, and an API key in place of one."""
    client = shop.service.client
    path = BASE + "/webhook/inventory-update"
    key = shop.service.api_key
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"X-Webhook-Secret": "wrong"},
        {"X-Webhook-Secret": key},
        {"X-API-Key": key},
        {"X-API-Key": shop.secret},
        {"Authorization": f"Bearer {shop.secret}"},
    )
    for headers in wrong:
        response = await client.post(path, json=TEA, headers=headers)
        is_error(response, 401, "rest_invalid_webhook_secret", "Invalid webhook secret")
    assert await shop.stock(1) is None


async def test_product_not_found(shop: Shop) -> None:
    """An id or SKU that no product has, of one item and of many."""
    unknown: list[dict[str, Any]] = [
        {"product_id": 99},
        {"product_id": 10**15},
        {"product_id": 9_999_999_999_999_999},
        {"sku": "NOPE"},
        {"sku": "x" * 101},
        {"sku": "A\x00B"},
    ]
    items = [{**product, "location_slug": "main", "stock": 1} for product in unknown]

    for item in items:
        response = await shop.send(UPDATE, item)
        is_error(response, 404, "rest_product_not_found", "Product not found")
    for result in (await shop.send(BULK, items)).json()["results"]:
        assert (result["status"], result["code"]) == ("failed", "rest_product_not_found")
        assert result["message"].startswith("Product not found")


async def test_location_not_found(shop: Shop) -> None:
    """An id or slug that no location has."""
    places: list[dict[str, Any]] = [
        {"location_id": 99},
        {"location_slug": "nope"},
        {"location_slug": "x" * 51},
    ]
    for place in places:
        response = await shop.send(UPDATE, {"sku": "TEA", **place, "stock": 1})
        is_error(response, 404, "rest_location_not_found", "Location not found")


NO_FIGURES = [
    b"null",
    b'""',
    b'"abc"',
    b'"1_000"',
    b'"1,5"',
    b'" 5"',
    b'"NaN"',
    b'"Infinity"',
    b"true",
    b"[]",
    b"{}",
    b"1e400",
    b"1234567890123",
    b"0.0000001",
    b"0.0001",
    '"\uff15"'.encode(),
    b'"' + b"9" * 60 + b'"',
]


async def test_invalid_stock_value(shop: Shop) -> None:
    """Missing, no number, out of bounds, or finer than the product is counted."""
    for stock in NO_FIGURES:
        body = b'{"sku":"TEA","location_slug":"main","stock":' + stock + b"}"
        response = await shop.send(UPDATE, body)
        is_error(response, 400, "rest_invalid_stock_value", "Invalid stock value")


async def test_a_missing_stock_value_is_invalid_where_nothing_else_is_said(shop: Shop) -> None:
    """The document's cause: the stock value is missing."""
    response = await shop.send(UPDATE, {"sku": "TEA", "location_slug": "main"})

    is_error(response, 400, "rest_invalid_stock_value", "Invalid stock value. It is missing")


async def test_too_many_items(shop: Shop) -> None:
    """1,000 are taken; one more is not, and the limit is in the text."""
    item = {"sku": "TEA", "location_slug": "main"}
    many = [{**item, "stock": number} for number in range(1_001)]

    just = await shop.send(BULK, {"items": many[:1_000]})
    over = await shop.send(BULK, {"items": many})
    pushed = await shop.push(many)

    assert just.json()["updated"] == 1_000
    for response in (over, pushed):
        body = is_error(response, 400, "rest_too_many_items", "Too many items")
        assert "1000" in body["message"]
        assert body["data"]["limit"] == 1_000
    assert await shop.stock(1) == 999


# --- all other errors ---------------------------------------------------------------------


async def test_what_is_no_route_is_told_as_wordpress_tells_it(shop: Shop) -> None:
    """An unknown path, and a known one with another method."""
    for method, path in (("GET", "/nothing"), ("GET", BULK), ("DELETE", "/products")):
        response = await shop.send(path, method=method)
        body = is_error(response, 404, "rest_no_route", "No route was found matching the URL")
        assert body["data"] == {"status": 404}


async def test_a_body_that_is_no_json_is_invalid_json(shop: Shop) -> None:
    """Cut off, empty, or not UTF-8."""
    for path in (UPDATE, BULK):
        for body in (b'{"items": [', b"", b'{"items": [], "sku": "\xff"}'):
            if body.endswith(b"}") and path == BULK:
                continue
            response = await shop.send(path, body)
            is_error(response, 400, "rest_invalid_json", "Invalid JSON body passed")


async def test_a_missing_parameter_is_named(shop: Shop) -> None:
    """The items, the product, the location."""
    for path, body, name in (
        (BULK, {"rollback": "independent"}, "items"),
        (UPDATE, {"location_id": 1, "stock": 1}, "product_id"),
        (UPDATE, {"product_id": 1, "stock": 1}, "location_id"),
    ):
        response = await shop.send(path, body)
        told = is_error(
            response, 400, "rest_missing_callback_param", f"Missing parameter(s): {name}"
        )
        assert told["data"]["params"] == [name]


async def test_an_invalid_parameter_is_named(shop: Shop) -> None:
    """Whatever the field, its name and what is wrong are in the answer."""
    wrong: list[tuple[str, object]] = [
        ("product_id", "12a"),
        ("product_id", -1),
        ("product_id", 1.5),
        ("location_id", True),
        ("location_slug", ["main"]),
        ("regular_price", "free"),
        ("regular_price", -1),
        ("sale_price", "1e13"),
        ("backorders", "maybe"),
        ("disabled", "perhaps"),
    ]
    for field, value in wrong:
        place = {} if field == "location_slug" else {"location_id": 1}
        item = {"product_id": 1, **place, "stock": 1, field: value}
        response = await shop.send(UPDATE, item)
        told = is_error(response, 400, "rest_invalid_param", f"Invalid parameter(s): {field}")
        assert list(told["data"]["params"]) == [field]
    assert await shop.stock(1) is None


async def test_a_key_without_the_permission_is_forbidden(shop: Shop) -> None:
    """A reading key does not write; a webhook's key does nothing but push."""
    made = await shop.service.post("/api/api-keys", {"name": "Reader", "permissions": ["read"]})
    reader = made.json()["key"]

    for path, method, key in (
        (UPDATE, "POST", reader),
        (UPDATE, "POST", shop.secret),
        ("/locations", "GET", shop.secret),
        ("/products", "GET", shop.secret),
    ):
        response = await shop.send(path, TEA, method=method, X_API_Key=key)
        is_error(response, 403, "rest_forbidden", "This API key lacks the permission")
    for path in ("/api/products", "/api/inventory", "/api/external/products"):
        response = await shop.service.get(path, headers={"X-API-Key": shop.secret}, key=shop.secret)
        assert response.status_code == 403, path


async def test_a_webhooks_key_has_no_other_permission(shop: Shop) -> None:
    """Asked for with another, it is not made."""
    response = await shop.service.post(
        "/api/api-keys", {"name": "Both", "permissions": ["read", "webhook"]}
    )

    assert response.status_code == 400
    assert response.json()["field"] == "permissions"


async def test_other_refusals_of_the_family_have_its_shape(shop: Shop) -> None:
    """413, 415, 422 and a wrong query parameter."""
    large = await shop.send(UPDATE, b'{"sku":"' + b"x" * (17 << 20) + b'"}')
    is_error(large, 413, "rest_body_too_large", "The body is longer")
    form = await shop.send(UPDATE, b"sku=TEA", Content_Type="application/x-www-form-urlencoded")
    is_error(form, 415, "rest_unsupported_media_type", "Send the body as")
    await shop.send(UPDATE, TEA, Idempotency_Key="k-1")
    other = await shop.send(UPDATE, {**TEA, "stock": 9}, Idempotency_Key="k-1")
    is_error(other, 422, "rest_idempotency_mismatch", "")
    query = await shop.send("/products?per_page=0", method="GET")
    told = is_error(query, 400, "rest_invalid_param", "Invalid parameter(s): per_page")
    assert "per_page" in told["data"]["params"]
    token = await shop.service.client.get(
        BASE + "/products", headers={"Authorization": f"Bearer {shop.service.token}"}
    )
    is_error(token, 403, "rest_forbidden", "This resource takes an API key")


# --- variations ---------------------------------------------------------------------------


async def test_each_variation_is_an_item_of_its_own(shop: Shop) -> None:
    """By its own id, and by its own SKU."""
    await shop.send(
        BULK,
        [
            {"product_id": 3, "location_id": 1, "stock": 2},
            {"sku": "SHIRT-L", "location_id": 1, "stock": 3},
        ],
    )

    products = {row["sku"]: row for row in (await shop.get("/products"))["products"]}

    assert (products["SHIRT"]["type"], products["SHIRT"]["variations"]) == ("variable", [3, 4])
    assert (products["SHIRT-S"]["type"], products["SHIRT-S"]["parent_id"]) == ("variation", 2)
    assert products["SHIRT-L"]["attributes"] == [{"name": "Size", "value": "L"}]
    assert [products[sku]["stock"] for sku in ("SHIRT", "SHIRT-S", "SHIRT-L")] == [0, 2, 3]
    assert products["TEA"]["type"] == "simple"


async def test_the_stock_of_a_product_with_variations_is_refused(shop: Shop) -> None:
    """It belongs to the variations; its price at a location may be said."""
    names: list[dict[str, Any]] = [{"product_id": 2}, {"sku": "shirt"}]
    for price, name in enumerate(names, 1):
        item = {**name, "location_id": 1}

        alone = await shop.send(UPDATE, {**item, "stock": 5})
        among = await shop.send(
            BULK,
            [{**item, "stock": 5}, {**TEA, "stock": price}, {**item, "sale_price": price}],
        )

        is_error(alone, 409, "rest_parent_has_variations", "The product with")
        statuses = [result["status"] for result in among.json()["results"]]
        assert statuses == ["failed", "updated", "updated"]
    assert await shop.stock(2) is None


# --- reading ------------------------------------------------------------------------------


async def test_locations_have_ids_and_slugs_to_map_to(shop: Shop) -> None:
    """Those that are active."""
    await shop.service.call(
        "PUT", "/api/warehouses/2", {"name": "North", "code": "north", "is_active": False}
    )

    listed = await shop.get("/locations")

    assert listed["total"] == 1
    assert listed["locations"] == [
        {
            "id": 1,
            "name": "Main",
            "slug": "main",
            "is_default": True,
            "address": None,
            "city": None,
            "state": None,
            "postcode": None,
            "country": None,
        }
    ]


async def test_products_tell_what_is_where_and_at_what_price(shop: Shop) -> None:
    """The sale price counts before the regular one, and that before the product's."""
    await shop.send(UPDATE, {**TEA, "regular_price": 3, "sale_price": 2})
    await shop.send(UPDATE, {**TEA, "location_slug": "north", "stock": 1, "backorders": "yes"})

    response = await shop.send("/products?sku=tea", method="GET")

    assert response.headers["x-wp-total"] == response.headers["x-wp-totalpages"] == "1"
    (tea,) = response.json()["products"]
    assert (tea["stock"], tea["regular_price"], tea["backorders"]) == (6, "2.50", "no")
    assert tea["locations"] == [
        {
            "location_id": 1,
            "location_slug": "main",
            "stock": 5,
            "price": "2.00",
            "regular_price": "3.00",
            "sale_price": "2.00",
            "backorders": "no",
            "disabled": False,
        },
        {
            "location_id": 2,
            "location_slug": "north",
            "stock": 1,
            "price": "2.50",
            "regular_price": None,
            "sale_price": None,
            "backorders": "yes",
            "disabled": False,
        },
    ]


async def test_the_export_is_paged_and_can_be_held_to_a_product_or_a_location(shop: Shop) -> None:
    """Every product at every location where it ever was, or was listed."""
    items = [{"product_id": p, "location_id": w, "stock": p} for p in (1, 3) for w in (1, 2)]
    await shop.send(BULK, items)
    await shop.send(UPDATE, {"product_id": 4, "location_id": 2, "disabled": True})

    pages = [await shop.get(f"/inventory/export?per_page=2&page={page}") for page in (1, 2, 3)]
    north = await shop.get("/inventory/export?location_slug=NORTH")
    tea = await shop.get("/inventory/export?sku=tea&location_id=2")

    rows = [row for page in pages for row in page["items"]]
    assert [(row["product_id"], row["location_id"], row["stock"]) for row in rows] == [
        (1, 1, 1),
        (1, 2, 1),
        (3, 1, 3),
        (3, 2, 3),
        (4, 2, 0),
    ]
    assert (pages[0]["total"], pages[0]["total_pages"]) == (5, 3)
    assert [row["product_id"] for row in north["items"]] == [1, 3, 4]
    assert [row["location_slug"] for row in tea["items"]] == ["north"]
