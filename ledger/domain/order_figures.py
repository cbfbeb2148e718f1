"""What decisions about lines of an order share: how a line stands, and quantities of it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from ledger.domain.decision import InvalidCommand, Refusal, State
from ledger.domain.order_state import LineState, OrderState
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals_orders import OrderLineNotFound
from schemas.order import OrderLineQuantity


def figures(
    state: OrderState, line: LineState, requested: Decimal, states: Mapping[str, State]
) -> dict[str, Any]:
    """Return how a line stands, as refusals about it say it."""
    product: ProductState | None = states.get(f"product-{line.product_id}")
    return {
        "order_id": state.order_id,
        "order_item_id": line.id,
        "sku": "" if product is None else product.sku,
        "requested": requested,
        "ordered": line.ordered,
        "open": line.open,
        "reserved": line.reserved,
        "fulfilled": line.fulfilled,
        "cancelled": line.cancelled,
        "returned": line.returned,
    }


def line_not_found(state: OrderState, order_item_id: int) -> OrderLineNotFound:
    """Return the refusal of a line that an order does not have."""
    return OrderLineNotFound(
        order_id=state.order_id,
        order_item_id=order_item_id,
        order_items=tuple(line.id for line in state.lines),
    )


def in_line(refusal: Refusal, asked: int | None) -> Refusal:
    """Return a step's refusal as one of the client's line, where it is a field of that."""
    if asked is None or not isinstance(refusal, InvalidCommand):
        return refusal
    if not refusal.field.startswith(("lots", "serials")):
        return refusal
    return InvalidCommand(field=f"lines[{asked}].{refusal.field}", fault=refusal.fault)


def line_of(state: OrderState, order_item_id: int) -> LineState:
    """Return a line that the order is known to have."""
    line = state.line(order_item_id)
    assert line is not None, "what moved for an order is of its lines"
    return line


def product_streams(state: OrderState) -> list[str]:
    """Return the streams of the products of an order, each once."""
    return list(dict.fromkeys(f"product-{line.product_id}" for line in state.lines))


def in_own_units(
    state: OrderState, lines: Sequence[OrderLineQuantity], states: Mapping[str, State]
) -> list[OrderLineQuantity] | InvalidCommand:
    """Return lines with quantities in exactly their products' scale; refuse what is not exact.

    A line that the order does not have is left as it is.
    """
    exact: list[OrderLineQuantity] = []
    for index, asked in enumerate(lines):
        line = state.line(asked.order_item_id)
        if line is None:
            exact.append(asked)
            continue
        product: ProductState = states[f"product-{line.product_id}"]
        quantity = in_own_unit(product, asked.quantity, None, f"lines[{index}].quantity")
        if isinstance(quantity, InvalidCommand):
            return quantity
        exact.append(msgspec.structs.replace(asked, quantity=quantity))
    return exact
