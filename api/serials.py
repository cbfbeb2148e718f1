"""Serial numbers (seed 003, "Serial Numbers"). Creating one is receiving the unit."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, get_args

from api.context import Call
from api.decoding import BodyDecoder
from api.default_warehouse import with_default_warehouse
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, answer_at, reading_at
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import next_cursor
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import commit, json_body, made, rendered
from ledger.domain.decision import RecordedEvent
from ledger.submission import Outcome, Rendered
from projections.serials import count_serials, list_serials
from schemas.http_tracking import (
    SerialBody,
    SerialCreatedReply,
    SerialRow,
    SerialsBody,
    SerialsCreatedReply,
    SerialsReply,
)
from schemas.lot import SerialMoved, SerialStatus
from schemas.stock import ReceiveStock

routes = Routes("Serials")

_LIST_PARAMETERS = (
    Parameter("product_id", "integer", "Only this product's", minimum=1),
    Parameter(
        "status", "string", "Only units with this status", values=tuple(get_args(SerialStatus))
    ),
    Parameter("warehouse_id", "integer", "Only units that are, or were last, there", minimum=1),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_PROBLEMS = ("product_not_found", "location_not_found", "serial_in_stock")


@routes.add(
    "GET",
    "/api/serials",
    "List serial numbers",
    parameters=_LIST_PARAMETERS,
    replies={200: SerialsReply},
    problems=PAST_PROBLEMS,
)
async def list_all(call: Call) -> Reply:
    """Units in the order of their ids, wherever they are. With as_of or known_at, where they were
    then."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    where: dict[str, Any] = {
        "product_id": values["product_id"],
        "status": values["status"],
        "location_id": values["warehouse_id"],
    }
    async with reading_at(call, values, ("serials", "products", "locations")) as read:
        rows = await list_serials(
            read.connection,
            read.tenant_id,
            **where,
            after=after,
            limit=limit,
            offset=0 if after else (page - 1) * limit,
        )
        total = await count_serials(read.connection, read.tenant_id, **where)
    serials = [
        SerialRow(
            id=row["serial_id"],
            product_id=row["product_id"],
            sku=row["sku"] or "",
            product_name=row["product_name"] or "",
            serial_number=row["serial"],
            warehouse_id=row["location_id"],
            warehouse_name=row["location_name"] or "",
            status=row["status"],
            created_at=row["created_at"],
            moved_at=row["moved_at"],
        )
        for row in rows
    ]
    reply = SerialsReply(
        serials=serials,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(serials, limit, str(serials[-1].id) if serials else ""),
    )
    return answer_at(read, reply)


_ONE = BodyDecoder(SerialBody)


@routes.add(
    "POST",
    "/api/serials",
    "Create a serial number",
    role="manager",
    scope="write",
    body=SerialBody,
    replies={201: SerialCreatedReply},
    problems=_PROBLEMS,
    commits=True,
)
async def create_serial(call: Call) -> Reply:
    """Receive a unit by its number at a warehouse. One that was sold or lost may come again."""
    body = await json_body(call)
    decoded = _ONE.decode(body)
    command = await _received(call, decoded, (decoded.serial_number,))

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded, moved = next(_moves(outcomes[0]))
        return rendered(
            201,
            SerialCreatedReply(
                id=moved.serial_id,
                product_id=moved.product_id,
                serial_number=decoded.serial_number,
                warehouse_id=moved.location_id,
                status=moved.status,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


_MANY = BodyDecoder(SerialsBody)


@routes.add(
    "POST",
    "/api/serials/bulk",
    "Create serial numbers",
    role="manager",
    scope="write",
    body=SerialsBody,
    replies={201: SerialsCreatedReply},
    problems=_PROBLEMS,
    commits=True,
)
async def create_serials(call: Call) -> Reply:
    """Receive units by their numbers at a warehouse: all of them, or none."""
    body = await json_body(call)
    decoded = _MANY.decode(body)
    command = await _received(call, decoded, decoded.serials)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        ids = [moved.serial_id for _, moved in _moves(outcomes[0])]
        return rendered(
            201,
            SerialsCreatedReply(message="Serial numbers created", count=len(ids), ids=ids),
        )

    return await commit(call, body, [command], render)


async def _received(
    call: Call, body: SerialBody | SerialsBody, numbers: tuple[str, ...]
) -> ReceiveStock:
    """Return the receipt of units; raise Problem for a body that it cannot be made of."""
    fields = {
        name: value
        for name, value in ledger_fields(body).items()
        if name not in ("serial_number", "serials")
    }
    place = await with_default_warehouse(call, fields)
    return made(ReceiveStock, {**place, "quantity": Decimal(len(numbers)), "serials": numbers})


def _moves(outcome: Outcome) -> Iterator[tuple[RecordedEvent, SerialMoved]]:
    """Yield where the units of a receipt are, in the order in which they were named."""
    for recorded in outcome.events:
        if isinstance(recorded.event, SerialMoved):
            yield recorded, recorded.event
