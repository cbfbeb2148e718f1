"""HTTP replies of reports. Figures are JSON numbers and a row's own money is text (seed 003)."""

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.http_common import Amount, Money, Quantity
from schemas.order import OrderStatus

GroupBy = Literal["day", "week", "month"]


class TodayFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The orders placed on ``date``, without what was cancelled of them."""

    date: Annotated[date, Meta(description="Today, in time_zone")]
    time_zone: str
    revenue: Amount
    orders: int
    units_sold: Quantity


class RecentOrder(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    order_number: str
    customer_name: str | None
    total_amount: Money
    status: OrderStatus
    created_at: datetime


class DashboardReply(msgspec.Struct, frozen=True, kw_only=True):
    """``open_orders`` are not yet all fulfilled, nor cancelled."""

    today: TodayFigures
    open_orders: int
    low_stock_count: int
    out_of_stock_count: int
    recent_orders: list[RecentOrder]


class FinancialSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``unpriced_units`` went out to customers without a price: no revenue, but a cost."""

    revenue: Amount
    cogs: Amount
    gross_margin: Amount
    gross_margin_pct: Annotated[
        Amount, Meta(description="Of revenue, to one decimal; 0 unless revenue is above zero")
    ]
    unpriced_units: Quantity


class FinancialPeriod(msgspec.Struct, frozen=True, kw_only=True):
    period: Annotated[date, Meta(description="The day; the week's Monday; the first of the month")]
    revenue: Amount
    cogs: Amount
    gross_margin: Amount


class FinancialReply(msgspec.Struct, frozen=True, kw_only=True):
    """Every period of the range, also those in which nothing was sold."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    group_by: GroupBy
    summary: FinancialSummary
    periods: list[FinancialPeriod]


class ValuedItem(msgspec.Struct, frozen=True, kw_only=True):
    """What is on hand, or ``in_transit`` to the warehouse; ``cost_price`` is what one is worth."""

    product_id: int
    sku: str
    product_name: str
    warehouse_id: int
    warehouse_name: str
    quantity: Quantity
    cost_price: Money
    total_value: Amount
    in_transit: bool = False


class InventoryReportReply(msgspec.Struct, frozen=True, kw_only=True):
    """``total_value`` is of all ``total`` items, not of the page alone."""

    valuation_date: date
    total_value: Amount
    items: list[ValuedItem]
    total: int
    page: int
    limit: int


class CogsItem(msgspec.Struct, frozen=True, kw_only=True):
    """``units_sold`` is net of returns; ``cost_price`` what one of them cost on average.

    It is null where as much came back as went out.
    """

    product_id: int
    sku: str
    product_name: str
    units_sold: Quantity
    cost_price: Money | None
    total_cogs: Amount


class CogsPeriod(msgspec.Struct, frozen=True, kw_only=True):
    period: date
    cogs: Amount


class CogsReply(msgspec.Struct, frozen=True, kw_only=True):
    """``total_cogs`` is of all ``total`` items; ``periods`` only where ``group_by`` is given."""

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    total_cogs: Amount
    items: list[CogsItem]
    periods: list[CogsPeriod] | msgspec.UnsetType = msgspec.UNSET
    total: int
    page: int
    limit: int
