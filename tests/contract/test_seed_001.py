"""Seed 001 (001_432fa489bca54a7b.txt), miPOS's inventory pages: its examples, its sentences."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from deploy.bootstrap import found_tenant
from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.tenants import lasting_service, new_tenant

SYNC = "/api/v1/inventory/pos/store/{}/system/sync"
UPDATE = "/api/v1/inventory/pos/store/{}/system/stock/update"
STORE = "17"

# The document's body, but for the two ids, which each tenant has of its own.
BODY: dict[str, Any] = {
    "items": [
        {
            "name": "Testing item 1",
            "external_id": "item_abc123",
            "purchase_unit_external_id": "pos_u1",
            "consumption_unit_external_id": "pos_u2",
            "supplier_external_id": "pos_sup_1",
            "cost": "1250",
            "stock": "11.22",
        },
        {
            "name": "Testing item 2",
            "external_id": "item_abc456",
            "purchase_unit_external_id": "pos_u2",
            "consumption_unit_external_id": "pos_u2",
            "supplier_external_id": "pos_sup_1",
            "cost": "100",
            "stock": "5.50",
        },
    ],
    "user_id_tps": "30",
    "inventory_system_id": "3d40a24e-d570-4598-ae68-e20687edd1f9",
    "units": [
        {"name": "Unit 1", "short_name": "u1", "external_id": "pos_u1"},
        {"name": "Unit 2", "short_name": "u2", "external_id": "pos_u2"},
    ],
    "suppliers": [{"name": "supplier 1", "external_id": "pos_sup_1"}],
}
MOVEMENT: dict[str, Any] = {
    "user_id_tps": "30",
    "inventory_system_id": "4344be8c-c6b9-4c51-88a6-d620144ab406",
    "current_stock": "12.44",
    "quantity": "1.25",
    "date": "2020-05-30 12:45:03",
    "movement_type": 2,
}


class Shop:
    """A tenant whose store 17 at miPOS is its warehouse SYD, on Sydney's clocks."""

    def __init__(self, service: Service, ids: dict[str, str]) -> None:
        self.service = service
        self.ids = ids

    async def send(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Send a body as a point of sale does, with its key as a bearer token."""
        headers = {"Authorization": f"Bearer {self.service.api_key}", **options.pop("headers", {})}
        return await self.service.client.post(path, json=body, headers=headers, **options)

    async def sync(self, body: Any, store: str = STORE, **options: Any) -> httpx.Response:
        return await self.send(SYNC.format(store), body, **options)

    async def update(self, body: Any, store: str = STORE, **options: Any) -> httpx.Response:
        return await self.send(UPDATE.format(store), body, **options)

    def body(self, **changed: Any) -> dict[str, Any]:
        """Return the document's synchronisation, for this tenant."""
        return {**copy.deepcopy(BODY), **self.ids, **changed}

    def movement(self, **changed: Any) -> dict[str, Any]:
        """Return the document's movement, for this tenant and its first item."""
        return {**MOVEMENT, **self.ids, "external_id": "item_abc123", **changed}

    async def position(self) -> int:
        return int((await self.service.get("/api/warehouses")).headers["Ledger-Position"])

    async def stock(self, sku: str) -> Any:
        found = await self.service.get(f"/api/external/products/{sku}", key=self.service.api_key)
        assert found.status_code == 200, found.text
        return {row["warehouse_name"]: row["quantity"] for row in found.json()["stock"]}


async def open_shop(service: Service) -> Shop:
    """Open a tenant's shop with two warehouses, the first of which is linked."""
    service = await new_tenant(service)
    for name, code in (("Sydney", "SYD"), ("Melbourne", "MEL")):
        warehouse = {"name": name, "code": code, "time_zone": "Australia/Sydney"}
        assert (await service.post("/api/warehouses", warehouse)).status_code == 201
    linked = await service.post(
        "/api/integrations/v1/stores",
        {"system": "mipos", "external_id": STORE, "warehouse": "SYD"},
    )
    assert linked.status_code == 200, linked.text
    ids = (await service.get("/api/integrations/v1/inventory-system")).json()
    return Shop(service, ids)


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One service for all of these tests."""
    async with lasting_service(postgres, tmp_path_factory.mktemp("seed-001")) as service:
        yield service


@pytest.fixture
async def shop(service: Service) -> Shop:
    """A shop of the test's own."""
    return await open_shop(service)


@pytest.fixture(scope="module")
async def still(service: Service) -> AsyncIterator[Shop]:
    """A shop with the document's items, for tests after which it must be as it was."""
    shop = await open_shop(service)
    done(await shop.sync(shop.body()), SYNCED)
    before = await shop.position()
    yield shop
    assert await shop.position() == before


def done(response: httpx.Response, message: str) -> None:
    assert (response.status_code, response.json()) == (200, {"message": message, "data": None})


def refused(response: httpx.Response, *sentences: str) -> None:
    assert response.status_code == 400, response.text
    assert response.json() == {"message": list(sentences), "data": None}


SYNCED = "Synchronization data was sent to the inventory system."
UPDATED = "Stock movement was sent to the inventory system."


# --- sync -------------------------------------------------------------------------------


async def test_the_documents_example_is_taken_over(shop: Shop) -> None:
    response = await shop.sync(shop.body())
    done(response, SYNCED)
    assert response.headers["Ledger-Position"]
    products = (await shop.service.get("/api/products")).json()["products"]
    assert {(p["sku"], p["name"], p["cost_price"]) for p in products} == {
        ("item_abc123", "Testing item 1", "1250.00"),
        ("item_abc456", "Testing item 2", "100.00"),
    }
    assert await shop.stock("item_abc123") == {"Sydney": 11.22}
    assert await shop.stock("item_abc456") == {"Sydney": 5.5}
    one = (await shop.service.get("/api/products/1")).json()
    assert (one["unit"], one["scale"], one["supplier_name"]) == ("u2", 2, "supplier 1")
    assert one["alternative_units"] == []
    items = (await shop.service.get("/api/integrations/v1/items?system=mipos")).json()
    assert [(i["external_id"], i["product_id"]) for i in items["items"]] == [
        ("item_abc123", 1),
        ("item_abc456", 2),
    ]


async def test_the_same_again_changes_nothing(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    before = await shop.position()
    done(await shop.sync(shop.body()), SYNCED)
    assert await shop.position() == before


async def test_it_is_one_commit_or_nothing(shop: Shop) -> None:
    """The second item's product counts in whole numbers, so the first is not made either."""
    made = await shop.service.post(
        "/api/products", {"name": "Old", "sku": "item_abc456", "base_price": "1"}
    )
    assert made.status_code == 201
    before = await shop.position()
    response = await shop.sync(shop.body())
    assert response.status_code == 400
    (sentence,) = response.json()["message"]
    assert "digits behind the point" in sentence
    assert await shop.position() == before


async def test_the_same_from_several_at_once_is_taken_over_once(shop: Shop) -> None:
    """Those that come too late are made anew from what there is then, and find nothing to do."""
    answers = await asyncio.gather(*(shop.sync(shop.body()) for _ in range(5)))
    for answer in answers:
        done(answer, SYNCED)
    assert (await shop.service.get("/api/products")).json()["total"] == 2
    assert (await shop.service.get("/api/integrations/v1/items")).json()["total"] == 2
    assert await shop.stock("item_abc123") == {"Sydney": 11.22}


async def test_a_product_with_that_sku_is_linked_and_keeps_what_is_its_own(shop: Shop) -> None:
    product = {
        "name": "Old", "sku": "ITEM_ABC123", "base_price": "1999.00", "scale": 2,
        "barcode": "931", "unit": "kg",
    }  # fmt: skip
    assert (await shop.service.post("/api/products", product)).status_code == 201
    done(await shop.sync(shop.body()), SYNCED)
    one = (await shop.service.get("/api/products/1")).json()
    assert (one["sku"], one["base_price"], one["barcode"], one["unit"]) == (
        "ITEM_ABC123", "1999.00", "931", "kg",
    )  # fmt: skip
    assert (one["name"], one["cost_price"]) == ("Testing item 1", "1250.00")
    assert await shop.stock("item_abc123") == {"Sydney": 11.22}


async def test_a_purchase_unit_is_converted_where_a_factor_is_given(shop: Shop) -> None:
    for factor, fraction in (("12", (12, 1)), ("0.5", (1, 2)), ("1/3", (1, 3))):
        body = shop.body()
        body["items"][0]["purchase_unit_factor"] = factor
        done(await shop.sync(body), SYNCED)
        one = (await shop.service.get("/api/products/1")).json()
        assert one["alternative_units"] == [
            {"unit": "u1", "numerator": fraction[0], "denominator": fraction[1]}
        ]
    for wrong in ("0", "a", "1/0", 12, "-1"):
        body = shop.body()
        body["items"][0]["purchase_unit_factor"] = wrong
        refused(
            await shop.sync(body),
            "The item purchase unit factor must be a string such as 12, 0.5 or 1/3.",
        )


async def test_figures_are_in_the_unit_that_the_item_is_counted_in(shop: Shop) -> None:
    """The product counts in pieces, the point of sale in boxes of twelve."""
    product = {
        "name": "Old", "sku": "item_abc123", "base_price": "1",
        "alternative_units": [{"unit": "u2", "numerator": 12}],
    }  # fmt: skip
    assert (await shop.service.post("/api/products", product)).status_code == 201
    for boxes in ("2", "3"):
        body = shop.body()
        body["items"] = [{**body["items"][0], "stock": boxes}]
        done(await shop.sync(body), SYNCED)
        assert await shop.stock("item_abc123") == {"Sydney": int(boxes) * 12}
    listed = (await shop.service.get("/api/integrations/v1/items?external_id=item_abc123")).json()
    assert [item["unit"] for item in listed["items"]] == ["u2"]
    done(
        await shop.update(shop.movement(movement_type=1, quantity="1", current_stock="4")), UPDATED
    )
    assert await shop.stock("item_abc123") == {"Sydney": 48}
    assert (await shop.service.get("/api/integrations/v1/divergences")).json()["total"] == 0


async def test_what_changed_is_revised_and_stock_is_set(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    body = shop.body(suppliers=[{"name": "Renamed", "external_id": "pos_sup_1"}])
    body["items"][0] |= {"name": "Better", "cost": "1251.5", "stock": "0"}
    done(await shop.sync(body), SYNCED)
    one = (await shop.service.get("/api/products/1")).json()
    assert (one["name"], one["cost_price"], one["supplier_name"]) == (
        "Better",
        "1251.50",
        "Renamed",
    )
    assert await shop.stock("item_abc123") == {"Sydney": 0}


ITEM_SENTENCES: dict[str, tuple[str, Any]] = {
    "The item must have a name.": ("name", ""),
    "The item must have an external id.": ("external_id", None),
    "The item must have an purchase unit external id.": ("purchase_unit_external_id", None),
    "The item must have an consumption unit external id.": ("consumption_unit_external_id", None),
    "The item must have a supplier external id.": ("supplier_external_id", None),
    "The item must have a cost.": ("cost", None),
    "The item must have a stock.": ("stock", " "),
    "Item purchase unit external id (pos_u9) not found in units array": (
        "purchase_unit_external_id", "pos_u9",
    ),
    "The item purchase unit external id must be a string.": ("purchase_unit_external_id", 1),
    "The item consumption unit external id must be a string.": ("consumption_unit_external_id", 2),
    "Item supplier external id (sup_9) not found in suppliers array": (
        "supplier_external_id", "sup_9",
    ),
    "The item cost must be a string.": ("cost", 1250),
    "The item stock must be a string.": ("stock", 11.22),
}  # fmt: skip


@pytest.mark.parametrize("sentence", ITEM_SENTENCES)
async def test_what_is_wrong_with_an_item_is_said(still: Shop, sentence: str) -> None:
    field, value = ITEM_SENTENCES[sentence]
    body = still.body()
    if value is None:
        for item in body["items"]:
            del item[field]
    else:
        body["items"][1][field] = value
    refused(await still.sync(body), sentence)


@pytest.mark.parametrize(
    ("array", "field", "sentence"),
    [
        ("units", "name", "The unit must have a name."),
        ("units", "short_name", "The unit must have a short name."),
        ("units", "external_id", "The unit must have an external id."),
        ("suppliers", "name", "The supplier must have a name."),
        ("suppliers", "external_id", "The supplier must have an external id."),
    ],
)
async def test_what_is_wrong_with_a_unit_or_supplier_is_said(
    still: Shop, array: str, field: str, sentence: str
) -> None:
    body = still.body()
    body[array].append({"name": "More", "short_name": "m", "external_id": "more"})
    del body[array][-1][field]
    refused(await still.sync(body), sentence)


async def test_everything_that_is_wrong_is_said_at_once_and_once(still: Shop) -> None:
    body = still.body(user_id_tps="999", units=[{"name": "U"}], items=[{}, {"cost": 1}])
    response = await still.sync(body, store="nowhere")
    assert response.status_code == 400
    said = response.json()["message"]
    assert len(said) == len(set(said))
    assert said == [
        "You don't have this store available.",
        "This user_id_tps does not own this inventory system.",
        "The item must have a name.",
        "The item must have an external id.",
        "The item must have an purchase unit external id.",
        "The item must have an consumption unit external id.",
        "The item must have a supplier external id.",
        "The item must have a cost.",
        "The item must have a stock.",
        "The unit must have a short name.",
        "The unit must have an external id.",
        "The item cost must be a string.",
    ]


async def test_each_id_that_is_not_found_is_named(still: Shop) -> None:
    body = still.body()
    for number, item in enumerate(body["items"]):
        item["purchase_unit_external_id"] = f"p{number}"
        item["consumption_unit_external_id"] = "c"
    refused(
        await still.sync(body),
        "Item purchase unit external id (p0) not found in units array",
        "Item consumption unit external id (c) not found in units array",
        "Item purchase unit external id (p1) not found in units array",
    )


async def test_what_no_document_foresees_is_said_in_the_same_manner(still: Shop) -> None:
    body = still.body()
    body["items"][1]["external_id"] = "item_abc123"
    refused(await still.sync(body), "Item external id (item_abc123) is given twice in items array")
    for field, value, sentence in (
        ("stock", "many", "The item stock (many) must be a number."),
        ("stock", "1.0000001", "The item stock (1.0000001) must be a number."),
        ("cost", "-1", "The item cost (-1) must be at least 0."),
        ("name", 5, "The item name must be a string."),
        ("name", "n" * 201, "The item name may not be greater than 200 characters."),
        ("name", "a\x00b", "The item name format is invalid."),
    ):
        body = still.body()
        body["items"][0][field] = value
        refused(await still.sync(body), sentence)


SYNC_FIELDS = {
    "items": ["The items field is required."],
    "inventory_system_id": ["The inventory system id field is required."],
    "units": ["The units field is required."],
    "suppliers": ["The suppliers field is required."],
    "user_id_tps": ["The user id tps field is required."],
}


async def test_fields_that_are_missing_are_a_bare_map(still: Shop) -> None:
    response = await still.sync({})
    assert (response.status_code, response.json()) == (422, SYNC_FIELDS)


@pytest.mark.parametrize("field", SYNC_FIELDS)
async def test_each_field_is_required(still: Shop, field: str) -> None:
    for nothing in ({field: None}, {field: []}, {field: ""}):
        response = await still.sync(still.body(**nothing))
        assert (response.status_code, response.json()) == (422, {field: SYNC_FIELDS[field]})


async def test_the_inventory_system_id_must_be_a_string(still: Shop) -> None:
    response = await still.sync(still.body(inventory_system_id=30))
    assert (response.status_code, response.json()) == (
        422, {"inventory_system_id": ["The inventory system id must be a string."]},
    )  # fmt: skip
    response = await still.sync(still.body(items={"a": 1}))
    assert response.json() == {"items": ["The items must be an array."]}


# --- who and where ----------------------------------------------------------------------

Send = Callable[[Shop, dict[str, Any], str], Any]


async def _sync(shop: Shop, changed: dict[str, Any], store: str = STORE) -> httpx.Response:
    return await shop.sync(shop.body(**changed), store)


async def _update(shop: Shop, changed: dict[str, Any], store: str = STORE) -> httpx.Response:
    return await shop.update(shop.movement(**changed), store)


@pytest.mark.parametrize("send", [_sync, _update])
async def test_stores_and_ids_that_do_not_fit_are_told(still: Shop, send: Send) -> None:
    refused(await send(still, {}, "nowhere"), "You don't have this store available.")
    refused(
        await send(still, {}, "MEL"),
        "No integration record was found between this user store and the third party system.",
    )
    refused(
        await send(still, {"inventory_system_id": BODY["inventory_system_id"]}, STORE),
        "The third_party_id does not have an Inventory System role or does not exist.",
    )
    refused(
        await send(still, {"user_id_tps": "30"}, STORE),
        "This user_id_tps does not own this inventory system.",
    )


async def test_another_tenants_store_and_system_are_not_there(still: Shop) -> None:
    other = await found_tenant(still.service.house, "Other", email="other@example.com")
    headers = {"Authorization": f"Bearer {other.api_key}"}
    nothing = [
        "You don't have this store available.",
        "The third_party_id does not have an Inventory System role or does not exist.",
    ]
    refused(await still.sync(still.body(), headers=headers), *nothing)
    refused(
        await still.update(still.movement(), headers=headers),
        *nothing,
        "External id not found for this store in the inventory system.",
    )


async def test_a_store_is_named_by_link_code_or_id(shop: Shop) -> None:
    for store in (STORE, "SYD", "syd", "1"):
        done(await shop.sync(shop.body(), store), SYNCED)
    linked = {"system": "mipos", "external_id": "1", "warehouse": "MEL"}
    assert (await shop.service.post("/api/integrations/v1/stores", linked)).status_code == 200
    done(await shop.sync(shop.body(), "1"), SYNCED)
    assert await shop.stock("item_abc123") == {"Sydney": 11.22, "Melbourne": 11.22}


async def test_an_item_whose_product_is_discontinued_is_not_found(shop: Shop) -> None:
    body = shop.body()
    for item in body["items"]:
        item["stock"] = "0"
    done(await shop.sync(body), SYNCED)
    assert (await shop.service.call("DELETE", "/api/products/1")).status_code == 200
    sentence = "External id not found for this store in the inventory system."
    response = await shop.sync(body)
    assert response.status_code == 400
    assert response.json()["message"][0] == sentence
    assert "discontinued" in response.json()["message"][1]
    response = await shop.update(shop.movement(movement_type=1))
    assert response.json()["message"][0] == sentence
    gone = await shop.service.call("DELETE", "/api/integrations/v1/items/mipos/item_abc123")
    assert gone.status_code == 200
    done(await shop.sync(body), SYNCED)


# --- stock update -----------------------------------------------------------------------


async def test_the_documents_movement_is_an_issue_at_the_stores_time(shop: Shop) -> None:
    opening = {
        "sku": "item_abc123", "warehouse": "SYD", "quantity": "13.69",
        "effective_at": "2020-05-01T00:00:00Z",
    }  # fmt: skip
    body = shop.body()
    body["items"][0]["stock"] = "0.00"
    done(await shop.sync(body), SYNCED)
    assert (await shop.service.post("/api/inventory/receive", opening)).status_code == 200
    done(await shop.update(shop.movement()), UPDATED)
    assert await shop.stock("item_abc123") == {"Sydney": 12.44}
    events = (await shop.service.get("/api/ledger/events?type=StockIssued")).json()["events"]
    assert [(e["effective_at"], e["data"]["quantity"]) for e in events] == [
        ("2020-05-30T02:45:03Z", "1.25")
    ]
    assert events[0]["meta"]["source"] == "mipos"
    divergences = (await shop.service.get("/api/integrations/v1/divergences")).json()
    assert (divergences["total"], divergences["divergences"]) == (0, [])


async def test_the_two_types_of_movement_add_and_remove(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    now = {"date": "2020-05-30 12:45:03"}
    done(await shop.update(shop.movement(movement_type=1, current_stock="12.47", **now)), UPDATED)
    assert await shop.stock("item_abc123") == {"Sydney": 12.47}
    late = shop.movement(movement_type="2", quantity="0.47", current_stock="12", **now)
    done(await shop.update(late), UPDATED)
    assert await shop.stock("item_abc123") == {"Sydney": 12}


async def test_a_current_stock_that_is_not_ours_is_a_divergence(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    response = await shop.update(shop.movement(movement_type=1, current_stock="12.44"))
    done(response, UPDATED)
    listed = (await shop.service.get("/api/integrations/v1/divergences?product_id=1")).json()
    (row,) = listed["divergences"]
    assert (row["external_id"], row["warehouse_id"], row["sku"]) == (
        "item_abc123",
        1,
        "item_abc123",
    )
    assert (row["on_hand"], row["reported"], row["difference"]) == (12.47, 12.44, -0.03)
    assert row["position"] == int(response.headers["Ledger-Position"])
    assert await shop.stock("item_abc123") == {"Sydney": 12.47}
    for other in ("product_id=2", "warehouse_id=2", "system=woocommerce"):
        listed = await shop.service.get(f"/api/integrations/v1/divergences?{other}")
        assert listed.json()["total"] == 0


async def test_what_the_ledger_refuses_is_said_in_its_words(still: Shop) -> None:
    response = await still.update(still.movement(quantity="100"))
    assert response.status_code == 400
    (sentence,) = response.json()["message"]
    assert sentence.startswith("100.00 of 'item_abc123' at location 1 was asked for")
    response = await still.update(still.movement(quantity="0.001"))
    assert "digits behind the point" in response.json()["message"][0]


async def test_an_unknown_item_is_told(still: Shop) -> None:
    refused(
        await still.update(still.movement(external_id="unheard")),
        "External id not found for this store in the inventory system.",
    )


async def test_a_type_of_webhook_that_there_is_not_is_told(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    refused(
        await shop.update(shop.movement(webhook_type=4)), "This type of webhook is not available."
    )
    add = {"movement_type": 1, "current_stock": "12.47"}
    refused(
        await shop.update(shop.movement(webhook_type="3", **add)),
        "This inventory system does not have this type of webhook available.",
    )
    managed = await shop.send(
        "/api/v1/inventory/pos/webhook/manage", {"type": "3", "url": "https://pos.example.com/w"}
    )
    assert managed.status_code == 200, managed.text
    done(await shop.update(shop.movement(webhook_type=3, **add)), UPDATED)


UPDATE_FIELDS = {
    "user_id_tps": ["The user id tps field is required."],
    "inventory_system_id": ["The inventory system id field is required."],
    "current_stock": ["The current stock field is required."],
    "quantity": ["The quantity field is required."],
    "date": ["The date field is required."],
    "movement_type": ["The movement type field is required."],
    "external_id": ["The external id field is required."],
}


async def test_all_missing_fields_of_a_movement_are_told(still: Shop) -> None:
    response = await still.update({})
    assert (response.status_code, response.json()) == (422, UPDATE_FIELDS)
    example = await still.update(MOVEMENT)
    assert (example.status_code, example.json()) == (
        422, {"external_id": UPDATE_FIELDS["external_id"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("movement_type", 3, "The selected movement type is invalid."),
        ("movement_type", True, "The selected movement type is invalid."),
        ("movement_type", "add", "The selected movement type is invalid."),
        ("quantity", "1,25", "The quantity must be a number."),
        ("quantity", 1.25, "The quantity must be a string."),
        ("quantity", "0", "The quantity must be greater than 0."),
        ("current_stock", "NaN", "The current stock must be a number."),
        ("date", "30/05/2020", "The date does not match the format Y-m-d H:i:s."),
        ("date", "1969-05-30 12:45:03", "The date must be from 1970 to 2199."),
        (
            "date",
            "2019-10-06 02:30:00",
            "The date is none: clocks in Australia/Sydney never showed 2019-10-06 02:30:00.",
        ),
    ],
)
async def test_fields_of_a_movement_that_cannot_be_right_are_told(
    still: Shop, field: str, value: Any, sentence: str
) -> None:
    response = await still.update(still.movement(**{field: value}))
    assert (response.status_code, response.json()) == (422, {field: [sentence]})


# --- idempotency, credentials, and what is no JSON ----------------------------------------


async def test_a_movement_sent_again_with_its_key_takes_effect_once(shop: Shop) -> None:
    done(await shop.sync(shop.body()), SYNCED)
    key = {"Idempotency-Key": "till-4-0001"}
    movement = shop.movement(movement_type=1, current_stock="12.47")
    done(await shop.update(movement, headers=key), UPDATED)
    again = await shop.update(movement, headers=key)
    done(again, UPDATED)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await shop.stock("item_abc123") == {"Sydney": 12.47}
    other = await shop.update({**movement, "quantity": "2"}, headers=key)
    assert other.status_code == 422
    assert set(other.json()) == {"message", "data"}


@pytest.mark.parametrize("path", [SYNC, UPDATE, "/api/v1/inventory/pos/webhook/manage"])
async def test_credentials_that_are_no_good_are_unauthorized(still: Shop, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
        response = await still.service.client.post(path.format(STORE), json={}, headers=headers)
        assert (response.status_code, response.json()) == (401, "Unauthorized.")


async def test_every_answer_is_in_miposs_shape(shop: Shop) -> None:
    path = SYNC.format(STORE)
    read_only = await shop.service.post(
        "/api/api-keys", {"name": "reader", "permissions": ["read"]}
    )
    key = {"Authorization": f"Bearer {read_only.json()['key']}"}
    jsonc = {"Content-Type": "application/jsonc"}
    answers = [
        (404, await shop.send("/api/v1/inventory/pos/nothing", {})),
        (405, await shop.service.get(path)),
        (403, await shop.send(path, {}, headers=key)),
        (400, await shop.send(path, ["no object"])),
        (415, await shop.send(path, {}, headers=jsonc)),
        (400, await shop.send(path, {}, headers={"Idempotency-Key": "\x7f"})),
    ]
    for status, response in answers[:-1]:
        assert response.status_code == status, response.text
        assert set(response.json()) == {"message", "data"}, response.text
        assert response.json()["data"] is None
        assert all(isinstance(sentence, str) for sentence in response.json()["message"])
