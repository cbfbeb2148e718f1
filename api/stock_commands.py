"""Stock commands over HTTP: each route builds one command and tells the level after it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes
from api.problems import Problem
from api.reads import path_id, trimmed
from api.reply import Reply
from api.stock_view import StockView, stock_view
from api.writes import commit, json_body, made, no_body, rendered
from ledger.submission import Outcome, Rendered
from schemas.http_inventory import (
    AdjustReply,
    ExtendReservationBody,
    IssueBody,
    IssueReservedBody,
    QuantityBody,
    ReceiveBody,
    ReceiveTransferBody,
    ReleaseQuarantineBody,
    ReservationPartBody,
    ReserveBody,
    ReverseBody,
    SetBody,
    StockReply,
    TrackedBody,
    TransferBody,
    TransferReply,
)
from schemas.stock import (
    AdjustStock,
    CountStock,
    ExtendReservation,
    IssueReserved,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    TransferStock,
)

routes = Routes("Inventory")

STOCK_PROBLEMS: Final = ("product_not_found", "location_not_found", "insufficient_stock")

# Seed 003 says warehouse for what the ledger calls a location.
_LEDGER_NAMES: Final[Mapping[str, str]] = {
    "warehouse_id": "location_id",
    "warehouse": "location",
    "from_warehouse_id": "from_location_id",
    "from_warehouse": "from_location",
    "to_warehouse_id": "to_location_id",
    "to_warehouse": "to_location",
}


def ledger_fields(body: msgspec.Struct) -> dict[str, Any]:
    """Return a body's fields that are given, under the ledger's names.

    Raise Problem (400) when one place is named under both of its names.
    """
    fields: dict[str, Any] = {}
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is None:
            continue
        own_name = _LEDGER_NAMES.get(name, name)
        if own_name in fields:
            raise Problem(
                "invalid_field",
                f"{name}: names the same as another field, which is {own_name} to the ledger; "
                f"give only one of them.",
                field=name,
            )
        fields[own_name] = value
    return fields


_ADJUST = BodyDecoder(TrackedBody)


@routes.add(
    "POST",
    "/api/inventory/adjust",
    "Adjust stock quantity",
    role="manager",
    scope="write",
    body=TrackedBody,
    replies={200: AdjustReply},
    problems=STOCK_PROBLEMS,
    commits=True,
    conditional=True,
)
async def adjust(call: Call) -> Reply:
    """Add to what is on hand, or take from it with a quantity below zero."""
    body = await json_body(call)
    command = made(AdjustStock, ledger_fields(_ADJUST.decode(body)))
    return await commit(call, body, [command], _render_adjusted, conditional=True)


def _render_adjusted(outcomes: Sequence[Outcome]) -> Rendered:
    on_hand = stock_view(outcomes[0]).on_hand
    return rendered(200, AdjustReply(message="Inventory adjusted", new_quantity=trimmed(on_hand)))


_TRANSFER = BodyDecoder(TransferBody)


@routes.add(
    "POST",
    "/api/inventory/transfer",
    "Transfer between warehouses",
    role="manager",
    scope="write",
    body=TransferBody,
    replies={200: TransferReply},
    problems=STOCK_PROBLEMS,
    commits=True,
    conditional=True,
)
async def transfer(call: Call) -> Reply:
    """Move goods from one warehouse to another in one step."""
    body = await json_body(call)
    command: TransferStock = made(TransferStock, ledger_fields(_TRANSFER.decode(body)))
    reply = TransferReply(message="Transfer complete", quantity=trimmed(command.quantity))
    return await commit(
        call, body, [command], lambda outcomes: rendered(200, reply), conditional=True
    )


def _stock_reply(message: str) -> Callable[[Sequence[Outcome]], Rendered]:
    def render(outcomes: Sequence[Outcome]) -> Rendered:
        outcome = outcomes[0]
        view: StockView = stock_view(outcome)
        return rendered(
            200,
            StockReply(
                message=message,
                product_id=view.product_id,
                warehouse_id=view.location_id,
                quantity=trimmed(view.on_hand),
                available=trimmed(view.available),
                reserved=trimmed(view.reserved),
                quarantined=trimmed(view.quarantined),
                in_transit=trimmed(view.in_transit),
                positions=[recorded.position for recorded in outcome.events],
                transfer_id=_first(outcome, "transfer_id"),
                reservation_id=_first(outcome, "reservation_id"),
            ),
        )

    return render


def _first(outcome: Outcome, field: str) -> Any:
    for recorded in outcome.events:
        value = getattr(recorded.event, field, None)
        if value is not None:
            return value
    return None


def _command_route(
    path: str,
    summary: str,
    description: str,
    body_type: type[msgspec.Struct],
    command_type: type[Any],
    message: str,
    *,
    problems: Sequence[str] = STOCK_PROBLEMS,
    named_by_path: Callable[[Call], dict[str, Any]] = lambda call: {},
    with_null: Sequence[str] = (),
) -> None:
    """Add a route that decodes ``body_type``, makes ``command_type`` of it and commits that.

    ``with_null`` are fields in which null says something.
    """
    decoder = BodyDecoder(body_type)
    render = _stock_reply(message)

    async def handle(call: Call) -> Reply:
        named = named_by_path(call)
        body = await json_body(call)
        decoded = decoder.decode(body)
        fields = {**ledger_fields(decoded), **named}
        for name in with_null:
            fields[name] = getattr(decoded, name)
        command = made(command_type, fields)
        return await commit(call, body, [command], render, conditional=True)

    handle.__doc__ = description
    handle.__name__ = command_type.TYPE
    routes.add(
        "POST",
        path,
        summary,
        role="manager",
        scope="write",
        body=body_type,
        replies={200: StockReply},
        problems=problems,
        commits=True,
        conditional=True,
    )(handle)


_command_route(
    "/api/inventory/receive",
    "Receive stock",
    "Goods came in from outside.",
    ReceiveBody,
    ReceiveStock,
    "Stock received",
)
_command_route(
    "/api/inventory/issue",
    "Issue stock",
    "Goods went out, from what is available.",
    IssueBody,
    IssueStock,
    "Stock issued",
)
_command_route(
    "/api/inventory/count",
    "Count stock",
    "Assert what was on hand at effective_at; the variance is recorded.",
    QuantityBody,
    CountStock,
    "Stock counted",
)
_command_route(
    "/api/inventory/set",
    "Set stock",
    "Make on hand an absolute figure. The last writer wins, unless expected_quantity says what "
    "must be on hand now.",
    SetBody,
    SetStock,
    "Stock set",
)
_command_route(
    "/api/inventory/reserve",
    "Reserve stock",
    "Claim available stock, until expires_at where it is given.",
    ReserveBody,
    ReserveStock,
    "Stock reserved",
)


_RESERVATION_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,50}")


def _reservation(call: Call) -> dict[str, Any]:
    reservation_id = call.path_params["reservation_id"]
    if not _RESERVATION_ID.fullmatch(reservation_id):
        raise Problem("not_found", "There is no reservation with such a name.")
    return {"reservation_id": reservation_id}


_RESERVATION_PROBLEMS: Final = (*STOCK_PROBLEMS, "reservation_not_found")

_command_route(
    "/api/inventory/reservations/{reservation_id}/extend",
    "Extend a reservation",
    "Move a live reservation's expiry; null makes it last until it is released.",
    ExtendReservationBody,
    ExtendReservation,
    "Reservation extended",
    problems=_RESERVATION_PROBLEMS,
    named_by_path=_reservation,
    with_null=("expires_at",),
)
_command_route(
    "/api/inventory/reservations/{reservation_id}/release",
    "Release a reservation",
    "Give back all that is left of a reservation, or a part; one that is gone is no error.",
    ReservationPartBody,
    ReleaseReservation,
    "Reservation released",
    problems=_RESERVATION_PROBLEMS,
    named_by_path=_reservation,
)
_command_route(
    "/api/inventory/reservations/{reservation_id}/issue",
    "Issue reserved stock",
    "Issue goods against a live reservation: all that is left of it, or a part.",
    IssueReservedBody,
    IssueReserved,
    "Reserved stock issued",
    problems=_RESERVATION_PROBLEMS,
    named_by_path=_reservation,
)
_command_route(
    "/api/inventory/quarantine",
    "Quarantine stock",
    "Block available goods where they are.",
    TrackedBody,
    QuarantineStock,
    "Stock quarantined",
)
_command_route(
    "/api/inventory/quarantine/release",
    "Release from quarantine",
    "Free blocked goods for use, or scrap them.",
    ReleaseQuarantineBody,
    ReleaseQuarantine,
    "Quarantine released",
)
_command_route(
    "/api/inventory/transfers/ship",
    "Ship a transfer",
    "Send goods to another warehouse; they are in transit until they are received there. The "
    "reply's level is the source's.",
    TransferBody,
    ShipTransfer,
    "Transfer shipped",
)
_command_route(
    "/api/inventory/transfers/{transfer_id}/receive",
    "Receive a transfer",
    "Take in goods of a shipped transfer at its destination; what is lost never arrived.",
    ReceiveTransferBody,
    ReceiveTransfer,
    "Transfer received",
    problems=(*STOCK_PROBLEMS, "transfer_not_found"),
    named_by_path=lambda call: {"transfer_id": path_id(call, "transfer_id")},
)

_REVERSE = BodyDecoder(ReverseBody)


@routes.add(
    "POST",
    "/api/inventory/movements/{position}/reverse",
    "Reverse a movement",
    role="manager",
    scope="write",
    body=ReverseBody,
    replies={200: StockReply},
    problems=(*STOCK_PROBLEMS, "movement_not_found"),
    commits=True,
)
async def reverse(call: Call) -> Reply:
    """Undo an earlier movement by a new one that points at it. The body may be left out."""
    position = path_id(call, "position")
    body = await no_body(call) if call.headers.get(b"content-type") is None else None
    if body is None or body.strip():
        body = await json_body(call) if body is None else body
        fields = ledger_fields(_REVERSE.decode(body))
    else:
        fields = {}
    command = made(ReverseMovement, {**fields, "position": position})
    return await commit(call, body, [command], _stock_reply("Movement reversed"))
