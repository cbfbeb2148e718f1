"""A synchronous bridge: the log as a genuine `ApplicationRecorder` of the library.

With ``PERSISTENCE_MODULE=ledger.bridge`` the library's `Application`, its notification log and
its projections read a tenant's log, stock events included (as `ledger.mapper.StreamEvent`),
and keep aggregates of their own in it. It is for programs that are not the service: the
service itself is asynchronous and has `ledger.recorder`.

Environment, each also with the application's name in front as the library has it:

``STOCKLEDGER_DATABASE_URL``
    The database, as ``postgresql://…``.
``STOCKLEDGER_TENANT_ID``
    The tenant, a whole number; 1 unless given.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from threading import Event, Lock, Thread
from typing import Any, Final, TypeVar
from uuid import UUID

from eventsourcing import persistence
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ListenNotifySubscription,
    Mapper,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    TrackingRecorder,
    Transcoder,
)

from ledger import store
from ledger.feed import POLL_INTERVAL_MAX_S
from ledger.mapper import StructMapper
from ledger.ports import InlineProjections
from ledger.recorder import Recorder, library_errors

T = TypeVar("T")

POOL_SIZE_MAX: Final = 8
CLOSE_TIMEOUT_S: Final = 10.0


class Bridge:
    """An event loop in a thread of its own, and a pool on it, for callers that have no loop.

    The thread starts with the first call and ends with `close`; it is a daemon, so a program
    that forgets to close still ends.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        tenant_id: int = 1,
        *,
        projections: InlineProjections | None = None,
    ) -> None:
        """Take asyncpg's connection parameters (``dsn`` or parts) and the tenant."""
        self.tenant_id = tenant_id
        self._connection = connection
        self._projections = projections
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._pool: store.Pool | None = None
        self._recorder: Recorder | None = None
        self._closed = False
        self._listeners: set[Event] = set()

    @property
    def pool(self) -> store.Pool:
        """The pool: get it in the caller's thread, use it in a coroutine that `run` is given."""
        self._start()
        assert self._pool is not None
        return self._pool

    @property
    def recorder(self) -> Recorder:
        """The asynchronous recorder: get and use it like `pool`."""
        self._start()
        assert self._recorder is not None
        return self._recorder

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result, from any other thread.

        Raises the library's OperationalError when the bridge is closed, before or meanwhile.
        """
        with self._lock:
            if self._closed:
                coroutine.close()
                raise _closed()
            future = self._submit(coroutine)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None

    def close(self) -> None:
        """Close the pool, stop the loop and join its thread. Closing twice does nothing."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
            if loop is None or thread is None:
                return
            asyncio.run_coroutine_threadsafe(_wind_up(self._pool), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join(CLOSE_TIMEOUT_S)
            loop.close()

    def listen(self, event: Event) -> None:
        """Set ``event`` after each append through this bridge."""
        with self._lock:
            self._listeners.add(event)

    def unlisten(self, event: Event) -> None:
        """Stop setting ``event``."""
        with self._lock:
            self._listeners.discard(event)

    def notify(self) -> None:
        """Set the events of all who listen."""
        with self._lock:
            for event in self._listeners:
                event.set()

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = Thread(target=self._loop.run_forever, name="ledger-bridge", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._recorder is not None:
                return
            opening = store.create_pool(self._connection, size_min=1, size_max=POOL_SIZE_MAX)
            with library_errors():
                self._pool = self._submit(opening).result()
            self._recorder = Recorder(self._pool, self.tenant_id, projections=self._projections)


def _closed() -> persistence.OperationalError:
    return persistence.OperationalError("the bridge to the ledger is closed")


async def _wind_up(pool: "store.Pool | None") -> None:
    """Let what runs come to its end, and cut off what does not in time."""
    if pool is not None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class BridgeAggregateRecorder(AggregateRecorder):
    """The log as streams only: `insert_events` tells no positions."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append all the events, or none; see `Recorder.insert_events`."""
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return a stream's events; see `Recorder.select_events`."""
        return self.bridge.run(
            self.bridge.recorder.select_events(
                originator_id, gt=gt, lte=lte, desc=desc, limit=limit
            )
        )

    def _insert(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        positions = self.bridge.run(self.bridge.recorder.insert_events(stored_events, **kwargs))
        self.bridge.notify()
        return positions


class BridgeApplicationRecorder(BridgeAggregateRecorder, ApplicationRecorder):
    """The whole log: streams, and the order over all of them."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append all the events, or none, and return their positions."""
        return self._insert(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return events in log order; see `Recorder.select_notifications`."""
        return self.bridge.run(
            self.bridge.recorder.select_notifications(
                start, limit, stop, topics, inclusive_of_start=inclusive_of_start
            )
        )

    def max_notification_id(self) -> int | None:
        """Return the position of the last event, None when there is none."""
        return self.bridge.run(self.bridge.recorder.max_notification_id())

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Follow the log, live: whoever writes it, in this process or another."""
        return BridgeSubscription(recorder=self, gt=gt, topics=topics)


class BridgeSubscription(ListenNotifySubscription["BridgeApplicationRecorder"]):
    """The library's own pulling subscription, told of appends and otherwise polling."""

    def __init__(
        self,
        recorder: BridgeApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        recorder.bridge.listen(self._has_been_notified)

    def stop(self) -> None:
        """End the iteration."""
        super().stop()
        self._recorder.bridge.unlisten(self._has_been_notified)

    def _loop_on_pull(self) -> None:
        """Pull as the library does, and also when another process may have appended."""
        try:
            while not self._has_been_stopped:
                self._pull()
                self._has_been_notified.wait(POLL_INTERVAL_MAX_S)
        except BaseException as error:
            self._thread_error = self._thread_error or error
            self.stop()


class BridgeSnapshotRecorder(AggregateRecorder):
    """The library's snapshots, in ``ledger.snapshot``: derived data, not part of the log.

    A row's ``stream`` is ``snapshot/<originator id>/<version>``, which no stream is called,
    and its state is the topic, a zero byte and the library's state.
    """

    STATE_VERSION: Final = 1

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Store all the snapshots, or none; raise IntegrityError for one that is there."""
        self.bridge.run(self._insert(self.bridge.pool, stored_events))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return an aggregate's snapshots."""
        return self.bridge.run(self._select(self.bridge.pool, originator_id, gt, lte, desc, limit))

    async def _insert(self, pool: store.Pool, snapshots: Sequence[StoredEvent]) -> None:
        query = """
            INSERT INTO ledger.snapshot (tenant_id, stream, version, state_version, state)
            VALUES ($1, $2, $3, $4, $5)
        """
        tenant_id = self.bridge.tenant_id
        with library_errors():
            async with store.tenant_transaction(pool, tenant_id) as connection:
                await connection.executemany(
                    query,
                    [
                        (
                            tenant_id,
                            f"{_snapshots_of(one.originator_id)}{one.originator_version}",
                            one.originator_version,
                            self.STATE_VERSION,
                            one.topic.encode() + b"\0" + one.state,
                        )
                        for one in snapshots
                    ],
                )

    async def _select(
        self,
        pool: store.Pool,
        originator_id: UUID | str,
        gt: int | None,
        lte: int | None,
        desc: bool,
        limit: int | None,
    ) -> list[StoredEvent]:
        query = f"""
            SELECT version, state FROM ledger.snapshot
            WHERE tenant_id = $1 AND stream >= $2 AND stream < $3 AND state_version = $4
              AND ($5::bigint IS NULL OR version > $5) AND ($6::bigint IS NULL OR version <= $6)
            ORDER BY version {"DESC" if desc else "ASC"}
            LIMIT $7::bigint
        """
        tenant_id = self.bridge.tenant_id
        first = _snapshots_of(originator_id)
        # All names that begin so come before this one, since "0" follows "/" in ASCII.
        behind = f"{first[:-1]}0"
        with library_errors():
            async with store.tenant_transaction(pool, tenant_id) as connection:
                rows = await connection.fetch(
                    query, tenant_id, first, behind, self.STATE_VERSION, gt, lte, limit
                )
        found: list[StoredEvent] = []
        for version, stored in rows:
            topic, _, state = stored.partition(b"\0")
            found.append(StoredEvent(originator_id, version, topic.decode(), state))
        return found


def _snapshots_of(originator_id: UUID | str) -> str:
    return f"snapshot/{originator_id}/"


class BridgeFactory(InfrastructureFactory[TrackingRecorder]):
    """What ``PERSISTENCE_MODULE=ledger.bridge`` stands for. `close` ends its bridge."""

    DATABASE_URL: Final = "STOCKLEDGER_DATABASE_URL"
    TENANT_ID: Final = "STOCKLEDGER_TENANT_ID"

    def __init__(self, env: Any = None) -> None:
        """Read the settings; raise the library's InfrastructureFactoryError for a wrong one."""
        super().__init__(env)
        database_url = self.env.get(self.DATABASE_URL)
        if not database_url:
            raise persistence.InfrastructureFactoryError(
                f"{self.DATABASE_URL} is not set; it should be like postgresql://host/database"
            )
        tenant = self.env.get(self.TENANT_ID, "1")
        if not tenant.isdecimal() or int(tenant) < 1:
            raise persistence.InfrastructureFactoryError(
                f"{self.TENANT_ID} is {tenant!r}; it should be a whole number from 1 on"
            )
        self.bridge = Bridge({"dsn": database_url}, int(tenant))

    def close(self) -> None:
        """End the bridge."""
        self.bridge.close()

    def mapper(
        self,
        transcoder: Transcoder | None = None,
        mapper_class: type[Mapper[Any]] | None = None,
    ) -> Mapper[Any]:
        """Construct a mapper: `StructMapper` unless ``MAPPER_TOPIC`` or an argument says else."""
        if mapper_class is None and not self.env.get(self.MAPPER_TOPIC):
            mapper_class = StructMapper
        return super().mapper(transcoder, mapper_class)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Construct a recorder of streams, or of ``purpose`` snapshots."""
        if purpose == "snapshots":
            return BridgeSnapshotRecorder(self.bridge)
        return BridgeAggregateRecorder(self.bridge)

    def application_recorder(self) -> ApplicationRecorder:
        """Construct a recorder of the whole log."""
        return BridgeApplicationRecorder(self.bridge)

    def tracking_recorder(
        self, tracking_recorder_class: type[TrackingRecorder] | None = None
    ) -> TrackingRecorder:
        """Raise NotSupportedError: a view's position belongs where its rows are."""
        raise persistence.NotSupportedError(
            "the ledger stores no tracking records; give the view a persistence module of its "
            "own, such as <VIEW>_PERSISTENCE_MODULE=eventsourcing.sqlite"
        )

    def process_recorder(self) -> ProcessRecorder:
        """Raise NotSupportedError, as `tracking_recorder` does."""
        raise persistence.NotSupportedError(
            "the ledger stores no tracking records, so no process application can write to it; "
            "use an Application and a projection with a view of its own"
        )
