"""A relay of a test's own, and holding what it has published against the log."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from deploy.address import DatabaseAddress
from ledger.feed import Feed
from ledger.nats_connection import NatsConnection
from ledger.showing import event_json
from ledger.store import Pool, create_pool
from projections.relay import run_relay
from projections.relay_messages import stream_name
from tests.support.nats import Nats, messages

WITHIN_S = 40.0


@asynccontextmanager
async def relaying(
    address: DatabaseAddress, *urls: str, holder: str = "here", replicas: int = 1
) -> AsyncGenerator[None]:
    """Run a relay with a pool of its own, as its process does."""
    pool = await create_pool(address.app, size_min=1, size_max=8)
    connection = NatsConnection(urls, "relay")
    async with connection.running():
        task = asyncio.create_task(
            run_relay(pool, Feed(pool), connection, holder=holder, replicas=replicas)
        )
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            pool.terminate()


async def head(pool: Pool, tenant_id: int) -> int:
    """Return the position of the log."""
    return await Feed(pool).head_position(tenant_id)


async def relayed(server: Nats, pool: Pool, tenant_id: int) -> list[Any]:
    """Wait until a stream has the whole log, and return its messages."""
    wanted = await head(pool, tenant_id)
    async with asyncio.timeout(WITHIN_S), server.client() as client:
        while True:
            with contextlib.suppress(Exception):
                info = await client.jetstream().stream_info(stream_name(tenant_id))
                if info.state.last_seq >= wanted:
                    return await messages(client, stream_name(tenant_id))
            await asyncio.sleep(0.02)


async def must_equal_the_log(found: list[Any], pool: Pool, tenant_id: int) -> None:
    """Hold messages against the log: the same events, in the same order, each once."""
    feed = Feed(pool)
    expected: list[tuple[int, bytes]] = []
    while events := await feed.read(tenant_id, len(expected), limit=1000):
        expected += [(event.position, event_json(event)) for event in events]
    assert [(m.metadata.sequence.stream, m.data) for m in found] == expected
