"""The report of demand: what was wanted of each product, by day, week or month."""

from typing import Any, Final

from api.context import Call
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, answer_at, reading_at
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, refuse_unknown
from api.reads import Reading, trimmed
from api.reply import Reply
from api.reports import report_range, today_of
from ledger.aliases import SKU, fold
from projections.aliases import find_aliases
from projections.demand import Demand, DemandFilter, demand_by_period
from schemas.http_demand import DemandReply, DemandRow

routes = Routes("Reports")

_PARAMETERS: Final = (
    Parameter("from", "date", "First day; the first of the last day's month if not"),
    Parameter("to", "date", "Last day; today if not"),
    Parameter("group_by", "string", "Length of a period", "day", values=("day", "week", "month")),
    Parameter("sku", "string", "Only this product, by its SKU", maximum=100),
    Parameter("product_id", "integer", "Only this product", minimum=1),
    PAGE,
    LIMIT,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/reports/demand",
    "Demand",
    parameters=_PARAMETERS,
    replies={200: DemandReply},
    problems=("product_not_found", *PAST_PROBLEMS),
)
async def get_demand(call: Call) -> Reply:
    """What was wanted of each product, as ingested: by day, by week from Monday on, or by month. A
    week's or month's quantity is spread evenly over its days, exactly, in the product's scale; only
    the days asked for count. Reversed batches do not. With known_at, as it had been ingested by
    then; with as_of, up to the day that it was then."""
    values = query(call, _PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading_at(call, values, (Demand.name, "products", "aliases", "books")) as read:
        first, last = await report_range(read, call, values)
        counted_to = last
        if values["as_of"] is not None:
            counted_to = min(last, (await today_of(read, call))[0])
        rows, total, quantity = await demand_by_period(
            read.connection,
            read.tenant_id,
            DemandFilter(first, counted_to, await _product(read, values)),
            values["group_by"],
            limit,
            (page - 1) * limit,
        )
    reply = DemandReply(
        first=first,
        last=last,
        group_by=values["group_by"],
        total_quantity=trimmed(quantity),
        demand=[
            DemandRow(
                product_id=row["product_id"],
                sku=row["sku"],
                product_name=row["name"],
                period=row["period"],
                quantity=trimmed(row["quantity"]),
            )
            for row in rows
        ],
        total=total,
        page=page,
        limit=limit,
    )
    return answer_at(read, reply)


async def _product(read: Reading, values: dict[str, Any]) -> int | None:
    """Return the product asked for; raise Problem for an unknown SKU, and for both names."""
    sku, product_id = values["sku"], values["product_id"]
    if sku is None:
        return product_id
    if product_id is not None:
        raise Problem(
            "invalid_parameter", "sku: leave it out, or product_id; give one.", field="sku"
        )
    key = (SKU, fold(sku))
    found = await find_aliases(read.connection, read.tenant_id, [key])
    if key not in found:
        raise Problem("product_not_found", f"There is no product with sku {sku!r}.", sku=sku)
    return found[key]
