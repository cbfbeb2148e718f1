"""Orders as HTTP replies show them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from api.reads import money, trimmed, trimmed_or_none
from ledger.domain.decision import RecordedEvent
from projections.order_queries import OrderRows, Placed
from schemas.http_orders import (
    ConsideredPlace,
    ExplainedItem,
    FulfilmentReply,
    MovedItem,
    OrderAddress,
    OrderCreatedReply,
    OrderExplanationReply,
    OrderItem,
    OrderReply,
    PlacedItem,
    ReservedAt,
    ReturnReply,
)
from schemas.order import MovedLine, OrderPlaced

_MOVED: Final = msgspec.json.Decoder(list[MovedLine])
_ADDRESS: Final = msgspec.json.Decoder(OrderAddress)


def order_reply(rows: OrderRows) -> OrderReply:
    """Return an order whole."""
    order = rows.order
    number: str = order["order_number"]
    address: str | None = order["address"]
    reserved: dict[int, list[ReservedAt]] = {}
    for claim in rows.claims:
        place = ReservedAt(warehouse_id=claim["location_id"], quantity=trimmed(claim["quantity"]))
        reserved.setdefault(claim["order_item_id"], []).append(place)
    return OrderReply(
        id=order["order_id"],
        order_number=number,
        customer_id=order["customer_id"],
        customer_name=order["customer_name"],
        status=order["status"],
        channel=order["channel"],
        total_amount=money(order["total"]),
        cancelled_amount=money(order["cancelled_total"]),
        shipping_address=None if address is None else _ADDRESS.decode(address),
        items=[_item(line, reserved.get(line["order_item_id"], [])) for line in rows.lines],
        fulfilments=[
            FulfilmentReply(
                fulfilment=row["fulfilment"],
                reference=f"{number}/{row['fulfilment']}",
                is_cancelled=row["is_cancelled"],
                items=moved_items(_MOVED.decode(row["lines"])),
                fulfilled_at=row["fulfilled_at"],
            )
            for row in rows.fulfilments
        ],
        returns=[
            ReturnReply(
                return_number=row["return_number"],
                disposition=row["disposition"],
                reason=row["reason"],
                items=moved_items(_MOVED.decode(row["lines"])),
                returned_at=row["returned_at"],
            )
            for row in rows.returns
        ],
        warehouse_id=order["location_id"],
        allocation=order["allocation"],
        reference=order["reference"],
        notes=order["notes"],
        created_at=order["ordered_at"],
        recorded_at=order["recorded_at"],
        version=order["version"],
    )


def _item(line: Any, reserved_at: list[ReservedAt]) -> OrderItem:
    return OrderItem(
        id=line["order_item_id"],
        product_id=line["product_id"],
        sku=line["sku"],
        product_name=line["product_name"],
        quantity=trimmed(line["ordered"]),
        unit_price=money(line["unit_price"]),
        quantity_fulfilled=trimmed(line["fulfilled"]),
        quantity_reserved=trimmed(line["reserved"]),
        quantity_open=trimmed(line["open"]),
        quantity_cancelled=trimmed(line["cancelled"]),
        quantity_returned=trimmed(line["returned"]),
        price_source=line["price_source"],
        reserved_at=reserved_at,
        unit=line["unit"],
        entered_quantity=trimmed_or_none(line["entered_quantity"]),
    )


def moved_items(lines: Sequence[MovedLine]) -> list[MovedItem]:
    """Return what moved of which item and where."""
    return [
        MovedItem(
            order_item_id=line.order_item_id,
            product_id=line.product_id,
            warehouse_id=line.location_id,
            quantity=trimmed(line.quantity),
        )
        for line in lines
    ]


def explanation(
    placed: Placed, skus: Mapping[int, str], names: Mapping[int, str]
) -> OrderExplanationReply:
    """Return why an order was placed as it was; ``skus`` and ``names`` are by id."""
    event = placed.event
    return OrderExplanationReply(
        id=event.order_id,
        order_number=event.order_number,
        allocation=event.allocation,
        warehouse_id=event.location_id,
        considered=[
            ConsideredPlace(
                product_id=place.product_id,
                sku=skus[place.product_id],
                warehouse_id=place.location_id,
                warehouse_name=names[place.location_id],
                available=trimmed(place.available),
            )
            for place in event.considered
        ],
        items=[
            ExplainedItem(
                order_item_id=line.id,
                product_id=line.product_id,
                sku=skus[line.product_id],
                quantity=trimmed(line.quantity),
                unit_price=money(line.unit_price),
                price_source=line.price_source,
                reserved_at=[
                    ReservedAt(warehouse_id=claim.location_id, quantity=trimmed(claim.quantity))
                    for claim in line.claims
                ],
                backordered=trimmed(line.backordered),
            )
            for line in event.lines
        ],
        position=placed.position,
        created_at=placed.effective_at,
        recorded_at=placed.recorded_at,
    )


def created(recorded: RecordedEvent) -> OrderCreatedReply:
    """Return what the reply to a new order says of it, by the event that placed it."""
    event = recorded.event
    assert isinstance(event, OrderPlaced), "an order's own event comes first"
    return OrderCreatedReply(
        id=event.order_id,
        order_number=event.order_number,
        status="pending",
        total_amount=money(event.total_amount),
        created_at=recorded.effective_at,
        items=[
            PlacedItem(
                id=line.id,
                product_id=line.product_id,
                quantity=trimmed(line.quantity),
                unit_price=money(line.unit_price),
                quantity_reserved=trimmed(line.quantity - line.backordered),
                quantity_open=trimmed(line.backordered),
            )
            for line in event.lines
        ],
    )
