"""Folding the past into temporary tables: they stay, and are empty again for whoever comes next."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Connection, Pool, create_pool, tenant_transaction
from projections import past as past_module
from projections.engine import Engine
from projections.past import BEFORE_ALL, Moment, Streams, past, time_of
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import StockIssued, StockReceived, StockReserved
from tests.support.postgres import create_tenant
from tests.support.written_log import START, Scribe

ENGINE = Engine()
MODELS = [ENGINE.named("products"), ENGINE.named("stock_levels")]
TABLES = [table for model in MODELS for table in model.tables]


def product(product_id: int, name: str, kind: Any = ProductRegistered) -> tuple[str, Any]:
    """Say something of a product."""
    said = kind(product_id=product_id, name=name, sku=f"P{product_id}", base_price=Decimal(1))
    return f"product-{product_id}", said


def received(product_id: int, quantity: int, at: datetime = START) -> tuple[str, Any, datetime]:
    """Receive some of a product."""
    event = StockReceived(product_id=product_id, location_id=1, quantity=Decimal(quantity))
    return f"stock-{product_id}-1", event, at


async def on_hand(connection: Connection, tenant_id: int) -> dict[str, Decimal]:
    """Return what is on hand by the names of products."""
    rows = await connection.fetch(
        """
        SELECT p.name, trim_scale(l.unrestricted) FROM projections.stock_level l
        JOIN projections.product p USING (tenant_id, product_id) WHERE l.tenant_id = $1
        """,
        tenant_id,
    )
    return {row[0]: row[1] for row in rows}


@pytest.fixture
async def alone(database: DatabaseAddress) -> Any:
    """A pool of one connection: what one request leaves behind the next one meets."""
    pool = await create_pool(database.app, size_min=1, size_max=1)
    yield pool
    pool.terminate()


async def test_both_times_bound_what_is_folded(alone: Pool, tenant_id: int) -> None:
    """Movements by both, names by what was known alone; and nothing is left of it."""
    scribe = Scribe(alone, ENGINE, tenant_id)
    await scribe.write(product(1, "Tea"), received(1, 5))
    await scribe.write(received(1, 7, START - timedelta(days=3)))
    await scribe.write(product(1, "Green tea", ProductRevised))
    before, after = START - timedelta(days=1), START + timedelta(days=1)
    for moment, expected in (
        (Moment(0), {}),
        (Moment(1), {}),
        (Moment(2), {"Tea": 5}),
        (Moment(3), {"Tea": 12}),
        (Moment(4), {"Green tea": 12}),
        (Moment(2, before), {}),
        (Moment(3, before), {"Tea": 7}),
        (Moment(4, before), {"Green tea": 7}),
        (Moment(4, after), {"Green tea": 12}),
    ):
        async with tenant_transaction(alone, tenant_id) as connection:
            async with past(connection, tenant_id, moment, MODELS) as then:
                assert await on_hand(then, tenant_id) == expected, moment
            for table in TABLES:
                assert await connection.fetchval(f"SELECT count(*) FROM pg_temp.{table}") == 0
            assert await on_hand(connection, tenant_id) == {"Green tea": 12}


async def test_an_error_and_another_tenant_find_the_tables_empty(
    alone: Pool, tenant_id: int, database: DatabaseAddress
) -> None:
    """Whatever became of the request before; the tables themselves are made once a session."""
    other = await create_tenant(database)
    for each, name in ((tenant_id, "Tea"), (other, "Salt")):
        await Scribe(alone, ENGINE, each).write(product(1, name), received(1, 5))
    made: set[int] = set()
    for each, name in ((tenant_id, "Tea"), (other, "Salt"), (tenant_id, "Tea")):
        async with tenant_transaction(alone, each) as connection:
            async with past(connection, each, Moment(2), MODELS) as then:
                rows = await then.fetch("SELECT name FROM projections.product")
                assert [row[0] for row in rows] == [name]
            made.add(await connection.fetchval("SELECT 'pg_temp.product'::regclass::oid"))
        with pytest.raises(ZeroDivisionError):
            async with (
                tenant_transaction(alone, each) as connection,
                past(connection, each, Moment(2), MODELS),
            ):
                raise ZeroDivisionError
    assert len(made) == 1


async def test_what_was_rolled_back_is_given_back_before_it_grows(
    alone: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that has become large is truncated before it is used again."""
    await Scribe(alone, ENGINE, tenant_id).write(
        product(1, "Tea"), *(received(1, 1) for _ in range(500))
    )
    monkeypatch.setattr(past_module, "BYTES_MAX", 100_000)
    sizes: list[int] = []
    for _ in range(8):
        async with tenant_transaction(alone, tenant_id) as connection:
            async with past(connection, tenant_id, Moment(501), MODELS) as then:
                assert await on_hand(then, tenant_id) == {"Tea": 500}
            sizes.append(
                await connection.fetchval("SELECT pg_total_relation_size('pg_temp.movement')")
            )
    assert max(sizes) < 3 * sizes[0]


async def test_the_time_of_queries_is_that_of_the_moment(alone: Pool, tenant_id: int) -> None:
    """``now()`` is the moment's: in the world, or when its position was recorded."""
    scribe = Scribe(alone, ENGINE, tenant_id)
    await scribe.write(product(1, "Tea"))
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with tenant_transaction(alone, tenant_id) as connection:
        for moment, expected in (
            (Moment(1), scribe.now),
            (Moment(1, noon), noon),
            (Moment(0), BEFORE_ALL),
        ):
            assert await time_of(connection, tenant_id, moment) == expected
            async with past(connection, tenant_id, moment, MODELS) as then:
                assert await then.fetchval("SELECT now()") == expected
        async with past(connection, tenant_id, Moment(1), MODELS, now=noon) as then:
            assert await then.fetchval("SELECT now()") == noon
        assert await connection.fetchval("SELECT now() > $1", noon)


async def test_streams_are_found_by_their_names_alone(alone: Pool, tenant_id: int) -> None:
    """Each event once, in order, whatever names and prefixes say; by the index of streams."""
    scribe = Scribe(alone, ENGINE, tenant_id)
    for number in range(1, 13):
        await scribe.write(product(number, "P"), received(number, 1))
        issued = StockIssued(product_id=number, location_id=1, quantity=Decimal(1))
        await scribe.write((f"stock-{number}-1", issued))
    held = StockReserved(product_id=1, location_id=1, quantity=Decimal(1), reservation_id="r")
    await scribe.write(("stock-1-1", held))
    streams = Streams(
        ["product-1", "stock-1-1", "product-1"], ["stock-1-", "stock-1", "product-12"]
    )
    assert streams.bounds == (["product-1"], ["stock-1", "product-12"], ["stock-2", "product-13"])
    async with tenant_transaction(alone, tenant_id) as connection:
        found = [
            recorded.stream
            async for batch in past_module.read_past(
                connection, tenant_id, Moment(36), frozenset({"StockReceived", "StockIssued"}),
                streams, limit=2,
            )
            for recorded in batch.events
        ]  # fmt: skip
        assert found == ["stock-1-1"] * 2 + [f"stock-{n}-1" for n in (10, 11, 12) for _ in "ri"]
        plan = await connection.fetch(
            "EXPLAIN " + past_module._OF_STREAMS,  # pyright: ignore[reportPrivateUsage]
            tenant_id, 0, 37, None, [], *streams.bounds,
        )  # fmt: skip
    text = "\n".join(row[0] for row in plan)
    assert text.count("event_tenant_id_stream_version_key") == 2
    assert "event_pkey" not in text
