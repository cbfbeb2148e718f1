"""Reports: the dashboard, revenue and margin, what stock is worth, what sales cost (seed 003).

`docs/concepts/reports.md` says what each figure counts.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any, Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from asyncpg import Record

from api.context import Call
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, StreamsOf, answer_at, clock, reading_at
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import Reading, money, trimmed
from api.reply import Reply
from api.tabular import Table
from ledger.domain import books
from projections import stock_queries, valuation_places, valuation_queries
from projections.books import books_of
from projections.money import in_cents
from projections.order_queries import OrderFilter, day_start, orders
from projections.past import Streams
from projections.sales import Sales, sales_by_day
from projections.sales_dashboard import count_open, placed_between
from projections.valuation_queries import ProductCogs
from schemas.http_reports import (
    CogsItem,
    CogsPeriod,
    CogsReply,
    DashboardReply,
    FinancialPeriod,
    FinancialReply,
    FinancialSummary,
    GroupBy,
    InventoryReportReply,
    RecentOrder,
    TodayFigures,
    ValuedItem,
)

routes = Routes("Reports")

DAYS_MAX: Final = 3_700
# The following projection behind `projections.valuation_queries`.
_VALUATION: Final = "valuation"
_VALUED: Final = (_VALUATION, "products", "locations", "books")
RECENT_ORDERS: Final = 10
_ZERO: Final = Decimal(0)
_TENTH: Final = Decimal("0.1")
_UNIT_COST: Final = Decimal("0.000001")
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_UP)

_FROM = Parameter("from", "date", "First business day; the first of the last day's month if not")
_TO = Parameter("to", "date", "Last business day; today if not")
_PRODUCT = Parameter("product_id", "integer", "Only this product", minimum=1)
_WAREHOUSE = Parameter("warehouse_id", "integer", "Only at this warehouse", minimum=1)
_RANGE = (_FROM, _TO)
_FINANCIAL = (
    *_RANGE,
    Parameter("group_by", "string", "Length of a period", "day", values=("day", "week", "month")),
    _WAREHOUSE,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_INVENTORY = (
    Parameter("valuation_date", "date", "At the end of this business day; today if not"),
    _PRODUCT,
    _WAREHOUSE,
    PAGE,
    LIMIT,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_COGS = (
    *_RANGE,
    Parameter("group_by", "string", "Add the cost by period", values=("day", "week", "month")),
    _PRODUCT,
    _WAREHOUSE,
    PAGE,
    # The document shows all products in one answer, and no total.
    Parameter("limit", "integer", "Products per page", 1_000, 1, 1_000),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_DASHBOARD = (*MOMENT_PARAMETERS, MIN_POSITION)


@routes.add(
    "GET",
    "/api/reports/dashboard",
    "Dashboard KPIs",
    parameters=_DASHBOARD,
    replies={200: DashboardReply},
    table=Table(rows="figures"),
    problems=PAST_PROBLEMS,
)
async def get_dashboard(call: Call) -> Reply:
    """Today's orders, open orders, what runs low, and the latest orders. Today is the day in
    the zone of the books; with as_of or known_at, all of it is as it was then, and so is the
    day."""
    values = query(call, _DASHBOARD)
    reads = ("orders", "customers", "stock_levels", "products", "locations", "books")
    async with reading_at(call, values, reads) as read:
        today, time_zone = await today_of(read, call)
        placed = await placed_between(
            read.connection,
            read.tenant_id,
            day_start(today, time_zone),
            day_start(today + timedelta(days=1), time_zone),
        )
        open_orders = await count_open(read.connection, read.tenant_id)
        stock = await stock_queries.summary(read.connection, read.tenant_id)
        recent = await orders(
            read.connection, read.tenant_id, OrderFilter(), before=None, limit=RECENT_ORDERS
        )
    reply = DashboardReply(
        today=TodayFigures(
            date=today,
            time_zone=time_zone,
            revenue=trimmed(placed.revenue),
            orders=placed.orders,
            units_sold=trimmed(placed.units),
        ),
        open_orders=open_orders,
        low_stock_count=stock["low_stock_count"],
        out_of_stock_count=stock["out_of_stock_count"],
        recent_orders=[
            RecentOrder(
                id=row["order_id"],
                order_number=row["order_number"],
                customer_name=row["customer_name"],
                total_amount=money(row["total_amount"]),
                status=row["status"],
                created_at=row["ordered_at"],
            )
            for row in recent
        ],
    )
    return answer_at(read, reply)


@routes.add(
    "GET",
    "/api/reports/financial",
    "Financial summary",
    parameters=_FINANCIAL,
    replies={200: FinancialReply},
    problems=PAST_PROBLEMS,
)
async def get_financial(call: Call) -> Reply:
    """Revenue, cost of goods sold and gross margin of a range of business days, by day, by week
    from Monday on, or by month. Revenue is recognised when goods go out; what customers are
    given back is taken off. Figures are of the position that Ledger-Position tells."""
    values = query(call, _FINANCIAL)
    async with reading_at(call, values, (Sales.name, _VALUATION, "books")) as read:
        first, last = await report_range(read, call, values)
        group_by: GroupBy = values["group_by"]
        periods = periods_of(first, last, group_by)
        warehouse_id: int | None = values["warehouse_id"]
        days = await sales_by_day(
            read.connection, read.tenant_id, first, last, location_id=warehouse_id
        )
        costs = await _costs_of(read, periods, warehouse_id)
    with localcontext(_EXACT):
        by_period = dict.fromkeys((each.label for each in periods), _ZERO)
        for sold in days:
            by_period[_label(sold.day, group_by)] += sold.revenue
        revenues, cogs = in_cents(list(by_period.values())), in_cents(costs)
        rows = [
            FinancialPeriod(
                period=each.label,
                revenue=trimmed(revenue),
                cogs=trimmed(cost),
                gross_margin=trimmed(revenue - cost),
            )
            for each, revenue, cost in zip(periods, revenues, cogs, strict=True)
        ]
        revenue, cost = _sum(revenues), _sum(cogs)
        summary = FinancialSummary(
            revenue=trimmed(revenue),
            cogs=trimmed(cost),
            gross_margin=trimmed(revenue - cost),
            gross_margin_pct=margin_pct(revenue, cost),
            unpriced_units=trimmed(_sum(sold.unpriced_units for sold in days)),
        )
    reply = FinancialReply(first=first, last=last, group_by=group_by, summary=summary, periods=rows)
    return answer_at(read, reply)


@routes.add(
    "GET",
    "/api/reports/inventory",
    "Inventory valuation",
    parameters=_INVENTORY,
    replies={200: InventoryReportReply},
    problems=PAST_PROBLEMS,
)
async def get_inventory_report(call: Call) -> Reply:
    """What stock was on hand at the end of a business day and what it was worth, by product and
    warehouse, by the valuation method of the books or of the product."""
    values = query(call, _INVENTORY)
    async with reading_at(call, values, _VALUED, streams_of=_of_product(values)) as read:
        day = values["valuation_date"] or (await today_of(read, call))[0]
        levels = await valuation_queries.inventory_value(read.connection, read.tenant_id, day)
        product_id, warehouse_id = values["product_id"], values["warehouse_id"]
        levels = [
            level
            for level in levels
            if product_id in (None, level.product_id) and warehouse_id in (None, level.location_id)
        ]
        shown = _page(levels, values)
        products = await _products(read, (level.product_id for level in shown))
        names = await _warehouse_names(read)
    with localcontext(_EXACT):
        total_value = trimmed(_sum(level.value for level in levels))
    items = [
        ValuedItem(
            product_id=level.product_id,
            sku=products[level.product_id]["sku"],
            product_name=products[level.product_id]["name"],
            warehouse_id=level.location_id,
            warehouse_name=names[level.location_id],
            quantity=trimmed(level.quantity),
            cost_price=money(level.unit_cost),
            total_value=trimmed(level.value),
            in_transit=level.in_transit,
        )
        for level in shown
    ]
    reply = InventoryReportReply(
        valuation_date=day,
        total_value=total_value,
        items=items,
        total=len(levels),
        page=values["page"],
        limit=values["limit"],
    )
    return answer_at(read, reply)


@routes.add(
    "GET",
    "/api/reports/cogs",
    "Cost of goods sold",
    parameters=_COGS,
    replies={200: CogsReply},
    problems=PAST_PROBLEMS,
)
async def get_cogs(call: Call) -> Reply:
    """What the goods cost that were sold on a range of business days, by product, returns taken
    off at what they cost when they went out. Of one warehouse it is its share of what a day's
    sales of a product cost, by the units it sold; the warehouses add up to the whole."""
    values = query(call, _COGS)
    if values["group_by"] is not None and values["product_id"] is not None:
        raise Problem(
            "invalid_parameter",
            "group_by: is of all products; leave it out, or product_id.",
            field="group_by",
        )
    streams_of = None if values["group_by"] else _of_product(values)
    async with reading_at(call, values, _VALUED, streams_of=streams_of) as read:
        first, last = await report_range(read, call, values)
        warehouse_id: int | None = values["warehouse_id"]
        connection, tenant_id = read.connection, read.tenant_id
        if warehouse_id is None:
            costs = await valuation_queries.cogs_of_products(connection, tenant_id, first, last)
        else:
            costs = await valuation_places.cogs_of_products_at(
                connection, tenant_id, warehouse_id, first, last
            )
        if values["product_id"] is not None:
            costs = [cost for cost in costs if cost.product_id == values["product_id"]]
        rounded = in_cents([cost.cogs for cost in costs])
        shown = _page(list(zip(costs, rounded, strict=True)), values)
        products = await _products(read, (cost.product_id for cost, _ in shown))
        periods = await _cogs_periods(read, first, last, values["group_by"], warehouse_id)
    items = [
        CogsItem(
            product_id=cost.product_id,
            sku=products[cost.product_id]["sku"],
            product_name=products[cost.product_id]["name"],
            units_sold=trimmed(cost.units_sold),
            cost_price=_unit_cost(cost),
            total_cogs=trimmed(cogs),
        )
        for cost, cogs in shown
    ]
    with localcontext(_EXACT):
        total_cogs = _sum(rounded)
    reply = CogsReply(
        first=first,
        last=last,
        total_cogs=trimmed(total_cogs),
        items=items,
        periods=periods,
        total=len(costs),
        page=values["page"],
        limit=values["limit"],
    )
    return answer_at(read, reply)


# --- days and periods -------------------------------------------------------------------


class Period(NamedTuple):
    """A period's name, which is its first day, and the days of it that are in the range."""

    label: date
    first: date
    last: date


def periods_of(first: date, last: date, group_by: GroupBy) -> list[Period]:
    """Return the periods that ``first`` to ``last`` touch, in order.

    Weeks begin on Monday (ISO 8601). The first and the last period hold only the days within
    the range.
    """
    periods: list[Period] = []
    start = first
    while True:
        label = _label(start, group_by)
        end = min(last, _last_day(label, group_by))
        periods.append(Period(label, start, end))
        if end == last:
            return periods
        start = end + timedelta(days=1)


def _label(day: date, group_by: GroupBy) -> date:
    match group_by:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


def _last_day(label: date, group_by: GroupBy) -> date:
    match group_by:
        case "day":
            return label
        case "week":
            # The last days there are make no whole week.
            return label + min(timedelta(days=6), date.max - label)
        case "month":
            return label.replace(day=monthrange(label.year, label.month)[1])


def margin_pct(revenue: Decimal, cogs: Decimal) -> Decimal:
    """Return the gross margin as a percentage of revenue, to one decimal, halves away from zero.

    It is 0 unless revenue is above zero: there is nothing then that it could be a share of.
    """
    if revenue <= 0:
        return _ZERO
    with localcontext(_EXACT):
        return trimmed(((revenue - cogs) * 100 / revenue).quantize(_TENTH))


async def today_of(read: Reading, call: Call) -> tuple[date, str]:
    """Return the day that it is, or was, in the zone of the tenant's books, and that zone."""
    time_zone = (await books_of(read.connection, read.tenant_id)).time_zone
    return clock(call, read).astimezone(ZoneInfo(time_zone)).date(), time_zone


async def report_range(read: Reading, call: Call, values: Mapping[str, Any]) -> tuple[date, date]:
    """Return a report's first and last day; raise Problem (400) for no range, or a long one."""
    last: date = values["to"] or (await today_of(read, call))[0]
    first: date = values["from"] or last.replace(day=1)
    if first > last:
        raise Problem(
            "invalid_parameter",
            f"from: must not be after to, which is {last.isoformat()}.",
            field="from",
        )
    if (last - first).days >= DAYS_MAX:
        raise Problem(
            "invalid_parameter",
            f"from: must be less than {DAYS_MAX:,} days before to; ask for a shorter range.",
            field="from",
        )
    return first, last


# --- parts ------------------------------------------------------------------------------


def _of_product(values: Mapping[str, Any]) -> StreamsOf | None:
    """Return what finds the streams that one product's value follows from, if one is asked for."""
    product_id: int | None = values["product_id"]
    if product_id is None:
        return None

    async def streams_of(_read: Reading) -> Streams:
        return Streams(
            [f"product-{product_id}", books.STREAM], [f"stock-{product_id}-", "location-"]
        )

    return streams_of


Row = TypeVar("Row")


def _page(rows: Sequence[Row], values: Mapping[str, Any]) -> Sequence[Row]:
    start = (values["page"] - 1) * values["limit"]
    return rows[start : start + values["limit"]]


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, start=_ZERO)


def _unit_cost(cost: ProductCogs) -> str | None:
    """Return what one unit cost on average, to six decimals."""
    if not cost.units_sold:
        return None
    with localcontext(_EXACT):
        return money((cost.cogs / cost.units_sold).quantize(_UNIT_COST))


async def _costs_of(
    read: Reading, periods: Sequence[Period], warehouse_id: int | None
) -> list[Decimal]:
    """Return what sales cost in each period, everywhere or at one warehouse."""
    days = [(each.first, each.last) for each in periods]
    if warehouse_id is None:
        return await valuation_queries.cogs_of_periods(read.connection, read.tenant_id, days)
    return await valuation_places.cogs_of_periods_at(
        read.connection, read.tenant_id, warehouse_id, days
    )


async def _cogs_periods(
    read: Reading,
    first: date,
    last: date,
    group_by: GroupBy | None,
    warehouse_id: int | None,
) -> list[CogsPeriod] | msgspec.UnsetType:
    if group_by is None:
        return msgspec.UNSET
    periods = periods_of(first, last, group_by)
    costs = await _costs_of(read, periods, warehouse_id)
    return [
        CogsPeriod(period=each.label, cogs=trimmed(cost))
        for each, cost in zip(periods, in_cents(costs), strict=True)
    ]


async def _products(read: Reading, product_ids: Iterable[int]) -> dict[int, Record]:
    """Return the SKUs and names of products by id, those of discontinued ones too."""
    rows = await read.connection.fetch(
        """
        SELECT product_id, sku, name FROM projections.product
        WHERE tenant_id = $1 AND product_id = ANY ($2)
        """,
        read.tenant_id,
        list(product_ids),
    )
    return {row["product_id"]: row for row in rows}


async def _warehouse_names(read: Reading) -> dict[int, str]:
    rows = await read.connection.fetch(
        "SELECT location_id, name FROM projections.location WHERE tenant_id = $1", read.tenant_id
    )
    return {row["location_id"]: row["name"] for row in rows}
