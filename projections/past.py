"""A read model at another moment: the same fold of fewer events.

What a table held when the log was at a position, or would hold of what had happened in the world
by a time, is what the ordinary fold makes of those events. So it is folded by the ordinary
projections, into tables of the session's temporary schema, and read by the ordinary queries:
there is no second way to a figure, and none that could differ. It costs time in proportion to
the events folded: name the streams wherever one thing is asked for.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import asyncpg

from projections.log_reading import Batch, decode_rows, folded_types, of_types
from projections.projection import SCHEMA, Connection, Projection

PAST: Final = "pg_temp"
BATCH_EVENTS: Final = 5_000


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


class Elsewhere:
    """A connection on which the tables of ``projections`` are those of another schema."""

    def __init__(self, connection: Connection, rewrite: Callable[[str], str]) -> None:
        self._connection = connection
        self._rewrite = rewrite

    async def execute(self, query: str, *arguments: object) -> str:
        """Run a statement there."""
        return await self._connection.execute(self._rewrite(query), *arguments)

    async def executemany(self, query: str, arguments: Any) -> None:
        """Run a statement there for each of some arguments."""
        await self._connection.executemany(self._rewrite(query), arguments)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return what a query finds there."""
        return await self._connection.fetch(self._rewrite(query), *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row that a query finds there."""
        return await self._connection.fetchrow(self._rewrite(query), *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """Return the first value that a query finds there."""
        return await self._connection.fetchval(self._rewrite(query), *arguments)

    def cursor(self, query: str, *arguments: object, **options: Any) -> Any:
        """Return a cursor over what a query finds there."""
        return self._connection.cursor(self._rewrite(query), *arguments, **options)


@lru_cache(maxsize=4096)
def _in_the_past(query: str) -> str:
    return query.replace(f"{SCHEMA}.", f"{PAST}.")


@asynccontextmanager
async def past(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    projections: Sequence[Projection],
    streams: Streams | None = None,
) -> AsyncGenerator[Connection]:
    """Give a connection on which some projections' tables are as they were at a moment.

    The connection is in a transaction of the tenant's. ``streams`` bounds what is folded; None is
    the whole log. The tables are gone at the end; one such stretch at a time a connection.
    """
    for projection in projections:
        await connection.execute(projection.ddl(PAST))
    async for batch in read_past(connection, tenant_id, moment, folded_types(projections), streams):
        for projection in projections:
            mine = of_types(batch.events, projection.event_types)
            if mine:
                await projection.apply(connection, PAST, tenant_id, mine)
    yield cast(Connection, Elsewhere(connection, _in_the_past))
    # After an error the transaction is rolled back, and the tables with it.
    tables = ", ".join(f"{PAST}.{table}" for p in projections for table in p.tables)
    await connection.execute(f"DROP TABLE {tables}")


async def read_past(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    types: frozenset[str],
    streams: Streams | None = None,
    limit: int = BATCH_EVENTS,
) -> AsyncGenerator[Batch]:
    """Yield the events of a moment, in order, in batches of ``limit``; only ``types`` decoded."""
    position = 0
    names = None if streams is None else list(streams.names)
    first = [] if streams is None else list(streams.prefixes)
    while position < moment.position:
        rows = await connection.fetch(
            _ALL if streams is None else _OF_STREAMS,
            tenant_id,
            position,
            moment.position,
            moment.as_of,
            limit,
            *(() if streams is None else (names, first, [_behind(text) for text in first])),
        )
        if not rows:
            return
        position = rows[-1][0]
        yield Batch(position, decode_rows(rows, types))


def _behind(prefix: str) -> str:
    """Return the first text, in the order of bytes, behind all that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


_COLUMNS: Final = """
e.position, e.stream, e.version, e.type, e.schema_version, e.data::text AS data, e.effective_at,
e.recorded_at
"""
_ALL: Final = f"""
SELECT {_COLUMNS} FROM ledger.event e
WHERE e.tenant_id = $1 AND e.position > $2 AND e.position <= $3
  AND ($4::timestamptz IS NULL OR e.effective_at <= $4)
ORDER BY e.position LIMIT $5
"""
# Found by stream: a thing's events are few among the log's.
_OF_STREAMS: Final = f"""
WITH wanted AS (
    SELECT tenant_id, position FROM ledger.event
    WHERE tenant_id = $1 AND stream = ANY ($6::text[])
    UNION
    SELECT w.tenant_id, w.position FROM unnest($7::text[], $8::text[]) AS p (first, behind)
    CROSS JOIN LATERAL (
        SELECT tenant_id, position FROM ledger.event
        WHERE tenant_id = $1 AND stream >= p.first AND stream < p.behind
    ) w
)
SELECT {_COLUMNS} FROM wanted JOIN ledger.event e USING (tenant_id, position)
WHERE e.position > $2 AND e.position <= $3 AND ($4::timestamptz IS NULL OR e.effective_at <= $4)
ORDER BY e.position LIMIT $5
"""
