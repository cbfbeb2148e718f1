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

    Several processes may run this: a checkpoint moves by compare-and-set, in the transaction
    that writes the rows, so each event is folded once. An event that cannot be folded parks
    its projection for its tenant, with the reason, and holds up nothing else.
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
                for projection in engine.following:
                    tasks.create_task(_run(pool, feed, projection, tenant_id))
            await asyncio.sleep(TENANTS_POLL_S)


async def _run(pool: Pool, feed: Feed, projection: Projection, tenant_id: int) -> None:
    """Follow one tenant's log with one projection until it is parked."""
    retry_s = RETRY_MIN_S
    while True:
        try:
            position = await catch_up(pool, projection, tenant_id)
            if position is None:
                return
            retry_s = RETRY_MIN_S
            news = cast(AsyncGenerator[object, None], feed.follow(tenant_id, position, batch=1))
            async with aclosing(news):
                await anext(news)
            # One fold of what gathers meanwhile costs a fraction of one for every commit.
            await asyncio.sleep(GATHER_S)
        except (*_TRANSIENT, asyncpg.PostgresError) as error:
            log.warning(
                "projection_retries",
                projection=projection.name,
                tenant_id=tenant_id,
                error=str(error),
                seconds=retry_s,
            )
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MAX_S)


async def catch_up(pool: Pool, projection: Projection, tenant_id: int) -> int | None:
    """Fold what is new in the log; return the checkpoint, or None when the projection is parked.

    Raises connection errors of asyncpg; every other error parks.
    """
    while True:
        async with tenant_transaction(pool, tenant_id) as connection:
            checkpoint = await _checkpoint(connection, projection, tenant_id)
            if checkpoint is None:
                return None
            head = await head_position(connection, tenant_id)
        if checkpoint >= head:
            return checkpoint
        try:
            await _advance(pool, projection, tenant_id, checkpoint, head)
        except _TRANSIENT:
            raise
        except Exception as error:
            # Some event of the batch cannot be folded: go on to the one before it, and park.
            await _advance_singly(pool, projection, tenant_id, checkpoint, head, error)


async def _checkpoint(connection: Connection, projection: Projection, tenant_id: int) -> int | None:
    """Return how far a projection is, 0 at first; None when it is parked."""
    row = await connection.fetchrow(
        """
        INSERT INTO projections.checkpoint AS c (tenant_id, name, version, position)
        VALUES ($1, $2, $3, 0) ON CONFLICT (tenant_id, name) DO NOTHING
        RETURNING c.position, c.parked_at
        """,
        tenant_id,
        projection.name,
        projection.version,
    ) or await connection.fetchrow(
        "SELECT position, parked_at FROM projections.checkpoint WHERE tenant_id = $1 AND name = $2",
        tenant_id,
        projection.name,
    )
    assert row is not None, "the checkpoint was there or has just been made"
    return row["position"] if row["parked_at"] is None else None


async def _advance(
    pool: Pool,
    projection: Projection,
    tenant_id: int,
    checkpoint: int,
    up_to: int,
    limit: int = 5_000,
) -> int:
    """Fold the next events and move the checkpoint, in one transaction; return where it is.

    The checkpoint comes first, so that whoever loses the race has written nothing.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        # What a crash takes back, rows and checkpoint alike, is folded again.
        await connection.execute("SET LOCAL synchronous_commit = off")
        types = folded_types([projection])
        batch = await read_events(connection, tenant_id, checkpoint, up_to, types, limit)
        if batch is None:
            return checkpoint
        moved = await connection.fetchval(
            """
            UPDATE projections.checkpoint SET position = $4
            WHERE tenant_id = $1 AND name = $2 AND position = $3 AND parked_at IS NULL
            RETURNING position
            """,
            tenant_id,
            projection.name,
            checkpoint,
            batch.last,
        )
        mine = of_types(batch.events, projection.event_types)
        if moved is not None and mine:
            await projection.apply(connection, SCHEMA, tenant_id, mine)
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
            moved_to = await _advance(pool, projection, tenant_id, position, up_to, limit=1)
            if moved_to == position:
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
