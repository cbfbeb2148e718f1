"""Sales by day: what is recognised, on which day, net of returns and reversals."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.sales import DaySales, Sales, sales_by_day
from schemas.location import LocationOpened, LocationRevised
from schemas.stock import MovementReversed, StockAdjusted, StockIssued, StockReceived
from tests.support.postgres import create_tenant
from tests.support.proving import prove
from tests.support.written_log import Scribe, Written

SALES = Sales()
SYDNEY = "Australia/Sydney"
MAY_5 = datetime(2026, 5, 5, 12, tzinfo=UTC)


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log."""
    return Scribe(pool, Engine(), tenant_id)


def sold(quantity: str, price: str | None, at: datetime = MAY_5, **more: Any) -> Written:
    """An issue of product 7 at location 1."""
    return "stock-7-1", StockIssued(**_of_seven(quantity, price), **more), at


def returned(quantity: str, price: str | None, at: datetime = MAY_5, **more: Any) -> Written:
    """A customer's return of product 7 to location 1."""
    more.setdefault("source", "customer")
    return "stock-7-1", StockReceived(**_of_seven(quantity, price), **more), at


def _of_seven(quantity: str, price: str | None) -> dict[str, Any]:
    return {
        "product_id": 7,
        "location_id": 1,
        "quantity": Decimal(quantity),
        "unit_price": None if price is None else Decimal(price),
    }


def undone(
    position: int, quantity: str, accounts: tuple[str, str], at: datetime = MAY_5
) -> Written:
    """The reversal of a movement, from one account to the other."""
    event: Any = MovementReversed
    kind = "StockIssued" if accounts[1] == "unrestricted" else "StockReceived"
    return (
        "stock-7-1",
        event(
            product_id=7, location_id=1, reversed_position=position, reversed_type=kind,
            quantity=Decimal(quantity), from_account=accounts[0], from_location_id=1,
            to_account=accounts[1], to_location_id=1,
        ),
        at,
    )  # fmt: skip


SOLD_BACK = ("customer", "unrestricted")
GIVEN_AGAIN = ("unrestricted", "customer")


async def rows(scribe: Scribe, table: str = "sales_day") -> list[tuple[Any, ...]]:
    """Fold what is new; return a table's rows."""
    assert await catch_up(scribe.pool, SALES, scribe.tenant_id) is not None
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        found = await connection.fetch(f"SELECT * FROM projections.{table}")
    return sorted(tuple(row)[1:] for row in found)


async def test_revenue_is_quantity_times_price_by_product_and_day(scribe: Scribe) -> None:
    """Of what went to customers; other movements sell nothing."""
    other_day = datetime(2026, 5, 6, tzinfo=UTC)
    await scribe.write(
        ("stock-7-1", StockReceived(product_id=7, location_id=1, quantity=Decimal(90))),
        sold("2", "49.99"),
        sold("1.5", "10"),
        sold("3", "1", other_day),
        sold("4", "5", destination="supplier"),
        returned("6", "7", source="supplier"),
        ("stock-7-1", StockAdjusted(product_id=7, location_id=1, quantity=Decimal(-1))),
        ("stock-8-2", StockIssued(product_id=8, location_id=2, quantity=Decimal(1))),
    )
    zero = Decimal(0)
    assert await rows(scribe) == [
        (date(2026, 5, 5), 7, 1, Decimal("3.5"), Decimal("114.98"), zero, zero, zero, zero),
        (date(2026, 5, 6), 7, 1, Decimal(3), Decimal(3), zero, zero, zero, zero),
        (scribe.now.date(), 8, 2, Decimal(1), zero, Decimal(1), zero, zero, zero),
    ]


async def test_returns_are_taken_off_and_counted_apart(scribe: Scribe) -> None:
    """What customers were given back, also where the ledger does not know how much."""
    await scribe.write(sold("5", "10"), returned("2", "9.5"), returned("1", None))
    assert await rows(scribe) == [
        (date(2026, 5, 5), 7, 1, Decimal(5), Decimal(50), Decimal(0),
         Decimal(3), Decimal(19), Decimal(1)),
    ]  # fmt: skip
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        may = date(2026, 5, 1), date(2026, 5, 31)
        assert await sales_by_day(connection, scribe.tenant_id, *may) == [
            DaySales(date(2026, 5, 5), Decimal(31), Decimal(0))
        ]


async def test_a_reversal_takes_off_what_its_movement_was_sold_for(scribe: Scribe) -> None:
    """On its own day, with the price that it does not name; in the same batch or a later one."""
    later = datetime(2026, 5, 9, tzinfo=UTC)
    await scribe.write(sold("5", "10.10"), undone(1, "5", SOLD_BACK), sold("2", None))
    await rows(scribe)
    await scribe.write(returned("1", "8"), undone(3, "2", SOLD_BACK, later))
    await rows(scribe)
    await scribe.write(undone(4, "1", GIVEN_AGAIN, later))
    zero = Decimal(0)
    assert await rows(scribe) == [
        (date(2026, 5, 5), 7, 1, Decimal(2), zero, Decimal(2), Decimal(1), Decimal(8), zero),
        (later.date(), 7, 1, Decimal(-2), zero, Decimal(-2), Decimal(-1), Decimal(-8), zero),
    ]


async def test_a_day_is_the_locations_by_its_zone_at_the_time(scribe: Scribe) -> None:
    """23:30 in UTC is the next day in Sydney; a later change of zone moves no day."""
    late = datetime(2026, 5, 5, 23, 30, tzinfo=UTC)
    await scribe.write(
        ("location-1", LocationOpened(location_id=1, name="S", code="S", time_zone=SYDNEY)),
        sold("1", "10", late),
    )
    await rows(scribe)
    await scribe.write(
        ("location-1", LocationRevised(location_id=1, name="S", code="S", time_zone="UTC")),
        sold("2", "10", late),
    )
    assert [(row[0].day, row[3]) for row in await rows(scribe)] == [(5, 2), (6, 1)]
    assert await rows(scribe, "sales_zone") == [(1, "UTC")]


async def test_the_largest_figures_are_exact(scribe: Scribe) -> None:
    """18 digits times 18 digits, to the last of them."""
    most, least = "999999999999.999999", "0.000001"
    await scribe.write(sold(most, most), sold(least, least))
    ((*_, sold_units, revenue, _, _, _, _),) = await rows(scribe)
    assert sold_units == Decimal(1000000000000)
    assert revenue == Decimal("999999999999999998000000.000000000002")


async def test_one_batch_or_many_give_the_same_rows(database: DatabaseAddress, pool: Pool) -> None:
    """And `verify`, which folds in a third way, agrees."""
    late = datetime(2026, 5, 5, 23, 30, tzinfo=UTC)
    entries: list[Written] = [
        ("location-1", LocationOpened(location_id=1, name="S", code="S", time_zone=SYDNEY)),
        returned("9", None, source="supplier"),
        sold("5", "10.10", late),
        sold("2", None, late),
        undone(3, "5", SOLD_BACK, late),
        ("location-1", LocationRevised(location_id=1, name="S", code="S", time_zone="UTC")),
        returned("1", "8", late),
        undone(7, "1", GIVEN_AGAIN),
        undone(4, "2", SOLD_BACK),
        sold("1", "0", late),
    ]
    contents: list[list[Any]] = []
    for whole in (True, False):
        scribe = Scribe(pool, Engine(), await create_tenant(database))
        scribe.now = MAY_5
        if whole:
            await scribe.write(*entries)
        for entry in () if whole else entries:
            await scribe.write(entry)
            await rows(scribe)
        contents.append([await rows(scribe), await rows(scribe, "sale_price")])
        verdict = await prove(database, pool, scribe.engine, scribe.tenant_id)
        names = {f"{table} = log" for table in SALES.tables}
        found = {each.name: each.faults for each in verdict.checks if each.name in names}
        assert found == {name: [] for name in names}
    assert contents[0] == contents[1]
    assert len(contents[0][0]) == 2
