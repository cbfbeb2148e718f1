"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from schemas.address import KeptAddress
from schemas.common import Event
from schemas.order import (
    BackorderAllocated,
    CancelledLine,
    Claim,
    Considered,
    FulfilmentCancelled,
    MovedLine,
    OrderCancelled,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLine,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
    PriceSource,
    ReturnedLine,
)
from schemas.stock import LotPart

_CLAIMS: Final = (
    Claim(location_id=1, quantity=Decimal("2.5")),
    Claim(location_id=3, quantity=Decimal("1.5")),
)
_MOVED: Final = MovedLine(
    order_item_id=1042001,
    product_id=7,
    location_id=3,
    quantity=Decimal("1.5"),
    lots=(LotPart(lot_id=9, quantity=Decimal("0.5")), LotPart(lot_id=10, quantity=Decimal(1))),
    serials=(21, 22),
)
_CANCELLED: Final = CancelledLine(
    order_item_id=1042001, open=Decimal("0.5"), released=(_CLAIMS[1], _CLAIMS[0])
)


def _with_price_source(placed: Event, source: PriceSource) -> Event:
    """Return an example of a placed order whose lines' prices are from somewhere else."""
    assert isinstance(placed, OrderPlaced)
    lines = tuple(msgspec.structs.replace(line, price_source=source) for line in placed.lines)
    return msgspec.structs.replace(placed, lines=lines)


EXAMPLES: Final[tuple[Event, ...]] = (
    OrderPlaced(
        order_id=1042,
        order_number="ORD-1042",
        channel="b2b",
        lines=(
            OrderLine(
                id=1042001,
                product_id=7,
                quantity=Decimal("4.5"),
                unit_price=Decimal("49.99"),
                price_source="listing",
                claims=_CLAIMS,
                backordered=Decimal("0.5"),
                unit="box",
                entered_quantity=Decimal("0.375"),
            ),
        ),
        total_amount=Decimal("224.955"),
        allocation="split",
        customer_id=42,
        location_id=1,
        considered=(
            Considered(product_id=7, location_id=1, available=Decimal("2.5")),
            Considered(product_id=7, location_id=3, available=Decimal("1.5")),
        ),
        shipping_address=KeptAddress(
            line1="123 George St",
            line2="Level 4",
            city="Sydney",
            state="NSW",
            postcode="2000",
            country="AU",
            name="Jane Doe",
            phone="+61 2 5550 0000",
        ),
        reference="WEB-77",
        notes="Leave at the door",
    ),
    OrderPaid(order_id=1042, notes="By transfer"),
    OrderFulfilmentStarted(order_id=1042, notes="Aisle 4"),
    OrderFulfilled(
        order_id=1042, fulfilment=2, lines=(_MOVED,), complete=True, notes="Second parcel"
    ),
    FulfilmentCancelled(order_id=1042, fulfilment=2, lines=(_MOVED,), notes="Wrong parcel"),
    OrderShipped(order_id=1042, notes="By courier"),
    OrderLinesCancelled(
        order_id=1042, lines=(_CANCELLED,), reason="Too many", complete=True, notes="By phone"
    ),
    OrderCancelled(order_id=1042, lines=(_CANCELLED,), reason="Not wanted", notes="By phone"),
    OrderReturned(
        order_id=1042,
        return_number=1,
        lines=(
            ReturnedLine(
                order_item_id=1042001,
                product_id=7,
                location_id=1,
                quantity=Decimal("0.5"),
                lots=(LotPart(lot_id=9, quantity=Decimal("0.5")),),
                serials=(21,),
                fulfilment=2,
                fulfilment_line=1,
            ),
        ),
        disposition="restock",
        reason="Too small",
        notes="Unopened",
    ),
    BackorderAllocated(order_id=1042, lines=(_MOVED,), notes="From the last delivery"),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {
    ("OrderPlaced", 1): _with_price_source(EXAMPLES[0], "tier"),
}
