"""Purchase orders over HTTP: what seed 003 leaves out, and what every write must keep to."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.wiring import House, house_at
from tests.support.api import Service, running_service
from tests.support.proving import prove

ORDERS = "/api/suppliers/purchase-orders"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a product, a warehouse and a supplier, and nothing in stock."""
    async with running_service(house) as service:
        await service.stocked(0)
        await service.post("/api/suppliers", {"name": "Bolts"})
        yield service


async def bought(service: Service, *quantities: int, **more: Any) -> dict[str, Any]:
    """Draft a purchase order of one product."""
    items = [{"sku": "wgt-500", "quantity": quantity, "unit_cost": 2} for quantity in quantities]
    body = {"supplier_id": 1, "warehouse_id": 1, "items": items, **more}
    created = await service.post(ORDERS, body)
    assert created.status_code == 201, created.text
    return created.json()


def items(*received: tuple[int, int]) -> dict[str, Any]:
    return {
        "items": [
            {"purchase_order_item_id": item_id, "quantity_received": quantity}
            for item_id, quantity in received
        ]
    }


async def on_hand(service: Service) -> Any:
    levels = (await service.get("/api/inventory")).json()["inventory"]
    return sum(level["quantity"] for level in levels)


async def test_a_purchase_order_from_draft_to_closed(
    service: Service, database: DatabaseAddress
) -> None:
    """Sent, received in parts at what was paid, partly returned, closed; all of it is told."""
    created = await bought(service, 10, 5, tolerance_percent="10", reference="Q-7")
    assert [item["id"] for item in created["items"]] == [1001, 1002]
    sent = await service.post(f"{ORDERS}/1/send")
    assert sent.json() == {"message": "Purchase order sent", "status": "sent"}
    body = items((1001, 4))
    body["items"][0]["unit_cost"] = 2.25
    received = await service.post(f"{ORDERS}/1/receive", body)
    assert received.json() == {
        "message": "Stock received",
        "received_lines": 1,
        "inventory_updated": True,
        "receipt": 1,
        "status": "partial",
    }
    received = await service.post(f"{ORDERS}/1/receive", items((1001, 7), (1002, 5)))
    assert (received.json()["received_lines"], received.json()["status"]) == (2, "received")
    again = await service.post(f"{ORDERS}/1/receive")
    assert again.status_code == 200
    assert again.json().items() >= {"received_lines": 0, "inventory_updated": False}.items()
    returned = await service.post(
        f"{ORDERS}/1/return",
        {"items": [{"purchase_order_item_id": 1002, "quantity": 2}], "reason": "broken"},
    )
    assert returned.json() == {
        "message": "Stock returned",
        "returned_lines": 1,
        "return_number": 1,
        "status": "received",
    }
    closed = await service.post(f"{ORDERS}/1/close", {"notes": "done"})
    assert closed.json() == {"message": "Purchase order closed", "status": "closed"}
    whole = await service.get(f"{ORDERS}/1")
    reply = whole.json()
    assert whole.headers["etag"] == f'"{reply["version"]}"' == '"6"'
    assert (reply["status"], reply["reference"], reply["tolerance_percent"]) == (
        "closed",
        "Q-7",
        "10",
    )
    figures = ("quantity", "quantity_received", "quantity_returned", "quantity_outstanding")
    assert [[item[figure] for figure in figures] for item in reply["items"]] == [
        [10, 11, 0, 0],
        [5, 5, 2, 0],
    ]
    assert [receipt["reference"] for receipt in reply["receipts"]] == ["PO-0001/1", "PO-0001/2"]
    assert reply["receipts"][0]["items"] == [
        {"purchase_order_item_id": 1001, "product_id": 1, "quantity": 4, "unit_cost": "2.25"}
    ]
    (back,) = reply["returns"]
    assert (back["reference"], back["reason"]) == ("PO-0001/R1", "broken")
    assert await on_hand(service) == 14
    movements = (await service.get("/api/inventory/movements")).json()["movements"]
    assert {each["reference_id"] for each in movements} == {
        "PO-0001/1",
        "PO-0001/2",
        "PO-0001/R1",
    }
    house = service.house
    verdict = await prove(database, house.pool, house.engine, service.tenant_id)
    assert verdict.ok, verdict


async def test_over_receipt_says_the_most_that_may_be_received(service: Service) -> None:
    """Nothing of it comes in."""
    await bought(service, 10, tolerance_percent=5)
    refused = await service.post(f"{ORDERS}/1/receive", items((1001, 11)))
    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["code"], problem["most"]) == ("purchase_line_over_received", "10")
    assert "at most 10 may be" in problem["detail"]
    assert await on_hand(service) == 0


async def test_an_illegal_change_lists_the_legal_ones(service: Service) -> None:
    """And what is so already is no error."""
    await bought(service, 1)
    refused = await service.post(f"{ORDERS}/1/close")
    assert (refused.status_code, refused.json()["allowed"]) == (409, ["sent", "cancelled"])
    for _ in range(2):
        cancelled = await service.post(f"{ORDERS}/1/cancel", {"reason": "too dear"})
        assert cancelled.json() == {"message": "Purchase order cancelled", "status": "cancelled"}
    refused = await service.post(f"{ORDERS}/1/receive")
    assert (refused.status_code, refused.json()["allowed"]) == (409, [])


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"purchase_order_item_id": 1001, "quantity_received": 0}, "items[0].quantity_received"),
        ({"purchase_order_item_id": 1001, "quantity_received": 0.5}, "items[0].quantity_received"),
        ({"product_id": 1, "quantity_received": 1}, "items[0].product_id"),
        ({"quantity_received": 1}, "items[0]"),
        (
            {"purchase_order_item_id": 1001, "quantity_received": 1, "unit_cost": -1},
            "items[0].unit_cost",
        ),
        (
            {"purchase_order_item_id": 1001, "quantity_received": 1, "serials": ["A"]},
            "items[0].serials",
        ),
    ],
)
async def test_a_wrong_item_is_named_as_the_body_names_it(
    service: Service, item: dict[str, Any], field: str
) -> None:
    """In the problem's field and in its text."""
    await bought(service, 2, 2)
    refused = await service.post(f"{ORDERS}/1/receive", {"items": [item]})
    assert refused.status_code == 400
    problem = refused.json()
    assert problem["field"] == field
    assert problem["detail"].startswith(field)
    assert "line_id" not in problem["detail"]


async def test_an_item_may_be_named_by_its_product(service: Service) -> None:
    """Where it is the only one of it."""
    await bought(service, 2)
    body = {"items": [{"product_id": 1, "quantity_received": 2}]}
    assert (await service.post(f"{ORDERS}/1/receive", body)).json()["status"] == "received"
    back = {"items": [{"product_id": 1, "quantity": 1}]}
    assert (await service.post(f"{ORDERS}/1/return", back)).json()["returned_lines"] == 1
    back["items"][0]["quantity"] = 2
    refused = await service.post(f"{ORDERS}/1/return", back)
    assert (refused.status_code, refused.json()["most"]) == (409, "1")


async def test_a_write_keeps_to_its_idempotency_key_and_to_if_match(service: Service) -> None:
    """The same key twice receives once; an outdated version receives nothing."""
    await bought(service, 4)
    body = items((1001, 1))
    for replayed in (None, "true"):
        received = await service.post(
            f"{ORDERS}/1/receive", body, headers={"Idempotency-Key": "k-1"}
        )
        assert received.status_code == 200
        assert received.headers.get("idempotent-replayed") == replayed
        assert received.json()["receipt"] == 1
    stale = await service.post(f"{ORDERS}/1/receive", body, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    fresh = await service.post(f"{ORDERS}/1/receive", body, headers={"If-Match": '"3"'})
    assert fresh.status_code == 200
    position = int(fresh.headers["ledger-position"])
    read = await service.get(f"{ORDERS}/1?min_position={position}")
    assert read.json()["items"][0]["quantity_received"] == 2


async def test_the_list_pages_by_number_and_by_cursor(service: Service) -> None:
    """Newest first, nothing skipped and nothing twice."""
    for _ in range(5):
        await bought(service, 1)
    page = (await service.get(f"{ORDERS}/all?page=2&limit=2")).json()
    assert ([row["id"] for row in page["purchase_orders"]], page["total"]) == ([3, 2], 5)
    ids: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await service.get(f"{ORDERS}/all?limit=2&cursor={cursor}")).json()
        ids += [row["id"] for row in page["purchase_orders"]]
        cursor = page["next_cursor"]
    assert ids == [5, 4, 3, 2, 1]


async def test_the_commands_are_taken_in_bulk(service: Service) -> None:
    """A backdated purchase, drafted and received as the ledger's own commands."""
    at = "2026-02-03T04:05:06Z"
    commands = [
        {
            "type": "CreatePurchaseOrder",
            "data": {
                "supplier_id": 1,
                "location": "W-WGT-500",
                "lines": [{"sku": "WGT-500", "quantity": 3, "unit_cost": "1.5"}],
                "effective_at": at,
            },
        },
        {"type": "ReceivePurchaseOrder", "data": {"purchase_order_id": 1, "effective_at": at}},
    ]
    answer = await service.post("/api/ledger/commands", {"mode": "atomic", "commands": commands})
    assert answer.status_code == 200, answer.text
    reply = (await service.get(f"{ORDERS}/1")).json()
    assert (reply["created_at"], reply["receipts"][0]["received_at"]) == (at, at)
    assert reply["status"] == "received"


@pytest.fixture
async def rivals(database: DatabaseAddress, tmp_path: Path) -> AsyncIterator[tuple[Service, ...]]:
    """Two services on one database, each with a committer and a memory of its own."""
    async with (
        house_at(Settings(data_dir=tmp_path), database) as first,
        house_at(Settings(data_dir=tmp_path), database) as second,
        running_service(first) as service,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(second)),  # type: ignore[arg-type]
            base_url="http://rival",
        ) as client,
    ):
        await service.stocked(0)
        await service.post("/api/suppliers", {"name": "Bolts"})
        yield service, replace(service, house=second, client=client)


async def test_what_comes_in_twice_at_once_comes_in_once(rivals: tuple[Service, ...]) -> None:
    """Two services receive the same outstanding quantity at once: exactly one of them does."""
    service = rivals[0]
    for number in range(1, 9):
        await bought(service, 5)
        body = items((number * 1000 + 1, 5))
        answers = await asyncio.gather(
            *(rival.post(f"{ORDERS}/{number}/receive", body) for rival in rivals)
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 409], [answer.text for answer in answers]
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert refused.json()["most"] == "0"
        assert await on_hand(service) == 5 * number


async def test_within_the_tolerance_both_come_in(rivals: tuple[Service, ...]) -> None:
    """As receipts with numbers of their own."""
    await bought(rivals[0], 5, tolerance_percent=100)
    answers = await asyncio.gather(
        *(rival.post(f"{ORDERS}/1/receive", items((1001, 5))) for rival in rivals)
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.json()["receipt"] for answer in answers} == {1, 2}
    assert await on_hand(rivals[0]) == 10


async def test_all_that_is_outstanding_comes_in_once(rivals: tuple[Service, ...]) -> None:
    """Who comes second finds nothing outstanding, and is told so."""
    await bought(rivals[0], 5, 7)
    answers = await asyncio.gather(*(rival.post(f"{ORDERS}/1/receive") for rival in rivals))
    assert sorted(answer.json()["received_lines"] for answer in answers) == [0, 2]
    assert await on_hand(rivals[0]) == 12
