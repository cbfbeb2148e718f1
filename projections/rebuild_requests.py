"""Rebuilds that were asked for over HTTP: rows that one process waits for and others watch.

A row belongs to the tenant that asked. Whoever does a rebuild moves ``beat_at`` while it lives; one
whose beat has stopped has failed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from ledger.store import Connection, Pool, tenant_transaction
from projections.rebuild import Report, TableReport

DEAD_AFTER_S: Final = 60.0
REASON_LENGTH_MAX: Final = 2_000


class RebuildRunning(Exception):
    """A rebuild has been asked for that is not at its end; wait for it.

    ``rebuild_id`` is its id, and ``same`` tells whether it is just what was asked for.
    """

    def __init__(self, rebuild_id: int, *, same: bool) -> None:
        super().__init__(f"rebuild {rebuild_id} is not at its end; wait for it")
        self.rebuild_id = rebuild_id
        self.same = same


class RebuiltTable(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a table. Its rows and position are those of the tenant that asked."""

    table: str
    equal: bool
    tenants_differing: int
    position: int
    rows_live: int
    rows_rebuilt: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a rebuild."""

    swapped: bool
    tables: list[RebuiltTable]


async def request(
    connection: Connection,
    tenant_id: int,
    names: Sequence[str],
    *,
    replace_different: bool,
    requested_by: str,
    now: datetime,
) -> int:
    """Ask for a rebuild in the tenant's transaction; return its id.

    Raises RebuildRunning when there is one that is not at its end.
    """
    # Those who ask wait for each other, so that there is one at a time.
    await connection.execute("SELECT FROM ledger.head WHERE tenant_id = $1 FOR UPDATE", tenant_id)
    row = await connection.fetchrow(_UNFINISHED, tenant_id)
    if row is not None:
        asked = list(names), replace_different
        raise RebuildRunning(row[0], same=(list(row[1]), row[2]) == asked)
    return await connection.fetchval(
        _REQUEST, tenant_id, list(names), replace_different, requested_by, now
    )


async def claim(pool: Pool, tenant_id: int) -> int | None:
    """Take the rebuild that waits, if one does; return its id."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(_BURY, tenant_id, DEAD_AFTER_S)
        return await connection.fetchval(_CLAIM, tenant_id)


async def read(connection: Connection, tenant_id: int, rebuild_id: int) -> asyncpg.Record | None:
    """Return one rebuild's row."""
    return await connection.fetchrow(f"{_READ} AND rebuild_id = $2", tenant_id, rebuild_id)


async def read_page(
    connection: Connection, tenant_id: int, limit: int, offset: int
) -> tuple[list[asyncpg.Record], int]:
    """Return some rebuilds' rows, the newest first, and how many there are."""
    rows = await connection.fetch(
        f"{_READ} ORDER BY rebuild_id DESC LIMIT $2 OFFSET $3", tenant_id, limit, offset
    )
    total = await connection.fetchval(
        "SELECT count(*) FROM ledger.rebuild WHERE tenant_id = $1", tenant_id
    )
    return rows, total or 0


async def beat(
    pool: Pool, tenant_id: int, rebuild_id: int, step: str | None, done: int, total: int | None
) -> None:
    """Tell how far a rebuild is."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(_BEAT, tenant_id, rebuild_id, step, done, total)


async def finish(pool: Pool, tenant_id: int, rebuild_id: int, report: Report) -> None:
    """Note what came of a rebuild, without a figure of another tenant's."""
    found = msgspec.json.encode(Found(swapped=report.swapped, tables=_tables(report, tenant_id)))
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(
            _FINISH, tenant_id, rebuild_id, found.decode(), report.events,
            None if report.swapped else DIFFERED,
        )  # fmt: skip


async def fail(pool: Pool, tenant_id: int, rebuild_id: int, reason: str) -> None:
    """Note that a rebuild has failed, if it has not come to another end."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(_FAIL, tenant_id, rebuild_id, reason[:REASON_LENGTH_MAX])


def _tables(report: Report, tenant_id: int) -> list[RebuiltTable]:
    by_table: dict[str, list[TableReport]] = {}
    for row in report.tables:
        by_table.setdefault(row.table, []).append(row)
    found: list[RebuiltTable] = []
    for table, rows in by_table.items():
        own: Any = next((row for row in rows if row.tenant_id == tenant_id), None)
        differing = sum(not row.equal for row in rows)
        found.append(
            RebuiltTable(
                table=table,
                equal=differing == 0,
                tenants_differing=differing,
                position=own.position if own else 0,
                rows_live=own.rows_live if own else 0,
                rows_rebuilt=own.rows_rebuilt if own else 0,
            )
        )
    return found


DIFFERED: Final = (
    "Some tables are not as the log says, so the rebuilt ones were not put in place; look into it, "
    "then ask again with replace_different."
)

_READ: Final = """
SELECT rebuild_id, projections, replace_different, requested_by, requested_at, state, step,
       events_done, events_total, started_at, finished_at, tables::text AS found, reason,
       extract(epoch FROM coalesce(finished_at, clock_timestamp()) - started_at)::float8 AS seconds
FROM ledger.rebuild WHERE tenant_id = $1"""

_UNFINISHED: Final = """
SELECT rebuild_id, projections, replace_different FROM ledger.rebuild
WHERE tenant_id = $1 AND state IN ('waiting', 'running')
"""

_REQUEST: Final = """
INSERT INTO ledger.rebuild
    (tenant_id, rebuild_id, projections, replace_different, requested_by, requested_at, state)
SELECT $1, coalesce(max(rebuild_id), 0) + 1, $2, $3, $4, $5, 'waiting'
FROM ledger.rebuild WHERE tenant_id = $1
RETURNING rebuild_id
"""

_CLAIM: Final = """
UPDATE ledger.rebuild SET state = 'running', started_at = clock_timestamp(),
    beat_at = clock_timestamp()
WHERE tenant_id = $1 AND state = 'waiting' RETURNING rebuild_id
"""

_BURY: Final = """
UPDATE ledger.rebuild
SET state = 'failed', finished_at = clock_timestamp(),
    reason = 'The process that did it has ended; the live tables are as they were. Ask again.'
WHERE tenant_id = $1 AND state = 'running'
  AND beat_at < clock_timestamp() - make_interval(secs => $2)
"""

_BEAT: Final = """
UPDATE ledger.rebuild
SET step = $3, events_done = $4, events_total = $5, beat_at = clock_timestamp()
WHERE tenant_id = $1 AND rebuild_id = $2 AND state = 'running'
"""

_FINISH: Final = """
UPDATE ledger.rebuild
SET state = CASE WHEN $5::text IS NULL THEN 'done' ELSE 'failed' END, step = NULL,
    tables = $3::text::json, events_done = $4, events_total = $4, reason = $5,
    finished_at = clock_timestamp()
WHERE tenant_id = $1 AND rebuild_id = $2
"""

_FAIL: Final = """
UPDATE ledger.rebuild
SET state = 'failed', step = NULL, reason = $3, finished_at = clock_timestamp()
WHERE tenant_id = $1 AND rebuild_id = $2 AND state = 'running'
"""
