"""A read model at another moment: the same fold of fewer events.

What a table held when the log was at a position, or would hold of what had happened in the world
by a time, is what the ordinary fold makes of those events. So it is folded by the ordinary
projections, into tables of the session's temporary schema, and read by the ordinary queries:
there is no second way to a figure, and none that could differ. It costs time in proportion to
the events folded: name the streams wherever one thing is asked for.

``as_of`` is a time in the world, so it leaves out what happened later: movements, what became of
orders and purchase orders, costs. What is said of things, such as a product's name or by which
method the books are kept, happens at no time in the world: it is as it was known.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, cast, get_args

import asyncpg

from projections.elsewhere import Elsewhere
from projections.log_reading import Batch, decode_rows, folded_types, of_types
from projections.projection import SCHEMA, Connection, Projection
from schemas.books import LandedCostAdded, StockRevalued
from schemas.lot import SerialEvent
from schemas.order import OrderEvent
from schemas.purchase import PurchaseOrderEvent
from schemas.stock import StockEvent

PAST: Final = "pg_temp"
BATCH_EVENTS: Final = 5_000
BYTES_MAX: Final = 2 * 1024 * 1024
"""What a temporary table may take up before it is emptied for good."""
HAPPENINGS: Final = frozenset(
    kind.TYPE
    for kind in (
        *get_args(StockEvent),
        *get_args(OrderEvent),
        *get_args(PurchaseOrderEvent),
        *get_args(SerialEvent),
        LandedCostAdded,
        StockRevalued,
    )
)
"""The events that happen in the world, each at a time of its own: ``as_of`` bounds these."""
BEFORE_ALL: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """A point in both times: what had been recorded by ``position`` had happened by ``as_of``.

    ``as_of`` None stands for all that had been recorded.
    """

    position: int
    as_of: datetime | None = None


class Streams(NamedTuple):
    """Which streams: those of these names, and those whose names begin so."""

    names: Sequence[str] = ()
    prefixes: Sequence[str] = ()

    @property
    def bounds(self) -> tuple[list[str], list[str], list[str]]:
        """The names, and of the prefixes the first name and the one behind the last.

        Each stream is in one of them only.
        """
        prefixes = [
            each
            for each in dict.fromkeys(self.prefixes)
            if not any(each != other and each.startswith(other) for other in self.prefixes)
        ]
        names = [each for each in dict.fromkeys(self.names) if not each.startswith(tuple(prefixes))]
        return names, prefixes, [_behind(prefix) for prefix in prefixes]


# What a query compares with the present, such as when a hold expires, it compares with the
# moment's own time.
_NOW: Final = "ledger.moment"
_TOLD_NOW: Final = f"current_setting('{_NOW}')::timestamptz"


@lru_cache(maxsize=4096)
def _told_of(query: str, schema: str) -> str:
    return query.replace(f"{SCHEMA}.", f"{schema}.").replace("now()", _TOLD_NOW)


async def elsewhere(connection: Connection, schema: str, now: datetime) -> Connection:
    """Return a connection whose queries read ``schema``, as of ``now``, in this transaction."""
    await connection.execute("SELECT set_config($1, $2, true)", _NOW, now.isoformat())
    return cast(Connection, Elsewhere(connection, lambda query: _told_of(query, schema)))


async def time_of(connection: Connection, tenant_id: int, moment: Moment) -> datetime:
    """Return the time that it is at a moment: in the world, or else when it was last recorded."""
    if moment.as_of is not None:
        return moment.as_of
    recorded_at: datetime | None = await connection.fetchval(
        "SELECT recorded_at FROM ledger.event WHERE tenant_id = $1 AND position = $2",
        tenant_id,
        moment.position,
    )
    return BEFORE_ALL if recorded_at is None else recorded_at


@asynccontextmanager
async def past(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    projections: Sequence[Projection],
    streams: Streams | None = None,
    now: datetime | None = None,
) -> AsyncGenerator[Connection]:
    """Give a connection on which some projections' tables are as they were at a moment.

    The connection is in a transaction of the tenant's, one stretch a transaction. ``streams``
    bounds what is folded; None is the whole log. ``now`` is the time for what depends on it,
    `time_of` the moment unless given. The tables stay with the session, since making and dropping
    them costs more than most folds do; what is written to them is rolled back.
    """
    await empty_tables(connection, projections)
    await connection.execute(f"SAVEPOINT {_BEFORE}")
    async for batch in read_past(connection, tenant_id, moment, folded_types(projections), streams):
        await fold_batch(connection, PAST, tenant_id, projections, batch)
    now = now or await time_of(connection, tenant_id, moment)
    yield await elsewhere(connection, PAST, now)
    # An error rolls all of the transaction back.
    await connection.execute(f"ROLLBACK TO SAVEPOINT {_BEFORE}; RELEASE SAVEPOINT {_BEFORE}")


_BEFORE: Final = "before_the_past"


async def empty_tables(connection: Connection, projections: Sequence[Projection]) -> None:
    """Have the tables of some projections in the temporary schema, empty.

    The session keeps those that it has. Whatever is written to them has to be rolled back.
    """
    tables = {table: projection for projection in projections for table in projection.tables}
    rows = await connection.fetch(_TABLES, list(tables), BYTES_MAX)
    missing = {tables[name].name: tables[name] for name, is_missing, _ in rows if is_missing}
    if missing:
        await connection.execute("".join(each.ddl(PAST) for each in missing.values()))
    # What was rolled back still takes room, which nothing else gives back.
    if large := [f"{PAST}.{name}" for name, _, is_large in rows if is_large]:
        await connection.execute(f"TRUNCATE {', '.join(large)}")


_TABLES: Final = """
SELECT t.name, r.id IS NULL, coalesce(pg_total_relation_size(r.id) > $2, false)
FROM unnest($1::text[]) AS t (name)
CROSS JOIN LATERAL (SELECT to_regclass('pg_temp.' || t.name) AS id) r
"""


async def fold_batch(
    connection: Connection,
    schema: str,
    tenant_id: int,
    projections: Sequence[Projection],
    batch: Batch,
) -> None:
    """Fold a batch with each of some projections into a schema's tables."""
    for projection in projections:
        mine = of_types(batch.events, projection.event_types)
        if mine:
            await projection.apply(connection, schema, tenant_id, mine)


async def read_past(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    types: frozenset[str],
    streams: Streams | None = None,
    limit: int = BATCH_EVENTS,
    *,
    after: int = 0,
) -> AsyncGenerator[Batch]:
    """Yield the events of a moment behind ``after``, in order, in batches of ``limit``.

    Only ``types`` are decoded.
    """
    arguments = (tenant_id, after, moment.position, moment.as_of, _HAPPENINGS)
    if streams is None:
        batches = _batches_of_all(connection, *arguments, limit)
    else:
        batches = _batches_of_streams(connection, *arguments, *streams.bounds, limit=limit)
    async with aclosing(batches) as found:
        async for rows in found:
            yield Batch(rows[-1][0], decode_rows(rows, types))
            if len(rows) < limit:
                return


async def _batches_of_all(
    connection: Connection, tenant_id: int, after: int, *more: object
) -> AsyncGenerator[list[asyncpg.Record]]:
    while rows := await connection.fetch(_ALL, tenant_id, after, *more):
        yield rows
        after = rows[-1][0]


async def _batches_of_streams(
    connection: Connection, *arguments: object, limit: int
) -> AsyncGenerator[list[asyncpg.Record]]:
    cursor = await connection.cursor(_OF_STREAMS, *arguments)
    while rows := await cursor.fetch(limit):
        yield rows


def _behind(prefix: str) -> str:
    """Return the first text, in the order of bytes, behind all that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


_COLUMNS: Final = """
e.position, e.stream, e.version, e.type, e.schema_version, e.data::text AS data, e.effective_at,
e.recorded_at
"""
_HAPPENINGS: Final = sorted(HAPPENINGS)
_HAD_HAPPENED: Final = """
($4::timestamptz IS NULL OR e.effective_at <= $4 OR e.type <> ALL ($5::text[]))
"""
_ALL: Final = f"""
SELECT {_COLUMNS} FROM ledger.event e
WHERE e.tenant_id = $1 AND e.position > $2 AND e.position <= $3
  AND {_HAD_HAPPENED}
ORDER BY e.position LIMIT $6
"""
# Found by stream, and by nothing else: OFFSET 0 holds the planner to that, whatever it takes the
# log to look like. A thing's events are few among the log's.
_OF_STREAMS: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT w.* FROM unnest($6::text[]) AS n (stream)
    CROSS JOIN LATERAL (
        SELECT * FROM ledger.event WHERE tenant_id = $1 AND stream = n.stream OFFSET 0
    ) w
    UNION ALL
    SELECT w.* FROM unnest($7::text[], $8::text[]) AS p (first, behind)
    CROSS JOIN LATERAL (
        SELECT * FROM ledger.event
        WHERE tenant_id = $1 AND stream >= p.first AND stream < p.behind OFFSET 0
    ) w
) e
WHERE e.position > $2 AND e.position <= $3 AND {_HAD_HAPPENED}
ORDER BY e.position
"""
