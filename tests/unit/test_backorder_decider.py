"""Reserving what waits: where it is looked for, of orders at one location and of split ones."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ledger.domain import order_cancelling
from ledger.domain.decision import Refusal
from schemas.location import OpenLocation, ReviseLocation
from schemas.order import AllocateBackorder, CancelOrderLines, OrderLineEntry, PlaceOrder
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from tests.support.decisions import NOON, World, shop, types


def d(number: int) -> Decimal:
    return Decimal(number)


def receive(quantity: int, location_id: int, product_id: int = 1, **more: Any) -> ReceiveStock:
    return ReceiveStock(
        product_id=product_id, location_id=location_id, quantity=d(quantity), **more
    )


def place(*quantities: int, **more: Any) -> PlaceOrder:
    lines = tuple(
        OrderLineEntry(product_id=product_id, quantity=d(quantity))
        for product_id, quantity in enumerate(quantities, start=1)
    )
    return PlaceOrder(lines=lines, **more)


def waiting(*quantities: int, locations: int = 2, **more: Any) -> World:
    """An order of which all is open, and nothing in stock."""
    world = shop(locations=locations, product={"backorders": True})
    for number in range(2, len(quantities) + 1):
        fields: dict[str, Any] = {"name": "P", "sku": f"P{number}", "base_price": d(1)}
        world.given(RegisterProduct(**fields, backorders=True))
    return world.given(place(*quantities, **more))


def allocated(outcome: Any) -> list[tuple[int, int, int]]:
    """Return the lines, counted from 1, with place and quantity."""
    assert not isinstance(outcome, Refusal), outcome.detail()
    assert outcome[0].event.TYPE == "BackorderAllocated"
    return [
        (line.order_item_id % 1000, line.location_id, int(line.quantity))
        for line in outcome[0].event.lines
    ]


def test_a_split_order_is_served_from_a_location_that_was_opened_since() -> None:
    world = waiting(5, allocation="split")
    world.given(OpenLocation(name="New", code="NEW"), receive(4, 3))
    outcome = world.do(AllocateBackorder(order_id=1))
    assert types(outcome) == ["BackorderAllocated", "StockReserved"]
    assert allocated(outcome) == [(1, 3, 4)]
    assert world.stock(1, 3).reserved == 4
    assert world.states["order-1"].line(1001).open == 1
    # What was claimed where the order had not been looked for is given up like any other.
    world.given(CancelOrderLines(order_id=1))
    assert world.stock(1, 3).reserved == 0


def test_it_is_the_rule_of_placing_default_first_and_then_where_most_is() -> None:
    world = waiting(9, locations=4, allocation="split")
    world.given(receive(2, 2), receive(5, 3), receive(3, 4), receive(1, 1))
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [
        (1, 1, 1), (1, 3, 5), (1, 4, 3)
    ]  # fmt: skip


def test_what_was_closed_since_is_passed_over_and_what_opened_again_is_not() -> None:
    world = waiting(9, locations=3, allocation="split")
    world.given(receive(4, 2), receive(4, 3))
    closed = ReviseLocation(location_id=2, name="L2", code="L2", is_active=False)
    world.given(closed)
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 3, 4)]
    world.given(msgspec.structs.replace(closed, is_active=True))
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 2, 4)]


def test_lines_are_served_in_their_order_each_from_what_those_before_it_leave() -> None:
    world = shop(locations=2, product={"backorders": True})
    lines = tuple(OrderLineEntry(product_id=1, quantity=d(3)) for _ in range(2))
    world.given(PlaceOrder(lines=lines, allocation="split"), receive(2, 1), receive(3, 2))
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [
        (1, 1, 2), (1, 2, 1), (2, 2, 2)
    ]  # fmt: skip


def test_only_lines_of_which_something_is_open_are_looked_for() -> None:
    world = shop(locations=2, product={"backorders": True})
    fields: dict[str, Any] = {"name": "P", "sku": "P2", "base_price": d(1)}
    world.given(RegisterProduct(**fields), receive(5, 2, 2), place(1, 5, allocation="split"))
    world.given(receive(1, 2))
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 2, 1)]
    assert types(world.do(AllocateBackorder(order_id=1))) == []


@pytest.mark.parametrize("rule", ["default", "most_stock"])
def test_an_order_at_one_location_waits_for_that_one(rule: Any) -> None:
    world = waiting(2, allocation=rule)
    world.given(receive(9, 2))
    assert types(world.do(AllocateBackorder(order_id=1))) == []
    world.given(receive(1, 1))
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 1, 1)]


def test_in_the_past_it_is_what_has_been_available_ever_since() -> None:
    """Also at a location that was opened since, whose past is looked up as well."""
    world = waiting(9, allocation="split", effective_at=NOON - timedelta(days=9))
    world.given(OpenLocation(name="New", code="NEW"))
    for days, quantity in ((5, 3), (1, 4)):
        world.given(receive(quantity, 3, effective_at=NOON - timedelta(days=days)))
    late = AllocateBackorder(order_id=1, effective_at=NOON - timedelta(days=4))
    assert allocated(world.do(late)) == [(1, 3, 3)]
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 3, 4)]


def test_with_too_many_locations_it_is_where_it_was_looked_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = waiting(5, allocation="split")
    world.given(OpenLocation(name="New", code="NEW"), receive(4, 3), receive(1, 2))
    monkeypatch.setattr(order_cancelling, "PLACES_MAX", 2)
    assert allocated(world.do(AllocateBackorder(order_id=1))) == [(1, 2, 1)]
