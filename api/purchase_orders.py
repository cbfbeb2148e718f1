"""Purchase orders (seed 003, "Suppliers & Purchase Orders", and what it leaves out)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.order_bodies import in_items, item_lines, optional_body
from api.past import PAST_PROBLEMS, StreamsOf, answer_at, first_event, reading_at
from api.problems import Problem
from api.products import cursor_id
from api.purchase_bodies import RECEIVED_NAMES, RETURNED_NAMES, purchase_lines
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import (
    Reading,
    money,
    next_cursor,
    path_id,
    trimmed,
    trimmed_or_none,
)
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import commit, json_body, made, rendered
from ledger.domain.purchase_order import PurchaseOrderState, stream
from ledger.submission import Outcome, Rendered
from projections import purchase_queries
from projections.past import Streams
from projections.purchase_queries import PurchaseFilter, PurchaseRows
from schemas.http_purchasing import (
    CreatedPurchaseItem,
    PurchaseCancelBody,
    PurchaseItem,
    PurchaseMovedItem,
    PurchaseOrderBody,
    PurchaseOrderCreatedReply,
    PurchaseOrderReply,
    PurchaseOrderRow,
    PurchaseOrdersReply,
    PurchaseReceiveBody,
    PurchaseReceivedReply,
    PurchaseRemarksBody,
    PurchaseReturnBody,
    PurchaseReturnedReply,
    PurchaseReturnReply,
    PurchaseStatusReply,
    ReceiptReply,
)
from schemas.purchase import (
    CancelPurchaseOrder,
    ClosePurchaseOrder,
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderStatus,
    PurchaseReturned,
    ReceivedLine,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)

routes = Routes("Purchase orders")

STATUSES: Final[tuple[PurchaseOrderStatus, ...]] = (
    "draft",
    "sent",
    "partial",
    "received",
    "closed",
    "cancelled",
)
_PROBLEMS: Final = ("purchase_order_not_found", "invalid_command")
_MOVING_PROBLEMS: Final = (
    *_PROBLEMS,
    "purchase_line_not_found",
    "product_discontinued",
    "period_closed",
)

_CREATE: Final = BodyDecoder(PurchaseOrderBody)
_RECEIVE: Final = BodyDecoder(PurchaseReceiveBody)
_RETURN: Final = BodyDecoder(PurchaseReturnBody)
_REMARKS: Final = BodyDecoder(PurchaseRemarksBody)
_CANCEL: Final = BodyDecoder(PurchaseCancelBody)
_NO_REMARKS: Final = PurchaseRemarksBody()

_MOVED: Final = msgspec.json.Decoder(list[ReceivedLine])

# --- reading ----------------------------------------------------------------------------

_LIST_PARAMETERS: Final = (
    Parameter("status", "string", "Only purchase orders of this status", values=STATUSES),
    Parameter("supplier_id", "integer", "Only this supplier's", minimum=1),
    Parameter("warehouse_id", "integer", "Only those to this warehouse", minimum=1),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/suppliers/purchase-orders/all",
    "List purchase orders",
    parameters=_LIST_PARAMETERS,
    replies={200: PurchaseOrdersReply},
    problems=PAST_PROBLEMS,
)
async def list_purchase_orders(call: Call) -> Reply:
    """Purchase orders, the last created first. With as_of or known_at, those there were then, as
    they stood then."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, before = values["page"], values["limit"], cursor_id(values["cursor"]) or None
    wanted = PurchaseFilter(values["status"], values["supplier_id"], values["warehouse_id"])
    offset = 0 if before else (page - 1) * limit
    async with reading_at(call, values, ("purchase_orders", "suppliers")) as read:
        found = await purchase_queries.purchase_orders(
            read.connection, read.tenant_id, wanted, before=before, limit=limit, offset=offset
        )
        total = await purchase_queries.count(read.connection, read.tenant_id, wanted)
    rows = [PurchaseOrderRow(**_fields(row)) for row in found]
    last = str(rows[-1].id) if rows else ""
    reply = PurchaseOrdersReply(
        purchase_orders=rows,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(rows, limit, last),
    )
    return answer_at(read, reply)


def _fields(row: Any) -> dict[str, Any]:
    return {
        "id": row["purchase_order_id"],
        "po_number": row["po_number"],
        "supplier_id": row["supplier_id"],
        "supplier_name": row["supplier_name"],
        "warehouse_id": row["location_id"],
        "status": row["status"],
        "total_amount": money(row["total_amount"]),
        "expected_date": row["expected_date"],
        "created_at": row["ordered_at"],
    }


_ORDER_PARAMETERS: Final = (*MOMENT_PARAMETERS, MIN_POSITION)


def _about(purchase_order_id: int) -> StreamsOf:
    """Return what finds the streams that say all of a purchase order."""

    async def streams_of(read: Reading) -> Streams:
        name = stream(purchase_order_id)
        created = await first_event(read.connection, read.tenant_id, name)
        if not isinstance(created, PurchaseOrderCreated):
            return Streams()
        products = {f"product-{line.product_id}" for line in created.lines}
        supplier, place = f"supplier-{created.supplier_id}", f"location-{created.location_id}"
        return Streams([name, supplier, place, *products])

    return streams_of


@routes.add(
    "GET",
    "/api/suppliers/purchase-orders/{id}",
    "Get a purchase order",
    parameters=_ORDER_PARAMETERS,
    replies={200: PurchaseOrderReply},
    problems=("purchase_order_not_found", *PAST_PROBLEMS),
)
async def get_purchase_order(call: Call) -> Reply:
    """One purchase order with its items, what came in and what went back. ETag is the version
    that If-Match takes. With as_of or known_at, as it stood then."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    values = query(call, _ORDER_PARAMETERS)
    reads = ("purchase_orders", "suppliers", "products", "locations")
    async with reading_at(call, values, reads, streams_of=_about(purchase_order_id)) as read:
        rows = await purchase_queries.purchase_order(
            read.connection, read.tenant_id, purchase_order_id
        )
    if rows is None:
        raise Problem(
            "purchase_order_not_found",
            f"There is no purchase order with id {purchase_order_id}; check the id.",
        )
    reply = _purchase_order(rows)
    return answer_at(read, reply, [(b"etag", b'"%d"' % reply.version)])


def _purchase_order(rows: PurchaseRows) -> PurchaseOrderReply:
    order = rows.order
    number: str = order["po_number"]
    return PurchaseOrderReply(
        **_fields(order),
        warehouse_name=order["location_name"],
        tolerance_percent=format(trimmed(order["tolerance_percent"]), "f"),
        items=[
            PurchaseItem(
                id=line["line_id"],
                product_id=line["product_id"],
                sku=line["sku"],
                product_name=line["product_name"],
                quantity=trimmed(line["ordered"]),
                unit_cost=money(line["unit_cost"]),
                quantity_received=trimmed(line["received"]),
                quantity_returned=trimmed(line["returned"]),
                quantity_outstanding=trimmed(line["outstanding"]),
                unit=line["unit"],
                entered_quantity=trimmed_or_none(line["entered_quantity"]),
            )
            for line in rows.lines
        ],
        receipts=[
            ReceiptReply(
                receipt=row["receipt"],
                reference=f"{number}/{row['receipt']}",
                items=_moved_items(row["lines"]),
                notes=row["notes"],
                received_at=row["received_at"],
            )
            for row in rows.receipts
        ],
        returns=[
            PurchaseReturnReply(
                return_number=row["return_number"],
                reference=f"{number}/R{row['return_number']}",
                items=_moved_items(row["lines"]),
                reason=row["reason"],
                notes=row["notes"],
                returned_at=row["returned_at"],
            )
            for row in rows.returns
        ],
        reference=order["reference"],
        notes=order["notes"],
        recorded_at=order["recorded_at"],
        version=order["version"],
    )


def _moved_items(lines: str) -> list[PurchaseMovedItem]:
    return [
        PurchaseMovedItem(
            purchase_order_item_id=line.line_id,
            product_id=line.product_id,
            quantity=trimmed(line.quantity),
            unit_cost=money(line.unit_cost),
        )
        for line in _MOVED.decode(lines)
    ]


# --- creating ---------------------------------------------------------------------------


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders",
    "Create a purchase order",
    role="manager",
    scope="write",
    body=PurchaseOrderBody,
    replies={201: PurchaseOrderCreatedReply},
    problems=(
        "supplier_not_found",
        "location_not_found",
        "location_inactive",
        "product_not_found",
        "product_discontinued",
        "purchase_total_out_of_bounds",
        "invalid_command",
    ),
    commits=True,
)
async def create_purchase_order(call: Call) -> Reply:
    """Draft a purchase order. It is numbered and costed; nothing is on its way until it is
    sent."""
    body = await json_body(call)
    fields = ledger_fields(_CREATE.decode(body))
    fields["lines"] = item_lines(PurchaseLineEntry, fields.pop("items"))
    command = made(CreatePurchaseOrder, fields)
    return await commit(call, body, [command], _created, problem_of=in_items())


def _created(outcomes: Sequence[Outcome]) -> Rendered:
    recorded = outcomes[0].events[0]
    event = recorded.event
    assert isinstance(event, PurchaseOrderCreated), "a draft is one event"
    return rendered(
        201,
        PurchaseOrderCreatedReply(
            id=event.purchase_order_id,
            po_number=event.po_number,
            status="draft",
            total_amount=money(event.total_amount),
            created_at=recorded.effective_at,
            items=[
                CreatedPurchaseItem(
                    id=line.id,
                    product_id=line.product_id,
                    quantity=trimmed(line.quantity),
                    unit_cost=money(line.unit_cost),
                )
                for line in event.lines
            ],
        ),
    )


# --- coming in and going back -----------------------------------------------------------


def _status_after(outcomes: Sequence[Outcome], purchase_order_id: int) -> PurchaseOrderStatus:
    state: PurchaseOrderState = outcomes[0].states[stream(purchase_order_id)]
    return state.status


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders/{id}/receive",
    "Receive a purchase order",
    role="manager",
    scope="write",
    body=PurchaseReceiveBody,
    replies={200: PurchaseReceivedReply},
    problems=(
        *_MOVING_PROBLEMS,
        "illegal_purchase_transition",
        "purchase_line_over_received",
        "location_inactive",
        "balance_out_of_bounds",
    ),
    commits=True,
    conditional=True,
)
async def receive(call: Call) -> Reply:
    """Take goods in against items of a purchase order; without items, all that is outstanding,
    which may be nothing. A draft is sent by it. No more comes in than was ordered and the order's
    tolerance allows."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    body, asked = await optional_body(call, _RECEIVE, PurchaseReceiveBody())
    fields = ledger_fields(asked)
    fields["lines"] = purchase_lines(fields.pop("items"), RECEIVED_NAMES)
    command = made(ReceivePurchaseOrder, {**fields, "purchase_order_id": purchase_order_id})

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        events = [recorded.event for recorded in outcomes[0].events]
        event = next((each for each in events if isinstance(each, PurchaseOrderReceived)), None)
        lines = () if event is None else event.lines
        return rendered(
            200,
            PurchaseReceivedReply(
                message="Stock received" if event is not None else "Nothing is outstanding",
                received_lines=len({line.line_id for line in lines}),
                inventory_updated=event is not None,
                receipt=None if event is None else event.receipt,
                status=_status_after(outcomes, purchase_order_id),
            ),
        )

    problem_of = in_items(RECEIVED_NAMES)
    return await commit(call, body, [command], render, conditional=True, problem_of=problem_of)


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders/{id}/return",
    "Return items of a purchase order",
    role="manager",
    scope="write",
    body=PurchaseReturnBody,
    replies={200: PurchaseReturnedReply},
    problems=(*_MOVING_PROBLEMS, "purchase_line_not_returnable", "insufficient_stock"),
    commits=True,
    conditional=True,
)
async def give_back(call: Call) -> Reply:
    """Send received goods back to the supplier, from what is available where they came in. They
    are not outstanding again: what is to come in their place is ordered anew."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    body = await json_body(call)
    fields = ledger_fields(_RETURN.decode(body))
    fields["lines"] = purchase_lines(fields.pop("items"), RETURNED_NAMES)
    command = made(ReturnPurchase, {**fields, "purchase_order_id": purchase_order_id})

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        event = outcomes[0].events[0].event
        assert isinstance(event, PurchaseReturned), "an order's own event comes first"
        return rendered(
            200,
            PurchaseReturnedReply(
                message="Stock returned",
                returned_lines=len({line.line_id for line in event.lines}),
                return_number=event.return_number,
                status=_status_after(outcomes, purchase_order_id),
            ),
        )

    problem_of = in_items(RETURNED_NAMES)
    return await commit(call, body, [command], render, conditional=True, problem_of=problem_of)


# --- statuses ---------------------------------------------------------------------------


async def _change(
    call: Call,
    body: bytes,
    command: SendPurchaseOrder | ClosePurchaseOrder | CancelPurchaseOrder,
    message: str,
) -> Reply:
    """Bring a purchase order to a status; the one it has already is no error."""

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        status = _status_after(outcomes, command.purchase_order_id)
        return rendered(200, PurchaseStatusReply(message=message, status=status))

    return await commit(call, body, [command], render, conditional=True)


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders/{id}/send",
    "Send a purchase order",
    role="manager",
    scope="write",
    body=PurchaseRemarksBody,
    replies={200: PurchaseStatusReply},
    problems=(*_PROBLEMS, "illegal_purchase_transition"),
    commits=True,
    conditional=True,
)
async def send(call: Call) -> Reply:
    """Say that a draft was sent to its supplier: from now on its goods are incoming. The body may
    be left out."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    body, asked = await optional_body(call, _REMARKS, _NO_REMARKS)
    fields = {**ledger_fields(asked), "purchase_order_id": purchase_order_id}
    return await _change(call, body, made(SendPurchaseOrder, fields), "Purchase order sent")


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders/{id}/close",
    "Close a purchase order",
    role="manager",
    scope="write",
    body=PurchaseRemarksBody,
    replies={200: PurchaseStatusReply},
    problems=(*_PROBLEMS, "illegal_purchase_transition"),
    commits=True,
    conditional=True,
)
async def close(call: Call) -> Reply:
    """Say that nothing more will come of it: what is outstanding is no longer incoming, and what
    has been received stays. The body may be left out."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    body, asked = await optional_body(call, _REMARKS, _NO_REMARKS)
    fields = {**ledger_fields(asked), "purchase_order_id": purchase_order_id}
    return await _change(call, body, made(ClosePurchaseOrder, fields), "Purchase order closed")


@routes.add(
    "POST",
    "/api/suppliers/purchase-orders/{id}/cancel",
    "Cancel a purchase order",
    role="manager",
    scope="write",
    body=PurchaseCancelBody,
    replies={200: PurchaseStatusReply},
    problems=(*_PROBLEMS, "illegal_purchase_transition"),
    commits=True,
    conditional=True,
)
async def cancel(call: Call) -> Reply:
    """Call a purchase order off before anything of it has been received. The body may be left
    out."""
    purchase_order_id = path_id(call, code="purchase_order_not_found")
    body, asked = await optional_body(call, _CANCEL, PurchaseCancelBody())
    fields = {**ledger_fields(asked), "purchase_order_id": purchase_order_id}
    return await _change(call, body, made(CancelPurchaseOrder, fields), "Purchase order cancelled")
