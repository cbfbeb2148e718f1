"""What is decided about sales orders: prices, reservations, statuses, and every line's figures."""

import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec

from ledger.domain import registry
from ledger.domain.decision import Refusal
from ledger.domain.order import OrderState
from ledger.domain.order_transitions import REOPENED, TRANSITIONS
from ledger.domain.refusals_orders import IllegalTransition, InsufficientForLine
from schemas.customer import DefinePriceTier, RegisterCustomer, TierPrice
from schemas.location import OpenLocation
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    ChangeOrderStatus,
    Claim,
    FulfilOrder,
    MovedLine,
    OrderFulfilled,
    OrderLineEntry,
    OrderLineQuantity,
    OrderPlaced,
    OrderStatus,
    PlaceOrder,
    ReturnOrder,
)
from schemas.product import AlternativeUnit, RegisterProduct, ReviseProduct
from schemas.stock import LotEntry, ReceiveStock, ReserveStock, StockIssued, StockReceived
from tests.support.decisions import NOON, World, minutes, shop, types


def entry(quantity: object, product_id: int = 1, **more: Any) -> OrderLineEntry:
    return OrderLineEntry(product_id=product_id, quantity=Decimal(str(quantity)), **more)


def place(*lines: OrderLineEntry, **more: Any) -> PlaceOrder:
    return PlaceOrder(lines=lines, **more)


def receive(quantity: object, location_id: int = 1, product_id: int = 1, **more: Any) -> Any:
    return ReceiveStock(
        product_id=product_id, location_id=location_id, quantity=Decimal(str(quantity)), **more
    )


def part(order_item_id: int, quantity: object) -> OrderLineQuantity:
    return OrderLineQuantity(order_item_id=order_item_id, quantity=Decimal(str(quantity)))


def stocked(*quantities: int, **product: Any) -> World:
    world = shop(locations=len(quantities) or 1, product=product)
    for location_id, quantity in enumerate(quantities, 1):
        if quantity:
            world.given(receive(quantity, location_id))
    return world


def order(world: World, order_id: int = 1) -> OrderState:
    return world.states[f"order-{order_id}"]


def stands(world: World, order_item_id: int = 1001) -> tuple[int, ...]:
    """ordered, open, reserved, fulfilled, cancelled, returned"""
    line = order(world, order_item_id // 1000).line(order_item_id)
    assert line is not None
    figures = (line.ordered, line.open, line.reserved, line.fulfilled, line.cancelled)
    return tuple(int(figure) for figure in (*figures, line.returned))


def placed(outcome: Any) -> OrderPlaced:
    assert not isinstance(outcome, Refusal), outcome.detail()
    event = outcome[0].event
    assert isinstance(event, OrderPlaced)
    return event


# --- placing ----------------------------------------------------------------------------


def test_an_order_is_numbered_priced_and_reserved() -> None:
    world = stocked(5)
    outcome = world.do(place(entry(3, unit_price=Decimal("49.99"))))
    assert types(outcome) == ["OrderPlaced", "StockReserved"]
    event = placed(outcome)
    assert (event.order_id, event.order_number) == (1, "ORD-1")
    assert event.total_amount == Decimal("149.97")
    (line,) = event.lines
    assert (line.id, line.quantity, line.price_source) == (1001, 3, "given")
    assert line.claims == (Claim(location_id=1, quantity=Decimal(3)),)
    hold = world.stock().holds["order:1001"]
    assert (hold.quantity, hold.owner) == (3, "order ORD-1")
    assert stands(world) == (3, 0, 3, 0, 0, 0)
    assert placed(world.do(place(entry(1)))).order_number == "ORD-2"


def test_two_lines_of_one_product_share_what_is_available() -> None:
    world = stocked(5)
    refusal = world.do(place(entry(3), entry(3)))
    assert isinstance(refusal, InsufficientForLine)
    assert (refusal.line, refusal.requested, refusal.available) == (1, 3, 2)
    assert refusal.extensions()["considered"] == [
        {"product_id": 1, "location_id": 1, "available": "5"}
    ]
    assert not world.stock().holds, "nothing of a refused order is reserved"
    event = placed(world.do(place(entry(3), entry(2))))
    assert [line.id for line in event.lines] == [1001, 1002]
    assert world.stock().reserved == 5


def test_what_is_not_available_waits_where_the_product_takes_backorders() -> None:
    world = stocked(2, backorders=True)
    event = placed(world.do(place(entry(5), entry(1))))
    assert [line.backordered for line in event.lines] == [3, 1]
    assert stands(world) == (5, 3, 2, 0, 0, 0)
    assert stands(world, 1002) == (1, 1, 0, 0, 0, 0)
    assert types(world.do(AllocateBackorder(order_id=1))) == []
    world.given(receive(3))
    outcome = world.do(AllocateBackorder(order_id=1))
    assert types(outcome) == ["BackorderAllocated", "ReservationReleased", "StockReserved"]
    assert stands(world) == (5, 0, 5, 0, 0, 0)
    assert world.stock().holds["order:1001"].quantity == 5
    world.given(receive(4))
    assert types(world.do(AllocateBackorder(order_id=1))) == ["BackorderAllocated", "StockReserved"]
    assert stands(world, 1002) == (1, 0, 1, 0, 0, 0)


def test_a_line_in_another_unit_is_priced_by_the_products_own() -> None:
    world = stocked(30, alternative_units=(AlternativeUnit(unit="box", numerator=12),))
    price = Decimal("30.00")
    (line,) = placed(world.do(place(entry(2, unit="box", unit_price=price)))).lines
    assert (line.quantity, line.unit_price) == (24, Decimal("2.5"))
    assert (line.unit, line.entered_quantity) == ("box", 2)
    refusal = world.do(place(entry("0.5", unit="box", unit_price=Decimal("0.01"))))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[0].unit_price")
    refusal = world.do(place(entry(1), entry("0.3", unit="box")))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[1].quantity")


def test_prices_are_given_then_the_tiers_then_the_lists() -> None:
    world = stocked(100)
    tier = DefinePriceTier(
        name="B2B",
        discount_percent=Decimal("33.3"),
        prices=(
            TierPrice(product_id=1, unit_price=Decimal("2.10"), min_quantity=Decimal(10)),
            TierPrice(product_id=1, unit_price=Decimal("1.90"), min_quantity=Decimal(20)),
        ),
    )
    world.given(tier, RegisterCustomer(name="Acme", price_tier_id=1), RegisterCustomer(name="Bo"))

    def priced(quantity: int, customer_id: int | None, **more: Any) -> tuple[Decimal, str]:
        order_placed = world.do(place(entry(quantity, **more), customer_id=customer_id))
        (line,) = placed(order_placed).lines
        return line.unit_price, line.price_source

    assert priced(1, 1, unit_price=Decimal(0)) == (0, "given")
    assert priced(20, 1) == (Decimal("1.90"), "tier")
    assert priced(19, 1) == (Decimal("2.10"), "tier")
    assert priced(9, 1) == (Decimal("1.6675"), "tier")
    assert priced(1, 2) == (Decimal("2.50"), "list")
    assert priced(1, None) == (Decimal("2.50"), "list")


def test_a_discount_is_rounded_to_six_digits_half_to_even() -> None:
    world = stocked(9, base_price=Decimal("0.000001"))
    world.given(
        DefinePriceTier(name="Half", discount_percent=Decimal(50)),
        RegisterCustomer(name="Acme", price_tier_id=1),
    )
    (line,) = placed(world.do(place(entry(1), customer_id=1))).lines
    assert line.unit_price == 0


def test_the_total_is_exact_and_bounded() -> None:
    limit = Decimal("999999.999999")
    world = stocked(0, backorders=True)
    event = placed(world.do(place(entry(999999, unit_price=limit))))
    assert event.total_amount == Decimal("999998999999.000001")
    refusal = world.do(place(entry(999999, unit_price=limit), entry(2, unit_price=limit)))
    assert refusal.CODE == "order_total_out_of_bounds"
    assert refusal.extensions() == {"total_amount": "1000000999998.999999"}


def test_an_order_is_refused_for_whom_and_what_there_is_not() -> None:
    world = stocked(5)
    assert world.do(place(entry(1), customer_id=7)).CODE == "customer_not_found"
    assert world.do(place(entry(1, product_id=7))).CODE == "product_not_found"
    unknown = place(OrderLineEntry(sku="NOPE", quantity=Decimal(1)))
    assert world.do(unknown).CODE == "product_not_found"
    assert world.do(place(entry(1), location_id=7)).CODE == "location_not_found"
    assert world.do(place(entry(1), location="NOPE")).CODE == "location_not_found"
    both = place(entry(1), location_id=1, allocation="split")
    assert world.do(both).field == "allocation"
    assert world.do(place(entry(1), location_id=1, location="L1")).field == "location"
    revised = ReviseProduct(
        product_id=1, name="Tea", sku="TEA", base_price=Decimal(1), is_active=False
    )
    world.given(revised)
    assert world.do(place(entry(1))).CODE == "product_inactive"
    assert world.do(FulfilOrder(order_id=1)).CODE == "order_not_found"


def test_without_any_location_an_order_says_so() -> None:
    world = shop(locations=0)
    assert world.do(place(entry(1))).field == "location_id"
    assert world.do(place(entry(1), allocation="split")).field == "location_id"


# --- where stock is reserved ------------------------------------------------------------


def claims_of(event: OrderPlaced) -> list[list[tuple[int, int]]]:
    return [
        [(claim.location_id, int(claim.quantity)) for claim in line.claims] for line in event.lines
    ]


def test_stock_is_reserved_at_the_named_or_the_default_location() -> None:
    world = stocked(1, 9)
    event = placed(world.do(place(entry(4), location="l2")))
    assert (event.allocation, event.location_id) == ("named", 2)
    assert claims_of(event) == [[(2, 4)]]
    assert world.do(place(entry(4))).CODE == "insufficient_stock"
    assert placed(world.do(place(entry(1)))).allocation == "default"


def test_most_stock_takes_the_location_that_serves_most_lines_whole() -> None:
    world = stocked(5, 4, 4)
    world.given(RegisterProduct(name="Mug", sku="MUG", base_price=Decimal(9)))
    world.given(receive(2, 2, product_id=2), receive(3, 3, product_id=2))
    event = placed(world.do(place(entry(4), entry(3, 2), allocation="most_stock")))
    assert (event.location_id, claims_of(event)) == (3, [[(3, 4)], [(3, 3)]])
    assert {(c.product_id, c.location_id, int(c.available)) for c in event.considered} == {
        *((1, 1, 5), (1, 2, 4), (1, 3, 4), (2, 1, 0), (2, 2, 2), (2, 3, 3)),
    }
    event = placed(world.do(place(entry(1), allocation="most_stock")))
    assert event.location_id == 1, "where all serve it whole, the default one does"


def test_split_takes_the_default_location_first_then_where_most_is() -> None:
    world = stocked(2, 3, 6)
    event = placed(world.do(place(entry(9), entry(2), allocation="split")))
    assert event.location_id is None
    assert claims_of(event) == [[(1, 2), (3, 6), (2, 1)], [(2, 2)]]
    assert world.do(place(entry(1), allocation="split")).available == 0
    done = world.do(FulfilOrder(order_id=1, lines=(part(1001, 7),)))
    assert [(line.location_id, int(line.quantity)) for line in done[0].event.lines] == [
        (1, 2),
        (3, 5),
    ]


def test_a_location_may_be_reserved_down_to_its_limit() -> None:
    world = shop(locations=1, stock_limit="-3")
    world.given(receive(2))
    assert world.do(place(entry(6))).available == 5
    event = placed(world.do(place(entry(5))))
    assert event.considered[0].available == 2
    assert world.stock().available_at(world.now) == -3


def test_an_order_of_the_past_reserves_what_nothing_later_needs() -> None:
    world = World(NOON)
    world.given(RegisterProduct(name="Tea", sku="TEA", base_price=Decimal(1), backorders=True))
    world.given(OpenLocation(name="L1", code="L1"))
    past = NOON - timedelta(days=3000)
    world.given(receive(9, effective_at=past), receive(9, effective_at=past + minutes(20)))
    world.given(
        place(entry(7), effective_at=past + minutes(10)),
    )
    event = placed(world.do(place(entry(5), effective_at=past + minutes(5))))
    assert (event.considered[0].available, event.lines[0].backordered) == (2, 3)
    assert order(world, 2).placed_at == past + minutes(5)


def test_what_had_not_expired_then_is_not_available_to_an_order_of_then() -> None:
    """Nor to the second line of that order, which comes after the release of what expired."""
    world = stocked(5)
    world.given(
        ReserveStock(
            product_id=1, location_id=1, quantity=Decimal(2), expires_at=world.now + minutes(60)
        )
    )
    then = world.now + minutes(30)
    world.now += minutes(90)
    refusal = world.do(place(entry(2), entry(2), effective_at=then))
    assert (refusal.line, refusal.available) == (1, 1)
    assert types(world.do(place(entry(2), entry(1), effective_at=then))) == [
        "OrderPlaced",
        "ReservationReleased",
        "StockReserved",
        "StockReserved",
    ]
    assert placed(world.do(place(entry(2)))), "now it has expired"


# --- statuses ---------------------------------------------------------------------------


def become(world: World, status: Any, order_id: int = 1) -> Any:
    return world.do(ChangeOrderStatus(order_id=order_id, status=status))


def test_statuses_lead_to_each_other_as_the_table_says() -> None:
    """Every status against every other, each reached on the shortest way."""
    ways: dict[str, tuple[str, ...]] = {
        "pending": (),
        "paid": ("paid",),
        "fulfilling": ("fulfilling",),
        "fulfilled": ("fulfilled",),
        "shipped": ("fulfilled", "shipped"),
        "cancelled": ("cancelled",),
    }
    for status, way in ways.items():
        for asked in ways:
            world = stocked(5)
            world.given(place(entry(1)))
            for step in way:
                assert types(become(world, step)), (status, step)
            outcome = become(world, asked)
            legal = TRANSITIONS[cast("OrderStatus", status)]
            if asked == status:
                assert outcome == [], "the status it has already"
            elif asked in legal:
                assert order(world).status == asked, (status, asked)
            else:
                assert isinstance(outcome, IllegalTransition), (status, asked)
                assert outcome.allowed == legal
                assert outcome.extensions()["allowed"] == legal
                assert order(world).status == status


def test_becoming_fulfilled_issues_all_and_becoming_cancelled_releases_all() -> None:
    world = stocked(5)
    world.given(place(entry(3)), place(entry(2)))
    assert types(become(world, "fulfilled")) == ["OrderFulfilled", "StockIssued"]
    assert types(become(world, "cancelled", 2)) == ["OrderCancelled", "ReservationReleased"]
    assert (world.stock().on_hand, world.stock().reserved) == (2, 0)
    assert stands(world, 2001) == (2, 0, 0, 0, 2, 0)


def test_an_order_with_open_lines_cannot_be_fulfilled_whole() -> None:
    world = stocked(2, backorders=True)
    world.given(place(entry(3)))
    refusal = become(world, "fulfilled")
    assert refusal.CODE == "order_has_open_lines"
    assert refusal.extensions()["open_lines"] == [{"order_item_id": 1001, "open": "1"}]
    assert types(world.do(FulfilOrder(order_id=1))) == ["OrderFulfilled", "StockIssued"]
    assert order(world).status == "fulfilling"
    assert world.do(FulfilOrder(order_id=1)).CODE == "nothing_reserved"


def test_once_something_is_fulfilled_only_the_rest_can_be_cancelled() -> None:
    world = stocked(5)
    world.given(place(entry(3)), FulfilOrder(order_id=1, lines=(part(1001, 1),)))
    refusal = become(world, "cancelled")
    assert (refusal.CODE, refusal.allowed) == ("illegal_transition", ("fulfilled",))
    outcome = world.do(CancelOrderLines(order_id=1))
    assert types(outcome) == ["OrderLinesCancelled", "ReservationReleased"]
    assert order(world).status == "fulfilled"
    assert stands(world) == (3, 0, 0, 1, 2, 0)


def test_nothing_happens_to_an_order_before_it_was_placed() -> None:
    world = stocked(5)
    world.now += minutes(10)
    world.given(place(entry(1)))
    early = ChangeOrderStatus(order_id=1, status="paid", effective_at=NOON)
    assert world.do(early).field == "effective_at"
    ahead = ChangeOrderStatus(order_id=1, status="paid", effective_at=world.now + minutes(6))
    assert world.do(ahead).field == "effective_at"
    ahead = ChangeOrderStatus(order_id=1, status="paid", effective_at=world.now + minutes(4))
    assert world.do(ahead)[0].effective_at == world.now


# --- fulfilling -------------------------------------------------------------------------


def test_a_fulfilment_issues_at_the_orders_price_with_its_reference() -> None:
    world = stocked(5)
    world.given(place(entry(3, unit_price=Decimal("4.50"))))
    outcome = world.do(FulfilOrder(order_id=1, lines=(part(1001, 2),)))
    assert types(outcome) == ["OrderFulfilled", "StockIssued"]
    fulfilled, issued = (recorded.event for recorded in outcome)
    assert isinstance(fulfilled, OrderFulfilled)
    assert not fulfilled.complete
    assert isinstance(issued, StockIssued)
    assert (issued.unit_price, issued.reference) == (Decimal("4.50"), "ORD-1/1")
    assert issued.reservation_id == "order:1001"
    last = world.do(FulfilOrder(order_id=1, lines=(part(1001, 1),)))
    assert last[0].event.complete
    assert last[1].event.reference == "ORD-1/2"
    assert order(world).status == "fulfilled"
    assert world.do(FulfilOrder(order_id=1)).CODE == "illegal_transition"


def test_more_than_is_reserved_is_not_fulfilled() -> None:
    world = stocked(4, backorders=True)
    world.given(place(entry(5)), FulfilOrder(order_id=1, lines=(part(1001, 1),)))
    refusal = world.do(FulfilOrder(order_id=1, lines=(part(1001, 2), part(1001, 2))))
    assert refusal.CODE == "order_line_not_reserved"
    assert refusal.extensions() == {
        "order_id": 1,
        "order_item_id": 1001,
        "sku": "TEA",
        "requested": "2",
        "ordered": "5",
        "open": "1",
        "reserved": "3",
        "fulfilled": "1",
        "cancelled": "0",
        "returned": "0",
    }
    assert world.do(FulfilOrder(order_id=1, lines=(part(1009, 1),))).CODE == "order_line_not_found"
    assert world.do(FulfilOrder(order_id=1, lines=(part(2001, 1),))).CODE == "order_line_not_found"
    refusal = world.do(FulfilOrder(order_id=1, lines=(part(1001, 1), part(1001, "0.5"))))
    assert refusal.field == "lines[1].quantity"


def test_a_cancelled_fulfilment_brings_goods_and_reservation_back() -> None:
    world = stocked(5)
    world.given(place(entry(3, unit_price=Decimal("4.50")), entry(1)))
    world.given(FulfilOrder(order_id=1, lines=(part(1001, 2), part(1002, 1))))
    outcome = world.do(CancelFulfilment(order_id=1, fulfilment=1))
    assert types(outcome) == [
        "FulfilmentCancelled",
        *("StockReceived", "ReservationReleased", "StockReserved"),
        *("StockReceived", "StockReserved"),
    ]
    received = outcome[1].event
    assert isinstance(received, StockReceived)
    assert (received.source, received.returns) == ("customer", "ORD-1/1")
    assert (received.unit_price, received.reason) == (Decimal("4.50"), "fulfilment cancelled")
    assert (world.stock().on_hand, world.stock().reserved) == (5, 4)
    assert stands(world) == (3, 0, 3, 0, 0, 0)
    assert world.do(CancelFulfilment(order_id=1, fulfilment=1)) == [], "it is so already"
    missing = world.do(CancelFulfilment(order_id=1, fulfilment=2))
    assert missing.CODE == "fulfilment_not_found"
    assert types(become(world, "cancelled")) == [
        "OrderCancelled",
        "ReservationReleased",
        "ReservationReleased",
    ]


def test_a_fulfilled_order_is_fulfilling_again_and_a_shipped_one_is_not() -> None:
    world = stocked(5)
    world.given(place(entry(3)), FulfilOrder(order_id=1))
    assert order(world).status == "fulfilled"
    world.given(CancelFulfilment(order_id=1, fulfilment=1))
    assert order(world).status == "fulfilling"
    world.given(FulfilOrder(order_id=1))
    become(world, "shipped")
    refusal = world.do(CancelFulfilment(order_id=1, fulfilment=2))
    assert (refusal.CODE, refusal.allowed) == ("illegal_transition", ())


def test_goods_cannot_come_back_before_they_went() -> None:
    world = stocked(5)
    world.given(place(entry(3)))
    world.now += minutes(60)
    world.given(FulfilOrder(order_id=1))
    early = world.now - minutes(30)
    cancelled = CancelFulfilment(order_id=1, fulfilment=1, effective_at=early)
    assert world.do(cancelled).field == "effective_at"
    returned = ReturnOrder(order_id=1, lines=(part(1001, 1),), effective_at=early)
    assert world.do(returned).field == "effective_at"


# --- cancelling lines -------------------------------------------------------------------


def test_what_is_open_is_cancelled_before_what_is_reserved() -> None:
    world = stocked(2, 3, backorders=True)
    world.given(place(entry(9), allocation="split"))
    assert stands(world) == (9, 4, 5, 0, 0, 0)
    outcome = world.do(CancelOrderLines(order_id=1, lines=(part(1001, 5),), reason="too many"))
    (line,) = outcome[0].event.lines
    assert (line.open, line.released) == (4, (Claim(location_id=2, quantity=Decimal(1)),))
    assert outcome[1].event.reason == "too many"
    assert stands(world) == (9, 0, 4, 0, 5, 0)
    assert order(world).status == "pending"
    refusal = world.do(CancelOrderLines(order_id=1, lines=(part(1001, 2), part(1001, 3))))
    assert (refusal.CODE, refusal.requested) == ("order_line_not_cancellable", 5)
    world.given(CancelOrderLines(order_id=1))
    assert order(world).status == "cancelled"
    assert stands(world) == (9, 0, 0, 0, 9, 0)
    assert world.do(CancelOrderLines(order_id=1)) == []


def test_what_went_out_is_not_cancelled() -> None:
    world = stocked(5)
    world.given(place(entry(2)), FulfilOrder(order_id=1))
    assert world.do(CancelOrderLines(order_id=1)).CODE == "nothing_to_cancel"
    refusal = world.do(CancelOrderLines(order_id=1, lines=(part(1001, 1),)))
    assert (refusal.CODE, refusal.fulfilled) == ("order_line_not_cancellable", 2)


# --- returns ----------------------------------------------------------------------------


def test_a_return_goes_into_quarantine_at_the_price_it_was_sold_for() -> None:
    world = stocked(5)
    world.given(place(entry(3, unit_price=Decimal("4.50"))), FulfilOrder(order_id=1))
    become(world, "shipped")
    outcome = world.do(ReturnOrder(order_id=1, lines=(part(1001, 2),), reason="broken"))
    assert types(outcome) == ["OrderReturned", "StockReceived", "StockQuarantined"]
    received = outcome[1].event
    assert (received.source, received.returns) == ("customer", "ORD-1/1")
    assert (received.unit_price, received.reference) == (Decimal("4.50"), "ORD-1/R1")
    assert (world.stock().quarantine, world.stock().available_at(world.now)) == (2, 2)
    assert stands(world) == (3, 0, 0, 3, 0, 2)
    refusal = world.do(ReturnOrder(order_id=1, lines=(part(1001, 2),)))
    assert (refusal.CODE, refusal.returned) == ("order_line_not_returnable", 2)
    again = ReturnOrder(order_id=1, lines=(part(1001, 1),), disposition="restock", location_id=2)
    world.given(OpenLocation(name="L2", code="L2"))
    outcome = world.do(again)
    assert types(outcome) == ["OrderReturned", "StockReceived"]
    assert outcome[0].event.return_number == 2
    assert world.stock(1, 2).available_at(world.now) == 1


def test_returns_are_of_the_latest_fulfilment_first() -> None:
    world = stocked(9)
    world.given(place(entry(5)))
    for quantity in (2, 3):
        world.given(FulfilOrder(order_id=1, lines=(part(1001, quantity),)))
    outcome = world.do(ReturnOrder(order_id=1, lines=(part(1001, 4),)))
    lines = outcome[0].event.lines
    assert [(line.fulfilment, line.quantity) for line in lines] == [(2, 3), (1, 1)]
    refusal = world.do(CancelFulfilment(order_id=1, fulfilment=1))
    assert (refusal.CODE, refusal.returned) == ("fulfilment_returned", 1)


def test_a_fulfilment_of_which_nothing_came_back_can_still_be_cancelled() -> None:
    world = stocked(9)
    world.given(place(entry(5)))
    for quantity in (2, 3):
        world.given(FulfilOrder(order_id=1, lines=(part(1001, quantity),)))
    world.given(ReturnOrder(order_id=1, lines=(part(1001, 3),)))
    world.given(CancelFulfilment(order_id=1, fulfilment=1))
    assert stands(world) == (5, 0, 2, 3, 0, 3)


def test_a_pending_order_has_nothing_to_return() -> None:
    world = stocked(5)
    world.given(place(entry(1)))
    refusal = world.do(ReturnOrder(order_id=1, lines=(part(1001, 1),)))
    assert refusal.CODE == "order_line_not_returnable"


# --- the state --------------------------------------------------------------------------


def test_the_state_survives_being_kept() -> None:
    world = stocked(4, 4)
    world.given(place(entry(5), entry(2), allocation="split"), FulfilOrder(order_id=1))
    world.given(ReturnOrder(order_id=1, lines=(part(1001, 1),)))
    kept = msgspec.json.encode(order(world))
    assert msgspec.json.decode(kept, type=registry.state_type("order")) == order(world)


# --- lots and serials -------------------------------------------------------------------


def lot(name: str, quantity: int, **more: Any) -> LotEntry:
    return LotEntry(lot=name, quantity=Decimal(quantity), **more)


def lots_of(line: MovedLine) -> list[tuple[int, int]]:
    return [(part.lot_id, int(part.quantity)) for part in line.lots]


def in_lots() -> World:
    """Six of lot L-1, which is to be removed last, and four of L-2, which is first."""
    world = shop(locations=1, product={"tracking_type": "batch"})
    world.given(
        receive(6, lots=(lot("L-1", 6, expiry_date=date(2027, 5, 1)),)),
        receive(4, lots=(lot("L-2", 4, expiry_date=date(2026, 9, 1)),)),
    )
    return world


def test_lots_go_out_by_their_removal_dates_and_come_back_as_they_were() -> None:
    world = in_lots()
    world.given(place(entry(5), entry(2)))
    outcome = world.do(FulfilOrder(order_id=1))
    assert [lots_of(line) for line in outcome[0].event.lines] == [[(2, 4), (1, 1)], [(1, 2)]]
    back = world.do(CancelFulfilment(order_id=1, fulfilment=1))
    received = [each.event for each in back if isinstance(each.event, StockReceived)]
    assert [[(p.lot_id, int(p.quantity)) for p in event.lots] for event in received] == [
        [(2, 4), (1, 1)],
        [(1, 2)],
    ]
    assert stands(world) == (5, 0, 5, 0, 0, 0)


def test_a_client_may_name_the_lots_that_go_out_and_come_back() -> None:
    world = in_lots()
    world.given(place(entry(5)))
    named = OrderLineQuantity(
        order_item_id=1001, quantity=Decimal(5), lots=(lot("l-1", 4), lot("L-2", 1))
    )
    (line,) = world.do(FulfilOrder(order_id=1, lines=(named,)))[0].event.lines
    assert sorted(lots_of(line)) == [(1, 4), (2, 1)]

    def back(quantity: int, *lots: LotEntry) -> Any:
        asked = OrderLineQuantity(order_item_id=1001, quantity=Decimal(quantity), lots=lots)
        return world.do(ReturnOrder(order_id=1, lines=(asked,)))

    assert back(2, lot("L-2", 2)).field == "lines[0].lots"
    assert back(2, lot("L-9", 2)).field == "lines[0].lots"
    assert back(3, lot("L-1", 2)).field == "lines[0].lots"
    assert lots_of(back(2, lot("L-1", 2))[0].event.lines[0]) == [(1, 2)]
    assert sorted(lots_of(back(3)[0].event.lines[0])) == [(1, 2), (2, 1)], "all that is left"


def test_lots_that_add_up_to_more_are_refused_before_anything_moves() -> None:
    world = in_lots()
    world.given(place(entry(5)))
    named = OrderLineQuantity(order_item_id=1001, quantity=Decimal(2), lots=(lot("L-1", 3),))
    assert world.do(FulfilOrder(order_id=1, lines=(named,))).field == "lines[0].lots"
    assert world.stock().on_hand == 10


def test_lots_of_a_product_without_any_are_refused_by_their_line() -> None:
    world = stocked(5)
    world.given(place(entry(3)))
    named = OrderLineQuantity(order_item_id=1001, quantity=Decimal(1), lots=(lot("L-1", 1),))
    refusal = world.do(FulfilOrder(order_id=1, lines=(part(1001, 1), named)))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "lines[1].lots")


def test_serials_go_out_by_number_and_come_back_by_number() -> None:
    world = shop(locations=1, product={"tracking_type": "serial"})
    world.given(receive(4, serials=("S-1", "S-2", "S-3", "S-4")))
    world.given(place(entry(3)))
    named = OrderLineQuantity(order_item_id=1001, quantity=Decimal(2), serials=("s-3", "S-1"))
    (line,) = world.do(FulfilOrder(order_id=1, lines=(named,)))[0].event.lines
    assert sorted(line.serials) == [1, 3]
    world.given(CancelFulfilment(order_id=1, fulfilment=1))
    assert world.states["serial-3"].status == "in_stock"
    outcome = world.do(FulfilOrder(order_id=1))
    assert len(outcome[0].event.lines[0].serials) == 3
    gone = set(outcome[0].event.lines[0].serials)

    def back(quantity: int, *serials: str) -> Any:
        asked = OrderLineQuantity(order_item_id=1001, quantity=Decimal(quantity), serials=serials)
        return world.do(ReturnOrder(order_id=1, lines=(asked,)))

    stayed = ({1, 2, 3, 4} - gone).pop()
    assert back(1, f"S-{stayed}").field == "lines[0].serials"
    assert back(2, f"S-{min(gone)}").field == "lines[0].serials"
    assert back(1, f"S-{min(gone)}")[0].event.lines[0].serials == (min(gone),)
    assert set(back(2)[0].event.lines[0].serials) == gone - {min(gone)}


# --- the documentation ------------------------------------------------------------------


def test_the_page_draws_and_lists_the_transitions_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs/concepts/orders.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^ +([a-z]+) --> ([a-z]+)(:?)", page, re.MULTILINE)
    asked = {(start, end) for start, end, said in drawn if not said}
    assert asked == {(start, end) for start, legal in TRANSITIONS.items() for end in legal}
    assert {(start, end) for start, end, said in drawn if said} == set(REOPENED.items())
    listed = {
        row[0]: tuple(re.findall(r"`([a-z]+)`", row[1]))
        for row in re.findall(r"^\| `([a-z]+)` \| ((?:`[a-z]+`(?:, )?)*) ?\|", page, re.MULTILINE)
        if row[0] in TRANSITIONS
    }
    assert listed == TRANSITIONS
