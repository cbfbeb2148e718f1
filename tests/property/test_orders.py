"""Any orders in any order, against a model that is nothing but figures.

The model decides for itself what must be accepted and where goods are reserved; the machine
does the same to the deciders, and compares every figure after every step.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.domain.decision import Refusal
from ledger.domain.order import OrderState, hold_id
from ledger.domain.stock import StockState
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    OrderStatus,
    PlaceOrder,
    ReturnOrder,
)
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from tests.support.decisions import World, shop

PRODUCTS = (1, 2)
LOCATIONS = (1, 2)
BACKORDERED = 2
"""The product that takes backorders."""

# --- the model --------------------------------------------------------------------------


@dataclass
class Line:
    product: int
    ordered: int
    claims: dict[int, int] = field(default_factory=dict[int, int])
    fulfilled: int = 0
    cancelled: int = 0
    returned: int = 0

    @property
    def reserved(self) -> int:
        return sum(self.claims.values())

    @property
    def open(self) -> int:
        return self.ordered - self.reserved - self.fulfilled - self.cancelled

    def claim(self, location: int, change: int) -> None:
        left = self.claims.get(location, 0) + change
        if left:
            self.claims[location] = left
        else:
            del self.claims[location]


@dataclass
class Fulfilment:
    parts: list[tuple[int, int, int]]
    """Line, location and quantity of what went out."""
    left: list[int]
    is_cancelled: bool = False


@dataclass
class Order:
    lines: list[Line]
    places: tuple[int, ...]
    status: OrderStatus = "pending"
    fulfilments: list[Fulfilment] = field(default_factory=list[Fulfilment])

    @property
    def is_served(self) -> bool:
        return not any(line.open or line.claims for line in self.lines)

    @property
    def has_fulfilled(self) -> bool:
        return any(line.fulfilled for line in self.lines)


class Model:
    """On hand by product and location (quarantine apart), and the orders."""

    def __init__(self) -> None:
        self.shelf = {(p, place): 0 for p in PRODUCTS for place in LOCATIONS}
        self.quarantine = dict(self.shelf)
        self.orders: dict[int, Order] = {}

    def reserved(self, product: int, place: int) -> int:
        return sum(
            line.claims.get(place, 0)
            for order in self.orders.values()
            for line in order.lines
            if line.product == product
        )

    def available(self, product: int, place: int) -> int:
        return self.shelf[product, place] - self.reserved(product, place)

    def place(self, lines: list[tuple[int, int]], rule_name: str) -> Order | None:
        """Return the order as it must be taken, None where it must be refused."""
        places = LOCATIONS if rule_name == "split" else (2 if rule_name == "named" else 1,)
        order = Order([Line(*line) for line in lines], places)
        free = {(p, place): self.available(p, place) for p in PRODUCTS for place in places}
        for line in order.lines:
            others = sorted(places[1:], key=lambda place: -free[line.product, place])
            for place in (*places[:1], *others):
                taken = min(free[line.product, place], line.open)
                if taken:
                    free[line.product, place] -= taken
                    line.claim(place, taken)
            if line.open and line.product != BACKORDERED:
                return None
        return order

    def fulfil(self, order: Order, wanted: list[tuple[int, int]]) -> bool:
        if order.status not in ("pending", "paid", "fulfilling"):
            return False
        asked: dict[int, int] = {}
        for index, quantity in wanted:
            asked[index] = asked.get(index, 0) + quantity
        if any(order.lines[index].reserved < quantity for index, quantity in asked.items()):
            return False
        parts: list[tuple[int, int, int]] = []
        for index, quantity in wanted:
            line = order.lines[index]
            for place in list(line.claims):
                taken = min(line.claims[place], quantity)
                if taken:
                    line.claim(place, -taken)
                    line.fulfilled += taken
                    quantity -= taken
                    self.shelf[line.product, place] -= taken
                    parts.append((index, place, taken))
        if not parts:
            return False
        order.fulfilments.append(Fulfilment(parts, [part[2] for part in parts]))
        order.status = "fulfilled" if order.is_served else "fulfilling"
        return True

    def cancel_fulfilment(self, order: Order, number: int) -> bool:
        fulfilment = order.fulfilments[number - 1]
        if fulfilment.is_cancelled:
            return True
        if order.status == "shipped":
            return False
        if fulfilment.left != [part[2] for part in fulfilment.parts]:
            return False
        for index, place, quantity in fulfilment.parts:
            line = order.lines[index]
            line.fulfilled -= quantity
            line.claim(place, quantity)
            self.shelf[line.product, place] += quantity
        fulfilment.is_cancelled = True
        fulfilment.left = [0] * len(fulfilment.parts)
        order.status = "fulfilling"
        return True

    def cancel(self, order: Order, wanted: list[tuple[int, int]]) -> bool:
        asked: dict[int, int] = {}
        for index, quantity in wanted:
            asked[index] = asked.get(index, 0) + quantity
        if any(
            order.lines[index].open + order.lines[index].reserved < quantity
            for index, quantity in asked.items()
        ):
            return False
        for index, quantity in asked.items():
            line = order.lines[index]
            rest = quantity - min(line.open, quantity)
            line.cancelled += quantity - rest
            for place in reversed(list(line.claims)):
                taken = min(line.claims[place], rest)
                if taken:
                    line.claim(place, -taken)
                    line.cancelled += taken
                    rest -= taken
        if order.is_served:
            order.status = "fulfilled" if order.has_fulfilled else "cancelled"
        return True

    def give_back(self, order: Order, index: int, quantity: int, *, blocked: bool) -> bool:
        line = order.lines[index]
        if quantity > line.fulfilled - line.returned:
            return False
        line.returned += quantity
        for fulfilment in reversed(order.fulfilments):
            for number, (owner, place, _) in enumerate(fulfilment.parts):
                if owner == index:
                    taken = min(fulfilment.left[number], quantity)
                    fulfilment.left[number] -= taken
                    quantity -= taken
                    where = self.quarantine if blocked else self.shelf
                    where[line.product, place] += taken
        return True

    def allocate(self, order: Order) -> None:
        if order.status not in ("pending", "paid", "fulfilling"):
            return
        for line in order.lines:
            for place in order.places:
                taken = min(self.available(line.product, place), line.open)
                if taken:
                    line.claim(place, taken)


# --- the machine ------------------------------------------------------------------------

quantities = st.integers(1, 6)
picks = st.integers(0, 50)
some_lines = st.lists(st.tuples(st.sampled_from(PRODUCTS), quantities), min_size=1, max_size=3)


def _has_orders(machine: "OrderMachine") -> bool:
    return bool(machine.model.orders)


def _has_fulfilments(machine: "OrderMachine") -> bool:
    return any(order.fulfilments for order in machine.model.orders.values())


class OrderMachine(RuleBasedStateMachine):
    """Does the same to the deciders and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World = shop(locations=len(LOCATIONS))
        price = Decimal(1)
        self.world.given(RegisterProduct(name="B", sku="B", base_price=price, backorders=True))
        self.model = Model()

    def expect(self, command: Any, accepted: bool) -> Any:
        outcome = self.world.do(command)
        assert isinstance(outcome, Refusal) is not accepted, (command, outcome)
        return outcome

    def pick(self, number: int) -> tuple[int, Order]:
        order_id = number % len(self.model.orders) + 1
        return order_id, self.model.orders[order_id]

    @rule(
        product=st.sampled_from(PRODUCTS),
        place=st.sampled_from(LOCATIONS),
        quantity=st.integers(1, 9),
    )
    def receive(self, product: int, place: int, quantity: int) -> None:
        self.model.shelf[product, place] += quantity
        command = ReceiveStock(product_id=product, location_id=place, quantity=Decimal(quantity))
        self.expect(command, True)

    @rule(lines=some_lines, where=st.sampled_from(["default", "named", "split"]))
    def place(self, lines: list[tuple[int, int]], where: str) -> None:
        order = self.model.place(lines, where)
        if order is not None:
            self.model.orders[len(self.model.orders) + 1] = order
        command = PlaceOrder(
            lines=tuple(
                OrderLineEntry(product_id=product, quantity=Decimal(quantity))
                for product, quantity in lines
            ),
            location_id=2 if where == "named" else None,
            allocation="split" if where == "split" else None,
        )
        self.expect(command, order is not None)

    def parts(
        self, order_id: int, order: Order, wanted: list[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], tuple[OrderLineQuantity, ...]]:
        named = [(number % len(order.lines), quantity) for number, quantity in wanted]
        return named, tuple(
            OrderLineQuantity(order_item_id=order_id * 1000 + index + 1, quantity=Decimal(quantity))
            for index, quantity in named
        )

    some_parts = st.lists(st.tuples(picks, st.integers(1, 4)), min_size=1, max_size=3)

    @precondition(_has_orders)
    @rule(number=picks, wanted=some_parts)
    def fulfil(self, number: int, wanted: list[tuple[int, int]]) -> None:
        order_id, order = self.pick(number)
        named, lines = self.parts(order_id, order, wanted)
        accepted = self.model.fulfil(order, named)
        self.expect(FulfilOrder(order_id=order_id, lines=lines), accepted)

    @precondition(_has_orders)
    @rule(number=picks)
    def fulfil_what_is_reserved(self, number: int) -> None:
        order_id, order = self.pick(number)
        named = [(index, line.reserved) for index, line in enumerate(order.lines) if line.reserved]
        accepted = self.model.fulfil(order, named)
        self.expect(FulfilOrder(order_id=order_id), accepted)

    @precondition(_has_orders)
    @rule(number=picks, wanted=some_parts)
    def cancel(self, number: int, wanted: list[tuple[int, int]]) -> None:
        order_id, order = self.pick(number)
        named, lines = self.parts(order_id, order, wanted)
        accepted = self.model.cancel(order, named)
        self.expect(CancelOrderLines(order_id=order_id, lines=lines), accepted)

    @precondition(_has_fulfilments)
    @rule(number=picks, which=picks)
    def cancel_fulfilment(self, number: int, which: int) -> None:
        order_id, order = self.pick(number)
        if order.fulfilments:
            which = which % len(order.fulfilments) + 1
            accepted = self.model.cancel_fulfilment(order, which)
            self.expect(CancelFulfilment(order_id=order_id, fulfilment=which), accepted)

    @precondition(_has_fulfilments)
    @rule(number=picks, which=picks, quantity=st.integers(1, 5), blocked=st.booleans())
    def give_back(self, number: int, which: int, quantity: int, blocked: bool) -> None:
        order_id, order = self.pick(number)
        [(index, _)], lines = self.parts(order_id, order, [(which, quantity)])
        accepted = self.model.give_back(order, index, quantity, blocked=blocked)
        disposition = "quarantine" if blocked else "restock"
        command = ReturnOrder(order_id=order_id, lines=lines, disposition=disposition)
        self.expect(command, accepted)

    @precondition(_has_orders)
    @rule(number=picks)
    def allocate(self, number: int) -> None:
        order_id, order = self.pick(number)
        self.model.allocate(order)
        self.expect(AllocateBackorder(order_id=order_id), True)

    @precondition(_has_orders)
    @rule(number=picks, status=st.sampled_from(["paid", "fulfilling", "shipped", "cancelled"]))
    def change_status(self, number: int, status: OrderStatus) -> None:
        order_id, order = self.pick(number)
        legal = {
            "pending": {"paid", "fulfilling", "cancelled"},
            "paid": {"fulfilling", "cancelled"},
            "fulfilling": {"cancelled"},
            "fulfilled": {"shipped"},
        }.get(order.status, set[str]())
        accepted = status == order.status or status in legal
        if status == "cancelled" and order.status != "cancelled" and order.has_fulfilled:
            accepted = False
        if accepted and status == "cancelled":
            for line in order.lines:
                line.cancelled += line.open + line.reserved
                line.claims.clear()
        if accepted:
            order.status = status
        self.expect(ChangeOrderStatus(order_id=order_id, status=status), accepted)

    @invariant()
    def every_line_stands_as_the_model_says(self) -> None:
        for order_id, order in self.model.orders.items():
            state: OrderState = self.world.states[f"order-{order_id}"]
            assert state.status == order.status
            for line, expected in zip(state.lines, order.lines, strict=True):
                claims = {claim.location_id: int(claim.quantity) for claim in line.claims}
                assert claims == expected.claims
                assert (line.fulfilled, line.cancelled, line.returned) == (
                    expected.fulfilled,
                    expected.cancelled,
                    expected.returned,
                )
                assert line.ordered == line.open + line.reserved + line.fulfilled + line.cancelled
                assert min(line.open, line.reserved, line.fulfilled, line.cancelled) >= 0
                assert 0 <= line.returned <= line.fulfilled

    @invariant()
    def stock_holds_what_orders_have_reserved_and_nothing_is_oversold(self) -> None:
        for product in PRODUCTS:
            for place in LOCATIONS:
                stock: StockState = self.world.stock(product, place)
                holds = {name: int(hold.quantity) for name, hold in stock.holds.items()}
                assert holds == {
                    hold_id(order_id * 1000 + index): line.claims[place]
                    for order_id, order in self.model.orders.items()
                    for index, line in enumerate(order.lines, 1)
                    if line.product == product and place in line.claims
                }
                assert stock.unrestricted == self.model.shelf[product, place]
                assert stock.quarantine == self.model.quarantine[product, place]
                assert stock.reserved == sum(holds.values())
                assert stock.unrestricted >= stock.reserved


TestOrders = OrderMachine.TestCase
TestOrders.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
