"""What is decided about purchase orders: costs, receipts within the tolerance, and returns."""

from datetime import date
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from ledger.domain import registry
from ledger.domain.decision import Refusal
from ledger.domain.purchase_order import PurchaseOrderState
from ledger.domain.purchase_order_receiving import most_of
from ledger.domain.purchase_order_transitions import RECEIVABLE, TRANSITIONS
from schemas.location import OpenLocation, ReviseLocation
from schemas.product import AlternativeUnit, DiscontinueProduct, RegisterProduct
from schemas.purchase import (
    CancelPurchaseOrder,
    ClosePurchaseOrder,
    CreatePurchaseOrder,
    PurchaseLineEntry,
    PurchaseLineQuantity,
    PurchaseOrderCreated,
    PurchaseOrderReceived,
    PurchaseOrderStatus,
    PurchaseReturned,
    ReceivePurchaseOrder,
    ReturnPurchase,
    SendPurchaseOrder,
)
from schemas.stock import CountStock, IssueStock, LotEntry, ReceiveStock
from schemas.supplier import RegisterSupplier
from tests.support.decisions import World, minutes, shop, types


def trade(**product: Any) -> World:
    """A shop with a supplier, and 4.00 as the cost price of its product."""
    world = shop(product={"cost_price": Decimal("4.00"), **product})
    return world.given(RegisterSupplier(name="Bolts"))


def entry(quantity: object, **more: Any) -> PurchaseLineEntry:
    fields: dict[str, Any] = {"product_id": 1, "quantity": Decimal(str(quantity)), **more}
    return PurchaseLineEntry(**fields)


def create(*lines: PurchaseLineEntry, **more: Any) -> CreatePurchaseOrder:
    fields: dict[str, Any] = {"supplier_id": 1, "location_id": 1, "lines": lines, **more}
    return CreatePurchaseOrder(**fields)


def part(line_id: int, quantity: object, **more: Any) -> PurchaseLineQuantity:
    return PurchaseLineQuantity(line_id=line_id, quantity=Decimal(str(quantity)), **more)


def receive(*lines: PurchaseLineQuantity, **more: Any) -> ReceivePurchaseOrder:
    return ReceivePurchaseOrder(purchase_order_id=1, lines=lines, **more)


def give_back(*lines: PurchaseLineQuantity, **more: Any) -> ReturnPurchase:
    return ReturnPurchase(purchase_order_id=1, lines=lines, **more)


def purchase(world: World) -> PurchaseOrderState:
    return world.states["purchase-1"]


def stands(world: World, line_id: int = 1001) -> tuple[Decimal, ...]:
    """ordered, received, returned, outstanding"""
    line = purchase(world).line(line_id)
    assert line is not None
    return line.ordered, line.received, line.returned, line.outstanding


def created(outcome: Any) -> PurchaseOrderCreated:
    assert not isinstance(outcome, Refusal), outcome.detail()
    event = outcome[0].event
    assert isinstance(event, PurchaseOrderCreated)
    return event


def in_status(status: PurchaseOrderStatus) -> World:
    """An order over two of one product, in a status."""
    world = trade().given(create(entry(2)))
    sent, received = SendPurchaseOrder(purchase_order_id=1), receive()
    way: dict[PurchaseOrderStatus, tuple[Any, ...]] = {
        "draft": (),
        "sent": (sent,),
        "partial": (receive(part(1001, 1)),),
        "received": (received,),
        "closed": (sent, ClosePurchaseOrder(purchase_order_id=1)),
        "cancelled": (CancelPurchaseOrder(purchase_order_id=1),),
    }
    return world.given(*way[status])


# --- drafting ---------------------------------------------------------------------------


def test_a_draft_is_numbered_and_costed_and_moves_nothing() -> None:
    world = trade()
    outcome = world.do(
        create(
            entry(3, unit_cost=Decimal("18.00")),
            entry(2),
            expected_date=date(2026, 5, 10),
            tolerance_percent=Decimal("2.5"),
        )
    )
    assert types(outcome) == ["PurchaseOrderCreated"]
    event = created(outcome)
    assert (event.purchase_order_id, event.po_number) == (1, "PO-0001")
    assert event.total_amount == Decimal(62)
    assert [(line.id, line.quantity, line.unit_cost) for line in event.lines] == [
        (1001, 3, Decimal("18.00")),
        (1002, 2, Decimal("4.00")),
    ]
    assert (purchase(world).status, stands(world)) == ("draft", (3, 0, 0, 3))
    assert world.stock().on_hand == 0
    assert created(world.do(create(entry(1)))).po_number == "PO-0002"


def test_numbers_have_four_digits_and_more_where_it_takes_more() -> None:
    world = trade()
    world.counters["purchase"] = 9998
    numbers = [created(world.do(create(entry(1)))).po_number for _ in range(2)]
    assert numbers == ["PO-9999", "PO-10000"]


def test_a_line_in_another_unit_is_kept_in_the_products_own_at_an_exact_cost() -> None:
    box = AlternativeUnit(unit="box", numerator=12)
    world = trade(alternative_units=(box,))
    event = created(world.do(create(entry(5, unit="box", unit_cost=Decimal("30.00")))))
    (line,) = event.lines
    assert (line.quantity, line.unit_cost) == (60, Decimal("2.5"))
    assert (line.unit, line.entered_quantity) == ("box", 5)
    assert event.total_amount == 150
    # Without a cost of its own, one of the product's own unit costs its cost price.
    (line,) = created(world.do(create(entry(1, unit="box")))).lines
    assert (line.quantity, line.unit_cost) == (12, Decimal("4.00"))
    (line,) = created(world.do(create(entry(1, unit="each", unit_cost=Decimal("0.1"))))).lines
    assert (line.unit, line.entered_quantity) == (None, None)
    refusal = world.do(create(entry(1), entry(1, unit="box", unit_cost=Decimal("0.01"))))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[1].unit_cost")
    refusal = world.do(create(entry("0.3", unit="box")))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[0].quantity")


def test_a_cost_must_be_known() -> None:
    world = trade(cost_price=None)
    refusal = world.do(create(entry(1)))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[0].unit_cost")
    assert created(world.do(create(entry(1, unit_cost=Decimal(0))))).total_amount == 0


def test_the_total_is_exact_and_bounded() -> None:
    limit = Decimal("999999.999999")
    world = trade()
    event = created(world.do(create(entry(999999, unit_cost=limit))))
    assert event.total_amount == Decimal("999998999999.000001")
    refusal = world.do(create(entry(999999, unit_cost=limit), entry(2, unit_cost=limit)))
    assert refusal.CODE == "purchase_total_out_of_bounds"
    assert refusal.extensions() == {"total_amount": "1000000999998.999999"}


def test_products_are_found_by_sku_and_the_location_by_code_or_as_the_default() -> None:
    world = trade()
    lines = (entry(1, product_id=None, sku=" tea"),)
    assert created(world.do(create(*lines, location_id=None, location="l2"))).location_id == 2
    world.given(OpenLocation(name="D", code="D", is_default=True))
    event = created(world.do(create(*lines, location_id=None)))
    assert (event.location_id, event.lines[0].product_id) == (3, 1)


def test_without_any_location_there_is_nowhere_to_receive_at() -> None:
    world = shop(locations=0, product={"cost_price": Decimal(1)})
    world.given(RegisterSupplier(name="Bolts"))
    refusal = world.do(create(entry(1), location_id=None))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "location_id")


def test_an_order_names_what_there_is() -> None:
    world = trade()
    assert world.do(create(entry(1), supplier_id=7)).CODE == "supplier_not_found"
    assert world.do(create(entry(1), location_id=7)).CODE == "location_not_found"
    wrong = create(entry(1), location_id=None, location="X")
    assert world.do(wrong).CODE == "location_not_found"
    both = create(entry(1), location="L1")
    assert world.do(both).field == "location"
    assert world.do(create(entry(1, product_id=7))).CODE == "product_not_found"
    assert world.do(create(entry(1, product_id=None, sku="X"))).CODE == "product_not_found"
    world.given(ReviseLocation(location_id=2, name="L2", code="L2", is_active=False))
    assert world.do(create(entry(1), location_id=2)).CODE == "location_inactive"
    world.given(DiscontinueProduct(product_id=1))
    assert world.do(create(entry(1))).CODE == "product_discontinued"
    assert "purchase" not in world.counters, "a refused draft uses no number up"


# --- coming in --------------------------------------------------------------------------


def test_a_receipt_of_a_draft_sends_it_first() -> None:
    world = trade().given(create(entry(3, unit_cost=Decimal("3.50"))))
    outcome = world.do(receive())
    assert types(outcome) == ["PurchaseOrderSent", "PurchaseOrderReceived", "StockReceived"]
    event, stock = outcome[1].event, outcome[2].event
    assert (event.receipt, event.complete) == (1, True)
    (line,) = event.lines
    assert (line.line_id, line.quantity, line.unit_cost) == (1001, 3, Decimal("3.50"))
    assert (stock.source, stock.unit_cost, stock.reference) == (
        "supplier",
        Decimal("3.50"),
        "PO-0001/1",
    )
    assert (purchase(world).status, world.stock().available_at(world.now)) == ("received", 3)


def test_receipts_in_parts_are_numbered_and_each_has_the_cost_that_was_paid() -> None:
    world = trade().given(create(entry(5), entry(2)), SendPurchaseOrder(purchase_order_id=1))
    outcome = world.do(receive(part(1001, 2, unit_cost=Decimal("4.10"))))
    assert types(outcome) == ["PurchaseOrderReceived", "StockReceived"]
    assert (outcome[0].event.complete, purchase(world).status) == (False, "partial")
    assert outcome[1].event.unit_cost == Decimal("4.10")
    outcome = world.do(receive(part(1001, 1), part(1002, 2)))
    assert [new.event.reference for new in outcome[1:]] == ["PO-0001/2"] * 2
    assert [new.event.unit_cost for new in outcome[1:]] == [Decimal("4.00")] * 2
    assert (stands(world), stands(world, 1002)) == ((5, 3, 0, 2), (2, 2, 0, 0))
    outcome = world.do(receive())
    assert [line.line_id for line in outcome[0].event.lines] == [1001]
    assert (outcome[0].event.receipt, outcome[0].event.complete) == (3, True)
    assert world.stock().on_hand == 7
    assert world.do(receive()) == [], "nothing is outstanding, so there is nothing to do"


def test_two_lines_of_one_product_come_in_each_as_its_own() -> None:
    world = trade().given(create(entry(3), entry(4, unit_cost=Decimal(5))))
    outcome = world.do(receive())
    stock = [new.event for new in outcome if new.stream == "stock-1-1"]
    assert [(each.quantity, each.unit_cost) for each in stock] == [(3, 4), (4, 5)]
    assert world.stock().on_hand == 7
    assert (stands(world), stands(world, 1002)) == ((3, 3, 0, 0), (4, 4, 0, 0))


def test_a_line_may_be_named_by_its_product_where_no_other_has_it() -> None:
    world = trade().given(
        RegisterProduct(name="Mug", sku="MUG", base_price=Decimal(1)),
        create(entry(1), entry(2), entry(3, product_id=2, unit_cost=Decimal(1))),
    )
    by_product = PurchaseLineQuantity(product_id=2, quantity=Decimal(1))
    world.given(receive(by_product))
    assert stands(world, 1003) == (3, 1, 0, 2)
    refusal = world.do(receive(by_product, msgspec.structs.replace(by_product, product_id=1)))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[1].product_id")
    assert "1001, 1002" in refusal.fault
    refusal = world.do(receive(msgspec.structs.replace(by_product, product_id=9)))
    assert (refusal.CODE, refusal.purchase_order_items) == (
        "purchase_line_not_found",
        (1001, 1002, 1003),
    )
    assert "product 9" in refusal.detail()
    with pytest.raises(ValueError, match="exactly one of line_id and product_id"):
        PurchaseLineQuantity(quantity=Decimal(1))


def test_more_than_ordered_comes_in_up_to_the_tolerance_and_not_beyond() -> None:
    world = trade().given(create(entry(10), tolerance_percent=Decimal(15)))
    world.given(receive(part(1001, 8)))
    refusal = world.do(receive(part(1001, 4)))
    assert (refusal.CODE, refusal.requested, refusal.most) == ("purchase_line_over_received", 4, 3)
    assert "at most 3 may be" in refusal.detail()
    assert refusal.extensions()["tolerance_percent"] == "15"
    world.given(receive(part(1001, 2)))
    assert purchase(world).status == "received"
    world.given(receive(part(1001, 1)))
    assert stands(world) == (10, 11, 0, 0)
    assert world.do(receive(part(1001, 1))).most == 0, "11.5 is no whole number"


def test_the_tolerance_counts_for_all_of_a_receipt_together() -> None:
    world = trade().given(create(entry(10), tolerance_percent=Decimal(10)))
    refusal = world.do(receive(part(1001, 6), part(1001, 6)))
    assert (refusal.CODE, refusal.received, refusal.most) == ("purchase_line_over_received", 6, 5)
    assert world.stock().on_hand == 0, "nothing of a refused receipt comes in"
    outcome = world.do(receive(part(1001, 6), part(1001, 5, unit_cost=Decimal(3))))
    assert [line.unit_cost for line in outcome[1].event.lines] == [4, 3]
    assert stands(world) == (10, 11, 0, 0)


def test_without_a_tolerance_no_more_than_ordered_comes_in() -> None:
    world = trade().given(create(entry(2)))
    assert world.do(receive(part(1001, 3))).most == 2


@pytest.mark.parametrize(
    ("ordered", "percent", "scale", "most"),
    [("3", "10", 0, "3"), ("3", "33.333334", 0, "4"), ("0.001", "100", 3, "0.002"),
     ("7.5", "0", 2, "7.50"), ("999999999999.999999", "100", 6, "1999999999999.999998")],
)  # fmt: skip
def test_the_most_is_exact_and_rounded_down(
    ordered: str, percent: str, scale: int, most: str
) -> None:
    assert str(most_of(Decimal(ordered), Decimal(percent), scale)) == most


def test_a_quantity_must_be_exact_in_the_products_scale() -> None:
    world = trade().given(create(entry(2)))
    refusal = world.do(receive(part(1001, 1), part(1001, "0.5")))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[1].quantity")


def test_what_is_not_of_the_order_is_not_received_for_it() -> None:
    world = trade().given(create(entry(2)))
    refusal = world.do(receive(part(1002, 1)))
    assert (refusal.CODE, refusal.purchase_order_items) == ("purchase_line_not_found", (1001,))
    missing = ReceivePurchaseOrder(purchase_order_id=2)
    assert world.do(missing).CODE == "purchase_order_not_found"


def test_a_product_that_left_the_catalogue_is_not_received() -> None:
    world = trade().given(create(entry(2)), DiscontinueProduct(product_id=1))
    assert world.do(receive()).CODE == "product_discontinued"


def test_a_late_receipt_is_of_its_own_time_and_keeps_what_was_counted_since() -> None:
    world = trade().given(ReceiveStock(product_id=1, location_id=1, quantity=Decimal(5)))
    world.now += minutes(60)
    early = world.now - minutes(50)
    world.given(CountStock(product_id=1, location_id=1, quantity=Decimal(9)))
    world.given(create(entry(4)))
    outcome = world.do(receive(effective_at=early))
    assert types(outcome)[2:] == ["StockReceived", "CountVarianceRevised"]
    assert [new.effective_at for new in outcome[:3]] == [early] * 3
    assert world.stock().on_hand == 9, "the count stands"
    ahead = receive(part(1001, 1), effective_at=world.now + minutes(10))
    assert world.do(ahead).field == "effective_at"


# --- lots and serials -------------------------------------------------------------------


def test_lots_come_in_with_their_dates_and_go_back_by_name() -> None:
    world = trade(tracking_type="batch").given(create(entry(5), entry(4)))
    lots = (
        LotEntry(lot="A", quantity=Decimal(2), expiry_date=date(2030, 1, 1)),
        LotEntry(lot="B", quantity=Decimal(3)),
    )
    again = (LotEntry(lot="a", quantity=Decimal(4)),)
    outcome = world.do(receive(part(1001, 5, lots=lots), part(1002, 4, lots=again)))
    event = outcome[1].event
    assert isinstance(event, PurchaseOrderReceived)
    assert [[(p.lot_id, p.quantity) for p in line.lots] for line in event.lines] == [
        [(1, 2), (2, 3)],
        [(1, 4)],
    ]
    assert world.states["lot-1"].expiry_date == date(2030, 1, 1)
    refusal = world.do(give_back(part(1001, 4, lots=(LotEntry(lot="B", quantity=Decimal(4)),))))
    assert refusal.CODE == "lot_short"
    outcome = world.do(give_back(part(1001, 2, lots=(LotEntry(lot="B", quantity=Decimal(2)),))))
    assert [(p.lot_id, p.quantity) for p in outcome[0].event.lines[0].lots] == [(2, 2)]
    assert {key: lot.unrestricted for key, lot in world.stock().lots.items()} == {1: 6, 2: 1}


def test_serials_come_in_and_go_back_by_number_or_are_picked() -> None:
    world = trade(tracking_type="serial").given(create(entry(3)))
    outcome = world.do(receive(part(1001, 2, serials=("S1", "S2"))))
    assert outcome[1].event.lines[0].serials == (1, 2)
    refusal = world.do(receive(part(1001, 1, serials=("s1",))))
    assert refusal.CODE == "serial_in_stock"
    refusal = world.do(receive(part(1001, 1, serials=("S3", "S4"))))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[0].serials")
    outcome = world.do(give_back(part(1001, 1, serials=("S2",))))
    assert outcome[0].event.lines[0].serials == (2,)
    assert world.states["serial-2"].status == "returned"
    outcome = world.do(give_back(part(1001, 1)))
    assert outcome[0].event.lines[0].serials == (1,)
    assert world.stock().on_hand == 0


def test_a_late_return_of_lots_knows_those_that_have_gone_since() -> None:
    world = trade(tracking_type="batch").given(create(entry(2)))
    world.given(receive(part(1001, 2, lots=(LotEntry(lot="A", quantity=Decimal(2)),))))
    then = world.now
    world.now += minutes(60)
    world.given(IssueStock(product_id=1, location_id=1, quantity=Decimal(2)))
    world.now += minutes(60)
    world.given(ReceiveStock(product_id=1, location_id=1, quantity=Decimal(9)))
    refusal = world.do(give_back(part(1001, 1), effective_at=then))
    assert refusal.CODE == "insufficient_stock"


# --- going back -------------------------------------------------------------------------


def test_what_came_in_goes_back_at_what_was_last_paid_unless_it_is_said() -> None:
    world = trade().given(create(entry(5)), receive(part(1001, 4, unit_cost=Decimal("3.90"))))
    outcome = world.do(give_back(part(1001, 1), reason="broken"))
    assert types(outcome) == ["PurchaseReturned", "StockIssued"]
    returned, issued = outcome[0].event, outcome[1].event
    assert isinstance(returned, PurchaseReturned)
    assert (returned.return_number, returned.lines[0].unit_cost) == (1, Decimal("3.90"))
    assert (issued.destination, issued.reference, issued.reason) == (
        "supplier",
        "PO-0001/R1",
        "broken",
    )
    assert stands(world) == (5, 4, 1, 1), "what went back is not outstanding again"
    outcome = world.do(give_back(part(1001, 1, unit_cost=Decimal(2))))
    assert (outcome[0].event.return_number, outcome[0].event.lines[0].unit_cost) == (2, 2)
    assert outcome[1].event.reference == "PO-0001/R2"


def test_no_more_goes_back_than_came_in_and_is_available() -> None:
    world = trade().given(create(entry(5)), receive(part(1001, 3)))
    refusal = world.do(give_back(part(1001, 2), part(1001, 2)))
    assert (refusal.CODE, refusal.most) == ("purchase_line_not_returnable", 1)
    assert "at most 1 may" in refusal.detail()
    world.given(IssueStock(product_id=1, location_id=1, quantity=Decimal(2)))
    assert world.do(give_back(part(1001, 2))).CODE == "insufficient_stock"
    world.given(give_back(part(1001, 1)))


def test_goods_cannot_go_back_before_they_came() -> None:
    world = trade().given(ReceiveStock(product_id=1, location_id=1, quantity=Decimal(9)))
    world.now += minutes(10)
    first = world.now
    world.given(create(entry(6)), receive(part(1001, 2)))
    world.now += minutes(10)
    world.given(give_back(part(1001, 2)))
    world.now += minutes(10)
    world.given(receive(part(1001, 4)))
    refusal = world.do(give_back(part(1001, 1), effective_at=first))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "effective_at")
    world.given(give_back(part(1001, 4), effective_at=world.now))


def test_goods_still_go_back_when_the_order_is_closed() -> None:
    world = in_status("partial").given(ClosePurchaseOrder(purchase_order_id=1))
    assert types(world.do(give_back(part(1001, 1)))) == ["PurchaseReturned", "StockIssued"]
    assert purchase(world).status == "closed"


def test_nothing_goes_back_of_what_never_came() -> None:
    for status in ("draft", "sent", "cancelled"):
        refusal = in_status(cast(PurchaseOrderStatus, status)).do(give_back(part(1001, 1)))
        assert (refusal.CODE, refusal.most) == ("purchase_line_not_returnable", 0)


# --- statuses ---------------------------------------------------------------------------

ASKED: dict[PurchaseOrderStatus, Any] = {
    "sent": SendPurchaseOrder(purchase_order_id=1),
    "closed": ClosePurchaseOrder(purchase_order_id=1),
    "cancelled": CancelPurchaseOrder(purchase_order_id=1, reason="too dear"),
}


@pytest.mark.parametrize("status", TRANSITIONS)
@pytest.mark.parametrize("wanted", ASKED)
def test_a_status_changes_as_the_table_says(
    status: PurchaseOrderStatus, wanted: PurchaseOrderStatus
) -> None:
    world = in_status(status)
    outcome = world.do(ASKED[wanted])
    if status == wanted:
        assert outcome == []
    elif wanted in TRANSITIONS[status]:
        assert len(outcome) == 1
        assert purchase(world).status == wanted
    else:
        assert outcome.CODE == "illegal_purchase_transition"
        told = outcome.extensions()
        told.pop("hint", None)
        assert told == {
            "purchase_order_id": 1,
            "purchase_order_status": status,
            "requested_status": wanted,
            "allowed": TRANSITIONS[status],
        }
        assert purchase(world).status == status


@pytest.mark.parametrize("status", TRANSITIONS)
def test_goods_come_in_until_the_order_is_over(status: PurchaseOrderStatus) -> None:
    outcome = in_status(status).do(receive())
    if status in RECEIVABLE:
        assert isinstance(outcome, list)
    else:
        assert (outcome.CODE, outcome.allowed) == ("illegal_purchase_transition", ())


def test_an_order_that_has_begun_to_come_in_is_closed_not_cancelled() -> None:
    refusal = in_status("partial").do(ASKED["cancelled"])
    assert (refusal.allowed, "close it" in refusal.detail()) == (("received", "closed"), True)


# --- the state --------------------------------------------------------------------------


def test_the_state_survives_being_kept() -> None:
    world = trade().given(create(entry(5), entry(2)), receive(part(1001, 3)))
    world.given(give_back(part(1001, 1)))
    kept = msgspec.json.encode(purchase(world))
    assert msgspec.json.decode(kept, type=registry.state_type("purchase")) == purchase(world)
