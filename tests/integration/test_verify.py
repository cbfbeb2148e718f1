"""`verify` is green on a sound ledger, and finds and locates each thing broken on purpose."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool
from projections.engine import Engine
from projections.following import catch_up
from projections.rebuild import rebuild
from projections.verify import Verdict
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductRegistered
from schemas.stock import (
    CountVarianceRevised,
    ReservationReleased,
    StockAdjusted,
    StockIssued,
    StockReceived,
    StockReserved,
    TransferReceived,
    TransferShipped,
)
from tests.support.postgres import create_tenant
from tests.support.proving import prove
from tests.support.written_log import START, Scribe

ENGINE = Engine()
FOLLOWING = ENGINE.following[0]


@pytest.fixture(autouse=True)
async def confined(database: DatabaseAddress) -> None:
    """Leave the service's role no more than a deployment does: it may only connect."""
    connection = await asyncpg.connect(**database.administrator)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO stockledger_app")
    finally:
        await connection.close()


def item(product: int, location: int, event: Any, quantity: str, **more: Any) -> Any:
    """Make an entry of an item's stream."""
    return f"stock-{product}-{location}", event(
        product_id=product, location_id=location, quantity=Decimal(quantity), **more
    )


@pytest.fixture
async def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """A sound log of some length, with everything folded."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    await scribe.write(
        ("location-1", LocationOpened(location_id=1, name="Sydney", code="SYD", is_default=True)),
        (
            "location-2",
            LocationOpened(location_id=2, name="Perth", code="PER", time_zone="Australia/Perth"),
        ),
        *(
            (
                f"product-{n}",
                ProductRegistered(
                    product_id=n, name=f"P{n}", sku=f"SKU-{n}", base_price=Decimal("1.5")
                ),
            )
            for n in range(1, 6)
        ),
    )
    for n in range(1, 6):
        await scribe.write(item(n, 1, StockReceived, "100"), item(n, 1, StockIssued, "7.5"))
    await scribe.write(
        item(1, 1, StockReserved, "20", reservation_id="a"),
        item(1, 1, TransferShipped, "30", transfer_id=1, to_location_id=2),
        item(1, 2, TransferReceived, "30", transfer_id=1, from_location_id=1),
        item(1, 1, StockIssued, "5", reservation_id="a"),
    )
    await catch_up(pool, FOLLOWING, tenant_id)
    return scribe


async def proven(database: DatabaseAddress, scribe: Scribe, **more: Any) -> Verdict:
    """Verify the tenant, reading as the service does and folding as the owner."""
    return await prove(database, scribe.pool, scribe.engine, scribe.tenant_id, **more)


async def faults(database: DatabaseAddress, scribe: Scribe) -> dict[str, str]:
    """Return what is wrong, by check, as one text each."""
    verdict = await proven(database, scribe)
    return {check.name: "\n".join(check.faults) for check in verdict.checks if not check.ok}


async def tamper(database: DatabaseAddress, statement: str) -> None:
    """Do what only a superuser can: past the triggers and row-level security."""
    connection = await asyncpg.connect(**database.administrator)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_sound_ledger_is_green(database: DatabaseAddress, scribe: Scribe) -> None:
    """Everything was looked at, and nothing found, twice over one pool."""
    for _ in range(2):
        verdict = await proven(database, scribe)
        assert verdict.ok, verdict
        counts = {check.name: check.checked for check in verdict.checks}
        assert verdict.position == counts["leaf hashes"] == 21
        assert counts["movement = log"] == 13
        assert counts["stock_by_day = log"] == 6
        assert counts["no oversell (I6)"] == 14


async def test_an_empty_ledger_is_green(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """There is nothing to find, and nothing to trip over."""
    assert (await prove(database, pool, ENGINE, tenant_id)).ok


async def test_an_unknown_tenant_is_an_error(database: DatabaseAddress, pool: Pool) -> None:
    """It is not called sound."""
    with pytest.raises(LookupError):
        await prove(database, pool, ENGINE, 4711)


async def test_progress_is_told_up_to_the_head(database: DatabaseAddress, scribe: Scribe) -> None:
    """The last call says that all is done."""
    calls: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        calls.append((done, total))

    await proven(database, scribe, progress=note)
    assert calls[-1] == (21, 21)


async def test_it_goes_on_beside_writers(database: DatabaseAddress, scribe: Scribe) -> None:
    """What is appended meanwhile is not in the snapshot, and disturbs nothing."""

    async def write() -> None:
        for _ in range(30):
            await scribe.write(item(2, 1, StockReceived, "1"))

    writing = asyncio.create_task(write())
    for _ in range(3):
        inline = {
            check.name: check.faults
            for check in (await proven(database, scribe)).checks
            if not check.ok
        }
        assert inline == {}
    await writing


@pytest.mark.parametrize(
    ("statement", "check", "where"),
    [
        pytest.param(
            """UPDATE ledger.event SET data = replace(data::text, '"100"', '"101"')::json
               WHERE position = 8""",
            "leaf hashes",
            "position 8 (StockReceived)",
            id="an event's data",
        ),
        pytest.param(
            """UPDATE ledger.event SET meta = '{"actor":"user:2","source":"test"}'
               WHERE position = 9""",
            "leaf hashes",
            "position 9",
            id="an event's actor",
        ),
        pytest.param(
            "UPDATE ledger.event SET effective_at = effective_at - interval '1 day' "
            "WHERE position = 10",
            "leaf hashes",
            "position 10",
            id="an event's time",
        ),
        pytest.param(
            "DELETE FROM ledger.event WHERE position = 12",
            "positions 1, 2, 3 …",
            "position 13 follows position 11",
            id="an event gone",
        ),
        pytest.param(
            "DELETE FROM ledger.event WHERE position = 21",
            "positions 1, 2, 3 …",
            "the head is at 21, the log ends at 20",
            id="the last event gone",
        ),
        pytest.param(
            "UPDATE ledger.event SET version = 7 WHERE position = 9",
            "stream versions",
            "stream stock-1-1 has version 3 at position 18 after version 1",
            id="a stream's version",
        ),
        pytest.param(
            "UPDATE ledger.event SET recorded_at = recorded_at - interval '1 day' "
            "WHERE position = 15",
            "recorded_at never goes back",
            "position 15",
            id="the clock",
        ),
        pytest.param(
            "UPDATE ledger.event SET type = 'Imagined' WHERE position = 11",
            "events readable",
            "position 11",
            id="an unknown type",
        ),
        pytest.param(
            "UPDATE ledger.head SET root = sha256('x')",
            "Merkle tree",
            "the log's root is",
            id="the root",
        ),
        pytest.param(
            "UPDATE ledger.head SET frontier = frontier[2:]",
            "Merkle tree",
            "frontier",
            id="the frontier",
        ),
        pytest.param(
            """INSERT INTO proof.checkpoint (tenant_id, size, root, note, keys, signed_at)
               SELECT tenant_id, 5, sha256('x'), '', '{}', now() FROM ledger.head""",
            "signed checkpoints",
            "the first 5 events are not those that were signed",
            id="what was signed",
        ),
        pytest.param(
            """INSERT INTO proof.checkpoint (tenant_id, size, root, note, keys, signed_at)
               SELECT tenant_id, 9999, sha256('x'), '', '{}', now() FROM ledger.head""",
            "signed checkpoints",
            "9999 events were signed; the log ends at",
            id="an end that was signed",
        ),
        pytest.param(
            """INSERT INTO ledger.idempotency
               SELECT tenant_id, 'k', '', '', false, 201, '', false, 999, now()
               FROM ledger.head""",
            "idempotency keys",
            "key 'k' stands for position 999",
            id="a key for nothing",
        ),
        pytest.param(
            "UPDATE projections.stock_level SET unrestricted = unrestricted + 1 "
            "WHERE product_id = 3",
            "stock_level = log",
            "stock_level (product_id=3, location_id=1): "
            "unrestricted is 93.500000 and should be 92.500000",
            id="a balance, against the log",
        ),
        pytest.param(
            "UPDATE projections.stock_level SET unrestricted = unrestricted + 1 "
            "WHERE product_id = 3",
            "conservation",
            "product 3 add up to 1.000000",
            id="a balance, against conservation",
        ),
        pytest.param(
            "UPDATE projections.stock_level SET unrestricted = unrestricted + 1, "
            "supplier = supplier - 1 WHERE product_id = 3",
            "levels = sum of movements",
            "product 3 at location 1",
            id="a balance, against movements",
        ),
        pytest.param(
            "UPDATE projections.movement SET to_balance = 99 WHERE position = 8",
            "movements' balances",
            "after the movement at position 8, unrestricted of product 1",
            id="a movement's balance",
        ),
        pytest.param(
            "UPDATE projections.movement SET effective_at = effective_at - interval '1 day' "
            "WHERE position = 9",
            "movements = their events",
            "the movement at position 9",
            id="a movement's time",
        ),
        pytest.param(
            "DELETE FROM projections.movement WHERE position = 9",
            "movement = log",
            "movement (position=9) is missing",
            id="a movement gone",
        ),
        pytest.param(
            "UPDATE projections.reservation SET quantity_left = 1",
            "reserved = sum of holds",
            "reserved of product 1 at location 1 is 15.000000, its holds add up to 1.000000",
            id="a hold",
        ),
        pytest.param(
            "UPDATE projections.product SET sku = 'other' WHERE product_id = 2",
            "product = log",
            "product (product_id=2): sku is other and should be SKU-2",
            id="a product",
        ),
        pytest.param(
            """INSERT INTO projections.alias
               SELECT tenant_id, 'sku', 'ghost', 9 FROM ledger.head""",
            "alias = log",
            "alias (kind=sku, key=ghost) should not be there",
            id="an alias",
        ),
        pytest.param(
            "UPDATE projections.location SET is_default = true",
            "location = log",
            "location (location_id=2): is_default is True",
            id="a second default",
        ),
        pytest.param(
            "UPDATE projections.stock_by_day SET issued = 0 WHERE product_id = 4",
            "stock_by_day = log",
            "product_id=4, location_id=1, day=2030-05-01",
            id="a day's figure",
        ),
        pytest.param(
            "UPDATE projections.checkpoint SET parked_at = now(), parked_position = 3, "
            "parked_reason = 'ValueError: no'",
            "following projections run",
            "stock_by_day is parked before position 3: ValueError: no",
            id="a parked projection",
        ),
    ],
)
async def test_what_is_broken_is_found_and_located(
    database: DatabaseAddress, scribe: Scribe, statement: str, check: str, where: str
) -> None:
    """The check that is meant for it names the place."""
    await tamper(database, statement)
    found = await faults(database, scribe)
    assert where in found.get(check, ""), found


async def test_a_fault_of_one_tenant_is_not_anothers(
    database: DatabaseAddress, scribe: Scribe
) -> None:
    """A tenant is proved by its own rows only."""
    other = Scribe(scribe.pool, ENGINE, await create_tenant(database))
    await other.write(item(3, 1, StockReceived, "5"))
    await catch_up(scribe.pool, FOLLOWING, other.tenant_id)
    await tamper(
        database,
        f"UPDATE projections.stock_level SET reserved = 1 WHERE tenant_id = {scribe.tenant_id}",
    )
    assert (await proven(database, other)).ok
    assert not (await proven(database, scribe)).ok


async def test_an_oversell_is_found(database: DatabaseAddress, scribe: Scribe) -> None:
    """The log is sound in itself and the read models follow it, but a rule was broken."""
    await scribe.write(item(2, 1, StockIssued, "92.6"))
    assert (
        "position 22 leaves -0.1 available of product 2"
        in (await faults(database, scribe))["no oversell (I6)"]
    )


async def test_a_promise_too_many_is_found(database: DatabaseAddress, scribe: Scribe) -> None:
    """Claims lower what is available as issues do."""
    await scribe.write(item(2, 1, StockReserved, "90", reservation_id="x"))
    await scribe.write(item(2, 1, StockReserved, "3", reservation_id="y"))
    assert set(await faults(database, scribe)) - {"stock_by_day = log"} == {"no oversell (I6)"}


async def test_an_oversell_in_the_past_is_found(database: DatabaseAddress, scribe: Scribe) -> None:
    """Goods that went out before they came in, though they are all there now."""
    stream, issue = item(2, 1, StockIssued, "10")
    await scribe.write((stream, issue, START - timedelta(days=3)))
    found = await faults(database, scribe)
    assert set(found) == {"nothing below zero in business time"}
    assert "product 2 at location 1 falls to -10" in found["nothing below zero in business time"]


async def test_what_the_rules_allow_is_no_oversell(
    database: DatabaseAddress, scribe: Scribe
) -> None:
    """Limits below zero, limits raised, expired claims, and counts that make up for the past."""
    await scribe.write(
        (
            "location-1",
            LocationRevised(location_id=1, name="Sydney", code="SYD", stock_limit=Decimal(-10)),
        ),
        item(2, 1, StockIssued, "100"),
        ("location-1", LocationRevised(location_id=1, name="Sydney", code="SYD")),
        item(2, 1, StockReceived, "1"),
        item(3, 1, StockReserved, "90", reservation_id="x", expires_at=START),
        item(3, 1, StockIssued, "92"),
        item(3, 1, ReservationReleased, "90", reservation_id="x", cause="expired"),
        (
            "stock-2-1",
            CountVarianceRevised(
                product_id=2, location_id=1, quantity=Decimal(2), count_position=1
            ),
        ),
        item(2, 1, StockAdjusted, "-2"),
    )
    await catch_up(scribe.pool, FOLLOWING, scribe.tenant_id)
    assert await faults(database, scribe) == {}


def revision(product: int, quantity: str) -> Any:
    """Make an entry that makes up for a movement recorded late, at a count's time."""
    return item(product, 1, CountVarianceRevised, quantity, count_position=1)


async def below_a_raised_limit(scribe: Scribe) -> None:
    """Bring product 2 to -2, as its location allows, and then allow it no longer."""
    low = LocationRevised(location_id=1, name="Sydney", code="SYD", stock_limit=Decimal(-10))
    await scribe.write(
        ("location-1", low),
        item(2, 1, StockIssued, "94.5"),
        ("location-1", LocationRevised(location_id=1, name="Sydney", code="SYD")),
    )


@pytest.mark.parametrize("raised_first", [True, False])
async def test_a_late_movement_and_its_revision_are_judged_together(
    database: DatabaseAddress, scribe: Scribe, raised_first: bool
) -> None:
    """The two leave what was there before, whichever is recorded first."""
    await below_a_raised_limit(scribe)
    if raised_first:
        await scribe.write(item(2, 1, StockReceived, "4"), revision(2, "-4"))
    else:
        await scribe.write(revision(2, "4"), item(2, 1, StockIssued, "4"))
    assert "no oversell (I6)" not in await faults(database, scribe)


async def test_a_revision_hides_no_oversell(database: DatabaseAddress, scribe: Scribe) -> None:
    """Not one alone, nor one of another commit, nor one that gives back too little."""
    await below_a_raised_limit(scribe)
    await scribe.write(revision(2, "-1"))
    await scribe.write(item(2, 1, StockReceived, "1"))
    await scribe.write(revision(2, "-1"))
    await scribe.write(revision(2, "1"), item(2, 1, StockIssued, "3"))
    found = (await faults(database, scribe))["no oversell (I6)"]
    assert [line.split(" ")[1] for line in found.split("\n")] == ["25", "27", "29"]


async def test_a_rebuild_mends_what_verify_found(database: DatabaseAddress, scribe: Scribe) -> None:
    """Read models are derived: made anew they are right, if that is asked for."""
    await tamper(database, "DELETE FROM projections.movement; DELETE FROM projections.product")
    assert not (await proven(database, scribe)).ok
    reader = await asyncpg.connect(**database.owner)
    writer = await asyncpg.connect(**database.owner)
    try:
        report = await rebuild(
            reader, writer, ENGINE, ["stock_levels", "products"], replace_different=True
        )
    finally:
        await reader.close()
        await writer.close()
    assert [table.table for table in report.differing] == ["movement", "product"]
    assert (await proven(database, scribe)).ok
