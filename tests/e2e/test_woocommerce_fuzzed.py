"""The WooCommerce API under requests of any kind: against a plain model, and against rubbish."""

import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.woocommerce import Shop, new_shop, serving

SEED = 20_261_121
REQUESTS = 60
RUBBISH = 250
PRODUCTS = {"TEA": 1, "SHIRT-S": 3, "SHIRT-L": 4}
PLACES = {"main": 1, "north": 2}
FIELDS = ("regular_price", "sale_price", "backorders", "disabled")
BARE: dict[str, Any] = {
    "regular_price": None,
    "sale_price": None,
    "backorders": None,
    "disabled": False,
}

Place = tuple[int, int]


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


class Model:
    """What is where, and how it is sold there, kept as a clerk would."""

    def __init__(self) -> None:
        self.stock: dict[Place, Decimal] = {}
        self.terms: dict[Place, dict[str, Any]] = {}

    def copy(self) -> "Model":
        other = Model()
        other.stock = dict(self.stock)
        other.terms = {place: dict(terms) for place, terms in self.terms.items()}
        return other

    def take(self, place: Place, item: dict[str, Any]) -> str:
        """Take an item that is right; return its status."""
        before = self.stock.get(place, Decimal(0)), dict(self.terms.get(place, BARE))
        if "stock" in item:
            self.stock[place] = Decimal(str(item["stock"]))
        terms = self.terms.get(place, BARE) | {
            name: meant(name, item[name]) for name in FIELDS if name in item
        }
        if terms != BARE or place in self.terms:
            self.terms[place] = terms
        after = self.stock.get(place, Decimal(0)), terms
        return "unchanged" if before == after else "updated"


def meant(name: str, value: Any) -> Any:
    """Return what a value means, as the guide says it."""
    if name == "disabled":
        return value in (True, "yes", 1)
    if value in (None, ""):
        return None
    if name == "backorders":
        return value in (True, "yes", "notify")
    return Decimal(str(value))


def any_item(chance: random.Random) -> tuple[dict[str, Any], Place | None, str | None]:
    """Return an item, where it is of, and the code of its error, if it is wrong."""
    sku = chance.choice(list(PRODUCTS))
    slug = chance.choice(list(PLACES))
    item: dict[str, Any] = (
        {"sku": chance.choice([sku, sku.lower()])}
        if chance.random() < 0.5
        else {"product_id": chance.choice([PRODUCTS[sku], str(PRODUCTS[sku])])}
    )
    item |= (
        {"location_slug": chance.choice([slug, slug.upper()])}
        if chance.random() < 0.5
        else {"location_id": PLACES[slug]}
    )
    if chance.random() < 0.8:
        item["stock"] = chance.choice([chance.randrange(9), str(chance.randrange(9))])
    for name, values in (
        ("regular_price", ["2.50", 3, None, ""]),
        ("sale_price", ["1.99", 2, None]),
        ("backorders", ["yes", "no", "notify", True, None]),
        ("disabled", [True, False, "yes", "no", 0]),
    ):
        if chance.random() < 0.25 or ("stock" not in item and name == "regular_price"):
            item[name] = chance.choice(values)
    fault = chance.random()
    if fault < 0.08:
        return {**item, "product_id": 77}, None, "rest_product_not_found"
    if fault < 0.16:
        return {**item, "location_id": 77}, None, "rest_location_not_found"
    if fault < 0.24:
        return {**item, "stock": "x"}, None, "rest_invalid_stock_value"
    if fault < 0.28:
        return {**item, "product_id": 2, "stock": 1}, None, "rest_parent_has_variations"
    if fault < 0.32:
        return {**item, "sale_price": -1}, None, "rest_invalid_param"
    return item, (PRODUCTS[sku], PLACES[slug]), None


async def test_any_requests_leave_what_a_plain_model_says(shop: Shop) -> None:
    """Each item's result, whether all of it was rolled back, and what is there in the end."""
    chance = random.Random(SEED)
    model = Model()
    for _ in range(REQUESTS):
        drawn = [any_item(chance) for _ in range(chance.randrange(1, 9))]
        rollback = chance.choice(["threshold", "all-or-nothing", "independent"])
        percent = chance.choice([0, 25, 50, 100])
        failed = sum(code is not None for _, _, code in drawn)
        undone = {
            "threshold": failed * 100 > percent * len(drawn),
            "all-or-nothing": failed > 0,
            "independent": False,
        }[rollback]
        tried = model.copy()
        taken = [
            ("failed", code) if place is None else (tried.take(place, item), None)
            for item, place, code in drawn
        ]
        expected = [
            ("rolled_back", None) if undone and status != "failed" else (status, code)
            for status, code in taken
        ]
        body = {
            "items": [item for item, _, _ in drawn],
            "rollback": rollback,
            "rollback_percent": percent,
        }

        send = shop.push if chance.random() < 0.3 else _bulk(shop)
        response = await send(body)

        told = response.json()
        assert response.status_code == (409 if undone else 200), body
        assert [(each["status"], each.get("code")) for each in told["results"]] == expected, body
        assert (told["rolled_back"], told["failed"]) == (undone, failed)
        if not undone:
            model = tried
    exported = (await shop.get("/inventory/export?per_page=1000"))["items"]
    rows = {(row["product_id"], row["location_id"]): row for row in exported}
    assert {place: Decimal(str(row["stock"])) for place, row in rows.items() if row["stock"]} == {
        place: stock for place, stock in model.stock.items() if stock
    }
    for place, terms in model.terms.items():
        row = rows[place]
        for name in ("regular_price", "sale_price"):
            price = None if row[name] is None else Decimal(row[name])
            assert price == terms[name], (place, name)
        assert {"yes": True, "no": False, None: None}[row["backorders"]] == terms["backorders"]
        assert row["disabled"] == terms["disabled"]


def _bulk(shop: Shop) -> Any:
    async def send(body: Any) -> Any:
        return await shop.send("/inventory/bulk-sync", body)

    return send


def rubbish(chance: random.Random, depth: int = 0) -> Any:
    """Return any JSON value, often with names and values that belong here."""
    names = ["items", "sku", "product_id", "location_id", "location_slug", "stock", "rollback", "x"]
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, 1, -1, 2**53, 10**30, 1.5, 1e300, -0.0])
    if kind <= 5:
        return chance.choice(["", "TEA", "main", "1", "é\u0000", "=1", "x" * 300, "independent"])
    if kind == 6:
        return [rubbish(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(names): rubbish(chance, depth + 1) for _ in range(chance.randrange(6))}


async def test_rubbish_is_answered_in_wordpresss_shape_and_never_with_a_fault(shop: Shop) -> None:
    """Whatever is sent, cut off, mangled or nested, by each of the ways in."""
    chance = random.Random(SEED)
    bodies = [json.dumps(rubbish(chance)).encode() for _ in range(RUBBISH)]
    bodies += [body[: chance.randrange(len(body) + 1)] for body in bodies[:50]]
    bodies += [bytes(chance.randrange(256) for _ in range(chance.randrange(40))) for _ in range(50)]
    bodies += [b"[" * 5_000, b'{"items":' * 3_000, b'{"stock":' + b"9" * 5_000 + b"}"]
    ways = (
        lambda body: shop.send("/inventory/update", body),
        lambda body: shop.send("/inventory/bulk-sync", body),
        lambda body: shop.push(body),
    )
    for body in bodies:
        for way in ways:
            response = await way(body)
            assert response.status_code < 500, (body, response.text)
            told = response.json()
            if response.status_code != 200:
                assert {"code", "message", "data"} <= told.keys(), body
                assert told["code"].startswith("rest_")
                assert told["data"]["status"] == response.status_code
