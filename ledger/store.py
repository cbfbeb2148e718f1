"""The log's tables, through asyncpg: one function for each statement, one transaction each tenant.

Every transaction begins by naming its tenant, and row-level security holds it to that. The
connections' pool must be made without a reset on release (``create_pool``), so nothing but
``SET LOCAL`` may be used on them.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import asyncpg
import msgspec

from ledger.yielding import yield_to_others

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Credential = tuple[Literal["key", "user"], int]


class UnknownTenant(LookupError):
    """There is no such tenant."""


_TICK: Final = timedelta(microseconds=1)


class Head(NamedTuple):
    """A tenant's sequencer: its last position, its Merkle tree, its counters, its clock.

    ``models`` names the inline read models that are installed, which whoever appends writes.
    """

    position: int
    root: bytes
    frontier: list[bytes]
    counters: dict[str, int]
    recorded_at: datetime
    models: str

    def clock(self, now: datetime) -> datetime:
        """Return when what comes next is recorded: now, or, if the clock lags, just behind.

        It is later than all that is there: what was recorded by a time that is reached is settled.
        """
        return max(now, self.recorded_at + _TICK)


class EventRow(NamedTuple):
    """An event as it is stored. ``data`` and ``meta`` are the exact text that was hashed."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    data: str
    meta: str
    effective_at: datetime
    recorded_at: datetime
    leaf_hash: bytes


class IdempotencyRow(msgspec.Struct, frozen=True, gc=False):
    """A response kept under a key; the bytes are compressed where the flag says so."""

    key: str
    fingerprint: bytes
    request: bytes
    request_compressed: bool
    status: int
    response: bytes
    response_compressed: bool
    position: int


class SnapshotRow(NamedTuple):
    """A decider's state as of a version of its stream."""

    stream: str
    version: int
    state_version: int
    state: bytes


async def create_pool(
    dsn: Mapping[str, Any],
    *,
    size_min: int = 2,
    size_max: int = 16,
    timeout_s: float = 60,
    niceness: int = 0,
) -> Pool:
    """Open the service's pool; ``dsn`` holds asyncpg's connection parameters.

    With ``niceness`` what the server, which must be on this machine, does for it yields to what it
    does for others. Releasing a connection costs no round trip: there is no session state to reset.
    """

    async def no_reset(_connection: Any) -> None:
        return None

    async def be_nice(connection: "asyncpg.Connection[Any]") -> None:
        yield_to_others(connection.get_server_pid(), niceness)

    return await asyncpg.create_pool(
        **dsn,
        min_size=size_min,
        max_size=size_max,
        command_timeout=timeout_s,
        reset=no_reset,
        init=be_nice if niceness else None,
    )


@asynccontextmanager
async def tenant_transaction(
    pool: Pool,
    tenant_id: int,
    *,
    credential: Credential | None = None,
    isolation: Literal["read committed", "repeatable read"] = "read committed",
) -> AsyncGenerator[Connection]:
    """Give a connection in a transaction that sees one tenant; commit, or roll back on error.

    With ``credential`` the same round trip checks that it has not been revoked; otherwise
    asyncpg.InvalidAuthorizationSpecificationError is raised.
    """
    async with pool.acquire() as connection:
        await begin(connection, tenant_id, credential=credential, isolation=isolation)
        try:
            yield connection
        except BaseException:
            if is_open(connection):
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")


def is_open(connection: Connection) -> bool:
    """Tell whether a connection can still be used; a lost one has left its pool already."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


async def begin(
    connection: Connection,
    tenant_id: int,
    *,
    credential: Credential | None = None,
    isolation: Literal["read committed", "repeatable read"] = "read committed",
) -> None:
    """Begin a tenant's transaction in one round trip."""
    statement = _begin(tenant_id, isolation)
    if credential is not None:
        kind, credential_id = credential
        statement += f";SELECT access.require_{kind}({int(credential_id)})"
    try:
        await connection.execute(statement)
    except BaseException:
        if is_open(connection) and connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        raise


async def commit_and_begin(connection: Connection, tenant_id: int) -> None:
    """Commit, and begin a tenant's next transaction, in one round trip."""
    await connection.execute(f"COMMIT;{_begin(tenant_id, 'read committed')}")


def _begin(tenant_id: int, isolation: str) -> str:
    return (
        f"BEGIN ISOLATION LEVEL {isolation};"
        f"SELECT set_config('ledger.tenant', '{int(tenant_id)}', true)"
    )


_HEAD = """
SELECT position, root, frontier, counters::text AS counters, recorded_at, models
FROM ledger.head WHERE tenant_id = $1
"""


async def read_head(connection: Connection, tenant_id: int) -> Head:
    """Return a tenant's head as last committed; raise UnknownTenant when there is none."""
    return _head(await connection.fetchrow(_HEAD, tenant_id), tenant_id)


async def lock_head(connection: Connection, tenant_id: int) -> Head:
    """Take a tenant's sequencer until the transaction ends, waiting for who holds it."""
    return _head(await connection.fetchrow(_HEAD + " FOR UPDATE", tenant_id), tenant_id)


def _head(row: asyncpg.Record | None, tenant_id: int) -> Head:
    if row is None:
        raise UnknownTenant(f"there is no tenant {tenant_id}")
    return Head(
        row["position"],
        row["root"],
        list(row["frontier"]),
        msgspec.json.decode(row["counters"], type=dict[str, int]),
        row["recorded_at"],
        row["models"],
    )


# A column goes as one text, its values between record separators: that costs a fraction of an
# array, in asyncpg as in PostgreSQL. One that has the same value in all rows, as most groups have
# one type of event, goes as that value alone: the rows that find nothing take the text itself.
# Hashes are all of one length, and go as one string of bytes.
_SEPARATOR: Final = "\x1e"

# Moves the head from where the writer decided, and appends: a compare-and-set and the appended
# rows in one statement. The lock comes first, and is what waits for another writer: comparing
# alone would look at the row as it was when the statement began. The root stands for the whole
# history: the position alone could be right by chance, after a group that the writer counted
# on was lost. The read models are compared with it: those that the writer goes on to write must
# still be those installed.
_APPEND = """
WITH locked AS (
    SELECT position, root, models FROM ledger.head WHERE tenant_id = $1 FOR UPDATE
), moved AS (
    UPDATE ledger.head h
    SET position = $3, root = $5, frontier = $6::text::bytea[], counters = $7::text::jsonb,
        recorded_at = $8
    FROM locked
    WHERE h.tenant_id = $1 AND locked.position = $2 AND locked.root = $4 AND locked.models = $26
    RETURNING h.tenant_id, h.recorded_at
), kept AS (
    INSERT INTO ledger.idempotency
        (tenant_id, key, fingerprint, request, request_compressed, status, response,
         response_compressed, position, created_at)
    SELECT moved.tenant_id, i.key, substr($18::bytea, ((i.nth - 1) * 32 + 1)::integer, 32),
           decode(i.request, 'hex'), coalesce(i.request_compressed, $20)::boolean,
           coalesce(i.status, $21)::smallint,
           decode(i.response, 'hex'), coalesce(i.response_compressed, $23)::boolean,
           i.position::bigint, moved.recorded_at
    FROM moved, ROWS FROM (
        string_to_table($17, E'\\x1e'), string_to_table($19, E'\\x1e'),
        string_to_table($20, E'\\x1e'), string_to_table($21, E'\\x1e'),
        string_to_table($22, E'\\x1e'), string_to_table($23, E'\\x1e'),
        string_to_table($24, E'\\x1e')
    ) WITH ORDINALITY
        AS i (key, request, request_compressed, status, response, response_compressed, position,
              nth)
), appended AS (
    INSERT INTO ledger.event
        (tenant_id, position, stream, version, type, schema_version, data, meta, effective_at,
         recorded_at, leaf_hash)
    SELECT moved.tenant_id, $2 + e.nth, e.stream, e.version::bigint, coalesce(e.type, $11),
           coalesce(e.schema_version, $12)::smallint, e.data::json,
           coalesce(e.meta::json, $25::json),
           coalesce(e.effective_at, moved.recorded_at), moved.recorded_at,
           substr($16::bytea, ((e.nth - 1) * 32 + 1)::integer, 32)
    FROM moved, ROWS FROM (
        string_to_table($9, E'\\x1e'), string_to_table($10, E'\\x1e'),
        string_to_table($11, E'\\x1e'), string_to_table($12, E'\\x1e'),
        string_to_table($13, E'\\x1e'), string_to_table($14, E'\\x1e'),
        unnest($15::timestamptz[])
    ) WITH ORDINALITY
        AS e (stream, version, type, schema_version, data, meta, effective_at, nth)
)
SELECT count(*) FROM moved
"""


class NewEvents(NamedTuple):
    """Events to append, as columns, in the order of their positions.

    ``data`` and ``meta`` are the exact text that was hashed. ``effective_at`` is empty where all
    are effective when they are recorded.
    """

    streams: Sequence[str]
    versions: Sequence[int]
    types: Sequence[str]
    schema_versions: Sequence[int]
    data: Sequence[str]
    meta: Sequence[str]
    effective_at: Sequence[datetime]
    leaf_hashes: Sequence[bytes]

    @classmethod
    def of(cls, rows: Sequence[EventRow]) -> "NewEvents":
        """Return the columns of rows, at least one."""
        _, streams, versions, types, schemas, data, meta, at, _, leaves = zip(*rows, strict=True)
        return cls(streams, versions, types, schemas, data, meta, at, leaves)


async def append(
    connection: Connection,
    tenant_id: int,
    *,
    expected: Head,
    head: Head,
    events: NewEvents,
    idempotency: Sequence[IdempotencyRow] = (),
) -> bool:
    """Append events from the position after ``expected`` on, and move the head to ``head``.

    Return False, having done nothing, when the head is no longer at ``expected``.
    Raise asyncpg.UniqueViolationError when a stream's version or a key exists already; the
    transaction is then lost.
    """
    # As a parameter of its own it is read as JSON once, not once a row.
    is_meta_shared = events.meta.count(events.meta[0]) == len(events.meta)
    moved = await connection.fetchval(
        _APPEND,
        tenant_id,
        expected.position,
        head.position,
        expected.root,
        head.root,
        '{"' + '","'.join([f"\\\\x{root.hex()}" for root in head.frontier]) + '"}',
        msgspec.json.encode(head.counters).decode(),
        head.recorded_at,
        joined(events.streams),
        _SEPARATOR.join(map(str, events.versions)),
        same_or_joined(events.types),
        same_or_joined([str(version) for version in events.schema_versions]),
        joined(events.data),
        "" if is_meta_shared else joined(events.meta),
        events.effective_at,
        b"".join(events.leaf_hashes),
        *_idempotency_columns(idempotency),
        events.meta[0] if is_meta_shared else None,
        expected.models,
    )
    return moved == 1


def _idempotency_columns(rows: Sequence[IdempotencyRow]) -> tuple[str | bytes, ...]:
    if not rows:
        return ("", b"", "", "", "", "", "", "")
    return (
        joined([row.key for row in rows]),
        b"".join([row.fingerprint for row in rows]),
        _SEPARATOR.join([row.request.hex() for row in rows]),
        same_or_joined(["t" if row.request_compressed else "f" for row in rows]),
        same_or_joined([str(row.status) for row in rows]),
        _SEPARATOR.join([row.response.hex() for row in rows]),
        same_or_joined(["t" if row.response_compressed else "f" for row in rows]),
        _SEPARATOR.join([str(row.position) for row in rows]),
    )


def joined(values: Sequence[str]) -> str:
    """Return a column as one text; raise ValueError for a value that would pass for two."""
    text = _SEPARATOR.join(values)
    if text.count(_SEPARATOR) != len(values) - 1:
        raise ValueError("a stream, type or key must not hold a record separator (U+001E)")
    return text


def same_or_joined(values: Sequence[str]) -> str:
    """Return a column that has the same value in all rows as that; any other as one text."""
    first = values[0]
    return first if values.count(first) == len(values) else joined(values)


_EVENT_COLUMNS = """e.position, e.stream, e.version, e.type, e.schema_version,
    e.data::text AS data, e.meta::text AS meta, e.effective_at, e.recorded_at, e.leaf_hash"""

# LATERAL keeps the planner to one index range a stream, however stale its statistics.
_STREAMS = f"""
SELECT {_EVENT_COLUMNS}
FROM unnest($2::text[], $3::bigint[]) AS wanted (stream, after)
CROSS JOIN LATERAL (
    SELECT * FROM ledger.event
    WHERE tenant_id = $1 AND stream = wanted.stream AND version > wanted.after
    ORDER BY version
) AS e
"""


async def read_streams(
    connection: Connection, tenant_id: int, after: Mapping[str, int]
) -> list[EventRow]:
    """Return the events of streams, each from the version after the one given, in order."""
    rows = await connection.fetch(_STREAMS, tenant_id, list(after), list(after.values()))
    return [EventRow(*row) for row in rows]


async def read_stream(
    connection: Connection, tenant_id: int, stream: str, *, after: int = 0
) -> list[EventRow]:
    """Return the events of one stream from the version after one given, in order."""
    return await read_streams(connection, tenant_id, {stream: after})


_AFTER = f"""
SELECT {_EVENT_COLUMNS} FROM ledger.event e
WHERE e.tenant_id = $1 AND e.position > $2 ORDER BY e.position LIMIT $3
"""


async def read_after(
    connection: Connection, tenant_id: int, position: int, limit: int
) -> list[EventRow]:
    """Return at most ``limit`` events after a position, in log order."""
    rows = await connection.fetch(_AFTER, tenant_id, position, limit)
    return [EventRow(*row) for row in rows]


_LATER = f"""
SELECT {_EVENT_COLUMNS} FROM ledger.event e
WHERE e.tenant_id = $1 AND e.stream = $2 AND e.effective_at > $3 ORDER BY e.version
"""


async def read_later(
    connection: Connection, tenant_id: int, stream: str, effective_at: datetime
) -> list[EventRow]:
    """Return the events of a stream that are effective after a time, in log order."""
    rows = await connection.fetch(_LATER, tenant_id, stream, effective_at)
    return [EventRow(*row) for row in rows]


_BETWEEN = f"""
SELECT {_EVENT_COLUMNS} FROM ledger.event e
WHERE e.tenant_id = $1 AND e.position BETWEEN $2 AND $3 ORDER BY e.position
"""


async def read_between(
    connection: Connection, tenant_id: int, first: int, last: int
) -> list[EventRow]:
    """Return the events from one position to another, both included."""
    rows = await connection.fetch(_BETWEEN, tenant_id, first, last)
    return [EventRow(*row) for row in rows]


_SNAPSHOTS = """
SELECT stream, version, state_version, state FROM ledger.snapshot
WHERE tenant_id = $1 AND stream = ANY ($2::text[])
"""


async def read_snapshots(
    connection: Connection, tenant_id: int, streams: Sequence[str]
) -> list[SnapshotRow]:
    """Return the snapshots that there are of the streams named."""
    return [SnapshotRow(*row) for row in await connection.fetch(_SNAPSHOTS, tenant_id, streams)]


_KEEP_SNAPSHOTS = """
INSERT INTO ledger.snapshot (tenant_id, stream, version, state_version, state)
SELECT $1, s.stream, s.version, s.state_version, s.state
FROM unnest($2::text[], $3::bigint[], $4::smallint[], $5::bytea[])
    AS s (stream, version, state_version, state)
ON CONFLICT (tenant_id, stream) DO UPDATE
SET version = excluded.version, state_version = excluded.state_version, state = excluded.state
"""


async def keep_snapshots(
    connection: Connection, tenant_id: int, snapshots: Sequence[SnapshotRow]
) -> None:
    """Store snapshots in place of older ones of their streams."""
    await connection.execute(_KEEP_SNAPSHOTS, tenant_id, *zip(*snapshots, strict=True))


_KEPT_RESPONSES = """
SELECT key, fingerprint, request, request_compressed, status, response, response_compressed,
       position
FROM ledger.idempotency WHERE tenant_id = $1 AND key = ANY ($2::text[])
"""


async def read_kept_responses(
    connection: Connection, tenant_id: int, keys: Iterable[str]
) -> dict[str, IdempotencyRow]:
    """Return the responses that are kept under those of the keys that have been used."""
    rows = await connection.fetch(_KEPT_RESPONSES, tenant_id, list(keys))
    return {row["key"]: IdempotencyRow(*row) for row in rows}


_ACTIVE_CREDENTIALS = """
SELECT 'key' AS kind, id FROM unnest($2::bigint[]) AS id WHERE access.is_good_key(id)
UNION ALL
SELECT 'user', user_id FROM access.app_user
WHERE tenant_id = $1 AND user_id = ANY ($3::bigint[]) AND is_active
"""


async def active_credentials(
    connection: Connection, tenant_id: int, credentials: Iterable[Credential]
) -> set[Credential]:
    """Return those of the credentials that may still be used."""
    wanted = list(credentials)
    rows = await connection.fetch(
        _ACTIVE_CREDENTIALS,
        tenant_id,
        [number for kind, number in wanted if kind == "key"],
        [number for kind, number in wanted if kind == "user"],
    )
    return {(row["kind"], row["id"]) for row in rows}


_FORGET_RESPONSES = """
DELETE FROM ledger.idempotency
WHERE tenant_id = $1 AND key = ANY (ARRAY(
    SELECT key FROM ledger.idempotency WHERE tenant_id = $1 AND created_at < $2 LIMIT $3
))
"""


async def forget_responses(
    connection: Connection, tenant_id: int, before: datetime, limit: int
) -> int:
    """Delete at most ``limit`` kept responses older than a time; return how many there were."""
    status = await connection.execute(_FORGET_RESPONSES, tenant_id, before, limit)
    return int(status.rsplit(" ", 1)[1])
