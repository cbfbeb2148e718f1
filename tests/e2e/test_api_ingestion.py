"""Mihwar's ingestion over HTTP: batches, keys, resuming, reversing, and what it takes to do so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from deploy.wiring import House, following
from tests.support.api import Service, running_service
from tests.support.imports import Interrupted, KilledAfter

PATH = "/api/integrations/v1/ingestion/order-lines"
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service with what follows the log, and two products: TEA in tenths, CUP whole."""
    async with running_service(house) as service, following(house):
        for sku, scale in (("TEA", 1), ("CUP", 0)):
            made = await service.post(
                "/api/products", {"name": sku, "sku": sku, "base_price": "1", "scale": scale}
            )
            assert made.status_code == 201, made.text
        yield service


def line(sku: str = "TEA", quantity: Any = 1, day: str = "2026-03-02", **more: Any) -> Any:
    """Return an order line."""
    return {"sku": sku, "quantity": quantity, "orderDate": day, **more}


def many(count: int, start: int = 0) -> list[Any]:
    """Return so many different lines, every hundredth of a SKU that there is not."""
    first = date(2025, 1, 1)
    return [
        line(
            f"NO-{n}" if n % 100 == 99 else ("TEA", "CUP")[n % 2],
            n % 7 + 1,
            (first + timedelta(days=n % 365)).isoformat(),
        )
        for n in range(start, start + count)
    ]


async def send(service: Service, lines: list[Any], key: str | None = None, **said: Any) -> Any:
    """Send lines as JSON."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await service.post(PATH, {**said, "lines": lines}, key=service.api_key, headers=headers)


async def send_lines(
    service: Service, lines: list[Any], key: str | None = None, query: str = ""
) -> httpx.Response:
    """Send lines as NDJSON, in pieces."""
    body = b"\n".join(msgspec.json.encode(each) for each in lines)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    headers = dict(NDJSON) if key is None else {**NDJSON, "Idempotency-Key": key}
    return await service.post(PATH + query, content=pieces(), key=service.api_key, headers=headers)


async def events(service: Service, batch_id: str) -> list[Any]:
    """Return a batch's events."""
    answer = await service.get(f"/api/ledger/events?stream=import-{batch_id}&limit=1000")
    assert answer.status_code == 200, answer.text
    return answer.json()["events"]


async def demand(service: Service, at: httpx.Response, query: str) -> Any:
    """Return the report as of an answer, or later."""
    position = at.headers["ledger-position"]
    answer = await service.get(f"/api/reports/demand?{query}&min_position={position}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


async def test_a_request_is_a_batch_with_events_of_its_own(service: Service) -> None:
    """Opened, lines accepted and refused with reasons, closed; nothing moves."""
    answer = await send(
        service,
        [
            line(quantity="2.5"),
            line("NOPE"),
            line("CUP", "0.5"),
            line("cup ", 3, periodKind="week"),
        ],
        externalSourceId="SO-7",
        periodKind="month",
    )
    assert answer.status_code == 201, answer.text
    told = answer.json()
    batch_id = told.pop("importBatchId")
    assert told == {
        "externalSourceId": "SO-7",
        "periodKind": "month",
        "timeZone": "UTC",
        "status": "closed",
        "lines": 4,
        "accepted": 2,
        "refused": 2,
        "refusals": [
            {
                "line": 2,
                "code": "productNotFound",
                "message": "There is no product with sku 'NOPE'; register it first or check the "
                "spelling.",
            },
            {
                "line": 3,
                "code": "quantityNotInScale",
                "message": "quantity: 0.5 has more than the 0 digits behind the point that "
                "quantities of 'CUP' have; round it yourself.",
            },
        ],
    }
    opened, recorded, closed = await events(service, batch_id)
    assert [opened["type"], recorded["type"], closed["type"]] == [
        "ImportBatchOpened", "DemandRecorded", "ImportBatchClosed"
    ]  # fmt: skip
    assert opened["data"]["kind"] == "demand"
    assert opened["data"]["source_name"] == "SO-7"
    assert opened["data"]["options"] == {
        "period": "month", "time_zone": "UTC", "external_source_id": "SO-7"
    }  # fmt: skip
    assert [each["line"] for each in recorded["data"]["lines"]] == [1, 4]
    assert [each["line"] for each in recorded["data"]["refusals"]] == [2, 3]
    levels = await service.get("/api/inventory")
    assert levels.json()["inventory"] == []


async def test_demand_by_day_week_and_month(service: Service) -> None:
    """A week of 10 cups is 2, 2, 2, 1, 1, 1, 1; April's 3.2 of tea is a tenth more at its start."""
    answer = await send(
        service,
        [
            line("CUP", 10, "2026-03-04", periodKind="week"),
            line("TEA", "3.2", "2026-04-30", periodKind="month"),
            line("TEA", "1", "2026-04-02"),
        ],
    )
    cups = await demand(service, answer, "sku=cup&from=2026-03-01&to=2026-03-31")
    assert [(row["period"], row["quantity"]) for row in cups["demand"]] == [
        ("2026-03-02", 2), ("2026-03-03", 2), ("2026-03-04", 2), ("2026-03-05", 1),
        ("2026-03-06", 1), ("2026-03-07", 1), ("2026-03-08", 1),
    ]  # fmt: skip
    assert (cups["total"], cups["total_quantity"]) == (7, 10)
    teas = await demand(service, answer, "sku=TEA&from=2026-04-01&to=2026-04-03")
    assert [row["quantity"] for row in teas["demand"]] == [
        Decimal("0.2"), Decimal("1.2"), Decimal("0.1")
    ]  # fmt: skip
    weeks = await demand(service, answer, "from=2026-03-04&to=2026-04-30&group_by=week")
    assert [(row["sku"], row["period"], row["quantity"]) for row in weeks["demand"]] == [
        ("TEA", "2026-03-30", Decimal("1.7")), ("TEA", "2026-04-06", Decimal("0.7")),
        ("TEA", "2026-04-13", Decimal("0.7")), ("TEA", "2026-04-20", Decimal("0.7")),
        ("TEA", "2026-04-27", Decimal("0.4")), ("CUP", "2026-03-02", 6),
    ]  # fmt: skip
    months = await demand(service, answer, "from=2026-01-01&to=2026-12-31&group_by=month&limit=1")
    assert months["demand"] == [
        {
            "product_id": 1,
            "sku": "TEA",
            "product_name": "TEA",
            "period": "2026-04-01",
            "quantity": Decimal("4.2"),
        }
    ]
    assert (months["total"], months["total_quantity"]) == (2, Decimal("14.2"))


async def test_a_reversed_batch_is_gone_from_the_report_and_stays_in_history(
    service: Service,
) -> None:
    """As a whole; a second time there is nothing to do."""
    kept = await send(service, [line("CUP", 3, periodKind="week")])
    gone = await send(service, [line("CUP", 4, periodKind="week"), line("TEA", 1)])
    batch_id = gone.json()["importBatchId"]
    for already in (False, True):
        answer = await service.post(
            f"/api/import-batches/{batch_id}/reverse", {"reason": "sent twice"}, key=service.api_key
        )
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"id": batch_id, "status": "reversed", "already": already}
    report = await demand(service, answer, "from=2026-03-01&to=2026-03-31")
    assert [row["quantity"] for row in report["demand"]] == [1, 1, 1]
    types = [event["type"] for event in await events(service, batch_id)]
    assert types[-2:] == ["ImportBatchClosed", "ImportBatchReversed"]
    read = (await service.get(f"/api/import-batches/{batch_id}")).json()
    assert (read["status"], read["reversed_reason"], read["lines"]) == ("reversed", "sent twice", 2)
    listed = (await service.get("/api/import-batches?kind=demand&status=closed")).json()
    assert [each["id"] for each in listed["import_batches"]] == [kept.json()["importBatchId"]]
    assert listed["total"] == 1


async def test_refused_lines_can_all_be_read(service: Service) -> None:
    """The answer shows the first hundred; the rest is a page away."""
    answer = await send(service, [line(f"NO-{n}") for n in range(250)])
    told = answer.json()
    assert (told["accepted"], told["refused"], len(told["refusals"])) == (0, 250, 100)
    page = await service.get(
        f"/api/import-batches/{told['importBatchId']}/refusals?page=2&limit=200"
    )
    assert page.json()["total"] == 250
    assert [row["line"] for row in page.json()["refusals"]] == list(range(201, 251))


@pytest.mark.parametrize("form", ["json", "ndjson"])
async def test_the_same_key_is_answered_the_same(service: Service, form: str) -> None:
    """Once applied; also when it comes in the other form; the first answer is replayed."""
    lines = many(2_500)
    sending = send if form == "json" else send_lines
    first = await sending(service, lines, "odoo-17")
    assert first.status_code == 201, first.text
    assert "idempotent-replayed" not in first.headers
    before = await position(service)
    for again in (send, send_lines):
        second = await again(service, lines, "odoo-17")
        assert second.status_code == 201, second.text
        assert second.headers["idempotent-replayed"] == "true"
        assert second.content == first.content
        assert second.headers["ledger-position"] == first.headers["ledger-position"]
    assert await position(service) == before


async def position(service: Service) -> int:
    """Return the ledger's position."""
    return int((await service.get("/api/import-batches")).headers["ledger-position"])


def changed(lines: list[Any], at: int, **change: Any) -> list[Any]:
    """Return lines with one of them changed."""
    return [{**each, **change} if n == at else each for n, each in enumerate(lines)]


OTHERS = {
    "a quantity": (lambda lines: changed(lines, 1_700, quantity=99), {}, "lines 1001 to 2000"),
    "a bad line": (lambda lines: changed(lines, 0, orderDate="soon"), {}, "lines 1 to 1000"),
    "one line more": (lambda lines: [*lines, line()], {}, "lines 2001 to 2501"),
    "a chunk more": (lambda lines: [*lines, *many(3_000)], {}, "lines 2001 to 3000"),
    "one line fewer": (lambda lines: lines[:-1], {}, "lines 2001 to 2499"),
    "a chunk fewer": (lambda lines: lines[:2_000], {}, "lines 2001 to 2500"),
    "another source": (lambda lines: lines, {"externalSourceId": "B"}, "externalSourceId"),
    "another period": (lambda lines: lines, {"periodKind": "week"}, "periodKind"),
    "another zone": (lambda lines: lines, {"timeZone": "Asia/Tokyo"}, "timeZone"),
}


async def test_another_request_under_the_key_is_refused(service: Service) -> None:
    """It is told what differs, and nothing more is applied."""
    lines = many(2_500)
    assert (await send(service, lines, "k", externalSourceId="A")).status_code == 201
    before = await position(service)
    for what, (change, said, named) in OTHERS.items():
        answer = await send(service, change(lines), "k", **{"externalSourceId": "A", **said})
        assert answer.status_code == 422, (what, answer.text)
        error = answer.json()["error"]
        assert error["code"] == "idempotencyMismatch"
        assert error["differing"] == [named], what
        assert await position(service) == before


async def test_a_key_that_another_route_used_is_refused(service: Service) -> None:
    """And the other way round."""
    body = {"name": "X", "sku": "X", "base_price": "1"}
    headers = {"Idempotency-Key": "shared"}
    assert (await service.post("/api/products", body, headers=headers)).status_code == 201
    answer = await send(service, [line()], "shared")
    assert answer.status_code == 422
    assert answer.json()["error"]["differing"] == ["method or path"]
    assert (await send(service, [line()], "mine")).status_code == 201
    other = await service.post("/api/products", body, headers={"Idempotency-Key": "mine"})
    assert other.status_code == 422


async def test_a_request_that_was_cut_off_goes_on_where_it_stopped(service: Service) -> None:
    """Killed after each of its commits, it ends as it would have, nothing twice."""
    lines = many(3_400)
    whole = await send(service, lines, "whole")
    committer = service.house.committer
    # Opened, four chunks, closed: it is killed after each of these.
    for commits in range(1, 7):
        key = f"cut-{commits}"
        service.house.committer = KilledAfter(committer, commits)  # type: ignore[assignment]
        with pytest.raises(Interrupted):
            await send_lines(service, lines, key)
        service.house.committer = committer
        listed = (await service.get("/api/import-batches?status=open&kind=demand")).json()
        assert listed["total"] == (1 if commits < 6 else 0)
        again = await send(service, lines, key)
        assert again.status_code == 201, again.text
        told, expected = again.json(), whole.json()
        batch_id = told.pop("importBatchId")
        assert expected.pop("importBatchId") != batch_id
        assert told == expected
        assert ("idempotent-replayed" in again.headers) == (commits == 6)
        kinds = [event["type"] for event in await events(service, batch_id)]
        assert kinds == ["ImportBatchOpened", *["DemandRecorded"] * 4, "ImportBatchClosed"]
        assert (await send(service, lines, key)).content == again.content


async def test_other_lines_are_refused_where_the_first_attempt_was_cut_off(
    service: Service,
) -> None:
    """What had been recorded stays, nothing is added, and the right lines still go on."""
    lines = many(2_500)
    committer = service.house.committer
    service.house.committer = KilledAfter(committer, 3)  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        await send_lines(service, lines, "cut")
    service.house.committer = committer
    before = await position(service)
    answer = await send(service, changed(lines, 1_999, quantity=50), "cut")
    assert answer.status_code == 422
    assert answer.json()["error"]["differing"] == ["lines 1001 to 2000"]
    assert answer.json()["error"]["importBatchId"]
    assert await position(service) == before
    assert (await send(service, lines, "cut")).status_code == 201


async def test_two_at_once_under_one_key_are_one(service: Service) -> None:
    """Each chunk is recorded by one of them, and both get the same answer."""
    lines = many(4_100)
    answers = await asyncio.gather(*(send(service, lines, "twin") for _ in range(3)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    kinds = [e["type"] for e in await events(service, answers[0].json()["importBatchId"])]
    assert kinds == ["ImportBatchOpened", *["DemandRecorded"] * 5, "ImportBatchClosed"]


async def test_without_a_key_each_request_is_a_batch(service: Service) -> None:
    """The same lines again are more demand."""
    first, second = [await send(service, [line("CUP", 2)]) for _ in range(2)]
    assert first.json()["importBatchId"] != second.json()["importBatchId"]
    report = await demand(service, second, "from=2026-03-02&to=2026-03-02")
    assert report["total_quantity"] == 4


async def test_an_open_batch_that_was_reversed_takes_no_more(service: Service) -> None:
    """The key that began it gets a 409 that says so."""
    lines = many(1_500)
    committer = service.house.committer
    service.house.committer = KilledAfter(committer, 2)  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        await send(service, lines, "cut")
    service.house.committer = committer
    (batch,) = (await service.get("/api/import-batches")).json()["import_batches"]
    assert (batch["status"], batch["lines"]) == ("open", 1_000)
    reversal = await service.post(f"/api/import-batches/{batch['id']}/reverse")
    assert reversal.status_code == 200, reversal.text
    answer = await send(service, lines, "cut")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "importBatchReversed"
    report = await demand(service, reversal, "from=2025-01-01&to=2025-12-31")
    assert report["total"] == 0


async def test_a_time_is_of_the_day_that_it_has_in_the_zone(service: Service) -> None:
    """The default location's zone, or the one that the request names."""
    at = "2026-03-02T23:30:00Z"
    place = {"name": "Sydney", "code": "SYD", "time_zone": "Australia/Sydney", "is_default": True}
    body = {"commands": [{"type": "OpenLocation", "data": place}]}
    assert (await send(service, [line("CUP", 1, at)])).json()["timeZone"] == "UTC"
    assert (await service.post("/api/ledger/commands", body)).json()["accepted"] == 1
    here = await send(service, [line("CUP", 10, at)])
    assert here.json()["timeZone"] == "Australia/Sydney"
    there = await send(service, [line("CUP", 100, at)], timeZone="America/New_York")
    days = await demand(service, there, "from=2026-03-01&to=2026-03-05")
    assert [(row["period"], row["quantity"]) for row in days["demand"]] == [
        ("2026-03-02", 101), ("2026-03-03", 10)
    ]  # fmt: skip
