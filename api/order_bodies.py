"""Bodies of orders: from seed 003's names to the ledger's, and refusals back to the body's."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from api.context import Call
from api.decoding import BodyDecoder, require_json
from api.problems import Problem, of_refusal
from api.stock_commands import ledger_fields
from api.writes import json_body, made, no_body
from ledger.domain.decision import InvalidCommand, Refusal
from schemas.http_orders import OrderBody
from schemas.order import OrderLineEntry, OrderLineQuantity, PlaceOrder

Body = TypeVar("Body", bound=msgspec.Struct)

_PLACE: Final = BodyDecoder(OrderBody)


async def optional_body(call: Call, decoder: BodyDecoder[Body], empty: Body) -> tuple[bytes, Body]:
    """Return the body of a request that may be sent without one; raise Problem (400, 415)."""
    body = await no_body(call)
    if not body.strip():
        return body, empty
    require_json(call.headers)
    return body, decoder.decode(body)


async def place_order(call: Call) -> tuple[bytes, PlaceOrder]:
    """Return the body of a request that places an order, and its command; raise Problem (400).

    Without a channel it is ``api`` where a key asks, and ``manual`` where a user does.
    """
    body = await json_body(call)
    order = _PLACE.decode(body)
    fields = ledger_fields(order)
    fields["lines"] = item_lines(OrderLineEntry, fields.pop("items"))
    fields.setdefault("channel", "api" if call.caller.kind == "key" else "manual")
    return body, made(PlaceOrder, fields)


def order_lines(items: Sequence[msgspec.Struct]) -> tuple[OrderLineQuantity, ...]:
    """Return the lines that items name; raise Problem (400) that names the item's field."""
    return item_lines(OrderLineQuantity, items)


Line = TypeVar("Line", bound=msgspec.Struct)


def item_lines(line_type: type[Line], items: Sequence[msgspec.Struct]) -> tuple[Line, ...]:
    """Return a command's lines made of a body's items; raise Problem (400), naming the field."""
    lines: list[Line] = []
    for index, item in enumerate(items):
        fields = msgspec.structs.asdict(item)
        names = {_LINE_NAMES.get(name, name): name for name in fields}
        try:
            made_of = {_LINE_NAMES.get(name, name): value for name, value in fields.items()}
            lines.append(made(line_type, made_of))
        except Problem as problem:
            raise _in_item(problem, index, names) from None
    return tuple(lines)


_LINE_NAMES: Final[Mapping[str, str]] = {"quantity_fulfilled": "quantity"}


def _in_item(problem: Problem, index: int, names: Mapping[str, str]) -> Problem:
    """Return a problem of an item's field as one of the body's."""
    field = problem.members.get("field")
    place = f"items[{index}]"
    if field is None:
        return Problem(problem.code, f"{place}: {problem.detail}", field=place)
    name = names.get(field, field)
    detail = problem.detail.removeprefix(field)
    return Problem(problem.code, f"{place}.{name}{detail}", field=f"{place}.{name}")


def in_items(renamed: Mapping[str, str] | None = None) -> Any:
    """Return what makes the problem of a refusal whose lines the body calls items."""

    def problem_of(refusal: Refusal) -> Problem:
        if isinstance(refusal, InvalidCommand) and refusal.field.startswith("lines["):
            place, _, name = refusal.field.removeprefix("lines").partition(".")
            name = (renamed or {}).get(name, name)
            field = f"items{place}.{name}" if name else f"items{place}"
            refusal = InvalidCommand(field=field, fault=refusal.fault)
        return of_refusal(refusal)

    return problem_of
