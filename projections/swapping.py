"""The swap: tables that were made anew take the place of the live ones, in one transaction."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
import structlog

from ledger.errors import OperatorError
from projections.comparing import table_names
from projections.engine import MOVE_CHECKPOINT, Engine
from projections.log_reading import head_position, set_tenant, tenant_ids
from projections.projection import SCHEMA, Connection, Projection
from projections.shadow import RETIRED, Shadow
from projections.star_views import create_views, drop_views

SWAP_ATTEMPTS_MAX: Final = 100
SWAP_DELAY_MAX_S: Final = 0.5
SWAP_LOCK_WAIT_S: Final = 2.0
OLD_READERS_WAIT_S: Final = 30.0
SWAP_PATIENCE_S: Final = 120.0
# While we hold some tables and wait for others, a reader may hold those and wait for ours. The
# database ends one of the two once a wait is one second old (deadlock_timeout): that must be us.
TABLES_WAIT_S: Final = 0.4

log = structlog.get_logger(__name__)


class SwapFailed(OperatorError):
    """The new tables could not be put in place; the live ones are as they were."""


class Release(NamedTuple):
    """What a new release changes with the swap.

    ``installed`` are the names of projections whose tables take their place, ``retired`` the
    names of those that this release does not have, and ``tables`` the live ones that go away.
    """

    installed: Sequence[str]
    retired: Sequence[str]
    tables: Sequence[str]


async def swap(
    holder: Connection, shadow: Shadow, engine: Engine, release: Release | None = None
) -> None:
    """Put the shadow's tables in place; raise SwapFailed when others stand in the way too long.

    Everything is tried many times: what stands in the way is other people's reading. Each time
    writers wait for the catching up and ``SWAP_LOCK_WAIT_S`` at most, and readers
    ``TABLES_WAIT_S``.
    """
    began = time.monotonic()
    live = table_names(shadow.projections) if release is None else list(release.tables)
    for attempt in range(1, SWAP_ATTEMPTS_MAX + 1):
        try:
            await _outwait(holder, OLD_READERS_WAIT_S)
            await _swap(holder, shadow, engine, release, live)
            log.info("tables_swapped", attempt=attempt)
            return
        except (
            asyncpg.LockNotAvailableError,
            asyncpg.DeadlockDetectedError,
            asyncpg.QueryCanceledError,
        ) as error:
            if attempt == SWAP_ATTEMPTS_MAX or time.monotonic() - began > SWAP_PATIENCE_S:
                raise SwapFailed(
                    "long readers kept the tables busy; end them, or try again later"
                ) from error
            await asyncio.sleep(min(0.03 * attempt, SWAP_DELAY_MAX_S))
        except asyncpg.DependentObjectsStillExistError as error:
            raise SwapFailed(
                f"something was built on these tables; drop it first: {error}"
            ) from error


async def _swap(
    holder: Connection, shadow: Shadow, engine: Engine, release: Release | None, live: list[str]
) -> None:
    """Hold the heads, catch up, and let live and shadow tables change places.

    Locks are taken in the order in which writers take them: heads, checkpoints, tables; tables in
    the order of ``live``, which changes where that one gets stuck.
    """
    projections = shadow.projections
    async with holder.transaction():
        await holder.execute(f"SET LOCAL lock_timeout = '{SWAP_LOCK_WAIT_S:g}s'")
        # No tenant may come in between, whose head would not be held.
        await holder.execute("LOCK TABLE ledger.tenant IN SHARE MODE")
        targets = await aims(holder, engine, projections, lock=True)
        await shadow.fold_to(targets)
        await _outwait(holder, SWAP_LOCK_WAIT_S)
        until = time.monotonic() + TABLES_WAIT_S
        await _lock(holder, live, until)
        await holder.execute(_statement_timeout(until))
        await drop_views(holder)
        await holder.execute("SET LOCAL statement_timeout = 0")
        for table in live:
            await holder.execute(
                f"ALTER TABLE {SCHEMA}.{table} SET SCHEMA {RETIRED}; DROP TABLE {RETIRED}.{table}"
            )
        for table in table_names(projections):
            await holder.execute(f"ALTER TABLE {shadow.schema}.{table} SET SCHEMA {SCHEMA}")
        for (tenant_id, name), position in targets.items():
            projection = engine.named(name)
            if engine.is_following(projection):
                await set_tenant(holder, tenant_id)
                await holder.execute(MOVE_CHECKPOINT, tenant_id, name, projection.version, position)
        if release is not None:
            await engine.record_installed(holder, release.installed, release.retired)
        await create_views(holder)


async def _lock(holder: Connection, tables: list[str], until: float) -> None:
    """Keep everybody out of tables, in their order; put one that others do not leave first in it.

    Who reads that one may wait for another that we hold already. Next time its readers are waited
    for while we hold none, and those who come after them wait for it before they hold any: so the
    order comes to be the one in which tables are read.
    """
    for table in tables:
        try:
            await holder.execute(
                f"{_statement_timeout(until)}; LOCK TABLE {SCHEMA}.{table} IN ACCESS EXCLUSIVE MODE"
            )
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            tables.remove(table)
            tables.insert(0, table)
            raise


def _statement_timeout(until: float) -> str:
    return f"SET LOCAL statement_timeout = {max(1, round((until - time.monotonic()) * 1_000))}"


async def aims(
    connection: Connection, engine: Engine, projections: Sequence[Projection], *, lock: bool = False
) -> dict[tuple[int, str], int]:
    """Return how far each projection of each tenant is to be folded to take its place.

    An inline one up to the head. A following one up to where it is, so that those which follow
    stay together; one that is parked, or new, up to where the others are. With ``lock``, heads and
    checkpoints are held until the transaction ends.
    """
    found: dict[tuple[int, str], int] = {}
    for tenant_id in await tenant_ids(connection):
        await set_tenant(connection, tenant_id)
        head = await head_position(connection, tenant_id, lock=lock)
        rows = await connection.fetch(
            _CHECKPOINTS + (" FOR UPDATE" if lock else ""), tenant_id, engine.names_following
        )
        running = {name: position for name, position, is_parked in rows if not is_parked}
        others = max(running.values(), default=head)
        for projection in projections:
            is_following = engine.is_following(projection)
            found[tenant_id, projection.name] = (
                running.get(projection.name, others) if is_following else head
            )
    return found


async def _outwait(holder: Connection, seconds: float) -> None:
    """Wait until nobody reads by a snapshot older than the shadow's last commit.

    Such a reader, let in after the swap, would see what the shadow held at its own time. A
    session that waits for a lock has no such snapshot: it waits for ours. Raises
    asyncpg.LockNotAvailableError after ``seconds``.
    """
    old = {row[0] for row in await holder.fetch(_IN_TRANSACTION)}
    deadline = time.monotonic() + seconds
    while old:
        if time.monotonic() > deadline:
            raise asyncpg.LockNotAvailableError("readers older than the rebuilt tables go on")
        await asyncio.sleep(0.01)
        old &= {row[0] for row in await holder.fetch(_IN_TRANSACTION)}


_CHECKPOINTS: Final = """
SELECT name, position, parked_at IS NOT NULL FROM projections.checkpoint
WHERE tenant_id = $1 AND name = ANY ($2::text[]) ORDER BY name
"""

# Every transaction holds a lock on its own virtual id. One that waits has an entry that is not
# granted; virtual ids are not used twice, so a set of them only shrinks.
_IN_TRANSACTION: Final = """
SELECT l.virtualtransaction FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()
WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid()
  AND NOT EXISTS (SELECT FROM pg_locks w WHERE w.pid = l.pid AND NOT w.granted)
"""
