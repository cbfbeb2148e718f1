"""The quick way into empty tables gives the very rows that the ordinary fold gives."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import asyncpg
import msgspec
import pytest

from deploy.address import DatabaseAddress
from ledger.domain.decision import RecordedEvent
from ledger.store import Pool, tenant_transaction
from projections import rebuild as rebuilding
from projections.engine import Engine
from projections.following import catch_up
from projections.moves import MILLIONTHS
from projections.rebuild import RebuildFailed, Report, rebuild
from projections.shadow import SHADOW
from projections.stock_by_day import StockByDay
from projections.stock_levels import StockLevels
from schemas.books import BooksConfigured
from schemas.common import Event
from schemas.location import LocationOpened
from schemas.product import ProductRegistered
from schemas.stock import StockIssued, StockReceived, StockReserved
from tests.property.test_stock_decider import (
    KINDS,
    LOCATIONS,
    STEP_MINUTES,
    Step,
    command_of,
    stocked,
)
from tests.support.decisions import World, minutes, shop
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe

ENGINE = Engine()
ALL = [projection.name for projection in ENGINE.projections]
STEPS = 150


def history(seed: int) -> Sequence[RecordedEvent]:
    """Return a shop's history of everything that can happen to stock, at random."""
    chance = random.Random(seed)
    world: World = stocked(shop(stock_limit="-4"))
    for _ in range(STEPS):
        step = Step(
            wait=chance.randint(0, 3),
            back=chance.choice([None, chance.randint(0, 12)]),
            kind=chance.choice(KINDS),
            location_id=chance.choice(LOCATIONS),
            quantity=chance.randint(1, 9),
            name=chance.choice(["a", "b", "c\td\\ "]),
            pick=chance.randint(0, 400),
            flag=chance.random() < 0.5,
        )
        world.now += minutes(STEP_MINUTES * step.wait)
        # What is refused is not in the history.
        world.do(command_of(step, world))
    return world.log


async def write(pool: Pool, tenant_id: int, seed: int) -> None:
    """Write a history in groups of random sizes, and have those that follow catch up."""
    chance = random.Random(seed)
    scribe = Scribe(pool, ENGINE, tenant_id)
    rest = [(r.stream, r.event, r.effective_at) for r in history(seed)]
    while rest:
        size = chance.randint(1, 12)
        await scribe.write(*rest[:size])
        rest = rest[size:]
    await scribe.write(held("\t still open"))
    await catch_up_all(pool, tenant_id)


async def catch_up_all(pool: Pool, tenant_id: int) -> None:
    """Have those that follow catch up."""
    for projection in ENGINE.following:
        await catch_up(pool, projection, tenant_id)


def held(name: str) -> tuple[str, Event]:
    """Make a hold of that name and owner."""
    return "stock-1-1", StockReserved(
        product_id=1, location_id=1, quantity=Decimal(1), reservation_id=name, owner=name
    )


async def rebuilt(database: DatabaseAddress, names: Sequence[str] = ALL) -> Report:
    """Rebuild."""
    reader = await asyncpg.connect(**database.owner)
    writer = await asyncpg.connect(**database.owner)
    try:
        return await rebuild(reader, writer, ENGINE, names)
    finally:
        await reader.close()
        await writer.close()


@pytest.mark.parametrize(
    ("batch_events", "held_rows_max"),
    [(40_000, 500_000), (7, 500_000), (1, 500_000), (60, 4), (90, 12)],
    ids=["large", "small", "one by one", "ended early", "ended later"],
)
async def test_the_rows_are_the_same_whatever_the_sizes(
    database: DatabaseAddress,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    batch_events: int,
    held_rows_max: int,
) -> None:
    """Of two tenants; and where memory is short, from the middle on by the ordinary fold."""
    for name, value in (
        ("BATCH_EVENTS", batch_events),
        ("HELD_ROWS_MAX", held_rows_max),
    ):
        monkeypatch.setattr(f"projections.shadow.{name}", value)
    for seed in (1, 2):
        await write(pool, await create_tenant(database), seed + batch_events)
    report = await rebuilt(database, ["stock_levels", "stock_by_day"])
    assert report.differing == []
    rows = {row.table: row.rows_rebuilt for row in report.tables}
    assert rows["movement"] > 50
    assert rows["stock_by_day"] > 0
    assert rows["reservation"] > 0


async def test_a_log_that_grows_meanwhile_is_folded_quickly_to_its_end(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the next target is looked up, there is more by then; of those that follow, less."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 9)
    monkeypatch.setattr("projections.shadow.CATCH_UP_EVENTS_SMALL", 5)
    scribe = Scribe(pool, ENGINE, tenant_id)
    behind = ENGINE.named("stock_by_day")
    grows = [40, 30, 21, 12, 3, 0]
    looked = 0

    async def grow() -> None:
        nonlocal looked
        more = grows[looked] if looked < len(grows) else 0
        for nth in range(more):
            await scribe.write(held(f"hold {scribe.now}"), *moved(scribe.now.second % 4))
            if nth == more // 2:
                await catch_up(pool, behind, tenant_id)
        looked += 1

    live = rebuilding._live  # pyright: ignore[reportPrivateUsage]

    async def live_by_then(*arguments: Any) -> Any:
        await grow()
        return await live(*arguments)

    monkeypatch.setattr(rebuilding, "_live", live_by_then)
    ordinary = 0
    for projection in (StockLevels, StockByDay):
        usual = projection.apply

        async def counted(
            self: Any,
            connection: Any,
            schema: str,
            tenant: int,
            events: Any,
            usual: Any = usual,
        ) -> None:
            nonlocal ordinary
            ordinary += len(events) if schema == SHADOW else 0
            await usual(self, connection, schema, tenant, events)

        monkeypatch.setattr(projection, "apply", counted)
    report = await rebuilt(database, ["stock_levels", "stock_by_day"])
    assert report.differing == []
    assert looked >= len(grows)
    assert report.events == 3 * sum(grows)
    movements = next(row for row in report.tables if row.table == "movement")
    assert movements.rows_rebuilt == 2 * sum(grows)
    assert ordinary <= 3 * 3, "no more than what came last"


def moved(product: int) -> list[tuple[str, Event]]:
    """Make a receipt and an issue."""
    return [
        (
            f"stock-{product + 1}-1",
            kind(product_id=product + 1, location_id=1, quantity=Decimal(2)),
        )
        for kind in (StockReceived, StockIssued)
    ]


@pytest.mark.parametrize(
    ("digits", "sums_max"),
    [(12, None), (18, None), (12, Decimal("20000000.5")), (12, Decimal(100))],
    ids=["all fit", "as they are", "ended later", "none fits"],
)
async def test_zones_change_and_quantities_have_decimals(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    digits: int,
    sums_max: Decimal | None,
) -> None:
    """Days are of the zone that a place had at the time; beyond 64 bits it is the ordinary fold."""
    if sums_max is not None:
        monkeypatch.setattr("projections.moves.MILLIONTHS_MAX", float(sums_max * MILLIONTHS))
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 11)
    scribe = Scribe(pool, ENGINE, tenant_id)
    chance = random.Random(5)
    zones = ["UTC", "Pacific/Kiritimati", "America/St_Johns", "Pacific/Niue"]
    facts = LocationOpened(location_id=1, code="A", name="A")
    for zone in zones:
        await scribe.write(
            ("location-1", msgspec.structs.replace(facts, time_zone=zone)),
            *(
                (
                    f"stock-{product_id}-{location_id}",
                    StockReceived(
                        product_id=product_id,
                        location_id=location_id,
                        quantity=Decimal(chance.randint(1, 10**digits - 1)).scaleb(-6),
                    ),
                    datetime(
                        1969 + chance.randint(0, 90), 3, 28, chance.randint(0, 23), tzinfo=UTC
                    ),
                )
                for product_id in (1, 2)
                for location_id in (1, 2)
                for _ in range(4)
            ),
        )
    await catch_up_all(pool, tenant_id)
    report = await rebuilt(database, ["stock_levels", "stock_by_day"])
    assert report.differing == []
    assert {row.rows_rebuilt for row in report.tables if row.table == "movement"} == {64}


async def test_what_this_release_cannot_read_is_told(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """In our streams; those of others are theirs."""

    class Melted(Event, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "Melted"

    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(held("a"), ("lamp-1", Melted()))
    assert (await rebuilt(database, ["stock_levels"])).differing == []
    await scribe.write(("stock-1-1", Melted()))
    with pytest.raises(RebuildFailed, match="Melted"):
        await rebuilt(database, ["stock_levels"])


async def test_the_tables_are_as_they_were_made(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """Keys, indexes, protection and rights come back with the rows."""
    await write(pool, tenant_id, 3)
    before = await _shape(pool)
    assert (await rebuilt(database)).swapped
    assert await _shape(pool) == before
    assert len(before) > 50


async def _shape(pool: Pool) -> list[Any]:
    async with pool.acquire() as connection:
        return await connection.fetch(
            """
            SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text,
                   c.reloptions,
                   (SELECT array_agg(conname || pg_get_constraintdef(oid) ORDER BY conname)
                    FROM pg_constraint WHERE conrelid = c.oid) AS constraints,
                   (SELECT array_agg(pg_get_indexdef(indexrelid)
                                     ORDER BY indexrelid::regclass::text)
                    FROM pg_index WHERE indrelid = c.oid) AS indexes,
                   (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) AS policies
            FROM pg_class c
            WHERE c.relnamespace = 'projections'::regnamespace AND c.relkind = 'r'
            ORDER BY c.relname
            """
        )


async def test_a_hold_with_odd_letters_in_its_name_is_copied_as_it_is(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """Tabs, lines, backslashes and what looks like a null."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    names = ["\\N", "a\tb", "c\nd\r", "\\.", "e\\tf"]
    await scribe.write(*map(held, names))
    assert (await rebuilt(database, ["stock_levels"])).differing == []
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch("SELECT reservation_id, owner FROM projections.reservation")
    assert sorted(map(tuple, rows)) == sorted((name, name) for name in names)


async def test_a_fold_that_reads_by_cursors_is_rebuilt(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """Another method of valuation costs all that came before anew, and goes through it."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(
        ("location-1", LocationOpened(location_id=1, code="MAIN", name="Main")),
        *(
            (
                f"product-{n}",
                ProductRegistered(product_id=n, sku=f"P{n}", name=f"P{n}", base_price=Decimal(9)),
            )
            for n in (1, 2, 3)
        ),
    )
    for n in range(60):
        product_id = n % 3 + 1
        came = StockReceived(
            product_id=product_id, location_id=1, quantity=Decimal(2), unit_cost=Decimal(n + 1)
        )
        went = StockIssued(product_id=product_id, location_id=1, quantity=Decimal(1))
        await scribe.write((f"stock-{product_id}-1", came), (f"stock-{product_id}-1", went))
    await scribe.write(
        ("books-1", BooksConfigured(valuation_method="average", time_zone="Europe/London"))
    )
    await catch_up_all(pool, tenant_id)
    assert (await rebuilt(database)).differing == []
