"""Hints: cheap for who gives them, harmless whoever sends them, and back when NATS is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from deploy.wiring import House, alongside
from ledger.feed import Feed
from ledger.hints import SUBJECT, Hints
from ledger.nats_connection import NatsConnection
from ledger.store import Pool
from tests.proof.rig import Desk
from tests.support.nats import Nats, free_ports, running_nats

WITHIN_S = 20.0


class RecordingFeed(Feed):
    """Notes who is woken, besides."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self.woken: asyncio.Queue[int] = asyncio.Queue()

    def wake(self, tenant_id: int, position: int | None = None) -> None:
        """Note it."""
        assert position is None, "how far a log goes is not taken from a message"
        self.woken.put_nowait(tenant_id)
        super().wake(tenant_id, position)


@asynccontextmanager
async def process(pool: Pool, url: str) -> AsyncGenerator[tuple[Hints, RecordingFeed]]:
    """Run what one process has of the hints."""
    feed = RecordingFeed(pool)
    connection = NatsConnection([url], "test", echo=False)
    hints = Hints(feed, connection)
    async with connection.running(), alongside(hints.run(), "hints"):
        yield hints, feed


@pytest.fixture
async def server() -> AsyncIterator[Nats]:
    """A NATS server of one's own."""
    async with running_nats() as server:
        yield server


async def reaches(hints: Hints, feed: RecordingFeed, tenant_id: int) -> None:
    """Tell until the other process is woken: it may not be listening yet."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            hints.tell(tenant_id)
            try:
                while await asyncio.wait_for(feed.woken.get(), 0.2) != tenant_id:
                    pass
                return
            except TimeoutError:
                continue


async def test_other_processes_are_woken_and_the_own_one_is_not(server: Nats, pool: Pool) -> None:
    """Commits that follow each other at once are told of once."""
    async with (
        process(pool, server.url) as (hints, own),
        process(pool, server.url) as (_, other),
        server.client() as listener,
    ):
        await reaches(hints, other, 7)
        heard: list[str] = []

        async def hear(message: object) -> None:
            heard.append(message.subject)  # type: ignore[attr-defined]

        await listener.subscribe(f"{SUBJECT}.*", cb=hear)
        await listener.flush()
        for _ in range(500):
            hints.tell(8)
        await reaches(hints, other, 9)
        await listener.flush()
        assert own.woken.empty()
        assert 1 <= heard.count(f"{SUBJECT}.8") <= 2


async def test_hints_come_back_with_nats_and_cost_nothing_without(server: Nats, pool: Pool) -> None:
    """What is not told of then is in the table."""
    async with process(pool, server.url) as (hints, _), process(pool, server.url) as (_, other):
        await reaches(hints, other, 1)
        await server.kill()
        for tenant_id in range(1_000):
            hints.tell(tenant_id)
        await server.start()
        await reaches(hints, other, 1_001)


async def test_nothing_is_kept_where_there_is_no_nats(pool: Pool) -> None:
    """A tenant is not remembered for a server that may never be there."""
    async with process(pool, f"nats://127.0.0.1:{free_ports(1)[0]}") as (hints, _):
        for tenant_id in range(1_000):
            hints.tell(tenant_id)
        assert not hints._grown


async def test_a_hint_that_is_not_true_changes_nothing(
    server: Nats, house: House, pool: Pool, tenant_id: int
) -> None:
    """A follower looks at the table, finds nothing, and goes on."""
    desk = Desk(house.committer, tenant_id)
    async with (
        process(pool, server.url) as (_, feed),
        server.client() as stranger,
        aclosing(feed.follow(tenant_id)) as batches,
    ):
        coming = asyncio.ensure_future(anext(batches))
        for subject in (f"{SUBJECT}.{tenant_id}", f"{SUBJECT}.none", f"{SUBJECT}.99"):
            for _ in range(20):
                await stranger.publish(subject, b"999999")
        await stranger.flush()
        await asyncio.sleep(0.3)
        assert not coming.done()
        await desk.shop()
        assert [event.position for event in await coming] == [1, 2]
