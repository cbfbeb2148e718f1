"""Which lots and serials go back to a supplier, named or not: first what the order brought."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from ledger.domain.decision import Refusal
from ledger.domain.purchase_order import PurchaseOrderState
from ledger.domain.refusals_tracking import InsufficientLots
from schemas.purchase import (
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    PurchaseReturned,
    ReceivePurchaseOrder,
    ReturnPurchase,
)
from schemas.stock import IssueStock, LotEntry, LotPart, ReceiveStock, ShipTransfer
from schemas.supplier import RegisterSupplier
from tests.support.decisions import NOON, World, shop

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}


def d(number: int) -> Decimal:
    return Decimal(number)


def in_days(count: int) -> date:
    return NOON.date() + timedelta(days=count)


def lot(name: str, quantity: int, expires: date | None = None) -> LotEntry:
    return LotEntry(lot=name, quantity=d(quantity), expiry_date=expires)


def arrival(*lots: LotEntry, serials: tuple[str, ...] = (), quantity: int = 0) -> ReceiveStock:
    """Goods that came in otherwise than by a purchase order."""
    total = d(quantity) if quantity else sum((each.quantity for each in lots), d(len(serials)))
    return ReceiveStock(**HERE, quantity=total, lots=lots, serials=serials)


def buy(world: World, *lines: dict[str, Any], tracking: str = "batch") -> World:
    """Order one line for each receipt, and receive it so."""
    number = world.counters.get("purchase", 0) + 1
    entries = tuple(
        PurchaseLineEntry(product_id=1, quantity=line["quantity"], unit_cost=d(4)) for line in lines
    )
    parts = tuple(
        PurchaseLineQuantity(line_id=number * 1000 + index, **line)
        for index, line in enumerate(lines, start=1)
    )
    return world.given(
        CreatePurchaseOrder(supplier_id=1, location_id=1, lines=entries),
        ReceivePurchaseOrder(purchase_order_id=number, lines=parts),
    )


def line(*lots: LotEntry, serials: tuple[str, ...] = (), quantity: int = 0) -> dict[str, Any]:
    total = d(quantity) if quantity else sum((each.quantity for each in lots), d(len(serials)))
    return {"quantity": total, "lots": lots, "serials": serials}


def give_back(quantity: int, line_id: int = 1001, **more: Any) -> ReturnPurchase:
    part = PurchaseLineQuantity(line_id=line_id, quantity=d(quantity), **more)
    return ReturnPurchase(purchase_order_id=line_id // 1000, lines=(part,))


def returned(outcome: Any) -> PurchaseReturned:
    assert not isinstance(outcome, Refusal), outcome.detail()
    event = outcome[0].event
    assert isinstance(event, PurchaseReturned)
    return event


def lots_of(outcome: Any) -> dict[int, Decimal]:
    return {part.lot_id: part.quantity for part in returned(outcome).lines[0].lots}


def trade(tracking: str = "batch") -> World:
    world = shop(product={"tracking_type": tracking, "cost_price": d(4)})
    return world.given(RegisterSupplier(name="Bolts"))


# --- lots -------------------------------------------------------------------------------


def test_the_lots_that_the_order_brought_go_back_before_older_ones() -> None:
    """Among them first expired first, and of each no more than the order brought."""
    world = trade().given(arrival(lot("OLD", 9, in_days(5)), lot("SHARED", 9, in_days(30))))
    buy(world, line(lot("LATE", 3, in_days(60)), lot("SHARED", 2)))
    assert lots_of(world.do(give_back(1))) == {2: 1}
    assert lots_of(world.do(give_back(3))) == {2: 1, 3: 2}
    assert lots_of(world.do(give_back(1))) == {3: 1}
    state: PurchaseOrderState = world.states["purchase-1"]
    assert state.lines[0].lots == ()
    assert state.lines[0].kept == {}


def test_what_the_order_brought_and_is_gone_is_made_up_as_any_issue_picks() -> None:
    world = trade().given(arrival(lot("OLD", 9, in_days(5)), lot("NEW", 9, in_days(90))))
    buy(world, line(lot("MINE", 4, in_days(60))))
    named = (lot("MINE", 3),)
    world.given(IssueStock(**HERE, quantity=d(3), lots=named))
    assert lots_of(world.do(give_back(3))) == {3: 1, 1: 2}


def test_a_lot_past_its_date_goes_back_all_the_same() -> None:
    """Sent back is what cannot be sold: an issue to a customer passes it over."""
    world = trade()
    buy(world, line(lot("STALE", 2, in_days(1))))
    world.given(arrival(lot("FRESH", 2, in_days(60))))
    world.now += timedelta(days=3)
    assert lots_of(world.do(give_back(1))) == {1: 1}
    assert isinstance(world.do(IssueStock(**HERE, quantity=d(3))), InsufficientLots)


def test_each_line_gives_back_its_own() -> None:
    world = trade()
    buy(world, line(lot("A", 2, in_days(10))), line(lot("B", 2, in_days(20))))
    assert lots_of(world.do(give_back(1, 1002))) == {2: 1}
    assert lots_of(world.do(give_back(1, 1001))) == {1: 1}
    assert lots_of(world.do(give_back(1, 1002))) == {2: 1}


def test_goods_of_no_known_lot_go_back_before_lots_that_others_brought() -> None:
    world = trade().given(arrival(lot("OLD", 9, in_days(5))))
    buy(world, line(quantity=2), line(lot("MINE", 1, in_days(60))))
    assert lots_of(world.do(give_back(2))) == {}
    balance = world.stock()
    assert balance.unrestricted - sum(each.unrestricted for each in balance.lots.values()) == 0


def test_two_parts_of_one_line_in_one_return_share_what_it_brought() -> None:
    world = trade().given(arrival(lot("OLD", 9, in_days(5))))
    buy(world, line(lot("MINE", 2, in_days(60)), lot("OTHER", 2, in_days(70))))
    parts = tuple(PurchaseLineQuantity(line_id=1001, quantity=d(2)) for _ in range(2))
    event = returned(world.do(ReturnPurchase(purchase_order_id=1, lines=parts)))
    assert [part.lots for part in event.lines] == [
        (LotPart(lot_id=2, quantity=d(2)),),
        (LotPart(lot_id=3, quantity=d(2)),),
    ]


def test_lots_that_are_named_go_back_whoever_brought_them() -> None:
    world = trade().given(arrival(lot("OLD", 9, in_days(5))))
    buy(world, line(lot("MINE", 4, in_days(60))))
    assert lots_of(world.do(give_back(1, lots=(lot("OLD", 1),)))) == {1: 1}
    assert lots_of(world.do(give_back(3))) == {2: 3}


# --- serial numbers ---------------------------------------------------------------------


def test_the_units_that_the_order_brought_go_back_before_those_known_longer() -> None:
    world = trade("serial").given(arrival(serials=("S1", "S2")))
    buy(world, line(serials=("S3", "S4", "S5")))
    first = returned(world.do(give_back(2)))
    assert first.lines[0].serials == (3, 4)
    assert returned(world.do(give_back(1))).lines[0].serials == (5,)


def test_a_unit_that_has_left_is_made_up_by_one_that_is_there() -> None:
    world = trade("serial").given(arrival(serials=("S1", "S2")))
    buy(world, line(serials=("S3", "S4", "S5")))
    world.given(IssueStock(**HERE, quantity=d(1), serials=("S4",)))
    route = {"product_id": 1, "from_location_id": 1, "to_location_id": 2}
    world.given(ShipTransfer(**route, quantity=d(1), serials=("S3",)))  # type: ignore[arg-type]
    assert returned(world.do(give_back(2))).lines[0].serials == (5, 1)
