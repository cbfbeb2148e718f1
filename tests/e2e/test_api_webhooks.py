"""Webhook endpoints over HTTP, from creating one to the message that its receiver gets."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.webhooks import run_webhooks
from deploy.wiring import following, house_at
from tests.support.api import Service, running_service
from tests.support.receiver import Receiver, receiving, status

WEBHOOKS = "/api/integrations/v1/webhooks"
TOPICS = ["stock.changed", "order.status_changed"]


@pytest.fixture
async def service(database: DatabaseAddress, tmp_path: Path) -> AsyncGenerator[Service]:
    """A service that may send to this machine, unencrypted."""
    settings = Settings(data_dir=tmp_path, webhook_http_allowed=True, webhook_private_allowed=True)
    async with house_at(settings, database) as house, running_service(house) as service:
        yield service


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@asynccontextmanager
async def delivering(service: Service) -> AsyncGenerator[None]:
    """Run what follows the log: the projections and the deliverer."""
    async with following(service.house):
        task = asyncio.create_task(run_webhooks(service.house))
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.wait([task])


async def create(service: Service, url: str, **more: Any) -> Any:
    reply = await service.post(WEBHOOKS, {"url": url, "topics": TOPICS, **more})
    assert reply.status_code == 201, reply.text
    return reply.json()


async def verified(service: Service, url: str, **more: Any) -> Any:
    """Create an endpoint and verify it."""
    made = await create(service, url, **more)
    reply = await service.post(f"{WEBHOOKS}/{made['id']}/verify")
    assert reply.status_code == 200, reply.text
    return made


async def until(service: Service, path: str, what: Any, timeout_s: float = 15) -> Any:
    """Read something until it is as wanted; return it."""
    reply: httpx.Response | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                reply = await service.get(path)
                if reply.status_code == 200 and what(reply.json()):
                    return reply.json()
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"{path} stayed as it is: {'' if reply is None else reply.text}")


async def test_from_an_endpoint_to_its_first_message(service: Service, receiver: Receiver):
    """Created, verified by a challenge, told what happens, signed with the secret shown once."""
    made = await create(service, receiver.url())
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made == {
        "id": 1,
        "url": receiver.url(),
        "topics": TOPICS,
        "format": "standard",
        "description": None,
        "verified": False,
        "created_at": made["created_at"],
    }
    async with delivering(service):
        product_id, _ = await service.stocked(5)
        verify = await service.post(f"{WEBHOOKS}/1/verify")
        assert verify.json() == {"id": 1, "message": "Webhook endpoint verified"}
        challenge = receiver.received[0]
        assert Webhook(secret).verify(challenge.body, challenge.headers)
        assert challenge.json["type"] == "webhook.verification"
        await service.post(
            "/api/inventory/receive",
            {"product_id": product_id, "warehouse_id": 1, "quantity": 2},
        )
        await receiver.until(lambda: len(receiver.received) == 2)
        message = receiver.received[1]
        said: Any = Webhook(secret).verify(message.body, message.headers)
        assert said["type"] == "stock.changed"
        assert (said["data"]["on_hand"], said["data"]["change"]["on_hand"]) == (7, 2)
        found = await until(
            service,
            f"{WEBHOOKS}/1/deliveries",
            lambda reply: [d["state"] for d in reply["deliveries"]] == ["delivered"],
        )
    (delivery,) = found["deliveries"]
    assert found["total"] == 1
    assert (delivery["id"], delivery["item"], delivery["status"]) == (
        message.id,
        f"stock:{product_id}:1",
        200,
    )
    detail = (await service.get(f"{WEBHOOKS}/1/deliveries/{message.id}")).json()
    assert detail["data"] == said["data"]
    (attempt,) = detail["log"]
    assert (attempt["attempt"], attempt["status"], attempt["problem"]) == (1, 200, None)
    attempts = (await service.get(f"{WEBHOOKS}/1/attempts", params={"failed": "false"})).json()
    assert attempts["attempts"] == detail["log"]
    assert (await service.get(f"{WEBHOOKS}/1/attempts?failed=true")).json()["total"] == 0


async def test_a_secret_is_shown_once_and_kept_nowhere_else(service: Service, receiver: Receiver):
    """Not in a replay, not in a list, not in the log; rotation makes another."""
    headers = {"Idempotency-Key": "make"}
    body = {"url": receiver.url(), "topics": ["stock.low"]}
    first = await service.post(WEBHOOKS, body, headers=headers)
    again = await service.post(WEBHOOKS, body, headers=headers)
    secret = first.json()["secret"]
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {**first.json(), "secret": secret[:10] + "…"}
    rotated = await service.post(
        f"{WEBHOOKS}/1/rotate-secret", {"overlap_hours": 1}, headers={"Idempotency-Key": "turn"}
    )
    assert rotated.status_code == 200, rotated.text
    new = rotated.json()["secret"]
    assert new != secret
    replayed = await service.post(
        f"{WEBHOOKS}/1/rotate-secret", {"overlap_hours": 1}, headers={"Idempotency-Key": "turn"}
    )
    assert replayed.json()["secret"] == new[:10] + "…"
    everything = [
        (await service.get(path)).text for path in (WEBHOOKS, f"{WEBHOOKS}/1", "/api/ledger/events")
    ]
    async with service.house.admin() as connection:
        everything += [
            str(row)
            for table in ("ledger.event", "ledger.idempotency")
            for row in await connection.fetch(f"SELECT * FROM {table}")
        ]
    assert not any(secret[10:] in text or new[10:] in text for text in everything)


@pytest.mark.parametrize(
    "answer",
    [
        web.json_response({"challenge": "another"}),
        web.Response(text="hello"),
        web.Response(status=500),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
    ids=["another challenge", "no challenge", "500", "redirect"],
)
async def test_who_does_not_answer_the_challenge_is_told_nothing(
    service: Service, receiver: Receiver, answer: web.Response
):
    """The problem says what was answered, and the endpoint stays unverified."""
    made = await create(service, receiver.url())
    receiver.answer("/hook", lambda _: answer)
    reply = await service.post(f"{WEBHOOKS}/{made['id']}/verify")
    assert (reply.status_code, reply.json()["code"]) == (409, "webhook_not_verified")
    assert len(receiver.received) == 1
    listed = (await service.get(f"{WEBHOOKS}?state=unverified")).json()
    assert (listed["total"], listed["webhooks"][0]["verified"]) == (1, False)
    async with delivering(service):
        await service.stocked(5)
        await asyncio.sleep(2)
    assert len(receiver.received) == 1


async def test_the_challenge_may_come_back_as_plain_text(service: Service, receiver: Receiver):
    """As well as in JSON."""
    receiver.answer("/hook", lambda one: web.Response(text=one.json["challenge"]))
    await verified(service, receiver.url())
    assert (await service.get(f"{WEBHOOKS}/1")).json()["verified"] is True


async def test_an_endpoint_is_revised_disabled_enabled_and_deleted(
    service: Service, receiver: Receiver
):
    """Each step shows in the endpoint, and If-Match guards the revision."""
    await verified(service, receiver.url())
    path = f"{WEBHOOKS}/1"
    found = await service.get(path)
    body = {"url": receiver.url(), "topics": ["stock.low"], "description": "Low only"}
    stale = await service.call("PUT", path, body, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    revised = await service.call("PUT", path, body, headers={"If-Match": found.headers["etag"]})
    assert revised.status_code == 200, revised.text
    shown = (await service.get(path)).json()
    assert (shown["topics"], shown["description"], shown["verified"]) == (
        ["stock.low"],
        "Low only",
        True,
    )
    moved = await service.call("PUT", path, {**body, "url": receiver.url("/new")})
    assert moved.status_code == 200
    assert (await service.get(path)).json()["verified"] is False
    assert (await service.post(f"{path}/disable")).status_code == 200
    shown = (await service.get(path)).json()
    assert (shown["enabled"], shown["disabled_cause"]) == (False, "user")
    assert (await service.post(f"{path}/enable")).status_code == 200
    assert (await service.get(path)).json()["enabled"] is True
    assert (await service.call("DELETE", path)).status_code == 200
    assert (await service.get(path)).status_code == 404
    assert (await service.post(f"{path}/enable")).json()["code"] == "webhook_endpoint_not_found"
    assert (await service.get(WEBHOOKS)).json()["total"] == 0


async def test_what_is_parked_is_resent_and_replayed(service: Service, receiver: Receiver):
    """One by its id; all from a position or a time on, with how far that is."""
    await verified(service, receiver.url(), topics=["stock.changed"])
    path = f"{WEBHOOKS}/1"
    async with delivering(service):
        await service.post(f"{path}/disable")
        await service.stocked(5)
        found = await until(
            service, f"{path}/deliveries?state=parked", lambda reply: reply["total"] == 1
        )
        (parked,) = found["deliveries"]
        assert parked["problem"] == "the endpoint was disabled"
        resend = f"{path}/deliveries/{parked['id']}/resend"
        idle = await service.post(resend)
        assert (idle.status_code, idle.json()["code"]) == (409, "webhook_endpoint_idle")
        await service.post(f"{path}/enable")
        again = await service.post(resend)
        assert again.status_code == 202, again.text
        await until(
            service, f"{path}/deliveries?state=delivered", lambda reply: reply["total"] == 1
        )
        assert receiver.received[-1].id == parked["id"]
        replay = await service.post(f"{path}/replays", {"from_position": parked["position"]})
        assert replay.status_code == 202, replay.text
        replays = f"{path}/replays/{replay.json()['id']}"
        done = await until(service, replays, lambda reply: reply["finished_at"] is not None)
        assert (done["messages"], done["from_position"]) == (1, parked["position"])
        await receiver.until(lambda: len(receiver.received) == 3)
        assert receiver.received[-1].id == parked["id"]
        from_time = await service.post(f"{path}/replays", {"from_time": "2020-01-01T00:00:00Z"})
        assert from_time.json()["from_position"] == 1
        await receiver.until(lambda: len(receiver.received) == 4)
    listed = (await service.get(f"{path}/replays")).json()
    assert [one["id"] for one in listed["replays"]] == [
        from_time.json()["id"],
        replay.json()["id"],
    ]
    log = (await service.get(f"{path}/deliveries/{parked['id']}")).json()["log"]
    assert [attempt["status"] for attempt in log] == [200, 200, 200]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "from_position"),
        ({"from_position": 1, "from_time": "2020-01-01T00:00:00Z"}, "from_position"),
        ({"from_position": 0}, "from_position"),
    ],
)
async def test_a_replay_has_one_beginning(
    service: Service, receiver: Receiver, body: Any, field: str
):
    await verified(service, receiver.url())
    reply = await service.post(f"{WEBHOOKS}/1/replays", body)
    assert (reply.status_code, reply.json()["field"]) == (400, field)


async def test_only_owners_and_administrators_may(service: Service, receiver: Receiver):
    """Neither other users nor API keys, whatever their permissions."""
    await create(service, receiver.url())
    for path in (WEBHOOKS, f"{WEBHOOKS}/1", f"{WEBHOOKS}/1/deliveries"):
        assert (await service.get(path, key=service.api_key)).status_code == 403
    body = {"url": receiver.url(), "topics": TOPICS}
    assert (await service.post(WEBHOOKS, body, key=service.api_key)).status_code == 403
    command = {
        "type": "CreateWebhookEndpoint",
        "data": {**body, "verified": True},
    }
    bulk = await service.post("/api/ledger/commands", {"commands": [command]})
    assert bulk.status_code == 400
    assert (await service.get(WEBHOOKS)).json()["total"] == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [("stat=active", "stat"), ("state=gone", "state"), ("limit=201", "limit")],
)
async def test_wrong_parameters_are_named(service: Service, query: str, named: str):
    reply = await service.get(f"{WEBHOOKS}?{query}")
    assert (reply.status_code, reply.json()["field"]) == (400, named)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@example.com/hook",
        "https:///hook",
        "ftp://example.com/",
        "https://exa mple.com/",
    ],
)
async def test_addresses_that_are_none_are_refused(service: Service, url: str):
    reply = await service.post(WEBHOOKS, {"url": url, "topics": TOPICS})
    assert (reply.status_code, reply.json()["field"]) == (400, "url")


async def test_private_and_unencrypted_addresses_need_a_setting(
    database: DatabaseAddress, tmp_path: Path
):
    """Neither is allowed without."""
    async with (
        house_at(Settings(data_dir=tmp_path), database) as house,
        running_service(house) as service,
    ):
        for url in (
            "http://example.com/hook",
            "https://127.0.0.1/hook",
            "https://[::1]/hook",
            "https://10.0.0.7/hook",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost/hook",
        ):
            reply = await service.post(WEBHOOKS, {"url": url, "topics": TOPICS})
            assert (reply.status_code, reply.json()["field"]) == (400, "url"), url
        good = await service.post(WEBHOOKS, {"url": "https://example.com/hook", "topics": TOPICS})
        assert good.status_code == 201


async def test_deliveries_of_others_are_not_there(service: Service, receiver: Receiver):
    """By whatever id."""
    await create(service, receiver.url())
    for name in ("msg_2_1_1_0", "msg_1_1_2_0", "msg_1_1_1_99999", "x", "msg_1_7_1_0"):
        reply = await service.get(f"{WEBHOOKS}/1/deliveries/{name}")
        assert (reply.status_code, reply.json()["code"]) == (404, "webhook_delivery_not_found")
    assert (await service.get(f"{WEBHOOKS}/9/deliveries")).status_code == 404
    assert (await service.get(f"{WEBHOOKS}/1/replays/4")).status_code == 404


async def test_metrics_tell_how_deliveries_stand(service: Service, receiver: Receiver):
    """How many came to what end, how many wait, and since when."""
    await verified(service, receiver.url(), topics=["stock.changed"])
    receiver.answer("/hook", status(503))
    async with delivering(service):
        await service.stocked(5)
        await receiver.until(lambda: len(receiver.received) == 2)
        await until(
            service, f"{WEBHOOKS}/1/attempts?failed=true", lambda reply: reply["total"] == 1
        )
        text = (await service.client.get("/metrics")).text
    assert 'stockledger_webhook_deliveries_total{result="failed"} 1.0' in text
    assert 'stockledger_webhook_deliveries_total{result="delivered"} 0.0' in text
    assert "stockledger_webhook_waiting 1.0" in text
    age = next(
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("stockledger_webhook_oldest_waiting_seconds ")
    )
    assert 0 < age < 60
