"""Webhooks from the log to a receiver: each arrives, in order per item, or is visibly parked."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.webhooks import forget_deliveries
from deploy.wiring import house_at
from ledger.store import Pool, tenant_transaction
from projections.rebuild import rebuild
from projections.webhook_dispatch import begin_replay, dispatch, resend
from projections.webhook_endpoints import Policy
from projections.webhook_lanes import Plan
from projections.webhook_schedule import Rules
from projections.webhook_secrets import new_secret, rotate_secret
from projections.webhook_sending import Limits
from schemas.integration import ItemLinked, StoreLinked
from schemas.location import LocationOpened
from schemas.product import ProductRegistered
from schemas.stock import StockReceived
from schemas.webhook import (
    WebhookEndpointDeleted,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
)
from tests.support import written_log
from tests.support.receiver import Received, Receiver, receiving, status
from tests.support.webhook_shop import ENGINE, FAST, MESSAGES, Shop


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def shop(pool: Pool, tenant_id: int, receiver: Receiver) -> Shop:
    shop = Shop(pool, tenant_id, receiver)
    await shop.scribe.write(
        *(
            (
                f"product-{number}",
                ProductRegistered(
                    product_id=number, name="Tea", sku=f"T-{number}", base_price=Decimal(1)
                ),
            )
            for number in (1, 2, 3)
        )
    )
    return shop


def products(received: list[Received]) -> list[int]:
    return [one.json["data"]["product_id"] for one in received]


def positions(received: list[Received], product_id: int | None = None) -> list[int]:
    """Return the positions that came in, each when it first did."""
    data = [one.json["data"] for one in received]
    wanted = [d["position"] for d in data if product_id in (None, d["product_id"])]
    return list(dict.fromkeys(wanted))


async def test_what_happens_is_told_and_signed_as_standard_webhooks_has_it(shop: Shop):
    """The reference implementation of a receiver accepts it; with another secret it does not."""
    await shop.endpoint()
    async with shop.delivering():
        await shop.receive(1, quantity="2.5")
        await shop.until({"delivered": 1})
    (one,) = shop.receiver.received
    verified: Any = Webhook(shop.secrets[1]).verify(one.body, one.headers)
    assert verified["type"] == "stock.changed"
    assert verified["timestamp"] == verified["data"]["recorded_at"]
    assert (verified["data"]["sku"], verified["data"]["on_hand"]) == ("T-1", 2.5)
    assert one.id == f"msg_{shop.tenant_id}_5_1_0"
    assert one.headers["content-type"] == "application/json"
    with pytest.raises(Exception, match="matching signature"):
        Webhook(new_secret()).verify(one.body, one.headers)
    attempts = await shop.rows(
        "SELECT endpoint_id, position, n, attempt, status, answer, problem FROM webhook.attempt"
    )
    assert attempts == [(1, 5, 0, 1, 200, None, None)]


async def test_both_secrets_sign_while_a_rotation_lasts(shop: Shop):
    """So that the receiver may change its own at any time."""
    await shop.endpoint()
    secret = new_secret()
    async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
        until = await connection.fetchval("SELECT clock_timestamp() + interval '1 hour'")
        await rotate_secret(connection, shop.tenant_id, 1, secret, now, old_until=until)
    async with shop.delivering():
        await shop.receive(1)
        await shop.until({"delivered": 1})
    (one,) = shop.receiver.received
    assert len(one.headers["webhook-signature"].split()) == 2
    for good in (secret, shop.secrets[1]):
        Webhook(good).verify(one.body, one.headers)


async def test_a_failure_holds_back_its_item_and_no_other(shop: Shop):
    """Those of one item arrive in log order, whatever fails how often."""
    await shop.endpoint()
    failures = {1: 3}

    def sometimes(one: Received) -> web.Response:
        product_id = one.json["data"]["product_id"]
        if failures.get(product_id, 0):
            failures[product_id] -= 1
            return web.Response(status=500, text="later")
        return web.Response(status=204)

    shop.receiver.answer("/hook", sometimes)
    async with shop.delivering():
        await shop.receive(1, 2, 1, 2, 1, 3)
        await shop.until({"delivered": 6})
    received = shop.receiver.received
    assert positions(received, 1) == [5, 7, 9]
    assert positions(received, 2) == [6, 8]
    assert products(received).count(1) == 6
    last_of_one = max(n for n, one in enumerate(received) if products([one]) == [1])
    assert all(products(received).index(other) < last_of_one for other in (2, 3))
    log = await shop.rows(
        "SELECT attempt, status, answer FROM webhook.attempt WHERE position = 5 ORDER BY 1"
    )
    assert log == [(1, 500, "later"), (2, 500, "later"), (3, 500, "later"), (4, 204, None)]


async def test_what_is_never_taken_is_parked_and_the_next_goes_out(shop: Shop):
    """After all attempts; of what the receiver refuses, after fewer."""
    await shop.endpoint()

    def answer(one: Received) -> web.Response:
        data = one.json["data"]
        return web.Response(status={5: 503, 6: 422}.get(data["position"], 200))

    shop.receiver.answer("/hook", answer)
    async with shop.delivering():
        await shop.receive(1, 2, 1, 2)
        await shop.until({"delivered": 2, "parked": 2})
    found = await shop.rows(
        "SELECT position, state, attempts, status, problem FROM webhook.delivery ORDER BY 1"
    )
    assert found == [
        (5, "parked", 8, 503, "answered 503"),
        (6, "parked", 4, 422, "answered 422"),
        (7, "delivered", 1, 200, None),
        (8, "delivered", 1, 200, None),
    ]
    lanes = await shop.rows("SELECT delivered, failed, parked, failing_since FROM webhook.lane")
    assert lanes == [(2, 12, 2, None)]


async def test_410_disables_and_parks_what_waits(shop: Shop):
    """With its cause; once enabled, what comes goes out, and the parked can be sent again."""
    await shop.endpoint()
    shop.receiver.answer("/hook", status(410))
    async with shop.delivering():
        await shop.receive(1, 1, 1)
        await shop.until({"parked": 3})
        found = await shop.rows("SELECT disabled_cause FROM projections.webhook_endpoint")
        assert found == [("gone",)]
        assert len(shop.receiver.received) == 1
        await shop.receive(1)
        await shop.until({"parked": 4})
        shop.receiver.answer("/hook", status(200))
        await shop.say(1, WebhookEndpointEnabled)
        await shop.receive(1)
        await shop.until({"parked": 4, "delivered": 1})
        async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
            assert await resend(connection, shop.tenant_id, 1, 5, 0)
            assert not await resend(connection, shop.tenant_id, 1, 999, 0)
        await shop.until({"parked": 3, "delivered": 2})
    assert shop.receiver.received[-1].id == f"msg_{shop.tenant_id}_5_1_0"


async def test_an_endpoint_that_takes_nothing_for_long_is_disabled(shop: Shop):
    """Long is days in earnest."""
    await shop.endpoint()
    shop.receiver.answer("/hook", status(500))
    async with shop.delivering(FAST._replace(failing_s=0.2)):
        await shop.receive(1, 2)
        await shop.until({"parked": 2})
    found = await shop.rows("SELECT disabled_cause FROM projections.webhook_endpoint")
    assert found == [("failing",)]


async def test_an_endpoint_that_hangs_delays_nobody_else(shop: Shop):
    """Nor itself for ever: an attempt ends in time."""
    await shop.endpoint(1, path="/hangs")
    await shop.endpoint(2, path="/well")
    release = asyncio.Event()

    async def hang(_one: Received) -> web.Response:
        await release.wait()
        return web.Response()

    shop.receiver.answer("/hangs", hang)
    try:
        async with shop.delivering(
            FAST._replace(at_once_max=1), limits=Limits(connect_s=1, total_s=1)
        ):
            await shop.receive(*[1, 2, 3] * 40)
            await shop.receiver.until(lambda: len(shop.receiver.at("/well")) == 120, 10)
            assert len(shop.receiver.at("/hangs")) <= 16
            await asyncio.sleep(1.2)
            release.set()
            await shop.until({"delivered": 240}, 30)
    finally:
        release.set()
    failed = await shop.rows("SELECT DISTINCT problem FROM webhook.attempt WHERE status IS NULL")
    assert failed == [("no answer in time",)]


async def test_a_new_address_is_sent_nothing_before_it_is_verified(shop: Shop):
    """What happens meanwhile waits, and goes there then."""
    await shop.endpoint(path="/old")
    async with shop.delivering():
        await shop.receive(1)
        await shop.until({"delivered": 1})
        await shop.say(
            1,
            WebhookEndpointRevised,
            url=shop.receiver.url("/new"),
            topics=("stock.changed",),
        )
        await shop.receive(1, 2)
        await shop.until({"delivered": 1, "waiting": 2})
        await asyncio.sleep(1.5)
        assert shop.receiver.at("/new") == []
        await shop.say(1, WebhookEndpointVerified)
        await shop.until({"delivered": 3})
    assert [len(shop.receiver.at(path)) for path in ("/old", "/new")] == [1, 2]


async def test_a_deleted_endpoint_is_sent_nothing_more(shop: Shop):
    """What waited is parked, and says why."""
    await shop.endpoint()
    shop.receiver.answer("/hook", status(503))
    async with shop.delivering(Plan(Rules(retry_delays_s=(60,)))):
        await shop.receive(1, 2)
        await shop.receiver.until(lambda: len(shop.receiver.received) == 2)
        await shop.say(1, WebhookEndpointDeleted)
        await shop.until({"parked": 2})
    found = await shop.rows("SELECT DISTINCT problem FROM webhook.delivery")
    assert found == [("the endpoint was deleted",)]


async def test_retry_after_is_waited_for(shop: Shop):
    """And nothing else goes to the endpoint before."""
    await shop.endpoint()
    answers = [web.Response(status=429, headers={"Retry-After": "1"})]
    shop.receiver.answer("/hook", lambda _: answers.pop() if answers else web.Response())
    started = asyncio.get_running_loop().time()
    async with shop.delivering():
        await shop.receive(1)
        await shop.receiver.until(lambda: shop.receiver.received)
        await shop.receive(2)
        await shop.until({"delivered": 2})
    assert asyncio.get_running_loop().time() - started >= 1
    assert products(shop.receiver.received)[:2] == [1, 1] or len(shop.receiver.received) == 3


async def test_redirects_are_not_followed(shop: Shop):
    """They could lead anywhere."""
    await shop.endpoint()
    shop.receiver.answer("/hook", status(302, headers={"Location": "/secret"}))
    async with shop.delivering():
        await shop.receive(1)
        await shop.until({"parked": 1})
    assert shop.receiver.at("/secret") == []
    found = await shop.rows("SELECT problem FROM webhook.delivery")
    assert found[0][0].startswith("answered 302: redirects are not followed")


async def test_private_addresses_are_not_connected_to(shop: Shop):
    """Whatever led to them; nothing arrives."""
    await shop.endpoint()
    async with shop.delivering(policy=Policy(http_allowed=True)):
        await shop.receive(1)
        await shop.until({"parked": 1})
    assert shop.receiver.received == []


async def test_a_long_answer_is_cut_off(shop: Shop):
    """The first 1,024 bytes are kept, and it is not read to its end."""
    await shop.endpoint()
    sent: list[int] = []

    async def talk(one: Received) -> web.StreamResponse:
        response = web.Response(status=200, body=b"a\x00" * 600_000)
        sent.append(1)
        return response

    shop.receiver.answer("/hook", talk)  # type: ignore[arg-type]
    async with shop.delivering():
        await shop.receive(1)
        await shop.until({"delivered": 1})
    ((answer,),) = await shop.rows("SELECT answer FROM webhook.attempt")
    assert answer == "a\ufffd" * 512


async def test_mipos_gets_what_its_document_says(shop: Shop):
    """Expects 204, and is signed in hex over the body that holds ``now``."""
    await shop.scribe.write(
        ("location-1", LocationOpened(location_id=1, name="York", code="Y", time_zone="UTC")),
        ("link-1", StoreLinked(system="mipos", external_id="1", location_id=1)),
        ("link-2", ItemLinked(system="mipos", external_id="avcc123", product_id=1)),
    )
    await shop.endpoint(format="mipos", kind="3", receiver_id="77")
    answers = [web.json_response({"message": "no such item"}, status=200)]
    shop.receiver.answer("/hook", lambda _: answers.pop() if answers else web.Response(status=204))
    async with shop.delivering():
        await shop.receive(1, quantity="12.44")
        await shop.until({"delivered": 1})
    one = shop.receiver.received[-1]
    said = one.json
    inventory_system_id, now = said.pop("inventory_system_id"), said.pop("now")
    assert said == {
        "pos_id": "77",
        "current_stock": "12.44",
        "quantity": "12.44",
        "date": "2030-05-01 12:00:04",
        "movement_type": 1,
        "external_id": "avcc123",
        "store_id": 1,
    }
    ((expected,),) = await shop.rows("SELECT inventory_system_id::text FROM ledger.tenant")
    assert inventory_system_id == expected
    assert len(now) == len("2020-06-01 02:55:18")
    signature = hmac.new(shop.secrets[1].encode(), one.body, hashlib.sha256).hexdigest()
    assert one.headers["x-signature-request"] == signature
    log = await shop.rows("SELECT status, problem FROM webhook.attempt ORDER BY attempt")
    assert log == [(200, "answered 200 where 204 was expected: no such item"), (204, None)]


async def test_messages_are_replayed_from_a_position(shop: Shop):
    """Under the same ids and in the same order, those delivered as well as those parked."""
    await shop.endpoint()
    async with shop.delivering():
        await shop.receive(1, 2, 1, 2)
        await shop.until({"delivered": 4})
        shop.receiver.received.clear()
        async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
            await begin_replay(connection, shop.tenant_id, 1, 9, 6, 7)
        await shop.receiver.until(lambda: len(shop.receiver.received) == 2)
        await shop.until({"delivered": 4})
    assert sorted(positions(shop.receiver.received)) == [6, 7]
    found = await shop.rows(
        "SELECT done_position, messages, finished_at IS NOT NULL FROM webhook.replay"
    )
    assert found == [(7, 2, True)]


async def test_a_rebuild_of_the_messages_loses_no_delivery(shop: Shop, database: DatabaseAddress):
    """Nor makes one twice: how far deliveries are is not the read model's to say."""
    await shop.endpoint()
    await shop.receive(1, 2)
    async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
        assert (await dispatch(connection, shop.tenant_id)).deliveries == 2
    await shop.receive(3)
    await shop.scribe.write(
        ("stock-1-1", StockReceived(product_id=1, location_id=1, quantity=Decimal(1)))
    )
    reader = await asyncpg.connect(**database.owner)
    writer = await asyncpg.connect(**database.owner)
    try:
        report = await rebuild(reader, writer, ENGINE, [MESSAGES.name])
    finally:
        await reader.close()
        await writer.close()
    assert report.differing == []
    await shop.fold()
    async with shop.delivering():
        await shop.until({"delivered": 4})
    assert sorted(positions(shop.receiver.received)) == [5, 6, 7, 8]
    assert len(shop.receiver.received) == 4


async def test_what_came_from_mipos_is_not_sent_back_to_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    """The POS has booked its own movement; others are told of it."""
    await shop.scribe.write(
        ("location-1", LocationOpened(location_id=1, name="York", code="Y")),
        ("link-1", StoreLinked(system="mipos", external_id="1", location_id=1)),
        ("link-2", ItemLinked(system="mipos", external_id="x", product_id=1)),
    )
    await shop.endpoint(1, path="/pos", format="mipos")
    await shop.endpoint(2, path="/shop")
    shop.receiver.answer("/pos", status(204))
    async with shop.delivering():
        monkeypatch.setattr(written_log, "META", '{"actor":"key:1","source":"mipos"}')
        await shop.receive(1)
        monkeypatch.undo()
        await shop.receive(1)
        await shop.until({"delivered": 3})
    assert [one.json["current_stock"] for one in shop.receiver.at("/pos")] == ["2"]
    assert positions(shop.receiver.at("/shop")) == [9, 10]


async def test_old_deliveries_are_forgotten_and_those_that_wait_are_not(
    shop: Shop, database: DatabaseAddress, tmp_path: Path
):
    """Deliveries, attempts and secrets that are over; a replay brings the message again."""
    await shop.endpoint()
    await shop.endpoint(2, path="/fails")
    shop.receiver.answer("/fails", status(503))
    async with shop.delivering(Plan(Rules(retry_delays_s=(3600.0,)))):
        await shop.receive(1)
        await shop.until({"delivered": 1, "waiting": 1})
        await shop.receiver.until(lambda: len(shop.receiver.received) == 2)
        await asyncio.sleep(0.5)
    async with house_at(Settings(data_dir=tmp_path, relay=False), database) as house:
        assert await forget_deliveries(house) == 0
        house.now = lambda: datetime.now(UTC) + timedelta(days=31)
        assert await forget_deliveries(house) == 3
    assert await shop.states() == {"waiting": 1}
    assert await shop.rows("SELECT 1 FROM webhook.attempt") == []
    async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
        await begin_replay(connection, shop.tenant_id, 1, 99, 1, 99)
    async with shop.delivering(Plan(Rules(retry_delays_s=(3600.0,)))):
        await shop.until({"delivered": 1, "waiting": 1})


async def test_deliveries_are_made_once_whoever_makes_them(shop: Shop):
    """Two at the same moment, and one whose transaction is taken back."""
    await shop.endpoint()
    await shop.receive(1, 2, 3)

    async def make() -> int:
        async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
            return (await dispatch(connection, shop.tenant_id)).deliveries

    class Killed(Exception):
        pass

    async def make_and_be_killed() -> None:
        async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
            assert (await dispatch(connection, shop.tenant_id)).deliveries == 3
            raise Killed

    with pytest.raises(Killed):
        await make_and_be_killed()
    assert sorted(await asyncio.gather(make(), make(), make())) == [0, 0, 3]
    assert await shop.states() == {"waiting": 3}


async def test_several_deliverers_share_the_work(shop: Shop):
    """An endpoint is one's at a time: in order, and hardly anything twice."""
    for number in range(1, 5):
        await shop.endpoint(number, path=f"/{number}")
    async with shop.delivering(), shop.delivering():
        for _ in range(10):
            await shop.receive(*[1, 2, 3] * 10)
        await shop.until({"delivered": 4 * 300}, 40)
    for number in range(1, 5):
        received = shop.receiver.at(f"/{number}")
        assert len(received) == 300
        for product_id in (1, 2, 3):
            got = positions(received, product_id)
            assert got == sorted(got)


async def test_what_a_dead_deliverer_had_is_taken_over(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    """When its time is over; a receiver gets it again under the same id at most."""
    monkeypatch.setattr("projections.webhook_delivery.LEASE_S", 2.0)
    monkeypatch.setattr("projections.webhook_delivery.LEASE_MARGIN_S", 0.5)
    await shop.endpoint()
    await shop.receive(1, 2, 1)
    async with tenant_transaction(shop.pool, shop.tenant_id) as connection:
        await dispatch(connection, shop.tenant_id)
        await connection.execute(
            """UPDATE webhook.lane
               SET holder = 'dead', held_until = clock_timestamp() + interval '2 seconds'"""
        )
    async with shop.delivering():
        await asyncio.sleep(1)
        assert shop.receiver.received == []
        await shop.until({"delivered": 3})
    assert positions(shop.receiver.received, 1) == [5, 7]
