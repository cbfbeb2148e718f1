"""Rebuilding projections from the log, beside the live ones and while these go on.

1. Each tenant's log is folded into tables of a shadow schema, in batches, read ahead.
2. At one position a tenant, the digests of the live and the shadow tables are compared. A
   difference is reported: it means that the live table was wrong, or the fold has changed.
3. The tenants' heads are held, so that nobody appends; the shadow catches up; readers that
   began before it had are waited for, since an old snapshot would show them a table not yet
   filled; then the tables change places in one transaction.

It needs two connections that log in as the owner.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple, cast

import asyncpg
import structlog

from projections.comparing import Digest, digest, table_names
from projections.engine import MOVE_CHECKPOINT, Engine
from projections.log_reading import (
    Batch,
    folded_types,
    head_position,
    of_types,
    read_ahead,
    set_tenant,
    tenant_ids,
)
from projections.projection import SCHEMA, Connection, Projection

SHADOW: Final = "projections_rebuild"
RETIRED: Final = "projections_retired"
SWAP_ATTEMPTS_MAX: Final = 10
SWAP_LOCK_WAIT_S: Final = 2.0
OLD_READERS_WAIT_S: Final = 10.0
CATCH_UP_ROUNDS_MAX: Final = 5
CATCH_UP_EVENTS_SMALL: Final = 5_000
# A row that many events touch is written once a batch, and each batch is held by everybody who
# folds it: so larger than what is read elsewhere, and few at a time.
BATCH_EVENTS: Final = 40_000
BATCHES_AHEAD_MAX: Final = 1

Progress = Callable[[int, int], None]
"""Called with how many events are done, and of how many in all."""

log = structlog.get_logger(__name__)


class RebuildFailed(Exception):
    """The rebuilt tables could not be put in place; the live ones are as they were."""


class TableReport(NamedTuple):
    """What became of one table of a tenant: rows compared, at a position, and whether equal."""

    tenant_id: int
    table: str
    position: int
    rows_live: int
    rows_rebuilt: int
    equal: bool


class Report(NamedTuple):
    """What a rebuild did. ``differing`` are the tables that were not as the log says."""

    events: int
    seconds: float
    tables: Sequence[TableReport]

    @property
    def differing(self) -> list[TableReport]:
        return [table for table in self.tables if not table.equal]


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


async def rebuild(
    reader: Connection,
    writer: Connection,
    engine: Engine,
    names: Sequence[str],
    progress: Progress = _no_progress,
) -> Report:
    """Rebuild projections from the log and put them in the place of the live ones.

    Raises LookupError for an unknown name, RebuildFailed when another rebuild runs or when
    readers or views stand in the way of the swap for too long; nothing has changed then.
    """
    projections = [engine.named(name) for name in dict.fromkeys(names)]
    started = time.monotonic()
    async with _shadow(writer, projections):
        shadow = _Shadow(reader, writer, engine, projections, progress)
        for _ in range(CATCH_UP_ROUNDS_MAX):
            if await shadow.catch_up() < CATCH_UP_EVENTS_SMALL:
                break
        tables = await shadow.compare()
        for attempt in range(1, SWAP_ATTEMPTS_MAX + 1):
            try:
                await shadow.swap()
                break
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                if attempt == SWAP_ATTEMPTS_MAX:
                    raise RebuildFailed(
                        "long readers kept the tables busy; end them, or try again later"
                    ) from error
                await asyncio.sleep(0.1 * attempt)
            except asyncpg.DependentObjectsStillExistError as error:
                raise RebuildFailed(
                    f"something was built on these tables; drop it first: {error}"
                ) from error
        return Report(shadow.folded, time.monotonic() - started, tables)


@asynccontextmanager
async def _shadow(
    writer: Connection, projections: Sequence[Projection]
) -> AsyncGenerator[None, None]:
    """Make the empty shadow tables, and take away what is left of them at the end.

    The session lock keeps a second rebuild out; it ends with the connection, so a rebuild
    that was killed leaves nothing behind that the next one does not clear away.
    """
    if not await writer.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", SHADOW):
        raise RebuildFailed("another rebuild is running; wait for it to end")
    try:
        await _drop(writer)
        await writer.execute(
            f"SET synchronous_commit = off; CREATE SCHEMA {SHADOW}; CREATE SCHEMA {RETIRED}"
        )
        for projection in projections:
            await writer.execute(projection.ddl(SHADOW))
        yield
    finally:
        if not writer.is_closed():
            await _drop(writer)
            await writer.execute("RESET synchronous_commit; RESET ledger.tenant")
            await writer.execute("SELECT pg_advisory_unlock(hashtext($1))", SHADOW)


async def _drop(writer: Connection) -> None:
    await writer.execute(
        f"""
        SET client_min_messages = warning;
        DROP SCHEMA IF EXISTS {SHADOW} CASCADE;
        DROP SCHEMA IF EXISTS {RETIRED} CASCADE;
        RESET client_min_messages;
        """
    )


class _OneAtATime:
    """A connection that several tasks may use: their statements wait for each other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def execute(self, query: str, *arguments: object) -> str:
        async with self._lock:
            return await self._connection.execute(query, *arguments)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._lock:
            return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        async with self._lock:
            return await self._connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        async with self._lock:
            return await self._connection.fetchval(query, *arguments)


class _Shadow:
    """The shadow tables, and how far each projection's are for each tenant."""

    def __init__(
        self,
        reader: Connection,
        writer: Connection,
        engine: Engine,
        projections: Sequence[Projection],
        progress: Progress,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._engine = engine
        self._projections = projections
        self._progress = progress
        self._positions: dict[tuple[int, str], int] = {}
        self.folded = 0

    async def catch_up(self) -> int:
        """Fold what every tenant's log holds now; return how many events that was."""
        targets: dict[tuple[int, str], int] = {}
        async with self._reader.transaction():
            for tenant_id in await tenant_ids(self._reader):
                await set_tenant(self._reader, tenant_id)
                for projection in self._projections:
                    targets[tenant_id, projection.name] = await self._live_position(
                        tenant_id, projection
                    )
        return await self._fold_to(targets)

    async def _live_position(self, tenant_id: int, projection: Projection) -> int:
        """Return how far the live tables are, as the reader's transaction sees them."""
        if self._engine.is_following(projection):
            return await _checkpoint(self._reader, tenant_id, projection.name)
        return await head_position(self._reader, tenant_id)

    async def _fold_to(self, targets: Mapping[tuple[int, str], int]) -> int:
        """Fold each projection of each tenant up to its target; each batch is a transaction."""
        spans: dict[int, tuple[int, int]] = {}
        for (tenant_id, name), target in targets.items():
            first, last = spans.get(tenant_id, (target, target))
            done = self._positions.get((tenant_id, name), 0)
            spans[tenant_id] = min(first, done), max(last, target)
        before = self.folded
        total = self.folded + sum(last - first for first, last in spans.values())
        for tenant_id, (first, last) in spans.items():
            if first < last:
                await self._fold_tenant(tenant_id, first, last, targets, total)
        return self.folded - before

    async def _fold_tenant(
        self,
        tenant_id: int,
        first: int,
        last: int,
        targets: Mapping[tuple[int, str], int],
        total: int,
    ) -> None:
        """Read a stretch of the log, and hand it to a task for each projection.

        They share the writer, one statement at a time: while the database works on one
        projection's, the others' next batches are read and added up.
        """
        await self._writer.execute("SELECT set_config('ledger.tenant', $1, false)", str(tenant_id))
        writer = cast(Connection, _OneAtATime(self._writer))
        queues: list[asyncio.Queue[Batch | None]] = []
        async with self._reader.transaction(), asyncio.TaskGroup() as tasks:
            for projection in self._projections:
                queue: asyncio.Queue[Batch | None] = asyncio.Queue(BATCHES_AHEAD_MAX)
                queues.append(queue)
                target = targets.get((tenant_id, projection.name), 0)
                tasks.create_task(self._fold(writer, projection, tenant_id, target, queue))
            await set_tenant(self._reader, tenant_id)
            types = folded_types(self._projections)
            after = first
            log_ahead = read_ahead(self._reader, tenant_id, first, last, types, BATCH_EVENTS)
            async with aclosing(log_ahead) as batches:
                async for batch in batches:
                    for queue in queues:
                        await queue.put(batch)
                    self.folded += batch.last - after
                    after = batch.last
                    self._progress(self.folded, total)
            for queue in queues:
                await queue.put(None)

    async def _fold(
        self,
        writer: Connection,
        projection: Projection,
        tenant_id: int,
        target: int,
        batches: "asyncio.Queue[Batch | None]",
    ) -> None:
        """Fold batches into one projection's shadow, from where it is up to its target."""
        key = tenant_id, projection.name
        while batch := await batches.get():
            done = self._positions.get(key, 0)
            mine = of_types(batch.events, projection.event_types)
            if mine and (mine[0].position <= done or target < batch.last):
                mine = [event for event in mine if done < event.position <= target]
            if mine:
                await projection.apply(writer, SHADOW, tenant_id, mine)
            self._positions[key] = max(done, min(target, batch.last))

    async def compare(self) -> list[TableReport]:
        """Compare live and shadow tables, each projection of each tenant at one position.

        The live tables are read in one snapshot; the shadow is brought to the position of it.
        Nobody waits for this.
        """
        names = ", ".join(f"{SCHEMA}.{table}" for table in table_names(self._projections))
        async with self._reader.transaction(isolation="repeatable_read"):
            # Before the snapshot, so that no other swap can come between the two.
            await self._reader.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
            targets: dict[tuple[int, str], int] = {}
            for tenant_id in await tenant_ids(self._reader):
                await set_tenant(self._reader, tenant_id)
                for projection in self._projections:
                    targets[tenant_id, projection.name] = await self._live_position(
                        tenant_id, projection
                    )
            await self._fold_to(targets)
            live, rebuilt = await asyncio.gather(
                _digests(self._reader, SCHEMA, targets, self._projections),
                _digests(self._writer, SHADOW, targets, self._projections),
            )
        reports: list[TableReport] = []
        for (tenant_id, name), position in targets.items():
            for table in self._engine.named(name).tables:
                before, after = live[tenant_id, table], rebuilt[tenant_id, table]
                report = TableReport(
                    tenant_id, table, position, before.rows, after.rows, before == after
                )
                if not report.equal:
                    log.error(
                        "projection_differed",
                        tenant_id=tenant_id,
                        projection=name,
                        position=position,
                        rows=before.rows,
                        reason=f"the live table {table} is not what the log gives",
                    )
                reports.append(report)
        return reports

    async def swap(self) -> None:
        """Hold the heads, catch up, and let live and shadow tables change places.

        Locks are taken in the order in which writers take them: heads, checkpoints, tables.
        """
        holder = self._reader
        projections = self._projections
        following = [p.name for p in projections if self._engine.is_following(p)]
        tables = table_names(projections)
        async with holder.transaction():
            await holder.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_WAIT_S:g}s'")
            heads: dict[int, int] = {}
            for tenant_id in await tenant_ids(holder):
                await set_tenant(holder, tenant_id)
                heads[tenant_id] = await head_position(holder, tenant_id, lock=True)
                await holder.execute(_HOLD_CHECKPOINTS, tenant_id, following)
            await self._fold_to(
                {
                    (tenant_id, p.name): head
                    for tenant_id, head in heads.items()
                    for p in projections
                }
            )
            await self._wait_for_old_readers(holder)
            names = ", ".join(f"{SCHEMA}.{table}" for table in tables)
            await holder.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
            for table in tables:
                await holder.execute(
                    f"ALTER TABLE {SCHEMA}.{table} SET SCHEMA {RETIRED};"
                    f"ALTER TABLE {SHADOW}.{table} SET SCHEMA {SCHEMA};"
                    f"DROP TABLE {RETIRED}.{table}"
                )
            for tenant_id, head in heads.items():
                await set_tenant(holder, tenant_id)
                for projection in projections:
                    if projection.name in following:
                        await holder.execute(
                            MOVE_CHECKPOINT, tenant_id, projection.name, projection.version, head
                        )

    async def _wait_for_old_readers(self, holder: Connection) -> None:
        """Wait until nobody reads by a snapshot older than the shadow's last commit.

        Such a reader, let in after the swap, would see what the shadow held at its own time. A
        session that waits for a lock has no such snapshot: it waits for ours.
        """
        old = {row[0] for row in await holder.fetch(_IN_TRANSACTION)}
        deadline = time.monotonic() + OLD_READERS_WAIT_S
        while old:
            if time.monotonic() > deadline:
                raise asyncpg.LockNotAvailableError("readers older than the rebuilt tables go on")
            await asyncio.sleep(0.01)
            old &= {row[0] for row in await holder.fetch(_IN_TRANSACTION)}


async def _digests(
    connection: Connection,
    schema: str,
    keys: Iterable[tuple[int, str]],
    projections: Sequence[Projection],
) -> dict[tuple[int, str], Digest]:
    """Return the digest of each tenant's rows of each table."""
    found: dict[tuple[int, str], Digest] = {}
    async with connection.transaction():
        for tenant_id in dict.fromkeys(tenant_id for tenant_id, _ in keys):
            await set_tenant(connection, tenant_id)
            for table in table_names(projections):
                found[tenant_id, table] = await digest(connection, schema, table, tenant_id)
    return found


async def _checkpoint(connection: Connection, tenant_id: int, name: str) -> int:
    return (
        await connection.fetchval(
            "SELECT position FROM projections.checkpoint WHERE tenant_id = $1 AND name = $2",
            tenant_id,
            name,
        )
        or 0
    )


_HOLD_CHECKPOINTS: Final = """
SELECT position FROM projections.checkpoint
WHERE tenant_id = $1 AND name = ANY ($2::text[]) ORDER BY name FOR UPDATE
"""

# Every transaction holds a lock on its own virtual id. One that waits has an entry that is not
# granted; virtual ids are not used twice, so a set of them only shrinks.
_IN_TRANSACTION: Final = """
SELECT l.virtualtransaction FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()
WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted)
"""
