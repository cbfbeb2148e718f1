"""What became of orders, and what was sold, told by the events one by one, for tests.

It shares nothing with the projections: dictionaries, and an event at a time.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ledger.domain.decision import RecordedEvent
from schemas.location import LocationOpened, LocationRevised
from schemas.order import (
    BackorderAllocated,
    FulfilmentCancelled,
    OrderCancelled,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
)
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import MovementReversed, StockIssued, StockReceived

ZERO = Decimal(0)


def _figures() -> dict[str, Decimal]:
    return dict.fromkeys(
        ("ordered", "open", "reserved", "fulfilled", "cancelled", "returned"), ZERO
    )


@dataclass
class Line:
    """A line of an order: its figures, and where how much of it is reserved."""

    product_id: int
    unit_price: Decimal
    figures: dict[str, Decimal] = field(default_factory=_figures)
    claims: dict[int, Decimal] = field(default_factory=lambda: defaultdict[int, Decimal](Decimal))

    def move(self, quantity: Decimal, source: str | None, target: str | None) -> None:
        """Move so much of the line from one figure to another."""
        if source:
            self.figures[source] -= quantity
        if target:
            self.figures[target] += quantity


@dataclass
class Order:
    """An order: its status, its lines, what went out (and whether that was taken back)."""

    status: str
    total: Decimal
    placed_at: datetime
    lines: dict[int, Line]
    cancelled: Decimal = ZERO
    went_out: dict[int, bool] = field(default_factory=dict[int, bool])
    came_back: int = 0
    version: int = 1


class NaiveOrders:
    """All orders, the names of products, and what was sold on which day at which place."""

    def __init__(self, events: Iterable[RecordedEvent]) -> None:
        self.orders: dict[int, Order] = {}
        self.names: dict[int, tuple[str, str]] = {}
        self.zones: dict[int, str] = {}
        self.revenue: dict[date, Decimal] = defaultdict(Decimal)
        self._prices: dict[int, Decimal | None] = {}
        for recorded in events:
            self._take(recorded)

    def _take(self, recorded: RecordedEvent) -> None:
        event: Any = recorded.event
        match event:
            case ProductRegistered() | ProductRevised():
                self.names[event.product_id] = event.sku, event.name
            case LocationOpened() | LocationRevised():
                self.zones[event.location_id] = event.time_zone
            case StockIssued(destination="customer"):
                self._prices[recorded.position] = event.unit_price
                self._sell(recorded, event.quantity, event.unit_price)
            case StockReceived(source="customer"):
                self._prices[recorded.position] = event.unit_price
                self._sell(recorded, -event.quantity, event.unit_price)
            case MovementReversed(from_account="customer"):
                self._sell(recorded, -event.quantity, self._prices[event.reversed_position])
            case MovementReversed(to_account="customer"):
                self._sell(recorded, event.quantity, self._prices[event.reversed_position])
            case OrderPlaced():
                self._place(recorded, event)
            case _ if hasattr(event, "order_id"):
                # Nothing is known of an order that has not been placed by then.
                order = self.orders.get(event.order_id)
                if order is not None:
                    order.version = recorded.version
                    _change(order, event)
            case _:
                pass

    def _sell(self, recorded: RecordedEvent, quantity: Decimal, price: Decimal | None) -> None:
        place: int = recorded.event.location_id  # type: ignore[attr-defined]
        zone = ZoneInfo(self.zones.get(place, "UTC"))
        day = recorded.effective_at.astimezone(zone).date()
        self.revenue[day] += quantity * (price or ZERO)

    def _place(self, recorded: RecordedEvent, event: OrderPlaced) -> None:
        lines: dict[int, Line] = {}
        for each in event.lines:
            line = lines[each.id] = Line(each.product_id, each.unit_price)
            line.figures["ordered"] = each.quantity
            line.figures["open"] = each.backordered
            for claim in each.claims:
                line.move(claim.quantity, None, "reserved")
                line.claims[claim.location_id] += claim.quantity
        at = recorded.effective_at
        self.orders[event.order_id] = Order("pending", event.total_amount, at, lines)


def _change(order: Order, event: Any) -> None:
    match event:
        case OrderPaid():
            order.status = "paid"
        case OrderFulfilmentStarted():
            order.status = "fulfilling"
        case OrderShipped():
            order.status = "shipped"
        case OrderFulfilled():
            order.status = "fulfilled" if event.complete else "fulfilling"
            order.went_out[event.fulfilment] = False
            for part in event.lines:
                order.lines[part.order_item_id].move(part.quantity, "reserved", "fulfilled")
                order.lines[part.order_item_id].claims[part.location_id] -= part.quantity
        case FulfilmentCancelled():
            order.status = "fulfilling"
            if event.fulfilment in order.went_out:
                order.went_out[event.fulfilment] = True
            for part in event.lines:
                order.lines[part.order_item_id].move(part.quantity, "fulfilled", "reserved")
                order.lines[part.order_item_id].claims[part.location_id] += part.quantity
        case BackorderAllocated():
            for part in event.lines:
                order.lines[part.order_item_id].move(part.quantity, "open", "reserved")
                order.lines[part.order_item_id].claims[part.location_id] += part.quantity
        case OrderReturned():
            order.came_back += 1
            for part in event.lines:
                order.lines[part.order_item_id].move(part.quantity, None, "returned")
        case OrderLinesCancelled() | OrderCancelled():
            if isinstance(event, OrderCancelled):
                order.status = "cancelled"
            elif event.complete:
                order.status = "fulfilled"
            for part in event.lines:
                line = order.lines[part.order_item_id]
                before = line.figures["cancelled"]
                line.move(part.open, "open", "cancelled")
                for claim in part.released:
                    line.move(claim.quantity, "reserved", "cancelled")
                    line.claims[claim.location_id] -= claim.quantity
                order.cancelled += (line.figures["cancelled"] - before) * line.unit_price
        case _:
            raise AssertionError(f"unforeseen {type(event).__name__}")
