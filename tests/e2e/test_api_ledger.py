"""The ledger's own routes: commands in bulk, events, explanations; and what every write has."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service

COMMANDS = "/api/ledger/commands"
PLACE = {"sku": "WGT-500", "location": "W-WGT-500"}


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a product and a warehouse, 200 on hand."""
    async with running_service(house) as service:
        await service.stocked()
        yield service


def adjust(quantity: Any, **more: Any) -> dict[str, Any]:
    """Return a bulk item."""
    return {"type": "AdjustStock", "data": {**PLACE, "quantity": quantity}, **more}


async def on_hand(service: Service) -> float:
    """Return what is on hand now."""
    return (await service.get("/api/stock/WGT-500?location=w-wgt-500")).json()["on_hand"]


async def test_an_atomic_batch_takes_effect_whole(service: Service) -> None:
    """Each command with its own events, at consecutive positions."""
    response = await service.post(COMMANDS, {"commands": [adjust(1), adjust(-2), adjust(3)]})
    assert response.status_code == 200
    reply = response.json()
    assert (reply["accepted"], reply["refused"]) == (3, 0)
    positions = [result["events"][0]["position"] for result in reply["results"]]
    assert positions == list(range(positions[0], positions[0] + 3))
    assert response.headers["ledger-position"] == str(positions[-1])
    assert await on_hand(service) == 202


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [(adjust(-9999), 409, "batch_refused"), (adjust("x"), 400, "batch_invalid")],
)
async def test_an_atomic_batch_with_one_bad_command_has_no_effect(
    service: Service, bad: dict[str, Any], status: int, code: str
) -> None:
    """Every item is answered: the bad one with its problem, the others as not applied."""
    response = await service.post(COMMANDS, {"commands": [adjust(1), bad, adjust(3)]})
    assert response.status_code == status
    problem = response.json()
    assert problem["code"] == code
    assert [result["status"] for result in problem["results"]] == [
        "not_applied",
        "refused",
        "not_applied",
    ]
    assert await on_hand(service) == 200


async def test_independent_commands_fail_alone_and_all_at_once(service: Service) -> None:
    """One bad item of each kind; the rest take effect."""
    bad: list[Any] = [
        {"type": "Fly", "data": {}},
        {"type": "RecordApiKeyCreated", "data": {"key_id": 9}},
        {"data": {}},
        adjust("1_0"),
        {"type": "AdjustStock", "data": {**PLACE, "sku": "NONE", "quantity": 1}},
        {"type": "AdjustStock", "data": {**PLACE, "quantity": 1, "colour": "red"}},
        adjust(-9999),
        "text",
    ]
    commands = [adjust(1), *bad, adjust(3)]
    response = await service.post(COMMANDS, {"mode": "independent", "commands": commands})
    assert response.status_code == 200
    reply = response.json()
    statuses = [result["status"] for result in reply["results"]]
    assert statuses == ["accepted", *["refused"] * len(bad), "accepted"]
    fields = [result.get("problem", {}).get("field") for result in reply["results"]]
    assert fields[1:5] == ["type", "type", "type", "data.quantity"]
    assert fields[6] == "data.colour"
    assert await on_hand(service) == 204


async def test_a_key_twice_in_one_item_is_refused(service: Service) -> None:
    """JSON parsers take the last of them; we take none."""
    item = '{"type":"AdjustStock","data":{"sku":"WGT-500","location":"W-WGT-500",%s}}'
    items = [item % '"quantity":1,"quantity":100', item % '"quantity":2,"notes":"x"']
    body = '{"mode":"independent","commands":[' + ",".join(items) + "]}"
    response = await service.call(
        "POST", COMMANDS, content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert [result["status"] for result in response.json()["results"]] == ["refused", "accepted"]
    assert await on_hand(service) == 202


async def test_lines_of_json_are_taken_as_well(service: Service) -> None:
    """One command a line, the mode in the query."""
    lines = "\n".join(json.dumps(adjust(quantity)) for quantity in (1, -9999, 2))
    response = await service.call(
        "POST",
        f"{COMMANDS}?mode=independent",
        content=lines.encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert response.status_code == 200, response.text
    assert response.json()["accepted"] == 2
    assert await on_hand(service) == 203


async def test_an_items_own_key_takes_effect_once(service: Service) -> None:
    """In one batch, in the next, and however the number is written."""
    for quantity in (5, "5"):
        response = await service.post(
            COMMANDS,
            {
                "mode": "independent",
                "commands": [
                    adjust(quantity, idempotency_key="one"),
                    adjust(quantity, idempotency_key="one"),
                    adjust(6, idempotency_key="one"),
                ],
            },
        )
        results = response.json()["results"]
        assert results[1]["replayed"] is True
        assert results[2]["problem"]["code"] == "idempotency_key_reused"
    assert await on_hand(service) == 205


async def test_a_request_takes_effect_once_under_its_key(service: Service) -> None:
    """The same bytes again, marked; another body is refused and names what differs."""
    body = {**PLACE, "quantity": 5}
    options = {"headers": {"Idempotency-Key": "order 66/1"}}
    first = await service.post("/api/inventory/adjust", body, **options)
    second = await service.post("/api/inventory/adjust", body, **options)
    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["ledger-position"] == first.headers["ledger-position"]
    assert "idempotent-replayed" not in first.headers
    other = await service.post("/api/inventory/adjust", {**body, "quantity": 6}, **options)
    assert other.status_code == 422
    assert other.json()["differing"] == ["quantity"]
    assert await on_hand(service) == 205


async def test_if_match_guards_against_a_change_in_between(service: Service) -> None:
    """The version that a read gave is good for one write."""
    etag = (await service.get("/api/products/1")).headers["etag"]
    body = {"name": "W", "sku": "WGT-500", "base_price": 1}
    headers = {"If-Match": etag}
    first = await service.call("PUT", "/api/products/1", body, headers=headers)
    assert first.status_code == 200
    stale = await service.call("PUT", "/api/products/1", {**body, "name": "V"}, headers=headers)
    assert stale.status_code == 412
    assert stale.json()["actual_version"] == 2


async def test_a_read_waits_for_a_position(service: Service) -> None:
    """It is answered once the ledger is there; and refused after two seconds if it is not."""
    position = (await service.get("/api/ledger/head")).json()["position"]
    waiting = asyncio.create_task(service.get(f"/api/stock/WGT-500?min_position={position + 1}"))
    await asyncio.sleep(0.1)
    await service.post("/api/inventory/adjust", {**PLACE, "quantity": 1})
    assert (await waiting).json()["on_hand"] == 201
    late = await service.get(f"/api/stock/WGT-500?min_position={position + 100}")
    assert (late.status_code, late.json()["code"]) == (412, "not_yet")


async def test_events_are_read_in_pages_filtered_and_as_lines(service: Service) -> None:
    """Pages and lines show the same events, data and meta as they are stored."""
    await service.post(COMMANDS, {"commands": [adjust(n) for n in range(1, 8)]})
    events: list[Any] = []
    after: int | None = 0
    page: dict[str, Any] = {}
    while after is not None:
        page = (await service.get(f"/api/ledger/events?after={after}&limit=3")).json()
        events += page["events"]
        after = page["next_after"]
    assert [event["position"] for event in events] == list(range(1, page["position"] + 1))
    lines = await service.get("/api/ledger/events", headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == events
    adjusted = (await service.get("/api/ledger/events?type=StockAdjusted&category=stock")).json()
    assert [event["data"]["quantity"] for event in adjusted["events"]] == list("1234567")
    assert adjusted["events"][0]["meta"]["actor"] == "user:1"


async def test_a_figure_is_explained(service: Service) -> None:
    """Every step, newest first, and what was on hand after it; pages add up."""
    await service.post(COMMANDS, {"commands": [adjust(n) for n in (-1, 2, -3)]})
    path = "/api/ledger/explain?sku=wgt-500&location=W-WGT-500"
    whole = (await service.get(path)).json()
    assert whole["on_hand"] == 198
    assert [step["on_hand_after"] for step in whole["steps"]] == [198, 201, 199, 200]
    first = (await service.get(f"{path}&limit=2")).json()
    assert first["brought_forward"] == 199
    second = (await service.get(f"{path}&limit=2&before={first['next_before']}")).json()
    assert first["steps"] + second["steps"] == whole["steps"]


async def test_the_past_is_asked_for_by_business_time(service: Service) -> None:
    """A receipt entered late is in the past as of its effective time, once it is known."""
    known = (await service.get("/api/ledger/head")).json()["recorded_at"]
    await service.post(
        "/api/inventory/receive",
        {**PLACE, "quantity": 7, "effective_at": "2026-01-01T00:00:00Z"},
    )
    as_of = "/api/stock/WGT-500?location=W-WGT-500&as_of=2026-02-01T00:00:00Z"
    assert (await service.get(as_of)).json()["on_hand"] == 7
    assert (await service.get(f"{as_of}&known_at={known}")).json()["on_hand"] == 0
