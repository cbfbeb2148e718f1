"""Bad input of every kind gets a 4xx problem that names the fault; nothing gives a 5xx."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a product and a warehouse, 200 on hand."""
    async with running_service(house) as service:
        await service.stocked()
        yield service


ADJUST = "/api/inventory/adjust"
JSON = {"Content-Type": "application/json"}


BAD_WRITES: list[tuple[bytes, dict[str, str], int]] = [
        (b"", JSON, 400),
        (b"   ", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff\xff", JSON, 400),
        (b'{"a":' * 50_000, JSON, 413),
        (b"[" * 60_000, JSON, 400),
        (b'{"quantity":"' + b"9" * 60_000 + b'"}', JSON, 400),
        (b'{"quantity":' + b"9" * 60_000 + b"}", JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"notes":"a\\u0000b"}', JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"notes":"\\ud800"}', JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"quantity":100}', JSON, 400),
        (b'{"product_id":99999999999999999999,"warehouse_id":1,"quantity":1}', JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":0}', JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1.5}', JSON, 400),
        (b'{"product_id":9,"warehouse_id":1,"quantity":1}', JSON, 404),
        (b'{"product_id":1,"warehouse_id":9,"quantity":1}', JSON, 404),
        (b'{"product_id":1,"warehouse_id":1,"quantity":-201}', JSON, 409),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"effective_at":"2026-01-01T00:00:00"}',
         JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"effective_at":"0001-01-01T00:00:00+14:00"}',
         JSON, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1,"effective_at":"9999-12-31T23:59:59-14:00"}',
         JSON, 400),
        (b"product_id=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 415),
        (b"{}", {**JSON, "Content-Length": "99999999999"}, 413),
        (b"{}", {**JSON, "Content-Length": "-1"}, 413),
        (b"x" * 70_000, JSON, 413),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1}',
         {**JSON, "Idempotency-Key": "k" * 256}, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1}', {**JSON, "If-Match": "7"}, 400),
        (b'{"product_id":1,"warehouse_id":1,"quantity":1}', {**JSON, "If-Match": '"7"'}, 412),
]  # fmt: skip


async def test_a_bad_write_is_a_problem_and_has_no_effect(service: Service) -> None:
    """Always the same form of answer, and the stock as it was."""
    for content, headers, status in BAD_WRITES:
        response = await service.call("POST", ADJUST, content=content, headers=headers)
        assert response.status_code == status, (content[:100], headers, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        problem = response.json()
        assert {"type", "title", "status", "detail", "error"} <= problem.keys()
        assert problem["status"] == status
    stock = (await service.get("/api/stock/WGT-500")).json()
    assert stock["on_hand"] == 200


BAD_ADDRESSES = [
    ("GET", "/api/products/abc", 404),
    ("GET", "/api/products/0", 404),
    ("GET", "/api/products/99999999999999999999", 404),
    ("GET", "/api/products/%EF%BC%91", 404),
    ("GET", "/api/products?page=0", 400),
    ("GET", "/api/products?limit=999", 400),
    ("GET", "/api/products?search=%00", 400),
    ("GET", "/api/products?search=%25%5F%5C", 200),
    ("GET", "/api/products?" + "a=1&" * 200, 400),
    ("GET", "/api/external/products/%00", 403),
    ("GET", "/api/stock/%00", 404),
    ("GET", "/api/stock/" + "a" * 101, 404),
    ("GET", "/api/stock/WGT-500?as_of=yesterday", 400),
    ("GET", "/api/stock/WGT-500?as_of=2026-01-01T00:00:00", 400),
    ("GET", "/api/stock/WGT-500?location=NONE", 404),
    ("GET", "/api/ledger/explain?sku=WGT-500", 400),
    ("GET", "/api/ledger/events?after=-1", 400),
    ("GET", "/api/ledger/events?limit=1001", 400),
    ("GET", "/api/nothing", 404),
    ("DELETE", "/api/products", 405),
    ("PATCH", "/api/products/1", 405),
    ("BREW", "/api/products", 405),
    ("GET", "/docs/../../etc/passwd", 404),
    ("GET", "/docs/%2e%2e%2fapp.py", 404),
]


async def test_a_bad_address_is_a_problem(service: Service) -> None:
    """Whatever stands in a path or a query."""
    for method, path, status in BAD_ADDRESSES:
        response = await service.call(method, path)
        assert response.status_code == status, (path[:100], response.text)
        if status >= 400:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == status
        if status == 405:
            assert response.headers["allow"]


BAD_CREDENTIALS: list[dict[str, Any]] = [
    {},
    {"X-API-Key": ""},
    {"X-API-Key": "sl_live_1_short"},
    {"X-API-Key": "some operator's key that nobody made"},
    {"X-API-Key": "x" * 10_000},
    {"X-API-Key": "ключ".encode()},
    {"Authorization": "Basic b3duZXI6cGFzcw=="},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOjF9."},
]


async def test_bad_credentials_are_a_401(service: Service) -> None:
    """And say how to authenticate."""
    for headers in BAD_CREDENTIALS:
        response = await service.client.get("/api/products", headers=headers)
        assert response.status_code == 401, headers
        assert response.headers["www-authenticate"] == "Bearer"


async def test_every_answer_carries_the_requests_id(service: Service) -> None:
    """The client's own where it is a sane one; never what could break a log."""
    for path in ("/api/products", "/nope", "/health/live"):
        named = await service.get(path, headers={"X-Request-Id": "abc-123"})
        assert named.headers["x-request-id"] == "abc-123"
        other = await service.get(path, headers={"X-Request-Id": "a b\tc"})
        assert other.headers["x-request-id"] not in ("", "a b\tc")


async def test_signing_in_is_limited_per_account(service: Service) -> None:
    """After ten failures the account waits, whatever the password; with Retry-After."""
    body = {"email": "somebody@example.com", "password": "wrong"}
    for _ in range(10):
        assert (await service.client.post("/api/auth/login", json=body)).status_code == 401
    limited = await service.client.post("/api/auth/login", json=body)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0


async def test_a_csv_cell_that_looks_like_a_formula_is_neutralised(service: Service) -> None:
    """A spreadsheet must not run what somebody put into a name."""
    name = '=HYPERLINK("http://evil","x")'
    await service.post("/api/products", {"name": name, "sku": "@S", "base_price": 1})
    exported = await service.get("/api/products/export")
    assert exported.headers["content-disposition"].startswith("attachment")
    assert "'=HYPERLINK" in exported.text
    assert "'@S" in exported.text
