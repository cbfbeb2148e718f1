"""The relay: every event once, in order, whatever becomes of NATS, of the relay or of an answer."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from nats.js.api import StreamConfig

from deploy.address import DatabaseAddress
from deploy.wiring import House
from ledger.feed import Feed
from ledger.showing import instant
from ledger.store import Pool, tenant_transaction
from projections import relay, relay_stream
from projections.relay import RelayStanding, relay_standing
from projections.relay_messages import stream_name
from tests.proof.rig import Desk, receive
from tests.support.nats import Nats, messages, running_nats
from tests.support.postgres import create_tenant
from tests.support.relay import WITHIN_S, head, must_equal_the_log, relayed, relaying


@pytest.fixture
async def server() -> AsyncIterator[Nats]:
    """A NATS server of one's own."""
    async with running_nats() as server:
        yield server


@pytest.fixture
async def desk(house: House, database: DatabaseAddress) -> Desk:
    """A tenant with a product and a location."""
    desk = Desk(house.committer, await create_tenant(database))
    await desk.shop()
    return desk


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at an idle stream more often than an operator would want, and wait less."""
    monkeypatch.setattr(relay, "BEAT_S", 0.3)
    monkeypatch.setattr(relay, "STANDBY_S", 0.2)
    monkeypatch.setattr(relay, "RETRY_MAX_S", 0.5)
    monkeypatch.setattr(relay, "TENANTS_POLL_S", 0.2)


async def noted(pool: Pool, wanted: Any) -> RelayStanding:
    """Wait until the relay's standing is as wanted."""
    async with asyncio.timeout(WITHIN_S):
        while not wanted(standing := await relay_standing(pool)):
            await asyncio.sleep(0.05)
        return standing


async def test_every_event_is_published_in_order_as_a_cloud_event(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """Subject, headers and body are what the guide says; the sequence number is the position."""
    await desk.do(*[receive(n) for n in range(1, 50)], key="first")
    async with relaying(database, server.url):
        found = await relayed(server, pool, desk.tenant_id)
        await must_equal_the_log(found, pool, desk.tenant_id)
        standing = await noted(pool, lambda s: s.behind == 0)
    assert standing == RelayStanding(0, len(found), 0, is_connected=True, stopped=0)
    async with tenant_transaction(pool, desk.tenant_id) as connection:
        system = await connection.fetchval("SELECT inventory_system_id FROM ledger.tenant")
    [event] = await Feed(pool).read(desk.tenant_id, len(found) - 1)
    last = found[-1]
    assert last.subject == f"stockledger.{desk.tenant_id}.stock.StockReceived"
    headers = {name: text for name, text in last.headers.items() if "Batch" not in name}
    assert headers == {
        "Nats-Msg-Id": f"{desk.tenant_id}-{event.position}",
        "ce-specversion": "1.0",
        "ce-id": f"{desk.tenant_id}-{event.position}",
        "ce-source": f"urn:uuid:{system}",
        "ce-type": "StockReceived",
        "ce-subject": "stock-1-1",
        "ce-time": instant(event.effective_at),
        "ce-recordedtime": instant(event.recorded_at),
        "ce-datacontenttype": "application/json",
        "ce-leafhash": event.leaf_hash.hex(),
    }


async def test_events_follow_live_and_two_tenants_do_not_wait_for_each_other(
    server: Nats, desk: Desk, house: House, pool: Pool, database: DatabaseAddress
) -> None:
    """A tenant that is made while the relay runs is relayed as well."""
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
        other = Desk(house.committer, await create_tenant(database))
        await other.shop()
        for number in range(1, 20):
            await asyncio.gather(desk.do(receive(number)), other.do(receive(number)))
        for tenant_id in (desk.tenant_id, other.tenant_id):
            await must_equal_the_log(await relayed(server, pool, tenant_id), pool, tenant_id)


async def test_commands_go_on_while_nats_is_down_and_the_relay_catches_up(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """NATS killed under load, away for a while, back: no gap and nothing twice."""
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
        loading = asyncio.create_task(load(desk, 40))
        await asyncio.sleep(0.1)
        await server.kill()
        await loading
        away = await noted(pool, lambda s: not s.is_connected and s.behind > 0)
        assert away.failures > 0
        await server.start()
        found = await relayed(server, pool, desk.tenant_id)
        await must_equal_the_log(found, pool, desk.tenant_id)
        assert (await noted(pool, lambda s: s.behind == 0)).is_connected


async def load(desk: Desk, commits: int, each: int = 50) -> None:
    """Commit so many groups of movements, one after the other."""
    for _ in range(commits):
        assert (await desk.do(*[receive(1) for _ in range(each)])).refused is None


@pytest.mark.parametrize("how", ["NATS is wiped", "the stream is deleted while nothing happens"])
async def test_a_wiped_stream_is_filled_again_from_the_first_position(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress, how: str
) -> None:
    """A consumer that begins anew needs the whole history."""
    await load(desk, 3)
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
        await noted(pool, lambda s: s.behind == 0)
        if how == "NATS is wiped":
            await server.wipe()
            await server.start()
        else:
            async with server.client() as client:
                await client.jetstream().delete_stream(stream_name(desk.tenant_id))
        found = await relayed(server, pool, desk.tenant_id)
        await must_equal_the_log(found, pool, desk.tenant_id)


async def test_two_relays_at_once_do_no_harm(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """Even where both believe that they have the lease: the stream takes each event once."""
    async with (
        relaying(database, server.url),
        relaying(database, server.url),
        relaying(database, server.url, holder="elsewhere"),
    ):
        await load(desk, 40)
        found = await relayed(server, pool, desk.tenant_id)
    await must_equal_the_log(found, pool, desk.tenant_id)


async def test_another_relay_takes_over_when_the_lease_ends(
    server: Nats,
    desk: Desk,
    pool: Pool,
    database: DatabaseAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not before: the first one's lease is not over when it is."""
    monkeypatch.setattr(relay, "LEASE_S", 4.0)
    async with relaying(database, server.url, holder="first"):
        await relayed(server, pool, desk.tenant_id)
        await noted(pool, lambda s: s.behind == 0)
    before = await head(pool, desk.tenant_id)
    await desk.do(receive(1))
    async with relaying(database, server.url, holder="second"), server.client() as client:
        await asyncio.sleep(0.5)
        info = await client.jetstream().stream_info(stream_name(desk.tenant_id))
        assert info.state.last_seq == before
        await must_equal_the_log(await relayed(server, pool, desk.tenant_id), pool, desk.tenant_id)


async def test_what_the_duplicate_window_has_forgotten_is_not_doubled(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """The relay has lost its checkpoint and NATS its memory of message ids."""
    async with server.client() as client:
        await client.jetstream().add_stream(
            StreamConfig(
                name=stream_name(desk.tenant_id),
                subjects=[f"stockledger.{desk.tenant_id}.>"],
                duplicate_window=0.1,
                allow_atomic=True,
            )
        )
    await load(desk, 3)
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
        await noted(pool, lambda s: s.behind == 0)
    async with tenant_transaction(pool, desk.tenant_id) as connection:
        await connection.execute("UPDATE relay.checkpoint SET position = 0")
    await asyncio.sleep(0.3)
    await desk.do(receive(1))
    async with relaying(database, server.url):
        found = await relayed(server, pool, desk.tenant_id)
    await must_equal_the_log(found, pool, desk.tenant_id)


@pytest.mark.parametrize("batched", [True, False])
async def test_connections_that_are_cut_at_any_moment_leave_no_gap_and_no_duplicate(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress, batched: bool
) -> None:
    """With hundreds of messages under way, and their answers lost: the outcome is unknown."""
    if not batched:
        async with server.client() as client:
            await client.jetstream().add_stream(
                StreamConfig(
                    name=stream_name(desk.tenant_id),
                    subjects=[f"stockledger.{desk.tenant_id}.>"],
                )
            )
    await load(desk, 20, each=200)
    dice = random.Random(7)
    async with cutting(server, dice) as (url, cuts), relaying(database, url):
        found = await relayed(server, pool, desk.tenant_id)
    assert len(cuts) > 3
    await must_equal_the_log(found, pool, desk.tenant_id)
    failures = (await relay_standing(pool)).failures
    assert failures > 0


@asynccontextmanager
async def cutting(server: Nats, dice: random.Random) -> AsyncGenerator[tuple[str, list[int]]]:
    """Stand before a server and cut each connection after so many bytes, most of the time."""
    port = int(server.url.rpartition(":")[2])
    cuts: list[int] = []

    async def handle(near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        far, far_out = await asyncio.open_connection("127.0.0.1", port)
        left = dice.choice([300_000, 600_000, 900_000])

        async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal left
            with contextlib.suppress(ConnectionError):
                while content := await source.read(4096):
                    left -= len(content)
                    if left < 0:
                        cuts.append(left)
                        return
                    sink.write(content)
                    await sink.drain()

        both = {asyncio.create_task(carry(near, far_out)), asyncio.create_task(carry(far, out))}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            out.transport.abort()
            far_out.transport.abort()

    proxy = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", cuts
    finally:
        proxy.close()


async def test_a_stream_that_takes_no_batches_gets_messages_one_by_one(
    desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """A server that takes smaller batches than others is noticed by its answer."""
    await load(desk, 5)
    async with (
        running_nats(jetstream="limits { batch { max_msgs: 10 } }") as server,
        relaying(database, server.url),
    ):
        found = await relayed(server, pool, desk.tenant_id)
        await must_equal_the_log(found, pool, desk.tenant_id)
        assert "Nats-Batch-Id" not in found[-1].headers


async def test_a_stranger_s_message_stops_the_tenant_until_the_stream_is_deleted(
    server: Nats, desk: Desk, house: House, pool: Pool, database: DatabaseAddress
) -> None:
    """What is not the log's is not built upon; other tenants go on."""
    other = Desk(house.committer, await create_tenant(database))
    await other.shop()
    async with relaying(database, server.url), server.client() as client:
        await relayed(server, pool, desk.tenant_id)
        await noted(pool, lambda s: s.behind == 0)
        await client.jetstream().publish(f"stockledger.{desk.tenant_id}.stock.StockLost", b"{}")
        await desk.do(receive(1), receive(2))
        await other.do(receive(1))
        await noted(pool, lambda s: s.stopped == 1)
        async with tenant_transaction(pool, desk.tenant_id) as connection:
            reason = await connection.fetchval("SELECT stopped FROM relay.checkpoint")
        assert "Delete the stream" in reason
        await must_equal_the_log(
            await relayed(server, pool, other.tenant_id), pool, other.tenant_id
        )
        await client.jetstream().delete_stream(stream_name(desk.tenant_id))
        await noted(pool, lambda s: s.stopped == 0 and s.behind == 0)
        found = await relayed(server, pool, desk.tenant_id)
    await must_equal_the_log(found, pool, desk.tenant_id)


@pytest.mark.parametrize("beyond", [0, 1])
async def test_a_stream_of_another_history_is_not_gone_on_with(
    server: Nats, desk: Desk, pool: Pool, database: DatabaseAddress, beyond: int
) -> None:
    """A database that was restored: the stream has what the log has no longer."""
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
    async with server.client() as client:
        [last] = (await messages(client, stream_name(desk.tenant_id)))[-1:]
        jetstream = client.jetstream()
        config = (await jetstream.stream_info(stream_name(desk.tenant_id))).config
        headers = dict(last.headers) | {"ce-leafhash": "ab" * 32}
        await jetstream.delete_stream(stream_name(desk.tenant_id))
        await jetstream.add_stream(config, first_seq=last.metadata.sequence.stream + beyond)
        plain = {name: text for name, text in headers.items() if "Batch" not in name}
        await jetstream.publish(last.subject, last.data, headers=plain)
    async with relaying(database, server.url):
        await noted(pool, lambda s: s.stopped == 1)


async def test_an_event_larger_than_nats_takes_stops_the_tenant_and_says_so(
    desk: Desk, pool: Pool, database: DatabaseAddress
) -> None:
    """The server would close the connection, again and again."""
    await desk.do(receive(1, notes="x" * 1900))
    async with running_nats(settings="max_payload: 2000") as server:
        async with relaying(database, server.url):
            await noted(pool, lambda s: s.stopped == 1)
        async with tenant_transaction(pool, desk.tenant_id) as connection:
            reason = await connection.fetchval("SELECT stopped FROM relay.checkpoint")
    assert "raise its max_payload" in reason


async def test_a_server_that_answers_nothing_is_waited_for(
    server: Nats,
    desk: Desk,
    pool: Pool,
    database: DatabaseAddress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped with SIGSTOP: connected, and no answer comes."""
    monkeypatch.setattr(relay, "ACK_TIMEOUT_S", 0.5)
    async with relaying(database, server.url):
        await relayed(server, pool, desk.tenant_id)
        await server.signal(signal.SIGSTOP)
        await load(desk, 5)
        await noted(pool, lambda s: s.failures > 0)
        await server.signal(signal.SIGCONT)
        found = await relayed(server, pool, desk.tenant_id)
    await must_equal_the_log(found, pool, desk.tenant_id)


def test_the_lease_outlives_the_longest_silence_between_two_renewals() -> None:
    """Or a relay that has nothing to do would lose it."""
    assert relay.LEASE_S > 2 * 10
    assert timedelta(seconds=relay.LEASE_S) > timedelta(seconds=relay.ACK_TIMEOUT_S)
    assert relay_stream.BATCH_MESSAGES_MAX <= 1000
