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
from typing import Any, Final, NamedTuple, TypedDict, Unpack

from ledger.store import Credential, EventRow, Pool, read_head, tenant_transaction

RawEvent = EventRow

READ_LIMIT_MAX: Final = 1000
# An event may be of a hundred kilobytes: what is read at once is bounded by its bytes too.
PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
FOLLOW_BYTES_MAX: Final = 1024 * 1024
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


class Page(NamedTuple):
    """Events, and whether it ended because it was full, of so many or so large ones."""

    events: list[RawEvent]
    is_full: bool


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
        page = await self.read_page(
            tenant_id,
            after,
            up_to=up_to,
            limit=limit,
            backwards=backwards,
            bytes_max=None,
            credential=credential,
            **where,
        )
        return page.events

    async def read_page(
        self,
        tenant_id: int,
        after: int = 0,
        *,
        up_to: int | None = None,
        limit: int = READ_LIMIT_MAX,
        backwards: bool = False,
        bytes_max: int | None = PAGE_BYTES_MAX,
        credential: Credential | None = None,
        **where: Unpack[EventFilter],
    ) -> Page:
        """Return events as `read` does, no more than make up ``bytes_max``, but always one.

        What is counted is their data and meta.
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
        order = "DESC" if backwards else "ASC"
        query = f"""
            SELECT position, stream, version, type, schema_version, data::text, meta::text,
                   effective_at, recorded_at, leaf_hash
            FROM ledger.event
            WHERE {" AND ".join(places)}
            ORDER BY position {order}
            LIMIT {int(limit)}
        """
        values = [value for _, value in conditions]
        if bytes_max is not None:
            query = _bounded(query, order)
            values.append(bytes_max)
        async with tenant_transaction(self._pool, tenant_id, credential=credential) as connection:
            rows = await connection.fetch(query.replace("$bytes", f"${len(values)}"), *values)
        if bytes_max is None:
            return Page([RawEvent(*row) for row in rows], len(rows) == limit)
        found = rows[0]["found"] if rows else 0
        is_full = found == limit or len(rows) < found
        return Page([RawEvent(*tuple(row)[:-1]) for row in rows], is_full)

    async def follow(
        self,
        tenant_id: int,
        after: int = 0,
        *,
        batch: int = READ_LIMIT_MAX,
        bytes_max: int = FOLLOW_BYTES_MAX,
        credential: Credential | None = None,
        **where: Unpack[EventFilter],
    ) -> AsyncGenerator[list[RawEvent], None]:
        """Yield batches of 1 to ``batch`` events, in order, for as long as it is iterated.

        Nothing is read ahead while the consumer works on a batch, so memory is bounded by one
        batch, which has at most ``bytes_max``, or one event. A database error is raised to the
        consumer; to go on, follow again from the last position it has. With ``credential``, a
        revoked one is told by asyncpg.InvalidAuthorizationSpecificationError in place of the
        next batch.
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
                events, is_full = await self.read_page(
                    tenant_id,
                    seen,
                    up_to=up_to,
                    limit=batch,
                    bytes_max=bytes_max,
                    credential=credential,
                    **where,
                )
                # A full batch may have left some out; any other means that nothing else up to
                # there passes the filter.
                seen = events[-1].position if is_full else up_to
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


def _bounded(query: str, order: str) -> str:
    """Return a query of events that ends before ``$bytes`` are passed, with how many it found.

    Sizes as they are stored, compressed, come first: reading those is cheap, and what they leave
    is not much more than what is returned. The first event is always there.
    """
    so_far = f"OVER (ORDER BY position {order} ROWS UNBOUNDED PRECEDING)"
    query = query.replace("data::text, meta::text,", "data, meta,")
    return f"""
        WITH page AS MATERIALIZED ({query}), stored AS (
            SELECT *, row_number() {so_far} AS nth,
                   sum(pg_column_size(data)) {so_far} AS stored_bytes
            FROM page
        ), sized AS (
            SELECT *, sum(octet_length(data::text) + octet_length(meta::text)) {so_far} AS bytes
            FROM stored WHERE nth = 1 OR stored_bytes <= $bytes
        )
        SELECT position, stream, version, type, schema_version, data::text, meta::text,
               effective_at, recorded_at, leaf_hash, (SELECT count(*) FROM page) AS found
        FROM sized WHERE nth = 1 OR bytes <= $bytes
        ORDER BY position {order}
    """


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
                async with asyncio.timeout(timeout_s):
                    await self._moved.wait()
