"""The `eventsourcing` library's recorder, as ``async`` on asyncpg: its vocabulary, our log.

`Recorder` has the signatures of the library's `ApplicationRecorder`. It appends through the
tenant's head like the committer does, so what it writes has gapless positions and is in the
Merkle tree.

Two kinds of events pass through it:

- **Ours**, in streams of our categories. Their state is their ``data``, their topic their type
  (`ledger.mapper.topic_of`), their version the library's. Appending them needs the inline
  projections, since read models must equal the log.
- **The library's own**, in any other stream. Their topic is their type. Their state may be any
  bytes: JSON is kept as it is, and anything else as ``{"state": "<base64>"}``; ``meta`` says
  which. The library counts versions from 0 and we from 1, so one is added.
"""

import base64
import binascii
import struct
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg
import msgspec
from eventsourcing import persistence
from eventsourcing.persistence import Notification, StoredEvent

from ledger import merkle, store
from ledger.domain.decision import RecordedEvent
from ledger.errors import Superseded
from ledger.feed import Feed, RawEvent
from ledger.mapper import EVENT_TYPES, decode_event, is_ours, split_topic, topic_of
from ledger.ports import InlineProjections, Meta
from ledger.session import CONNECTION_LOST

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class LibraryMeta(Meta, frozen=True, kw_only=True, omit_defaults=True):
    """The ``meta`` of an event that the library wrote in a stream of its own.

    ``encoding`` says how ``data`` holds the state; ``originator`` which type its id has.
    """

    encoding: Literal["json", "base64"]
    originator: Literal["uuid", "text"]


class Recorder:
    """One tenant's log, in the library's words.

    ``projections`` are the read models to keep with it; without them events of ours can be
    read and not appended. ``feed`` is the one whose followers to wake after a commit.
    """

    def __init__(
        self,
        pool: store.Pool,
        tenant_id: int,
        *,
        projections: InlineProjections | None = None,
        feed: Feed | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pool = pool
        self._tenant_id = tenant_id
        self._projections = projections
        self._feed = feed or Feed(pool)
        self._now = now

    async def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        """Append all the events, or none; return their positions.

        Raises the library's IntegrityError when a stream has such a version already, or one
        of ours would leave a gap; ProgrammingError for an event in a stream of the other kind,
        or one of ours without projections; NotSupportedError for ``tracking``, which has no
        place in the log.
        """
        if kwargs.get("tracking") is not None:
            raise persistence.NotSupportedError(
                "the ledger stores no tracking records; keep them with the view they belong to"
            )
        if not stored_events:
            return []
        with library_errors():
            async with store.tenant_transaction(self._pool, self._tenant_id) as connection:
                rows = await self._append(connection, stored_events)
        self._feed.wake(self._tenant_id, rows[-1].position)
        return [row.position for row in rows]

    async def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """Return a stream's events with versions above ``gt`` and up to ``lte``."""
        stream = str(originator_id)
        shift = 0 if is_ours(stream) else 1
        query = f"""
            SELECT position, stream, version, type, schema_version, data::text, meta::text,
                   effective_at, recorded_at, leaf_hash
            FROM ledger.event
            WHERE tenant_id = $1 AND stream = $2
              AND version > coalesce($3::bigint, 0)
              AND version <= coalesce($4::bigint, 9223372036854775807)
            ORDER BY version {"DESC" if desc else "ASC"}
            LIMIT $5::bigint
        """
        first = None if gt is None else gt + shift
        last = None if lte is None else lte + shift
        with library_errors():
            async with store.tenant_transaction(self._pool, self._tenant_id) as connection:
                rows = await connection.fetch(query, self._tenant_id, stream, first, last, limit)
        return [_stored_event(RawEvent(*row)) for row in rows]

    async def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> list[Notification]:
        """Return events in log order from position ``start`` to ``stop``, at most ``limit``.

        A topic of ours stands for the type whatever its schema version.
        """
        query = """
            SELECT position, stream, version, type, schema_version, data::text, meta::text,
                   effective_at, recorded_at, leaf_hash
            FROM ledger.event
            WHERE tenant_id = $1 AND position >= $2
              AND position <= coalesce($3::bigint, 9223372036854775807)
              AND ($4::text[] IS NULL OR type = ANY ($4::text[]))
            ORDER BY position
            LIMIT $5::bigint
        """
        first = 1 if start is None else start + (0 if inclusive_of_start else 1)
        types = [split_topic(topic)[0] for topic in topics] or None
        with library_errors():
            async with store.tenant_transaction(self._pool, self._tenant_id) as connection:
                rows = await connection.fetch(query, self._tenant_id, first, stop, types, limit)
        return [_notification(RawEvent(*row)) for row in rows]

    async def max_notification_id(self) -> int | None:
        """Return the position of the last event, None when there is none."""
        with library_errors():
            return await self._feed.head_position(self._tenant_id) or None

    async def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> AsyncGenerator[Notification, None]:
        """Yield the events after position ``gt`` in order, then newly recorded ones, live."""
        types = [split_topic(topic)[0] for topic in topics] or None
        with library_errors():
            async for batch in self._feed.follow(self._tenant_id, gt or 0, types=types):
                for event in batch:
                    yield _notification(event)

    async def _append(
        self, connection: store.Connection, stored_events: Sequence[StoredEvent]
    ) -> list[RawEvent]:
        """Append under the head's lock, which is taken first: so versions hold still."""
        head = await store.lock_head(connection, self._tenant_id)
        recorded_at = head.clock(self._now())
        rows = [
            self._row(event, head.position + nth, recorded_at)
            for nth, event in enumerate(stored_events, 1)
        ]
        ours = [row for row in rows if is_ours(row.stream)]
        if ours and self._projections is None:
            raise persistence.ProgrammingError(
                f"{ours[0].type} changes read models, and this recorder was given none to keep"
            )
        if self._projections is not None and head.models != self._projections.models:
            raise persistence.OperationalError(str(Superseded()))
        await self._require_next_versions(connection, ours)
        frontier = list(head.frontier)
        merkle.append(frontier, head.position, [row.leaf_hash for row in rows])
        new_head = head._replace(
            position=rows[-1].position,
            root=merkle.root(frontier),
            frontier=frontier,
            recorded_at=recorded_at,
        )
        appended = await store.append(
            connection,
            self._tenant_id,
            expected=head,
            head=new_head,
            events=store.NewEvents.of(rows),
        )
        assert appended, "the head moved while it was locked"
        if self._projections is not None and ours:
            await self._projections.apply(
                connection, self._tenant_id, [_recorded_event(row) for row in ours]
            )
        return rows

    async def _require_next_versions(
        self, connection: store.Connection, rows: Sequence[RawEvent]
    ) -> None:
        """Raise IntegrityError unless each event of ours is the next one of its stream."""
        if not rows:
            return
        query = """
            SELECT stream, max(version) AS version FROM ledger.event
            WHERE tenant_id = $1 AND stream = ANY ($2::text[]) GROUP BY stream
        """
        streams = [row.stream for row in rows]
        found = await connection.fetch(query, self._tenant_id, streams)
        last: dict[str, int] = {row["stream"]: row["version"] for row in found}
        for row in rows:
            expected = last.get(row.stream, 0) + 1
            if row.version != expected:
                raise persistence.IntegrityError(
                    f"{row.stream} is at version {expected - 1}, so {row.version} cannot follow"
                )
            last[row.stream] = expected

    def _row(self, event: StoredEvent, position: int, recorded_at: datetime) -> RawEvent:
        stream = str(event.originator_id)
        type_name, schema_version = split_topic(event.topic)
        if is_ours(stream) is not (type_name in EVENT_TYPES):
            raise persistence.ProgrammingError(
                f"an event {type_name} has no place in the stream {stream}"
            )
        version, meta = event.originator_version, _OUR_META
        if type_name in EVENT_TYPES:
            data = event.state.decode()
            decode_event(type_name, schema_version, data)
        else:
            version += 1
            data, meta = _library_data(event)
        meta_bytes = msgspec.json.encode(meta)
        time_us = (recorded_at - _EPOCH) // _MICROSECOND
        leaf = merkle.leaf_hash(
            self._tenant_id,
            position,
            stream,
            version,
            type_name,
            schema_version,
            data.encode(),
            meta_bytes,
            time_us,
            time_us,
        )
        return RawEvent(
            position,
            stream,
            version,
            type_name,
            schema_version,
            data,
            meta_bytes.decode(),
            recorded_at,
            recorded_at,
            leaf,
        )


@contextmanager
def library_errors() -> Generator[None, None, None]:
    """Raise what asyncpg raises as the library's exceptions; others pass as they are."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise persistence.IntegrityError(str(error)) from error
    except (asyncpg.DataError, UnicodeError, struct.error) as error:
        raise persistence.DataError(str(error)) from error
    except CONNECTION_LOST as error:
        raise persistence.OperationalError(str(error)) from error
    except asyncpg.PostgresError as error:
        raise persistence.DatabaseError(str(error)) from error


_OUR_META = Meta(actor="system:recorder", source="eventsourcing")
_decode_meta = msgspec.json.Decoder(LibraryMeta).decode
_decode_state = msgspec.json.Decoder(dict[str, str]).decode


def _library_data(event: StoredEvent) -> tuple[str, LibraryMeta]:
    """Return how a state of any bytes is stored as JSON, and the meta that says so."""
    encoding: Literal["json", "base64"] = "json"
    try:
        # Only what msgspec reads strictly is taken for JSON: it refuses what PostgreSQL does.
        msgspec.json.decode(event.state)
        data = event.state.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        encoding = "base64"
        data = f'{{"state":"{base64.b64encode(event.state).decode()}"}}'
    return data, LibraryMeta(
        actor="system:eventsourcing",
        source="eventsourcing",
        encoding=encoding,
        originator="uuid" if isinstance(event.originator_id, UUID) else "text",
    )


def _library_fields(row: RawEvent) -> tuple[UUID | str, int, str, bytes]:
    """Return originator id, originator version, topic and state of a stored event."""
    if is_ours(row.stream):
        topic = topic_of(row.type, row.schema_version)
        return row.stream, row.version, topic, row.data.encode()
    try:
        meta = _decode_meta(row.meta)
        state = row.data.encode()
        if meta.encoding == "base64":
            state = base64.b64decode(_decode_state(row.data)["state"], validate=True)
        originator_id = UUID(row.stream) if meta.originator == "uuid" else row.stream
    except (msgspec.DecodeError, KeyError, binascii.Error, ValueError) as error:
        raise persistence.DataError(f"position {row.position} is unreadable: {error}") from error
    return originator_id, row.version - 1, row.type, state


def _stored_event(row: RawEvent) -> StoredEvent:
    return StoredEvent(*_library_fields(row))


def _notification(row: RawEvent) -> Notification:
    return Notification(*_library_fields(row), id=row.position)


def _recorded_event(row: RawEvent) -> RecordedEvent:
    event = decode_event(row.type, row.schema_version, row.data)
    return RecordedEvent(
        row.position, row.stream, row.version, event, row.effective_at, row.recorded_at
    )
