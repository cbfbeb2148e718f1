"""Rebuilding beside live traffic, installing on a log that is there already, and following."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, ClassVar

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.feed import Feed
from ledger.store import Connection, Pool, tenant_transaction
from projections import following, stock_queries
from projections.deployment import deploy
from projections.engine import Engine
from projections.following import catch_up, run_following
from projections.projection import Columns
from projections.rebuild import RebuildFailed, rebuild
from projections.stock_levels import StockLevels
from schemas.common import Event
from schemas.stock import StockIssued, StockReceived
from tests.support.postgres import create_tenant
from tests.support.proving import prove
from tests.support.written_log import Scribe

ENGINE = Engine()
ALL = [projection.name for projection in ENGINE.projections]


def received(product: int, quantity: int = 1) -> Any:
    """Make a receipt."""
    return f"stock-{product}-1", StockReceived(
        product_id=product, location_id=1, quantity=Decimal(quantity)
    )


@asynccontextmanager
async def owners(database: DatabaseAddress, count: int = 2) -> AsyncGenerator[list[Any], None]:
    """Give connections that own the tables."""
    connections = [await asyncpg.connect(**database.owner) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            await connection.close()


async def test_rebuilt_tables_are_equal(database: DatabaseAddress, pool: Pool) -> None:
    """Of several tenants, every table, with the checkpoint of the following ones."""
    for _ in range(2):
        scribe = Scribe(pool, ENGINE, await create_tenant(database))
        for n in range(20):
            await scribe.write(received(n % 7 + 1), received(n % 5 + 1))
        await catch_up(pool, ENGINE.following[0], scribe.tenant_id)
        await scribe.write(received(1))
    async with owners(database) as (reader, writer):
        report = await rebuild(reader, writer, ENGINE, ALL)
        assert report.differing == []
        assert {row.table for row in report.tables} >= {"movement", "stock_by_day", "alias"}
        leftovers = await reader.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'projections\\_%'"
        )
        assert leftovers == []
    for tenant_id in {row.tenant_id for row in report.tables}:
        assert (await prove(database, pool, ENGINE, tenant_id)).ok
        async with tenant_transaction(pool, tenant_id) as connection:
            assert 40 == await connection.fetchval(
                "SELECT position FROM projections.checkpoint WHERE name = $1",
                ENGINE.following[0].name,
            )


async def test_live_traffic_goes_on(database: DatabaseAddress, pool: Pool) -> None:
    """Writers and readers on connections with prepared statements notice nothing.

    Every read, in one statement or in a snapshot of several, sees as many movements as the
    log had events.
    """
    scribe = Scribe(pool, ENGINE, await create_tenant(database))
    for n in range(50):
        await scribe.write(received(n % 10 + 1))
    done = asyncio.Event()
    seen: list[int] = []

    async def write() -> int:
        written = 0
        while not done.is_set():
            await scribe.write(received(written % 10 + 1))
            written += 1
        return written

    async def read() -> None:
        while not done.is_set():
            async with tenant_transaction(
                pool, scribe.tenant_id, isolation="repeatable read"
            ) as connection:
                head: Any = await connection.fetchval("SELECT position FROM ledger.head")
                await asyncio.sleep(0.002)
                count = await stock_queries.count_movements(connection, scribe.tenant_id)
                rows = await connection.fetchval("SELECT count(*) FROM projections.movement")
            assert head == count == rows
            seen.append(head)

    writing = asyncio.create_task(write())
    reading = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.sleep(0.1)
    async with owners(database) as (reader, writer):
        for _ in range(3):
            report = await rebuild(reader, writer, ENGINE, ALL)
            assert report.differing == []
    done.set()
    written = await writing
    await asyncio.gather(*reading)
    assert written > 10
    assert len(seen) > 10
    await catch_up(pool, ENGINE.following[0], scribe.tenant_id)
    verdict = await prove(database, pool, ENGINE, scribe.tenant_id)
    assert verdict.ok, verdict
    assert verdict.position == 50 + written


async def test_a_wrong_table_is_reported_and_put_right(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """A difference is not hidden, and the swap has to be asked for."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1), received(2))
    async with owners(database) as (reader, writer):
        async with tenant_transaction(pool, tenant_id) as connection:
            await connection.execute("DELETE FROM projections.movement WHERE position = 2")
        report = await rebuild(reader, writer, ENGINE, ["stock_levels"])
        assert [(row.table, row.rows_live, row.rows_rebuilt) for row in report.differing] == [
            ("movement", 1, 2)
        ]
        assert not report.swapped
        assert await movements(pool, tenant_id) == [1]
        steps: list[str] = []
        mended = await rebuild(
            reader,
            writer,
            ENGINE,
            ["stock_levels"],
            replace_different=True,
            on_step=steps.append,
        )
        assert mended.swapped
        assert steps == ["folding", "comparing", "folding again", "swapping"]
        assert await movements(pool, tenant_id) == [1, 2]
        again = await rebuild(reader, writer, ENGINE, ["stock_levels"])
        assert (again.differing, again.swapped) == ([], True)


async def movements(pool: Pool, tenant_id: int) -> list[int]:
    """Read the positions of the movements."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch("SELECT position FROM projections.movement ORDER BY position")
    return [row[0] for row in rows]


class Fickle(StockLevels):
    """Stock levels whose fold depends on the sizes of batches, which is a fault."""

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Leave out the last event of a batch of several."""
        await super().apply(connection, schema, tenant_id, events[:-1] or events)


async def test_a_wrong_table_is_not_replaced_by_one_that_a_second_fold_denies(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be told that the live one is wrong is no proof that the new one is right."""
    monkeypatch.setattr("projections.rebuild.WITNESS_BATCH_EVENTS", 2)
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1), received(2), received(3))
    fickle = Engine([Fickle(), *ENGINE.inline[1:]], ENGINE.following)
    async with owners(database) as (reader, writer):
        async with tenant_transaction(pool, tenant_id) as connection:
            await connection.execute("DELETE FROM projections.movement WHERE position = 2")
        with pytest.raises(RebuildFailed, match="do not agree on movement"):
            await rebuild(reader, writer, fickle, ["stock_levels"], replace_different=True)
    assert await movements(pool, tenant_id) == [1, 3]


async def test_a_reader_that_stays_makes_it_give_up(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live tables stay as they were, and writers go on."""
    monkeypatch.setattr("projections.swapping.SWAP_ATTEMPTS_MAX", 2)
    monkeypatch.setattr("projections.swapping.OLD_READERS_WAIT_S", 0.1)
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1))
    async with owners(database) as (reader, writer):
        async with tenant_transaction(pool, tenant_id) as connection:
            await connection.fetch("SELECT * FROM projections.movement")
            with pytest.raises(RebuildFailed, match="long readers"):
                await rebuild(reader, writer, ENGINE, ["stock_levels"])
        await scribe.write(received(1))
    assert (await prove(database, pool, ENGINE, tenant_id)).checks[0].ok


async def test_readers_of_another_order_do_not_keep_it_out(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody always reads the last of the tables, and the first of them after it."""
    monkeypatch.setattr("projections.swapping.SWAP_ATTEMPTS_MAX", 4)
    await Scribe(pool, ENGINE, tenant_id).write(received(1))
    first, *_, last = ENGINE.named("stock_levels").tables
    reads = 0

    async def read(connection: Any) -> None:
        nonlocal reads
        while True:
            async with connection.transaction():
                await connection.fetch(f"SELECT * FROM projections.{last}")
                await asyncio.sleep(0.05)
                await connection.fetch(f"SELECT * FROM projections.{first}")
                reads += 1

    async with (
        owners(database) as (reader, writer),
        owners(database, 3) as others,
        asyncio.TaskGroup() as tasks,
    ):
        reading = [tasks.create_task(read(connection)) for connection in others]
        await asyncio.sleep(0.1)
        report = await rebuild(reader, writer, ENGINE, ["stock_levels"])
        for task in reading:
            task.cancel()
    assert report.swapped
    assert reads


async def test_only_one_at_a_time(database: DatabaseAddress) -> None:
    """A second rebuild says so at once."""
    async with owners(database, 4) as (first, second, third, fourth):
        results = await asyncio.gather(
            rebuild(first, second, ENGINE, ALL),
            rebuild(third, fourth, ENGINE, ALL),
            return_exceptions=True,
        )
    assert sorted(type(result).__name__ for result in results) == ["RebuildFailed", "Report"]


async def test_an_unknown_name_says_which_there_are(database: DatabaseAddress) -> None:
    """The message helps."""
    async with owners(database) as (reader, writer):
        with pytest.raises(LookupError, match="there are: stock_levels, products"):
            await rebuild(reader, writer, ENGINE, ["stock"])


class Tally:
    """A projection for these tests: how much was received, a product."""

    name: ClassVar[str] = "tally"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"tally": ("tenant_id", "product_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({StockReceived, StockIssued})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return Columns("product_id bigint", "quantity numeric").create(
            schema, "tally", self.tables["tally"]
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add up; an issue is more than this projection can bear."""
        for recorded in events:
            event = recorded.event
            if not isinstance(event, StockReceived):
                raise ValueError(f"{type(event).__name__} is too much")
            await connection.execute(
                f"INSERT INTO {schema}.tally AS t VALUES ($1, $2, $3) "
                "ON CONFLICT (tenant_id, product_id) "
                "DO UPDATE SET quantity = t.quantity + excluded.quantity",
                tenant_id,
                event.product_id,
                event.quantity,
            )


class DoubleTally(Tally):
    """The same, in a version that folds otherwise."""

    version: ClassVar[int] = 2

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add up twice."""
        for _ in range(2):
            await super().apply(connection, schema, tenant_id, events)


async def install(database: DatabaseAddress, engine: Engine) -> list[str]:
    """Install as a start of the service does."""
    async with owners(database, 1) as (connection,), connection.transaction():
        created = await engine.install(connection)
    return created or await deploy(database.owner, engine)


async def tally(pool: Pool, tenant_id: int) -> dict[int, Decimal]:
    """Read the tally."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch("SELECT product_id, quantity FROM projections.tally")
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("inline", [True, False])
async def test_a_new_projection_begins_complete(
    database: DatabaseAddress, pool: Pool, tenant_id: int, inline: bool
) -> None:
    """Installed on a log with events it has them all; a new version folds them anew."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1, 5), received(2, 3))
    for version, factor in ((Tally(), 1), (DoubleTally(), 2)):
        more = [version]
        engine = (
            Engine([*ENGINE.inline, *more], ENGINE.following)
            if inline
            else Engine(ENGINE.inline, [*ENGINE.following, *more])
        )
        assert await install(database, engine) == ["tally"]
        assert await install(database, engine) == []
        assert await tally(pool, tenant_id) == {1: 5 * factor, 2: 3 * factor}


async def test_a_projection_that_follows_catches_up(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """It is woken by the feed, once an event however many processes run it."""
    engine = Engine(ENGINE.inline, [*ENGINE.following, Tally()])
    await install(database, engine)
    scribe = Scribe(pool, ENGINE, tenant_id)
    feed = Feed(pool)
    runners = [asyncio.create_task(run_following(pool, feed, engine)) for _ in range(2)]
    try:
        for n in range(20):
            await scribe.write(received(n % 3 + 1))
            feed.wake(tenant_id)
        for _ in range(100):
            if sum((await tally(pool, tenant_id)).values()) == 20:
                break
            await asyncio.sleep(0.05)
        assert await tally(pool, tenant_id) == {1: 7, 2: 7, 3: 6}
        assert (await prove(database, pool, engine, tenant_id)).ok
    finally:
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)


async def test_what_another_process_folds_is_not_even_read(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds its checkpoint held leaves the events to the holder, and is there after him."""
    reads: list[int] = []
    read_events = following.read_events

    async def counted(connection: Connection, tenant: int, *more: Any) -> Any:
        reads.append(tenant)
        return await read_events(connection, tenant, *more)

    monkeypatch.setattr("projections.following.read_events", counted)
    projection = ENGINE.following[0]
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1))
    await catch_up(pool, projection, tenant_id)
    await scribe.write(received(1))
    assert len(reads) == 1
    async with tenant_transaction(pool, tenant_id) as holder:
        await holder.execute("SELECT FROM projections.checkpoint FOR UPDATE")
        waiting = asyncio.create_task(catch_up(pool, projection, tenant_id))
        await asyncio.sleep(3 * following.OTHERS_S)
        assert not waiting.done()
        assert len(reads) == 1
    assert await waiting == 2
    assert len(reads) == 2


async def test_a_poison_event_parks_one_projection_of_one_tenant(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """The events before it are folded, the reason is kept, and all else goes on."""
    poor = Tally()
    engine = Engine(ENGINE.inline, [*ENGINE.following, poor])
    await install(database, engine)
    other_id = await create_tenant(database)
    scribe, other = Scribe(pool, ENGINE, tenant_id), Scribe(pool, ENGINE, other_id)
    issued = StockIssued(product_id=1, location_id=1, quantity=Decimal(1))
    await scribe.write(received(1, 5), ("stock-1-1", issued), received(1, 1))
    await other.write(received(1, 2))
    assert await catch_up(pool, poor, tenant_id) is None
    assert await catch_up(pool, poor, other_id) == 1
    assert await catch_up(pool, engine.following[0], tenant_id) == 3
    assert await tally(pool, tenant_id) == {1: 5}
    async with tenant_transaction(pool, tenant_id) as connection:
        row = await connection.fetchrow(
            "SELECT position, parked_position, parked_reason FROM projections.checkpoint "
            "WHERE name = 'tally'"
        )
    assert row is not None
    assert tuple(row) == (1, 2, "ValueError: StockIssued is too much")
