"""Seed 000, "Integrations & connections", sentence by sentence, and the shape of every error.

The document names the path, two headers, five fields and a rule for retries; what it leaves open
is our choice, told in docs/guides/mihwar.md and held to here.
"""

import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.dialects import mihwar
from api.dialects.mihwar import read_chunk
from api.ingestion import _zone
from api.large_body import DocumentReader, LineSplitter, SpooledLines
from api.problems import Problem
from deploy.bootstrap import found_tenant
from deploy.settings import Settings
from deploy.wiring import house_at
from ledger.errors import QueueFull
from schemas.http_mihwar import MihwarErrorReply
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer

PATH = "/api/integrations/v1/ingestion/order-lines"
NDJSON = {"content-type": "application/x-ndjson"}
UTC = _zone("UTC")


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """The service with one article, KAFTAN-7."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("mihwar"), ingestion_body_bytes_max=1024 * 1024
    )
    async with (
        postgres.fresh_database() as address,
        house_at(settings, address) as house,
        running_service(house) as service,
    ):
        made = await service.post(
            "/api/products", {"name": "Kaftan", "sku": "KAFTAN-7", "base_price": "1"}
        )
        assert made.status_code == 201
        yield service


async def send(service: Service, body: Any, **headers: str) -> httpx.Response:
    """Send a body, JSON unless it is bytes, with the API key."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    given = {"X-API-Key": service.api_key, "content-type": "application/json", **headers}
    return await service.client.post(PATH, content=content, headers=given)


def line(**change: Any) -> dict[str, Any]:
    """An order line with the document's fields."""
    return {"sku": "KAFTAN-7", "quantity": 4, "orderDate": "2026-03-01", **change}


async def test_historical_quantities_for_existing_skus(service: Service) -> None:
    """ "inserts historical quantities for existing SKUs": no other becomes a product by it."""
    answer = await send(service, {"lines": [line(), line(sku="KAFTAN-8")]})
    assert answer.status_code == 201
    assert (answer.json()["accepted"], answer.json()["refused"]) == (1, 1)
    assert answer.json()["refusals"][0]["code"] == "productNotFound"
    assert (await service.get("/api/products")).json()["total"] == 1
    assert (await service.get("/api/inventory")).json()["total"] == 0


async def test_each_request_creates_an_import_batch(service: Service) -> None:
    """ "response includes importBatchId"; "externalSourceId is stored on the batch"."""
    answer = await send(service, {"externalSourceId": "odoo/2026-03", "lines": [line()]})
    batch_id = answer.json()["importBatchId"]
    batch = (await service.get(f"/api/import-batches/{batch_id}")).json()
    assert batch["kind"] == "demand"
    assert batch["options"]["external_source_id"] == "odoo/2026-03"
    assert batch["source_name"] == "odoo/2026-03"
    other = await send(service, {"lines": [line()]})
    assert other.json()["externalSourceId"] is None
    assert other.json()["importBatchId"] != batch_id


@pytest.mark.parametrize("kind", ["day", "week", "month"])
async def test_order_date_is_the_anchor_of_its_period(service: Service, kind: str) -> None:
    """ "orderDate as the period anchor (day/week/month consistent with periodKind)"."""
    for body in (
        {"periodKind": kind, "lines": [line()]},
        {"periodKind": "week", "lines": [line(periodKind=kind)]},
    ):
        answer = await send(service, body)
        batch_id = answer.json()["importBatchId"]
        log = await service.get(f"/api/ledger/events?stream=import-{batch_id}")
        (recorded,) = log.json()["events"][1]["data"]["lines"]
        assert recorded["order_date"] == "2026-03-01"
        assert recorded.get("period", "day") == kind


async def test_the_first_successful_response_is_kept(service: Service) -> None:
    """ "the server caches the first successful response per org + key": not one that failed."""
    key = {"Idempotency-Key": "export-9/2026-03"}
    assert (await send(service, {"lines": []}, **key)).status_code == 400
    first = await send(service, {"lines": [line()]}, **key)
    assert first.status_code == 201
    again = await send(service, {"lines": [line()]}, **key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content


async def test_the_key_is_the_organisations(service: Service) -> None:
    """Another's batch under the same key is its own, with a name that tells nothing."""
    other = await found_tenant(service.house, "Other", email="other@example.com")
    key = {"Idempotency-Key": "shared"}
    first = await send(service, {"lines": [line()]}, **key)
    second = await send(service, {"lines": [line()]}, **key, **{"X-API-Key": other.api_key})
    assert second.status_code == 201
    assert "idempotent-replayed" not in second.headers
    # The other has no such article.
    assert (first.json()["accepted"], second.json()["accepted"]) == (1, 0)


async def test_ndjson_has_the_same_lines(service: Service) -> None:
    """What is said of all of them is in the query, or in a first line of its own."""
    lines = b"\n".join(msgspec.json.encode(line(quantity=n)) for n in (1, 2)) + b"\r\n\n"
    said = {"externalSourceId": "S", "periodKind": "month", "timeZone": "Asia/Riyadh"}
    answers = [
        await send(service, msgspec.json.encode(said) + b"\n" + lines, **NDJSON),
        await service.client.post(
            PATH, params=said, content=lines, headers={"X-API-Key": service.api_key, **NDJSON}
        ),
        await send(service, {"lines": [line(quantity=1), line(quantity=2)], **said}),
    ]
    told = [answer.json() for answer in answers]
    for each in told:
        each.pop("importBatchId")
    assert told[0] == told[1] == told[2]
    assert told[0]["accepted"] == told[0]["lines"] == 2
    assert told[0]["timeZone"] == "Asia/Riyadh"


async def test_its_events_say_where_they_came_from(service: Service) -> None:
    """Source, key and actor are in meta."""
    answer = await send(service, {"lines": [line()]}, **{"Idempotency-Key": "meta"})
    stream = f"import-{answer.json()['importBatchId']}"
    events = (await service.get(f"/api/ledger/events?stream={stream}")).json()["events"]
    assert {event["meta"]["source"] for event in events} == {"mihwar"}
    assert {event["meta"]["idempotency_key"] for event in events} == {"meta"}


NO_DAY = "orderDate must be a date such as 2026-03-02, or a time with its zone, from 1970 to 2199."
TOO_FINE = "quantity must be a plain decimal with at most 12 digits before the point and 6 behind."
BAD_LINES = {
    "no date": (line(orderDate="soon, 2026"), NO_DAY),
    "no day of the year": (line(orderDate="2026-02-30"), NO_DAY),
    "too short": (line(orderDate="2026"), "orderDate: Expected `str` of length >= 10."),
    "a time without its zone": (line(orderDate="2026-03-01T10:00:00"), NO_DAY),
    "too early": (line(orderDate="1969-12-31"), NO_DAY),
    "nothing wanted": (line(quantity=0), "quantity must be above zero."),
    "no number": (line(quantity="1_0"), "quantity: must be a plain decimal, such as 12.5."),
    "too fine": (line(quantity="0.0000001"), TOO_FINE),
    "a number for a SKU": (line(sku=7), "sku: Expected `str`, got `int`."),
    "no SKU": ({"quantity": 1, "orderDate": "2026-03-01"}, "Missing required field `sku`; add it."),
    "an unknown field": (line(price=1), "Unknown field `price`; remove it or check its spelling."),
    "an unknown period": (line(periodKind="year"), "periodKind: Invalid enum value 'year'."),
    "no object": ("KAFTAN-7", "Expected `object`, got `str`."),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_LINES)
async def test_a_line_that_is_none_is_refused_for_itself(service: Service, what: str) -> None:
    """With what is wrong; the others are taken."""
    bad, message = BAD_LINES[what]
    answer = await send(service, {"lines": [line(), bad, line()]})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["accepted"], answer.json()["lines"]) == (2, 3)
    assert answer.json()["refusals"] == [{"line": 2, "code": "invalidLine", "message": message}]


# --- errors -----------------------------------------------------------------------------

KEYED = {"Idempotency-Key": "used"}
ERRORS: dict[str, tuple[Any, dict[str, str], int, str, str | None]] = {
    "no JSON": (b"{", {}, 400, "malformedBody", None),
    "cut off": (b'{"lines":[{"sku":"K"', {}, 400, "malformedBody", None),
    "no object": (b"[]", {}, 400, "malformedBody", None),
    "not UTF-8": (b'{"lines":["\xff"]}', {}, 400, "malformedBody", None),
    "too deep": (b'{"lines":[' + b"[" * 9_000 + b"]}", {}, 400, "malformedBody", None),
    "no lines": ({"periodKind": "day"}, {}, 400, "invalidField", "lines"),
    "empty lines": ({"lines": []}, {}, 400, "invalidField", "lines"),
    "lines twice": (b'{"lines":[1],"lines":[2]}', {}, 400, "invalidField", "lines"),
    "an unknown field": ({"lines": [1], "period": 1}, {}, 400, "invalidField", "period"),
    "an unknown period": ({"lines": [1], "periodKind": "year"}, {}, 400, "invalidField",
                          "periodKind"),
    "a zone there is not": ({"lines": [1], "timeZone": "Mars/Base"}, {}, 400, "invalidField",
                            "timeZone"),
    "a key that is none": ({"lines": [1]}, {"Idempotency-Key": "x" * 256}, 400,
                           "invalidParameter", "Idempotency-Key"),
    "no NDJSON": (b"", NDJSON, 400, "invalidField", "lines"),
    "a bad header line": (b'{"periodKind":"year"}\n{}', NDJSON, 400, "invalidField", "periodKind"),
    "a line too long": (b'{"sku":"' + b"K" * 70_000, NDJSON, 400, "malformedBody", None),
    "too much": (b'{"lines":[' + b" " * 2**20, {}, 413, "bodyTooLarge", None),
    "too many lines": (b'{"sku":"K"}\n' * 2**17, NDJSON, 413, "bodyTooLarge", None),
    "CSV": (b"sku,quantity", {"content-type": "text/csv"}, 415, "unsupportedMediaType", None),
    "compressed": (b"\x1f\x8b", {"content-encoding": "gzip"}, 415, "unsupportedMediaType", None),
    "another request's key": ({"lines": [line(quantity=9)]}, KEYED, 422, "idempotencyMismatch",
                              None),
}  # fmt: skip


def fault(answer: httpx.Response) -> dict[str, Any]:
    """Return what is in an error, which has the family's shape and nothing else."""
    assert answer.headers["content-type"] == "application/json"
    msgspec.json.decode(answer.content, type=MihwarErrorReply)
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert error["message"].endswith(".")
    return error


@pytest.mark.parametrize("what", ERRORS)
async def test_every_error_has_the_one_shape(service: Service, what: str) -> None:
    """Its code is stable and its message says what to do; nothing is left behind."""
    body, headers, status, code, field = ERRORS[what]
    await send(service, {"lines": [line()]}, **KEYED)
    answer = await send(service, body, **headers)
    assert answer.status_code == status, answer.text
    error = fault(answer)
    assert error["code"] == code
    assert error.get("field") == field
    if status == 413 and headers == NDJSON:
        assert answer.headers.get("ledger-position") is None


async def test_said_in_the_query_and_in_the_body(service: Service) -> None:
    """Twice is once too often, whatever it says."""
    answer = await service.client.post(
        f"{PATH}?periodKind=day",
        json={"periodKind": "day", "lines": [line()]},
        headers={"X-API-Key": service.api_key},
    )
    assert answer.status_code == 400
    assert fault(answer)["field"] == "periodKind"
    unknown = await service.client.post(
        f"{PATH}?period=day", json={"lines": [line()]}, headers={"X-API-Key": service.api_key}
    )
    assert unknown.status_code == 400
    assert fault(unknown)["field"] == "period"


async def test_who_may_not(service: Service) -> None:
    """Nobody, a wrong key, a key that only reads; and what is not there at all."""
    made = await service.post("/api/api-keys", {"name": "reader", "permissions": ["read"]})
    for headers, status, code in (
        ({}, 401, "unauthenticated"),
        ({"X-API-Key": "sl_live_1_wrong"}, 401, "unauthenticated"),
        ({"X-API-Key": made.json()["key"]}, 403, "forbidden"),
    ):
        answer = await service.client.post(PATH, json={"lines": [line()]}, headers=headers)
        assert answer.status_code == status
        assert fault(answer)["code"] == code
    assert answer.json()["error"]["message"] == "This API key lacks the permission 'write'."
    lost = await service.post("/api/integrations/v1/ingestion/orders", {})
    assert lost.status_code == 404
    assert fault(lost)["code"] == "notFound"
    wrong = await service.get(PATH)
    assert wrong.status_code == 405
    assert fault(wrong)["code"] == "methodNotAllowed"
    assert "POST" in wrong.headers["allow"]


async def test_a_ledger_that_is_busy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After."""

    async def submit(_submission: Any) -> Any:
        raise QueueFull(retry_after_s=3)

    monkeypatch.setattr("api.ingestion.ATTEMPTS_MAX", 1)
    monkeypatch.setattr(service.house.committer, "submit", submit)
    answer = await send(service, {"lines": [line()]})
    assert answer.status_code == 503
    assert fault(answer)["code"] == "queueFull"
    assert answer.headers["retry-after"] == "3"


# --- fuzzed -----------------------------------------------------------------------------


def mutated(source: random.Random, body: bytes) -> bytes:
    """Return a body with a few bytes of it changed, doubled, dropped or cut off."""
    data = bytearray(body)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(data) + 1)
        match source.randrange(5):
            case 0:
                data[at : at + source.randint(1, 9)] = b""
            case 1:
                data[at:at] = source.choice(
                    [b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"\n", b"\x00", b"\xff", b"\\u0000",
                     b"\\ud800", b"NaN", b"1e999", b"null", b"-", b'"sku":', "é".encode()]
                )  # fmt: skip
            case 2:
                data[at : at + 1] = bytes([source.randrange(256)])
            case 3:
                data[at:at] = data[max(0, at - 20) : at]
            case _:
                del data[source.randrange(len(data) + 1) :]
    return bytes(data)


@pytest.mark.parametrize("form", ["json", "ndjson"])
async def test_whatever_comes_is_answered_in_the_documented_way(
    service: Service, form: str
) -> None:
    """A thousandth of it broken, or all of it: no server error, and every line is told of."""
    source = random.Random(f"mihwar {form}")
    lines = [line(quantity=n, periodKind="week") for n in range(1, 4)]
    if form == "json":
        body = json.dumps({"externalSourceId": "S", "lines": lines, "timeZone": "UTC"}).encode()
        headers = {}
    else:
        body = b"\n".join(json.dumps(each).encode() for each in [{"periodKind": "day"}, *lines])
        headers = NDJSON
    statuses: set[int] = set()
    for _ in range(250):
        answer = await send(service, mutated(source, body), **headers)
        assert answer.status_code in (201, 400), answer.text
        statuses.add(answer.status_code)
        if answer.status_code == 201:
            told = answer.json()
            assert told["lines"] == told["accepted"] + told["refused"] > 0
            assert len(told["refusals"]) == told["refused"]
        else:
            fault(answer)
    assert statuses == {201, 400}


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False,
                                                                      allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, database=None)
@given(
    members=st.lists(any_json, max_size=5),
    rest=st.dictionaries(st.text().filter(lambda name: name != "lines"), any_json, max_size=3),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    spaces=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_a_document_in_any_pieces_reads_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    members: list[Any],
    rest: dict[str, Any],
    cuts: list[int],
    spaces: int | None,
    is_ascii: bool,
    order: Any,
) -> None:
    """Wherever the array stands in it, and wherever the network cuts it."""
    names = [*rest, "lines"]
    order.shuffle(names)
    document = {name: members if name == "lines" else rest[name] for name in names}
    body = json.dumps(document, indent=spaces, ensure_ascii=is_ascii).encode(errors="replace")
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    spooled = SpooledLines(tmp_path_factory.getbasetemp())
    reader = DocumentReader("lines", spooled)
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    reader.end()
    splitter = LineSplitter()
    lines = [each for piece in spooled.pieces() for each in splitter.feed(piece)]
    spooled.close()
    expected = json.loads(body)
    assert [json.loads(each) for each in lines] == expected.pop("lines")
    assert json.loads(reader.rest()) == expected


@settings(max_examples=150, database=None)
@given(
    lines=st.lists(
        st.one_of(
            st.builds(
                lambda sku, quantity, day, kind: json.dumps(
                    {"sku": sku, "quantity": quantity, "orderDate": str(day)}
                    | ({} if kind is None else {"periodKind": kind})
                ).encode(),
                st.text(min_size=1, max_size=9),
                st.integers(-2, 9) | st.sampled_from(["1.5", "1_0", " 1", "x"]),
                st.dates() | st.text(max_size=12),
                st.sampled_from([None, "day", "week", "year"]),
            ),
            any_json.map(lambda value: json.dumps(value).encode()),
            st.sampled_from(
                [b'{"sku":"A","sku":"B","quantity":1,"orderDate":"2026-01-01"}', b"{", b"nul"]
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_lines_read_together_are_what_they_are_one_by_one(lines: list[bytes]) -> None:
    """The quick way and the careful one take the same, and every line is accounted for."""
    together = read_chunk(lines, 1, "day", UTC)
    apart = [read_chunk([each], number, "day", UTC) for number, each in enumerate(lines, 1)]
    assert list(together.lines) == [entry for each in apart for entry in each.lines]
    assert list(together.refusals) == [refusal for each in apart for refusal in each.refusals]
    assert len(together.lines) + len(together.refusals) == len(lines)
    assert (together.first_line, together.last_line) == (1, len(lines))


def test_a_digest_is_of_what_was_sent() -> None:
    """The same JSON in another spelling has the same; anything else another."""

    def digest(*lines: bytes) -> str:
        return read_chunk(lines, 1, "day", UTC).digest

    plain = b'{"sku":"A","quantity":1,"orderDate":"2026-01-01"}'
    assert digest(plain) == digest(b'{ "orderDate": "2026-01-01", "quantity":"1","sku":"\\u0041"}')
    assert digest(b'{"b":1,"a":[2]}') == digest(b'{"a": [2], "b": 1}')
    others = {
        digest(plain), digest(plain, plain), digest(plain.replace(b":1,", b":2,")),
        digest(plain.replace(b'"A"', b'"a"')), digest(b'{"a":[2]}'), digest(b'{"a":[3]}'),
        digest(b"nul"), read_chunk([plain], 1, "week", UTC).digest,
    }  # fmt: skip
    assert len(others) == 8


def test_only_texts_and_numbers_may_be_cut_short(tmp_path: Path) -> None:
    """A document that ends early is none."""
    for body in (b'{"lines":[12', b'{"lines":[1,2]', b'{"lines":[1],"a":tru'):
        spooled = SpooledLines(tmp_path)
        reader = DocumentReader("lines", spooled)
        reader.feed(body)
        with pytest.raises(Problem):
            reader.end()
        spooled.close()
    assert mihwar.CHUNK_LINES == 1_000
