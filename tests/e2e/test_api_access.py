"""Who may do what: roles, scopes, keys, users; and that secrets do not stay behind."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.wiring import House
from ledger.store import tenant_transaction
from tests.support.api import Service, running_service

PASSWORD = "a password of some length"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a product and a warehouse, 200 on hand."""
    async with running_service(house) as service:
        await service.stocked()
        yield service


async def sign_in(service: Service, role: str) -> str:
    """Add a user with a role; return their token."""
    email = f"{role}@example.com"
    added = await service.post(
        "/api/users", {"name": role, "email": email, "password": PASSWORD, "role": role}
    )
    assert added.status_code == 201, added.text
    login = await service.client.post(
        "/api/auth/login", json={"email": email, "password": PASSWORD}
    )
    return login.json()["token"]


WRITES: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/api/inventory/adjust", {"product_id": 1, "warehouse_id": 1, "quantity": 1},
     "manager"),
    ("POST", "/api/products", {"name": "N", "sku": "N", "base_price": 1}, "manager"),
    ("DELETE", "/api/products/99", {}, "admin"),
    ("POST", "/api/warehouses", {"name": "N", "code": "N"}, "admin"),
    ("POST", "/api/api-keys", {"name": "N"}, "admin"),
    ("POST", "/api/users", {"name": "N", "email": "n@example.com", "password": PASSWORD}, "admin"),
    ("POST", "/api/ledger/commands",
     {"commands": [{"type": "OpenLocation", "data": {"name": "M", "code": "M"}}]}, "admin"),
]  # fmt: skip
RANKS = ["staff", "manager", "admin", "owner"]


@pytest.mark.parametrize("role", ["staff", "manager", "admin"])
async def test_a_role_may_do_what_it_is_for_and_no_more(service: Service, role: str) -> None:
    """Everybody reads; each write has the least role that it needs."""
    headers = {"Authorization": f"Bearer {await sign_in(service, role)}"}
    assert (await service.get("/api/products", headers=headers)).status_code == 200
    for method, path, body, least in WRITES:
        response = await service.call(method, path, body, headers=headers)
        allowed = RANKS.index(role) >= RANKS.index(least)
        if path == "/api/ledger/commands" and role == "manager":
            # The route is a manager's; the command is refused inside.
            assert response.json()["results"][0]["problem"]["code"] == "forbidden"
            continue
        assert (response.status_code != 403) is allowed, (path, response.text)


async def test_nobody_gives_a_role_above_their_own(service: Service) -> None:
    """An admin cannot make an owner."""
    headers = {"Authorization": f"Bearer {await sign_in(service, 'admin')}"}
    body = {"name": "N", "email": "n@example.com", "password": PASSWORD, "role": "owner"}
    assert (await service.post("/api/users", body, headers=headers)).status_code == 403


async def test_a_key_reaches_neither_keys_nor_users(service: Service) -> None:
    """Whatever its permissions: a leaked key must not make more of itself."""
    for method, path in (
        ("GET", "/api/api-keys"),
        ("GET", "/api/users"),
        ("GET", "/api/api-keys/logs/all"),
    ):
        assert (await service.call(method, path, key=service.api_key)).status_code == 403


async def test_a_replayed_creation_shows_the_key_masked(service: Service) -> None:
    """Invariant I3: shown once is shown once."""
    options = {"headers": {"Idempotency-Key": "new key"}}
    first = await service.post("/api/api-keys", {"name": "N"}, **options)
    second = await service.post("/api/api-keys", {"name": "N"}, **options)
    assert second.headers["idempotent-replayed"] == "true"
    secret = first.json()["key"]
    assert secret not in second.text
    assert second.json()["key"].endswith("…")
    assert len((await service.get("/api/api-keys")).json()["api_keys"]) == 2


async def test_no_secret_is_kept_in_clear(service: Service) -> None:
    """Neither a key nor a password, in no table, kept requests and responses included."""
    options = {"headers": {"Idempotency-Key": "k1"}}
    key = (await service.post("/api/api-keys", {"name": "N"}, **options)).json()["key"]
    options = {"headers": {"Idempotency-Key": "k2"}}
    body = {"name": "N", "email": "n@example.com", "password": PASSWORD}
    assert (await service.post("/api/users", body, **options)).status_code == 201
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        rows = await connection.fetch(
            """
            SELECT convert_from(request, 'UTF8') || convert_from(response, 'UTF8') AS text
            FROM ledger.idempotency
            UNION ALL SELECT data::text || meta::text FROM ledger.event
            UNION ALL SELECT u::text FROM access.app_user u
            UNION ALL SELECT k::text FROM access.api_key k
            """
        )
    kept = "\n".join(row["text"] for row in rows)
    assert key not in kept
    assert PASSWORD not in kept


async def test_a_keys_use_is_logged(service: Service) -> None:
    """Method, path, status; refused requests too."""
    await service.get("/api/external/products", key=service.api_key)
    await service.get("/api/users", key=service.api_key)
    await service.usage.flush()
    log = (await service.get("/api/api-keys/logs/all")).json()
    assert [(use["path"], use["status_code"]) for use in log["logs"]] == [
        ("/api/users", 403),
        ("/api/external/products", 200),
    ]
    assert log["total"] == 2
    (key,) = (await service.get("/api/api-keys")).json()["api_keys"]
    assert key["last_used_at"] is not None


async def test_metrics_and_health_need_no_credentials(service: Service) -> None:
    """They are for the machinery around the service."""
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
        response = await service.client.get(path)
        assert response.status_code == 200, path
    metrics = (await service.client.get("/metrics")).text
    assert 'stockledger_http_requests_total{method="GET",route="/health/live"' in metrics
    assert "stockledger_group_commands_bucket" in metrics
