"""Batches, which the ledger calls lots (seed 003, "Batches / Lots")."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.default_warehouse import with_default_warehouse
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, answer_at, clock, reading_at
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import Reading, next_cursor, path_id, reading, trimmed
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import commit, json_body, made, rendered
from ledger.aliases import SKU, fold
from ledger.submission import Outcome, Rendered
from projections.aliases import find_aliases
from projections.books import books_of
from projections.lots import count_lots, list_lots
from schemas.common import Command
from schemas.http_common import MessageReply
from schemas.http_tracking import (
    BatchBody,
    BatchCreatedReply,
    BatchesReply,
    BatchRevisionBody,
    BatchRow,
    ExpiringBatchesReply,
    ExpiringBatchRow,
)
from schemas.lot import LotRegistered, RegisterLot, ReviseLot
from schemas.stock import LotEntry, ReceiveStock, StockReceived

routes = Routes("Batches")

DAYS_MAX: Final = 36_500
ZERO: Final = Decimal(0)

_PRODUCT = Parameter("product_id", "integer", "Only this product's", minimum=1)
_WAREHOUSE = Parameter(
    "warehouse_id", "integer", "Only those that have been at this warehouse", minimum=1
)
_LIST_PARAMETERS = (
    _PRODUCT,
    _WAREHOUSE,
    Parameter(
        "expiring_days",
        "integer",
        "Only those that expire within so many days, or have expired",
        maximum=DAYS_MAX,
    ),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/batches",
    "List batches",
    parameters=_LIST_PARAMETERS,
    replies={200: BatchesReply},
    problems=PAST_PROBLEMS,
)
async def list_batches(call: Call) -> Reply:
    """Batches in the order of their ids, with what is on hand of each. With as_of or known_at, what
    was on hand of each then."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    async with reading_at(call, values, ("lots", "products", "books")) as read:
        expires_by = None
        if values["expiring_days"] is not None:
            expires_by = await _today(call, read) + timedelta(days=values["expiring_days"])
        where: dict[str, Any] = {
            "product_id": values["product_id"],
            "location_id": values["warehouse_id"],
            "expires_by": expires_by,
        }
        rows = await list_lots(
            read.connection,
            read.tenant_id,
            **where,
            after=after,
            limit=limit,
            offset=0 if after else (page - 1) * limit,
        )
        total = await count_lots(read.connection, read.tenant_id, **where)
    batches = [
        BatchRow(
            id=row["lot_id"],
            product_id=row["product_id"],
            sku=row["sku"] or "",
            product_name=row["product_name"] or "",
            batch_number=row["lot"],
            lot_number=row["lot_number"],
            manufacture_date=row["manufacture_date"],
            expiry_date=row["expiry_date"],
            removal_date=row["removal_date"],
            quantity=row["on_hand"],
            quarantined_quantity=row["quarantine"],
            in_transit_quantity=row["in_transit"],
            notes=row["notes"],
            created_at=row["created_at"],
            version=row["version"],
        )
        for row in rows
    ]
    reply = BatchesReply(
        batches=batches,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(batches, limit, str(batches[-1].id) if batches else ""),
    )
    return answer_at(read, reply)


_EXPIRING_PARAMETERS = (
    Parameter("days", "integer", "Within so many days from today", 30, maximum=DAYS_MAX),
    _PRODUCT,
    _WAREHOUSE,
    PAGE,
    LIMIT,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/batches/expiring",
    "List expiring batches",
    parameters=_EXPIRING_PARAMETERS,
    replies={200: ExpiringBatchesReply},
    problems=PAST_PROBLEMS,
)
async def list_expiring(call: Call) -> Reply:
    """Batches on hand that expire within some days, the soonest first; those that have expired
    come before them. Today is the day in the time zone of the books, or the day then."""
    values = query(call, _EXPIRING_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading_at(call, values, ("lots", "products", "books")) as read:
        today = await _today(call, read)
        where: dict[str, Any] = {
            "product_id": values["product_id"],
            "location_id": values["warehouse_id"],
            "expires_by": today + timedelta(days=values["days"]),
            "in_stock": True,
        }
        rows = await list_lots(
            read.connection,
            read.tenant_id,
            **where,
            soonest_first=True,
            limit=limit,
            offset=(page - 1) * limit,
        )
        total = await count_lots(read.connection, read.tenant_id, **where)
    batches = [
        ExpiringBatchRow(
            id=row["lot_id"],
            product_id=row["product_id"],
            sku=row["sku"] or "",
            product_name=row["product_name"] or "",
            batch_number=row["lot"],
            expiry_date=row["expiry_date"],
            removal_date=row["removal_date"],
            days_until_expiry=(row["expiry_date"] - today).days,
            quantity=row["on_hand"],
        )
        for row in rows
    ]
    reply = ExpiringBatchesReply(batches=batches, total=total, page=page, limit=limit, today=today)
    return answer_at(read, reply)


async def _today(call: Call, read: Reading) -> date:
    zone = (await books_of(read.connection, read.tenant_id)).time_zone
    return clock(call, read).astimezone(ZoneInfo(zone)).date()


_CREATE = BodyDecoder(BatchBody)


@routes.add(
    "POST",
    "/api/batches",
    "Create a batch",
    role="manager",
    scope="write",
    body=BatchBody,
    replies={201: BatchCreatedReply},
    problems=("product_not_found", "location_not_found", "lot_taken"),
    commits=True,
)
async def create_batch(call: Call) -> Reply:
    """Make a batch known, and receive ``quantity`` of it at a warehouse where that is given. The
    product must have batch tracking."""
    body = await json_body(call)
    decoded = _CREATE.decode(body)
    fields = ledger_fields(decoded)
    product_id = await _product_id(call, fields)
    said = {
        name: fields[name]
        for name in ("lot_number", "manufacture_date", "expiry_date", "removal_date")
        if name in fields
    }
    register: RegisterLot = made(
        RegisterLot,
        {
            **said,
            "product_id": product_id,
            "lot": decoded.batch_number,
            "notes": decoded.notes,
        },
    )
    commands: list[Command] = [register]
    # A batch with nothing in it is made known all the same.
    if decoded.quantity is not None and decoded.quantity != 0:
        place = await with_default_warehouse(
            call,
            {
                name: fields[name]
                for name in ("location_id", "location", "effective_at", "unit_cost")
                if name in fields
            },
        )
        entry = made(LotEntry, {"lot": decoded.batch_number, "quantity": decoded.quantity})
        commands.append(
            made(
                ReceiveStock,
                {
                    **place,
                    "product_id": product_id,
                    "quantity": decoded.quantity,
                    "lots": (entry,),
                    "reason": "batch created",
                },
            )
        )
    return await commit(call, body, commands, _render_created)


def _render_created(outcomes: Sequence[Outcome]) -> Rendered:
    recorded = outcomes[0].events[0]
    event = recorded.event
    assert isinstance(event, LotRegistered)
    quantity, warehouse_id = None, None
    for outcome in outcomes[1:]:
        received = outcome.events[0].event
        assert isinstance(received, StockReceived)
        quantity, warehouse_id = received.quantity, received.location_id
    return rendered(
        201,
        BatchCreatedReply(
            id=event.lot_id,
            product_id=event.product_id,
            batch_number=event.lot,
            lot_number=event.lot_number,
            manufacture_date=event.manufacture_date,
            expiry_date=event.expiry_date,
            removal_date=event.removal_date,
            quantity=trimmed(quantity or ZERO),
            warehouse_id=warehouse_id,
            notes=event.notes,
            created_at=recorded.recorded_at,
        ),
    )


async def _product_id(call: Call, fields: dict[str, Any]) -> int:
    """Return the product that a body names; raise Problem for none, for two, and an unknown one."""
    product_id, sku = fields.get("product_id"), fields.get("sku")
    if (product_id is None) == (sku is None):
        fault = "give exactly one of product_id and sku."
        raise Problem("invalid_field", f"product_id: {fault}", field="product_id")
    if sku is None:
        return fields["product_id"]
    key = (SKU, fold(sku))
    async with reading(call) as read:
        found = await find_aliases(read.connection, read.tenant_id, [key])
    if key not in found:
        raise Problem("product_not_found", f"There is no product with sku {sku!r}.", sku=sku)
    return found[key]


_REVISE = BodyDecoder(BatchRevisionBody)


@routes.add(
    "PUT",
    "/api/batches/{id}",
    "Update a batch",
    role="manager",
    scope="write",
    body=BatchRevisionBody,
    replies={200: MessageReply},
    problems=("lot_not_found",),
    commits=True,
    conditional=True,
)
async def update_batch(call: Call) -> Reply:
    """Replace all that is said of a batch but its product and its number."""
    lot_id = path_id(call, code="lot_not_found")
    body = await json_body(call)
    said = msgspec.structs.asdict(_REVISE.decode(body))
    command = made(ReviseLot, {**said, "lot_id": lot_id})
    return await commit(
        call,
        body,
        [command],
        lambda outcomes: rendered(200, MessageReply(message="Batch updated")),
        conditional=True,
    )
