"""What charts show is what the reports say: at each point, by each method, to the last digit."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from deploy.charts import POINTS_MAX, Chart, Unfit, Wanted, chart_of
from deploy.wiring import House, following
from tests.support.api import Service, running_service

FIRST, LAST = date(2026, 3, 2), date(2026, 4, 19)
METHODS = ("standard", "average", "fifo")


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Service]:
    """Seven weeks of trade with a product valued by each method, at places in two zones."""
    async with running_service(house) as service, following(house):
        house.now = lambda: datetime(2026, 4, 20, 2, tzinfo=UTC)  # type: ignore[method-assign]
        commands: list[tuple[str, dict[str, Any]]] = [
            ("OpenLocation", {"name": "Sydney", "code": "SYD", "time_zone": "Australia/Sydney"}),
            ("OpenLocation", {"name": "York", "code": "YRK", "time_zone": "Europe/London"}),
        ]
        for method in METHODS:
            product = {"name": method, "sku": method, "base_price": "9.99", "cost_price": "3.10"}
            commands.append(("RegisterProduct", product))
        await _do(service, commands)
        for number, method in enumerate(METHODS, start=1):
            chosen = await service.call(
                "PUT", f"/api/books/products/{number}", {"valuation_method": method}
            )
            assert chosen.is_success, chosen.text
        await _do(service, _trade())
        yield service


def _trade() -> list[tuple[str, dict[str, Any]]]:
    start = datetime(2026, 2, 20, 23, 30, tzinfo=UTC)
    commands: list[tuple[str, dict[str, Any]]] = []
    for day in range(58):
        at = (start + timedelta(days=day)).isoformat()
        sku, place = METHODS[day % 3], ("SYD", "YRK")[day % 2]
        item = {"sku": sku, "location": place, "effective_at": at}
        if day < 12 or day % 7 == 0:
            cost = f"{3 + day % 5}.{day % 10}7"
            commands.append(("ReceiveStock", {**item, "quantity": 20, "unit_cost": cost}))
        else:
            commands.append(("IssueStock", {**item, "quantity": 1 + day % 3, "unit_price": "9.99"}))
    return commands


async def _do(service: Service, commands: list[tuple[str, dict[str, Any]]]) -> None:
    body = {"commands": [{"type": kind, "data": data} for kind, data in commands]}
    answer = await service.post("/api/ledger/commands", body)
    assert answer.json().get("refused") == 0, answer.text


async def _chart(shop: Service, **wanted: Any) -> Chart:
    return await chart_of(shop.house, shop.tenant_id, Wanted(first=FIRST, last=LAST, **wanted))


async def _report(shop: Service, path: str) -> Any:
    answer = await shop.get(f"/api/reports/{path}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


def _ends(chart: Chart) -> list[date]:
    """Return the last day of each week or day of a chart."""
    return [min(day + timedelta(days=6 if chart.by == "week" else 0), LAST) for day in chart.days]


@pytest.mark.parametrize("by", ["day", "week"])
async def test_value_is_that_of_the_inventory_report_at_each_day(shop: Service, by: str) -> None:
    """Of all products, by three methods; of one; and of what is at one place."""
    whole = await _chart(shop, kind="value", by=by)
    assert whole.title == "Value of stock, all products"
    assert (whole.kind, whole.decimals) == ("line", 2)
    one = await _chart(shop, kind="value", sku="FIFO", by=by)
    here = await _chart(shop, kind="value", location="syd", by=by)
    figures = [chart.series[0].values for chart in (whole, one, here)]
    for end, *shown in list(zip(_ends(whole), *figures, strict=True))[:: 1 if by == "week" else 9]:
        report = await _report(shop, f"inventory?valuation_date={end}&limit=200")
        items = report["items"]
        assert shown[0] == report["total_value"]
        assert shown[1] == sum(i["total_value"] for i in items if i["sku"] == "fifo")
        assert shown[2] == sum(i["total_value"] for i in items if i["warehouse_id"] == 1)
    assert len(set(figures[0])) > 5, "the value moves"


async def test_cogs_is_that_of_the_report_in_each_period(shop: Service) -> None:
    chart = await _chart(shop, kind="cogs", by="week")
    report = await _report(shop, f"cogs?from={FIRST}&to={LAST}&group_by=week")
    assert list(chart.series[0].values) == [period["cogs"] for period in report["periods"]]
    assert chart.days == [date.fromisoformat(period["period"]) for period in report["periods"]]
    assert chart.kind == "bars"
    for wanted, query in (
        ({"sku": "average"}, "product_id=2"),
        ({"location": "YRK"}, "warehouse_id=2"),
        ({"sku": "fifo", "location": "SYD"}, "product_id=3&warehouse_id=1"),
    ):
        chart = await _chart(shop, kind="cogs", by="month", **wanted)
        report = await _report(shop, f"cogs?from={FIRST}&to={LAST}&{query}")
        assert sum(chart.series[0].values) == report["total_cogs"] > 0


async def test_stock_is_what_was_on_hand_at_the_end_of_each_day(shop: Service) -> None:
    """A line for each place and one for all of them; the days are the place's own."""
    chart = await _chart(shop, kind="stock", sku="standard", by="day")
    assert [series.name for series in chart.series] == ["Sydney", "York", "all locations"]
    assert chart.unit == "each"
    for number in range(0, len(chart.days), 8):
        report = await _report(
            shop, f"inventory?valuation_date={chart.days[number]}&product_id=1&limit=200"
        )
        held = {item["warehouse_name"]: item["quantity"] for item in report["items"]}
        shown = [series.values[number] for series in chart.series]
        assert shown == [held.get("Sydney", 0), held.get("York", 0), sum(held.values())]
    one = await _chart(shop, kind="stock", sku="standard", location="SYD", by="day")
    assert one.series == chart.series[:1]
    assert one.title == "Stock on hand, standard at SYD"


async def test_demand_is_that_of_the_report(shop: Service) -> None:
    lines = [
        {"sku": METHODS[day % 3], "quantity": day + 1, "orderDate": f"{FIRST + timedelta(day)}"}
        for day in range(20)
    ]
    sent = await shop.post(
        "/api/integrations/v1/ingestion/order-lines", {"lines": lines}, key=shop.api_key
    )
    assert sent.status_code in (200, 201), sent.text
    position = int((await shop.get("/api/import-batches")).headers["ledger-position"])
    chart = await _chart(shop, kind="demand", by="week")
    report = await _report(
        shop, f"demand?from={FIRST}&to={LAST}&group_by=week&limit=200&min_position={position}"
    )
    sums = dict.fromkeys((day.isoformat() for day in chart.days), Decimal(0))
    for row in report["demand"]:
        sums[row["period"]] += row["quantity"]
    assert list(chart.series[0].values) == list(sums.values())
    assert sum(sums.values()) == 210
    assert f"position {position:,}" in chart.caption


async def test_what_cannot_be_drawn_is_said(shop: Service) -> None:
    for wanted, said in (
        (Wanted("stock", sku="NOPE"), "there is no sku 'NOPE'"),
        (Wanted("stock", location="NOPE"), "there is no location 'NOPE'"),
        (Wanted("cogs", first=LAST, last=FIRST), "is after"),
        (Wanted("demand", location="SYD"), "leave it out"),
        (Wanted("value", first=date(1990, 1, 1), by="day"), f"more than the {POINTS_MAX:,}"),
    ):
        with pytest.raises(Unfit, match=said):
            await chart_of(shop.house, shop.tenant_id, wanted)


async def test_quantities_in_different_units_are_not_added_up(shop: Service) -> None:
    """One product's are, also where it never moved. Without days it is a year up to today."""
    oil = {"name": "Oil", "sku": "OIL", "base_price": 1, "unit": "litre", "scale": 3}
    assert (await shop.post("/api/products", oil)).status_code == 201
    with pytest.raises(Unfit, match="each, litre"):
        await chart_of(shop.house, shop.tenant_id, Wanted("stock"))
    assert (await _chart(shop, kind="stock", sku="oil")).is_empty
    chart = await chart_of(shop.house, shop.tenant_id, Wanted("value"))
    assert (chart.by, chart.days[-1], len(chart.days)) == ("week", date(2026, 4, 20), 53)
    assert chart.days[0].weekday() == 0
    assert "2026-04-20 in UTC" in chart.caption
