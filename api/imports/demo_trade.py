"""What the made-up shop of `stockledger demo` orders, and what is ordered from it.

Goods that are followed by lot or by serial number come by purchase order, each delivery a lot of
its own with a date of expiry. Orders of known customers are paid, fulfilled and shipped a week
later, some in two parts; some are cancelled, and of some a piece comes back.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final, NamedTuple

from api.imports.demo_books import Answers, Books
from api.imports.demo_goods import BY_LOT, BY_SERIAL, CUSTOMERS, GOODS, HUB, TIER, Goods
from schemas.customer import DefinePriceTier
from schemas.order import (
    ChangeOrderStatus,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    OrderStatus,
    PlaceOrder,
    ReturnOrder,
)
from schemas.product import RegisterProduct, TrackingType
from schemas.purchase import (
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    ReceivePurchaseOrder,
    SendPurchaseOrder,
)
from schemas.stock import LotEntry

SUPPLIER_ID: Final = 1
"""Of the supplier of tracked goods: the first that is registered."""
LOT_QUANTITY: Final = 72
SERIALS: Final = 4
SHELF_LIFE_DAYS: Final = (100, 160, 240)
LINE_FACTOR: Final = 1_000
"""A line's id is its order's times this, plus the line's number."""


class _Order(NamedTuple):
    """An order as the shop remembers it: what of which goods, line by line."""

    order_id: int
    lines: tuple[tuple[str, Decimal], ...]


class _Purchase(NamedTuple):
    """A purchase order as the shop remembers it: the lots and serials that will come."""

    purchase_order_id: int
    lot: LotEntry
    serials: tuple[str, ...]


class Trade:
    """Orders and purchases. Each week is told what became of the week before."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._random = books.random
        self._placed: list[tuple[int, tuple[tuple[str, Decimal], ...]]] = []
        self._bought: list[tuple[int, LotEntry, tuple[str, ...]]] = []
        self._to_serve: list[_Order] = []
        self._to_finish: list[_Order] = []
        self._to_receive: list[_Purchase] = []
        self._may_come_back: list[_Order] = []
        self._serials = 0

    def open(self) -> None:
        """Register the tracked goods, a price tier, and the customers."""
        tracked: tuple[tuple[Goods, TrackingType], ...] = (
            (BY_LOT, "batch"),
            (BY_SERIAL, "serial"),
        )
        for goods, tracking in tracked:
            self._books.do(
                RegisterProduct(
                    sku=goods.sku,
                    name=goods.name,
                    base_price=Decimal(goods.price),
                    cost_price=Decimal(goods.cost),
                    vendor=goods.supplier,
                    supplier=goods.supplier,
                    reorder_level=Decimal(2),
                    tracking_type=tracking,
                )
            )
        self._books.do(DefinePriceTier(name=TIER, discount_percent=Decimal(15)))
        for customer in CUSTOMERS:
            self._books.do(customer)

    def week(self, day: date) -> None:
        """Do what a week brings: deliveries, last week's orders, returns, new orders."""
        self._receive()
        self._take_back()
        self._finish()
        self._serve()
        self._buy(day)
        for _ in range(self._random.randint(3, 6)):
            self._order()

    def learn(self, answers: Answers) -> None:
        """Read from the answers of a step the ids of what was ordered in it."""
        for place, lines in self._placed:
            answer = answers[place]
            if answer is not None and answer.made_id is not None:
                self._to_serve.append(_Order(answer.made_id, lines))
        for place, lot, serials in self._bought:
            answer = answers[place]
            if answer is not None and answer.made_id is not None:
                self._to_receive.append(_Purchase(answer.made_id, lot, serials))
        self._placed, self._bought = [], []

    # --- purchases ----------------------------------------------------------------------

    def _buy(self, day: date) -> None:
        """Order of the tracked goods what is running out."""
        coming = len(self._to_receive) * LOT_QUANTITY
        if self._books.free[BY_LOT.sku, HUB] + coming >= LOT_QUANTITY // 2:
            return
        expiry = day + timedelta(days=self._random.choice(SHELF_LIFE_DAYS))
        lot = LotEntry(
            lot=f"ELD-{day:%y%m%d}",
            quantity=Decimal(LOT_QUANTITY),
            manufacture_date=day - timedelta(days=5),
            expiry_date=expiry,
        )
        self._serials += SERIALS
        serials = tuple(f"ESP-{self._serials - n:05d}" for n in reversed(range(SERIALS)))
        place = self._books.do(
            CreatePurchaseOrder(
                supplier_id=SUPPLIER_ID,
                location=HUB,
                lines=(
                    PurchaseLineEntry(
                        sku=BY_LOT.sku, quantity=lot.quantity, unit_cost=Decimal(BY_LOT.cost)
                    ),
                    PurchaseLineEntry(
                        sku=BY_SERIAL.sku,
                        quantity=Decimal(SERIALS),
                        unit_cost=Decimal(BY_SERIAL.cost),
                    ),
                ),
                expected_date=day + timedelta(days=7),
                effective_at=self._books.tick(),
            )
        )
        self._bought.append((place, lot, serials))

    def _receive(self) -> None:
        """Take in what was ordered the week before, at what it cost in the end."""
        for purchase in self._to_receive:
            self._books.do(
                SendPurchaseOrder(
                    purchase_order_id=purchase.purchase_order_id, effective_at=self._books.tick()
                )
            )
            first_line = purchase.purchase_order_id * LINE_FACTOR + 1
            rise = Decimal(self._random.randint(98, 106)) / 100
            lines = (
                PurchaseLineQuantity(
                    line_id=first_line,
                    quantity=purchase.lot.quantity,
                    unit_cost=(Decimal(BY_LOT.cost) * rise).quantize(Decimal("0.01")),
                    lots=(purchase.lot,),
                ),
                PurchaseLineQuantity(
                    line_id=first_line + 1,
                    quantity=Decimal(len(purchase.serials)),
                    serials=purchase.serials,
                ),
            )
            # The machines often come on a van of their own.
            for parts in (lines,) if self._random.random() < 0.6 else (lines[:1], lines[1:]):
                self._books.do(
                    ReceivePurchaseOrder(
                        purchase_order_id=purchase.purchase_order_id,
                        lines=parts,
                        effective_at=self._books.tick(),
                    )
                )
            self._books.free[BY_LOT.sku, HUB] += purchase.lot.quantity
            self._books.free[BY_SERIAL.sku, HUB] += len(purchase.serials)
        self._to_receive = []

    # --- orders -------------------------------------------------------------------------

    def _order(self) -> None:
        """Have a customer order some goods, of what there is plenty of at the hub."""
        wanted: dict[str, Decimal] = {}
        for goods, quantity in islice(self._wishes(), self._random.randint(1, 3)):
            if goods.sku not in wanted and self._books.free[goods.sku, HUB] >= quantity + 2:
                wanted[goods.sku] = quantity
        if not wanted:
            return
        lines = tuple(wanted.items())
        for sku, quantity in lines:
            self._books.free[sku, HUB] -= quantity
            self._books.claimed[sku, HUB] += quantity
        place = self._books.do(
            PlaceOrder(
                customer_id=self._random.randint(1, len(CUSTOMERS)),
                location=HUB,
                lines=tuple(OrderLineEntry(sku=sku, quantity=quantity) for sku, quantity in lines),
                effective_at=self._books.tick(),
            )
        )
        self._placed.append((place, lines))

    def _wishes(self) -> Iterator[tuple[Goods, Decimal]]:
        while True:
            chance = self._random.random()
            if chance < 0.35:
                yield BY_LOT, Decimal(self._random.randint(2, 12))
            elif chance < 0.45:
                yield BY_SERIAL, Decimal(1)
            else:
                yield self._random.choice(GOODS), Decimal(self._random.randint(1, 4))

    def _serve(self) -> None:
        """Fulfil what was ordered the week before, or cancel it; some of it in two parts."""
        for order in self._to_serve:
            if self._random.random() < 0.07:
                self._become(order, "cancelled")
                for sku, quantity in order.lines:
                    self._books.claimed[sku, HUB] -= quantity
                    self._books.free[sku, HUB] += quantity
                continue
            self._become(order, "paid")
            if len(order.lines) > 1 and self._random.random() < 0.2:
                self._fulfil(order, order.lines[:1])
                self._to_finish.append(order)
            else:
                self._fulfil(order, order.lines)
                self._become(order, "shipped")
                self._may_come_back.append(order)
        self._to_serve = []

    def _finish(self) -> None:
        for order in self._to_finish:
            self._fulfil(order, order.lines[1:])
            self._become(order, "shipped")
        self._to_finish = []

    def _fulfil(self, order: _Order, lines: tuple[tuple[str, Decimal], ...]) -> None:
        first = order.order_id * LINE_FACTOR + 1
        numbers = {sku: first + number for number, (sku, _) in enumerate(order.lines)}
        self._books.do(
            FulfilOrder(
                order_id=order.order_id,
                lines=tuple(
                    OrderLineQuantity(order_item_id=numbers[sku], quantity=quantity)
                    for sku, quantity in lines
                ),
                effective_at=self._books.tick(),
            )
        )
        for sku, quantity in lines:
            self._books.claimed[sku, HUB] -= quantity

    def _become(self, order: _Order, status: OrderStatus) -> None:
        self._books.do(
            ChangeOrderStatus(
                order_id=order.order_id, status=status, effective_at=self._books.tick()
            )
        )

    def _take_back(self) -> None:
        """Have a piece come back of some orders that went out the week before."""
        for order in self._may_come_back:
            sku, _ = order.lines[0]
            if sku in (BY_LOT.sku, BY_SERIAL.sku) or self._random.random() > 0.1:
                continue
            self._books.do(
                ReturnOrder(
                    order_id=order.order_id,
                    lines=(
                        OrderLineQuantity(
                            order_item_id=order.order_id * LINE_FACTOR + 1, quantity=Decimal(1)
                        ),
                    ),
                    disposition="restock",
                    reason="not as expected",
                    effective_at=self._books.tick(),
                )
            )
            self._books.free[sku, HUB] += 1
        self._may_come_back = []
