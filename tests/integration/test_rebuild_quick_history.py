"""The quick way into the history of stock gives the very rows that the ordinary fold gives."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.moves import MILLIONTHS
from projections.shadow import SHADOW
from projections.stock_history import Shape, StockHistory
from projections.stock_history_chunks import highest_before
from schemas.common import Event
from schemas.location import LocationOpened
from schemas.purchase import PurchaseOrderCreated
from schemas.stock import MovementReversed, StockIssued, StockReceived, StockReserved
from tests.integration.test_rebuild_quick import ENGINE, rebuilt, write
from tests.proof.test_bitemporal_stock import SMALL, Author
from tests.support.postgres import create_tenant
from tests.support.written_log import START, Scribe

NAME = "stock_history"
STEPS = 250
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tell how many events each call of the ordinary fold in a rebuild had."""
    calls: list[int] = []
    usual = StockHistory.apply

    async def counted(self: Any, connection: Any, schema: str, tenant_id: int, events: Any) -> None:
        if schema == SHADOW:
            calls.append(len(events))
        await usual(self, connection, schema, tenant_id, events)

    monkeypatch.setattr(StockHistory, "apply", counted)
    return calls


def shaped(monkeypatch: pytest.MonkeyPatch, shape: Shape) -> None:
    """Have the installed projection keep chunks of another shape."""
    history, other = ENGINE.named(NAME), StockHistory(shape)
    for name, value in vars(other).items():
        monkeypatch.setattr(history, name, value)


async def write_past_deciders(
    pool: Pool, tenant_id: int, entries: Sequence[tuple[str, Event, datetime]], size: int = 25
) -> None:
    """Write a log that only the history is made of, and fold it the ordinary way."""
    scribe = Scribe(pool, Engine(inline=(), following=()), tenant_id)
    for start in range(0, len(entries), size):
        await scribe.write(*entries[start : start + size])
    await catch_up(pool, ENGINE.named(NAME), tenant_id)


async def tables(pool: Pool, tenant_id: int) -> Rows:
    """Return all rows of the history's tables."""
    async with tenant_transaction(pool, tenant_id) as connection:
        return {
            table: [
                tuple(row)
                for row in await connection.fetch(
                    f"SELECT * FROM projections.{table} ORDER BY {', '.join(key)}"
                )
            ]
            for table, key in StockHistory.tables.items()
        }


async def rebuilt_alike(database: DatabaseAddress, pool: Pool, *tenants: int) -> Rows:
    """Rebuild the history; return all tenants' rows, which are those that were there."""
    before = [await tables(pool, tenant_id) for tenant_id in tenants]
    report = await rebuilt(database, [NAME])
    assert report.differing == []
    assert report.swapped
    assert [await tables(pool, tenant_id) for tenant_id in tenants] == before
    return {table: [row for rows in before for row in rows[table]] for table in before[0]}


@pytest.mark.parametrize(
    ("batch_events", "held_rows_max"),
    [(40_000, 500_000), (7, 500_000), (1, 500_000), (40, 4), (60, 24), (30, 45)],
    ids=["large", "small", "one by one", "ended early", "ended later", "ended by late chunks"],
)
async def test_the_rows_are_the_same_whatever_the_sizes(
    database: DatabaseAddress,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    batch_events: int,
    held_rows_max: int,
) -> None:
    """Of two tenants with all that can happen, much of it late, in chunks and runs of few."""
    shaped(monkeypatch, SMALL)
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    monkeypatch.setattr("projections.shadow.HELD_ROWS_MAX", held_rows_max)
    written = 0
    tenants = [await create_tenant(database) for _ in range(2)]
    for tenant_id in tenants:
        author = Author(seed=31 * tenant_id + batch_events)
        author.write(STEPS)
        written += len(author.events)
        await write_past_deciders(pool, tenant_id, author.events)
    rows = await rebuilt_alike(database, pool, *tenants)
    assert all(rows.values()), "a row of each table at least"
    assert {row[3] for row in rows["stock_history_sorted"]} == {1, 2, 3}
    if held_rows_max == 500_000:
        assert ordinary == []
    else:
        assert 0 < sum(ordinary) < written, "some of it either way"


@pytest.mark.parametrize("batch_events", [40_000, 13])
async def test_what_the_service_decides_is_folded_alike(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    batch_events: int,
) -> None:
    """A shop's own history, beside the other quick ways, in chunks of the usual size."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    await write(pool, tenant_id, 7)
    before = await tables(pool, tenant_id)
    report = await rebuilt(database, ["stock_levels", NAME, "stock_by_day"])
    assert report.differing == []
    assert await tables(pool, tenant_id) == before
    assert before["stock_history_straight"]
    assert before["stock_history_claim"]
    assert ordinary == []


@pytest.mark.parametrize(
    ("sums_max", "ends"),
    [(None, True), (Decimal(20_000_000), True), (Decimal(100), True), (Decimal(10**13), False)],
    ids=["as they are", "later", "none fits", "all fit"],
)
async def test_beyond_64_bits_it_is_the_ordinary_fold(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    sums_max: Decimal | None,
    ends: bool,
) -> None:
    """What is moved and what is claimed count, together."""
    shaped(monkeypatch, SMALL)
    if sums_max is not None:
        monkeypatch.setattr("projections.moves.MILLIONTHS_MAX", float(sums_max * MILLIONTHS))
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 8)
    digits = 18 if sums_max is None else 12
    chance = random.Random(4)
    entries: list[tuple[str, Event, datetime]] = []
    for n in range(80):
        quantity = Decimal(chance.randint(1, 10**digits - 1)).scaleb(-6)
        event: Event = StockReceived(product_id=1, location_id=1, quantity=quantity)
        if n % 2:
            event = StockReserved(
                product_id=1, location_id=1, quantity=quantity, reservation_id=f"r{n}"
            )
        entries.append(("stock-1-1", event, START + timedelta(seconds=n)))
    await write_past_deciders(pool, tenant_id, entries)
    rows = await rebuilt_alike(database, pool, tenant_id)
    assert len(rows["stock_history_straight"]) == 80 // SMALL.chunk
    assert bool(ordinary) == ends


@pytest.mark.parametrize("seed", [2, 3, 4])
async def test_a_stretch_that_is_not_taken_leaves_claims_as_they_were(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    ordinary: list[int],
    seed: int,
) -> None:
    """It holds events of reservations and of purchase orders, whose quantities count too."""
    shaped(monkeypatch, SMALL)
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 60)
    author = Author(seed)
    author.write(STEPS)
    total = sum(abs(getattr(event, "quantity", 0)) for _, event, _ in author.events)
    monkeypatch.setattr("projections.moves.MILLIONTHS_MAX", float(total * MILLIONTHS))
    await write_past_deciders(pool, tenant_id, author.events)
    await rebuilt_alike(database, pool, tenant_id)
    assert 0 < sum(ordinary) < len(author.events)


async def test_claims_alone_may_be_beyond_64_bits(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves, and twenty holds are of nearly the largest quantity."""
    shaped(monkeypatch, SMALL)
    entries: list[tuple[str, Event, datetime]] = [
        (
            "stock-1-1",
            StockReserved(
                product_id=1, location_id=1, quantity=Decimal(10**12 - 1), reservation_id=f"r{n}"
            ),
            START,
        )
        for n in range(20)
    ]
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 3)
    await write_past_deciders(pool, tenant_id, entries)
    rows = await rebuilt_alike(database, pool, tenant_id)
    assert len(rows["stock_history_claim"]) == 20


async def test_a_movement_elsewhere_than_its_event_is_folded_alike(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item may have entries without an event of its own; names have odd letters in them."""
    shaped(monkeypatch, SMALL)
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 5)
    chance = random.Random(9)
    entries: list[tuple[str, Event, datetime]] = []
    for n in range(60):
        came, went, stated = (chance.randint(1, 4) for _ in range(3))
        moved = MovementReversed(
            product_id=1, location_id=stated, reversed_position=1, reversed_type="StockReceived",
            from_account="unrestricted", from_location_id=came,
            to_account="supplier", to_location_id=went,
            quantity=Decimal(n % 5),
        )  # fmt: skip
        at = START + timedelta(seconds=n - chance.choice((0, 0, 9)))
        entries.append(("stock-1-1", moved, at))
    names = ["\\N", "a\tb", "c\nd\r", "\\.", 'e\\tf"', "ü"]
    entries += [
        (
            "stock-2-1",
            StockReserved(product_id=2, location_id=1, quantity=Decimal(2), reservation_id=name),
            START,
        )
        for name in names
    ]
    entries.append(
        (
            "stock-2-1",
            StockIssued(product_id=2, location_id=1, quantity=Decimal(1), reservation_id="ü"),
            START,
        )
    )
    await write_past_deciders(pool, tenant_id, entries)
    rows = await rebuilt_alike(database, pool, tenant_id)
    assert sorted(row[3] for row in rows["stock_history_claim"]) == sorted(names)


async def test_orders_that_have_brought_nothing_are_all_there_is(
    database: DatabaseAddress, pool: Pool, tenant_id: int
) -> None:
    """No item has anything yet; and another tenant's log has nothing of stock at all."""
    author = Author(seed=1)
    author.write(STEPS)
    drafts = [entry for entry in author.events if isinstance(entry[1], PurchaseOrderCreated)]
    other = await create_tenant(database)
    await write_past_deciders(pool, tenant_id, drafts)
    opened = LocationOpened(location_id=1, code="A", name="A")
    await write_past_deciders(pool, other, [("location-1", opened, START)])
    rows = await rebuilt_alike(database, pool, tenant_id, other)
    assert {table for table in rows if rows[table]} == {"stock_history_purchase"}
    assert len(rows["stock_history_purchase"]) == len(drafts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_highest_before_is_found_group_by_group(seed: int) -> None:
    """As a loop finds it, with values of the whole range of times."""
    chance = random.Random(seed)
    groups = sorted(chance.choices(range(5), k=40))
    values = [chance.choice((0, 5, 2**62, 2**63 - 1, chance.randrange(2**63))) for _ in groups]
    known = {group: chance.choice((0, 7, 2**62)) for group in groups}
    expected: list[int] = []
    reached = dict(known)
    for group, value in zip(groups, values, strict=True):
        expected.append(reached[group])
        reached[group] = max(reached[group], value)
    before = np.array([known[group] for group in groups])
    found = highest_before(np.array(groups), np.array(values), before)
    assert found.tolist() == expected
