"""Undoing movements by new ones that point at them."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand
from schemas.stock import (
    AdjustStock,
    CountStock,
    IssueReserved,
    IssueStock,
    MovementReversed,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReserveStock,
    ReverseMovement,
    ShipTransfer,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}
THERE: dict[str, Any] = {"product_id": 1, "location_id": 2}
ROUTE: dict[str, Any] = {"product_id": 1, "from_location_id": 1, "to_location_id": 2}
RECEIPT = 4
"""Position of the receipt in `stocked`."""


def d(text: str) -> Decimal:
    return Decimal(text)


def stocked() -> World:
    return shop().given(ReceiveStock(**HERE, quantity=d("10")))


def test_a_reversal_points_at_its_movement_and_goes_the_other_way():
    """Never an edit."""
    world = stocked().given(IssueStock(**HERE, quantity=d("3")))
    (reversal,) = world.do(ReverseMovement(position=5, reason="wrong order"))
    assert reversal.event == MovementReversed(
        product_id=1,
        location_id=1,
        reason="wrong order",
        reversed_position=5,
        reversed_type="StockIssued",
        quantity=d("3"),
        from_account="customer",
        from_location_id=1,
        to_account="unrestricted",
        to_location_id=1,
    )
    assert world.stock().on_hand == 10


@pytest.mark.parametrize("amount", ["3", "-3"])
def test_an_adjustment_is_undone_whatever_its_sign(amount: str):
    """The legs carry the sign."""
    world = stocked().given(AdjustStock(**HERE, quantity=d(amount)), ReverseMovement(position=5))
    assert world.stock().on_hand == 10


def test_goods_that_have_gone_out_since_cannot_be_unreceived():
    """I6 holds for reversals, too."""
    world = stocked().given(IssueStock(**HERE, quantity=d("3")))
    assert types(world.do(ReverseMovement(position=RECEIPT))) == ["insufficient_stock"]


def test_what_is_reversed_is_reversed_once_and_a_reversal_is_not_reversible():
    """Each refusal says which it is."""
    world = stocked().given(ReverseMovement(position=RECEIPT))
    assert types(world.do(ReverseMovement(position=RECEIPT))) == ["already_reversed"]
    assert types(world.do(ReverseMovement(position=5))) == ["not_reversible"]


def test_what_moves_nothing_is_no_movement():
    """Reservations and catalogue events."""
    world = stocked().given(ReserveStock(**HERE, quantity=d("3")))
    assert types(world.do(ReverseMovement(position=5))) == ["not_a_movement"]
    assert types(world.do(ReverseMovement(position=1))) == ["not_a_movement"]
    assert types(world.do(ReverseMovement(position=77))) == ["movement_not_found"]


def test_reversing_an_issue_against_a_reservation_brings_back_the_goods_not_the_claim():
    """They are available again."""
    world = stocked().given(
        ReserveStock(**HERE, quantity=d("3"), reservation_id="a"),
        IssueReserved(**HERE, reservation_id="a"),
        ReverseMovement(position=6),
    )
    assert world.stock().available_at(NOON) == 10


@pytest.mark.parametrize("end", [0, 1])
def test_a_transfer_in_one_step_is_undone_whole_whichever_end_is_named(end: int):
    """Both reversals, next to each other."""
    world = stocked().given(TransferStock(**ROUTE, quantity=d("4")))
    back = world.do(ReverseMovement(position=5 + end))
    assert [(r.stream, r.event.reversed_position) for r in back] == [
        ("stock-1-2", 6),
        ("stock-1-1", 5),
    ]
    assert (world.stock(1, 1).on_hand, world.stock(1, 2).on_hand) == (10, 0)
    for position in (5, 6):
        assert types(world.do(ReverseMovement(position=position))) == ["already_reversed"]


def test_a_transfer_whose_goods_have_gone_on_cannot_be_undone():
    """Neither half happens."""
    world = stocked().given(
        TransferStock(**ROUTE, quantity=d("4")), IssueStock(**THERE, quantity=d("1"))
    )
    assert types(world.do(ReverseMovement(position=5))) == ["insufficient_stock"]
    assert world.stock(1, 1).on_hand == 6


def test_goods_come_back_from_transit_while_all_of_them_are_there():
    """Partly received, the receipt has to be undone first."""
    world = stocked().given(
        ShipTransfer(**ROUTE, quantity=d("4")),
        ReceiveTransfer(**THERE, transfer_id=1, quantity=d("1"), lost=d("1")),
    )
    assert types(world.do(ReverseMovement(position=5))) == ["not_reversible"]
    assert types(world.do(ReverseMovement(position=7))) == ["MovementReversed", "TransferExpected"]
    assert world.stock(1, 2).in_transit == 3
    world.given(ReverseMovement(position=8), ReverseMovement(position=5))
    assert (world.stock(1, 1).on_hand, world.stock(1, 2).in_transit) == (10, 0)
    gone = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("1")))
    assert types(gone) == ["transfer_not_found"]


def test_a_receipt_that_was_undone_can_be_made_again():
    """What came back to transit remembers where it is from."""
    world = stocked().given(
        ShipTransfer(**ROUTE, quantity=d("4")),
        ReceiveTransfer(**THERE, transfer_id=1, quantity=d("4")),
        ReverseMovement(position=7),
    )
    (again,) = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d("4")))
    assert again.event.from_location_id == 1


def test_both_moves_of_quarantine_are_undone():
    """Into it, and out of it to loss."""
    world = stocked().given(
        QuarantineStock(**HERE, quantity=d("4")),
        ReleaseQuarantine(**HERE, quantity=d("3"), disposition="scrap"),
        ReverseMovement(position=6),
        ReverseMovement(position=5),
    )
    assert (world.stock().unrestricted, world.stock().quarantine) == (10, 0)


def test_a_reversal_is_never_effective_before_its_movement():
    """The field is named."""
    refused = stocked().do(ReverseMovement(position=RECEIPT, effective_at=NOON - minutes(1)))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "effective_at"


def test_goods_that_come_back_after_a_count_are_on_hand_on_top_of_it():
    """As of now, a reversal is a movement of now."""
    world = stocked().given(IssueStock(**HERE, quantity=d("3")))
    world.now += minutes(30)
    world.given(CountStock(**HERE, quantity=d("7")), ReverseMovement(position=5))
    assert world.stock().on_hand == 10


def test_an_entry_that_never_was_is_taken_out_at_its_own_time_and_counts_absorb_it():
    """What was counted was there all the same."""
    world = stocked().given(IssueStock(**HERE, quantity=d("3")))
    world.now += minutes(30)
    world.given(CountStock(**HERE, quantity=d("7")))
    assert types(world.do(ReverseMovement(position=5, effective_at=NOON))) == [
        "MovementReversed",
        "CountVarianceRevised",
    ]
    assert world.stock().on_hand == 7


def test_a_revision_is_not_reversible_by_itself():
    """It belongs to the count and to the late movement."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("10"), effective_at=NOON - minutes(60)),
        CountStock(**HERE, quantity=d("9")),
        IssueStock(**HERE, quantity=d("1"), effective_at=NOON - minutes(30)),
    )
    assert types(world.log[-2:]) == ["CountVarianceRevised", "StockIssued"]
    assert types(world.do(ReverseMovement(position=6))) == ["not_reversible"]
