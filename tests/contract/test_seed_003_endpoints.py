"""Every endpoint of seed 003: served, to whom the document says, with its statuses of errors.

What each answers when all is well is told by the tests that ``seed_003_endpoints`` names.
"""

import ast
import re
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import endpoints
from api.endpoint import Endpoint
from api.openapi import problem_codes
from api.problems import every_kind, kind_of
from deploy.wiring import House
from tests.contract.seed_003_endpoints import (
    ENDPOINTS,
    SAID,
    STATUSES,
    Access,
    Of,
    proof_path,
)
from tests.contract.seed_003_page import CHOSEN, PAGE, page
from tests.contract.test_seed_003 import assert_like
from tests.support.api import Service, running_service

ROOT = Path(__file__).parents[2]
GRANTS: dict[Access, tuple[str | None, str | None]] = {
    "public": (None, None),
    "user": ("staff", "*"),
    "manager": ("manager", "*"),
    "admin": ("admin", "*"),
    "admin user": ("admin", None),
    "key read": (None, "read"),
    "key write": (None, "write"),
}
PASSWORD = "a password of some length"
NOBODY = 987_654


def plain(path: str) -> str:
    """Return a path with every parameter as ``{}``, however it is written."""
    return re.sub(r"\{[^}]*\}|:\w+", "{}", path)


@cache
def served() -> dict[tuple[str, str], Endpoint]:
    """Return the application's routes by method and path."""
    return {(each.method, plain(each.path)): each for each in endpoints()}


def url(endpoint: Of) -> str:
    """Return an address of the endpoint, of something that is not there if it names one."""
    return re.sub(r":\w+", str(NOBODY), endpoint.path)


def assert_error(response: httpx.Response, status: int) -> None:
    """Assert the document's shape of an error: a JSON object whose ``error`` is a text."""
    told = f"{response.request.method} {response.request.url.path}: {response.text[:300]}"
    assert response.status_code == status, f"{response.status_code} {told}"
    body = response.json()
    assert isinstance(body, dict), told
    assert isinstance(body["error"], str), told
    assert body["error"], told


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """A service with a tenant that has nothing but its owner and its key."""
    async with running_service(house) as service:
        yield service


# --- the list ---------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_the_application_serves_it_to_whom_the_document_says(endpoint: Of) -> None:
    """By its method and path, to the role and the scope, with the status of success."""
    route = served().get((endpoint.method, plain(endpoint.path)))
    assert route is not None, "no route takes it"
    role, scope = GRANTS[endpoint.access]
    if scope == "*":
        scope = "read" if endpoint.method == "GET" else "write"
    assert (route.role, route.scope) == (role, scope)
    assert endpoint.status in route.replies
    assert not {200, 201, 202, 204} - {endpoint.status} & set(route.replies)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_a_test_proves_it(endpoint: Of) -> None:
    """One at least, and each that is named exists."""
    assert endpoint.proofs
    for proof in endpoint.proof_paths:
        assert_exists(proof)


def test_the_tests_of_statuses_exist() -> None:
    """Each that the page names."""
    for status in STATUSES:
        assert status.proofs
        for proof in status.proofs:
            assert_exists(proof_path(proof))


def assert_exists(proof: str) -> None:
    """Assert that a test, named as pytest names it, is there."""
    path, _, name = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in names, f"{path} has no {name}"


def test_the_page_is_made_of_the_list() -> None:
    """``python -m tests.contract.seed_003_page`` has been run since the last change."""
    assert PAGE.read_text(encoding="utf-8") == page()
    assert set(CHOSEN) <= {endpoint.name for endpoint in ENDPOINTS}


# --- what no other file proves ----------------------------------------------------------


async def test_creating_a_warehouse_answers_as_documented(shop: Service) -> None:
    """201 with the warehouse; the first one is the default whether it says so or not."""
    for first in (True, False):
        code = "SYD" if first else "BNE"
        made = await shop.post(
            "/api/warehouses",
            {"name": "Brisbane Warehouse", "code": code, "city": "Rocklea", "state": "QLD"},
        )
        assert made.status_code == 201
        assert_like(
            made.json(),
            {
                "id": 3,
                "name": "Brisbane Warehouse",
                "code": "BNE",
                "city": "Rocklea",
                "state": "QLD",
                "is_default": False,
                "created_at": "2026-05-06T12:20:00Z",
            },
        )
        assert made.json()["is_default"] is first


async def test_the_use_of_a_key_is_logged_as_documented(shop: Service) -> None:
    """Endpoint, status, how long it took, from where."""
    await shop.get("/api/external/products", key=shop.api_key)
    await shop.usage.flush()
    assert_like(
        (await shop.get("/api/api-keys/logs/all")).json(),
        {
            "logs": [
                {
                    "id": 4821,
                    "api_key_id": 3,
                    "key_name": "Shopify Connector",
                    "method": "GET",
                    "path": "/api/external/products",
                    "status_code": 200,
                    "response_time_ms": 14,
                    "ip_address": "203.0.113.5",
                    "created_at": "2026-05-06T08:42:00Z",
                }
            ],
            "total": 4821,
        },
    )


# --- errors -----------------------------------------------------------------------------


async def test_without_valid_credentials_nothing_is_served(shop: Service) -> None:
    """401 on every endpoint: with none, with a token of nobody's, with a key of nobody's."""
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.nobody"},
        {"X-API-Key": "iom_live_abc123xyz789"},
    ]
    for endpoint in ENDPOINTS:
        if endpoint.access == "public":
            continue
        for headers in wrong:
            response = await shop.client.request(
                endpoint.method, url(endpoint), headers=headers, json=endpoint.body
            )
            assert_error(response, 401)


async def test_a_role_or_a_permission_too_low_is_a_403(shop: Service) -> None:
    """Staff where a manager is asked for, a manager where an admin is, a key that may only read,
    a user where only a key will do."""
    staff, manager = await signed_in(shop, "staff"), await signed_in(shop, "manager")
    made = await shop.post("/api/api-keys", {"name": "Reader", "permissions": ["read"]})
    reader = {"X-API-Key": made.json()["key"]}
    owner = {"Authorization": f"Bearer {shop.token}"}
    too_low: dict[Access, list[dict[str, str]]] = {
        "public": [],
        "user": [],
        "manager": [staff],
        "admin": [staff, manager],
        "admin user": [staff, manager, reader, {"X-API-Key": shop.api_key}],
        "key read": [staff, owner],
        "key write": [staff, owner, reader],
    }
    assert set(too_low) == set(SAID)
    for endpoint in ENDPOINTS:
        callers = list(too_low[endpoint.access])
        if endpoint.method != "GET" and endpoint.access in ("user", "manager", "admin"):
            callers.append(reader)
        for headers in callers:
            response = await shop.client.request(
                endpoint.method, url(endpoint), headers=headers, json=endpoint.body
            )
            assert_error(response, 403)


async def test_a_role_that_is_high_enough_is_let_in(shop: Service) -> None:
    """Staff wherever the document names no role; reading finds an empty list, writing at worst
    that something it names is not there."""
    staff, manager = await signed_in(shop, "staff"), await signed_in(shop, "manager")
    enough: dict[Access, dict[str, str]] = {"user": staff, "manager": manager}
    for endpoint in ENDPOINTS:
        if endpoint.access not in enough:
            continue
        response = await shop.client.request(
            endpoint.method, url(endpoint), headers=enough[endpoint.access], json=endpoint.body
        )
        allowed = {endpoint.status, 404} if ":" in endpoint.path or endpoint.body else {200}
        assert response.status_code in allowed, f"{endpoint.name}: {response.text[:300]}"


async def signed_in(shop: Service, role: str) -> dict[str, str]:
    """Make a user with a role; return the header of its session."""
    email = f"{role}@example.com"
    made = await shop.post(
        "/api/users", {"name": role, "email": email, "password": PASSWORD, "role": role}
    )
    assert made.status_code == 201, made.text
    login = await shop.client.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    return {"Authorization": f"Bearer {login.json()['token']}"}


async def test_what_is_not_there_is_a_404(shop: Service) -> None:
    """Every endpoint that names something by its id or SKU, and no other."""
    checked = 0
    for endpoint in ENDPOINTS:
        if ":" not in endpoint.path:
            continue
        key = shop.api_key if endpoint.access.startswith("key") else None
        response = await shop.call(endpoint.method, url(endpoint), endpoint.body, key=key)
        assert_error(response, 404)
        assert "no such resource" not in response.json()["error"], "no route takes it"
        checked += 1
    assert checked == 11


async def test_a_body_that_is_wrong_is_a_400_that_says_so(shop: Service) -> None:
    """Every endpoint that takes a body: none, no JSON, JSON of another kind, an unknown field."""
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" or endpoint.body is None:
            continue
        key = shop.api_key if endpoint.access.startswith("key") else None
        headers = {"Content-Type": "application/json"}
        for content in (b'{"', b"[[1]]", b'"text"', b'{"no_such_field": 1}'):
            response = await shop.call(
                endpoint.method, url(endpoint), key=key, content=content, headers=headers
            )
            assert_error(response, 400)


async def test_a_list_refuses_parameters_that_are_wrong(shop: Service) -> None:
    """400 that names the parameter, wherever the document has ``page`` and ``limit``."""
    for path in ("/api/products", "/api/orders", "/api/customers"):
        for query in ("page=0", "limit=201", "limit=many"):
            response = await shop.get(f"{path}?{query}")
            assert_error(response, 400)
            assert response.json()["field"] == query.partition("=")[0]


async def test_what_is_taken_is_a_409(shop: Service) -> None:
    """A SKU, a warehouse's code, a customer's address, a user's: the second time."""
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        ("/api/products", {"name": "Widget", "sku": "WGT-500", "base_price": 49.99}),
        ("/api/warehouses", {"name": "Sydney", "code": "SYD"}),
        ("/api/customers", {"name": "Acme Corp", "email": "procurement@acme.com"}),
        (
            "/api/users",
            {"name": "Jane", "email": "jane@acme.com", "password": PASSWORD, "role": "staff"},
        ),
    )
    for path, body in bodies:
        first = await shop.post(path, body)
        assert first.status_code == 201, first.text
        assert_error(await shop.post(path, body), 409)
    again = await shop.post("/api/products", bodies[0][1])
    assert again.json()["error"] == "SKU already exists for this tenant"


def test_nothing_is_ever_answered_402() -> None:
    """There are no subscriptions: no kind of problem has that status, nor has any route."""
    assert 402 not in {kind.status for kind in every_kind().values()}
    for route in endpoints():
        statuses = {kind_of(code).status for code in problem_codes(route)} | set(route.replies)
        assert 402 not in statuses
