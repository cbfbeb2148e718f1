"""Orders: what is done with one that was placed (seed 003, "Orders", and what it leaves out)."""

from collections.abc import Sequence
from typing import Final

from api.context import ROLE_RANK, Call
from api.decoding import BodyDecoder
from api.endpoint import Routes
from api.order_bodies import in_items, optional_body, order_lines
from api.order_view import moved_items
from api.problems import Problem
from api.reads import path_id, trimmed
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import commit, json_body, made, rendered
from ledger.domain.order import OrderState, stream
from ledger.domain.order_state import total_of
from ledger.submission import Outcome, Rendered
from schemas.http_orders import (
    CancelBody,
    CancelledItem,
    CancelReply,
    FulfilBody,
    FulfilReply,
    OrderActionReply,
    OrderRemarksBody,
    OrderStatusBody,
    OrderStatusReply,
    ReturnBody,
    ReturnCreatedReply,
)
from schemas.order import (
    AllocateBackorder,
    BackorderAllocated,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    FulfilmentCancelled,
    FulfilOrder,
    OrderCancelled,
    OrderFulfilled,
    OrderLinesCancelled,
    OrderReturned,
    OrderStatus,
    ReturnOrder,
)

routes = Routes("Orders")

_PROBLEMS: Final = ("order_not_found", "invalid_command")
_STATUS: Final = BodyDecoder(OrderStatusBody)
_FULFIL: Final = BodyDecoder(FulfilBody)
_CANCEL: Final = BodyDecoder(CancelBody)
_RETURN: Final = BodyDecoder(ReturnBody)
_REMARKS: Final = BodyDecoder(OrderRemarksBody)
_NO_REMARKS: Final = OrderRemarksBody()


def _status_after(outcomes: Sequence[Outcome], order_id: int) -> OrderStatus:
    state: OrderState = outcomes[0].states[stream(order_id)]
    return state.status


@routes.add(
    "PATCH",
    "/api/orders/{id}/status",
    "Update order status",
    scope="write",
    body=OrderStatusBody,
    replies={200: OrderStatusReply},
    problems=(
        *_PROBLEMS,
        "illegal_transition",
        "order_has_open_lines",
        "nothing_reserved",
        "insufficient_stock",
    ),
    commits=True,
    conditional=True,
)
async def change_status(call: Call) -> Reply:
    """Bring an order to a status, with all that this takes: fulfilled lets all the rest of it go
    out, which needs the role that fulfilling needs; cancelled releases what is reserved. The
    status it has already is no error. An illegal one is refused with the legal ones in allowed."""
    order_id = path_id(call, code="order_not_found")
    body = await json_body(call)
    asked = _STATUS.decode(body)
    caller = call.caller
    is_manager = caller.kind == "key" or ROLE_RANK[caller.role] >= ROLE_RANK["manager"]
    if asked.status == "fulfilled" and not is_manager:
        raise Problem("forbidden", "Fulfilling an order needs the role 'manager' or above.")
    command = made(ChangeOrderStatus, {**ledger_fields(asked), "order_id": order_id})

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        status = _status_after(outcomes, order_id)
        return rendered(200, OrderStatusReply(message="Order status updated", status=status))

    return await commit(call, body, [command], render, conditional=True)


@routes.add(
    "POST",
    "/api/orders/{id}/fulfill",
    "Fulfill an order",
    role="manager",
    scope="write",
    body=FulfilBody,
    replies={200: FulfilReply},
    problems=(
        *_PROBLEMS,
        "illegal_transition",
        "order_line_not_found",
        "order_line_not_reserved",
        "nothing_reserved",
        "insufficient_stock",
    ),
    commits=True,
    conditional=True,
)
async def fulfil(call: Call) -> Reply:
    """Let goods go out for items of an order, from what is reserved for them; without items, all
    that is reserved. Lots go out by their removal dates unless they are named."""
    order_id = path_id(call, code="order_not_found")
    body, asked = await optional_body(call, _FULFIL, FulfilBody())
    fields = {**ledger_fields(asked), "order_id": order_id, "lines": order_lines(asked.items)}
    del fields["items"]

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        event = outcomes[0].events[0].event
        assert isinstance(event, OrderFulfilled), "an order's own event comes first"
        return rendered(
            200,
            FulfilReply(
                message="Fulfillment recorded",
                fulfilled_items=len({line.order_item_id for line in event.lines}),
                order_status=_status_after(outcomes, order_id),
                fulfilment=event.fulfilment,
            ),
        )

    problem_of = in_items({"quantity": "quantity_fulfilled"})
    command = made(FulfilOrder, fields)
    return await commit(call, body, [command], render, conditional=True, problem_of=problem_of)


@routes.add(
    "POST",
    "/api/orders/{id}/fulfilments/{fulfilment}/cancel",
    "Cancel a fulfilment",
    role="manager",
    scope="write",
    body=OrderRemarksBody,
    replies={200: OrderActionReply},
    problems=(
        *_PROBLEMS,
        "illegal_transition",
        "fulfilment_not_found",
        "fulfilment_returned",
        "insufficient_stock",
    ),
    commits=True,
    conditional=True,
)
async def cancel_fulfilment(call: Call) -> Reply:
    """Take back what went out: it is on the shelf again where it left, and reserved for the order
    again. One that is cancelled already is no error. The body may be left out."""
    order_id = path_id(call, code="order_not_found")
    fulfilment = path_id(call, "fulfilment", code="fulfilment_not_found")
    body, asked = await optional_body(call, _REMARKS, _NO_REMARKS)
    fields = {**ledger_fields(asked), "order_id": order_id, "fulfilment": fulfilment}

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        events = [recorded.event for recorded in outcomes[0].events]
        lines = [
            line
            for event in events
            if isinstance(event, FulfilmentCancelled)
            for line in event.lines
        ]
        return rendered(
            200,
            OrderActionReply(
                message="Fulfillment cancelled",
                order_status=_status_after(outcomes, order_id),
                items=moved_items(lines),
            ),
        )

    return await commit(call, body, [made(CancelFulfilment, fields)], render, conditional=True)


@routes.add(
    "POST",
    "/api/orders/{id}/cancel",
    "Cancel items of an order",
    scope="write",
    body=CancelBody,
    replies={200: CancelReply},
    problems=(
        *_PROBLEMS,
        "order_line_not_found",
        "order_line_not_cancellable",
        "nothing_to_cancel",
    ),
    commits=True,
    conditional=True,
)
async def cancel(call: Call) -> Reply:
    """Cancel so much of items as is open or reserved; without items, all of it. An order of which
    nothing is left becomes cancelled, or fulfilled where some of it has gone out."""
    order_id = path_id(call, code="order_not_found")
    body, asked = await optional_body(call, _CANCEL, CancelBody())
    fields = {**ledger_fields(asked), "order_id": order_id, "lines": order_lines(asked.items)}
    del fields["items"]

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        events = [recorded.event for recorded in outcomes[0].events]
        items = [
            CancelledItem(order_item_id=line.order_item_id, quantity=trimmed(total_of(line)))
            for event in events
            if isinstance(event, OrderCancelled | OrderLinesCancelled)
            for line in event.lines
        ]
        return rendered(
            200,
            CancelReply(
                message="Order items cancelled",
                order_status=_status_after(outcomes, order_id),
                items=items,
            ),
        )

    command = made(CancelOrderLines, fields)
    return await commit(call, body, [command], render, conditional=True, problem_of=in_items())


@routes.add(
    "POST",
    "/api/orders/{id}/returns",
    "Return items of an order",
    role="manager",
    scope="write",
    body=ReturnBody,
    replies={201: ReturnCreatedReply},
    problems=(
        *_PROBLEMS,
        "order_line_not_found",
        "order_line_not_returnable",
        "location_not_found",
        "location_inactive",
        "product_discontinued",
    ),
    commits=True,
    conditional=True,
)
async def return_items(call: Call) -> Reply:
    """Take goods back from the customer: into quarantine, or with restock straight to what is
    available. They are worth what they cost when they went out."""
    order_id = path_id(call, code="order_not_found")
    body = await json_body(call)
    asked = _RETURN.decode(body)
    fields = {**ledger_fields(asked), "order_id": order_id, "lines": order_lines(asked.items)}
    del fields["items"]

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        event = outcomes[0].events[0].event
        assert isinstance(event, OrderReturned), "an order's own event comes first"
        return rendered(
            201,
            ReturnCreatedReply(
                message="Return recorded",
                order_status=_status_after(outcomes, order_id),
                return_number=event.return_number,
                items=moved_items(event.lines),
            ),
        )

    command = made(ReturnOrder, fields)
    return await commit(call, body, [command], render, conditional=True, problem_of=in_items())


@routes.add(
    "POST",
    "/api/orders/{id}/allocate",
    "Allocate backordered items",
    scope="write",
    body=OrderRemarksBody,
    replies={200: OrderActionReply},
    problems=_PROBLEMS,
    commits=True,
    conditional=True,
)
async def allocate(call: Call) -> Reply:
    """Reserve what is open of an order from what is available by now, where it was looked for when
    it was placed. Items are those that got some; there may be none. The body may be left out."""
    order_id = path_id(call, code="order_not_found")
    body, asked = await optional_body(call, _REMARKS, _NO_REMARKS)
    fields = {**ledger_fields(asked), "order_id": order_id}

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        events = [recorded.event for recorded in outcomes[0].events]
        lines = [
            line
            for event in events
            if isinstance(event, BackorderAllocated)
            for line in event.lines
        ]
        return rendered(
            200,
            OrderActionReply(
                message="Stock allocated" if lines else "Nothing to allocate",
                order_status=_status_after(outcomes, order_id),
                items=moved_items(lines),
            ),
        )

    return await commit(call, body, [made(AllocateBackorder, fields)], render, conditional=True)
