"""What is read of the log at once is bounded by its bytes, whatever the size of an event."""

import secrets
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from ledger import merkle, store
from ledger.feed import FOLLOW_BYTES_MAX, PAGE_BYTES_MAX, Feed, RawEvent

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
LARGE = 300_000


async def write(pool: store.Pool, tenant_id: int, texts: list[str]) -> None:
    """Append an event for each text."""
    async with store.tenant_transaction(pool, tenant_id) as connection:
        head = await store.lock_head(connection, tenant_id)
        rows = [
            RawEvent(
                head.position + n, f"guest-{head.position + n}", 1, "Noted", 1,
                f'{{"text":"{text}"}}', "{}", NOW, NOW, merkle.node_hash(head.root, bytes([n])),
            )
            for n, text in enumerate(texts, start=1)
        ]  # fmt: skip
        moved = head._replace(position=head.position + len(texts), recorded_at=NOW)
        assert await store.append(
            connection, tenant_id, expected=head, head=moved, events=store.NewEvents.of(rows)
        )


def size(events: list[RawEvent]) -> int:
    """Return the bytes of what events say."""
    return sum(len(event.data) + len(event.meta) for event in events)


@pytest.fixture
async def feed(pool: store.Pool, tenant_id: int) -> Feed:
    """A log of small events, large ones, and large ones that compress well."""
    await write(pool, tenant_id, ["small"] * 40)
    await write(pool, tenant_id, [secrets.token_hex(LARGE // 2) for _ in range(40)])
    await write(pool, tenant_id, ["a" * LARGE for _ in range(40)])
    await write(pool, tenant_id, ["b" * (PAGE_BYTES_MAX + 10), "small"])
    return Feed(pool)


@pytest.mark.parametrize("backwards", [False, True])
async def test_pages_end_before_they_grow_too_large(
    feed: Feed, tenant_id: int, backwards: bool
) -> None:
    """Each leads on to the next, none is above the bound, and an event above it comes alone."""
    seen: list[int] = []
    after, pages = 0, 0
    while True:
        page = await feed.read_page(tenant_id, after, backwards=backwards)
        if not page.events:
            assert not page.is_full
            break
        seen += [event.position for event in page.events]
        assert size(page.events) <= PAGE_BYTES_MAX or len(page.events) == 1
        after, pages = seen[-1], pages + 1
        if not page.is_full:
            break
    assert sorted(seen) == list(range(1, 123))
    assert seen == sorted(seen, reverse=backwards)
    assert pages >= 4


async def test_a_limit_below_the_bound_holds(feed: Feed, tenant_id: int) -> None:
    """And says that there may be more."""
    page = await feed.read_page(tenant_id, limit=7)
    assert [event.position for event in page.events] == list(range(1, 8))
    assert page.is_full
    rest = await feed.read_page(tenant_id, 122)
    assert rest == ([], False)


async def test_a_follower_holds_one_bounded_batch(feed: Feed, tenant_id: int) -> None:
    """All arrive, in batches that are no larger than asked for."""
    seen: list[int] = []
    async with aclosing(feed.follow(tenant_id)) as batches:
        while len(seen) < 122:
            batch = await anext(batches)
            assert size(batch) <= FOLLOW_BYTES_MAX or len(batch) == 1
            seen += [event.position for event in batch]
    assert seen == list(range(1, 123))
