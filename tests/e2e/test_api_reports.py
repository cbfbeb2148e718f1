"""Reports over HTTP: days by zone, periods, money exact, and reading one's own writes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from deploy.wiring import House, following
from tests.support.api import Service, running_service

SYDNEY = "Australia/Sydney"
LATE = "2026-05-05T23:30:00Z"
"""The sixth of May in Sydney, still the fifth in UTC."""


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service with what follows the log, and a clock that shows noon in Sydney, 6 May."""
    async with running_service(house) as service, following(house):
        # Only from here on: who signs in does so by the real time.
        house.now = lambda: datetime(2026, 5, 6, 2, tzinfo=UTC)  # type: ignore[method-assign]
        yield service


async def do(service: Service, *commands: tuple[str, dict[str, Any]]) -> int:
    """Send commands; return the position after them."""
    body = {"commands": [{"type": kind, "data": data} for kind, data in commands]}
    answer = await service.post("/api/ledger/commands", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refused"] == 0, answer.text
    return int(answer.headers["ledger-position"])


async def report(service: Service, path: str, position: int) -> Any:
    """Read a report of a position or later, its numbers exact."""
    joiner = "&" if "?" in path else "?"
    answer = await service.get(f"/api/reports/{path}{joiner}min_position={position}")
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["ledger-position"]) >= position
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


def shop(zone: str = SYDNEY) -> list[tuple[str, dict[str, Any]]]:
    """A place in a zone, and a product at 18.00 with 100 of it there since April."""
    return [
        ("OpenLocation", {"name": "Sydney", "code": "SYD", "time_zone": zone}),
        (
            "RegisterProduct",
            {"name": "Widget", "sku": "W", "base_price": "49.99", "cost_price": "18.00"},
        ),
        ("ReceiveStock", {**item("100", "2026-04-01T00:00:00Z"), "unit_cost": "18.00"}),
    ]


def item(quantity: str, at: str) -> dict[str, Any]:
    """So much of the product, at a time."""
    return {"sku": "W", "location": "SYD", "quantity": quantity, "effective_at": at}


def sale(quantity: str, price: str | None, at: str) -> tuple[str, dict[str, Any]]:
    """An issue to a customer."""
    return "IssueStock", {**item(quantity, at), "unit_price": price}


async def test_revenue_cost_and_margin_of_a_range(service: Service) -> None:
    """Returns off at what was given back and at what they cost, days by the location's clocks."""
    position = await do(
        service,
        *shop(),
        sale("3", "49.99", LATE),
        ("IssueStock", {**item("2", "2026-05-08T00:00:00Z"), "unit_price": "50", "reference": "A"}),
        (
            "ReceiveStock",
            {
                **item("1", "2026-05-08T01:00:00Z"),
                "source": "customer",
                "unit_price": "45.125",
                "returns": "A",
            },
        ),
        sale("1", None, "2026-05-12T00:00:00Z"),
    )
    reply = await report(service, "financial?from=2026-05-06&to=2026-05-12", position)
    assert (reply["from"], reply["to"], reply["group_by"]) == ("2026-05-06", "2026-05-12", "day")
    assert reply["summary"] == {
        "revenue": Decimal("204.85"),
        "cogs": 90,
        "gross_margin": Decimal("114.85"),
        "gross_margin_pct": Decimal("56.1"),
        "unpriced_units": 1,
    }
    assert len(reply["periods"]) == 7
    by_day = {period.pop("period"): period for period in reply["periods"]}
    assert by_day["2026-05-06"] == {
        "revenue": Decimal("149.97"), "cogs": 54, "gross_margin": Decimal("95.97")
    }  # fmt: skip
    assert by_day["2026-05-07"] == {"revenue": 0, "cogs": 0, "gross_margin": 0}
    assert by_day["2026-05-12"] == {"revenue": 0, "cogs": 18, "gross_margin": -18}


async def test_weeks_begin_on_monday_and_months_on_the_first(service: Service) -> None:
    """Only the days asked for count, also in a period that reaches beyond them."""
    position = await do(
        service,
        *shop("UTC"),
        sale("1", "1", "2026-04-30T12:00:00Z"),
        sale("1", "10", "2026-05-03T23:59:59Z"),
        sale("1", "100", "2026-05-04T00:00:00Z"),
        sale("1", "1000", "2026-05-06T12:00:00Z"),
    )
    weeks = await report(service, "financial?from=2026-04-30&to=2026-05-05&group_by=week", position)
    assert [(period["period"], period["revenue"]) for period in weeks["periods"]] == [
        ("2026-04-27", 11), ("2026-05-04", 100)
    ]  # fmt: skip
    months = await report(
        service, "financial?from=2026-04-30&to=2026-05-06&group_by=month", position
    )
    assert [(period["period"], period["revenue"]) for period in months["periods"]] == [
        ("2026-04-01", 1), ("2026-05-01", 1110)
    ]  # fmt: skip
    assert months["summary"]["revenue"] == 1111
    costs = await report(service, "cogs?from=2026-04-30&to=2026-05-06&group_by=month", position)
    assert costs["periods"] == [
        {"period": "2026-04-01", "cogs": 18}, {"period": "2026-05-01", "cogs": 54}
    ]  # fmt: skip
    assert (costs["total_cogs"], costs["total"]) == (72, 1)


async def test_a_range_is_this_month_unless_said_otherwise(service: Service) -> None:
    """Up to today on the clocks of the books' zone, from the first of the month."""
    position = await do(service, *shop())
    utc = await report(service, "financial", position)
    assert (utc["from"], utc["to"]) == ("2026-05-01", "2026-05-06")
    position = await do(service, ("ConfigureBooks", {"time_zone": "Pacific/Honolulu"}))
    there = await report(service, "financial", position)
    assert (there["from"], there["to"]) == ("2026-05-01", "2026-05-05")
    assert (await report(service, "inventory", position))["valuation_date"] == "2026-05-05"
    costs = await report(service, "cogs?to=2026-02-10", position)
    assert (costs["from"], costs["to"]) == ("2026-02-01", "2026-02-10")


WRONG = (
    ("financial?from=2026-05-07&to=2026-05-06", "from"),
    ("financial?from=2026-05-07", "from"),
    ("cogs?from=2016-01-01&to=2026-05-06", "from"),
    ("financial?from=0001-01-01&to=9999-12-31", "from"),
    ("financial?from=yesterday", "from"),
    ("financial?to=2026-02-30", "to"),
    ("financial?group_by=year", "group_by"),
    ("cogs?group_by=hour", "group_by"),
    ("cogs?group_by=day&product_id=1", "group_by"),
    ("cogs?limit=1001", "limit"),
    ("inventory?valuation_date=2026-05-06T00:00:00Z", "valuation_date"),
    ("inventory?limit=201", "limit"),
    ("inventory?warehouse_id=-1", "warehouse_id"),
)


async def test_a_wrong_parameter_is_named(service: Service) -> None:
    """With 400, and what it must be."""
    for path, field in WRONG:
        answer = await service.get(f"/api/reports/{path}")
        assert (answer.status_code, answer.json().get("field")) == (400, field), answer.text


async def test_the_ends_of_the_calendar_are_no_fault(service: Service) -> None:
    """Periods that no calendar completes are cut off."""
    for path in (
        "financial?from=9999-12-27&to=9999-12-31&group_by=week",
        "financial?from=0001-01-01&to=0001-02-01&group_by=month",
        "cogs?from=9999-12-31&to=9999-12-31",
        "inventory?valuation_date=0001-01-01",
        "inventory?valuation_date=9999-12-31",
    ):
        answer = await service.get(f"/api/reports/{path}")
        assert answer.status_code == 200, (path, answer.text)


async def test_what_stock_is_worth_by_filter_page_and_day(service: Service) -> None:
    """The total is of what the filters leave; before the first receipt there was nothing."""
    position = await do(
        service,
        *shop(),
        ("OpenLocation", {"name": "Perth", "code": "PER"}),
        ("RegisterProduct", {"name": "Nut", "sku": "N", "base_price": "1", "cost_price": "0.25"}),
        (
            "ReceiveStock",
            {
                "sku": "N",
                "location": "PER",
                "quantity": "10",
                "unit_cost": "0.25",
                "effective_at": LATE,
            },
        ),
    )
    reply = await report(service, "inventory?limit=1&page=2", position)
    assert (reply["total_value"], reply["total"], reply["page"]) == (Decimal("1802.5"), 2, 2)
    assert reply["items"] == [
        {
            "product_id": 2, "sku": "N", "product_name": "Nut", "warehouse_id": 2,
            "warehouse_name": "Perth", "quantity": 10, "cost_price": "0.25",
            "total_value": Decimal("2.5"), "in_transit": False,
        }
    ]  # fmt: skip
    for only, value in (("product_id=1", 1800), ("warehouse_id=2", Decimal("2.5")),
                        ("product_id=1&warehouse_id=2", 0)):  # fmt: skip
        reply = await report(service, f"inventory?{only}", position)
        assert reply["total_value"] == value
        assert reply["total"] == len(reply["items"]) == (0 if value == 0 else 1)
    earlier = await report(service, "inventory?valuation_date=2026-03-31", position)
    assert (earlier["total_value"], earlier["items"]) == (0, [])


async def test_todays_orders_are_those_of_the_day_in_the_books_zone(service: Service) -> None:
    """23:30 in UTC is today in Sydney; what is cancelled is no order, what is open is counted."""
    await do(service, *shop(), ("ConfigureBooks", {"time_zone": SYDNEY}))
    line = {"product_id": 1, "unit_price": "49.99"}
    placed: list[int] = []
    for at, quantity in (
        ("2026-05-05T13:59:59Z", 7),
        ("2026-05-05T14:00:00Z", 1),
        (LATE, 2),
        (LATE, 40),
    ):
        answer = await service.post(
            "/api/orders", {"items": [{**line, "quantity": quantity}], "effective_at": at}
        )
        assert answer.status_code == 201, answer.text
        placed.append(answer.json()["id"])
    last, yesterday = placed[-1], placed[0]
    await service.call("PATCH", f"/api/orders/{last}/status", {"status": "cancelled"})
    dashboard = (await service.get("/api/reports/dashboard")).json()
    assert dashboard["today"] == {
        "date": "2026-05-06", "time_zone": SYDNEY, "revenue": 149.97, "orders": 2, "units_sold": 3
    }  # fmt: skip
    assert dashboard["open_orders"] == 3
    assert [order["id"] for order in dashboard["recent_orders"]] == [4, 3, 2, 1]
    assert dashboard["recent_orders"][0]["status"] == "cancelled"
    position = await do(
        service, ("FulfilOrder", {"order_id": yesterday, "effective_at": "2026-05-06T00:00:00Z"})
    )
    assert (await service.get("/api/reports/dashboard")).json()["open_orders"] == 2
    # What was ordered yesterday and goes out today is revenue of today.
    delivered = await report(service, "financial?from=2026-05-06&to=2026-05-06", position)
    assert delivered["summary"]["revenue"] == Decimal("349.93")
    position = await do(
        service,
        ("CancelFulfilment", {"order_id": yesterday, "fulfilment": 1}),
    )
    undone = await report(service, "financial?from=2026-05-06&to=2027-12-31", position)
    assert undone["summary"]["revenue"] == 0
    assert (await service.get("/api/reports/dashboard")).json()["open_orders"] == 3


async def test_a_report_that_is_not_yet_there_says_so(house: House) -> None:
    """With nothing that follows the log running, the figures stay behind, and the wait ends."""
    async with running_service(house) as service:
        position = await do(service, *shop())
        answer = await service.get("/api/reports/financial")
        assert (answer.status_code, answer.headers["ledger-position"]) == (200, "0")
        late = await service.get(f"/api/reports/financial?min_position={position}")
        assert (late.status_code, late.json()["code"]) == (412, "not_yet")


async def test_the_cost_of_sales_by_warehouse_is_what_plain_sums_say(service: Service) -> None:
    """Each day's cost is shared by the units sold on it; the warehouses add up to the whole."""
    places = ("North", "N", SYDNEY), ("South", "S", "UTC"), ("Empty", "E", "UTC")

    def moved(sku: str, place: str, quantity: str, day: int, **more: Any) -> dict[str, Any]:
        at = f"2026-05-{day:02}T02:00:00Z"
        return {
            "sku": sku, "location": place, "quantity": quantity, "effective_at": at, **more
        }  # fmt: skip

    commands: list[tuple[str, dict[str, Any]]] = [
        *(("OpenLocation", {"name": n, "code": c, "time_zone": z}) for n, c, z in places),
        *(
            ("RegisterProduct", {"name": sku, "sku": sku, "base_price": "9", "cost_price": "7"})
            for sku in ("FIFO", "AVG", "STD")
        ),
        ("ChooseValuation", {"product_id": 1, "valuation_method": "fifo"}),
        ("ChooseValuation", {"product_id": 2, "valuation_method": "average"}),
    ]
    for sku in ("FIFO", "AVG", "STD"):
        commands += [
            ("ReceiveStock", moved(sku, "N", "10", 1, unit_cost="1")),
            ("ReceiveStock", moved(sku, "S", "10", 1, unit_cost="2")),
            # On the second, six of the oldest; on the third, four of these and two newer ones.
            ("IssueStock", moved(sku, "N", "6", 2, unit_price="9", reference="A")),
            ("IssueStock", moved(sku, "N", "2", 3, unit_price="9")),
            ("IssueStock", moved(sku, "S", "4", 3, unit_price="9")),
            ("ReceiveStock", moved(sku, "S", "1", 4, source="customer", unit_price="9",
                                   returns="A")),
        ]  # fmt: skip
    position = await do(service, *commands)
    may = "from=2026-05-01&to=2026-05-06"
    # By hand: on the third FIFO's six cost 8 and average's 9, of which North sold a third.
    expected = {
        "": {"FIFO": (11, 13), "AVG": (11, Decimal("16.5")), "STD": (11, 77)},
        "&warehouse_id=1": {"FIFO": (8, Decimal("8.67")), "AVG": (8, 12), "STD": (8, 56)},
        "&warehouse_id=2": {"FIFO": (3, Decimal("4.33")), "AVG": (3, Decimal("4.5")),
                            "STD": (3, 21)},
        "&warehouse_id=3": {},
        "&warehouse_id=99": {},
    }  # fmt: skip
    for only, by_sku in expected.items():
        reply = await report(service, f"cogs?{may}&group_by=day{only}", position)
        figures = {item["sku"]: (item["units_sold"], item["total_cogs"]) for item in reply["items"]}
        assert figures == by_sku, only
        total = sum(cost for _, cost in by_sku.values())
        assert reply["total_cogs"] == total
        assert sum(period["cogs"] for period in reply["periods"]) == total
    by_day: dict[str, list[Any]] = {}
    for only in expected:
        reply = await report(service, f"cogs?{may}&group_by=day{only}", position)
        by_day[only] = [period["cogs"] for period in reply["periods"]]
    # The fourth takes back what went out at 1, 1.50 and 7.
    assert by_day[""] == [0, 57, 59, Decimal("-9.5"), 0, 0]
    assert by_day["&warehouse_id=1"] == [0, 57, Decimal("19.67"), 0, 0, 0]
    assert by_day["&warehouse_id=2"] == [0, 0, Decimal("39.33"), Decimal("-9.5"), 0, 0]
    for only, revenue, cost in (
        ("", 297, Decimal("106.5")),
        ("&warehouse_id=1", 216, Decimal("76.67")),
        ("&warehouse_id=2", 81, Decimal("29.83")),
        ("&warehouse_id=3", 0, 0),
    ):
        reply = await report(service, f"financial?{may}{only}", position)
        summary = reply["summary"]
        assert (summary["revenue"], summary["cogs"]) == (revenue, cost)
        assert sum(period["gross_margin"] for period in reply["periods"]) == revenue - cost


@pytest.mark.parametrize("method", ["standard", "fifo", "average"])
async def test_what_stands_in_one_answer_adds_up_to_the_cent(service: Service, method: str) -> None:
    """Periods, products and pages, of prices and costs that are no whole cents."""
    skus = ["P1", "P2", "P3"]
    commands: list[tuple[str, dict[str, Any]]] = [
        ("OpenLocation", {"name": "Here", "code": "H"}),
        ("OpenLocation", {"name": "There", "code": "T"}),
        *(
            ("RegisterProduct",
             {"name": sku, "sku": sku, "base_price": "1", "cost_price": "0.333333"})
            for sku in skus
        ),
        ("ConfigureBooks", {"valuation_method": method}),
    ]  # fmt: skip
    for sku in skus:
        for day in (1, 2, 3):
            at = f"2026-05-0{day}T00:00:00Z"
            place = "H" if day % 2 else "T"
            goods = {"sku": sku, "location": place, "effective_at": at}
            commands += [
                ("ReceiveStock", {**goods, "quantity": "7", "unit_cost": f"0.33333{day}"}),
                ("IssueStock", {**goods, "quantity": "2", "unit_price": "0.6675"}),
            ]
    position = await do(service, *commands)
    may = "from=2026-05-01&to=2026-05-03"
    financial = await report(service, f"financial?{may}", position)
    # 3 products, 3 days, 2 of each at 0.6675 and about a third.
    assert financial["summary"]["revenue"] == Decimal("12.02")
    assert financial["summary"]["cogs"] == 6
    for figure in ("revenue", "cogs", "gross_margin"):
        parts = [period[figure] for period in financial["periods"]]
        assert sum(parts) == financial["summary"][figure]
        assert all(part == round(part, 2) for part in parts)
    pages = [
        await report(service, f"cogs?{may}&group_by=day&limit=2&page={page}", position)
        for page in (1, 2)
    ]
    costs = [item["total_cogs"] for page in pages for item in page["items"]]
    assert len(costs) == 3
    for page in pages:
        assert page["total_cogs"] == sum(costs) == financial["summary"]["cogs"]
        assert sum(period["cogs"] for period in page["periods"]) == page["total_cogs"]
    inventory = await report(service, "inventory", position)
    items = inventory["items"]
    assert inventory["total_value"] == sum(item["total_value"] for item in items)
    for product_id in (1, 2, 3):
        mine = [item["total_value"] for item in items if item["product_id"] == product_id]
        # 15 at about a third: 9 here and 6 there... of which each gets its cents, 5.00 in all.
        assert sum(mine) == 5


async def test_a_warehouse_bears_what_no_sale_of_a_day_explains(service: Service) -> None:
    """A receipt that turns out wrong after its goods were averaged: of the place, not of no place.

    Ten at 2.00 and ten at 4.00, of which ten go out at 3.00; without the latter they cost 2.00.
    That is known on a day without sales, on which the product is revalued as well.
    """
    await do(
        service,
        ("OpenLocation", {"name": "Sydney", "code": "SYD"}),
        ("RegisterProduct", {"name": "Widget", "sku": "W", "base_price": "9", "cost_price": "1"}),
        ("ConfigureBooks", {"valuation_method": "average"}),
        ("ReceiveStock", {**item("10", "2026-05-01T00:00:00Z"), "unit_cost": "2"}),
    )
    wrong = ("ReceiveStock", {**item("10", "2026-05-01T00:00:00Z"), "unit_cost": "4"})
    received = await do(service, wrong)
    late = {"effective_at": "2026-05-04T00:00:00Z"}
    position = await do(
        service,
        sale("10", "9", "2026-05-02T00:00:00Z"),
        ("ReverseMovement", {"position": received, **late}),
        ("RevalueStock", {"product_id": 1, "unit_cost": "20", **late}),
    )
    for only in ("", "&warehouse_id=1"):
        reply = await report(
            service, f"cogs?from=2026-05-01&to=2026-05-05&group_by=day{only}", position
        )
        assert [period["cogs"] for period in reply["periods"]] == [0, 30, 0, -10, 0], only
        assert reply["total_cogs"] == 20
