"""Moments of the past that are kept: equal to the read models, few, and each tenant's own."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Connection, Pool, tenant_transaction
from projections import known_snapshots as known
from projections.comparing import digest
from projections.engine import Engine
from projections.following import catch_up
from projections.past import Moment
from projections.projection import SCHEMA
from schemas.order import Claim, OrderLine, OrderPlaced
from schemas.product import ProductRegistered
from schemas.stock import StockIssued, StockReceived
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe

ENGINE = Engine()
TABLES = [table for each in known.kept_projections(ENGINE) for table in each.tables]


@pytest.fixture
async def owner(database: DatabaseAddress) -> AsyncIterator[Connection]:
    """A connection that owns the tables."""
    connection = await asyncpg.connect(**database.owner)
    yield connection
    await connection.close()


@pytest.fixture
async def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """A log of some trade."""
    return await traded(pool, tenant_id)


async def traded(pool: Pool, tenant_id: int, times: int = 6) -> Scribe:
    """Write a log of some trade: 1 + 3 events each time."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    product = ProductRegistered(
        product_id=1, name="Tea", sku="TEA", base_price=Decimal(9), cost_price=Decimal(4)
    )
    await scribe.write(("product-1", product))
    for number in range(1, times + 1):
        of: dict[str, Any] = {"product_id": 1, "location_id": 1, "quantity": Decimal(number)}
        claim = Claim(location_id=1, quantity=Decimal(1))
        line = OrderLine(
            id=number * 1000 + 1, product_id=1, quantity=Decimal(1), unit_price=Decimal(9),
            price_source="list", claims=(claim,),
        )  # fmt: skip
        placed = OrderPlaced(
            order_id=number, order_number=f"ORD-{number}", channel="api", lines=(line,),
            total_amount=Decimal(9), allocation="default",
        )  # fmt: skip
        await scribe.write(
            ("stock-1-1", StockReceived(**of, unit_cost=Decimal(3))),
            ("stock-1-1", StockIssued(**of, unit_price=Decimal(9)), scribe.now - timedelta(days=1)),
            (f"order-{number}", placed),
        )
    return scribe


async def made(pool: Pool, tenant_id: int, moment: Moment) -> known.Kept:
    """Have a moment kept, and make it."""
    kept = await known.ask_for(pool, ENGINE, tenant_id, moment)
    await known.make(pool, ENGINE, tenant_id, kept.slot)
    async with tenant_transaction(pool, tenant_id) as connection:
        found = await known.progress(connection, ENGINE, tenant_id, moment)
    assert found is not None
    return found


async def digests(pool: Pool, tenant_id: int, schema: str) -> dict[str, Any]:
    """Return what all tables of a schema hold of a tenant."""
    async with tenant_transaction(pool, tenant_id) as connection:
        return {table: await digest(connection, schema, table, tenant_id) for table in TABLES}


async def test_a_moment_that_is_kept_is_what_the_read_models_were(
    pool: Pool, scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table by table, folded in whatever batches, and gone on with after a crash of the maker."""
    tenant_id = scribe.tenant_id
    for projection in ENGINE.following:
        await catch_up(pool, projection, tenant_id)
    live = await digests(pool, tenant_id, SCHEMA)
    assert live["sales_order"].rows == 6
    assert live["cost_movement"].rows == 12
    head = Moment(19, None)
    monkeypatch.setattr(known, "BATCH_EVENTS", 4)
    kept = await known.ask_for(pool, ENGINE, tenant_id, head)
    assert (kept.state, kept.folded) == ("waiting", 0)
    for _ in range(3):
        assert await known._advance(pool, ENGINE, tenant_id, kept.slot)  # pyright: ignore[reportPrivateUsage]
    assert (await known.ask_for(pool, ENGINE, tenant_id, head)).folded == 8
    assert (await made(pool, tenant_id, head)).state == "ready"
    await scribe.write(
        ("stock-1-1", StockReceived(product_id=1, location_id=1, quantity=Decimal(9)))
    )
    schema = known.schema_of(kept.slot)
    assert await digests(pool, tenant_id, schema) == live
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await known.hold_ready(connection, ENGINE, tenant_id, head) == schema


async def test_the_two_times_make_different_moments(pool: Pool, scribe: Scribe) -> None:
    """What happened later is left out of the one with a time, and only of that."""
    tenant_id, day_before = scribe.tenant_id, scribe.now - timedelta(hours=12)
    whole = await made(pool, tenant_id, Moment(19, None))
    part = await made(pool, tenant_id, Moment(19, day_before))
    earlier = await made(pool, tenant_id, Moment(10, None))
    assert len({whole.slot, part.slot, earlier.slot}) == 3
    rows = [
        (await digests(pool, tenant_id, known.schema_of(kept.slot)))
        for kept in (whole, part, earlier)
    ]
    assert [each["sales_order"].rows for each in rows] == [6, 0, 3]
    assert [each["cost_movement"].rows for each in rows] == [12, 6, 6]
    assert [each["product"].rows for each in rows] == [1, 1, 1]


async def test_no_other_tenant_reads_or_touches_one(
    pool: Pool, scribe: Scribe, database: DatabaseAddress
) -> None:
    """Neither its row nor its tables; nor may the service make a schema in any other way."""
    kept = await made(pool, scribe.tenant_id, Moment(19, None))
    other = await create_tenant(database)
    schema = known.schema_of(kept.slot)
    async with tenant_transaction(pool, other) as connection:
        assert await connection.fetch("SELECT * FROM known.snapshot") == []
        for table in TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {schema}.{table}") == 0
        assert await known.look_up(connection, ENGINE, other, Moment(19, None)) is None
    foreign = f"""
        INSERT INTO known.snapshot (tenant_id, slot, position, models, state, requested_at, read_at)
        VALUES ({scribe.tenant_id}, 9, 1, '', 'ready', now(), now())
    """
    for statement in (
        f"SELECT known.prepare({kept.slot}, '', ARRAY['orders'])",
        f"SELECT known.finish({kept.slot})",
        "CREATE SCHEMA mine",
        f"CREATE TABLE {schema}.mine ()",
        foreign,
    ):
        with pytest.raises(asyncpg.PostgresError):
            async with tenant_transaction(pool, other) as connection:
                await connection.execute(statement)
    async with tenant_transaction(pool, scribe.tenant_id) as connection:
        assert await known.hold_ready(connection, ENGINE, scribe.tenant_id, Moment(19, None))


async def test_the_one_read_least_recently_makes_room(
    pool: Pool, scribe: Scribe, owner: Connection
) -> None:
    """But none that was read a moment ago, or is being read: then there is no room."""
    tenant_id = scribe.tenant_id
    for position in range(1, known.KEPT_MAX + 1):
        await made(pool, tenant_id, Moment(position, None))
    with pytest.raises(known.AllInUse):
        await known.ask_for(pool, ENGINE, tenant_id, Moment(9, None))
    await _age(owner, tenant_id)
    await known.mark_read(pool, ENGINE, tenant_id, Moment(1, None))
    async with tenant_transaction(pool, tenant_id) as reading:
        assert await known.hold_ready(reading, ENGINE, tenant_id, Moment(2, None))
        assert (await made(pool, tenant_id, Moment(9, None))).state == "ready"
        schema = known.schema_of(2)
        assert await reading.fetchval(f"SELECT count(*) FROM {schema}.product") == 1
    async with tenant_transaction(pool, tenant_id) as connection:
        there = [
            bool(await known.look_up(connection, ENGINE, tenant_id, Moment(position, None)))
            for position in (1, 2, 3, 4, 9)
        ]
    assert there == [True, True, False, True, True]


async def _age(owner: Connection, tenant_id: int) -> None:
    """Let a while pass since the snapshots were read, the first one's longest ago."""
    await owner.execute(
        f"""
        SELECT set_config('ledger.tenant', '{tenant_id}', false);
        UPDATE known.snapshot SET read_at = now() - interval '2 hours' + position * interval '1 s'
        """
    )


async def test_what_a_crash_of_the_database_emptied_is_made_again(
    pool: Pool, scribe: Scribe, owner: Connection
) -> None:
    """Tables that are not logged come back empty: that is never taken for an empty past."""
    tenant_id, head = scribe.tenant_id, Moment(19, None)
    kept = await made(pool, tenant_id, head)
    schema = known.schema_of(kept.slot)
    before = await digests(pool, tenant_id, schema)
    emptied = ", ".join(f"{schema}.{table}" for table in (*TABLES, "begun", "complete"))
    await owner.execute(f"TRUNCATE {emptied}")
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await known.hold_ready(connection, ENGINE, tenant_id, head) is None
        assert await known.progress(connection, ENGINE, tenant_id, head) is None
    assert (await made(pool, tenant_id, head)).state == "ready"
    assert await digests(pool, tenant_id, schema) == before
    # And of one that is half made.
    kept = await known.ask_for(pool, ENGINE, tenant_id, Moment(18, None))
    for _ in range(2):
        await known._advance(pool, ENGINE, tenant_id, kept.slot)  # pyright: ignore[reportPrivateUsage]
    schema = known.schema_of(kept.slot)
    emptied = ", ".join(f"{schema}.{table}" for table in (*TABLES, "begun"))
    await owner.execute(f"TRUNCATE {emptied}")
    assert (await made(pool, tenant_id, Moment(18, None))).state == "ready"
    assert (await digests(pool, tenant_id, schema))["movement"].rows == 12


async def test_an_event_that_cannot_be_folded_fails_it_with_the_reason(
    pool: Pool, scribe: Scribe, owner: Connection
) -> None:
    """And it is tried again, a while later, for whoever asks again."""
    tenant_id = scribe.tenant_id
    poison = OrderPlaced(
        order_id=1, order_number="ORD-1", channel="api", lines=(), total_amount=Decimal(0),
        allocation="default",
    )  # fmt: skip
    unfolded = Scribe(pool, Engine(inline=(), following=()), tenant_id)
    await unfolded.write(("order-77", poison))
    kept = await made(pool, tenant_id, Moment(20, None))
    assert (kept.state, "UniqueViolationError" in (kept.reason or "")) == ("failed", True)
    assert (await known.ask_for(pool, ENGINE, tenant_id, Moment(20, None))).state == "failed"
    await owner.execute(
        f"""
        SELECT set_config('ledger.tenant', '{tenant_id}', false);
        UPDATE known.snapshot SET requested_at = now() - interval '2 minutes'
        """
    )
    assert (await known.ask_for(pool, ENGINE, tenant_id, Moment(20, None))).state == "waiting"


async def test_what_nobody_reads_is_dropped(pool: Pool, scribe: Scribe, owner: Connection) -> None:
    """After a day, with all its tables; and at once what an older release made."""
    tenant_id = scribe.tenant_id
    for position in (5, 6):
        await made(pool, tenant_id, Moment(position, None))
    assert await known.drop_unread(pool, ENGINE, [tenant_id]) == 0
    await owner.execute(
        f"""
        SELECT set_config('ledger.tenant', '{tenant_id}', false);
        UPDATE known.snapshot SET models = 'of another release' WHERE position = 5
        """
    )
    assert await known.drop_unread(pool, ENGINE, [tenant_id]) == 1
    assert await known.drop_unread(pool, ENGINE, [tenant_id], unread_s=-1) == 1
    assert {each.rows for each in (await digests(pool, tenant_id, "known_2")).values()} == {0}
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await connection.fetch("SELECT * FROM known.snapshot") == []


async def test_the_maker_makes_them_in_the_order_they_were_asked_for(
    pool: Pool, scribe: Scribe, database: DatabaseAddress
) -> None:
    """Of all tenants, one at a time; and none of another release."""
    other = await traded(pool, await create_tenant(database), times=1)
    await known.ask_for(pool, ENGINE, other.tenant_id, Moment(4, None))
    await known.ask_for(pool, ENGINE, scribe.tenant_id, Moment(19, None))
    async with pool.acquire() as connection:
        wanted = "SELECT tenant_id FROM known.wanted($1)"
        assert other.tenant_id == await connection.fetchval(wanted, known.fingerprint(ENGINE))
        assert await connection.fetchval(wanted, "another release") is None
        await known.make(pool, ENGINE, other.tenant_id, 1)
        assert scribe.tenant_id == await connection.fetchval(wanted, known.fingerprint(ENGINE))
        await known.make(pool, ENGINE, scribe.tenant_id, 1)
        assert await connection.fetchval(wanted, known.fingerprint(ENGINE)) is None
    # They share the tables of the slot, and neither takes anything of the other's away.
    for each, orders in ((other, 1), (scribe, 6)):
        assert (await digests(pool, each.tenant_id, "known_1"))["sales_order"].rows == orders
    await made(pool, other.tenant_id, Moment(3, None))
    assert (await digests(pool, other.tenant_id, "known_2"))["movement"].rows == 2
