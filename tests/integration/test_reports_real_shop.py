"""Reports of the real shop, equal to the cent to what its file comes to in plain Python.

Nothing of the ledger is used to work the figures out: lines are added up as they are in the file,
and goods are costed by keeping a queue of what came in for each product, as a clerk would.
"""

import csv
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from python_calamine import CalamineWorkbook

from api.imports.order_lines import KNOWN_HEADINGS, REQUIRED, OrderLineOptions, OrderLineTranslator
from api.imports.tables import Table
from api.imports.translation import choose_columns
from deploy.address import DatabaseAddress
from deploy.wiring import House
from projections.following import catch_up
from tests.support.api import Service, running_service
from tests.support.imports import Importing
from tests.support.postgres import analyse, say_that_tables_are_empty
from tests.support.proving import prove

RETAIL = "online-retail/online_retail.xlsx"
NO_GOODS = {*("post", "dot", "c2", "d", "m", "s", "b", "bank charges", "amazonfee", "cruk", "pads")}
COST_RATIO = Decimal("0.55")
DELIVERIES = 60
LONDON = ZoneInfo("Europe/London")


class Line(NamedTuple):
    """A line of the file: what moved, signed as the stock of the shop changed."""

    sku: str
    kind: str
    day: date
    at: datetime
    change: int
    price: Decimal


class Clerk:
    """The file's figures."""

    def __init__(self, path: Path) -> None:
        self.lines = list(_lines(path))
        self.first_price: dict[str, Decimal] = {}
        for line in self.lines:
            if line.price > 0:
                self.first_price.setdefault(line.sku, line.price)
        self.days = sorted({line.day for line in self.lines})

    def cost(self, sku: str) -> Decimal:
        """What one costs: a share of its first price."""
        price = self.first_price.get(sku, Decimal(0))
        return (price * COST_RATIO).quantize(Decimal("0.000001"), ROUND_HALF_UP)

    def revenue(self) -> dict[date, Decimal]:
        """What came in less what was given back, by day."""
        days: defaultdict[date, Decimal] = defaultdict(Decimal)
        for line in self.lines:
            if line.kind != "correction":
                days[line.day] -= line.change * line.price
        return days

    def standard_cogs(self) -> dict[tuple[str, date], Decimal]:
        """What goods cost at their standard cost, by product and day."""
        sold: defaultdict[tuple[str, date], Decimal] = defaultdict(Decimal)
        for line in self.lines:
            if line.kind != "correction":
                sold[line.sku, line.day] -= line.change * self.cost(line.sku)
        return sold

    def opening(self) -> dict[str, int]:
        """What must have been there before the first line, for stock never to be below zero."""
        lowest: Counter[str] = Counter()
        balance: Counter[str] = Counter()
        for line in self.lines:
            balance[line.sku] += line.change
            lowest[line.sku] = min(lowest[line.sku], balance[line.sku])
        return {sku: -least for sku, least in lowest.items()}

    def best_sellers(self) -> list[str]:
        """The products with the most lines."""
        counts = Counter(line.sku for line in self.lines)
        return [sku for sku, _ in counts.most_common(DELIVERIES)]


def some_invoices(path: Path, to: Path) -> Path:
    """Write every fourth invoice of the workbook as CSV: all weeks, in a quarter the time."""
    rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    with to.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        for number, row in enumerate(rows):
            cells = [_text(cell) for cell in row]
            if number == 0 or int(cells[0][-2:]) % 4 == 0:
                writer.writerow(cells)
    return to


def _text(cell: object) -> str:
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return str(cell)


def _lines(path: Path) -> Iterator[Line]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    for invoice, code, _, pieces, shown, price, customer in rows:
        sku, quantity, moment = code.lower(), int(pieces), datetime.fromisoformat(shown)
        if sku in NO_GOODS or sku.startswith("gift_"):
            continue
        if quantity > 0:
            kind = "sale"
        elif invoice.startswith("C") or customer:
            kind = "return"
        else:
            kind = "correction"
        yield Line(
            sku,
            kind,
            moment.date(),
            moment.replace(tzinfo=LONDON).astimezone(UTC),
            quantity if kind == "correction" else -quantity,
            Decimal(price),
        )


class Delivery(NamedTuple):
    """Goods that came in on the way, at another cost than those of the beginning."""

    sku: str
    at: datetime
    quantity: int
    cost: Decimal


def deliveries(clerk: Clerk) -> list[Delivery]:
    """Return a delivery of each of the best sellers, spread over the file's days.

    Every other one came before the shop opened, and so goes out before all that was there then.
    """
    found: list[Delivery] = []
    for number, sku in enumerate(clerk.best_sellers()):
        day = clerk.days[number * len(clerk.days) // DELIVERIES]
        if number % 2 == 0:
            day = clerk.days[0] - timedelta(days=1)
        at = datetime.combine(day, time(5, 0, number), UTC)
        cost = (clerk.cost(sku) * (110 + number) / 100).quantize(Decimal("0.0001"))
        found.append(Delivery(sku, at, 200 + 20 * number, cost))
    return found


def fifo_cogs(clerk: Clerk, brought: list[Delivery]) -> dict[tuple[str, date], Decimal]:
    """Return what goods sold did cost, oldest first, less what came back, by product and day.

    What comes back costs what the last sale before it did, a piece; before the first, what was
    there in the beginning.
    """
    history: defaultdict[str, list[tuple[datetime, int, str, int, Decimal]]] = defaultdict(list)
    for number, line in enumerate(clerk.lines):
        history[line.sku].append((line.at, number, line.kind, line.change, clerk.cost(line.sku)))
    sold: defaultdict[tuple[str, date], Decimal] = defaultdict(Decimal)
    opening = clerk.opening()
    for sku, entries in history.items():
        entries.append((min(entries)[0], -1, "opening", opening[sku], clerk.cost(sku)))
        for each in brought:
            if each.sku == sku:
                entries.append((each.at, len(clerk.lines), "delivery", each.quantity, each.cost))
        shelf: deque[list[Any]] = deque()
        sold_last = clerk.cost(sku)
        for at, _, kind, change, cost in sorted(entries):
            day = at.astimezone(LONDON).date()
            if change >= 0:
                if kind == "return":
                    cost = sold_last
                    sold[sku, day] -= change * cost
                shelf.append([change, cost])
                continue
            left, spent = -change, Decimal(0)
            while left:
                taken = min(left, shelf[0][0])
                spent += taken * shelf[0][1]
                left -= taken
                shelf[0][0] -= taken
                if not shelf[0][0]:
                    shelf.popleft()
            if kind == "sale":
                sold[sku, day] += spent
                sold_last = spent / -change
    return sold


# --- the shop -----------------------------------------------------------------------------


async def import_shop(importing: Importing, tenant_id: int, path: Path) -> None:
    """Take the file in."""
    table = Table(path)
    columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED)
    options = OrderLineOptions(columns=columns, zone=LONDON, cost_ratio=COST_RATIO)
    await importing.take_in(tenant_id, table, OrderLineTranslator(table, options))


async def do(service: Service, *commands: tuple[str, dict[str, Any]]) -> int:
    """Send commands; have all projections follow; return the position."""
    body = {"commands": [{"type": kind, "data": data} for kind, data in commands]}
    answer = await service.post("/api/ledger/commands", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refused"] == 0, answer.text
    position = int(answer.headers["ledger-position"])
    for projection in service.house.engine.following:  # type: ignore[attr-defined]
        assert await catch_up(service.house.pool, projection, service.tenant_id) == position
    return position


async def read(service: Service, path: str, position: int) -> Any:
    """Read a report, its numbers exact."""
    answer = await service.get(f"/api/reports/{path}&min_position={position}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


def by_period(days: dict[date, Decimal], group_by: str) -> dict[str, Decimal]:
    """Add days up by their period's first day."""
    periods: defaultdict[str, Decimal] = defaultdict(Decimal)
    for day, amount in days.items():
        first = {
            "day": day,
            "week": date.fromisocalendar(*day.isocalendar()[:2], 1),
            "month": date(day.year, day.month, 1),
        }[group_by]
        periods[first.isoformat()] += amount
    return periods


def cents(amount: Decimal) -> Decimal:
    """Round half a cent away from zero."""
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


async def assert_reports(
    service: Service, position: int, clerk: Clerk, cogs: dict[tuple[str, date], Decimal]
) -> None:
    """Hold the financial report by day, week and month, and the cost of goods, to the figures.

    A day's amounts may be a part of a cent off, since a report's column adds up to its total.
    """
    first, last = clerk.days[0], clerk.days[-1]
    revenue = clerk.revenue()
    costs: defaultdict[date, Decimal] = defaultdict(Decimal)
    products: defaultdict[str, Decimal] = defaultdict(Decimal)
    for (sku, day), amount in cogs.items():
        costs[day] += amount
        products[sku] += amount
    whole = cents(sum(revenue.values(), Decimal(0))), cents(sum(costs.values(), Decimal(0)))
    months = date(first.year, first.month, 1), last + timedelta(days=3)
    for group_by, (since, until) in (("day", (first, last)), ("week", (first, last)),
                                     ("month", months)):  # fmt: skip
        path = f"financial?from={since}&to={until}&group_by={group_by}"
        reply = await read(service, path, position)
        assert (reply["summary"]["revenue"], reply["summary"]["cogs"]) == whole
        wanted = by_period(revenue, group_by), by_period(costs, group_by)
        shown = {period["period"]: period for period in reply["periods"]}
        assert wanted[0].keys() <= shown.keys()
        for name, period in shown.items():
            for figure, amounts in zip(("revenue", "cogs"), wanted, strict=True):
                assert abs(period[figure] - amounts.get(name, 0)) < Decimal("0.01"), (name, figure)
            assert period["gross_margin"] == period["revenue"] - period["cogs"]
    shown_costs: dict[str, Decimal] = {}
    page = 0
    while page == 0 or len(shown_costs) == page * 1_000:
        page += 1
        reply = await read(service, f"cogs?from={first}&to={last}&page={page}", position)
        shown_costs |= {item["sku"].lower(): item["total_cogs"] for item in reply["items"]}
    assert reply["total_cogs"] == whole[1]
    assert reply["total"] == len(shown_costs)
    for sku, amount in products.items():
        assert abs(shown_costs.get(sku, Decimal(0)) - amount) < Decimal("0.01"), sku
    assert sum(shown_costs.values(), Decimal(0)) == whole[1]


@pytest.mark.data
async def test_reports_of_the_real_shop_equal_the_files(
    house: House, database: DatabaseAddress, test_data: Path, tmp_path: Path
) -> None:
    """Revenue and cost of 12,000 lines and more, at standard costs and first in, first out.

    Between the two, deliveries at other costs are recorded late, so that first in, first out
    has something to say; and in the end the ledger verifies. The change of method comes when the
    planner's statistics are those of empty tables: it may not take minutes then.
    """
    path = some_invoices(test_data / RETAIL, tmp_path / "lines.csv")
    clerk = Clerk(path)
    assert len(clerk.lines) > 12_000
    async with running_service(house) as service:
        await import_shop(Importing(house, database), service.tenant_id, path)
        brought = deliveries(clerk)
        position = await do(
            service,
            *(
                (
                    "ReceiveStock",
                    {
                        "sku": each.sku,
                        "location": "MAIN",
                        "quantity": each.quantity,
                        "unit_cost": str(each.cost),
                        "effective_at": each.at.isoformat(),
                    },
                )
                for each in brought
            ),
        )
        standard = clerk.standard_cogs()
        await assert_reports(service, position, clerk, standard)
        fifo = fifo_cogs(clerk, brought)
        total = sum(fifo.values(), Decimal(0))
        assert total - sum(standard.values(), Decimal(0)) > 300, "or nothing was compared"
        await say_that_tables_are_empty(database)
        position = await do(service, ("ConfigureBooks", {"valuation_method": "fifo"}))
        await analyse(database)
        await assert_reports(service, position, clerk, fifo)
        verdict = await prove(database, house.pool, house.engine, service.tenant_id)
        assert verdict.ok, verdict
