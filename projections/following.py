"""Runs the following projections: each tenant's log, from a checkpoint on, as it grows."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple, cast

import asyncpg
import structlog

from ledger.feed import Feed
from ledger.store import Connection, Pool, tenant_transaction
from projections.engine import Engine
from projections.log_reading import folded_types, head_position, of_types, read_events
from projections.projection import SCHEMA, Projection

TENANTS_POLL_S: Final = 5.0
TENANTS_TOLD_MAX: Final = 1_000
GATHER_S: Final = 0.5
OTHERS_S: Final = 0.1
"""How long one waits before one looks again how far somebody else, who folds, has come."""
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
REASON_LENGTH_MAX: Final = 2_000
# What says that the database, not the event, is at fault: to be tried again, not parked.
_TRANSIENT: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.TransactionRollbackError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    ConnectionError,
    TimeoutError,
    OSError,
)

log = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """How a following projection stands over all tenants.

    ``behind`` is in positions, of the tenant that it is furthest behind for; ``parked`` is the
    number of tenants for which an event that it could not fold has stopped it.
    """

    behind: int
    parked: int


async def standings(pool: Pool, names: Sequence[str]) -> dict[str, Standing]:
    """Return how following projections stand, as the database has it.

    They may run in any process. It looks at ``TENANTS_TOLD_MAX`` tenants, at two round trips each.
    """
    found = dict.fromkeys(names, Standing(0, 0))
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT ledger.tenant_ids() LIMIT $1", TENANTS_TOLD_MAX)
    for (tenant_id,) in rows:
        async with tenant_transaction(pool, tenant_id) as connection:
            for name, behind, is_parked in await connection.fetch(_STANDING, tenant_id, names):
                before = found[name]
                found[name] = Standing(max(before.behind, behind), before.parked + is_parked)
    return found


_STANDING: Final = """
SELECT wanted.name, h.position - coalesce(c.position, 0), c.parked_at IS NOT NULL
FROM ledger.head h CROSS JOIN unnest($2::text[]) AS wanted (name)
LEFT JOIN projections.checkpoint c ON c.tenant_id = h.tenant_id AND c.name = wanted.name
WHERE h.tenant_id = $1
"""


async def run_following(pool: Pool, feed: Feed, engine: Engine) -> None:
    """Keep every following projection of every tenant up to date, until cancelled.

    Several processes may run this: who folds from a checkpoint holds it, and moves it in the
    transaction that writes the rows, so each event is folded once. An event that cannot be folded
    parks its projection for its tenant, with the reason, and holds up nothing else.
    """
    async with asyncio.TaskGroup() as tasks:
        known: set[int] = set()
        while True:
            try:
                async with pool.acquire() as connection:
                    rows = await connection.fetch("SELECT ledger.tenant_ids()")
            except _TRANSIENT as error:
                log.warning("tenants_unreadable", error=str(error))
                rows = []
            for tenant_id in {row[0] for row in rows} - known:
                known.add(tenant_id)
                tasks.create_task(_run(pool, feed, engine.following, tenant_id))
            await asyncio.sleep(TENANTS_POLL_S)


async def _run(pool: Pool, feed: Feed, projections: Sequence[Projection], tenant_id: int) -> None:
    """Follow one tenant's log."""
    retry_s = RETRY_MIN_S
    while True:
        try:
            position = await _catch_up(pool, projections, tenant_id)
            retry_s = RETRY_MIN_S
            news = cast(AsyncGenerator[object, None], feed.follow(tenant_id, position, batch=1))
            async with aclosing(news):
                await anext(news)
            # One fold of what gathers meanwhile costs a fraction of one for every commit.
            await asyncio.sleep(GATHER_S)
        except (*_TRANSIENT, asyncpg.PostgresError) as error:
            log.warning("projections_retry", tenant_id=tenant_id, error=str(error), seconds=retry_s)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MAX_S)


async def catch_up(pool: Pool, projection: Projection, tenant_id: int) -> int | None:
    """Fold what is new in the log with one projection; return its checkpoint, None when parked.

    Raises connection errors of asyncpg; every other error parks.
    """
    await _catch_up(pool, [projection], tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        return (await _checkpoints(connection, [projection], tenant_id)).get(projection.name)


async def _catch_up(pool: Pool, projections: Sequence[Projection], tenant_id: int) -> int:
    """Fold what is new in the log; return the position that all but parked ones have reached.

    Those at one checkpoint go on together, in one transaction: what they fold is read and decoded
    once, and whoever reads several of them sees them at one position. One that is behind the
    others goes on alone up to where they are.
    """
    while True:
        async with tenant_transaction(pool, tenant_id) as connection:
            checkpoints = await _checkpoints(connection, projections, tenant_id)
            head = await head_position(connection, tenant_id)
        behind = [p for p in projections if checkpoints.get(p.name, head) < head]
        if not behind:
            return head
        first = min(checkpoints[p.name] for p in behind)
        together = [p for p in behind if checkpoints[p.name] == first]
        up_to = min(
            (checkpoints[p.name] for p in behind if checkpoints[p.name] > first), default=head
        )
        try:
            if await _advance(pool, together, tenant_id, first, up_to) is None:
                await asyncio.sleep(OTHERS_S)
        except _TRANSIENT:
            raise
        except Exception as error:
            # Some event of the batch cannot be folded by one of them: that one goes on for itself,
            # up to the one before it, and is parked there; the others stay together.
            failed: dict[Projection, Exception] = {}
            try:
                await _advance(pool, together, tenant_id, first, up_to, failed=failed)
            except _TRANSIENT:
                raise
            except Exception:
                # It cannot even be read by one of them; the others may not have to.
                failed = dict.fromkeys(together, error)
            for projection, reason in failed.items():
                await _advance_alone(pool, projection, tenant_id, first, up_to, reason)


async def _advance_alone(
    pool: Pool,
    projection: Projection,
    tenant_id: int,
    checkpoint: int,
    up_to: int,
    first_error: Exception,
) -> None:
    try:
        await _advance(pool, [projection], tenant_id, checkpoint, up_to)
    except _TRANSIENT:
        raise
    except Exception:
        await _advance_singly(pool, projection, tenant_id, checkpoint, up_to, first_error)


async def _checkpoints(
    connection: Connection, projections: Sequence[Projection], tenant_id: int
) -> dict[str, int]:
    """Return how far projections are, 0 at first.

    Left out are those that are parked, and those whose tables are of another version than ours,
    which another release has put in place: they are that release's to fold into.
    """
    versions = {projection.name: projection.version for projection in projections}
    names = list(versions)
    rows = await connection.fetch(_CHECKPOINTS, tenant_id, names)
    if len(rows) < len(names):
        await connection.execute(_FIRST_CHECKPOINTS, tenant_id, names, list(versions.values()))
        rows = await connection.fetch(_CHECKPOINTS, tenant_id, names)
    return {
        name: position
        for name, version, position, is_parked in rows
        if not is_parked and version == versions[name]
    }


_CHECKPOINTS: Final = """
SELECT name, version, position, parked_at IS NOT NULL FROM projections.checkpoint
WHERE tenant_id = $1 AND name = ANY ($2::text[])
"""

_FIRST_CHECKPOINTS: Final = """
INSERT INTO projections.checkpoint (tenant_id, name, version, position)
SELECT $1, p.name, p.version, 0 FROM unnest($2::text[], $3::integer[]) AS p (name, version)
ON CONFLICT (tenant_id, name) DO NOTHING
"""

_HOLD: Final = """
SELECT c.name FROM projections.checkpoint c
JOIN unnest($2::text[], $3::integer[]) AS p (name, version)
    ON p.name = c.name AND p.version = c.version
WHERE c.tenant_id = $1 AND c.position = $4 AND c.parked_at IS NULL
ORDER BY c.name FOR UPDATE OF c SKIP LOCKED
"""

_MOVE: Final = """
UPDATE projections.checkpoint SET position = $3 WHERE tenant_id = $1 AND name = ANY ($2::text[])
"""


async def _advance(
    pool: Pool,
    projections: Sequence[Projection],
    tenant_id: int,
    checkpoint: int,
    up_to: int,
    limit: int = 5_000,
    failed: dict[Projection, Exception] | None = None,
) -> int | None:
    """Fold the next events and move the checkpoint, in one transaction; return where it is.

    The checkpoints are held first. Those that somebody else holds are his to move: without any, it
    returns None, and has not even read the events. With ``failed``, each projection that cannot
    fold the batch is put there and stays where it was.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        # What a crash takes back, rows and checkpoint alike, is folded again.
        await connection.execute("SET LOCAL synchronous_commit = off")
        names = [projection.name for projection in projections]
        versions = [projection.version for projection in projections]
        rows = await connection.fetch(_HOLD, tenant_id, names, versions, checkpoint)
        held = {row[0] for row in rows}
        mine = [projection for projection in projections if projection.name in held]
        if not mine:
            return None
        batch = await read_events(
            connection, tenant_id, checkpoint, up_to, folded_types(mine), limit
        )
        if batch is None:
            return checkpoint
        await connection.execute(_MOVE, tenant_id, list(held), batch.last)
        for projection in mine:
            events = of_types(batch.events, projection.event_types)
            if not events:
                continue
            if failed is None:
                await projection.apply(connection, SCHEMA, tenant_id, events)
                continue
            await connection.execute("SAVEPOINT before")
            try:
                await projection.apply(connection, SCHEMA, tenant_id, events)
            except _TRANSIENT:
                raise
            except Exception as error:
                failed[projection] = error
                await connection.execute("ROLLBACK TO SAVEPOINT before")
                await connection.execute(_MOVE, tenant_id, [projection.name], checkpoint)
        return batch.last


async def _advance_singly(
    pool: Pool,
    projection: Projection,
    tenant_id: int,
    checkpoint: int,
    up_to: int,
    first_error: Exception,
) -> None:
    """Fold one event at a time up to the one that fails, and park the projection there."""
    log.warning("projection_batch_failed", projection=projection.name, error=str(first_error))
    position = checkpoint
    try:
        for _ in range(1_000):
            moved_to = await _advance(pool, [projection], tenant_id, position, up_to, limit=1)
            if moved_to is None or moved_to == position:
                return
            position = moved_to
    except _TRANSIENT:
        raise
    except Exception as error:
        await _park(pool, projection, tenant_id, position + 1, error)


async def _park(
    pool: Pool, projection: Projection, tenant_id: int, position: int, error: Exception
) -> None:
    reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(
            """
            UPDATE projections.checkpoint
            SET parked_at = clock_timestamp(), parked_position = $3, parked_reason = $4
            WHERE tenant_id = $1 AND name = $2
            """,
            tenant_id,
            projection.name,
            position,
            reason,
        )
    log.error(
        "projection_parked",
        projection=projection.name,
        tenant_id=tenant_id,
        position=position,
        reason=f"{reason}; correct the cause, then run: stockledger rebuild {projection.name}",
    )
