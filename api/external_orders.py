"""Orders of the external API: for integrations, with an API key alone (seed 003)."""

from typing import Final

from api.context import Call
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.orders import FILTERS, LISTED, PLACING_PROBLEMS, filter_of, place
from api.past import PAST_PROBLEMS, answer_at, reading_at
from api.query import LIMIT, MIN_POSITION, PAGE
from api.reads import money
from api.reply import Reply
from projections import order_queries
from schemas.http_orders import (
    ExternalOrderRow,
    ExternalOrdersReply,
    OrderBody,
    OrderCreatedReply,
)

routes = Routes("External")

_PARAMETERS: Final = (*FILTERS, PAGE, LIMIT, *MOMENT_PARAMETERS, MIN_POSITION)


@routes.add(
    "GET",
    "/api/external/orders",
    "List orders",
    role=None,
    scope="read",
    parameters=_PARAMETERS,
    replies={200: ExternalOrdersReply},
    problems=PAST_PROBLEMS,
)
async def list_orders(call: Call) -> Reply:
    """Orders, the last placed first; filters as in /api/orders."""
    values = query(call, _PARAMETERS)
    page, limit = values["page"], values["limit"]
    wanted = filter_of(values)
    async with reading_at(call, values, LISTED) as read:
        found = await order_queries.orders(
            read.connection,
            read.tenant_id,
            wanted,
            before=None,
            limit=limit,
            offset=(page - 1) * limit,
        )
        total = await order_queries.count(read.connection, read.tenant_id, wanted)
    rows = [
        ExternalOrderRow(
            id=row["order_id"],
            order_number=row["order_number"],
            status=row["status"],
            channel=row["channel"],
            total_amount=money(row["total_amount"]),
            created_at=row["ordered_at"],
        )
        for row in found
    ]
    reply = ExternalOrdersReply(orders=rows, total=total, page=page, limit=limit)
    return answer_at(read, reply)


@routes.add(
    "POST",
    "/api/external/orders",
    "Create an order",
    role=None,
    scope="write",
    body=OrderBody,
    replies={201: OrderCreatedReply},
    problems=PLACING_PROBLEMS,
    commits=True,
)
async def create_order(call: Call) -> Reply:
    """Place an order, as POST /api/orders does. Its channel is api unless it says another."""
    return await place(call)
