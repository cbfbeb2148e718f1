"""The valuation: what goes wrong elsewhere, in small examples to be checked by hand."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.money import cents, in_cents
from projections.valuation import Valuation
from projections.valuation_queries import (
    cogs_of_periods,
    cogs_of_products,
    inventory_value,
    purchase_price_variance,
)
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import (
    MovementReversed,
    StockAdjusted,
    StockIssued,
    StockReceived,
    TransferReceived,
    TransferShipped,
)
from tests.support.postgres import create_tenant
from tests.support.proving import prove
from tests.support.written_log import Scribe, Written

VALUATION = Valuation()
MAY = (date(2030, 5, 1), date(2030, 5, 31))
APRIL = (date(2030, 4, 1), date(2030, 4, 30))
JUNE = (date(2030, 6, 1), date(2030, 6, 30))
EVER = (date(2000, 1, 1), date(2100, 1, 1))
Row = tuple[int, int, Decimal, Decimal]


class Shop:
    """A tenant with product 7 at locations 1 and 2, written event by event."""

    def __init__(self, scribe: Scribe) -> None:
        self.scribe = scribe
        self.tenant_id = scribe.tenant_id

    async def tell(self, *entries: Written) -> list[int]:
        """Append events and fold them; return their positions."""
        recorded = await self.scribe.write(*entries)
        await catch_up(self.scribe.pool, VALUATION, self.tenant_id)
        return [event.position for event in recorded]

    async def value(self, day: date = date.max) -> Decimal:
        """Return what everything is worth."""
        async with tenant_transaction(self.scribe.pool, self.tenant_id) as connection:
            levels = await inventory_value(connection, self.tenant_id, day)
        return sum((level.value for level in levels), Decimal(0))

    async def levels(self, day: date = date.max) -> list[tuple[int, bool, Decimal, Decimal]]:
        """Return location, whether on its way there, quantity and value of each level."""
        async with tenant_transaction(self.scribe.pool, self.tenant_id) as connection:
            levels = await inventory_value(connection, self.tenant_id, day)
        return [
            (level.location_id, level.in_transit, level.quantity, level.value) for level in levels
        ]

    async def cogs(self, *periods: tuple[date, date]) -> list[Decimal]:
        """Return the cost of goods sold of periods."""
        async with tenant_transaction(self.scribe.pool, self.tenant_id) as connection:
            return await cogs_of_periods(connection, self.tenant_id, periods)


@pytest.fixture
async def shop(pool: Pool, tenant_id: int) -> Shop:
    """Product 7, at a cost price of 2, and two locations."""
    shop = Shop(Scribe(pool, Engine(), tenant_id))
    await shop.tell(
        ("location-1", LocationOpened(location_id=1, name="A", code="A")),
        ("location-2", LocationOpened(location_id=2, name="B", code="B")),
        ("product-7", registered("2")),
    )
    return shop


def registered(cost_price: str | None, event: Any = ProductRegistered) -> Any:
    """Make what is said of product 7."""
    price = None if cost_price is None else Decimal(cost_price)
    return event(product_id=7, name="W", sku="W", base_price=Decimal(9), cost_price=price)


def method(name: Any) -> Written:
    """Choose the method of the books."""
    return "books-1", BooksConfigured(valuation_method=name, time_zone="UTC")


def on(day: str, hour: int = 12) -> datetime:
    """Return a time of a day, ``05-03``, of 2030."""
    return datetime.fromisoformat(f"2030-{day}").replace(hour=hour, tzinfo=UTC)


def received(quantity: str, cost: str | None, at: datetime, place: int = 1, **more: Any) -> Written:
    """A receipt of product 7."""
    unit_cost = None if cost is None else Decimal(cost)
    event = StockReceived(
        product_id=7, location_id=place, quantity=Decimal(quantity), unit_cost=unit_cost, **more
    )
    return f"stock-7-{place}", event, at


def issued(quantity: str, at: datetime, place: int = 1, **more: Any) -> Written:
    """An issue of product 7."""
    event = StockIssued(product_id=7, location_id=place, quantity=Decimal(quantity), **more)
    return f"stock-7-{place}", event, at


def undone(position: int, kind: str, quantity: str, at: datetime) -> Written:
    """The reversal of a receipt or an issue at location 1."""
    accounts: dict[str, Any] = {"from_account": "unrestricted", "to_account": "supplier"}
    if kind == "StockIssued":
        accounts = {"from_account": "customer", "to_account": "unrestricted"}
    event = MovementReversed(
        product_id=7,
        location_id=1,
        reversed_position=position,
        reversed_type=kind,
        quantity=Decimal(quantity),
        from_location_id=1,
        to_location_id=1,
        **accounts,
    )
    return "stock-7-1", event, at


def moved(quantity: str, at: datetime, arrives: datetime | None = None) -> list[Written]:
    """A transfer of product 7 from location 1 to location 2, arrived or not."""
    common: dict[str, Any] = {"product_id": 7, "transfer_id": 1, "quantity": Decimal(quantity)}
    shipped = TransferShipped(**common, location_id=1, to_location_id=2)
    told: list[Written] = [("stock-7-1", shipped, at)]
    if arrives is not None:
        there = TransferReceived(**common, location_id=2, from_location_id=1)
        told.append(("stock-7-2", there, arrives))
    return told


@pytest.mark.parametrize(
    ("name", "cost", "left"), [("fifo", 13, 12), ("average", 15, 10), ("standard", 12, 8)]
)
async def test_each_method_in_its_simplest(shop: Shop, name: str, cost: int, left: int) -> None:
    """Five at 2 and five at 3, of which six are sold."""
    await shop.tell(
        method(name),
        received("5", "2", on("05-01")),
        received("5", "3", on("05-02")),
        issued("6", on("05-03")),
    )
    assert await shop.cogs(MAY, JUNE) == [cost, 0]
    assert await shop.value() == left


@pytest.mark.parametrize(("name", "before", "after"), [("fifo", 10, 5), ("average", 10, 6)])
async def test_a_backdated_receipt_changes_what_was_sold_after_it(
    shop: Shop, name: str, before: int, after: int
) -> None:
    """Cheap goods found out about late were sold first; nothing that is stored is posted again."""
    await shop.tell(method(name), received("10", "2", on("05-10")), issued("5", on("05-11")))
    assert await shop.cogs(MAY) == [before]
    assert await shop.value() == 10
    untouched = await _days(shop)
    await shop.tell(received("10", "1", on("05-02")) if name == "fifo" else
                    received("10", "0.4", on("05-02")))  # fmt: skip
    assert await shop.cogs(MAY) == [after]
    assert [day for day in await _days(shop) if day in untouched] == untouched


async def _days(shop: Shop) -> list[tuple[Any, ...]]:
    async with tenant_transaction(shop.scribe.pool, shop.tenant_id) as connection:
        rows = await connection.fetch("SELECT * FROM projections.cost_day ORDER BY day")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_a_transfer_changes_no_cost_and_goods_on_their_way_are_owned(
    shop: Shop, name: str
) -> None:
    """The destination's own purchases at another cost do not matter."""
    await shop.tell(
        method(name),
        received("10", "1", on("05-01")),
        received("10", "5", on("05-02"), place=2),
        *moved("6", on("05-03"), on("05-06")),
    )
    assert {await shop.value(date(2030, 5, day)) for day in (2, 3, 5, 6)} == {60}
    assert await shop.cogs(MAY) == [0]
    assert await shop.levels(date(2030, 5, 4)) == [
        (1, False, 4, 12), (2, False, 10, 30), (2, True, 6, 18),
    ]  # fmt: skip
    assert await shop.levels() == [(1, False, 4, 12), (2, False, 16, 48)]


async def test_value_is_split_by_largest_remainder(shop: Shop) -> None:
    """A hundred for three: 33.34 and 66.66, not 33.33 and 66.67 lost a cent or won one."""
    position, *_ = await shop.tell(received("3", "33", on("05-01")))
    added = LandedCostAdded(position=position, product_id=7, location_id=1, amount=Decimal(1))
    await shop.tell(
        method("fifo"), ("books-1", added, on("05-01")), *moved("2", on("05-02"), on("05-02", 13))
    )
    levels = await shop.levels()
    assert levels == [
        (1, False, 1, Decimal("33.33")), (2, False, 2, Decimal("66.67")),
    ]  # fmt: skip
    assert await shop.value() == 100


@pytest.mark.parametrize("name", ["fifo", "average", "standard"])
async def test_a_return_is_worth_what_it_was_sold_at_wherever_it_comes_in(
    shop: Shop, name: str
) -> None:
    """Sold at 2, bought at 9 since, brought back to another location (frappe/erpnext#45259)."""
    await shop.tell(
        method(name),
        received("10", "2", on("04-01")),
        issued("10", on("04-02"), reference="ORD-1/1"),
        ("product-7", registered("9", ProductRevised)),
        received("10", "9", on("05-02")),
        received("4", None, on("05-03"), place=2, source="customer", returns="ORD-1/1"),
    )
    assert await shop.cogs(APRIL, MAY) == [20, -8]
    if name != "standard":
        assert await shop.value() == 98


async def test_a_return_that_names_nothing_is_worth_what_was_sold_last(shop: Shop) -> None:
    """And what is sold to a customer, reversed a day later, comes back at its cost."""
    *_, sale = await shop.tell(
        method("fifo"),
        received("3", "2", on("05-01")),
        received("5", "4", on("05-02")),
        issued("3", on("05-03")),
        issued("2", on("05-04")),
    )
    await shop.tell(received("1", None, on("05-05"), source="customer"))
    assert await shop.value() == 3 * 4 + 4
    await shop.tell(undone(sale, "StockIssued", "2", on("05-06")))
    assert await shop.value() == 3 * 4 + 4 + 8
    assert await shop.cogs(MAY) == [6 + 8 - 4 - 8]


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_a_supplier_return_of_all_leaves_nothing_worth_anything(
    shop: Shop, name: str
) -> None:
    """Zero stock is not worth minus thirty thousand (frappe/erpnext#57837)."""
    await shop.tell(
        method(name),
        received("10", "1", on("05-01")),
        received("10", "3001", on("05-02")),
        issued("10", on("05-03")),
        issued("10", on("05-04"), destination="supplier"),
    )
    assert await shop.value() == 0
    cost = {"fifo": Decimal(10), "average": Decimal(15010)}[name]
    assert await shop.cogs(MAY) == [cost]


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_what_is_sold_before_it_came_in_is_trued_up_when_it_comes_in(
    shop: Shop, name: str
) -> None:
    """Ten at 2, twelve sold in May: two are owed at 2, and cost 5 when they come in June."""
    await shop.tell(method(name), received("10", "2", on("05-01")), issued("12", on("05-02")))
    assert await shop.cogs(MAY) == [24]
    assert await shop.value() == -4
    await shop.tell(received("10", "5", on("06-01")))
    assert await shop.cogs(MAY, JUNE) == [24, 6]
    assert await shop.value() == 40


async def test_goods_owed_that_never_came_in_cost_what_the_product_is_said_to(shop: Shop) -> None:
    """The standard cost is what there is to go by."""
    await shop.tell(method("fifo"), issued("3", on("05-02")))
    assert await shop.cogs(MAY) == [6]
    assert await shop.value() == -6


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_a_landed_cost_counts_from_its_receipts_day_on(shop: Shop, name: str) -> None:
    """Half of the goods were sold: half of the freight is a cost of that month."""
    _, position, _ = await shop.tell(
        method(name), received("10", "2", on("05-01")), issued("5", on("05-20"))
    )
    added = LandedCostAdded(position=position, product_id=7, location_id=1, amount=Decimal(8))
    await shop.tell(("books-1", added, on("05-01")))
    assert await shop.cogs(MAY) == [14]
    assert await shop.value() == 14


@pytest.mark.parametrize("name", ["fifo", "average", "standard"])
async def test_a_revaluation_is_from_its_time_on(shop: Shop, name: str) -> None:
    """What is on hand is worth another amount, and it is no cost of goods sold."""
    await shop.tell(
        method(name),
        received("10", "2", on("05-01")),
        issued("2", on("05-02")),
        ("books-1", StockRevalued(product_id=7, unit_cost=Decimal("1.5")), on("06-01", 0)),
        issued("2", on("06-02")),
    )
    assert await shop.value(date(2030, 5, 31)) == 16
    assert await shop.value() == 9
    assert await shop.cogs(MAY, JUNE) == [4, 3]
    # A receipt recorded late is revalued with the rest.
    await shop.tell(received("10", "7", on("05-03")))
    assert await shop.value() == 24
    assert (await shop.cogs(JUNE)) == [3]


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_a_wrong_receipt_that_is_taken_out_at_its_own_time_never_was(
    shop: Shop, name: str
) -> None:
    """Entered as 200 instead of 2, found out after the goods were sold."""
    _, wrong, _ = await shop.tell(
        method(name), received("10", "200", on("05-01")), issued("5", on("05-02"))
    )
    assert await shop.cogs(MAY) == [1000]
    await shop.tell(undone(wrong, "StockReceived", "10", on("05-01")))
    await shop.tell(received("10", "2", on("05-01")))
    assert await shop.cogs(MAY) == [10]
    assert await shop.value() == 10


async def test_a_receipt_that_is_taken_out_later_is_made_good_in_that_month(shop: Shop) -> None:
    """What May said stays; June has the difference."""
    _, wrong, *_ = await shop.tell(
        method("fifo"),
        received("10", "200", on("05-01")),
        received("10", "2", on("05-02")),
        issued("5", on("05-03")),
    )
    await shop.tell(undone(wrong, "StockReceived", "10", on("06-01")))
    assert await shop.cogs(MAY, JUNE) == [1000, -990]
    assert await shop.value() == 10
    assert await shop.value(date(2030, 5, 31)) == 1020


async def test_todays_price_says_nothing_of_the_past(shop: Shop) -> None:
    """Standard cost goes by the day (odoo/odoo#262127); the first holds for all before it."""
    shop.scribe.now = on("06-10")
    await shop.tell(
        received("10", "2.25", on("05-01")),
        issued("4", on("05-02")),
        ("product-7", registered("3", ProductRevised)),
        issued("1", on("06-09")),
        issued("1", on("06-10", 8)),
    )
    before, after = date(2030, 6, 9), date(2030, 6, 10)
    assert await shop.cogs(MAY, (before, before), (after, after)) == [8, 2, 3]
    assert await shop.value(date(2030, 5, 31)) == 12
    assert await shop.value() == 12
    async with tenant_transaction(shop.scribe.pool, shop.tenant_id) as connection:
        variance = await purchase_price_variance(connection, shop.tenant_id, *EVER)
    assert variance == {7: Decimal("2.5")}


@pytest.mark.parametrize("name", ["fifo", "average"])
async def test_goods_found_change_no_unit_cost(shop: Shop, name: str) -> None:
    """They come in at the present cost, and what is missed goes out at it: no sale either way."""
    found = StockAdjusted(product_id=7, location_id=1, quantity=Decimal(2))
    missed = StockAdjusted(product_id=7, location_id=1, quantity=Decimal(-3))
    await shop.tell(
        method(name),
        received("10", "4", on("05-01")),
        ("stock-7-1", found, on("05-02")),
        ("stock-7-1", missed, on("05-03")),
        issued("1", on("05-04")),
    )
    assert await shop.cogs(MAY) == [4]
    assert await shop.value() == 32


async def test_a_business_day_is_the_locations(pool: Pool, tenant_id: int) -> None:
    """Sold at one instant in Sydney and in Los Angeles: two days, and two months."""
    shop = Shop(Scribe(pool, Engine(), tenant_id))
    sydney, angeles = "Australia/Sydney", "America/Los_Angeles"
    instant = datetime(2030, 5, 31, 20, tzinfo=UTC)
    await shop.tell(
        ("location-1", LocationOpened(location_id=1, name="A", code="A", time_zone=sydney)),
        ("location-2", LocationOpened(location_id=2, name="B", code="B", time_zone=angeles)),
        ("product-7", registered(None)),
        method("fifo"),
        received("2", "1", on("05-01")),
        received("2", "5", on("05-02")),
        issued("1", instant, place=1),
        issued("1", instant, place=2),
    )
    assert await shop.cogs(MAY, JUNE) == [1, 1]
    # On its way at the end of May, as of Sydney's day, though Los Angeles' has begun no June.
    await shop.tell(*moved("1", instant + timedelta(minutes=1), instant + timedelta(hours=1)))
    assert await shop.value(date(2030, 5, 31)) == 11
    assert await shop.value() == 10
    # A zone that changes later moves nothing that was recorded before.
    revised = LocationRevised(location_id=1, name="A", code="A", time_zone="UTC")
    await shop.tell(("location-1", revised))
    assert await shop.cogs(MAY, JUNE) == [1, 1]
    await shop.tell(issued("1", instant + timedelta(hours=2)))
    assert await shop.cogs(MAY, JUNE) == [2, 5]


async def test_products_go_by_their_own_method(shop: Shop) -> None:
    """And back to that of the books, as if they had always gone by it."""
    await shop.tell(
        received("5", "2", on("05-01")), received("5", "3", on("05-02")), issued("6", on("05-03"))
    )
    assert await shop.cogs(MAY) == [12]
    for name, cost in (("fifo", 13), ("average", 15), (None, 12), ("fifo", 13)):
        chosen: Any = ValuationChosen(product_id=7, valuation_method=name)  # type: ignore[arg-type]
        await shop.tell(("books-1", chosen))
        assert await shop.cogs(MAY) == [cost]
    await shop.tell(method("average"))
    assert await shop.cogs(MAY) == [13]


async def test_the_average_is_computed_forward_no_further_than_it_changes(shop: Shop) -> None:
    """Behind a day that closes as before, the closings stay: their rows are the same ones."""
    await shop.tell(method("average"))
    for day in range(1, 29):
        await shop.tell(
            received("4", "2", on(f"05-{day:02}", 8)), issued("4", on(f"05-{day:02}", 9))
        )
    before = await _closings(shop)
    await shop.tell(received("3", "9", on("05-05", 10)), issued("3", on("05-07", 10)))
    after = await _closings(shop)
    assert len(before) == len(after) == 28
    changed = [day for day in before if before[day] != after[day]]
    assert changed == [date(2030, 5, 5), date(2030, 5, 6), date(2030, 5, 7)]
    assert await shop.value() == 0


async def _closings(shop: Shop) -> dict[date, str]:
    """Return each day's closing with the transaction that wrote its row."""
    async with tenant_transaction(shop.scribe.pool, shop.tenant_id) as connection:
        rows = await connection.fetch("SELECT day, xmin::text FROM projections.cost_average")
    return {row[0]: row[1] for row in rows}


async def test_units_sold_are_net_of_what_came_back(shop: Shop) -> None:
    """And a product nobody bought anything of is not listed."""
    await shop.tell(
        received("10", "2", on("05-01")),
        issued("5", on("05-02"), reference="A"),
        received("2", None, on("05-03"), source="customer", returns="A"),
    )
    async with tenant_transaction(shop.scribe.pool, shop.tenant_id) as connection:
        may = await cogs_of_products(connection, shop.tenant_id, *MAY)
        june = await cogs_of_products(connection, shop.tenant_id, *JUNE)
    assert [(c.product_id, c.units_sold, c.cogs) for c in may] == [(7, 3, 6)]
    assert june == []


async def test_a_fresh_fold_gives_the_same_rows(database: DatabaseAddress, shop: Shop) -> None:
    """`verify` compares all tables of the valuation, and finds one that was tampered with."""
    await shop.tell(
        method("fifo"),
        received("10", "2", on("05-01")),
        issued("5", on("05-02"), reference="A"),
        received("2", None, on("05-03"), source="customer", returns="A"),
        ("books-1", StockRevalued(product_id=7, unit_cost=Decimal(3)), on("05-04")),
        method("average"),
        *moved("3", on("05-05"), on("05-06")),
    )
    for projection in shop.scribe.engine.following:
        await catch_up(shop.scribe.pool, projection, shop.tenant_id)
    scribe = shop.scribe
    verdict = await prove(database, scribe.pool, scribe.engine, shop.tenant_id)
    assert verdict.ok, [check for check in verdict.checks if check.faults]
    owner = await asyncpg.connect(**database.owner)
    await owner.execute(f"SELECT set_config('ledger.tenant', '{shop.tenant_id}', false)")
    await owner.execute("UPDATE projections.cost_average SET value = value + 0.01")
    verdict = await prove(database, scribe.pool, scribe.engine, shop.tenant_id)
    assert [check.name for check in verdict.checks if check.faults] == ["cost_average = log"]
    await owner.execute(
        "UPDATE projections.cost_average SET value = value - 0.01;"
        "UPDATE projections.cost_day SET in_transit = in_transit + 1 WHERE location_id = 2"
    )
    await owner.close()
    verdict = await prove(database, scribe.pool, scribe.engine, shop.tenant_id)
    faults = [check.name for check in verdict.checks if check.faults]
    assert faults == ["cost_day = log", "costed quantities = movements"]


async def test_tenants_have_their_own_costs(database: DatabaseAddress, shop: Shop) -> None:
    """The same product id of another tenant is another product."""
    await shop.tell(received("10", "2", on("05-01")))
    other = Shop(Scribe(shop.scribe.pool, Engine(), await create_tenant(database)))
    await other.tell(("product-7", registered("1")), received("1", "1", on("05-01")))
    assert (await shop.value(), await other.value()) == (20, 1)


def test_a_column_in_cents_adds_up() -> None:
    """Largest remainders get the missing cents, also below zero."""
    thirds = [Decimal("33.333333"), Decimal("33.333333"), Decimal("33.333334")]
    assert in_cents(thirds) == [Decimal("33.33"), Decimal("33.33"), Decimal("33.34")]
    assert sum(in_cents([-amount for amount in thirds])) == -100
    assert in_cents([]) == []
    assert cents(Decimal("0.005")) == Decimal("0.01")
    assert cents(Decimal("-0.005")) == Decimal("-0.01")
