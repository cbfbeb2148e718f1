"""Reading at a moment: one way for every route, whether it is of the present or of the past.

A route names the projections that it reads, and reads what `reading_at` gives with its ordinary
queries. Of the past that is a fold of the log up to the moment: of a few streams where one thing
is asked for; of all of a log that is short; and of a longer one a snapshot that is kept
(`projections.known_snapshots`), which the first to ask has made.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from typing import Any, Final

from api.context import Call
from api.moments import moment_headers, moment_of
from api.problems import Problem
from api.reads import Reading, answer, reading
from api.reply import Headers, Reply
from ledger.mapper import decode_event
from ledger.store import Connection
from projections import known_snapshots as known
from projections.past import Moment, Streams, elsewhere, past, time_of
from schemas.common import Event

FOLDED_AT_ONCE_MAX: Final = known.FOLDED_AT_ONCE_MAX
"""Events that are folded within a request."""
StreamsOf = Callable[[Reading], Awaitable[Streams]]

WHOLE_AT_ONCE_MAX: Final = 4
"""Reads of whole logs at a time in a process; others wait, and hold no connection meanwhile."""

PAST_PROBLEMS: Final = ("not_yet", "being_prepared")
"""What a read at a moment may be refused with, besides a wrong parameter."""

_at_once: Final = asyncio.Semaphore(WHOLE_AT_ONCE_MAX)

_FEW: Final = """
SELECT count(*) <= $6 FROM (
    SELECT FROM (
        SELECT w.position FROM unnest($2::text[]) AS n (stream)
        CROSS JOIN LATERAL (
            SELECT position FROM ledger.event WHERE tenant_id = $1 AND stream = n.stream OFFSET 0
        ) w
        UNION ALL
        SELECT w.position FROM unnest($3::text[], $4::text[]) AS p (first, behind)
        CROSS JOIN LATERAL (
            SELECT position FROM ledger.event
            WHERE tenant_id = $1 AND stream >= p.first AND stream < p.behind OFFSET 0
        ) w
    ) e
    WHERE e.position <= $5 LIMIT $6 + 1
) AS found
"""


@asynccontextmanager
async def reading_at(
    call: Call,
    values: Mapping[str, Any],
    projections: Sequence[str],
    *,
    streams_of: StreamsOf | None = None,
) -> AsyncGenerator[Reading]:
    """Open a reading of the tables of ``projections`` at the moment that a query asks for.

    ``values`` are a query's, with `MIN_POSITION` and `MOMENT_PARAMETERS`. Without a moment it is
    of the present, as `reading` is. ``streams_of`` names the streams that say all there is to say
    of the one thing that is asked for. Raises Problem (400) for a moment that is not there yet,
    and (503) where it has to be prepared first; the problem tells where the progress is.
    """
    engine = call.house.engine
    wanted = [engine.named(name) for name in projections]
    if values["as_of"] is None and values["known_at"] is None:
        following = [each.name for each in wanted if engine.is_following(each)]
        async with reading(call, values["min_position"], following=following) as read:
            yield read
        return
    tenant_id = call.caller.tenant_id
    at_once = _at_once if streams_of is None else nullcontext()
    # What is recorded never changes: no statement has to see what another one saw.
    async with at_once, reading(call, values["min_position"], isolation="read committed") as read:
        moment = await moment_of(read, values)
        assert moment is not None, "one of the two times was given"
        now = await _time_of(read, values, moment)
        read = read._replace(position=moment.position, moment=moment, now=now)
        streams = None if streams_of is None else await streams_of(read)
        if await _is_short(read, streams):
            async with past(read.connection, tenant_id, moment, wanted, streams, now) as there:
                yield read._replace(connection=there)
            return
        schema = await known.hold_ready(read.connection, engine, tenant_id, moment)
        if schema is not None:
            there = await elsewhere(read.connection, schema, now)
            yield read._replace(connection=there)
    if schema is not None:
        await known.mark_read(call.house.pool, engine, tenant_id, moment)
        return
    raise await _being_prepared(call, moment)


async def _time_of(read: Reading, values: Mapping[str, Any], moment: Moment) -> datetime:
    known_at = values["known_at"]
    if moment.as_of is None and isinstance(known_at, datetime):
        return known_at
    return await time_of(read.connection, read.tenant_id, moment)


async def _is_short(read: Reading, streams: Streams | None) -> bool:
    """Tell whether so little has to be folded that the request may wait for it."""
    if read.position <= FOLDED_AT_ONCE_MAX:
        return True
    if streams is None:
        return False
    return await read.connection.fetchval(
        _FEW, read.tenant_id, *streams.bounds, read.position, FOLDED_AT_ONCE_MAX
    )


async def _being_prepared(call: Call, moment: Moment) -> Problem:
    """Have a moment prepared; return the problem that tells how far that is."""
    house, tenant_id = call.house, call.caller.tenant_id
    try:
        kept = await known.ask_for(house.pool, house.engine, tenant_id, moment)
    except known.AllInUse as fault:
        return Problem(
            "being_prepared",
            f"{str(fault)[0].upper()}{str(fault)[1:]}; try again in a minute.",
            headers=[(b"retry-after", b"60")],
        )
    if kept.state == "failed":
        return Problem("being_prepared", f"This moment cannot be prepared: {kept.reason}")
    where = progress_path(moment)
    return Problem(
        "being_prepared",
        f"The first {moment.position:,} events are being folded to what they came to; {where} "
        f"tells how far that is. Ask again when it is ready. Up to {FOLDED_AT_ONCE_MAX:,} events "
        "are folded at once.",
        headers=[(b"retry-after", b"2"), (b"location", where.encode())],
        progress=where,
        folded=kept.folded,
        position=moment.position,
    )


def progress_path(moment: Moment) -> str:
    """Return the address of the resource that tells how far a moment is prepared."""
    path = f"/api/ledger/known/{moment.position}"
    if moment.as_of is None:
        return path
    return f"{path}?as_of={moment.as_of.isoformat().replace('+00:00', 'Z')}"


def answer_at(read: Reading, value: Any, headers: Headers = ()) -> Reply:
    """Return a reading's reply, with the position that it was read at, and known at."""
    return answer(value, read.position, [*moment_headers(read.moment), *headers])


def clock(call: Call, read: Reading) -> datetime:
    """Return the time that it is for what a reading shows: the moment's, or the present."""
    return read.now or call.house.now()


# --- streams ----------------------------------------------------------------------------

_FIRST: Final = """
SELECT type, schema_version, data::text FROM ledger.event
WHERE tenant_id = $1 AND stream = $2 AND version = 1
"""


async def first_event(connection: Connection, tenant_id: int, stream: str) -> Event | None:
    """Return the event that a stream begins with, None where there is no such stream."""
    row = await connection.fetchrow(_FIRST, tenant_id, stream)
    return None if row is None else decode_event(*row)
