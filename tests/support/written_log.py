"""A log written event by event, past the deciders, with the projections that go with it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ledger import merkle, store
from ledger.domain.decision import RecordedEvent
from ledger.mapper import encode_event
from projections.engine import Engine
from schemas.common import Event

START = datetime(2030, 5, 1, 12, tzinfo=UTC)
META = '{"actor":"user:1","source":"test","actor_name":"Jane Doe"}'
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Written = tuple[str, Event] | tuple[str, Event, datetime]


class Scribe:
    """Appends to one tenant's log as the committer does, one transaction a call.

    Its clock starts at ``START`` and goes on by a second a call.
    """

    def __init__(self, pool: store.Pool, engine: Engine, tenant_id: int) -> None:
        self.pool = pool
        self.engine = engine
        self.tenant_id = tenant_id
        self.now = START
        self._versions: dict[str, int] = {}

    async def write(self, *entries: Written) -> list[RecordedEvent]:
        """Append events, each with its stream and, where it is not now, its effective time."""
        self.now += timedelta(seconds=1)
        async with store.tenant_transaction(self.pool, self.tenant_id) as connection:
            return await self._append(connection, entries)

    async def _append(
        self, connection: store.Connection, entries: Sequence[Written]
    ) -> list[RecordedEvent]:
        head = await store.lock_head(connection, self.tenant_id)
        recorded: list[RecordedEvent] = []
        rows: list[store.EventRow] = []
        leaves: list[bytes] = []
        for nth, (stream, event, *effective) in enumerate(entries, start=1):
            version = self._versions[stream] = self._versions.get(stream, 0) + 1
            effective_at = effective[0] if effective else self.now
            data = encode_event(event)
            leaf = merkle.leaf_hash(
                self.tenant_id,
                head.position + nth,
                stream,
                version,
                event.TYPE,
                event.SCHEMA_VERSION,
                data,
                META.encode(),
                _microseconds(effective_at),
                _microseconds(self.now),
            )
            leaves.append(leaf)
            recorded.append(
                RecordedEvent(head.position + nth, stream, version, event, effective_at, self.now)
            )
            rows.append(
                store.EventRow(
                    head.position + nth,
                    stream,
                    version,
                    event.TYPE,
                    event.SCHEMA_VERSION,
                    data.decode(),
                    META,
                    effective_at,
                    self.now,
                    leaf,
                )
            )
        frontier = list(head.frontier)
        merkle.append(frontier, head.position, leaves)
        after = head._replace(
            position=head.position + len(rows),
            root=merkle.root(frontier),
            frontier=frontier,
            recorded_at=self.now,
        )
        assert await store.append(
            connection, self.tenant_id, expected=head, head=after, events=store.NewEvents.of(rows)
        )
        await self.engine.apply(connection, self.tenant_id, recorded)
        return recorded


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
