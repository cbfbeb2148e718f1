"""Read models as they were at a moment, kept: what a long log is too long for to fold in a request.

A snapshot is the read models of one tenant at one moment (`projections.past`), in a slot: tables
which the tenants share, as they share the present ones. A read that needs one asks for it; one
process folds the log into it, a batch a transaction, so that after a crash it goes on where it was;
then it is read as often as anybody likes. A tenant has ``KEPT_MAX`` at most: the next one takes the
place of the one read least recently. They may be dropped at any time, and made again.

The tables are not logged, which spares the disk, and are empty after the database has crashed:
the row in ``complete`` goes with them.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, cast

import structlog

from ledger.session import CONNECTION_LOST
from ledger.store import Connection, Pool, tenant_transaction
from projections.engine import Engine
from projections.log_reading import folded_types
from projections.past import Moment, fold_batch, read_past
from projections.projection import Projection

KEPT_MAX: Final = 4
"""Snapshots of a tenant."""
FOLDED_AT_ONCE_MAX: Final = 20_000
"""Events that a read folds within its request; of a longer log it reads a snapshot."""
IN_USE_S: Final = 60
"""Since it was last read so long ago, a snapshot may make room for another."""
UNREAD_S: Final = 24 * 3600
RETRY_FAILED_S: Final = 60
READ_MARK_S: Final = 10
PREPARE_TIMEOUT_S: Final = 3600
"""What was in a slot before may have to be deleted row by row."""
POLL_S: Final = 1.0
BATCH_EVENTS: Final = 10_000
REASON_LENGTH_MAX: Final = 2_000

PROJECTIONS: Final = frozenset(
    {
        "aliases",
        "books",
        "categories",
        "customers",
        "demand",
        "listings",
        "locations",
        "lots",
        "orders",
        "price_tiers",
        "products",
        "purchase_orders",
        "sales",
        "serials",
        "stock_levels",
        "suppliers",
        "valuation",
    }
)
"""What lists and reports read."""

State = Literal["waiting", "building", "ready", "failed"]

log = structlog.get_logger(__name__)


class Kept(NamedTuple):
    """A snapshot: of which moment, and how far the log is folded into it."""

    slot: int
    moment: Moment
    state: State
    folded: int
    requested_at: datetime
    ready_at: datetime | None
    reason: str | None


class AllInUse(Exception):
    """All the snapshots that a tenant may have are being made, or were read a moment ago."""


def kept_projections(engine: Engine) -> list[Projection]:
    """Return the projections whose tables a snapshot has."""
    return [each for each in engine.projections if each.name in PROJECTIONS]


def schema_of(slot: int) -> str:
    """Return the schema that a snapshot's tables are in."""
    return f"known_{int(slot)}"


def fingerprint(engine: Engine) -> str:
    """Return what names the tables and folds of this release: other ones are made anew."""
    versions = ",".join(f"{each.name}:{each.version}" for each in kept_projections(engine))
    return hashlib.sha256(versions.encode()).hexdigest()[:32]


# --- asking -----------------------------------------------------------------------------

_ROW: Final = """
SELECT slot, position, as_of, state, folded, requested_at, ready_at, reason FROM known.snapshot
WHERE tenant_id = $1 AND position = $2 AND as_of IS NOT DISTINCT FROM $3 AND models = $4
"""


async def look_up(
    connection: Connection, engine: Engine, tenant_id: int, moment: Moment, *, hold: bool = False
) -> Kept | None:
    """Return the snapshot of a moment, None where there is none.

    With ``hold`` it is kept from being dropped until the transaction ends.
    """
    row = await connection.fetchrow(
        _ROW + ("FOR KEY SHARE SKIP LOCKED" if hold else ""),
        tenant_id,
        *moment,
        fingerprint(engine),
    )
    if row is None:
        return None
    slot, position, as_of, *rest = row
    return Kept(slot, Moment(position, as_of), *rest)


async def progress(
    connection: Connection, engine: Engine, tenant_id: int, moment: Moment
) -> Kept | None:
    """Return the snapshot of a moment as it stands, None where there is none, or none any more."""
    kept = await look_up(connection, engine, tenant_id, moment, hold=True)
    if kept is None or kept.state != "ready":
        return kept
    is_there = await _has_row(connection, schema_of(kept.slot), "complete")
    return kept if is_there else None


async def hold_ready(
    connection: Connection, engine: Engine, tenant_id: int, moment: Moment
) -> str | None:
    """Return the schema of a moment's snapshot, held until the transaction ends, if it is ready."""
    kept = await progress(connection, engine, tenant_id, moment)
    return schema_of(kept.slot) if kept and kept.state == "ready" else None


async def _has_row(connection: Connection, schema: str, table: str) -> bool:
    """Tell whether a table has a row; all that it may see is of one tenant."""
    return bool(await connection.fetchval(f"SELECT count(*) FROM {schema}.{table}"))


async def mark_read(pool: Pool, engine: Engine, tenant_id: int, moment: Moment) -> None:
    """Note that a snapshot was read."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(_MARK, tenant_id, *moment, fingerprint(engine), READ_MARK_S)


_MARK: Final = """
UPDATE known.snapshot SET read_at = now()
WHERE (tenant_id, slot) = (
    SELECT tenant_id, slot FROM known.snapshot
    WHERE tenant_id = $1 AND position = $2 AND as_of IS NOT DISTINCT FROM $3 AND models = $4
      AND read_at < now() - make_interval(secs => $5)
    FOR NO KEY UPDATE SKIP LOCKED
)
"""


async def ask_for(pool: Pool, engine: Engine, tenant_id: int, moment: Moment) -> Kept:
    """Have the snapshot of a moment made, unless it is there or on its way; return how far it is.

    Raises AllInUse.
    """
    models = fingerprint(engine)
    async with tenant_transaction(pool, tenant_id) as connection:
        # One that was lost, or failed a while ago, is made again.
        await connection.execute(_LOCK_TENANT, tenant_id)
        kept = await look_up(connection, engine, tenant_id, moment)
        if kept is not None and await _is_of_use(connection, tenant_id, kept):
            return kept
        slot = kept.slot if kept else await _free_slot(connection, tenant_id, models)
        await connection.execute(_ASK, tenant_id, slot, *moment, models)
        asked = await look_up(connection, engine, tenant_id, moment)
        assert asked is not None
        return asked


# Two that ask at once would take the same slot.
_LOCK_TENANT: Final = "SELECT pg_advisory_xact_lock(hashtext('known'), $1)"

_ASK: Final = """
INSERT INTO known.snapshot (tenant_id, slot, position, as_of, models, state, requested_at, read_at)
VALUES ($1, $2, $3, $4, $5, 'waiting', now(), now())
ON CONFLICT (tenant_id, slot) DO UPDATE
SET position = excluded.position, as_of = excluded.as_of, models = excluded.models,
    state = 'waiting', folded = 0, requested_at = excluded.requested_at,
    read_at = excluded.read_at, ready_at = NULL, reason = NULL
"""


async def _is_of_use(connection: Connection, tenant_id: int, kept: Kept) -> bool:
    if kept.state == "ready":
        return await _has_row(connection, schema_of(kept.slot), "complete")
    if kept.state == "failed":
        return not await connection.fetchval(
            "SELECT $1 < now() - make_interval(secs => $2)", kept.requested_at, RETRY_FAILED_S
        )
    return True


# Those of another release are of no use to anybody. Those that are being read are held.
_LEAST_RECENT: Final = """
SELECT slot FROM known.snapshot
WHERE tenant_id = $1 AND (models <> $2 OR (
    state IN ('ready', 'failed') AND read_at < now() - make_interval(secs => $3)
))
ORDER BY models = $2, read_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""


async def _free_slot(connection: Connection, tenant_id: int, models: str) -> int:
    rows = await connection.fetch("SELECT slot FROM known.snapshot WHERE tenant_id = $1", tenant_id)
    free = set(range(1, KEPT_MAX + 1)) - {row[0] for row in rows}
    if free:
        return min(free)
    slot = await connection.fetchval(_LEAST_RECENT, tenant_id, models, IN_USE_S)
    if slot is None:
        raise AllInUse(
            f"{KEPT_MAX} moments of the past are kept at a time, and all of them are in use"
        )
    return cast(int, slot)


# --- making -----------------------------------------------------------------------------


async def run_known_snapshots(pool: Pool, engine: Engine) -> None:
    """Make the snapshots that are asked for, one at a time, the first asked for first."""
    while True:
        try:
            async with pool.acquire() as connection:
                wanted = await connection.fetchrow(
                    "SELECT tenant_id, slot FROM known.wanted($1)", fingerprint(engine)
                )
            if wanted is not None:
                await make(pool, engine, *wanted)
                continue
        except CONNECTION_LOST as error:
            log.warning("snapshots_put_off", error=str(error))
        await asyncio.sleep(POLL_S)


async def make(pool: Pool, engine: Engine, tenant_id: int, slot: int) -> None:
    """Fold a tenant's log into the snapshot in a slot, from where it is, until it is ready.

    Ends early when the slot was given to another moment. An event that cannot be folded makes it
    fail, with the reason; a lost connection raises what asyncpg does.
    """
    try:
        is_going_on = True
        while is_going_on:
            is_going_on = await _advance(pool, engine, tenant_id, slot)
    except CONNECTION_LOST:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:REASON_LENGTH_MAX]
        log.error("snapshot_failed", tenant_id=tenant_id, slot=slot, reason=reason)
        async with tenant_transaction(pool, tenant_id) as connection:
            await connection.execute(
                "UPDATE known.snapshot SET state = 'failed', reason = $3 "
                "WHERE tenant_id = $1 AND slot = $2",
                tenant_id,
                slot,
                reason,
            )


_STAND: Final = """
SELECT position, as_of, state, folded, models FROM known.snapshot
WHERE tenant_id = $1 AND slot = $2 AND state IN ('waiting', 'building')
FOR NO KEY UPDATE
"""
_PREPARE: Final = "SELECT known.prepare($1, $2, $3)"
_MOVE: Final = """
UPDATE known.snapshot
SET state = $3, folded = $4, ready_at = CASE WHEN $3 = 'ready' THEN now() END
WHERE tenant_id = $1 AND slot = $2
"""


async def _advance(pool: Pool, engine: Engine, tenant_id: int, slot: int) -> bool:
    """Take the next step of making a snapshot; return whether there are more."""
    projections = kept_projections(engine)
    schema = schema_of(slot)
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute("SET LOCAL synchronous_commit = off")
        row = await connection.fetchrow(_STAND, tenant_id, slot)
        if row is None or row["models"] != fingerprint(engine):
            return False
        moment, folded = Moment(row["position"], row["as_of"]), row["folded"]
        if row["state"] == "waiting":
            names = [projection.name for projection in projections]
            await connection.execute(
                _PREPARE, slot, row["models"], names, timeout=PREPARE_TIMEOUT_S
            )
            await connection.execute(_MOVE, tenant_id, slot, "building", 0)
            return True
        if not await _has_row(connection, schema, "begun"):
            # The database has crashed since: what was folded is gone.
            await connection.execute(_MOVE, tenant_id, slot, "waiting", 0)
            return True
        types = folded_types(projections)
        async for batch in read_past(
            connection, tenant_id, moment, types, limit=BATCH_EVENTS, after=folded
        ):
            await fold_batch(connection, schema, tenant_id, projections, batch)
            await connection.execute(_MOVE, tenant_id, slot, "building", batch.last)
            return True
        await connection.execute("SELECT known.finish($1)", slot, timeout=PREPARE_TIMEOUT_S)
        await connection.execute(_MOVE, tenant_id, slot, "ready", moment.position)
        return False


# --- dropping ---------------------------------------------------------------------------

_OF_NO_USE: Final = """
SELECT slot, models FROM known.snapshot
WHERE tenant_id = $1 AND state <> 'building'
  AND (models <> $2 OR read_at < now() - make_interval(secs => $3))
FOR UPDATE SKIP LOCKED
"""


async def drop_unread(
    pool: Pool, engine: Engine, tenants: Sequence[int], unread_s: float = UNREAD_S
) -> int:
    """Drop the snapshots that nobody has read for a day, or of another release; return how many."""
    dropped = 0
    models = fingerprint(engine)
    tables = [table for each in kept_projections(engine) for table in each.tables]
    for tenant_id in tenants:
        async with tenant_transaction(pool, tenant_id) as connection:
            rows = await connection.fetch(_OF_NO_USE, tenant_id, models, unread_s)
            for slot, made_of in rows:
                # Another release's tables go when the slot is next prepared.
                if made_of == models and await _is_made(connection, slot):
                    for table in (*tables, "begun", "complete"):
                        await connection.execute(
                            f"DELETE FROM {schema_of(slot)}.{table} WHERE tenant_id = $1",
                            tenant_id,
                            timeout=PREPARE_TIMEOUT_S,
                        )
                await connection.execute(
                    "DELETE FROM known.snapshot WHERE tenant_id = $1 AND slot = $2", tenant_id, slot
                )
        dropped += len(rows)
    return dropped


async def _is_made(connection: Connection, slot: int) -> bool:
    """Tell whether a slot has tables: not before anybody's moment was made in it."""
    return await connection.fetchval(
        "SELECT to_regclass($1) IS NOT NULL", f"{schema_of(slot)}.begun"
    )
