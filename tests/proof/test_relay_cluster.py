"""A JetStream cluster of three: its leader is killed under load, and nothing is missed."""

import asyncio
from collections.abc import Sequence

import pytest

from ledger.store import Pool
from projections import relay
from projections.relay_messages import stream_name
from tests.proof.rig import Desk, Ledger, receive
from tests.support.nats import Nats, running_cluster
from tests.support.relay import WITHIN_S, head, must_equal_the_log, relayed, relaying


async def leader_of(servers: Sequence[Nats], stream: str, besides: Nats | None = None) -> Nats:
    """Return the server that leads a stream, once it is another than ``besides``."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            for server in servers:
                if server is besides or not await server.answers():
                    continue
                name = await _said_leader(server, stream)
                for found in servers:
                    if found.name == name and found is not besides:
                        return found
            await asyncio.sleep(0.1)


async def _said_leader(server: Nats, stream: str) -> str | None:
    async with server.client() as client:
        try:
            info = await client.jetstream(timeout=1).stream_info(stream)
        except Exception:
            return None
        return None if info.cluster is None else info.cluster.leader


async def load(desk: Desk, stop: asyncio.Event) -> None:
    """Commit groups of movements until told to stop."""
    while not stop.is_set():
        assert (await desk.do(*[receive(1) for _ in range(40)])).refused is None
        await asyncio.sleep(0.005)


async def _kill_leaders(
    ledger: Ledger, pool: Pool, desk: Desk, servers: Sequence[Nats], kills: int
) -> None:
    stream = stream_name(desk.tenant_id)
    stop = asyncio.Event()
    loading = asyncio.create_task(load(desk, stop))
    for _ in range(kills):
        await asyncio.sleep(0.5)
        leader = await leader_of(servers, stream)
        await leader.kill()
        other = await leader_of(servers, stream, leader)
        # While one is away the other two take what comes.
        wanted = await head(pool, desk.tenant_id)
        await _reaches(other, stream, wanted)
        await leader.start()
    stop.set()
    await loading
    found = await relayed(servers[0], pool, desk.tenant_id)
    await must_equal_the_log(found, pool, desk.tenant_id)
    async with servers[0].client() as client:
        info = await client.jetstream().stream_info(stream)
    assert info.config.num_replicas == 3


async def _reaches(server: Nats, stream: str, position: int) -> None:
    async with asyncio.timeout(WITHIN_S), server.client() as client:
        while True:
            info = await client.jetstream().stream_info(stream)
            if info.state.last_seq >= position:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.long)])
async def test_the_leader_killed_under_load_loses_and_doubles_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    """Order and count are the log's; the stream has three replicas."""
    monkeypatch.setattr(relay, "TENANTS_POLL_S", 0.2)
    async with (
        running_cluster(3) as servers,
        ledger.committer() as committer,
        ledger.pool() as pool,
    ):
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        urls = [server.url for server in servers]
        async with relaying(ledger.address, *urls, replicas=3):
            await relayed(servers[0], pool, desk.tenant_id)
            await _kill_leaders(ledger, pool, desk, servers, kills)
