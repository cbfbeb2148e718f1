"""The gate: paths without parameters go past the router, and no request leaves a circle behind."""

import gc
from typing import Any

from litestar import Litestar

from api.app import RESOURCES, create_app
from deploy.bootstrap import found_tenant
from deploy.wiring import House
from tests.support.api import running_service

REQUESTS = 40
ROUNDS = 5


async def _ask(
    app: Litestar, method: str, path: str, key: str, body: bytes = b""
) -> tuple[int, bytes]:
    """Make one request as an HTTP server does; return the answer's status and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"x-api-key", key.encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def test_every_path_without_parameters_is_answered_past_the_router() -> None:
    """They are the ones that are written to all the time; each has one handler."""
    for resource in RESOURCES:
        routes = resource.routes
        plain = {(e.method, e.path) for e in routes.endpoints if "{" not in e.path}
        assert routes.direct.keys() == plain


async def test_the_router_answers_what_the_gate_does_not_know(house: House) -> None:
    """A slash too many is the same path to it, another method is told which are allowed."""
    async with running_service(house) as service:
        plain = await service.get("/api/warehouses")
        slashed = await service.get("/api/warehouses/")
        wrong = await service.call("PATCH", "/api/warehouses")
    assert (slashed.status_code, slashed.json()) == (plain.status_code, plain.json())
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]
    for answer in (plain, slashed, wrong):
        assert answer.headers["x-request-id"]


async def test_a_request_leaves_nothing_for_the_garbage_collector(house: House) -> None:
    """A circle would keep all that a request was made of until a collection, which then takes
    tens of milliseconds in the middle of other requests.

    What the rest of the process drops meanwhile (a pool, an application of a test before) is
    counted as well, but once: what requests leave is there in every round.
    """
    founded = await found_tenant(house, "Acme", email="owner@example.com")
    app, key = create_app(house), founded.api_key
    async with app.lifespan():
        opened = await _ask(app, "POST", "/api/warehouses", key, b'{"name":"M","code":"M"}')
        assert opened[0] == 201
        made = b'{"name":"N","sku":"N","base_price":1}'
        assert (await _ask(app, "POST", "/api/products", key, made))[0] == 201
        adjusted = b'{"product_id":1,"warehouse_id":1,"quantity":1}'
        for method, path, body in (
            ("POST", "/api/inventory/adjust", adjusted),
            ("GET", "/api/inventory", b""),
        ):
            await _ask(app, method, path, key, body)
            left = [await _left_by(app, method, path, key, body)]
            while left[-1] >= REQUESTS and len(left) < ROUNDS:
                left.append(await _left_by(app, method, path, key, body))
            assert min(left) < REQUESTS, f"{path}: {left} objects after {REQUESTS} requests each"


async def _left_by(app: Litestar, *request: Any) -> int:
    """Return how many objects are in circles that nothing else refers to after many requests."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(REQUESTS):
            assert (await _ask(app, *request))[0] == 200
        return gc.collect()
    finally:
        gc.enable()
