"""Keys of the Integrations screen: made, rotated with an overlap, revoked, by the right people."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import httpx
import pytest

from api.app import create_app
from deploy.settings import Settings
from deploy.wiring import house_at
from ledger.store import tenant_transaction
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer

KEYS = "/api/integrations/v1/keys"
READ, WRITE = "/api/external/products", "/api/external/inventory/sync"


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """The service with one tenant."""
    async with (
        postgres.fresh_database() as address,
        house_at(Settings(data_dir=tmp_path_factory.mktemp("keys")), address) as house,
        running_service(house) as service,
    ):
        yield service


@pytest.fixture(scope="module")
async def other_process(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Another process of the same service, with a memory of its own."""
    async with house_at(service.house.all_settings, service.house.address) as house:
        transport = httpx.ASGITransport(app=create_app(house))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://other") as client:
            yield client


async def made(service: Service, **more: Any) -> dict[str, Any]:
    """Make a key that may read and write."""
    answer = await service.post(KEYS, {"name": "feed", "permissions": ["read", "write"], **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def rotate(service: Service, key_id: int, hours: int, **options: Any) -> httpx.Response:
    """Give a key a new secret."""
    return await service.post(f"{KEYS}/{key_id}/rotate", {"overlapHours": hours}, **options)


async def statuses(client: httpx.AsyncClient, secret: str) -> set[int]:
    """Return what a read and a write with a secret are answered."""
    headers = {"X-API-Key": secret}
    body = {"inventory": [{"sku": "NOPE", "warehouse_id": 1, "quantity": 1}]}
    return {
        (await client.get(READ, headers=headers)).status_code,
        (await client.post(WRITE, json=body, headers=headers)).status_code,
    }


async def test_a_key_is_shown_once_and_listed_without_its_secret(service: Service) -> None:
    """In the spelling of this API."""
    key = await made(service, expiresAt="2199-01-31")
    assert key["key"].startswith("sl_live_")
    assert key["expiresAt"] == "2199-02-01T00:00:00Z"
    listed = await service.get(f"{KEYS}?limit=1&page={key['id']}")
    assert listed.status_code == 200
    told = listed.json()
    assert (told["total"], told["page"], told["limit"]) == (key["id"], key["id"], 1)
    (row,) = told["keys"]
    assert row["name"] == "feed"
    assert row["keyPrefix"] == key["key"][:14]
    assert row["isActive"] is True
    assert row["rotatedAt"] is row["oldValidUntil"] is None
    assert key["key"] not in listed.text


@pytest.mark.parametrize("warm", [False, True])
async def test_with_no_overlap_the_old_secret_ends_at_once_in_every_process(
    service: Service, other_process: httpx.AsyncClient, warm: bool
) -> None:
    """Also in one that has let it in a moment ago, and remembers."""
    key = await made(service)
    clients = (service.client, other_process)
    for client in clients if warm else ():
        assert await statuses(client, key["key"]) == {200}
    answer = await rotate(service, key["id"], 0)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["id"] == key["id"]
    assert told["oldValidUntil"] is None
    for client in clients:
        assert await statuses(client, key["key"]) == {401}
        assert await statuses(client, told["key"]) == {200}


async def test_with_an_overlap_both_are_good_until_it_ends(
    service: Service, other_process: httpx.AsyncClient
) -> None:
    """Then the old one ends by the database's clock; the key stays the key that it was."""
    key = await made(service)
    answer = await rotate(service, key["id"], 720)
    new = answer.json()
    until = datetime.fromisoformat(new["oldValidUntil"])
    assert until - datetime.fromisoformat(new["rotatedAt"]) == timedelta(hours=720)
    for client in (service.client, other_process):
        for secret in (key["key"], new["key"]):
            assert await statuses(client, secret) == {200}
    await _set_old_end(service, key["id"], datetime.now(UTC) - timedelta(seconds=1))
    for client in (service.client, other_process):
        read = await client.get(READ, headers={"X-API-Key": key["key"]})
        assert read.status_code == 401
        assert await statuses(client, new["key"]) == {200}


async def test_expiry_of_the_old_secret_is_found_before_it_is_let_in(service: Service) -> None:
    """By one that does not remember it yet."""
    key = await made(service)
    await rotate(service, key["id"], 1)
    await _set_old_end(service, key["id"], datetime.now(UTC) - timedelta(seconds=1))
    answer = await service.client.get(READ, headers={"X-API-Key": key["key"]})
    assert answer.status_code == 401
    assert "use its new secret" in answer.json()["detail"]


async def _set_old_end(service: Service, key_id: int, at: datetime) -> None:
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        done = await connection.execute(
            "UPDATE access.api_key SET previous_valid_until = $1 WHERE key_id = $2", at, key_id
        )
        assert done == "UPDATE 1"


async def test_two_rotations_leave_two_secrets(service: Service) -> None:
    """The last two: an older one ends at once, whatever it was promised."""
    first = await made(service)
    second = (await rotate(service, first["id"], 24)).json()
    third = (await rotate(service, first["id"], 24)).json()
    assert await statuses(service.client, first["key"]) == {401}
    assert await statuses(service.client, second["key"]) == {200}
    assert await statuses(service.client, third["key"]) == {200}


async def test_a_revocation_ends_both_secrets_in_every_process(
    service: Service, other_process: httpx.AsyncClient
) -> None:
    """Also where the overlap goes on for weeks; the key cannot be rotated any more."""
    key = await made(service)
    new = (await rotate(service, key["id"], 500)).json()
    for secret in (key["key"], new["key"]):
        assert await statuses(other_process, secret) == {200}
    answer = await service.call("DELETE", f"{KEYS}/{key['id']}")
    assert answer.json() == {"id": key["id"], "revoked": True}
    for client in (service.client, other_process):
        for secret in (key["key"], new["key"]):
            assert await statuses(client, secret) == {401}
    answer = await rotate(service, key["id"], 0)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "apiKeyOver"


async def test_a_rotation_is_an_event_without_the_secret_and_replays_masked(
    service: Service,
) -> None:
    """Sent again with its key it gives no third secret."""
    key = await made(service)
    options = {"headers": {"Idempotency-Key": "rotate-1"}}
    first, second = [await rotate(service, key["id"], 2, **options) for _ in range(2)]
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json()["key"] == first.json()["key"][:14] + "…"
    assert await statuses(service.client, first.json()["key"]) == {200}
    log = await service.get(f"/api/ledger/events?stream=access-key-{key['id']}")
    assert [event["type"] for event in log.json()["events"]] == ["ApiKeyCreated", "ApiKeyRotated"]
    rotated = log.json()["events"][1]["data"]
    assert rotated["generation"] == 1
    assert rotated["key_prefix"] == first.json()["key"][:14]
    assert first.json()["key"] not in log.text


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "rotate"])
async def test_owners_and_administrators_alone(service: Service, method: str) -> None:
    """A manager gets 403, and so does any key; nobody at all 401."""
    body = {"name": "x"} if method == "POST" else None
    key = await made(service)
    path = {"DELETE": f"{KEYS}/{key['id']}", "rotate": f"{KEYS}/{key['id']}/rotate"}.get(
        method, KEYS
    )
    verb = "POST" if method == "rotate" else method
    for role, expected in (("admin", False), ("manager", True), ("staff", True)):
        token = await _signed_in(service, role)
        answer = await service.client.request(
            verb, path, json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code == 403) == expected, (role, answer.text)
    answer = await service.call(verb, path, body, key=(await made(service))["key"])
    assert answer.status_code == 403
    assert answer.json() == {
        "error": {
            "code": "forbidden",
            "message": "An API key cannot do this; sign in as a user and send its token.",
        }
    }
    nobody = await service.client.request(verb, path, json=body)
    assert nobody.status_code == 401
    assert nobody.json()["error"]["code"] == "unauthenticated"


async def _signed_in(service: Service, role: str) -> str:
    email = f"{role}-{token_hex(4)}@example.com"
    user = {"name": role, "email": email, "password": "correct horse battery", "role": role}
    assert (await service.post("/api/users", user)).status_code == 201
    login = await service.client.post(
        "/api/auth/login", json={"email": user["email"], "password": user["password"]}
    )
    return login.json()["token"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"overlapHours": 721}, "overlapHours"),
        ({"overlapHours": -1}, "overlapHours"),
        ({"overlapHours": "1"}, "overlapHours"),
        ({"hours": 1}, "hours"),
    ],
)
async def test_an_overlap_is_a_number_of_hours_up_to_720(
    service: Service, body: Any, field: str
) -> None:
    """Anything else is refused with the field's name; a body may be left out, and means 0."""
    key_id = (await made(service))["id"]
    answer = await service.post(f"{KEYS}/{key_id}/rotate", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalidField"
    assert answer.json()["error"]["field"] == field
    assert (await service.post(f"{KEYS}/{key_id}/rotate")).json()["oldValidUntil"] is None
    assert (await service.post(f"{KEYS}/999/rotate", {})).status_code == 404
