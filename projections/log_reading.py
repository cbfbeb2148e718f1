"""The log as projections read it: decoded, in order, in batches, and read ahead."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Container, Coroutine, Iterable
from typing import Final, NamedTuple, Protocol, TypeVar

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from ledger.mapper import EVENT_TYPES, decode_event, is_ours
from projections.projection import Connection, Projection
from schemas.common import Event

READ_BATCH: Final = 20_000
# As stored, which is compressed where an event is large: some ten times that in memory.
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024

# Where few of them are folded, this is how many events are looked at for one batch.
SCANNED_EVENTS_MAX: Final = 200_000

# The first one is taken whatever its size.
_READ = f"""
SELECT position, stream, version, type, schema_version, data::text, effective_at, recorded_at
FROM (
    SELECT *, sum(pg_column_size(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM ledger.event
    WHERE tenant_id = $1 AND position > $2 AND position <= $3 AND type <> ALL ($5::text[])
    ORDER BY position LIMIT $4
) AS next
WHERE bytes <= {BATCH_BYTES_MAX} OR bytes = pg_column_size(data)
ORDER BY position
"""
_READ_LAST = """
SELECT max(position) FROM ledger.event
WHERE tenant_id = $1 AND position > $2 AND position <= $3
"""


async def set_tenant(connection: Connection, tenant_id: int) -> None:
    """Let the rest of the transaction see one tenant."""
    await connection.execute("SELECT set_config('ledger.tenant', $1, true)", str(tenant_id))


async def tenant_ids(connection: Connection) -> list[int]:
    """Return every tenant there is, in order."""
    return [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]


async def head_position(connection: Connection, tenant_id: int, *, lock: bool = False) -> int:
    """Return the position of the current tenant's last event; with ``lock``, hold it there."""
    statement = "SELECT position FROM ledger.head WHERE tenant_id = $1"
    return await connection.fetchval(statement + (" FOR UPDATE" if lock else ""), tenant_id) or 0


class Batch(NamedTuple):
    """A stretch of the log: its last position, and the events in it that are folded."""

    last: int
    events: list[RecordedEvent]


def folded_types(projections: Iterable[Projection]) -> frozenset[str]:
    """Return the stored names of the events that some projections fold."""
    return frozenset(kind.TYPE for projection in projections for kind in projection.event_types)


async def read_events(
    connection: Connection,
    tenant_id: int,
    after: int,
    up_to: int,
    types: Container[str],
    limit: int = READ_BATCH,
) -> Batch | None:
    """Return the next ``limit`` events behind ``after``, none above ``up_to``; None at the end.

    Fewer where they are large: a batch holds ``BATCH_BYTES_MAX`` at most, or one event.

    Only events of ``types`` are decoded. Raises `ledger.errors.UnreadableEvent` for one that
    this release does not know and that may be of importance, which is any but those that the
    eventsourcing library stored under a topic of its own.
    """
    rows = await connection.fetch(_READ, tenant_id, after, up_to, limit, ())
    if not rows:
        return None
    return Batch(rows[-1][0], decode_rows(rows, types))


async def read_folded(
    connection: Connection,
    tenant_id: int,
    after: int,
    up_to: int,
    types: Container[str],
    limit: int = READ_BATCH,
) -> Batch | None:
    """Return the next ``limit`` events of ``types``; None at the end of the log.

    As `read_events`, but what is not folded is left out by the database, and no part of the
    bounds: for who folds little of what there is. Of a stretch that holds nothing else, so many
    events as are looked at for one batch, the batch is empty.
    """
    scanned = min(up_to, after + SCANNED_EVENTS_MAX)
    last = await connection.fetchval(_READ_LAST, tenant_id, after, scanned)
    if last is None:
        return None
    # Types that this release does not know are read, and told of.
    left_out = [type_name for type_name in EVENT_TYPES if type_name not in types]
    rows = await connection.fetch(_READ, tenant_id, after, last, limit, left_out)
    # There may be more behind the last row, which the bounds have cut off.
    return Batch(rows[-1][0] if rows else last, decode_rows(rows, types))


def decode_rows(rows: Iterable[Record], types: Container[str]) -> list[RecordedEvent]:
    """Return those rows of the log whose type is one of ``types``, decoded.

    A row has position, stream, version, type, schema version, data as text and the two times.
    Raises `ledger.errors.UnreadableEvent` as `read_events` does.
    """
    return [
        RecordedEvent(
            position,
            stream,
            version,
            decode_event(type_name, schema_version, data),
            effective_at,
            recorded_at,
        )
        for position, stream, version, type_name, schema_version, data, effective_at,
            recorded_at in rows
        if type_name in types or is_unknown(stream, type_name)
    ]  # fmt: skip


def is_unknown(stream: str, type_name: str) -> bool:
    """Tell whether an event in one of our streams is of a type that this release does not know.

    Streams of an application of the library's share the log; their events are not ours to read.
    """
    return type_name not in EVENT_TYPES and is_ours(stream)


class _Read(Protocol):
    """What has been read of the log, to which position."""

    @property
    def last(self) -> int: ...


Stretch = TypeVar("Stretch", bound=_Read)


async def read_ahead(
    read: Callable[[int], Coroutine[None, None, Stretch | None]], after: int
) -> AsyncGenerator[Stretch, None]:
    """Yield what ``read`` gives for what is behind a position, until it gives None.

    The next stretch is read while one is worked on: nobody else may use the connection meanwhile,
    which must be in a transaction of the tenant's.
    """
    following = asyncio.create_task(read(after))
    try:
        while stretch := await following:
            following = asyncio.create_task(read(stretch.last))
            yield stretch
    finally:
        # To its end, which is near: a query that is cut off takes its transaction with it.
        await asyncio.gather(following, return_exceptions=True)


def of_types(events: list[RecordedEvent], types: frozenset[type[Event]]) -> list[RecordedEvent]:
    """Return those events that a projection folds; the list itself where it folds all."""
    kinds = {type(recorded.event) for recorded in events}
    if kinds <= types:
        return events
    if kinds.isdisjoint(types):
        return []
    return [recorded for recorded in events if type(recorded.event) in types]
