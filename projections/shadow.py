"""Projections' tables made anew from the log in a schema of their own, while live ones go on.

Each tenant's log is folded in batches, read ahead, by all projections side by side. A projection
that has a quick way into empty tables (`projections.bulk`) takes it as far as the log goes at the
time; from there on, and for all others, it is the ordinary fold. What a quick way leaves out of its
projection is folded in the ordinary way beside it, stretch by stretch.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from ledger.domain.decision import RecordedEvent
from projections.bulk import (
    HELD_ROWS_MAX,
    Bulk,
    BulkFold,
    CopyRows,
    Part,
    copy_rows,
    lay_bare,
    rest_of,
)
from projections.comparing import Digest, digest, table_names
from projections.log_reading import (
    Batch,
    folded_types,
    of_types,
    read_ahead,
    read_folded,
    set_tenant,
)
from projections.projection import Connection, Projection
from projections.shared_connection import SharedConnection
from schemas.common import Event

if TYPE_CHECKING:
    from projections.log_columns import Stretch

SHADOW: Final = "projections_rebuild"
WITNESS: Final = "projections_witness"
RETIRED: Final = "projections_retired"
_SCHEMAS: Final = (SHADOW, WITNESS, RETIRED)
# A row that many events touch is written once a batch, and each batch is held by everybody who
# folds it: so larger than what is read elsewhere, and few at a time.
BATCH_EVENTS: Final = 40_000
BATCHES_AHEAD_MAX: Final = 1
CATCH_UP_ROUNDS_MAX: Final = 10
CATCH_UP_EVENTS_SMALL: Final = 2_000

Progress = Callable[[int, int], None]
"""Called with how many events are done, and of how many in all."""

Targets = Mapping[tuple[int, str], int]
"""By tenant and projection, the position to fold up to."""


Aim = Callable[[], Awaitable[Targets]]
"""Says what the targets are by now."""


class ShadowBusy(Exception):
    """Another rebuild is running; wait for it to end."""

    def __init__(self) -> None:
        super().__init__("another rebuild is running; wait for it to end")


@asynccontextmanager
async def shadow_schemas(writer: Connection, *, wait: bool = False) -> AsyncGenerator[None, None]:
    """Make the empty schemas, and take away what is left in them at the end.

    The session lock keeps a second rebuild out; it ends with the connection, so a rebuild
    that was killed leaves nothing behind that the next one does not clear away. With ``wait``
    that of another one is waited for; raises ShadowBusy otherwise.
    """
    if wait:
        await writer.execute("SELECT pg_advisory_lock(hashtext($1))", SHADOW)
    elif not await writer.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", SHADOW):
        raise ShadowBusy
    try:
        await _drop(writer)
        await writer.execute(
            "SET synchronous_commit = off;"
            + "".join(f"CREATE SCHEMA {schema};" for schema in _SCHEMAS)
        )
        yield
    finally:
        if not writer.is_closed():
            await _drop(writer)
            await writer.execute("RESET synchronous_commit; RESET ledger.tenant")
            await writer.execute("SELECT pg_advisory_unlock(hashtext($1))", SHADOW)


async def _drop(writer: Connection) -> None:
    await writer.execute(
        "SET client_min_messages = warning;"
        + "".join(f"DROP SCHEMA IF EXISTS {schema} CASCADE;" for schema in _SCHEMAS)
        + "RESET client_min_messages"
    )


@asynccontextmanager
async def _together() -> AsyncGenerator[asyncio.TaskGroup, None]:
    """Give a group of tasks that end together; the first one's failure is raised as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


class _Quick(NamedTuple):
    """A projection on the quick way, and what is folded in the ordinary way beside it."""

    projection: Projection
    bulk: BulkFold
    rest: Part | None

    @property
    def left_out(self) -> frozenset[type[Event]]:
        """The types of events that are not folded quickly."""
        return frozenset() if self.rest is None else self.rest.event_types


_Write = Callable[[Connection], Awaitable[None]]
"""Writes rows, by the connection that it is given."""
_Writes = asyncio.Queue[_Write | None]


def _targets_of(folds: Sequence[_Quick], tenant_id: int, targets: Targets) -> list[int]:
    return [targets[tenant_id, fold.projection.name] for fold in folds]


class Shadow:
    """Some projections' tables in a schema, and how far each is for each tenant.

    It needs two connections that log in as the owner: the reader's reads the log, the writer's
    writes the tables. ``quick`` lets projections take their quick way into empty tables.
    """

    def __init__(
        self,
        reader: Connection,
        writer: Connection,
        projections: Sequence[Projection],
        progress: Progress,
        *,
        schema: str = SHADOW,
        quick: bool = True,
        batch_events: int | None = None,
    ) -> None:
        self.projections = tuple(projections)
        self.schema = schema
        self._reader = reader
        self._writer = writer
        self._progress = progress
        self._quick = quick
        self._batch_events = batch_events or BATCH_EVENTS
        self._positions: dict[tuple[int, str], int] = {}
        self._keys: dict[str, list[str]] = {}
        self._unsettled: list[tuple[int, BulkFold]] = []
        self._has_begun = False
        self._done = 0.0
        self._total = 0
        self._ways = 1

    async def begin(self) -> None:
        """Make the empty tables; those that are filled the quick way get their keys later."""
        for projection in self.projections:
            await self._writer.execute(projection.ddl(self.schema))
            rest = rest_of(projection)
            if self._quick and isinstance(projection, Bulk):
                self._keys[projection.name] = [
                    ";".join(await lay_bare(self._writer, self.schema, table))
                    for table in projection.tables
                    if rest is None or table not in rest.tables
                ]
        self._has_begun = True

    async def _complete(self, projections: Iterable[Projection]) -> None:
        """Give projections' tables their keys and protection, those that have not got them."""
        await self._maintain(
            statements for p in projections for statements in self._keys.pop(p.name, ())
        )

    async def _maintain(self, jobs: Iterable[str]) -> None:
        """Run statements that concern a table each, on the reader too where that is idle."""
        waiting = deque(jobs)

        async def work(connection: Connection) -> None:
            while waiting:
                job = waiting.popleft()
                async with connection.transaction():
                    await connection.execute("SET LOCAL maintenance_work_mem = '128MB'")
                    await connection.execute(job)

        async with _together() as tasks:
            tasks.create_task(work(self._writer))
            if not self._reader.is_in_transaction():
                tasks.create_task(work(self._reader))

    async def catch_up(self, aim: Aim) -> None:
        """Fold up to the targets, and again up to where they are then, until little is missing."""
        for _ in range(CATCH_UP_ROUNDS_MAX):
            if await self.fold_to(await aim(), aim) < CATCH_UP_EVENTS_SMALL:
                break

    async def fold_to(self, targets: Targets, aim: Aim | None = None) -> int:
        """Fold each projection of each tenant up to its target; return how many events that was.

        Each batch is a transaction. Afterwards all tables are complete, with keys. Where all go
        the quick way they stay on it, as ``aim`` moves the targets, until little is missing.
        """
        assert self._has_begun, "the tables must be there"
        spans: dict[int, tuple[int, int]] = {}
        for (tenant_id, name), target in targets.items():
            first, last = spans.get(tenant_id, (target, target))
            done = self._positions.get((tenant_id, name), 0)
            spans[tenant_id] = min(first, done), max(last, target)
        folded = 0
        # Each way goes through the log by itself; for who looks on, an event is one event.
        self._ways = len({projection.name in self._keys for projection in self.projections})
        self._done = self.folded
        self._total = self.folded + sum(last - first for first, last in spans.values())
        for tenant_id, (first, last) in spans.items():
            if first < last:
                quick = [p for p in self.projections if p.name in self._keys]
                slow = [p for p in self.projections if p not in quick]
                if quick:
                    left, targets = await self._fold_quickly(
                        tenant_id, quick, targets, None if slow else aim
                    )
                    slow += left
                    last = max(targets[tenant_id, p.name] for p in self.projections)
                if slow:
                    await self._fold_tenant(tenant_id, first, last, targets, slow)
                folded += last - first
        await self._complete(self.projections)
        for tenant_id, fold in self._unsettled:
            await self._set_tenant(tenant_id)
            await fold.settle(self._writer, self.schema)
        self._unsettled = []
        return folded

    @property
    def folded(self) -> int:
        """How many events have been folded: of each tenant, up to who is farthest."""
        farthest: dict[int, int] = {}
        for (tenant_id, _), position in self._positions.items():
            farthest[tenant_id] = max(position, farthest.get(tenant_id, 0))
        return sum(farthest.values())

    def position(self, tenant_id: int, name: str) -> int:
        """Return how far a projection is for a tenant."""
        return self._positions.get((tenant_id, name), 0)

    async def analyse(self) -> None:
        """Let the planner know the tables; it plans by what they hold from the first query on."""
        await self._maintain(
            f"ANALYZE {self.schema}.{table}" for table in table_names(self.projections)
        )

    async def _fold_quickly(
        self,
        tenant_id: int,
        projections: Sequence[Projection],
        targets: Targets,
        aim: Aim | None,
    ) -> tuple[list[Projection], Targets]:
        """Fold a tenant's log from its beginning the quick way.

        Return what ended early, and the targets. Three things go on at once: the next stretch is
        read, one is folded, and the rows of the one before are written.
        """
        await self._set_tenant(tenant_id)
        folds = [
            _Quick(projection, projection.bulk_fold(tenant_id), rest_of(projection))
            for projection in projections
            if isinstance(projection, Bulk) and targets.get((tenant_id, projection.name))
        ]
        left: list[Projection] = []
        queue: _Writes = asyncio.Queue(1)
        async with self._reader.transaction(), _together() as tasks:
            await set_tenant(self._reader, tenant_id)
            tasks.create_task(self._write(queue))
            after = 0
            while aim is not None and folds and not left:
                # All as far as the last of them may go, so that they stay together.
                before, after = after, min(_targets_of(folds, tenant_id, targets))
                left += await self._fold_stretch(tenant_id, folds, before, after, queue)
                newer = await aim()
                await set_tenant(self._reader, tenant_id)
                farthest = max(_targets_of(folds, tenant_id, targets))
                self._total += max(_targets_of(folds, tenant_id, newer)) - farthest
                targets = newer
                if after - before < CATCH_UP_EVENTS_SMALL:
                    break
            aims = _targets_of(folds, tenant_id, targets)
            # Those with the nearest target first: each stretch ends where one of them does.
            for target in sorted(set(aims)):
                folding = [
                    fold
                    for fold, its in zip(folds, aims, strict=True)
                    if its >= target and fold.projection not in left
                ]
                if folding:
                    left += await self._fold_stretch(tenant_id, folding, after, target, queue)
                after = target
            for fold in folds:
                if fold.projection not in left:
                    await self._finish(tenant_id, fold, queue)
            await queue.put(None)
        return left, targets

    async def _fold_stretch(
        self,
        tenant_id: int,
        folds: Sequence["_Quick"],
        after: int,
        up_to: int,
        queue: _Writes,
    ) -> list[Projection]:
        """Fold some of the log the quick way; return what ended early."""
        # These take a moment to load: only where they are needed.
        from projections.bulk_reading import Read, read_stretch
        from projections.moves import moves_of

        def work(stretch: "Stretch") -> Sequence[CopyRows | None]:
            moves = moves_of(stretch)
            return [
                fold.bulk.add(stretch, moves) if fold.bulk.takes(stretch, moves) else None
                for fold in folds
            ]

        left: list[Projection] = []
        rests = {kind.TYPE for fold in folds for kind in fold.left_out}
        types = {
            kind.TYPE for fold in folds for kind in fold.projection.event_types - fold.left_out
        }

        def read(position: int) -> Coroutine[None, None, Read | None]:
            return read_stretch(
                self._reader, tenant_id, position, up_to, types, rests, self._batch_events
            )

        async with aclosing(read_ahead(read, after)) as reads:
            async for stretch, events in reads:
                folded = await asyncio.to_thread(work, stretch)
                going_on: list[_Quick] = []
                for fold, rows in zip(folds, folded, strict=True):
                    if rows is not None:
                        await queue.put(partial(copy_rows, schema=self.schema, rows=rows))
                        if fold.rest is not None:
                            await queue.put(self._folding(tenant_id, fold.rest, events))
                        self._positions[tenant_id, fold.projection.name] = stretch.last
                    if rows is not None and fold.bulk.held <= HELD_ROWS_MAX:
                        going_on.append(fold)
                        continue
                    # From here on the tables are as the ordinary fold leaves them.
                    await self._finish(tenant_id, fold, queue)
                    left.append(fold.projection)
                self._tell(stretch.last - after)
                after = stretch.last
                folds = going_on
                if not folds:
                    break
        return left

    async def _finish(self, tenant_id: int, fold: _Quick, queue: _Writes) -> None:
        await queue.put(partial(copy_rows, schema=self.schema, rows=fold.bulk.finish()))
        self._unsettled.append((tenant_id, fold.bulk))

    def _folding(self, tenant_id: int, part: Part, events: list[RecordedEvent]) -> _Write:
        """Return what folds those of the events that are the part's."""
        mine = of_types(events, part.event_types)

        async def fold(writer: Connection) -> None:
            if mine:
                await part.apply(writer, self.schema, tenant_id, mine)

        return fold

    async def _write(self, queue: _Writes) -> None:
        writer = cast(Connection, SharedConnection(self._writer))
        while (write := await queue.get()) is not None:
            await write(writer)

    async def _fold_tenant(
        self,
        tenant_id: int,
        first: int,
        last: int,
        targets: Targets,
        projections: Sequence[Projection],
    ) -> None:
        """Read a stretch of the log, and hand it to a task for each projection.

        They share the writer, one statement at a time: while the database works on one
        projection's, the others' next batches are read and added up.
        """
        await self._complete(projections)
        await self._set_tenant(tenant_id)
        writer = cast(Connection, SharedConnection(self._writer))
        queues: list[asyncio.Queue[Batch | None]] = []
        async with self._reader.transaction(), _together() as tasks:
            for projection in projections:
                queue: asyncio.Queue[Batch | None] = asyncio.Queue(BATCHES_AHEAD_MAX)
                queues.append(queue)
                target = targets.get((tenant_id, projection.name), 0)
                tasks.create_task(self._fold(writer, projection, tenant_id, target, queue))
            await set_tenant(self._reader, tenant_id)
            types = folded_types(projections)
            after = min(
                (self._positions.get((tenant_id, p.name), 0) for p in projections), default=first
            )

            def read(position: int) -> Coroutine[None, None, Batch | None]:
                return read_folded(
                    self._reader, tenant_id, position, last, types, self._batch_events
                )

            async with aclosing(read_ahead(read, after)) as batches:
                async for batch in batches:
                    for queue in queues:
                        await queue.put(batch)
                    self._tell(batch.last - after)
                    after = batch.last
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
        """Fold batches into one projection's tables, from where it is up to its target."""
        key = tenant_id, projection.name
        while batch := await batches.get():
            done = self._positions.get(key, 0)
            mine = of_types(batch.events, projection.event_types)
            if mine and (mine[0].position <= done or target < batch.last):
                mine = [event for event in mine if done < event.position <= target]
            if mine:
                await projection.apply(writer, self.schema, tenant_id, mine)
            self._positions[key] = max(done, min(target, batch.last))

    def _tell(self, more: int) -> None:
        self._done += more / self._ways
        self._progress(min(round(self._done), self._total), self._total)

    async def _set_tenant(self, tenant_id: int) -> None:
        await self._writer.execute("SELECT set_config('ledger.tenant', $1, false)", str(tenant_id))

    async def digests(self, tenants: Iterable[int]) -> dict[tuple[int, str], Digest]:
        """Return the digest of each tenant's rows of each table, as the writer sees them."""
        return await digests(self._writer, self.schema, tenants, self.projections)


async def digests(
    connection: Connection,
    schema: str,
    tenants: Iterable[int],
    projections: Sequence[Projection],
) -> dict[tuple[int, str], Digest]:
    """Return the digest of each tenant's rows of each of the projections' tables."""
    found: dict[tuple[int, str], Digest] = {}
    async with connection.transaction():
        for tenant_id in dict.fromkeys(tenants):
            await set_tenant(connection, tenant_id)
            for table in table_names(projections):
                found[tenant_id, table] = await digest(connection, schema, table, tenant_id)
    return found
