"""Warehouses, which the ledger calls locations (seed 003, "Warehouses")."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, answer_at
from api.query import MIN_POSITION
from api.reads import money, path_id, trimmed
from api.reply import Reply
from api.stock_value import reading_values
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from schemas.http_catalogue import WarehouseCreatedReply, WarehouseReply, WarehousesReply
from schemas.http_common import MessageReply
from schemas.location import LocationOpened, OpenLocation, ReviseLocation

routes = Routes("Warehouses")

_BODY = BodyDecoder(OpenLocation)

_LIST = """
SELECT w.*, s.total_skus, s.total_value
FROM projections.location w
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE l.unrestricted + l.quarantine > 0) AS total_skus,
           coalesce(sum((l.unrestricted + l.quarantine) * coalesce(p.cost_price, 0)), 0)
               AS total_value
    FROM projections.stock_level l
    JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.product_id
    WHERE l.tenant_id = $1 AND l.location_id = w.location_id
) s ON true
WHERE w.tenant_id = $1
ORDER BY w.location_id
"""


_LIST_PARAMETERS = (*MOMENT_PARAMETERS, MIN_POSITION)


@routes.add(
    "GET",
    "/api/warehouses",
    "List warehouses",
    parameters=_LIST_PARAMETERS,
    replies={200: WarehousesReply},
    problems=PAST_PROBLEMS,
)
async def list_warehouses(call: Call) -> Reply:
    """All warehouses of the tenant, with the value of their stock by the books' method, which is
    the products' cost price unless another was chosen. With as_of or known_at, as it was then."""
    values = query(call, _LIST_PARAMETERS)
    reads = ("locations", "products", "stock_levels")
    async with reading_values(call, values, reads) as (read, levels):
        rows = await read.connection.fetch(_LIST, read.tenant_id)
    worth: dict[int, Decimal] = defaultdict(Decimal)
    for level in levels or ():
        if not level.in_transit:
            worth[level.location_id] += level.value
    warehouses = [
        WarehouseReply(
            id=row["location_id"],
            name=row["name"],
            code=row["code"],
            address=row["address"],
            city=row["city"],
            state=row["state"],
            postcode=row["postcode"],
            country=row["country"],
            time_zone=row["time_zone"],
            is_default=row["is_default"],
            is_active=row["is_active"],
            stock_limit=trimmed(row["stock_limit"]),
            total_skus=row["total_skus"],
            total_value=money(row["total_value"] if levels is None else worth[row["location_id"]]),
            created_at=row["created_at"],
            version=row["version"],
        )
        for row in rows
    ]
    return answer_at(read, WarehousesReply(warehouses=warehouses))


@routes.add(
    "POST",
    "/api/warehouses",
    "Create a warehouse",
    role="admin",
    scope="write",
    body=OpenLocation,
    replies={201: WarehouseCreatedReply},
    problems=("location_code_taken",),
    commits=True,
)
async def create_warehouse(call: Call) -> Reply:
    """Open a location. ``stock_limit`` below zero lets its stock be negative down to there."""
    body = await json_body(call)
    command = _BODY.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, LocationOpened)
        return rendered(
            201,
            WarehouseCreatedReply(
                id=event.location_id,
                name=event.name,
                code=event.code,
                address=event.address,
                city=event.city,
                state=event.state,
                is_default=event.is_default,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/warehouses/{id}",
    "Update a warehouse",
    role="admin",
    scope="write",
    body=OpenLocation,
    replies={200: MessageReply},
    problems=("location_not_found", "location_code_taken"),
    commits=True,
    conditional=True,
)
async def update_warehouse(call: Call) -> Reply:
    """Replace all that is said of a warehouse; what the body leaves out goes to its default."""
    location_id = path_id(call, code="location_not_found")
    body = await json_body(call)
    command = made(
        ReviseLocation, {**msgspec.structs.asdict(_BODY.decode(body)), "location_id": location_id}
    )
    return await commit(
        call,
        body,
        [command],
        lambda outcomes: rendered(200, MessageReply(message="Warehouse updated")),
        conditional=True,
    )
