"""Orders over HTTP: what is refused and how it is said, and that every figure follows."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from deploy.wiring import House
from projections.engine import Engine
from projections.verify import verify
from tests.support.api import Service, running_service

PASSWORD = "a password of some length"


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """A product with 10 on hand in one warehouse, and one that takes backorders, with none."""
    async with running_service(house) as service:
        await service.stocked(10)
        made = await service.post(
            "/api/products",
            {"name": "Mug", "sku": "MUG", "base_price": "8.00", "backorders": True},
        )
        assert made.status_code == 201, made.text
        yield service


async def place(shop: Service, *items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Place an order that must be taken; return the reply."""
    response = await shop.post("/api/orders", {"items": list(items), **more})
    assert response.status_code == 201, response.text
    return response.json()


async def refused(shop: Service, path: str, body: Any, **more: Any) -> dict[str, Any]:
    """Post what must be refused; return the problem, with its status."""
    response = await shop.post(path, body, **more)
    assert response.status_code >= 400, response.text
    return response.json()


async def get(shop: Service, path: str) -> Any:
    response = await shop.get(path)
    assert response.status_code == 200, response.text
    return response.json()


async def stock(shop: Service) -> dict[str, Any]:
    """Return the level of the first product."""
    return (await get(shop, "/api/inventory"))["inventory"][0]


async def proven(shop: Service) -> None:
    """Assert that every read model and every sum is what the log says."""
    owner = await asyncpg.connect(**shop.house.address.owner)
    try:
        verdict = await verify(shop.house.pool, owner, Engine(), shop.tenant_id)
    finally:
        await owner.close()
    assert verdict.ok, [check for check in verdict.checks if not check.ok]


# --- placing ----------------------------------------------------------------------------


async def test_two_lines_of_one_product_cannot_both_have_the_last(shop: Service) -> None:
    """The order is refused whole, naming the line; nothing is reserved."""
    line = {"product_id": 1, "quantity": 6}
    problem = await refused(shop, "/api/orders", {"items": [line, line]})
    assert (problem["status"], problem["code"]) == (409, "insufficient_stock")
    assert (problem["line"], problem["requested"], problem["available"]) == (1, "6", "4")
    assert (problem["sku"], problem["considered"][0]["available"]) == ("WGT-500", "10")
    assert (await stock(shop))["reserved_quantity"] == 0
    order = await place(shop, line, {"sku": "wgt-500", "quantity": "4"})
    assert [item["quantity_reserved"] for item in order["items"]] == [6, 4]
    assert (await stock(shop))["reserved_quantity"] == 10
    await proven(shop)


async def test_numbers_are_exact_from_json_numbers_and_texts(shop: Service) -> None:
    """0.1 is a tenth, and a price has all of its digits."""
    order = await place(shop, {"product_id": 1, "quantity": 3, "unit_price": 0.1})
    assert order["total_amount"] == "0.30"
    order = await place(shop, {"product_id": 1, "quantity": "3", "unit_price": "33.333333"})
    assert order["total_amount"] == "99.999999"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"items": []}, "items"),
    ({"items": [{"product_id": 1}]}, "items[0]"),
    ({"items": [{"product_id": 1, "quantity": 1}, {"quantity": 1}]}, "items[1]"),
    ({"items": [{"product_id": 1, "quantity": 0}]}, "items[0].quantity"),
    (
        {"items": [{"product_id": 1, "quantity": 1}, {"product_id": 1, "quantity": -1}]},
        "items[1].quantity",
    ),
    ({"items": [{"product_id": 1, "quantity": "1_0"}]}, "quantity"),
    ({"items": [{"product_id": 1, "quantity": "NaN"}]}, "items[0].quantity"),
    ({"items": [{"product_id": 1, "quantity": 0.5}]}, "items[0].quantity"),
    ({"items": [{"product_id": 1, "quantity": 1, "unit": "box"}]}, "items[0].unit"),
    ({"items": [{"product_id": 1, "quantity": 1, "unit_price": -1}]}, "items[0].unit_price"),
    ({"items": [{"product_id": 1, "quantity": 1, "colour": "red"}]}, "items[0]"),
    ({"items": [{"product_id": "1", "quantity": 1}]}, "items[0].product_id"),
    ({"items": [{"product_id": 1, "quantity": 1}], "channel": "fax"}, "channel"),
    (
        {"items": [{"product_id": 1, "quantity": 1}], "warehouse_id": 1, "location_id": 1},
        "location_id",
    ),
    (
        {"items": [{"product_id": 1, "quantity": 1}], "warehouse_id": 1, "allocation": "split"},
        "allocation",
    ),
    ({"items": [{"product_id": 1, "quantity": 1}], "shipping_address": "here"}, "shipping_address"),
    ({"items": [{"product_id": 1, "quantity": 1}], "effective_at": "2020-01-01"}, "effective_at"),
]


async def test_a_bad_field_is_named(shop: Service) -> None:
    """Each is a 400 that says which field of which item."""
    for body, field in BAD:
        problem = await refused(shop, "/api/orders", body)
        assert problem["status"] == 400, problem
        assert problem["field"] == field, problem
        assert problem["detail"].endswith(".")


async def test_what_there_is_not_is_a_404(shop: Service) -> None:
    """An unknown product, customer or warehouse, and an unknown order."""
    line = {"product_id": 1, "quantity": 1}
    for body, code in (
        ({"items": [{"product_id": 99, "quantity": 1}]}, "product_not_found"),
        ({"items": [{"sku": "NOPE", "quantity": 1}]}, "product_not_found"),
        ({"items": [line], "customer_id": 99}, "customer_not_found"),
        ({"items": [line], "warehouse_id": 99}, "location_not_found"),
        ({"items": [line], "warehouse": "NOPE"}, "location_not_found"),
    ):
        problem = await refused(shop, "/api/orders", body)
        assert (problem["status"], problem["code"]) == (404, code)
    for path in ("/fulfill", "/cancel", "/allocate", "/fulfilments/1/cancel"):
        problem = await refused(shop, f"/api/orders/99{path}", None)
        assert (problem["status"], problem["code"]) == (404, "order_not_found")
    assert (await shop.get("/api/orders/x")).status_code == 404
    assert (await shop.get("/api/orders/99/explain")).status_code == 404


async def test_an_order_takes_effect_once(shop: Service) -> None:
    """A repeated request gets the first one's answer; another body under the key is refused."""
    body = {"items": [{"product_id": 1, "quantity": 2}]}
    headers = {"Idempotency-Key": "order-1"}
    first = await shop.post("/api/orders", body, headers=headers)
    again = await shop.post("/api/orders", body, headers=headers)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["ledger-position"] == again.headers["ledger-position"]
    other = {"items": [{"product_id": 1, "quantity": 3}]}
    assert (await shop.post("/api/orders", other, headers=headers)).status_code == 422
    assert (await stock(shop))["reserved_quantity"] == 2


async def test_the_channel_is_manual_for_users_and_api_for_keys(shop: Service) -> None:
    """Unless it is given."""
    body = {"items": [{"product_id": 1, "quantity": 1}]}
    await shop.post("/api/orders", body)
    await shop.post("/api/orders", body, key=shop.api_key)
    await shop.post("/api/orders", {**body, "channel": "pos"}, key=shop.api_key)
    orders = (await get(shop, "/api/orders"))["orders"]
    assert [order["channel"] for order in orders] == ["pos", "api", "manual"]


# --- an order's life --------------------------------------------------------------------


async def test_every_figure_of_an_order_follows_what_happens_to_it(shop: Service) -> None:
    """Backorder, allocation, fulfilment and its cancellation, cancelled items, a return."""
    order = await place(shop, {"sku": "MUG", "quantity": 5}, {"product_id": 1, "quantity": 2})
    mugs = order["items"][0]["id"]

    async def figures() -> tuple[str, tuple[int, ...]]:
        shown = await get(shop, "/api/orders/1")
        names = ("open", "reserved", "fulfilled", "cancelled", "returned")
        line = shown["items"][0]
        assert line["quantity"] == sum(line[f"quantity_{name}"] for name in names[:4])
        assert sum(place["quantity"] for place in line["reserved_at"]) == line["quantity_reserved"]
        return shown["status"], tuple(line[f"quantity_{name}"] for name in names)

    assert await figures() == ("pending", (5, 0, 0, 0, 0))
    problem = (await shop.call("PATCH", "/api/orders/1/status", {"status": "fulfilled"})).json()
    assert problem["code"] == "order_has_open_lines"
    assert problem["open_lines"] == [{"order_item_id": mugs, "open": "5"}]
    none = (await shop.post("/api/orders/1/allocate")).json()
    assert (none["message"], none["items"]) == ("Nothing to allocate", [])
    received = {"product_id": 2, "warehouse_id": 1, "quantity": 4}
    assert (await shop.post("/api/inventory/receive", received)).status_code == 200
    some = (await shop.post("/api/orders/1/allocate")).json()
    assert [(item["order_item_id"], item["quantity"]) for item in some["items"]] == [(mugs, 4)]
    assert await figures() == ("pending", (1, 4, 0, 0, 0))
    item = {"order_item_id": mugs, "quantity_fulfilled": 5}
    problem = await refused(shop, "/api/orders/1/fulfill", {"items": [item]})
    assert (problem["code"], problem["reserved"]) == ("order_line_not_reserved", "4")
    done = await shop.post("/api/orders/1/fulfill", {"items": [{**item, "quantity_fulfilled": 3}]})
    assert done.json()["order_status"] == "fulfilling"
    assert await figures() == ("fulfilling", (1, 1, 3, 0, 0))
    back = (await shop.post("/api/orders/1/fulfilments/1/cancel")).json()
    assert [(item["warehouse_id"], item["quantity"]) for item in back["items"]] == [(1, 3)]
    assert await figures() == ("fulfilling", (1, 4, 0, 0, 0))
    done = await shop.post("/api/orders/1/fulfill", {"items": [{**item, "quantity_fulfilled": 2}]})
    assert done.json()["fulfilment"] == 2
    cancelled = {"items": [{"order_item_id": mugs, "quantity": 2}], "reason": "too many"}
    answer = (await shop.post("/api/orders/1/cancel", cancelled)).json()
    assert answer["items"] == [{"order_item_id": mugs, "quantity": 2}]
    assert await figures() == ("fulfilling", (0, 1, 2, 2, 0))
    done = (await shop.call("PATCH", "/api/orders/1/status", {"status": "fulfilled"})).json()
    assert done["status"] == "fulfilled"
    assert await figures() == ("fulfilled", (0, 0, 3, 2, 0))
    await shop.call("PATCH", "/api/orders/1/status", {"status": "shipped"})
    back = {"items": [{"order_item_id": mugs, "quantity": 1}], "reason": "chipped"}
    returned = await shop.post("/api/orders/1/returns", back)
    assert (returned.status_code, returned.json()["return_number"]) == (201, 1)
    assert await figures() == ("shipped", (0, 0, 3, 2, 1))
    shown = await get(shop, "/api/orders/1")
    assert (shown["total_amount"], shown["cancelled_amount"]) == ("139.98", "16.00")
    assert [(row["reference"], row["is_cancelled"]) for row in shown["fulfilments"]] == [
        ("ORD-1/1", True),
        ("ORD-1/2", False),
        ("ORD-1/3", False),
    ]
    assert shown["returns"][0]["reason"] == "chipped"
    await proven(shop)


async def test_an_illegal_transition_lists_the_legal_ones(shop: Service) -> None:
    """409, with allowed; and the status it has is no error."""
    await place(shop, {"product_id": 1, "quantity": 1})
    answer = await shop.call("PATCH", "/api/orders/1/status", {"status": "shipped"})
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_transition")
    assert answer.json()["allowed"] == ["paid", "fulfilling", "fulfilled", "cancelled"]
    assert answer.json()["order_status"] == "pending"
    answer = await shop.call("PATCH", "/api/orders/1/status", {"status": "pending"})
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    answer = await shop.call("PATCH", "/api/orders/1/status", {"status": "lost"})
    assert (answer.status_code, answer.json()["field"]) == (400, "status")


async def test_if_match_holds_an_order_to_a_version(shop: Service) -> None:
    """A second writer that read the same version is told."""
    await place(shop, {"product_id": 1, "quantity": 1})
    version = (await shop.get("/api/orders/1")).headers["etag"]
    headers = {"If-Match": version}
    paid = await shop.call("PATCH", "/api/orders/1/status", {"status": "paid"}, headers=headers)
    assert paid.status_code == 200
    late = await shop.post("/api/orders/1/cancel", None, headers=headers)
    assert (late.status_code, late.json()["code"]) == (412, "version_conflict")


async def test_a_clients_reservation_cannot_pass_for_an_orders(shop: Service) -> None:
    """Names that begin with order: are the orders' own."""
    order = await place(shop, {"product_id": 1, "quantity": 2})
    hold = f"order:{order['items'][0]['id']}"
    place_of = {"product_id": 1, "warehouse_id": 1}
    made = await shop.post("/api/inventory/reservations", {**place_of, "quantity": 1,
                           "reservation_id": hold})  # fmt: skip
    assert made.status_code in (404, 409), made.text
    command = {"type": "ReleaseReservation", "data": {"product_id": 1, "location_id": 1,
               "reservation_id": hold}}  # fmt: skip
    answer = (await shop.post("/api/ledger/commands", {"commands": [command]})).json()
    assert answer["results"][0]["problem"]["code"] == "reservation_is_an_orders"
    assert (await stock(shop))["reserved_quantity"] == 2


# --- who may do what --------------------------------------------------------------------


async def test_staff_place_orders_and_managers_let_goods_go(shop: Service) -> None:
    """Becoming fulfilled is fulfilling, by whichever route."""
    email = "staff@example.com"
    user = {"name": "Sam", "email": email, "password": PASSWORD, "role": "staff"}
    assert (await shop.post("/api/users", user)).status_code == 201
    login = await shop.client.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    headers = {"Authorization": f"Bearer {login.json()['token']}"}
    body = {"items": [{"product_id": 1, "quantity": 1}]}
    assert (await shop.post("/api/orders", body, headers=headers)).status_code == 201
    for path in ("/fulfill", "/returns", "/fulfilments/1/cancel"):
        answer = await shop.post(f"/api/orders/1{path}", {}, headers=headers)
        assert answer.status_code == 403, path
    path = "/api/orders/1/status"
    answer = await shop.call("PATCH", path, {"status": "fulfilled"}, headers=headers)
    assert answer.status_code == 403
    answer = await shop.call("PATCH", path, {"status": "paid"}, headers=headers)
    assert answer.status_code == 200


async def test_a_key_needs_its_scope(shop: Service) -> None:
    """A key that only reads places no order, on either API."""
    made = await shop.post("/api/api-keys", {"name": "reader", "permissions": ["read"]})
    key = made.json()["key"]
    body = {"items": [{"product_id": 1, "quantity": 1}]}
    for path in ("/api/orders", "/api/external/orders"):
        assert (await shop.get(path, key=key)).status_code == 200
        assert (await shop.post(path, body, key=key)).status_code == 403


# --- lists ------------------------------------------------------------------------------


async def test_lists_filter_search_and_page(shop: Service) -> None:
    """By status, customer, day and number; by page and by cursor."""
    await shop.post("/api/customers", {"name": "Acme"})
    line = {"sku": "MUG", "quantity": 1}
    await place(shop, line, customer_id=1)
    await place(shop, line, effective_at="2024-05-06T23:30:00Z")
    await place(shop, line, customer_id=1, effective_at="2024-05-07T00:30:00Z")
    await shop.call("PATCH", "/api/orders/3/status", {"status": "cancelled"})

    async def ids(parameters: str) -> list[int]:
        listed = await get(shop, f"/api/orders?{parameters}")
        assert listed["total"] == len(listed["orders"])
        return [order["id"] for order in listed["orders"]]

    assert await ids("") == [3, 2, 1]
    assert await ids("status=cancelled") == [3]
    assert await ids("customer_id=1") == [3, 1]
    assert await ids("from=2024-05-06&to=2024-05-06") == [2]
    assert await ids("from=2024-05-07&to=2024-05-07") == [3]
    assert await ids("to=2024-12-31") == [3, 2]
    assert await ids("search=ord-2") == [2]
    assert await ids("search=2") == [2]
    assert await ids("search=ORD-22") == []
    assert await ids("search=red") == []
    first = await get(shop, "/api/orders?limit=2")
    assert [order["id"] for order in first["orders"]] == [3, 2]
    rest = await get(shop, f"/api/orders?limit=2&cursor={first['next_cursor']}")
    assert ([order["id"] for order in rest["orders"]], rest["next_cursor"]) == ([1], None)
    second = await get(shop, "/api/orders?limit=2&page=2")
    assert [order["id"] for order in second["orders"]] == [1]
    for wrong, field in (
        ("status=lost", "status"),
        ("from=2024-02-30", "from"),
        ("from=2024-02-02&to=2024-02-01", "to"),
        ("limit=201", "limit"),
        ("customer_id=x", "customer_id"),
        ("cursor=x", "cursor"),
    ):
        answer = await shop.get(f"/api/orders?{wrong}")
        assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_day_is_one_of_the_books_zone(shop: Service) -> None:
    """An order of half past eleven at night in London is the next day's in Sydney."""
    await place(shop, {"sku": "MUG", "quantity": 1}, effective_at="2024-04-30T22:30:00Z")
    path = "/api/orders?from=2024-05-01&to=2024-05-01"
    assert (await get(shop, path))["total"] == 0
    assert (await get(shop, "/api/orders/stats?period=2024-04"))["total_orders"] == 1
    command = {"type": "ConfigureBooks", "data": {"time_zone": "Australia/Sydney"}}
    answer = await shop.post("/api/ledger/commands", {"commands": [command]})
    assert answer.json()["results"][0]["status"] == "accepted", answer.text
    assert (await get(shop, path))["total"] == 1
    stats = await get(shop, "/api/orders/stats?period=2024-05")
    assert (stats["total_orders"], stats["time_zone"]) == (1, "Australia/Sydney")


async def test_statistics_leave_out_what_is_cancelled(shop: Service) -> None:
    """A cancelled order is no order, a cancelled item no revenue; the average is to the cent."""
    first = await place(shop, {"product_id": 1, "quantity": 4, "unit_price": "10.00"})
    await place(shop, {"product_id": 1, "quantity": 1, "unit_price": "0.01"})
    await place(shop, {"product_id": 1, "quantity": 5, "unit_price": "100.00"})
    await shop.call("PATCH", "/api/orders/3/status", {"status": "cancelled"})
    item = {"order_item_id": first["items"][0]["id"], "quantity": 1}
    await shop.post("/api/orders/1/cancel", {"items": [item]})
    await shop.call("PATCH", "/api/orders/2/status", {"status": "paid"})
    stats = await get(shop, "/api/orders/stats")
    assert (stats["total_orders"], stats["cancelled_orders"]) == (2, 1)
    assert (stats["total_revenue"], stats["avg_order_value"]) == ("30.01", "15.01")
    assert stats["by_status"] == {
        "pending": 1,
        "paid": 1,
        "fulfilling": 0,
        "fulfilled": 0,
        "shipped": 0,
    }
    for wrong in ("2024-13", "2024", "9999-12", "2024-1"):
        answer = await shop.get(f"/api/orders/stats?period={wrong}")
        assert (answer.status_code, answer.json()["field"]) == (400, "period")


async def test_the_export_is_filtered_and_no_formula(shop: Service) -> None:
    """Cells that a spreadsheet would calculate begin with an apostrophe."""
    line = {"product_id": 1, "quantity": 1}
    await place(shop, line, reference='=HYPERLINK("http://x")')
    await place(shop, line)
    await shop.call("PATCH", "/api/orders/2/status", {"status": "cancelled"})
    answer = await shop.get("/api/orders/export?status=pending")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["order_number"] for row in rows] == ["ORD-1"]
    assert rows[0]["reference"] == '\'=HYPERLINK("http://x")'
    assert (await shop.get("/api/orders/export?status=lost")).status_code == 400


# --- the past, and why ------------------------------------------------------------------


async def test_orders_of_years_ago_are_replayed_in_their_order(shop: Service) -> None:
    """Received, ordered, fulfilled, shipped and returned by the days of the past."""
    received = {"product_id": 2, "warehouse_id": 1, "quantity": 9,
                "effective_at": "1997-01-02T08:00:00Z"}  # fmt: skip
    await shop.post("/api/inventory/receive", received)
    for day in range(3, 6):
        await place(shop, {"sku": "MUG", "quantity": 4}, effective_at=f"1997-01-0{day}T09:00:00Z")
    for order_id, day in ((1, 10), (2, 11)):
        body = {"effective_at": f"1997-01-{day}T09:00:00Z"}
        answer = await shop.post(f"/api/orders/{order_id}/fulfill", body)
        assert answer.status_code == 200, answer.text
    early = await refused(shop, "/api/orders/3/fulfill", {"effective_at": "1997-01-05T08:59:00Z"})
    assert (early["status"], early["field"]) == (400, "effective_at")
    shown = await get(shop, "/api/orders/3")
    assert shown["created_at"] == "1997-01-05T09:00:00Z"
    assert (shown["items"][0]["quantity_reserved"], shown["items"][0]["quantity_open"]) == (1, 3)
    level = await get(shop, "/api/stock/MUG?as_of=1997-01-10T12:00:00Z")
    assert level["on_hand"] == 5
    await proven(shop)


async def test_the_decision_is_explained_as_it_was_taken(shop: Service) -> None:
    """What was looked at and chosen stays, whatever has happened since."""
    await shop.post("/api/warehouses", {"name": "Melbourne", "code": "MEL"})
    received = {"product_id": 1, "warehouse_id": 2, "quantity": 7}
    await shop.post("/api/inventory/receive", received)
    await place(shop, {"product_id": 1, "quantity": 12}, allocation="split")
    await shop.post("/api/orders/1/cancel")
    why = await get(shop, "/api/orders/1/explain")
    assert (why["allocation"], why["warehouse_id"]) == ("split", None)
    assert [(place["warehouse_name"], place["available"]) for place in why["considered"]] == [
        ("Sydney", 10),
        ("Melbourne", 7),
    ]
    (item,) = why["items"]
    assert item["reserved_at"] == [
        {"warehouse_id": 1, "quantity": 10},
        {"warehouse_id": 2, "quantity": 2},
    ]
    assert (item["price_source"], item["unit_price"]) == ("list", "49.99")


async def test_a_price_tier_prices_the_lines_of_its_customers(shop: Service) -> None:
    """By the quantity of the line."""
    tier = {"name": "B2B", "discount_percent": 10,
            "prices": [{"product_id": 1, "unit_price": "40.00", "min_quantity": 5}]}  # fmt: skip
    made = await shop.post("/api/customers/price-tiers", tier)
    assert made.status_code == 201, made.text
    customer = {"name": "Acme", "price_tier_id": made.json()["id"]}
    assert (await shop.post("/api/customers", customer)).status_code == 201
    order = await place(
        shop,
        {"product_id": 1, "quantity": 5},
        {"product_id": 1, "quantity": 4},
        {"product_id": 1, "quantity": 1, "unit_price": 1},
        customer_id=1,
    )
    assert [item["unit_price"] for item in order["items"]] == ["40.00", "44.991", "1.00"]


async def test_a_split_order_waits_for_goods_at_any_location(shop: Service) -> None:
    """Also at one that was opened after it was placed; the order is fulfilled from there."""
    placed = await place(shop, {"sku": "MUG", "quantity": 5}, allocation="split")
    opened = await shop.post("/api/warehouses", {"name": "Perth", "code": "PER"})
    assert opened.status_code == 201, opened.text
    received = await shop.post(
        "/api/inventory/receive",
        {"product_id": 2, "warehouse_id": opened.json()["id"], "quantity": 5},
    )
    assert received.status_code == 200, received.text
    answer = await shop.post(f"/api/orders/{placed['id']}/allocate")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Stock allocated"
    fulfilled = await shop.post(f"/api/orders/{placed['id']}/fulfill")
    assert fulfilled.status_code == 200, fulfilled.text
    assert (await get(shop, f"/api/orders/{placed['id']}"))["status"] == "fulfilled"
    levels = (await get(shop, "/api/inventory?product_id=2"))["inventory"]
    assert [(level["warehouse_id"], level["quantity"]) for level in levels] == [
        (opened.json()["id"], 0)
    ]
    await proven(shop)
