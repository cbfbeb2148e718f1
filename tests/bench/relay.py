"""The relay: events a second to JetStream."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from nats.js.errors import NotFoundError

from deploy.embedded_nats import embedded_nats
from ledger.feed import READ_LIMIT_MAX, Feed
from ledger.nats_connection import NatsConnection, Session
from ledger.store import Pool, create_pool
from projections.relay import run_relay
from projections.relay_messages import Message, message_of, source_of, stream_name
from projections.relay_stream import TenantStream
from tests.bench.measure import LoadFailed, in_turn
from tests.bench.plan import SPREAD_PRODUCTS, Bench
from tests.bench.report import Figure

TENANT: Final = 1
STORE_BYTES_MAX: Final = 8 * 1024**3
UNDER_WAY_MAX: Final = 1_000
WITHIN_S: Final = 600


async def publishing(bench: Bench) -> list[Figure]:
    """A whole log from the database to an empty stream, against publishing what is in memory."""
    ours = await bench.large()
    await bench.grow(ours, SPREAD_PRODUCTS)
    least = bench.size.few_events
    await ours.fill(least, bench.counting("filling the log", least, 1000))
    bench.progress("starting NATS")
    async with (
        embedded_nats(bench.folder / "nats", store_bytes_max=STORE_BYTES_MAX) as url,
        _pool(ours.database.app) as pool,
        _connected(url) as session,
    ):
        messages = await _messages(pool)

        async def relayed() -> float:
            await _wipe(session)
            return await _relay(session, pool, url)

        async def one_by_one() -> float:
            await _wipe(session)
            return await _publish(session, messages, bench.durations.seconds)

        async def in_batches() -> float:
            await _wipe(session)
            return await _publish_batches(session, messages)

        found = await in_turn(
            {"publish loop": one_by_one, "relay": relayed, "loop of batches": in_batches},
            bench.durations.rounds,
            bench.progress,
        )
    note = (
        f"{len(messages):,} events of {sum(m.size for m in messages) // len(messages)} bytes with "
        "their headers; NATS syncs every acknowledged write (sync_interval: always)"
    )
    return [
        Figure(
            name="events relayed to JetStream",
            unit="events/s",
            ours=found["relay"],
            against=f"bare publish loop, {UNDER_WAY_MAX:,} under way",
            baseline=found["publish loop"],
            limit=0.70,
            note=note,
        ),
        Figure(
            name="events relayed to JetStream",
            unit="events/s",
            ours=found["relay"],
            against="bare loop of atomic batches of 1,000",
            baseline=found["loop of batches"],
            note="the loop has its messages in memory; the relay reads the log and makes them",
        ),
    ]


@asynccontextmanager
async def _pool(parameters: Any) -> AsyncGenerator[Pool]:
    pool = await create_pool(parameters, size_min=1, size_max=4)
    try:
        yield pool
    finally:
        pool.terminate()


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Session]:
    connection = NatsConnection([url], "bench")
    async with connection.running():
        yield await asyncio.wait_for(connection.next_session(), 60)


async def _messages(pool: Pool) -> list[Message]:
    """Return the whole log as the relay publishes it."""
    feed, messages = Feed(pool), list[Message]()
    source = source_of(UUID(int=0))
    while events := await feed.read(TENANT, len(messages), limit=READ_LIMIT_MAX):
        messages += [message_of(TENANT, source, event) for event in events]
    return messages


async def _wipe(session: Session) -> None:
    """Have an empty stream: everybody begins with the same."""
    with contextlib.suppress(NotFoundError):
        await session.jetstream.delete_stream(stream_name(TENANT))
    await TenantStream(session, TENANT, replicas=1).look()


async def _relay(session: Session, pool: Pool, url: str) -> float:
    """Return how many events a second the relay brings to the stream."""
    wanted = await Feed(pool).head_position(TENANT)
    connection = NatsConnection([url], "bench relay")
    stream = TenantStream(session, TENANT, replicas=1)
    async with connection.running():
        await connection.next_session()
        began = time.perf_counter()
        task = asyncio.create_task(run_relay(pool, Feed(pool), connection, holder="bench"))
        try:
            async with asyncio.timeout(WITHIN_S):
                while await stream.last_position() < wanted:
                    if task.done():
                        raise LoadFailed("the relay has ended") from task.exception()
                    await asyncio.sleep(0.02)
            return wanted / (time.perf_counter() - began)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _publish(session: Session, messages: Sequence[Message], seconds: float) -> float:
    """Return how many messages a second a bare loop publishes, each acknowledged."""
    room = asyncio.Semaphore(UNDER_WAY_MAX)
    stored = 0

    def done(_: object) -> None:
        nonlocal stored
        stored += 1
        room.release()

    began = time.perf_counter()
    under_way: list[asyncio.Future[Any]] = []
    for message in messages:
        await room.acquire()
        if time.perf_counter() - began > seconds:
            break
        answer = await session.ask(message.subject, message.body, message.headers)
        answer.add_done_callback(done)
        under_way.append(answer)
    await asyncio.wait_for(asyncio.gather(*under_way), WITHIN_S)
    return stored / (time.perf_counter() - began)


async def _publish_batches(session: Session, messages: Sequence[Message]) -> float:
    """Return how many messages a second a bare loop of atomic batches publishes."""
    stream = TenantStream(session, TENANT, replicas=1)
    await stream.look()
    began = time.perf_counter()
    under_way: list[asyncio.Future[Any]] = []
    for part in stream.in_batches(messages):
        under_way.append(await stream.publish(part))
        if len(under_way) >= 3:
            await asyncio.wait_for(under_way[-3], WITHIN_S)
    await asyncio.wait_for(asyncio.gather(*under_way), WITHIN_S)
    return len(messages) / (time.perf_counter() - began)
