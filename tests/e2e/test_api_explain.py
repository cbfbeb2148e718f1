"""Explaining and comparing read models over HTTP: what is asked, what is told, what is refused."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service
from tests.support.auditing import tell

ITEM = {"sku": "WGT-500", "location": "W-WGT-500"}
WHERE = "sku=WGT-500&location=W-WGT-500"
LEVEL = f"/api/ledger/explain/stock_level?{WHERE}"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with 200 of a product, of which some are sold, reserved and adjusted."""
    async with running_service(house) as service:
        await service.stocked(0)
        await tell(
            service,
            ("ReceiveStock", {**ITEM, "quantity": 200, "effective_at": "2026-03-01T12:00:00Z"}),
            ("IssueStock", {**ITEM, "quantity": 5, "effective_at": "2026-03-02T12:00:00Z"}),
            ("ReserveStock", {**ITEM, "quantity": 2, "reservation_id": "a"}),
            ("AdjustStock", {**ITEM, "quantity": 1, "reason": "found"}),
        )
        yield service


async def get(service: Service, path: str) -> Any:
    """Return what a path answers."""
    answer = await service.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def position(service: Service) -> int:
    """Return the head."""
    return (await get(service, "/api/ledger/head"))["position"]


async def test_a_row_is_told_event_by_event(service: Service) -> None:
    """Newest first, with what each changed and who did it; the last value is the row's own."""
    told = await get(service, LEVEL)
    assert told["figure"]["unrestricted"] == 196
    assert told["brought_forward"] is None
    assert told["next_before"] is None
    assert [step["type"] for step in told["steps"]] == [
        "StockAdjusted", "StockReserved", "StockIssued", "StockReceived",
    ]  # fmt: skip
    adjusted, reserved, issued, received = told["steps"]
    assert {"column": "unrestricted", "before": 195, "after": 196} in adjusted["changes"]
    assert adjusted["data"]["reason"] == "found"
    assert adjusted["actor_name"]
    assert [change["column"] for change in reserved["changes"]] == [
        "reserved",
        "version",
        "position",
    ]
    assert issued["after"]["customer"] == 5
    assert received["after"]["supplier"] == -200


async def test_it_is_told_as_of_a_time_and_as_known_at_one(service: Service) -> None:
    """The same question gives the same bytes, whatever is recorded later."""
    head = await position(service)
    sold = (await get(service, LEVEL))["steps"][2]
    then = await service.get(f"{LEVEL}&known_at={sold['position']}")
    assert then.json()["figure"]["unrestricted"] == 195
    assert then.headers["ledger-known-position"] == str(sold["position"])
    early = await get(service, f"{LEVEL}&as_of=2026-03-03T00:00:00Z")
    assert [step["type"] for step in early["steps"]] == ["StockIssued", "StockReceived"]
    assert early["figure"]["unrestricted"] == 195
    before = await service.get(f"{LEVEL}&known_at={head}")
    await tell(service, ("AdjustStock", {**ITEM, "quantity": 7}))
    again = await service.get(f"{LEVEL}&known_at={head}")
    assert again.content == before.content
    assert (await get(service, LEVEL))["figure"]["unrestricted"] == 203


async def test_the_quick_form_takes_both_times_too(service: Service) -> None:
    """What is on hand of a SKU, of what had happened and had been recorded."""
    path = f"/api/ledger/explain?{WHERE}"
    now = await get(service, path)
    assert now["on_hand"] == 196
    sold = now["steps"][2]["position"]
    then = await service.get(f"{path}&known_at={sold}")
    assert then.headers["ledger-known-position"] == str(sold)
    assert then.json()["on_hand"] == then.json()["steps"][0]["on_hand_after"] == 195
    assert [step["type"] for step in then.json()["steps"]] == ["StockIssued", "StockReceived"]
    early = await get(service, f"{path}&as_of=2026-03-03T00:00:00Z")
    assert [step["type"] for step in early["steps"]] == ["StockIssued", "StockReceived"]
    assert early["on_hand"] == 195
    reversed_sale = await tell(service, ("ReverseMovement", {"position": sold}))
    later = await get(service, path)
    by = {step["position"]: step["reversed_by"] for step in later["steps"]}
    assert by[sold] == reversed_sale
    known = await service.get(f"{path}&known_at={sold}")
    assert known.content == then.content
    assert {step["reversed_by"] for step in known.json()["steps"]} == {None}


async def test_sums_and_what_is_worked_out(service: Service) -> None:
    """A part of a key, a span of days, and the report's own figures."""
    await tell(service, ("ReceiveStock", {**ITEM, "quantity": 4, "unit_cost": "2.50"}))
    days = "day_from=2020-01-01&day_to=2100-01-01"
    told = await get(service, f"/api/ledger/explain/stock_by_day?sku=WGT-500&{days}")
    assert told["figure"]["rows"] == 3
    assert told["figure"]["change"] == 200
    assert told["key"]["day"] == {"from": "2020-01-01", "to": "2100-01-01"}
    value = await get(service, "/api/ledger/explain/stock_value?sku=WGT-500")
    assert value["figure"]["quantity"] == 200
    cogs = await get(service, "/api/ledger/explain/cost_of_goods_sold?sku=WGT-500&limit=5")
    assert cogs["figure"]["units"] == 5


async def test_two_moments_are_compared(service: Service) -> None:
    """A row with its events; a whole table with its rows, added and changed, in pages."""
    steps = (await get(service, LEVEL))["steps"]
    received, adjusted = steps[-1]["position"], steps[0]["position"]
    told = await get(service, f"/api/ledger/diff/stock_level?{WHERE}&from={received}&to={adjusted}")
    assert {"column": "unrestricted", "before": 200, "after": 196} in told["changes"]
    assert [step["type"] for step in told["steps"]] == [
        "StockAdjusted", "StockReserved", "StockIssued",
    ]  # fmt: skip
    whole = await get(service, f"/api/ledger/diff/movement?from={received}&limit=1")
    assert (whole["added"], whole["removed"], whole["changed"], whole["total"]) == (2, 0, 0, 2)
    assert len(whole["rows"]) == 1
    assert whole["rows"][0]["before"] is None
    assert whole["steps"] == []
    second = await get(service, f"/api/ledger/diff/movement?from={received}&limit=1&page=2")
    assert second["rows"][0]["key"] == {"position": adjusted}
    nothing = await get(service, f"/api/ledger/diff/stock_level?from={adjusted}")
    assert nothing["total"] == 0


async def test_what_can_be_explained_is_listed(service: Service) -> None:
    """Every table with its key and columns; each can be asked for."""
    told = await get(service, "/api/ledger/read-models")
    models = {model["table"]: model for model in told["read_models"]}
    assert told["total"] == len(models) > 50
    assert models["stock_level"]["key"] == ["product_id", "location_id"]
    assert models["stock_level"]["description"]
    assert {"name", "type", "description"} == set(models["sales_order"]["columns"][0])
    assert models["cost_day"]["follows"]
    assert not models["stock_level"]["follows"]
    for name, model in models.items():
        query = "?product_id=1" if name in ("cost_of_goods_sold", "stock_value") else "?limit=1"
        answer = await service.get(f"/api/ledger/explain/{name}{query}")
        assert answer.status_code == 200, (model, answer.text)


REFUSED: list[tuple[str, int, str]] = [
    ("/api/ledger/explain/nothing", 404, "stock_level"),
    ("/api/ledger/explain/stock_level?order_id=1", 400, "no part of the key"),
    ("/api/ledger/explain/stock_level?product_id=x", 400, "product_id: must be"),
    ("/api/ledger/explain/stock_level?sku=NONE", 404, "NONE"),
    ("/api/ledger/explain/stock_by_day?day=tomorrow", 400, "a date such as"),
    ("/api/ledger/explain/stock_by_day?day=2026-01-01&day_to=2026-02-01", 400, "either"),
    ("/api/ledger/explain/cost_of_goods_sold", 400, "product_id: is needed"),
    ("/api/ledger/explain/stock_level?limit=1000", 400, "limit: must be"),
    ("/api/ledger/explain/stock_level?knwon_at=1", 400, "no parameter here"),
    ("/api/ledger/explain/stock_level?known_at=99999", 400, "known_at: position 99999"),
    ("/api/ledger/diff/stock_level", 400, "from: is missing"),
    ("/api/ledger/diff/stock_level?from=3&to=2", 400, "from: must not be later"),
    ("/api/ledger/diff/stock_level?from=1&to=99999", 400, "to: position 99999"),
    ("/api/ledger/diff/stock_level?from=2099-01-01T00:00:00Z", 400, "from: 2099"),
    ("/api/ledger/read-models?page=2", 400, "no parameter here"),
]


async def test_what_makes_no_sense_is_refused_by_name(service: Service) -> None:
    """With the parameter, and what would be right."""
    for path, status, word in REFUSED:
        answer = await service.get(path)
        assert answer.status_code == status, (path, answer.text)
        assert word in answer.json()["detail"], path


async def test_a_key_without_the_scope_is_not_told(service: Service) -> None:
    """Reading is a scope of its own."""
    answer = await service.client.get(LEVEL)
    assert answer.status_code == 401
