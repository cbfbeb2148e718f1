"""The two times that reads take: ``as_of``, when it happened, and ``known_at``, what was recorded.

``known_at`` is resolved to a position of the log before anything is read, so that an answer
depends on nothing that comes later: asked again it is the same, byte for byte.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from api.problems import Problem
from api.query import Parameter
from api.reads import Reading
from api.reply import Headers
from projections.past import Moment

SETTLED_AFTER_S: Final = 60
"""A commit takes no longer: what is recorded at a time is all there so many seconds after it."""

AS_OF: Final = Parameter("as_of", "instant", "As it was in the world at this time")
KNOWN_AT: Final = Parameter(
    "known_at",
    "instant_or_position",
    "As it was known at this time, or at this position of the ledger: from what had been recorded "
    "by then. The same question gives the same answer for ever",
)
MOMENT_PARAMETERS: Final = (AS_OF, KNOWN_AT)

# recorded_at never goes back: a binary search by position needs no index of its own.
_POSITION_AT: Final = """
WITH RECURSIVE bisect (low, high) AS (
    SELECT 0::bigint, $3::bigint
    UNION ALL
    SELECT CASE WHEN e.recorded_at <= $2 THEN m.middle ELSE b.low END,
           CASE WHEN e.recorded_at <= $2 THEN b.high ELSE m.middle - 1 END
    FROM bisect b
    CROSS JOIN LATERAL (SELECT (b.low + b.high + 1) / 2 AS middle) m
    JOIN ledger.event e ON e.tenant_id = $1 AND e.position = m.middle
    WHERE b.low < b.high
)
SELECT low FROM bisect WHERE low = high
"""
_HEAD: Final = "SELECT position, recorded_at FROM ledger.head WHERE tenant_id = $1"


async def moment_of(read: Reading, values: Mapping[str, Any]) -> Moment | None:
    """Return the moment that a query's ``as_of`` and ``known_at`` ask for; None for the present.

    Without ``known_at`` it is all that the reading sees. Raise Problem (400) for a time or a
    position that is not there yet: the answer could still change.
    """
    as_of: datetime | None = values["as_of"]
    known_at: datetime | int | None = values["known_at"]
    if known_at is None:
        return None if as_of is None else Moment(read.position, as_of)
    if isinstance(known_at, int):
        if known_at > read.position:
            raise _not_there(
                f"position {known_at} is not there yet: this read sees up to {read.position}.",
                read.position,
            )
        return Moment(known_at, as_of)
    return Moment(await position_at(read, known_at), as_of)


async def position_at(read: Reading, time: datetime) -> int:
    """Return the position of the last event recorded by a time; raise Problem (400) too early."""
    row = await read.connection.fetchrow(_HEAD, read.tenant_id)
    assert row is not None, "a reading has a head"
    if time > max(row["recorded_at"], datetime.now(UTC) - timedelta(seconds=SETTLED_AFTER_S)):
        raise _not_there(
            f"{time.isoformat()} is later than {SETTLED_AFTER_S} seconds ago and than the last "
            "event, so more may still be recorded by then: give an earlier time, or the position "
            f"{read.position}.",
            read.position,
        )
    position = await read.connection.fetchval(_POSITION_AT, read.tenant_id, time, row["position"])
    if position > read.position:
        raise _not_there(
            f"what was recorded by {time.isoformat()} goes up to position {position}, and this "
            f"report is at {read.position} yet; try again.",
            read.position,
        )
    return int(position)


def moment_headers(moment: Moment | None) -> Headers:
    """Return the headers that tell which position an answer about the past was made from."""
    return [] if moment is None else [(b"ledger-known-position", b"%d" % moment.position)]


def _not_there(detail: str, position: int) -> Problem:
    return Problem("invalid_parameter", f"known_at: {detail}", field="known_at", position=position)
