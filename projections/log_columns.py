"""The log in columns: what folds of whole histories read, a fifth of the time an event takes.

PostgreSQL joins a batch's values by column, and by type of event; so there is no Python object for
an event's place and times, and its type's events are decoded in one go.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ledger.domain.decision import RecordedEvent
from ledger.mapper import EVENT_TYPES, decode_events
from projections.log_reading import BATCH_BYTES_MAX, decode_rows
from projections.projection import Connection
from schemas.common import Event

Ints = npt.NDArray[np.int64]

_NEXT: Final = """
SELECT {columns} FROM ledger.event
WHERE tenant_id = $1 AND position > $2 AND position <= $3
ORDER BY position LIMIT $4
"""
_SIZE: Final = f"SELECT sum(bytes) FROM ({_NEXT}) AS next".replace(
    "{columns}", "pg_column_size(data) AS bytes"
)
# The first one is taken whatever its size.
_BOUNDED: Final = f"""
SELECT * FROM ({_NEXT}) AS next WHERE bytes <= {BATCH_BYTES_MAX} OR position = $2 + 1
""".replace(
    "{columns}",
    "*, sum(pg_column_size(data)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) AS bytes",
)
_READ: Final = """
SELECT type, schema_version, count(*),
       string_agg(int8send(position), ''::bytea), string_agg(int8send(version), ''),
       string_agg(timestamptz_send(effective_at), ''),
       string_agg(timestamptz_send(recorded_at), ''),
       string_agg(data::text, ',') FILTER (WHERE type = ANY ($5::text[]))
FROM ({batch}) AS batch
GROUP BY type, schema_version
"""
_READ_ALL: Final = _READ.replace("{batch}", _NEXT.replace("{columns}", "*"))
_READ_BOUNDED: Final = _READ.replace("{batch}", _BOUNDED)
_READ_TYPES: Final = """
SELECT position, stream, version, type, schema_version, data::text, effective_at, recorded_at
FROM ledger.event
WHERE tenant_id = $1 AND position > $2 AND position <= $3 AND type = ANY ($4::text[])
"""


EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Column(NamedTuple):
    """Events of one type, in no order, each with its place and times at the same index.

    Times are microseconds since 2000-01-01 UTC, as PostgreSQL has them.
    """

    kind: type[Event]
    events: Sequence[Any]
    positions: Ints
    versions: Ints
    effective: Ints
    recorded: Ints


class Stretch(NamedTuple):
    """A stretch of the log: its last position, and the events in it that are folded."""

    last: int
    columns: Sequence[Column]

    def of(self, kinds: Collection[type[Event]]) -> list[Column]:
        """Return the columns of some types."""
        return [column for column in self.columns if column.kind in kinds]

    def in_order(
        self, kinds: Collection[type[Event]], rows: Callable[[Column], Ints | None]
    ) -> list[RecordedEvent]:
        """Return the events of some types by position, one by one: of each column some rows.

        ``rows`` says which, by their indices, or None for all. Streams are left empty.
        """
        found: list[RecordedEvent] = []
        for column in self.of(kinds):
            events, placed = column.events, column[2:]
            chosen = rows(column)
            if chosen is not None:
                events = [events[index] for index in chosen.tolist()]
                placed = [values[chosen] for values in placed]
            positions, versions, effective, recorded = (values.tolist() for values in placed)
            for position, version, event, then, at in zip(
                positions, versions, events, effective, recorded, strict=True
            ):
                recorded_at = instant(at)
                effective_at = recorded_at if then == at else instant(then)
                found.append(RecordedEvent(position, "", version, event, effective_at, recorded_at))
        # One position has one event.
        found.sort(key=attrgetter("position"))
        return found


async def read_columns(
    connection: Connection,
    tenant_id: int,
    after: int,
    up_to: int,
    types: Collection[str],
    limit: int,
) -> Stretch | None:
    """Return the next ``limit`` events behind ``after``, none above ``up_to``; None at the end.

    Bounds and errors are those of `projections.log_reading.read_events`.
    """
    place = tenant_id, after, up_to, limit
    # To bound each batch takes longer than to see that it need not be, as nearly always.
    size = await connection.fetchval(_SIZE, *place) or 0
    read = _READ_ALL if size <= BATCH_BYTES_MAX else _READ_BOUNDED
    rows = await connection.fetch(read, *place, list(types))
    if not rows:
        return None
    columns: list[Column] = []
    last = after
    for type_name, schema_version, count, positions, *others, data in rows:
        placed = _ints(positions)
        last = max(last, int(placed.max()))
        if type_name not in types:
            continue
        events = decode_events(type_name, schema_version, data)
        assert len(events) == count, "each row holds one JSON value"
        columns.append(Column(EVENT_TYPES[type_name], events, placed, *map(_ints, others)))
    unknown = [row[0] for row in rows if row[0] not in EVENT_TYPES]
    if unknown:
        # Raises for one that may be of importance.
        decode_rows(await connection.fetch(_READ_TYPES, tenant_id, after, last, unknown), ())
    return Stretch(last, columns)


def _ints(sent: bytes) -> Ints:
    """Return numbers as PostgreSQL sends them, one after the other."""
    return np.frombuffer(sent, ">i8").astype(np.int64)


def instant(time: int) -> datetime:
    """Return microseconds since 2000 as a time."""
    return EPOCH + timedelta(microseconds=int(time))


def microseconds(at: datetime) -> int:
    """Return a time in microseconds since 2000."""
    return (at - EPOCH) // _MICROSECOND
