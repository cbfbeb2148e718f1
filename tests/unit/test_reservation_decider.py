"""Reservations: claimed, extended, used in parts, released, expired."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain import posting
from ledger.domain.decision import InvalidCommand
from ledger.domain.refusals import ReservationExceeded, ReservationExists, ReservationExpired
from schemas.stock import (
    ExtendReservation,
    IssueReserved,
    IssueStock,
    ReceiveStock,
    ReleaseReservation,
    ReservationReleased,
    ReserveStock,
    StockIssued,
    StockReserved,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}
SOON = NOON + minutes(30)


def d(text: str) -> Decimal:
    return Decimal(text)


def reserved(**options: Any) -> World:
    """10 on hand; 6 of them reserved as "a"."""
    return shop().given(
        ReceiveStock(**HERE, quantity=d("10")),
        ReserveStock(**HERE, quantity=d("6"), reservation_id="a", **options),
    )


def test_a_reservation_without_a_name_gets_a_counted_one():
    """Counted per tenant."""
    world = shop().given(ReceiveStock(**HERE, quantity=d("10")))
    (first,) = world.do(ReserveStock(**HERE, quantity=d("1"), owner="order 7"))
    assert first.event == StockReserved(
        product_id=1, location_id=1, quantity=d("1"), reservation_id="1", owner="order 7"
    )
    (second,) = world.do(ReserveStock(**HERE, quantity=d("1")))
    assert second.event.reservation_id == "2"


def test_a_counted_name_steps_aside_for_a_clients_own():
    """A client may call its reservation 1."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("10")),
        ReserveStock(**HERE, quantity=d("1"), reservation_id="1"),
    )
    (second,) = world.do(ReserveStock(**HERE, quantity=d("1")))
    assert second.event.reservation_id not in {"", "1"}


def test_only_what_is_available_can_be_reserved():
    """Claims do not overlap."""
    refused = reserved().do(ReserveStock(**HERE, quantity=d("5"), reservation_id="b"))
    assert types(refused) == ["insufficient_stock"]


def test_the_same_reservation_again_is_already_so_and_another_of_its_name_is_refused():
    """Saying the same twice is no error; saying something else is."""
    world = reserved(expires_at=SOON)
    again = ReserveStock(**HERE, quantity=d("6"), reservation_id="a", expires_at=SOON)
    assert world.do(again) == []
    refused = world.do(ReserveStock(**HERE, quantity=d("5"), reservation_id="a"))
    assert isinstance(refused, ReservationExists)
    assert refused.quantity == 6


def test_goods_are_issued_against_a_reservation_in_parts():
    """What is available to others stays the same throughout."""
    world = reserved()
    (first,) = world.do(IssueReserved(**HERE, reservation_id="a", quantity=d("2")))
    assert first.event == StockIssued(
        product_id=1, location_id=1, quantity=d("2"), reservation_id="a"
    )
    assert world.stock().available_at(NOON) == 4
    over = world.do(IssueReserved(**HERE, reservation_id="a", quantity=d("5")))
    assert isinstance(over, ReservationExceeded)
    assert over.left == 4
    (rest,) = world.do(IssueReserved(**HERE, reservation_id="a"))
    assert rest.event.quantity == 4
    assert world.stock().holds == {}
    gone = world.do(IssueReserved(**HERE, reservation_id="a"))
    assert types(gone) == ["reservation_not_found"]


def test_a_reservation_is_released_in_parts_and_releasing_what_is_gone_is_no_error():
    """Nothing to do, already so."""
    world = reserved().given(ReleaseReservation(**HERE, reservation_id="a", quantity=d("2")))
    assert world.stock().available_at(NOON) == 6
    over = world.do(ReleaseReservation(**HERE, reservation_id="a", quantity=d("5")))
    assert types(over) == ["reservation_exceeded"]
    world.given(ReleaseReservation(**HERE, reservation_id="a"))
    assert world.do(ReleaseReservation(**HERE, reservation_id="a")) == []
    assert world.do(ReleaseReservation(**HERE, reservation_id="never")) == []


def test_an_expired_hold_frees_its_goods_when_somebody_needs_them():
    """By the command's time, with no sweeper; its end is dated when it expired."""
    world = reserved(expires_at=SOON)
    assert types(world.do(IssueStock(**HERE, quantity=d("10")))) == ["insufficient_stock"]
    world.now = SOON
    assert world.stock().available_at(world.now) == 10
    outcome = world.do(IssueStock(**HERE, quantity=d("10")))
    assert types(outcome) == ["ReservationReleased", "StockIssued"]
    assert outcome[0].event == ReservationReleased(
        product_id=1, location_id=1, reservation_id="a", quantity=d("6"), cause="expired"
    )
    assert outcome[0].effective_at == SOON


def test_an_expired_hold_can_be_neither_used_nor_extended():
    """The way out is to reserve again."""
    world = reserved(expires_at=SOON)
    world.now = SOON
    for command in (
        IssueReserved(**HERE, reservation_id="a"),
        ExtendReservation(**HERE, reservation_id="a", expires_at=None),
    ):
        refused = world.do(command)
        assert isinstance(refused, ReservationExpired)
        assert refused.extensions()["expires_at"] == SOON.isoformat()
    assert types(world.do(ReserveStock(**HERE, quantity=d("6"), reservation_id="a"))) == [
        "ReservationReleased",
        "StockReserved",
    ]


def test_releasing_an_expired_hold_records_that_it_had_expired():
    """Whoever asks, it ended by itself."""
    world = reserved(expires_at=SOON)
    world.now = SOON
    (released,) = world.do(ReleaseReservation(**HERE, reservation_id="a", quantity=d("1")))
    assert (released.event.cause, released.event.quantity) == ("expired", 6)


def test_extending_moves_the_expiry_either_way_or_takes_it_off():
    """Later, sooner, never; the same again is nothing to do."""
    world = reserved(expires_at=SOON)
    for expires_at in (SOON + minutes(60), NOON + minutes(5), None):
        extend = ExtendReservation(**HERE, reservation_id="a", expires_at=expires_at)
        assert types(world.do(extend)) == ["ReservationExtended"]
        assert world.do(extend) == []
        assert world.stock().holds["a"].expires_at == expires_at
    world.now += minutes(600)
    assert types(world.do(IssueReserved(**HERE, reservation_id="a"))) == ["StockIssued"]


@pytest.mark.parametrize("expires_at", [NOON, NOON.replace(year=3000), NOON.replace(year=9999)])
def test_an_expiry_that_cannot_be_is_refused(expires_at: Any):
    """Past, or so far off that no expiry was meant."""
    world = shop().given(ReceiveStock(**HERE, quantity=d("10")))
    refused = world.do(ReserveStock(**HERE, quantity=d("1"), expires_at=expires_at))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "expires_at"


def test_nothing_is_done_with_a_reservation_before_it_was_made():
    """It claims nothing before its own effective time."""
    world = reserved()
    world.now += minutes(10)
    early = NOON - minutes(1)
    for command in (
        IssueReserved(**HERE, reservation_id="a", effective_at=early),
        ReleaseReservation(**HERE, reservation_id="a", effective_at=early),
    ):
        refused = world.do(command)
        assert isinstance(refused, InvalidCommand)
        assert refused.field == "effective_at"


def test_expiries_are_kept_in_order_without_those_that_are_gone():
    """What expires first is found without a look at all holds."""
    world = reserved(expires_at=SOON).given(
        ReserveStock(**HERE, quantity=d("1"), reservation_id="b", expires_at=SOON + minutes(5)),
        ReserveStock(**HERE, quantity=d("1"), reservation_id="c"),
        ReleaseReservation(**HERE, reservation_id="a"),
    )
    assert world.stock().expiries == (((SOON + minutes(5), "b"),),)


def test_more_expired_holds_than_a_command_may_release_are_dead_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    """The rest is left to later commands; a name that is used again is let go of first."""
    monkeypatch.setattr(posting, "RELEASES_MAX", 2)
    world = shop().given(ReceiveStock(**HERE, quantity=d("5")))
    for number in range(5):
        expires_at = NOON + minutes(number + 1)
        world.given(
            ReserveStock(
                **HERE, quantity=d("1"), reservation_id=f"r{number}", expires_at=expires_at
            )
        )
    world.now += minutes(10)
    assert world.stock().available_at(world.now) == 5
    outcome = world.do(ReserveStock(**HERE, quantity=d("3"), reservation_id="r4"))
    assert [r.event.reservation_id for r in outcome] == ["r0", "r1", "r4", "r4"]
    assert world.stock().reserved == 5
    assert world.stock().available_at(world.now) == 2
    assert types(world.do(IssueStock(**HERE, quantity=d("3")))) == ["insufficient_stock"]
    assert types(world.do(IssueStock(**HERE, quantity=d("2")))) == [
        "ReservationReleased",
        "ReservationReleased",
        "StockIssued",
    ]
