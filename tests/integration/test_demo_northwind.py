"""Northwind replayed over HTTP: a small company at each turn, and the real one to the cent."""

import csv
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from api.imports.northwind import read_northwind
from api.imports.northwind_replay import ZONE, AnotherLedger, Told
from deploy.address import DatabaseAddress
from deploy.bootstrap import found_tenant
from deploy.commands._demo_northwind import Replayed, replay_northwind
from deploy.wiring import House
from ledger.ports import Meta
from ledger.sealing import open_text, subjects_in
from ledger.store import tenant_transaction
from ledger.submission import Item, Rendered, Submission
from schemas.location import OpenLocation
from tests.support.northwind import write_northwind
from tests.support.proving import prove

CENT = Decimal("0.01")


class Interrupted(BaseException):
    """Stands for what kills a run."""


async def new_tenant(house: House, name: str = "northwind") -> int:
    """Make an empty tenant with an owner."""
    founded = await found_tenant(house, name, email=f"owner@{name}.example", time_zone=ZONE)
    return founded.tenant_id


async def replay(house: House, tenant_id: int, folder: Path) -> Replayed:
    """Run it to its end."""
    return await replay_northwind(house, tenant_id, read_northwind(folder))


async def fetch(house: House, tenant_id: int, statement: str) -> list[tuple[Any, ...]]:
    """Read as the service's own role."""
    async with tenant_transaction(house.pool, tenant_id) as connection:
        return [tuple(row) for row in await connection.fetch(statement)]


async def history(house: House, tenant_id: int) -> list[tuple[Any, ...]]:
    """Return all of the log but when it was recorded, what depends on that, and whose keys seal
    its personal texts, which are opened."""
    rows = await fetch(
        house,
        tenant_id,
        """
        SELECT position, stream, version, type, data::jsonb - 'subject' - 'email_key',
               CASE WHEN effective_at < recorded_at - interval '1 day' THEN effective_at END
        FROM ledger.event WHERE type NOT IN ('UserAdded', 'ApiKeyCreated') ORDER BY position
        """,
    )
    keys = await house.personal.keys(
        tenant_id, subjects_in("".join(row[4] for row in rows).encode())
    )
    return [(*row[:4], open_text(row[4], keys), *row[5:]) for row in rows]


class Rows:
    """The files again, read by other means than the replay's."""

    def __init__(self, folder: Path) -> None:
        self.orders = {row["order_id"]: row for row in self._rows(folder, "orders")}
        self.lines = list(self._rows(folder, "order_details"))
        self.products = {int(row["product_id"]): row for row in self._rows(folder, "products")}

    @staticmethod
    def _rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream)

    def sales(self, column: str) -> dict[str, tuple[int, Decimal, Decimal]]:
        """Return orders, units and revenue by the month of a date, exactly."""
        orders: defaultdict[str, set[str]] = defaultdict(set)
        units: Counter[str] = Counter()
        revenue: defaultdict[str, Decimal] = defaultdict(Decimal)
        for line in self.lines:
            month = self.orders[line["order_id"]][column][:7]
            if month:
                orders[month].add(line["order_id"])
                units[month] += int(line["quantity"])
                price = Decimal(line["unit_price"]) * (1 - Decimal(line["discount"]))
                revenue[month] += price * int(line["quantity"])
        return {
            month: (len(orders[month]), Decimal(units[month]), revenue[month])
            for month in sorted(orders)
        }

    def costs(self) -> dict[str, Decimal]:
        """Return the cost of what was shipped by month: first in, first out, in plain queues.

        Bought on the first of each month: what its orders ask for, and at first what is in
        stock at the end; at 60 % of the list price on the product's next order line.
        """
        by_product: defaultdict[int, list[tuple[str, Decimal, Decimal, str]]] = defaultdict(list)
        for line in self.lines:
            order = self.orders[line["order_id"]]
            by_product[int(line["product_id"])].append(
                (
                    order["order_date"],
                    Decimal(line["quantity"]),
                    Decimal(line["unit_price"]),
                    order["shipped_date"],
                )
            )
        first_month = min(order["order_date"] for order in self.orders.values())[:7]
        costs: defaultdict[str, Decimal] = defaultdict(Decimal)
        for product_id, sold in by_product.items():
            # The sort keeps lines of one day in the order of the file, as it has its numbers.
            sold.sort(key=lambda line: line[0])
            bought: defaultdict[str, Decimal] = defaultdict(Decimal)
            bought[first_month] += Decimal(self.products[product_id]["units_in_stock"])
            for ordered, quantity, _, _ in sold:
                bought[ordered[:7]] += quantity
            layers: deque[list[Decimal]] = deque()
            for month, quantity in sorted(bought.items()):
                price = next(p for day, _, p, _ in sold if day >= month)
                layers.append([quantity, (price * 60 / 100).quantize(CENT, ROUND_HALF_UP)])
            for shipped, quantity in sorted((s, q) for _, q, _, s in sold if s):
                left = quantity
                while left:
                    taken = min(left, layers[0][0])
                    costs[shipped[:7]] += taken * layers[0][1]
                    layers[0][0] -= taken
                    left -= taken
                    if not layers[0][0]:
                        layers.popleft()
        return dict(costs)


# --- a small company --------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The small company's files."""
    return write_northwind(tmp_path / "files")


async def test_the_months_are_those_of_the_files(house: House, folder: Path) -> None:
    """Orders and revenue by order date; revenue and cost by shipping date."""
    tenant_id = await new_tenant(house)
    replayed = await replay(house, tenant_id, folder)
    rows = Rows(folder)
    assert_months(replayed, rows)
    assert await units_by_month(house, tenant_id) == {"1996-07": 27, "1996-08": 49}


def assert_months(replayed: Replayed, rows: Rows) -> None:
    """Assert that the service's reports say what the files say.

    What was ordered is exact. What was shipped is in whole cents, which are shared out so that
    the months add up; what it cost is in whole cents anyway.
    """
    ordered, shipped, costs = rows.sales("order_date"), rows.sales("shipped_date"), rows.costs()
    assert [(month.month, month.orders, month.revenue) for month in replayed.months] == [
        (month, orders, revenue) for month, (orders, _, revenue) in ordered.items()
    ]
    exact = {month: revenue for month, (_, _, revenue) in shipped.items()}
    assert {m.month: (m.shipped, m.cogs) for m in replayed.months} == {
        month: (revenue, costs[month]) for month, revenue in in_cents(exact).items()
    }
    assert all(month.margin == month.shipped - month.cogs for month in replayed.months)


def in_cents(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    """Return amounts in whole cents that add up to the rounded sum, by largest remainder."""
    floors = {name: amount.quantize(CENT, ROUND_FLOOR) for name, amount in amounts.items()}
    missing = sum(amounts.values(), Decimal(0)).quantize(CENT, ROUND_HALF_UP) - sum(
        floors.values(), Decimal(0)
    )
    by_remainder = sorted(amounts, key=lambda name: floors[name] - amounts[name])
    for name in by_remainder[: int(missing * 100)]:
        floors[name] += CENT
    return floors


async def test_the_end_is_that_of_the_files(house: House, folder: Path) -> None:
    """Available what is in stock there, on order what is on order, and all that is proved."""
    tenant_id = await new_tenant(house)
    await replay(house, tenant_id, folder)
    await assert_end(house, tenant_id, Rows(folder))


async def assert_end(house: House, tenant_id: int, rows: Rows) -> None:
    """Assert what is left at the end."""
    found = await fetch(
        house,
        tenant_id,
        """
        SELECT p.sku, p.is_active, sum(l.unrestricted - l.reserved), sum(l.unrestricted)
        FROM projections.product p JOIN projections.stock_level l USING (product_id)
        GROUP BY p.sku, p.is_active
        """,
    )
    waiting: Counter[int] = Counter()
    for line in rows.lines:
        if not rows.orders[line["order_id"]]["shipped_date"]:
            waiting[int(line["product_id"])] += int(line["quantity"])
    assert {sku: tuple(rest) for sku, *rest in found} == {
        f"NW-{number:02}": (
            row["discontinued"] == "0",
            int(row["units_in_stock"]),
            int(row["units_in_stock"]) + waiting[number],
        )
        for number, row in rows.products.items()
    }

    incoming = await fetch(
        house,
        tenant_id,
        """
        SELECT p.sku, sum(l.incoming)
        FROM projections.product p JOIN projections.purchase_line l USING (product_id)
        GROUP BY p.sku
        """,
    )
    assert dict(incoming) == {
        f"NW-{number:02}": int(row["units_on_order"]) for number, row in rows.products.items()
    }


async def test_running_it_again_adds_nothing(house: House, folder: Path) -> None:
    """Every write is answered as it was the first time."""
    tenant_id = await new_tenant(house)
    first = await replay(house, tenant_id, folder)
    again = await replay(house, tenant_id, folder)
    assert first.outcome.replayed == 0
    assert again.outcome.replayed == again.outcome.writes == first.outcome.writes
    assert again.outcome.position == first.outcome.position
    assert again.months == first.months


@pytest.mark.parametrize("steps", [11])
async def test_a_run_that_was_stopped_is_gone_on_with(
    house: House, folder: Path, steps: int
) -> None:
    """To the log of a run that was not, event for event."""
    whole = await new_tenant(house)
    await replay(house, whole, folder)
    tenant_id = await new_tenant(house, "stopped")
    left = [steps]

    def die(told: Told) -> None:
        left[0] -= told.done > 0
        if left[0] == 0:
            raise Interrupted

    with pytest.raises(Interrupted):
        await replay_northwind(house, tenant_id, read_northwind(folder), die)
    await replay(house, tenant_id, folder)
    assert await history(house, tenant_id) == await history(house, whole)


async def test_another_ledger_is_left_alone(house: House, folder: Path) -> None:
    """A tenant that has a warehouse of its own gets nothing added."""
    other = await new_tenant(house, "other")
    await house.committer.submit(
        Submission(
            tenant_id=other,
            items=[Item(OpenLocation(name="Shop", code="SHOP"))],
            meta=Meta(actor="user:1", source="test"),
            render=lambda outcomes: Rendered(201, b""),
        )
    )
    before = await history(house, other)
    with pytest.raises(AnotherLedger, match="another ledger"):
        await replay(house, other, folder)
    assert await history(house, other) == before


async def units_by_month(house: House, tenant_id: int) -> dict[str, Decimal]:
    """Return the units that were ordered by the month of the order, in Seattle."""
    rows = await fetch(
        house,
        tenant_id,
        f"""
        SELECT to_char(o.ordered_at AT TIME ZONE '{ZONE}', 'YYYY-MM'), sum(l.ordered)
        FROM projections.sales_order o JOIN projections.order_line l USING (order_id)
        GROUP BY 1
        """,
    )
    return dict(rows)


# --- the real one -----------------------------------------------------------------------


@pytest.mark.data
async def test_the_real_company_adds_up(
    house: House, database: DatabaseAddress, test_data: Path
) -> None:
    """830 orders of 23 months: every month's revenue, units and costs are those of the files,
    everything is proved, and what is sent again adds nothing."""
    folder = test_data / "northwind"
    rows = Rows(folder)
    tenant_id = await new_tenant(house)
    replayed = await replay(house, tenant_id, folder)
    assert len(replayed.months) == 23
    assert sum(month.orders for month in replayed.months) == 830
    assert_months(replayed, rows)
    assert await units_by_month(house, tenant_id) == {
        month: units for month, (_, units, _) in rows.sales("order_date").items()
    }
    await assert_end(house, tenant_id, rows)
    verdict = await prove(database, house.pool, house.engine, tenant_id)
    assert not [check for check in verdict.checks if not check.ok]

    # A second run to the end is the small company's; of the real one its first hundred days.
    def stop(told: Told) -> None:
        if (told.stage, told.done) == ("trading", 100):
            raise Interrupted

    with pytest.raises(Interrupted):
        await replay_northwind(house, tenant_id, read_northwind(folder), stop)
    ((position,),) = await fetch(house, tenant_id, "SELECT position FROM ledger.head")
    assert position == replayed.outcome.position
