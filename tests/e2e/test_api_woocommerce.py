"""The WooCommerce API over HTTP: many items at once, what comes back out, the webhook's log."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.imports.listings import ListingTranslator
from deploy.bootstrap import found_tenant
from deploy.commands.key import make_key
from projections.engine import Engine
from projections.verify import verify
from tests.support.api import Service
from tests.support.imports import Importing, records
from tests.support.postgres import TestServer
from tests.support.woocommerce import Shop, furnish, new_shop, serving

BULK = "/inventory/bulk-sync"
UPDATE = "/inventory/update"


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


def tea(stock: object, slug: str = "main", **more: Any) -> dict[str, Any]:
    return {"sku": "TEA", "location_slug": slug, "stock": stock, **more}


async def proven(shop: Shop) -> None:
    """Assert that every read model and every sum is what the log says."""
    owner = await asyncpg.connect(**shop.service.house.address.owner)
    try:
        service = shop.service
        verdict = await verify(service.house.pool, owner, Engine(), service.tenant_id)
    finally:
        await owner.close()
    assert verdict.ok, [check for check in verdict.checks if not check.ok]


# --- bulk sync ----------------------------------------------------------------------------

GOOD = tea(1)
BAD = {"sku": "NOPE", "location_slug": "main", "stock": 1}
WRONG = tea("many")


CASES: list[tuple[list[dict[str, Any]], dict[str, Any], bool]] = [
    ([GOOD, BAD], {}, True),
    ([GOOD, BAD, WRONG], {}, False),
    ([GOOD, BAD], {"rollback_percent": 49}, False),
    ([GOOD, GOOD, GOOD, BAD], {"rollback_percent": 25}, True),
    ([GOOD, GOOD, GOOD, BAD], {"rollback_percent": 24}, False),
    ([GOOD, BAD], {"rollback_percent": 0}, False),
    ([GOOD], {"rollback_percent": 0}, True),
    ([BAD, WRONG], {"rollback_percent": 100}, True),
    ([BAD, WRONG], {}, False),
    ([GOOD, GOOD, GOOD, WRONG], {"rollback": "all-or-nothing"}, False),
    ([GOOD, GOOD, GOOD, BAD], {"rollback": "all-or-nothing"}, False),
    ([GOOD, GOOD], {"rollback": "all-or-nothing"}, True),
    ([GOOD, BAD, WRONG, WRONG], {"rollback": "independent"}, True),
]


async def test_the_rule_says_whether_what_is_right_is_applied(shop: Shop) -> None:
    """At the threshold it is, above it not; each item has its own result in every case."""
    held = None
    for figure, (kinds, rule, applied) in enumerate(CASES, 1):
        items = [{**item, "stock": figure} if item is GOOD else item for item in kinds]

        response = await shop.send(BULK, {"items": items, **rule})

        body = response.json()
        good = sum(item is GOOD for item in kinds)
        assert response.status_code == (200 if applied else 409), (kinds, rule)
        assert body["rolled_back"] is not applied
        assert (body["updated"], body["failed"]) == (good if applied else 0, len(kinds) - good)
        assert [result["index"] for result in body["results"]] == list(range(len(kinds)))
        kept = {"updated", "unchanged"} if applied else {"rolled_back"}
        for item, result in zip(kinds, body["results"], strict=True):
            if item is GOOD:
                assert result["status"] in kept
                assert "code" not in result
            else:
                code = "rest_product_not_found" if item is BAD else "rest_invalid_stock_value"
                assert (result["status"], result["code"]) == ("failed", code)
        if not applied:
            assert (body["code"], body["data"]["status"]) == ("rest_rolled_back", 409)
            assert body["message"]
        held = figure if applied and good else held
        assert await shop.stock(1) == held, (kinds, rule)


async def test_settings_say_the_rule_where_the_request_does_not(shop: Shop) -> None:
    """And the number of items that a request may have."""
    house = shop.service.house
    usual = house.settings
    strict = usual.woocommerce._replace(rollback="all-or-nothing", items_max=2)
    house.settings = usual._replace(woocommerce=strict)
    try:
        refused = await shop.send(BULK, [GOOD, BAD])
        lenient = await shop.send(BULK, {"items": [GOOD, BAD], "rollback": "threshold"})
        too_many = await shop.send(BULK, [GOOD, GOOD, GOOD])
    finally:
        house.settings = usual

    assert (refused.status_code, lenient.status_code, too_many.status_code) == (409, 200, 400)
    assert too_many.json()["code"] == "rest_too_many_items"


async def test_the_later_of_two_items_for_one_place_wins(shop: Shop) -> None:
    """Both have a result, each with the figure that it led to."""
    items = [tea(5), tea(3, "north"), tea(9), tea(9)]

    body = (await shop.send(BULK, items)).json()

    assert [result["stock"] for result in body["results"]] == [5, 3, 9, 9]
    assert [result["status"] for result in body["results"]] == ["updated"] * 3 + ["unchanged"]
    assert (await shop.stock(1), await shop.stock(1, 2)) == (9, 3)


async def test_one_commit_and_the_two_parts_of_an_item_together(shop: Shop) -> None:
    """Where an item's stock cannot be so, its price is not either; the others are."""
    await shop.send(UPDATE, tea(5))
    body = {
        "items": [
            tea("4.0001", regular_price=9),
            tea(2, "north", regular_price=7, disabled="yes"),
        ]
    }

    response = await shop.send(BULK, body)

    first, second = response.json()["results"]
    assert (first["code"], second["status"]) == ("rest_invalid_stock_value", "updated")
    assert await shop.listing(1) is None
    assert (await shop.listing(1, 2))["regular_price"] == "7.00"
    assert (await shop.stock(1), await shop.stock(1, 2)) == (5, 2)
    position = int(response.headers["ledger-position"])
    events = await shop.service.get(f"/api/ledger/events?after={position - 2}")
    recorded = [(e["type"], e["recorded_at"]) for e in events.json()["events"]]
    assert [kind for kind, _ in recorded] == ["ProductListed", "StockAdjusted"]
    assert len({at for _, at in recorded}) == 1
    await proven(shop)


async def test_a_request_sent_again_under_its_key_takes_effect_once(shop: Shop) -> None:
    """With the same answer; with another body it is refused; one that had no effect is open."""
    again = {"Idempotency_Key": "sync-1"}
    first = await shop.send(BULK, [tea(5), BAD], **again)
    await shop.send(UPDATE, tea(8))

    replay = await shop.send(BULK, [tea(5), BAD], **again)
    other = await shop.send(BULK, [tea(6), BAD], **again)
    undone = await shop.send(BULK, [tea(7), BAD, BAD], Idempotency_Key="sync-2")
    retried = await shop.send(BULK, [tea(7)], Idempotency_Key="sync-2")

    assert replay.content == first.content
    assert replay.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "rest_idempotency_mismatch")
    assert (undone.status_code, retried.status_code) == (409, 200)
    assert await shop.stock(1) == 7


async def test_a_refusal_of_stock_is_told_in_wordpresss_shape(shop: Shop) -> None:
    """Not below what is reserved, and not below zero."""
    await shop.send(UPDATE, tea(5))
    order = {"items": [{"product_id": 1, "quantity": 3}], "warehouse_id": 1}
    assert (await shop.service.post("/api/orders", order)).status_code == 201

    for figure in (2, -1):
        response = await shop.send(UPDATE, tea(figure))
        assert response.status_code in (400, 409), response.text
        body = response.json()
        assert set(body) == {"code", "message", "data"}
        assert body["data"]["status"] == response.status_code
    assert await shop.stock(1) == 5


# --- orders -------------------------------------------------------------------------------


async def test_orders_are_taken_as_the_outside_system_lists_products(shop: Shop) -> None:
    """Disabled: refused there; on sale: at that price; backorders: more than there is."""
    await shop.send(BULK, [tea(5, disabled=True), tea(4, "north", sale_price="1.99")])
    order: dict[str, Any] = {"items": [{"sku": "TEA", "quantity": 1}]}

    refused = await shop.service.post("/api/orders", {**order, "warehouse_id": 1})
    elsewhere = await shop.service.post("/api/orders", {**order, "allocation": "most_stock"})
    await shop.send(BULK, [tea(0, "north", backorders="notify")])
    short = {**order, "items": [{"sku": "TEA", "quantity": 9}], "warehouse_id": 2}
    await shop.send(UPDATE, tea(3, "north", backorders="no"))
    too_much = await shop.service.post("/api/orders", short)
    await shop.send(UPDATE, tea(3, "north", backorders="yes"))
    waiting = await shop.service.post("/api/orders", short)

    assert (refused.status_code, refused.json()["code"]) == (409, "product_disabled")
    assert elsewhere.status_code == 201, elsewhere.text
    placed = (await shop.service.get(f"/api/orders/{elsewhere.json()['id']}")).json()
    (item,) = placed["items"]
    assert (item["unit_price"], item["price_source"]) == ("1.99", "listing")
    assert (too_much.status_code, too_much.json()["code"]) == (409, "insufficient_stock")
    assert waiting.status_code == 201, waiting.text
    await proven(shop)


# --- out and in again ---------------------------------------------------------------------


async def export(shop: Shop) -> str:
    response = await shop.send("/inventory/export?format=csv", method="GET")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return response.text


async def _hostile(service: Service) -> None:
    """Make products and a place whose names a spreadsheet would run, or looks like it."""
    for number, sku in enumerate(("=1+1", "'=1+1", "-7", '@x,"y"', "'quoted", "+44\u00a0é")):
        product = {"name": f"=cmd({number})", "sku": sku, "base_price": 1, "scale": 2}
        assert (await service.post("/api/products", product)).status_code == 201
    place = {"name": "Plus", "code": "+plus", "stock_limit": -100}
    assert (await service.post("/api/warehouses", place)).status_code == 201


async def test_the_export_imported_again_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    """Neither as JSON items nor as a file; and nothing in it is a formula."""
    await _hostile(shop.service)
    items = [
        {"product_id": number, "location_slug": "+plus", "stock": f"{number}.25"}
        | {"regular_price": f"{number}.10"}
        for number in range(5, 11)
    ]
    await shop.send(BULK, items)
    await shop.send(BULK, [tea("1.125", sale_price="0.999999"), tea(0, "north", disabled=True)])
    before = await export(shop)

    exported = (await shop.send("/inventory/export", method="GET")).content
    again = await shop.send(BULK, exported)

    assert {result["status"] for result in again.json()["results"]} == {"unchanged"}
    for row in csv.reader(io.StringIO(before)):
        for cell in row:
            assert cell[:1] not in tuple("=+@\t\r"), row
            assert cell[:1] != "-" or cell[1:].replace(".", "").isdigit(), row
    file = tmp_path / "inventory.csv"
    file.write_bytes(before.encode())
    importing = Importing(shop.service.house, shop.service.house.address)
    report = await importing.take_in(shop.service.tenant_id, *records(file, ListingTranslator))
    assert (report.lines, report.accepted) == (8, 8)
    assert all(kind.startswith("Import") for kind in report.appended), report.appended
    assert await export(shop) == before


async def test_the_export_imported_elsewhere_gives_the_same(shop: Shop, tmp_path: Path) -> None:
    """Into a copy of the catalogue that has no stock; and back after all was changed."""
    await shop.send(
        BULK,
        [
            tea("2.5", regular_price=3, sale_price="2.75", backorders="yes"),
            tea(7, "north", disabled=True),
            {"sku": "SHIRT-L", "location_slug": "main", "stock": 4, "backorders": "no"},
        ],
    )
    before = await export(shop)
    file = tmp_path / "inventory.csv"
    file.write_bytes(before.encode())
    house = shop.service.house
    importing = Importing(house, house.address)
    founded = await found_tenant(house, "Copy", email="copy@example.com")
    copied = Shop(_as_tenant(shop.service, founded.tenant_id, founded.api_key), "")
    await _furnish_with_key(copied)

    report = await importing.take_in(founded.tenant_id, *records(file, ListingTranslator))
    changed = [tea(9, sale_price=None, backorders=None), tea(1, "north", disabled=False)]
    await shop.send(BULK, changed)
    back = await importing.take_in(shop.service.tenant_id, *records(file, ListingTranslator))
    twice = await importing.take_in(shop.service.tenant_id, *records(file, ListingTranslator))
    named = await importing.take_in(
        shop.service.tenant_id, *records(file, ListingTranslator, run="second")
    )

    assert (report.accepted, back.accepted) == (3, 3)
    assert await export(copied) == before
    assert await export(shop) == before
    assert (twice.was_complete, named.was_complete) == (True, False)
    await proven(shop)


def _as_tenant(service: Service, tenant_id: int, api_key: str) -> Service:
    return Service(service.house, service.usage, service.client, tenant_id, api_key, service.token)


async def _furnish_with_key(copied: Shop) -> None:
    """Make the same catalogue, as the tenant of the key."""

    class WithKey(Service):
        async def post(self, path: str, json: Any = None, **options: Any) -> Any:
            return await self.call("POST", path, json, key=self.api_key, **options)

    service = copied.service
    await furnish(
        WithKey(
            service.house,
            service.usage,
            service.client,
            service.tenant_id,
            service.api_key,
            service.token,
        )
    )


async def test_a_line_that_cannot_be_is_refused_with_its_reason(shop: Shop, tmp_path: Path) -> None:
    """The others are taken in."""
    file = tmp_path / "inventory.csv"
    file.write_text(
        "sku,location_slug,stock,backorders\n"
        "TEA,main,5,notify\nNOPE,main,1,\nTEA,nowhere,1,\nTEA,north,many,\nTEA,north,1,perhaps\n"
        "TEA,,1,\nTEA,north,,no\n"
    )
    importing = Importing(shop.service.house, shop.service.house.address)

    report = await importing.take_in(shop.service.tenant_id, *records(file, ListingTranslator))

    assert report.refused == {
        "product_not_found": 1,
        "location_not_found": 1,
        "bad_stock": 1,
        "bad_backorders": 1,
        "missing_location": 1,
    }
    assert await shop.stock(1) == 5
    assert (await shop.listing(1))["backorders"] is True
    assert (await shop.listing(1, 2))["backorders"] is False
    assert await shop.stock(1, 2) is None


# --- the webhook and its log --------------------------------------------------------------


async def test_a_push_holds_one_item_or_many(shop: Shop) -> None:
    """One is answered as an update, many as a bulk sync; an operator's secret is as good."""
    _, secret = await make_key(shop.service.house, shop.service.tenant_id, "By hand", ("webhook",))

    one = await shop.push(tea(1))
    many = await shop.push({"items": [tea(2), tea(3, "north")]}, secret)
    listed = await shop.push([tea(4)])
    failed = await shop.push(BAD)

    assert (one.json()["stock"], many.json()["updated"], listed.json()["updated"]) == (1, 2, 1)
    assert (failed.status_code, failed.json()["code"]) == (404, "rest_product_not_found")
    assert await shop.stock(1) == 4


async def test_a_revoked_secret_is_invalid_at_once(shop: Shop) -> None:
    """As for any key."""
    keys = (await shop.service.get("/api/api-keys")).json()["api_keys"]
    (key_id,) = (key["id"] for key in keys if key["permissions"] == ["webhook"])
    assert (await shop.push(tea(1))).status_code == 200

    await shop.service.call("DELETE", f"/api/api-keys/{key_id}")
    response = await shop.push(tea(2))

    assert (response.status_code, response.json()["code"]) == (401, "rest_invalid_webhook_secret")
    assert await shop.stock(1) == 1


async def test_pushes_are_logged_while_that_is_switched_on(shop: Shop) -> None:
    """Each with its time, status and sizes and the first bytes of both bodies; no secret."""
    service = shop.service
    today = service.house.now().date().isoformat()
    await shop.push(tea(1))
    off = (await service.get("/api/webhook-log")).json()
    switched = await service.call("PUT", "/api/webhook-log/switch", {"enabled": True})
    await shop.push(tea(2))
    await shop.push(b'{"items": [', X_Secret="x")
    await shop.push({**BAD, "note": f"the secret is {shop.secret}"})
    await shop.push(tea(3), "wrong")
    await service.call("PUT", "/api/webhook-log/switch", {"enabled": False})
    await shop.push(tea(4))

    log = (await service.get(f"/api/webhook-log?date={today}")).json()
    empty = (await service.get("/api/webhook-log?date=2026-01-01")).json()
    text = (await service.get(f"/wp-content/uploads/mulopimfwc-webhook-log-{today}.log")).text

    assert (off["enabled"], off["total"], switched.json()["enabled"]) == (False, 0, True)
    assert switched.json()["changed_by"].startswith("user:")
    assert (log["enabled"], log["total"], empty["total"]) == (False, 3, 0)
    assert [entry["status"] for entry in log["entries"]] == [200, 400, 404]
    first, second, third = log["entries"]
    assert '"stock":2' in first["request_head"].replace(" ", "")
    assert first["response_bytes"] == len(first["response_head"].encode())
    assert (second["request_bytes"], second["request_head"]) == (11, '{"items": [')
    assert "the secret is ***" in third["request_head"]
    assert shop.secret not in str(log) + text
    assert text.count("POST /wp-json/mulopimfwc/v1/webhook/inventory-update") == 3
    assert len(text.splitlines()) == 9


async def test_the_log_is_for_admins_and_of_days_only(shop: Shop) -> None:
    """Nothing else is under the name of a file."""
    service = shop.service
    for path in ("/api/webhook-log", "/api/webhook-log/switch", "/wp-content/uploads/x.log"):
        response = await service.get(path, key=service.api_key)
        assert response.status_code == 403, path
    for name in ("x.log", "mulopimfwc-webhook-log-2026-13-01.log", "mulopimfwc-webhook-log-.log"):
        response = await service.get(f"/wp-content/uploads/{name}")
        assert response.status_code == 404, name
    assert (await service.get("/api/webhook-log?date=yesterday")).status_code == 400


async def test_a_long_body_is_logged_by_its_beginning(shop: Shop) -> None:
    """And a body that is no text as what can be shown of it."""
    await shop.service.call("PUT", "/api/webhook-log/switch", {"enabled": True})
    await shop.push({"items": [tea(number) for number in range(200)]})
    await shop.push(b'{"sku": "\x00\xff\n[2026-01-01] 200 POST /forged"}')

    entries = (await shop.service.get("/api/webhook-log")).json()["entries"]
    today = shop.service.house.now().date().isoformat()
    text = (await shop.service.get(f"/wp-content/uploads/mulopimfwc-webhook-log-{today}.log")).text

    assert len(entries[0]["request_head"]) == 2_000
    assert entries[0]["request_bytes"] > 2_000
    assert entries[1]["request_head"].startswith('{"sku": "\ufffd\ufffd')
    assert not any(line.startswith("[2026-01-01]") for line in text.splitlines())


# --- native listings ----------------------------------------------------------------------


async def test_listings_are_read_and_put_natively(shop: Shop) -> None:
    """A list with filters, one with its version, and what is refused."""
    service = shop.service
    body = {"regular_price": "3.50", "backorders": True}
    put = await service.call("PUT", "/api/listings/1/2", body)
    same = await service.call("PUT", "/api/listings/1/2", body)
    await service.call("PUT", "/api/listings/3/1", {"disabled": True})
    one = await service.get("/api/listings/1/2")
    etag = one.headers["etag"]
    stale = await service.call("PUT", "/api/listings/1/2", body, headers={"If-Match": '"7"'})
    cleared = await service.call("PUT", "/api/listings/1/2", {}, headers={"If-Match": etag})

    assert (put.status_code, put.json()["version"], same.json()["version"]) == (200, 1, None)
    assert (one.json()["regular_price"], one.json()["location"], etag) == ("3.50", "north", '"1"')
    assert (stale.status_code, cleared.json()["regular_price"]) == (412, None)
    everything = (await service.get("/api/listings")).json()
    assert (everything["total"], everything["page"], everything["limit"]) == (2, 1, 50)
    for query in ("disabled=true", "sku=shirt-s", "location=MAIN", "product_id=3", "location_id=1"):
        found = (await service.get(f"/api/listings?{query}")).json()
        assert [row["product_id"] for row in found["listings"]] == [3], query
    for path, status in (
        ("/api/listings/9/1", 404),
        ("/api/listings/1/9", 404),
        ("/api/listings/x/1", 404),
    ):
        assert (await service.call("PUT", path, {})).status_code == status, path
    unknown = await service.get("/api/listings?warehouse=1")
    assert (unknown.status_code, unknown.json()["field"]) == (400, "warehouse")
    assert (await service.get("/api/listings/4/1")).json()["code"] == "listing_not_found"
    commands = {"type": "ListProduct", "data": {"sku": "TEA", "location": "main"}}
    native = await service.post("/api/ledger/commands", {"commands": [commands]})
    assert native.status_code == 200, native.text
    await proven(shop)
