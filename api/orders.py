"""Orders: placing and reading them (seed 003, "Orders"); see `api.order_actions` for the rest."""

import csv
import io
import re
from collections.abc import AsyncGenerator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from api.context import Call
from api.endpoint import Media, Routes, query
from api.moments import MOMENT_PARAMETERS, moment_headers
from api.order_bodies import in_items, place_order
from api.order_view import created, explanation, order_reply
from api.past import (
    FOLDED_AT_ONCE_MAX,
    PAST_PROBLEMS,
    StreamsOf,
    answer_at,
    clock,
    reading_at,
)
from api.problems import Problem
from api.products import cursor_id, neutral
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, parse_integer
from api.reads import Reading, money, next_cursor, path_id
from api.reply import Reply, StreamReply
from api.sealing import unsealed_rows
from api.tabular import Table
from api.writes import commit, rendered
from ledger.submission import Outcome, Rendered
from projections import order_queries
from projections.books import books_of
from projections.money import cents
from projections.order_queries import OrderFilter
from projections.past import Streams
from schemas.http_orders import (
    OrderBody,
    OrderCreatedReply,
    OrderExplanationReply,
    OrderReply,
    OrderRow,
    OrdersReply,
    OrderStatsReply,
    StatusCounts,
)
from schemas.order import OrderStatus

routes = Routes("Orders")

STATUSES: Final[tuple[OrderStatus, ...]] = (
    "pending",
    "paid",
    "fulfilling",
    "fulfilled",
    "shipped",
    "cancelled",
)
PLACING_PROBLEMS: Final = (
    "insufficient_stock",
    "product_not_found",
    "location_not_found",
    "customer_not_found",
    "product_inactive",
    "product_discontinued",
    "order_total_out_of_bounds",
    "invalid_command",
)
EXPORT_PAGE_ROWS: Final = 500

FILTERS: Final = (
    Parameter("status", "string", "Only orders of this status", values=STATUSES),
    Parameter("customer_id", "integer", "Only this customer's", minimum=1),
    Parameter("from", "date", "Placed on this day or later, in the zone of the books"),
    Parameter("to", "date", "Placed on this day or earlier, in the zone of the books"),
    Parameter("search", "string", "The order of this number, such as ORD-1042", maximum=50),
)
_LIST_PARAMETERS: Final = (
    *FILTERS,
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
LISTED: Final = ("orders", "customers", "books")
"""The projections that a list of orders is read from."""

_NUMBER: Final = re.compile(r"(?:ORD-)?([0-9]{1,16})", re.ASCII | re.IGNORECASE)
_ZERO: Final = Decimal(0)


def filter_of(values: dict[str, Any]) -> OrderFilter:
    """Return which orders a request asks for; raise Problem (400) for days the wrong way round."""
    first, last = values["from"], values["to"]
    if first is not None and last is not None and last < first:
        raise Problem("invalid_parameter", "to: must not be before from.", field="to")
    order_id = None
    if values.get("search") is not None:
        match = _NUMBER.fullmatch(values["search"].strip())
        # No order has the number 0, which is what a text that is no number finds.
        order_id = (parse_integer(match[1]) if match else 0) or 0
    return OrderFilter(values["status"], values.get("customer_id"), first, last, order_id)


@routes.add(
    "GET",
    "/api/orders",
    "List orders",
    parameters=_LIST_PARAMETERS,
    replies={200: OrdersReply},
    problems=PAST_PROBLEMS,
)
async def list_orders(call: Call) -> Reply:
    """Orders, the last placed first. A day is one of the books' zone, and an order's day that of
    the time at which it was placed in the world. With as_of or known_at, those there were then,
    as they stood then."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, before = values["page"], values["limit"], cursor_id(values["cursor"]) or None
    wanted = filter_of(values)
    offset = 0 if before else (page - 1) * limit
    async with reading_at(call, values, LISTED) as read:
        found = await order_queries.orders(
            read.connection, read.tenant_id, wanted, before=before, limit=limit, offset=offset
        )
        total = await order_queries.count(read.connection, read.tenant_id, wanted)
    rows = [
        OrderRow(
            id=row["order_id"],
            order_number=row["order_number"],
            customer_id=row["customer_id"],
            customer_name=row["customer_name"],
            status=row["status"],
            channel=row["channel"],
            total_amount=money(row["total_amount"]),
            item_count=row["item_count"],
            warehouse_id=row["location_id"],
            created_at=row["ordered_at"],
        )
        for row in found
    ]
    last = str(rows[-1].id) if rows else ""
    reply = OrdersReply(
        orders=rows,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(rows, limit, last),
    )
    return answer_at(read, reply)


# --- statistics -------------------------------------------------------------------------

_STATS_PARAMETERS: Final = (
    Parameter("period", "string", "The month, as 2026-05; without it the present one", maximum=7),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
_YEARS: Final = range(1900, 2201)


@routes.add(
    "GET",
    "/api/orders/stats",
    "Order statistics",
    parameters=_STATS_PARAMETERS,
    replies={200: OrderStatsReply},
    table=Table(),
    problems=PAST_PROBLEMS,
)
async def order_stats(call: Call) -> Reply:
    """Orders placed in a month, by the days of the books' zone. What is cancelled, an order or a
    part of one, is no revenue; cancelled orders are counted apart."""
    values = query(call, _STATS_PARAMETERS)
    period = None if values["period"] is None else _month(values["period"])
    async with reading_at(call, values, ("orders", "books")) as read:
        zone = (await books_of(read.connection, read.tenant_id)).time_zone
        month = period or clock(call, read).astimezone(ZoneInfo(zone)).date().replace(day=1)
        by_status = await order_queries.month_by_status(
            read.connection, read.tenant_id, month, zone
        )
    cancelled = by_status.pop("cancelled", None)
    total = sum(row["orders"] for row in by_status.values())
    revenue = sum((row["revenue"] for row in by_status.values()), _ZERO)
    reply = OrderStatsReply(
        period=f"{month:%Y-%m}",
        time_zone=zone,
        total_orders=total,
        total_revenue=money(revenue),
        avg_order_value=money(cents(revenue / total if total else _ZERO)),
        by_status=StatusCounts(**{status: row["orders"] for status, row in by_status.items()}),
        cancelled_orders=cancelled["orders"] if cancelled else 0,
    )
    return answer_at(read, reply)


def _month(text: str) -> date:
    match = _MONTH.fullmatch(text)
    if match is None or int(match[1]) not in _YEARS:
        raise Problem(
            "invalid_parameter", "period: must be a month such as 2026-05.", field="period"
        )
    return date(int(match[1]), int(match[2]), 1)


# --- export -----------------------------------------------------------------------------

_EXPORT_COLUMNS: Final = (
    "id",
    "order_number",
    "customer_id",
    "customer_name",
    "status",
    "channel",
    "total_amount",
    "item_count",
    "warehouse_id",
    "reference",
    "created_at",
)


_EXPORT_PARAMETERS: Final = (*FILTERS, *MOMENT_PARAMETERS)


@routes.add(
    "GET",
    "/api/orders/export",
    "Export orders as CSV",
    parameters=_EXPORT_PARAMETERS,
    replies={200: Media("text/csv; charset=utf-8")},
    problems=("being_prepared",),
)
async def export_orders(call: Call) -> Reply:
    """Orders as a CSV file, streamed, the last placed first. Cells that a spreadsheet would take
    for a formula begin with an apostrophe."""
    values = query(call, _EXPORT_PARAMETERS) | {"min_position": None}
    wanted = filter_of(values)
    first, read = await _export_page(call, values, wanted, None)
    if read.moment is not None:
        values["known_at"] = read.moment.position
    return StreamReply(
        _export(call, values, wanted, first),
        b"text/csv; charset=utf-8",
        [
            (b"content-disposition", b'attachment; filename="orders.csv"'),
            *moment_headers(read.moment),
        ],
    )


async def _export_page(
    call: Call, values: dict[str, Any], wanted: OrderFilter, before: int | None
) -> tuple[list[Any], Reading]:
    async with reading_at(call, values, LISTED) as read:
        # What had to be folded for this request is not folded again for the next page.
        limit = EXPORT_PAGE_ROWS
        if read.moment is not None and read.position <= FOLDED_AT_ONCE_MAX:
            limit = FOLDED_AT_ONCE_MAX
        rows = await order_queries.orders(
            read.connection, read.tenant_id, wanted, before=before, limit=limit
        )
    return rows, read


async def _export(
    call: Call, values: dict[str, Any], wanted: OrderFilter, rows: list[Any]
) -> AsyncGenerator[bytes, None]:
    """Yield the file page by page; no connection is held while the client reads."""
    yield _csv([_EXPORT_COLUMNS])
    while rows:
        cells = await unsealed_rows(
            call,
            [
                (
                    row["order_id"],
                    row["order_number"],
                    row["customer_id"],
                    row["customer_name"],
                    row["status"],
                    row["channel"],
                    money(row["total_amount"]),
                    row["item_count"],
                    row["location_id"],
                    row["reference"],
                    row["ordered_at"].isoformat(),
                )
                for row in rows
            ],
        )
        yield _csv(cells)
        if len(rows) < EXPORT_PAGE_ROWS:
            return
        if len(rows) > EXPORT_PAGE_ROWS:
            return
        rows, _ = await _export_page(call, values, wanted, rows[-1]["order_id"])


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[neutral(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


# --- one order --------------------------------------------------------------------------


_ORDER_PARAMETERS: Final = (*MOMENT_PARAMETERS, MIN_POSITION)


def _about(order_id: int) -> StreamsOf:
    """Return what finds the streams that say all of an order: what it is of, and whose it is."""

    async def streams_of(read: Reading) -> Streams:
        placed = await order_queries.placed(read.connection, read.tenant_id, order_id)
        if placed is None:
            return Streams()
        names = [f"order-{order_id}"]
        names += {f"product-{line.product_id}" for line in placed.event.lines}
        names += {f"location-{place.location_id}" for place in placed.event.considered}
        if placed.event.customer_id is not None:
            names.append(f"customer-{placed.event.customer_id}")
        return Streams(names)

    return streams_of


@routes.add(
    "GET",
    "/api/orders/{id}",
    "Get an order",
    parameters=_ORDER_PARAMETERS,
    replies={200: OrderReply},
    problems=("order_not_found", *PAST_PROBLEMS),
)
async def get_order(call: Call) -> Reply:
    """One order with its items, what went out and what came back. ETag is the version that
    If-Match takes. With as_of or known_at, as it stood then."""
    order_id = path_id(call, code="order_not_found")
    values = query(call, _ORDER_PARAMETERS)
    reads = ("orders", "customers", "products")
    async with reading_at(call, values, reads, streams_of=_about(order_id)) as read:
        rows = await order_queries.order(read.connection, read.tenant_id, order_id)
    if rows is None:
        raise order_not_found(order_id)
    reply = order_reply(rows)
    return answer_at(read, reply, [(b"etag", b'"%d"' % reply.version)])


def order_not_found(order_id: int) -> Problem:
    """Return the problem of an id that no order has."""
    return Problem("order_not_found", f"There is no order with id {order_id}; check the id.")


@routes.add(
    "GET",
    "/api/orders/{id}/explain",
    "Explain an order",
    parameters=_ORDER_PARAMETERS,
    replies={200: OrderExplanationReply},
    table=Table(rows="items"),
    problems=("order_not_found", *PAST_PROBLEMS),
)
async def explain_order(call: Call) -> Reply:
    """Why an order was reserved where it was and costs what it costs: what was available where it
    was looked, what each line got, and what its price is from. As the log has it, for ever."""
    order_id = path_id(call, code="order_not_found")
    values = query(call, _ORDER_PARAMETERS)
    reads = ("products", "locations")
    async with reading_at(call, values, reads, streams_of=_about(order_id)) as read:
        placed = await order_queries.placed(read.connection, read.tenant_id, order_id)
        if placed is None or not read.has(placed.position, placed.effective_at):
            raise order_not_found(order_id)
        event = placed.event
        skus, names = await order_queries.names_of(
            read.connection,
            read.tenant_id,
            [line.product_id for line in event.lines],
            [place.location_id for place in event.considered],
        )
    reply = explanation(placed, skus, names)
    return answer_at(read, reply)


# --- placing ----------------------------------------------------------------------------


@routes.add(
    "POST",
    "/api/orders",
    "Create an order",
    scope="write",
    body=OrderBody,
    replies={201: OrderCreatedReply},
    problems=PLACING_PROBLEMS,
    commits=True,
)
async def create_order(call: Call) -> Reply:
    """Place an order: it is priced, numbered, and stock is reserved for it, or it is refused as a
    whole. What is not available is refused, unless its product takes backorders."""
    return await place(call)


async def place(call: Call) -> Reply:
    """Place the order that a request's body is; the reply is seed 003's."""
    body, command = await place_order(call)
    return await commit(call, body, [command], _placed, problem_of=in_items())


def _placed(outcomes: Sequence[Outcome]) -> Rendered:
    return rendered(201, created(outcomes[0].events[0]))
