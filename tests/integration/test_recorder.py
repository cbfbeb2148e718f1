"""The asynchronous recorder: what it adds to the library's cases, which run on the bridge."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    JSONTranscoder,
    NotSupportedError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)

from ledger import merkle, store
from ledger.feed import Feed, RawEvent
from ledger.mapper import StreamEvent, StructMapper
from ledger.recorder import Recorder
from projections.engine import Engine
from schemas.common import Event
from schemas.product import ProductRegistered
from schemas.stock import StockIssued, StockReceived

MAPPER = StructMapper(JSONTranscoder())
REGISTERED = ProductRegistered(product_id=1, name="Jar", sku="JAR", base_price=Decimal(2))
RECEIVED = StockReceived(product_id=1, location_id=1, quantity=Decimal(5))
ISSUED = StockIssued(product_id=1, location_id=1, quantity=Decimal(2))


def stored(stream: str, version: int, event: Event) -> StoredEvent:
    """Return an event of ours as the library stores it."""
    return MAPPER.to_stored_event(StreamEvent(stream, version, event))


def leaf_of(tenant_id: int, event: RawEvent) -> bytes:
    """Recompute a leaf from what is stored, as an auditor does."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    microsecond = timedelta(microseconds=1)
    return merkle.leaf_hash(
        tenant_id,
        event.position,
        event.stream,
        event.version,
        event.type,
        event.schema_version,
        event.data.encode(),
        event.meta.encode(),
        (event.effective_at - epoch) // microsecond,
        (event.recorded_at - epoch) // microsecond,
    )


@pytest.fixture
def recorder(pool: store.Pool, tenant_id: int) -> Recorder:
    """A recorder that keeps the read models with the log."""
    return Recorder(pool, tenant_id, projections=Engine())


async def test_events_of_ours_are_stored_as_the_service_stores_them(
    recorder: Recorder, pool: store.Pool, tenant_id: int
) -> None:
    """Type, version, plain data: nothing tells that the library wrote them but ``meta``."""
    await recorder.insert_events(
        [
            stored("product-1", 1, REGISTERED),
            stored("stock-1-1", 1, RECEIVED),
            stored("stock-1-1", 2, ISSUED),
        ]
    )

    events = await Feed(pool).read(tenant_id)
    assert [event[:5] for event in events] == [
        (1, "product-1", 1, "ProductRegistered", 2),
        (2, "stock-1-1", 1, "StockReceived", 2),
        (3, "stock-1-1", 2, "StockIssued", 2),
    ]
    assert events[2].data == '{"product_id":1,"location_id":1,"quantity":"2"}'
    assert events[2].meta == '{"actor":"system:recorder","source":"eventsourcing"}'


async def test_what_it_appends_is_in_the_tree(
    recorder: Recorder, pool: store.Pool, tenant_id: int
) -> None:
    """Over several commits, of our events and the library's."""
    await recorder.insert_events([stored("stock-1-1", 1, RECEIVED)])
    await recorder.insert_events([StoredEvent(uuid4(), 0, "zoo:Born", b"\x00\xff")])
    await recorder.insert_events([stored("stock-1-1", 2, ISSUED)])

    events = await Feed(pool).read(tenant_id)
    async with store.tenant_transaction(pool, tenant_id) as connection:
        head = await store.read_head(connection, tenant_id)
    leaves = [leaf_of(tenant_id, event) for event in events]
    frontier: list[bytes] = []
    merkle.append(frontier, 0, leaves)
    assert leaves == [event.leaf_hash for event in events]
    assert (head.position, head.root, head.frontier) == (3, merkle.root(frontier), frontier)


async def test_the_read_models_are_written_with_the_log(
    recorder: Recorder, pool: store.Pool, tenant_id: int
) -> None:
    """In the same transaction, by the projections that the service has (I4)."""
    await recorder.insert_events([stored("stock-1-1", 1, RECEIVED), stored("stock-1-1", 2, ISSUED)])

    async with store.tenant_transaction(pool, tenant_id) as connection:
        level = await connection.fetchval(
            "SELECT unrestricted FROM projections.stock_level WHERE tenant_id = $1", tenant_id
        )
    assert level == 3


async def test_without_projections_events_of_ours_are_not_appended(
    pool: store.Pool, tenant_id: int
) -> None:
    """The read models would no longer equal the log."""
    with pytest.raises(ProgrammingError, match="was given none to keep"):
        await Recorder(pool, tenant_id).insert_events([stored("stock-1-1", 1, RECEIVED)])

    assert await Feed(pool).head_position(tenant_id) == 0


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (stored("stock-1-1", 2, RECEIVED), IntegrityError),
        (stored("stock-1-1", 0, RECEIVED), IntegrityError),
        (StoredEvent("stock-1-1", 1, "zoo:Born", b"{}"), ProgrammingError),
        (stored("dog-1", 1, RECEIVED), ProgrammingError),
        (StoredEvent("dog-1", 1, "a\0b", b"{}"), DataError),
        (StoredEvent("dog-1", -1, "zoo:Born", b"{}"), IntegrityError),
        (StoredEvent("dog-1", 2**63, "zoo:Born", b"{}"), DataError),
    ],
    ids=["gap", "version 0", "stranger in ours", "ours elsewhere", "NUL", "negative", "huge"],
)
async def test_what_would_spoil_the_log_is_refused(
    recorder: Recorder, pool: store.Pool, tenant_id: int, event: StoredEvent, error: type[Exception]
) -> None:
    """A decider folds our streams: only whole sequences of our events may be in them."""
    with pytest.raises(error):
        await recorder.insert_events([event])

    assert await Feed(pool).head_position(tenant_id) == 0


async def test_tracking_records_are_refused(recorder: Recorder) -> None:
    """Silently dropped, they would cost a process application its exactly-once."""
    event = StoredEvent("dog-1", 1, "zoo:Born", b"{}")
    with pytest.raises(NotSupportedError):
        await recorder.insert_events([event], tracking=Tracking("upstream", 1))


async def test_any_state_comes_back_as_it_was(
    recorder: Recorder, pool: store.Pool, tenant_id: int
) -> None:
    """JSON stays JSON that SQL can read, and anything else is wrapped."""
    states = [
        b'{"a":1}', b' {"b" : 1.50}\n', b'"text"', b"null", b"1E+400", b"[" * 3000 + b"]" * 3000,
        b'{"state":"not base64"}', '{"ü":"\\u0000"}'.encode(), b'{"a":1,"a":2}',
        b"", b"state", b"NaN", b"\x00", b"\xff\xfe", b'"\xff"', b'"\\ud800"', b'"\x01"',
    ]  # fmt: skip
    stream = uuid4()
    events = [StoredEvent(stream, n, "zoo:Said", state) for n, state in enumerate(states)]

    await recorder.insert_events(events)

    assert await recorder.select_events(stream) == events
    as_they_are = [row.data for row in await Feed(pool).read(tenant_id, limit=4)]
    assert as_they_are == [state.decode() for state in states[:4]]


async def test_recorded_times_never_go_back(pool: store.Pool, tenant_id: int) -> None:
    """Not even when the clock does."""
    times = iter([datetime(2030, 1, 2, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)])
    recorder = Recorder(pool, tenant_id, now=lambda: next(times))
    for version in range(2):
        await recorder.insert_events([StoredEvent("dog-1", version, "zoo:Born", b"{}")])

    events = await Feed(pool).read(tenant_id)

    assert [event.recorded_at.day for event in events] == [2, 2]


async def test_topics_of_ours_select_by_type(recorder: Recorder) -> None:
    """So a projection of the library's gets the events it knows, and no others."""
    await recorder.insert_events([stored("stock-1-1", 1, RECEIVED), stored("stock-1-1", 2, ISSUED)])

    notifications = await recorder.select_notifications(None, 10, topics=["StockIssued"])

    assert [(one.id, one.topic) for one in notifications] == [(2, "StockIssued.v2")]
    assert MAPPER.to_domain_event(notifications[0]) == StreamEvent("stock-1-1", 2, ISSUED)
