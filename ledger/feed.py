"""Reading the log in order: from a position on, filtered, once or live.

Positions have no gap and become visible in order, because a writer holds the tenant's head
row from before it takes a position until its commit is visible. So a reader that has seen the
head at N may read everything up to N and will never find more there later. Nothing here looks
for gaps, waits for stragglers or compares transaction ids.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

from ledger.store import Credential, EventRow, Pool, read_head, tenant_transaction

RawEvent = EventRow

READ_LIMIT_MAX: Final = 1000
POLL_INTERVAL_MIN_S: Final = 0.05
POLL_INTERVAL_MAX_S: Final = 0.25
# How many positions a follower looks through in one statement: a filter that hardly anything
# passes must not turn into one long scan.
SCAN_POSITIONS_MAX: Final = 50_000


class EventFilter(TypedDict, total=False):
    """Which events to read; what is absent or None does not restrict.

    ``category`` is a stream's name before its first hyphen. ``types`` are stored names. The
    times' ``from`` is included and ``to`` is not.
    """

    streams: Sequence[str] | None
    category: str | None
    types: Sequence[str] | None
    effective_from: datetime | None
    effective_to: datetime | None
    recorded_from: datetime | None
    recorded_to: datetime | None


_CONDITIONS: Final = {
    "streams": "stream = ANY ({}::text[])",
    "category": "split_part(stream, '-', 1) = {}",
    "types": "type = ANY ({}::text[])",
    "effective_from": "effective_at >= {}",
    "effective_to": "effective_at < {}",
    "recorded_from": "recorded_at >= {}",
    "recorded_to": "recorded_at < {}",
}


class Feed:
    """The log of every tenant, for readers. One a process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._watches: dict[int, _Watch] = {}

    async def head_position(self, tenant_id: int, *, credential: Credential | None = None) -> int:
        """Return the position of the tenant's last committed event, 0 when there is none.

        Raises LookupError when there is no such tenant.
        """
        async with tenant_transaction(self._pool, tenant_id, credential=credential) as connection:
            return (await read_head(connection, tenant_id)).position

    async def read(
        self,
        tenant_id: int,
        after: int = 0,
        *,
        up_to: int | None = None,
        limit: int = READ_LIMIT_MAX,
        backwards: bool = False,
        credential: Credential | None = None,
        **where: Unpack[EventFilter],
    ) -> list[RawEvent]:
        """Return at most ``limit`` events behind position ``after``, in the direction read.

        Forwards these have positions above ``after`` (and none above ``up_to``); ``backwards``
        they come newest first, with positions below ``after``, where 0 stands for the end.
        Raises ValueError for a limit outside 1 to 1000.
        """
        if not 1 <= limit <= READ_LIMIT_MAX:
            raise ValueError(f"limit must be between 1 and {READ_LIMIT_MAX}")
        conditions: list[tuple[str, Any]] = [("tenant_id = {}", tenant_id)]
        if after or not backwards:
            conditions.append(("position < {}" if backwards else "position > {}", after))
        if up_to is not None:
            conditions.append(("position <= {}", up_to))
        conditions += [
            (_CONDITIONS[name], value) for name, value in where.items() if value is not None
        ]
        places = [text.format(f"${number}") for number, (text, _) in enumerate(conditions, 1)]
        query = f"""
            SELECT position, stream, version, type, schema_version, data::text, meta::text,
                   effective_at, recorded_at, leaf_hash
            FROM ledger.event
            WHERE {" AND ".join(places)}
            ORDER BY position {"DESC" if backwards else "ASC"}
            LIMIT {int(limit)}
        """
        values = [value for _, value in conditions]
        async with tenant_transaction(self._pool, tenant_id, credential=credential) as connection:
            return [RawEvent(*row) for row in await connection.fetch(query, *values)]

    async def follow(
        self,
        tenant_id: int,
        after: int = 0,
        *,
        batch: int = READ_LIMIT_MAX,
        credential: Credential | None = None,
        **where: Unpack[EventFilter],
    ) -> AsyncGenerator[list[RawEvent], None]:
        """Yield batches of 1 to ``batch`` events, in order, for as long as it is iterated.

        Nothing is read ahead while the consumer works on a batch, so memory is bounded by one
        batch. A database error is raised to the consumer; to go on, follow again from the last
        position it has. With ``credential``, a revoked one is told by
        asyncpg.InvalidAuthorizationSpecificationError in place of the next batch.
        """
        watch = self._watches.setdefault(tenant_id, _Watch())
        watch.followers += 1
        try:
            seen = after
            interval_s = POLL_INTERVAL_MIN_S
            asked_at = asyncio.get_running_loop().time()
            while True:
                await self._look(tenant_id, watch, seen, asked_at, credential)
                if watch.head <= seen:
                    if watch.woken_at > watch.read_at:
                        continue  # Woken while looking: what woke us may be newer than what we saw.
                    asked_at = asyncio.get_running_loop().time()
                    await watch.wait(seen, interval_s)
                    interval_s = min(interval_s * 2, POLL_INTERVAL_MAX_S)
                    continue
                interval_s = POLL_INTERVAL_MIN_S
                up_to = min(watch.head, seen + SCAN_POSITIONS_MAX)
                events = await self.read(
                    tenant_id, seen, up_to=up_to, limit=batch, credential=credential, **where
                )
                # A full batch may have left some out; a shorter one means that nothing else
                # up to there passes the filter.
                seen = events[-1].position if len(events) == batch else up_to
                if events:
                    yield events
        finally:
            watch.followers -= 1
            if not watch.followers:
                self._watches.pop(tenant_id, None)

    def wake(self, tenant_id: int, position: int | None = None) -> None:
        """Tell this process's followers that the tenant's head has moved, if there are any.

        To be called on the event loop after a commit; with the position that was committed,
        the followers need not ask the database for it.
        """
        watch = self._watches.get(tenant_id)
        if watch is not None:
            watch.wake(position)

    async def _look(
        self,
        tenant_id: int,
        watch: "_Watch",
        seen: int,
        asked_at: float,
        credential: Credential | None,
    ) -> None:
        """Bring ``watch.head`` up to date, unless another follower did since ``asked_at``."""
        async with watch.reading:
            if watch.head > seen or watch.read_at > max(asked_at, watch.woken_at):
                return
            started_at = asyncio.get_running_loop().time()
            position = await self.head_position(tenant_id, credential=credential)
            watch.head = max(watch.head, position)
            watch.read_at = started_at


class _Watch:
    """What the followers of one tenant share, so that a thousand of them poll like one."""

    def __init__(self) -> None:
        self.followers = 0
        self.head = 0
        self.read_at = -1.0
        self.woken_at = -1.0
        self.reading = asyncio.Lock()
        self._moved = asyncio.Event()

    def wake(self, position: int | None) -> None:
        self.woken_at = asyncio.get_running_loop().time()
        if position is not None:
            self.head = max(self.head, position)
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Return when woken, after a time, or at once when the head is past ``seen``."""
        if self.head <= seen:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), timeout_s)
