"""Transfers at once and in transit, with loss on the way."""

from decimal import Decimal
from typing import Any

from ledger.domain.decision import InvalidCommand
from ledger.domain.movements import Leg, legs
from ledger.domain.refusals import TransferExceeded
from ledger.domain.stock import has_stock
from schemas.location import ReviseLocation
from schemas.stock import ReceiveStock, ReceiveTransfer, ShipTransfer, TransferStock
from tests.support.decisions import NOON, World, minutes, shop, types

ROUTE: dict[str, Any] = {"product_id": 1, "from_location_id": 1, "to_location_id": 2}
THERE: dict[str, Any] = {"product_id": 1, "location_id": 2}


def d(text: str) -> Decimal:
    return Decimal(text)


def stocked() -> World:
    return shop().given(ReceiveStock(product_id=1, location_id=1, quantity=d("10")))


def shipped() -> World:
    return stocked().given(ShipTransfer(**ROUTE, quantity=d("6")))


def test_a_transfer_in_one_step_is_in_both_streams_by_one_number():
    """One commit, two events next to each other, in transit for no time."""
    world = stocked()
    sent, received = world.do(TransferStock(**ROUTE, quantity=d("4")))
    assert (sent.stream, received.stream) == ("stock-1-1", "stock-1-2")
    assert received.position == sent.position + 1
    assert sent.event.transfer_id == received.event.transfer_id == 1
    assert legs(sent.event) == Leg("unrestricted", 1, "in_transit", 2, d("4"))
    assert legs(received.event) == Leg("in_transit", 2, "unrestricted", 2, d("4"))
    assert (world.stock(1, 1).on_hand, world.stock(1, 2).on_hand) == (6, 4)
    assert world.stock(1, 2).in_transit == 0


def test_a_transfer_of_more_than_is_available_is_refused():
    """It never creates stock."""
    assert types(stocked().do(TransferStock(**ROUTE, quantity=d("11")))) == ["insufficient_stock"]


def test_a_transfer_to_where_it_is_from_is_refused():
    """The field is named."""
    refused = stocked().do(
        TransferStock(product_id=1, from_location_id=1, to_location_id=1, quantity=d("1"))
    )
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "to_location_id"


def test_shipped_goods_are_in_transit_at_the_destination():
    """Neither place can issue them."""
    world = shipped()
    assert types(world.log[-2:]) == ["TransferShipped", "TransferExpected"]
    assert (world.stock(1, 1).on_hand, world.stock(1, 2).on_hand) == (4, 0)
    assert world.stock(1, 2).in_transit == 6
    assert has_stock(world.stock(1, 2))


def test_a_shipped_transfer_is_received_in_parts_with_loss():
    """Loss on the way is explicit."""
    world = shipped()
    received = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("3"), lost=d("1")))
    assert types(received) == ["TransferReceived", "TransferLost"]
    assert world.stock(1, 2).in_transit == 2
    over = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("2"), lost=d("1")))
    assert isinstance(over, TransferExceeded)
    assert (over.requested, over.left) == (3, 2)
    world.given(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("2")))
    gone = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("1")))
    assert types(gone) == ["transfer_not_found"]
    assert (world.stock(1, 2).on_hand, world.stock(1, 2).in_transit) == (5, 0)


def test_goods_do_not_arrive_before_they_were_sent():
    """In transit is never below zero at any time."""
    world = shipped()
    world.now += minutes(30)
    early = NOON - minutes(1)
    refused = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("1"), effective_at=early))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "effective_at"


def test_goods_under_way_arrive_at_a_location_that_was_closed_meanwhile():
    """They would be stuck in transit otherwise."""
    world = shipped().given(
        ReviseLocation(location_id=2, name="L2", code="L2", is_active=False),
        ReceiveTransfer(**THERE, transfer_id=1, quantity=d("6")),
    )
    assert world.stock(1, 2).on_hand == 6
    refused = world.do(ShipTransfer(**ROUTE, quantity=d("1")))
    assert types(refused) == ["location_inactive"]
