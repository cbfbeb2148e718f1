"""The schema ``analysis``: its comments, what it shows, and around rebuilds and parked models."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest

from deploy.address import OWNER_ROLE, DatabaseAddress
from deploy.commands._tables_page import tables_page
from ledger.domain.decision import RecordedEvent
from ledger.feed import Feed
from ledger.store import Pool, tenant_transaction
from projections.demand import DemandFilter, demand_by_period
from projections.engine import Engine
from projections.following import catch_up, run_following
from projections.log_reading import set_tenant
from projections.projection import Columns, Connection
from projections.rebuild import rebuild
from projections.star_view import PARTS
from projections.star_views import VIEWS, create_views, described, drop_views
from projections.stock_by_day import by_day
from projections.verify import verify
from schemas.common import Event
from schemas.demand import DemandLine, DemandRecorded
from schemas.product import ProductRegistered
from schemas.stock import StockIssued, StockReceived
from tests.support.written_log import Scribe

ENGINE = Engine()
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"


def received(product_id: int, quantity: int) -> tuple[str, Any]:
    """Return the entry of a receipt."""
    event = StockReceived(product_id=product_id, location_id=1, quantity=Decimal(quantity))
    return f"stock-{product_id}-1", event


async def follow(pool: Pool, tenant_id: int) -> None:
    """Let every following projection catch up."""
    for projection in ENGINE.following:
        await catch_up(pool, projection, tenant_id)


async def test_every_view_and_column_says_what_it_is(database: DatabaseAddress) -> None:
    """In the database, as in the page of reference, which is made of the same."""
    connection = await asyncpg.connect(**database.app)
    columns = await described(connection)
    await connection.close()
    assert [column for column in columns if not column.about or not column.view_about] == []
    assert [tuple(column) for column in columns] == [
        (view.name, view.about, *column) for view in VIEWS for column in view.columns
    ]
    assert tables_page(columns) == PAGE.read_text(encoding="utf-8")


async def test_numbers_are_exact_and_times_have_their_zone(database: DatabaseAddress) -> None:
    """No float anywhere, no decimal wider than files can hold, no time without a zone."""
    connection = await asyncpg.connect(**database.app)
    types = {column.type for column in await described(connection)}
    await connection.close()
    assert types <= {
        "bigint", "integer", "smallint", "text", "boolean", "date", "json",
        "timestamp with time zone", "numeric(18,6)", "numeric(30,6)", "numeric(38,6)",
        "numeric(30,12)", "numeric(38,12)",
    }  # fmt: skip


async def test_views_are_as_of_the_checkpoint_not_the_head(pool: Pool, tenant_id: int) -> None:
    """What was appended since is in no view: not even where the table below has it."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1, 5), received(2, 7))
    await follow(pool, tenant_id)
    await scribe.write(received(1, 3))
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await connection.fetchval("SELECT analysis.position()") == 2
        for view, count in (("event", 2), ("movement", 2), ("stock_level", 2)):
            assert await connection.fetchval(f"SELECT count(*) FROM analysis.{view}") == count
        assert await _on_hand(connection) == {1: 5, 2: 7}
    await follow(pool, tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await connection.fetchval("SELECT analysis.position()") == 3
        assert await _on_hand(connection) == {1: 8, 2: 7}


async def _on_hand(connection: Any) -> dict[int, Decimal]:
    rows = await connection.fetch("SELECT product_id, on_hand FROM analysis.stock_level")
    return {row[0]: row[1] for row in rows}


async def test_demand_and_days_are_what_the_service_answers(pool: Pool, tenant_id: int) -> None:
    """A random history: each product's days, and what stock closed at on them."""
    source = random.Random(11)
    scribe = Scribe(pool, ENGINE, tenant_id)
    products = [
        (
            f"product-{number}",
            ProductRegistered(
                product_id=number, name="P", sku=f"P{number}", base_price=Decimal(1), scale=scale
            ),
        )
        for number, scale in ((1, 0), (2, 2), (3, 6))
    ]
    lines = tuple(
        DemandLine(
            line=number,
            product_id=source.randrange(1, 4),
            quantity=Decimal(source.randrange(1, 500)),
            order_date=date(2028, 1, 1) + timedelta(days=source.randrange(120)),
            period=source.choice(("day", "week", "month")),
        )
        for number in range(1, 80)
    )
    told = DemandRecorded(
        batch_id="b", chunk=1, first_line=1, last_line=80, digest="d", lines=lines
    )
    moved = [
        (*received(source.randrange(1, 4), 3), scribe.now - timedelta(hours=source.randrange(900)))
        for _ in range(60)
    ]
    await scribe.write(*products, ("import-b", told), *moved)
    await follow(pool, tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        shown = await connection.fetch(
            "SELECT product_id, day, quantity FROM analysis.demand_by_day ORDER BY 1, 2"
        )
        wanted = DemandFilter(date(2027, 1, 1), date(2029, 1, 1))
        rows, total, _ = await demand_by_period(connection, tenant_id, wanted, "day", 1000, 0)
        assert total == len(shown) > 100
        assert [tuple(row) for row in shown] == [
            (row["product_id"], row["period"], row["quantity"]) for row in rows
        ]
        days = await connection.fetch(
            "SELECT day, received, change, closing, movements FROM analysis.stock_by_day "
            "WHERE product_id = 2 ORDER BY day"
        )
        expected = await by_day(connection, tenant_id, 2, 1, date.min, date.max)
        assert [tuple(row) for row in days] == [
            tuple(row[name] for name in ("day", "received", "change", "closing", "movements"))
            for row in expected
        ]
        assert len(days) > 5


@pytest.mark.parametrize("name", ["star", "stock_levels", "valuation"])
async def test_a_rebuild_leaves_the_views_as_they_were(
    database: DatabaseAddress, pool: Pool, tenant_id: int, name: str
) -> None:
    """They are made again on the new tables, with comments, rights and the same rows."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1, 5), received(2, 7))
    await follow(pool, tenant_id)
    before = await _all_rows(pool, tenant_id)
    reader = await asyncpg.connect(**database.owner)
    writer = await asyncpg.connect(**database.owner)
    try:
        await rebuild(reader, writer, ENGINE, [name])
        columns = await described(reader)
        assert all(column.about for column in columns)
        assert {column.view for column in columns} == {view.name for view in VIEWS}
    finally:
        await reader.close()
        await writer.close()
    assert await _all_rows(pool, tenant_id) == before


async def _all_rows(pool: Pool, tenant_id: int) -> dict[str, list[Any]]:
    async with tenant_transaction(pool, tenant_id) as connection:
        return {
            view.name: sorted(
                str(tuple(row)) for row in await connection.fetch(f"TABLE analysis.{view.name}")
            )
            for view in VIEWS
        }


async def test_making_the_views_again_is_no_work(database: DatabaseAddress) -> None:
    """They stay the objects they are until their text, or a table below them, changes."""
    connection = await asyncpg.connect(**database.owner)
    oid = "SELECT 'analysis.event'::regclass::oid"
    try:
        first = await connection.fetchval(oid)
        async with connection.transaction():
            assert await create_views(connection)
            assert await connection.fetchval(oid) == first
            await drop_views(connection)
            assert await create_views(connection)
            assert await connection.fetchval("SELECT current_user") == OWNER_ROLE
        assert await connection.fetchval(oid) != first
    finally:
        await connection.close()


async def test_what_rests_on_a_parked_read_model_says_so(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """The others go on, at the position that they share; nothing disagrees in silence."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(received(1, 5))
    await follow(pool, tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(
            "UPDATE projections.checkpoint SET parked_at = now(), parked_position = 2 "
            "WHERE name = 'valuation'"
        )
    await scribe.write(received(1, 4))
    await follow(pool, tenant_id)
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await connection.fetchval("SELECT analysis.position()") == 2
        assert await _on_hand(connection) == {1: 9}
    for view in ("valuation_layer", "cogs_by_day"):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError) as refused:
            async with tenant_transaction(pool, tenant_id) as connection:
                await connection.fetch(f"SELECT * FROM analysis.{view}")
        assert "valuation, which is at position 1, while the others are at 2" in str(refused.value)
        assert "stockledger rebuild valuation" in str(refused.value.hint)


async def test_verify_finds_a_changed_star_table(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """The star's tables are compared with a fresh fold, as all are."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    issued = StockIssued(product_id=1, location_id=1, quantity=Decimal(2))
    await scribe.write(received(1, 5), ("stock-1-1", issued))
    await follow(pool, tenant_id)
    assert await _faults(database, pool, tenant_id) == set()
    connection = await asyncpg.connect(**database.owner)
    async with connection.transaction():
        await set_tenant(connection, tenant_id)
        await connection.execute("UPDATE projections.star_stock_level SET unrestricted = 4")
    await connection.close()
    assert await _faults(database, pool, tenant_id) == {"star_stock_level = log"}


async def _faults(database: DatabaseAddress, pool: Pool, tenant_id: int) -> set[str]:
    fresh = await asyncpg.connect(**database.owner)
    try:
        verdict = await verify(pool, fresh, ENGINE, tenant_id)
    finally:
        await fresh.close()
    return {check.name for check in verdict.checks if not check.ok and "log" in check.name}


class Failing:
    """Folds receipts, and fails on issues."""

    name: ClassVar[str] = "failing"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"failing": ("tenant_id", "position")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({StockReceived, StockIssued})

    def ddl(self, schema: str) -> str:
        """Return a table of one column."""
        return Columns("position bigint").create(schema, "failing", self.tables["failing"])

    async def apply(
        self, connection: Connection, schema: str, tenant_id: int, events: Sequence[RecordedEvent]
    ) -> None:
        """Write the positions."""
        for recorded in events:
            if isinstance(recorded.event, StockIssued):
                raise ValueError("not an issue")
            await connection.execute(
                f"INSERT INTO {schema}.failing VALUES ($1, $2)", tenant_id, recorded.position
            )


async def test_one_that_cannot_fold_an_event_leaves_the_others_together(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """They move in one transaction, so whoever looks, whenever, sees them at one position."""
    engine = Engine(ENGINE.inline, [*ENGINE.following[:2], Failing(), *ENGINE.following[2:]])
    owner = await asyncpg.connect(**database.owner)
    async with owner.transaction():
        await engine.install(owner)
    await owner.close()
    scribe = Scribe(pool, engine, tenant_id)
    issued = StockIssued(product_id=1, location_id=1, quantity=Decimal(1))
    seen: set[tuple[int, ...]] = set()
    await scribe.write(received(1, 50))
    following = asyncio.create_task(run_following(pool, Feed(pool), engine))
    try:
        for number in range(60):
            await asyncio.sleep(0.03)
            if number < 40:
                await scribe.write(received(1, 1), ("stock-1-1", issued), received(2, 1))
            async with tenant_transaction(pool, tenant_id) as connection:
                rows = await connection.fetch(
                    "SELECT DISTINCT position FROM projections.checkpoint WHERE name = ANY ($1)",
                    list(PARTS),
                )
            seen.add(tuple(row[0] for row in rows))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert all(len(positions) <= 1 for positions in seen), seen
    assert (121,) in seen
    async with tenant_transaction(pool, tenant_id) as connection:
        row = await connection.fetchrow(
            "SELECT position, parked_position FROM projections.checkpoint WHERE name = 'failing'"
        )
    assert row is not None
    assert tuple(row) == (2, 3)
