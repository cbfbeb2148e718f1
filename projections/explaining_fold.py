"""The fold behind an explanation: up to a point in one go, and then event by event."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from ledger.mapper import decode_event
from ledger.store import EventRow
from projections.figures import Figure, Row, row_of
from projections.log_reading import folded_types, of_types
from projections.past import HAPPENINGS, PAST, Moment, elsewhere, fold_batch, read_past, time_of
from projections.projection import Connection
from projections.reach import Reach, Span

SCANNED_MAX: Final = 5_000
SCANNED_BYTES_MAX: Final = 2 * 1024 * 1024
"""How many events, and bytes of them as stored, are looked through for the steps of a page."""

Progress = Callable[[int, int], None]
"""Called with how many events are folded, and of how many in all."""
_KEPT: Final = "explained_before"


class TooManyEvents(Exception):
    """More events would have to be folded than a request may ask for."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"more than {most:,} events can have made this; give more of the key or an earlier "
            f"known_at, or ask `stockledger explain`, which has no such bound"
        )


class Step(NamedTuple):
    """An event that changed a figure, and the figure before and after it; None: no such row."""

    event: EventRow
    before: Row | None
    after: Row | None


class Explanation(NamedTuple):
    """Steps, newest first, with the figure before the oldest and after the newest of them.

    ``before`` leads to what is older, as the bound of its positions; None where there is nothing.
    """

    steps: Sequence[Step]
    brought_forward: Row | None
    figure: Row | None
    before: int | None


class RowChange(NamedTuple):
    """A row that is not the same at two moments: None stands for where there is none."""

    key: Row
    before: Row | None
    after: Row | None


class Changes(NamedTuple):
    """The difference between two moments: how many rows, and a page of them in order of key."""

    added: int
    removed: int
    changed: int
    rows: Sequence[RowChange]

    @property
    def total(self) -> int:
        """How many rows are not the same."""
        return self.added + self.removed + self.changed


class FigureFold:
    """One projection's tables in the temporary schema, on their way through the log."""

    def __init__(
        self,
        connection: Connection,
        tenant_id: int,
        figure: Figure,
        reach: Reach,
        moment: Moment,
        progress: Progress | None,
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._model = figure.model
        self._projection = figure.model.projection
        self._is_row = figure.is_row
        self._reach = reach
        self._as_of = moment.as_of
        self._end = moment.position
        self._types = folded_types([self._projection])
        self._progress = progress
        self._position = 0
        self._folded = 0
        self._count = 0
        self._wanted = figure.wanted
        self._moment = moment
        self._then: Connection | None = None
        self._where, self._values = _conditions(figure, tenant_id)

    def begin_again(self) -> None:
        """Be at the log's beginning once more; the tables are empty again."""
        self._position = self._folded = 0

    async def count(self, most: int | None) -> None:
        """Find how many events are to be folded; raise TooManyEvents beyond a bound."""
        if most is None and self._progress is None:
            return
        limit = 2**62 if most is None else most + 1
        self._count = await self._connection.fetchval(_COUNT, *self._selection(0, self._end), limit)
        if most is not None and self._count > most:
            raise TooManyEvents(most)

    def _selection(self, after: int, up_to: int) -> list[Any]:
        return [
            self._tenant_id,
            after,
            up_to,
            self._as_of,
            sorted(HAPPENINGS),
            sorted(self._types),
            *self._reach.streams.bounds,
        ]

    async def to(self, position: int) -> None:
        """Fold on up to a position, in one go."""
        moment = Moment(position, self._as_of)
        async for batch in read_past(
            self._connection,
            self._tenant_id,
            moment,
            self._types,
            self._reach.streams,
            after=self._position,
        ):
            await fold_batch(self._connection, PAST, self._tenant_id, [self._projection], batch)
            self._tell(len(batch.events))
        self._position = max(self._position, position)

    def _tell(self, events: int) -> None:
        self._folded += events
        if self._progress is not None:
            self._progress(min(self._folded, self._count), self._count)

    async def step(self, after: int, up_to: int, limit: int, walk: int) -> Explanation:
        """Fold on to ``up_to``; return the steps to it from ``after`` on, at most ``limit``.

        At most ``walk`` events are gone through one at a time, the newest.
        """
        rows = await self._connection.fetch(
            _NEWEST, *self._selection(after, up_to), SCANNED_MAX + 1
        )
        is_more = bool(rows) and len(rows) < rows[0]["counted"]
        events = [_decoded(row) for row in rows]
        touching = [event.position for event in events if self._reach.touches(event)]
        chosen = set(touching[:walk])
        is_more |= len(touching) > walk
        boundary = after
        if is_more:
            boundary = (min(chosen) if len(touching) > walk else events[-1].position) - 1
        await self.to(boundary)
        brought_forward = figure = await self.figure()
        steps: list[tuple[int, Row | None, Row | None]] = []
        waiting: list[RecordedEvent] = []
        for event in reversed(events):
            if event.position <= boundary:
                continue
            # What touches nothing of this is folded with the next that may: the change is its own.
            waiting.append(event)
            if event.position in chosen:
                await self._apply(waiting)
                waiting = []
                before, figure = figure, await self.figure()
                if before != figure:
                    steps.append((event.position, before, figure))
        await self._apply(waiting)
        self._position = max(self._position, up_to)
        older = boundary + 1 if is_more else None
        if len(steps) > limit:
            steps = steps[-limit:]
            older, brought_forward, _ = steps[0]
        told = await self._events([position for position, _, _ in steps])
        return Explanation(
            [Step(told[position], *values) for position, *values in reversed(steps)],
            brought_forward,
            figure,
            older,
        )

    async def _apply(self, events: list[RecordedEvent]) -> None:
        mine = of_types(events, self._projection.event_types)
        if mine:
            await self._projection.apply(self._connection, PAST, self._tenant_id, mine)
        self._tell(len(events))

    async def _events(self, positions: Sequence[int]) -> dict[int, EventRow]:
        rows = await self._connection.fetch(_EVENTS, self._tenant_id, positions)
        return {row[0]: EventRow(*row) for row in rows}

    async def _elsewhere(self) -> Connection:
        """Return a connection whose queries read these tables, for what is worked out."""
        if self._then is None:
            now = await time_of(self._connection, self._tenant_id, self._moment)
            self._then = await elsewhere(self._connection, PAST, now)
        return self._then

    async def figure(self) -> Row | None:
        """Return the figure as it is now: a row or None, or sums with the number of rows."""
        model = self._model
        if model.compute is not None:
            return await model.compute(await self._elsewhere(), self._tenant_id, self._wanted)
        if self._is_row:
            columns = ", ".join(model.columns)
        else:
            sums = [f"coalesce(sum({name}), 0) AS {name}" for name in model.summed]
            columns = ", ".join(["count(*) AS rows", *sums])
        found = await self._connection.fetchrow(
            f"SELECT {columns} FROM {PAST}.{model.table} t WHERE {self._where}", *self._values
        )
        return None if found is None else row_of(model, found)

    async def rows(self) -> list[Row]:
        """Return the rows that the figure is made of."""
        model = self._model
        found = await self._connection.fetch(
            f"""
            SELECT {", ".join(model.columns)} FROM {PAST}.{model.table} t WHERE {self._where}
            ORDER BY {", ".join(model.key) or "tenant_id"}
            """,
            *self._values,
        )
        return [row_of(model, row) for row in found]

    async def keep(self) -> None:
        """Keep the rows as they are now, for `changes` to compare with."""
        if self._model.compute is not None:
            return
        # A statement that makes a table takes no parameters.
        table = f"{PAST}.{self._model.table}"
        await self._connection.execute(
            f"CREATE TEMPORARY TABLE {_KEPT} AS SELECT * FROM {table} WITH NO DATA"
        )
        await self._connection.execute(
            f"INSERT INTO {PAST}.{_KEPT} SELECT * FROM {table} t WHERE {self._where}",
            *self._values,
        )

    async def changes(self, page: int, limit: int) -> Changes:
        """Return how the rows differ from those kept, and a page of those that do."""
        model = self._model
        if model.compute is not None:
            return Changes(0, 0, 0, ())
        joined = f"""
            FROM {PAST}.{_KEPT} b
            FULL JOIN (SELECT * FROM {PAST}.{model.table} t WHERE {self._where}) a
                USING ({", ".join(("tenant_id", *model.key))})
            WHERE to_jsonb(b) IS DISTINCT FROM to_jsonb(a)
        """
        counts = await self._connection.fetchrow(
            f"""
            SELECT count(*) FILTER (WHERE b IS NULL) AS added,
                   count(*) FILTER (WHERE a IS NULL) AS removed,
                   count(*) FILTER (WHERE b IS NOT NULL AND a IS NOT NULL) AS changed
            FROM (SELECT to_jsonb(b) AS b, to_jsonb(a) AS a {joined}) d
            """,
            *self._values,
        )
        assert counts is not None, "an aggregate without GROUP BY always has a row"
        columns = list(model.columns)
        sides = [f"{side}.{name} AS {side}_{name}" for side in "ba" for name in columns]
        keys = ", ".join(model.key) or "tenant_id"
        offset = (page - 1) * limit
        rows = await self._connection.fetch(
            f"""
            SELECT b.tenant_id IS NOT NULL AS was_there, a.tenant_id IS NOT NULL AS is_there,
                   {", ".join([*model.key, *sides])}
            {joined} ORDER BY {keys} LIMIT {int(limit)} OFFSET {int(offset)}
            """,
            *self._values,
        )
        return Changes(
            counts["added"],
            counts["removed"],
            counts["changed"],
            [
                RowChange(
                    {name: row[name] for name in model.key},
                    row_of(model, row, "b_") if row["was_there"] else None,
                    row_of(model, row, "a_") if row["is_there"] else None,
                )
                for row in rows
            ],
        )


def _conditions(figure: Figure, tenant_id: int) -> tuple[str, list[Any]]:
    """Return the condition that picks the wanted rows, and its values."""
    conditions = ["t.tenant_id = $1"]
    values: list[Any] = [tenant_id]
    for name, value in figure.wanted.items():
        bounds: list[tuple[str, Any]] = [("=", value)]
        if isinstance(value, Span):
            ends: list[tuple[str, date | None]] = [(">=", value.first), ("<=", value.last)]
            bounds = [end for end in ends if end[1] is not None]
        for operator, bound in bounds:
            values.append(bound)
            conditions.append(f"t.{name} {operator} ${len(values)}")
    return " AND ".join(conditions), values


def _decoded(row: Record) -> RecordedEvent:
    return RecordedEvent(
        row["position"],
        row["stream"],
        row["version"],
        decode_event(row["type"], row["schema_version"], row["data"]),
        row["effective_at"],
        row["recorded_at"],
    )


# Of each event only what is small: an event may be of many kilobytes. Found by stream, and by
# nothing else: OFFSET 0 holds the planner to that, whatever it takes the log to look like.
_WANTED: Final = """
    SELECT e.position, e.type, e.effective_at, e.size
    FROM unnest($7::text[]) AS n (stream)
    CROSS JOIN LATERAL (
        SELECT position, type, effective_at, pg_column_size(data) AS size FROM ledger.event
        WHERE tenant_id = $1 AND stream = n.stream OFFSET 0
    ) e
    UNION ALL
    SELECT e.position, e.type, e.effective_at, e.size
    FROM unnest($8::text[], $9::text[]) AS p (first, behind)
    CROSS JOIN LATERAL (
        SELECT position, type, effective_at, pg_column_size(data) AS size FROM ledger.event
        WHERE tenant_id = $1 AND stream >= p.first AND stream < p.behind OFFSET 0
    ) e
"""
_PASSING: Final = """
    w.position > $2 AND w.position <= $3 AND w.type = ANY ($6::text[])
    AND ($4::timestamptz IS NULL OR w.effective_at <= $4 OR w.type <> ALL ($5::text[]))
"""
_COUNT: Final = f"""
SELECT count(*) FROM (SELECT FROM ({_WANTED}) w WHERE {_PASSING} LIMIT $10) AS counted
"""
# The first is taken whatever its size.
_NEWEST: Final = f"""
WITH newest AS (
    SELECT w.position, w.size FROM ({_WANTED}) w WHERE {_PASSING}
    ORDER BY w.position DESC LIMIT $10
), sized AS (
    SELECT position, row_number() OVER newer AS nth, sum(size) OVER newer AS bytes
    FROM newest WINDOW newer AS (ORDER BY position DESC ROWS UNBOUNDED PRECEDING)
)
SELECT e.position, e.stream, e.version, e.type, e.schema_version, e.data::text AS data,
       e.effective_at, e.recorded_at, (SELECT count(*) FROM newest) AS counted
FROM sized s JOIN ledger.event e ON e.tenant_id = $1 AND e.position = s.position
WHERE s.nth <= {SCANNED_MAX} AND (s.nth = 1 OR s.bytes <= {SCANNED_BYTES_MAX})
ORDER BY e.position DESC
"""
_EVENTS: Final = """
SELECT position, stream, version, type, schema_version, data::text, meta::text, effective_at,
       recorded_at, leaf_hash
FROM ledger.event WHERE tenant_id = $1 AND position = ANY ($2::bigint[])
"""
