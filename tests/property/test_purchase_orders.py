"""Any purchase orders in any order, at any times, against a model that is nothing but figures.

The model decides for itself what must be accepted; the machine does the same to the deciders,
and compares every figure after every step.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ledger.domain.decision import Refusal
from ledger.domain.purchase_order import PurchaseOrderState
from schemas.product import RegisterProduct
from schemas.purchase import (
    CancelPurchaseOrder,
    ClosePurchaseOrder,
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)
from schemas.stock import IssueStock, StockIssued, StockReceived
from schemas.supplier import RegisterSupplier
from tests.support.decisions import World, minutes, shop

PRODUCTS = (1, 2)
LOCATIONS = (1, 2)

# --- the model --------------------------------------------------------------------------

Flow = list[tuple[int, int]]
"""What came (above zero) and went (below), each at a minute."""


def lowest(flow: Flow, since: int) -> int:
    """Return the least there is at a minute or at any later one."""
    ends = {since, *(minute for minute, _ in flow if minute > since)}
    return min(sum(change for minute, change in flow if minute <= end) for end in ends)


@dataclass
class Line:
    product: int
    ordered: int
    cost: int
    received: int = 0
    returned: int = 0
    flow: Flow = field(default_factory=Flow)

    @property
    def outstanding(self) -> int:
        return max(0, self.ordered - self.received)


@dataclass
class Purchase:
    place: int
    tolerance: int
    lines: list[Line]
    status: str = "draft"
    receipts: int = 0
    returns: int = 0


class Model:
    """What is on each shelf, and the purchase orders."""

    def __init__(self) -> None:
        self.shelf: dict[tuple[int, int], Flow] = {
            (product, place): [] for product in PRODUCTS for place in LOCATIONS
        }
        self.purchases: dict[int, Purchase] = {}

    def receive(self, purchase: Purchase, wanted: list[tuple[int, int]], minute: int) -> bool:
        if purchase.status in ("closed", "cancelled"):
            return False
        asked: dict[int, int] = {}
        for index, quantity in wanted:
            asked[index] = asked.get(index, 0) + quantity
        for index, quantity in asked.items():
            line = purchase.lines[index]
            if (line.received + quantity) * 100 > line.ordered * (100 + purchase.tolerance):
                return False
        for index, quantity in wanted:
            line = purchase.lines[index]
            line.received += quantity
            line.flow.append((minute, quantity))
            self.shelf[line.product, purchase.place].append((minute, quantity))
        if wanted:
            purchase.receipts += 1
            complete = not any(line.outstanding for line in purchase.lines)
            purchase.status = "received" if complete else "partial"
        return True

    def give_back(self, purchase: Purchase, wanted: list[tuple[int, int]], minute: int) -> bool:
        lines = [list(line.flow) for line in purchase.lines]
        shelf = {key: list(flow) for key, flow in self.shelf.items()}
        for index, quantity in wanted:
            line = purchase.lines[index]
            here = shelf[line.product, purchase.place]
            if min(lowest(lines[index], minute), lowest(here, minute)) < quantity:
                return False
            lines[index].append((minute, -quantity))
            here.append((minute, -quantity))
        self.shelf = shelf
        for index, quantity in wanted:
            purchase.lines[index].returned += quantity
        for line, flow in zip(purchase.lines, lines, strict=True):
            line.flow = flow
        purchase.returns += 1
        return True


# --- the machine ------------------------------------------------------------------------

LEGAL = {
    "sent": {"draft"},
    "closed": {"sent", "partial", "received"},
    "cancelled": {"draft", "sent"},
}
COMMANDS: dict[str, Any] = {
    "sent": SendPurchaseOrder,
    "closed": ClosePurchaseOrder,
    "cancelled": CancelPurchaseOrder,
}

picks = st.integers(0, 50)
ago = st.integers(0, 3)
some_parts = st.lists(st.tuples(picks, st.integers(1, 6)), min_size=1, max_size=3)
some_lines = st.lists(
    st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 9), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)


def _has_purchases(machine: "PurchaseMachine") -> bool:
    return bool(machine.model.purchases)


class PurchaseMachine(RuleBasedStateMachine):
    """Does the same to the deciders and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World = shop(locations=len(LOCATIONS))
        self.world.given(
            RegisterProduct(name="B", sku="B", base_price=Decimal(1)), RegisterSupplier(name="S")
        )
        self.start = self.world.now
        self.minute = 0
        self.model = Model()

    def expect(self, command: Any, accepted: bool) -> Any:
        outcome = self.world.do(command)
        assert isinstance(outcome, Refusal) is not accepted, (command, outcome)
        return outcome

    def pick(self, number: int) -> tuple[int, Purchase]:
        purchase_id = number % len(self.model.purchases) + 1
        return purchase_id, self.model.purchases[purchase_id]

    def when(self, back: int) -> tuple[int, Any]:
        """Return a minute, and the time it is as a command says it: None for now."""
        minute = self.minute - 7 * back
        return minute, self.start + minutes(minute) if back else None

    @rule(step=st.integers(1, 9))
    def time_passes(self, step: int) -> None:
        self.minute += step
        self.world.now = self.start + minutes(self.minute)

    @rule(
        lines=some_lines,
        place=st.sampled_from(LOCATIONS),
        tolerance=st.sampled_from([0, 0, 10, 34, 100]),
    )
    def create(self, lines: list[tuple[int, int, int]], place: int, tolerance: int) -> None:
        made = [Line(*line) for line in lines]
        self.model.purchases[len(self.model.purchases) + 1] = Purchase(place, tolerance, made)
        command = CreatePurchaseOrder(
            supplier_id=1,
            location_id=place,
            tolerance_percent=Decimal(tolerance),
            lines=tuple(
                PurchaseLineEntry(
                    product_id=line.product,
                    quantity=Decimal(line.ordered),
                    unit_cost=Decimal(line.cost),
                )
                for line in made
            ),
        )
        outcome = self.expect(command, True)
        assert outcome[0].event.total_amount == sum(line.ordered * line.cost for line in made)

    def parts(
        self, purchase_id: int, wanted: list[tuple[int, int]]
    ) -> tuple[list[tuple[int, int]], tuple[PurchaseLineQuantity, ...]]:
        lines = self.model.purchases[purchase_id].lines
        named = [(number % len(lines), quantity) for number, quantity in wanted]
        return named, tuple(
            PurchaseLineQuantity(line_id=purchase_id * 1000 + index + 1, quantity=Decimal(quantity))
            for index, quantity in named
        )

    @precondition(_has_purchases)
    @rule(number=picks, wanted=some_parts, back=ago)
    def receive(self, number: int, wanted: list[tuple[int, int]], back: int) -> None:
        purchase_id, purchase = self.pick(number)
        named, lines = self.parts(purchase_id, wanted)
        minute, at = self.when(back)
        accepted = self.model.receive(purchase, named, minute)
        command = ReceivePurchaseOrder(purchase_order_id=purchase_id, lines=lines, effective_at=at)
        outcome = self.expect(command, accepted)
        if accepted:
            stock = [new.event for new in outcome if isinstance(new.event, StockReceived)]
            reference = f"PO-{purchase_id:04d}/{purchase.receipts}"
            assert [each.quantity for each in stock] == [quantity for _, quantity in named]
            assert {each.reference for each in stock} == {reference}
            costs = [purchase.lines[index].cost for index, _ in named]
            assert [each.unit_cost for each in stock] == costs

    @precondition(_has_purchases)
    @rule(number=picks, back=ago)
    def receive_the_rest(self, number: int, back: int) -> None:
        purchase_id, purchase = self.pick(number)
        rest = [
            (index, line.outstanding)
            for index, line in enumerate(purchase.lines)
            if line.outstanding
        ]
        minute, at = self.when(back)
        accepted = self.model.receive(purchase, rest, minute)
        command = ReceivePurchaseOrder(purchase_order_id=purchase_id, effective_at=at)
        outcome = self.expect(command, accepted)
        if accepted:
            assert bool(outcome) is bool(rest)

    @precondition(_has_purchases)
    @rule(number=picks, wanted=some_parts, back=ago)
    def give_back(self, number: int, wanted: list[tuple[int, int]], back: int) -> None:
        purchase_id, purchase = self.pick(number)
        named, lines = self.parts(purchase_id, wanted)
        minute, at = self.when(back)
        accepted = self.model.give_back(purchase, named, minute)
        command = ReturnPurchase(purchase_order_id=purchase_id, lines=lines, effective_at=at)
        outcome = self.expect(command, accepted)
        if accepted:
            stock = [new.event for new in outcome if isinstance(new.event, StockIssued)]
            assert {each.reference for each in stock} == {
                f"PO-{purchase_id:04d}/R{purchase.returns}"
            }

    @rule(
        product=st.sampled_from(PRODUCTS),
        place=st.sampled_from(LOCATIONS),
        quantity=st.integers(1, 5),
        back=ago,
    )
    def sell(self, product: int, place: int, quantity: int, back: int) -> None:
        minute, at = self.when(back)
        flow = self.model.shelf[product, place]
        accepted = lowest(flow, minute) >= quantity
        if accepted:
            flow.append((minute, -quantity))
        command = IssueStock(
            product_id=product, location_id=place, quantity=Decimal(quantity), effective_at=at
        )
        self.expect(command, accepted)

    @precondition(_has_purchases)
    @rule(number=picks, status=st.sampled_from(sorted(COMMANDS)))
    def change_status(self, number: int, status: str) -> None:
        purchase_id, purchase = self.pick(number)
        accepted = purchase.status == status or purchase.status in LEGAL[status]
        outcome = self.expect(COMMANDS[status](purchase_order_id=purchase_id), accepted)
        if accepted:
            assert bool(outcome) is (purchase.status != status)
            purchase.status = status

    @invariant()
    def every_line_stands_as_the_model_says(self) -> None:
        for purchase_id, purchase in self.model.purchases.items():
            state: PurchaseOrderState = self.world.states[f"purchase-{purchase_id}"]
            assert (state.status, state.receipts, state.returns) == (
                purchase.status,
                purchase.receipts,
                purchase.returns,
            )
            for line, expected in zip(state.lines, purchase.lines, strict=True):
                assert (line.received, line.returned, line.outstanding) == (
                    expected.received,
                    expected.returned,
                    expected.outstanding,
                )
                assert 0 <= line.returned <= line.received

    @invariant()
    def stock_is_what_came_in_less_what_went(self) -> None:
        for (product, place), flow in self.model.shelf.items():
            assert self.world.stock(product, place).on_hand == sum(change for _, change in flow)


TestPurchaseOrders = PurchaseMachine.TestCase
TestPurchaseOrders.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
