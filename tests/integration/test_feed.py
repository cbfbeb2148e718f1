"""The feed: in order, complete and once, whatever writers do."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from eventsourcing.persistence import StoredEvent

from deploy.address import DatabaseAddress
from ledger import feed as feed_module
from ledger import merkle, store
from ledger.feed import Feed, RawEvent
from ledger.recorder import Recorder
from tests.support.postgres import create_tenant

TIME = datetime(2030, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
async def large_pool(database: DatabaseAddress) -> AsyncIterator[store.Pool]:
    """Enough connections for all of 32 writers to be in a transaction at once."""
    pool = await store.create_pool(database.app, size_min=1, size_max=36)
    yield pool
    pool.terminate()


async def append(
    connection: store.Connection,
    tenant_id: int,
    stream: str,
    *,
    count: int = 1,
    type_name: str = "Noted",
    effective_at: datetime = TIME,
    recorded_at: datetime = TIME,
) -> list[int]:
    """Append through the head's lock, in the caller's transaction; return the positions."""
    head = await store.lock_head(connection, tenant_id)
    after = await connection.fetchval(
        "SELECT coalesce(max(version), 0) FROM ledger.event WHERE tenant_id = $1 AND stream = $2",
        tenant_id,
        stream,
    )
    rows = [
        RawEvent(
            head.position + nth, stream, after + nth, type_name, 1, f'{{"n": {nth}}}', "{}",
            effective_at, recorded_at, merkle.node_hash(head.root, bytes([nth])),
        )
        for nth in range(1, count + 1)
    ]  # fmt: skip
    moved = head._replace(position=head.position + count, recorded_at=recorded_at)
    await store.append(
        connection, tenant_id, expected=head, head=moved, events=store.NewEvents.of(rows)
    )
    return [row.position for row in rows]


async def take(batches: AsyncIterator[list[RawEvent]], count: int) -> list[int]:
    """Return the positions of the next events, ``count`` or, where a batch says so, more."""
    positions: list[int] = []
    while len(positions) < count:
        positions += [event.position for event in await anext(batches)]
    return positions


async def test_an_empty_log_has_nothing_to_read(pool: store.Pool, tenant_id: int) -> None:
    """Its head is 0, and a tenant that there is not has none."""
    feed = Feed(pool)

    assert await feed.head_position(tenant_id) == 0
    assert await feed.read(tenant_id) == []
    with pytest.raises(LookupError):
        await feed.head_position(tenant_id + 1_000_000)


async def test_events_come_as_they_were_stored(pool: store.Pool, tenant_id: int) -> None:
    """Exact text included: it is what was hashed."""
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "note-1")

    (event,) = await Feed(pool).read(tenant_id)

    assert event[:9] == (1, "note-1", 1, "Noted", 1, '{"n": 1}', "{}", TIME, TIME)
    assert len(event.leaf_hash) == 32


async def test_paging_forwards_and_backwards(pool: store.Pool, tenant_id: int) -> None:
    """Each page goes on behind the last position of the one before."""
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "note-1", count=5)
    feed = Feed(pool)

    async def page(after: int, backwards: bool) -> list[int]:
        events = await feed.read(tenant_id, after, limit=2, backwards=backwards)
        return [event.position for event in events]

    assert [await page(after, False) for after in (0, 2, 4, 5)] == [[1, 2], [3, 4], [5], []]
    assert [await page(after, True) for after in (0, 4, 2, 1)] == [[5, 4], [3, 2], [1], []]
    with pytest.raises(ValueError, match="between 1 and 1000"):
        await feed.read(tenant_id, limit=1001)


async def test_filters(pool: store.Pool, tenant_id: int) -> None:
    """By stream, category, type and both times, alone and together."""
    day = timedelta(days=1)
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "stock-1-1", effective_at=TIME - day)
        await append(connection, tenant_id, "stock-1-2", type_name="Counted")
        await append(connection, tenant_id, "stocktake-1", recorded_at=TIME + day)
        await append(connection, tenant_id, "stock-1-1", recorded_at=TIME + day)
    feed = Feed(pool)

    async def positions(**where: object) -> list[int]:
        return [event.position for event in await feed.read(tenant_id, **where)]  # pyright: ignore[reportArgumentType]

    assert await positions(streams=["stock-1-1"]) == [1, 4]
    assert await positions(streams=["stock-1-1", "stocktake-1"]) == [1, 3, 4]
    assert await positions(streams=[]) == []
    assert await positions(category="stock") == [1, 2, 4]
    assert await positions(types=["Counted"]) == [2]
    assert await positions(effective_from=TIME) == [2, 3, 4]
    assert await positions(effective_to=TIME) == [1]
    assert await positions(recorded_from=TIME + day) == [3, 4]
    assert await positions(recorded_to=TIME + day) == [1, 2]
    assert await positions(category="stock", types=["Noted"], recorded_from=TIME + day) == [4]


async def test_a_tenant_reads_its_own_log_only(
    database: DatabaseAddress, pool: store.Pool, tenant_id: int
) -> None:
    """The same position is another event for another tenant (I9)."""
    other = await create_tenant(database)
    async with store.tenant_transaction(pool, other) as connection:
        await append(connection, other, "note-1", count=3)

    assert await Feed(pool).read(tenant_id) == []
    assert len(await Feed(pool).read(other)) == 3


async def test_a_reader_waits_while_an_append_is_not_committed(
    pool: store.Pool, tenant_id: int
) -> None:
    """It neither sees the append nor anything behind it, and then sees both, in order."""
    feed = Feed(pool)
    committed = asyncio.Event()

    async def stalled_writer(appended: asyncio.Event) -> None:
        async with store.tenant_transaction(pool, tenant_id) as connection:
            await append(connection, tenant_id, "note-1")
            appended.set()
            await committed.wait()

    async def quick_writer() -> None:
        async with store.tenant_transaction(pool, tenant_id) as connection:
            await append(connection, tenant_id, "note-2")

    async with aclosing(feed.follow(tenant_id)) as batches:
        appended = asyncio.Event()
        stalled = asyncio.create_task(stalled_writer(appended))
        await appended.wait()
        quick = asyncio.create_task(quick_writer())
        reading = asyncio.create_task(take(batches, 2))
        await asyncio.sleep(0.4)

        assert not reading.done()
        assert not quick.done()
        assert await feed.read(tenant_id) == []

        committed.set()
        assert await reading == [1, 2]
        await asyncio.gather(stalled, quick)


async def test_a_rolled_back_append_leaves_no_gap(pool: store.Pool, tenant_id: int) -> None:
    """Its position is the next writer's."""

    async def fail_after_appending() -> None:
        async with store.tenant_transaction(pool, tenant_id) as connection:
            await append(connection, tenant_id, "note-1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_appending()
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "note-2")

    assert [event[:2] for event in await Feed(pool).read(tenant_id)] == [(1, "note-2")]


async def test_nothing_is_missed_repeated_or_reordered_with_stalling_writers(
    large_pool: store.Pool, tenant_id: int
) -> None:
    """32 writers that hold their commits for random times, and two live readers."""
    pool = large_pool
    writers, rounds, chance = 32, 5, random.Random(7)
    feed = Feed(pool)
    total = 0

    async def write(number: int) -> None:
        nonlocal total
        for _ in range(rounds):
            count = chance.randint(1, 3)
            await asyncio.sleep(chance.random() * 0.02)
            async with store.tenant_transaction(pool, tenant_id) as connection:
                positions = await append(connection, tenant_id, f"note-{number}", count=count)
                await asyncio.sleep(chance.random() * 0.01)
            total += count
            if chance.random() < 0.5:
                feed.wake(tenant_id, chance.choice([None, positions[-1]]))

    async def follow(batch: int) -> list[tuple[int, str, int]]:
        seen: list[tuple[int, str, int]] = []
        async with aclosing(feed.follow(tenant_id, batch=batch)) as batches:
            async for events in batches:
                assert 1 <= len(events) <= batch
                seen += [event[:3] for event in events]
                if events[-1].stream == "note-last":
                    return seen
        return seen

    readers = [asyncio.create_task(follow(batch)) for batch in (3, 1000)]
    await asyncio.gather(*(write(number) for number in range(writers)))
    # The readers end with this one, whether they had seen all before it or not.
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "note-last")
    total += 1
    results = await asyncio.wait_for(asyncio.gather(*readers), 20)

    for seen in results:
        assert [position for position, _, _ in seen] == list(range(1, total + 1))
        for number in range(writers):
            versions = [version for _, stream, version in seen if stream == f"note-{number}"]
            assert versions == list(range(1, len(versions) + 1))


async def test_a_wake_up_is_faster_than_the_poll(
    pool: store.Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower in the committer's process need not wait for its next look."""
    monkeypatch.setattr(feed_module, "POLL_INTERVAL_MIN_S", 30)
    feed = Feed(pool)
    async with aclosing(feed.follow(tenant_id)) as batches:
        reading = asyncio.create_task(take(batches, 1))
        await asyncio.sleep(0.2)
        async with store.tenant_transaction(pool, tenant_id) as connection:
            await append(connection, tenant_id, "note-1")

        feed.wake(tenant_id)

        assert await asyncio.wait_for(reading, 2) == [1]


async def test_without_a_wake_up_polling_finds_another_process_append(
    pool: store.Pool, tenant_id: int
) -> None:
    """Nobody calls `wake` for what another process commits."""
    async with aclosing(Feed(pool).follow(tenant_id)) as batches:
        reading = asyncio.create_task(take(batches, 1))
        await asyncio.sleep(0.3)
        async with store.tenant_transaction(pool, tenant_id) as connection:
            await append(connection, tenant_id, "note-1")

        assert await asyncio.wait_for(reading, 2) == [1]


async def test_following_with_a_filter_hardly_anything_passes(
    pool: store.Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement looks through a bounded stretch, and no match is lost between two."""
    monkeypatch.setattr(feed_module, "SCAN_POSITIONS_MAX", 7)
    async with store.tenant_transaction(pool, tenant_id) as connection:
        await append(connection, tenant_id, "note-1", count=40)
        await append(connection, tenant_id, "note-1", type_name="Rare")
        await append(connection, tenant_id, "note-1", count=13)
        await append(connection, tenant_id, "note-1", type_name="Rare")

    async with aclosing(Feed(pool).follow(tenant_id, types=["Rare"])) as batches:
        assert await asyncio.wait_for(take(batches, 2), 5) == [41, 55]


async def test_a_follower_that_goes_away_leaves_nothing_behind(
    pool: store.Pool, tenant_id: int
) -> None:
    """Cancelled while it waits: its connection is back, and the feed forgets it."""
    feed = Feed(pool)
    batches = feed.follow(tenant_id)
    reading = asyncio.create_task(take(batches, 1))
    await asyncio.sleep(0.1)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await batches.aclose()

    assert feed._watches == {}
    assert pool.get_idle_size() == pool.get_size()


async def test_many_followers_of_one_tenant_poll_like_one(
    pool: store.Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share what one of them has read of the head."""
    looks = 0
    feed = Feed(pool)
    head_position = feed.head_position

    async def counted(*args: int, **kwargs: None) -> int:
        nonlocal looks
        looks += 1
        return await head_position(*args, **kwargs)

    monkeypatch.setattr(feed, "head_position", counted)
    followers = [asyncio.create_task(take(feed.follow(tenant_id), 1)) for _ in range(30)]
    await asyncio.sleep(0.5)
    at_start, looks = looks, 0
    await asyncio.sleep(1)

    # Thirty on their own would have looked 120 times.
    assert at_start <= 80
    assert looks <= 15
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)


async def test_a_key_that_is_not_valid_reads_nothing(pool: store.Pool, tenant_id: int) -> None:
    """The check is in the reading transaction, in every process."""
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await Feed(pool).read(tenant_id, credential=("key", 1))


async def test_a_recorder_wakes_the_followers_of_its_feed(
    pool: store.Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended in this process is seen at once."""
    monkeypatch.setattr(feed_module, "POLL_INTERVAL_MIN_S", 30)
    feed = Feed(pool)
    recorder = Recorder(pool, tenant_id, feed=feed)
    async with aclosing(recorder.subscribe()) as notifications:
        reading = asyncio.create_task(anext(notifications))
        await asyncio.sleep(0.1)

        await recorder.insert_events([StoredEvent("note-1", 1, "Noted", b"{}")])

        assert (await asyncio.wait_for(reading, 2)).id == 1
