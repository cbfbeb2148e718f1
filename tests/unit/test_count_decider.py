"""Counts: assertions at a time, which late movements change the variance of and nothing else."""

from decimal import Decimal
from typing import Any

from ledger.domain.decision import RecordedEvent, Refusal
from ledger.domain.refusals import CountBelowClaims, CountBelowQuarantine
from schemas.stock import (
    CountStock,
    CountVarianceRevised,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReleaseQuarantine,
    ReserveStock,
    ReverseMovement,
    StockCounted,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}
MORNING = NOON - minutes(180)


def d(text: str) -> Decimal:
    return Decimal(text)


def counted(found: str = "10") -> World:
    """20 in the morning; counted at noon; an hour has passed since."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("20"), effective_at=MORNING),
        CountStock(**HERE, quantity=d(found)),
    )
    world.now += minutes(60)
    return world


def events(outcome: list[RecordedEvent] | Refusal) -> list[Any]:
    assert not isinstance(outcome, Refusal), outcome.detail()
    return [recorded.event for recorded in outcome]


def test_a_count_records_what_the_books_said_and_the_variance():
    """Counted, expected, and the difference."""
    world = shop().given(ReceiveStock(**HERE, quantity=d("20")))
    assert events(world.do(CountStock(**HERE, quantity=d("18")))) == [
        StockCounted(
            product_id=1, location_id=1, counted=d("18"), expected=d("20"), variance=d("-2")
        )
    ]
    assert world.stock().on_hand == 18


def test_a_count_that_finds_what_the_books_say_is_recorded_all_the_same():
    """It holds against movements recorded later."""
    world = shop().given(ReceiveStock(**HERE, quantity=d("20")))
    (event,) = events(world.do(CountStock(**HERE, quantity=d("20"))))
    assert event.variance == 0


def test_a_sale_recorded_after_a_count_but_earlier_in_the_world_leaves_on_hand():
    """It only explains part of what the count found missing."""
    world = counted("10")
    late = world.do(IssueStock(**HERE, quantity=d("3"), effective_at=NOON - minutes(30)))
    revised, issued = events(late)
    assert issued.quantity == 3
    assert revised == CountVarianceRevised(
        product_id=1, location_id=1, quantity=d("3"), count_position=5
    )
    assert late[0].effective_at == NOON
    assert world.stock().on_hand == 10


def test_a_late_receipt_is_absorbed_by_the_count_likewise():
    """What raises comes first, so that no position in between is short."""
    world = counted("10").given(IssueStock(**HERE, quantity=d("10")))
    late = world.do(ReceiveStock(**HERE, quantity=d("4"), effective_at=NOON - minutes(30)))
    assert types(late) == ["StockReceived", "CountVarianceRevised"]
    assert world.stock().on_hand == 0


def test_a_late_sale_is_held_against_what_was_there_before_the_count_only():
    """Nothing is left now, but there was plenty at the time."""
    world = counted("10").given(IssueStock(**HERE, quantity=d("10")))
    back = NOON - minutes(30)
    assert types(world.do(IssueStock(**HERE, quantity=d("20"), effective_at=back))) == [
        "CountVarianceRevised",
        "StockIssued",
    ]
    refused = world.do(IssueStock(**HERE, quantity=d("1"), effective_at=back))
    assert types(refused) == ["insufficient_stock"]


def test_a_movement_of_the_very_time_of_a_count_comes_after_it():
    """The log's order breaks the tie."""
    world = counted("10")
    assert types(world.do(IssueStock(**HERE, quantity=d("3"), effective_at=NOON))) == [
        "StockIssued"
    ]
    assert world.stock().on_hand == 7


def test_only_the_first_count_after_a_late_movement_is_revised():
    """From that count on nothing has changed, so a second one has nothing to explain."""
    world = counted("10").given(CountStock(**HERE, quantity=d("9")))
    late = events(world.do(IssueStock(**HERE, quantity=d("3"), effective_at=NOON - minutes(30))))
    assert [event.count_position for event in late if hasattr(event, "count_position")] == [5]
    assert world.stock().on_hand == 9


def test_a_backdated_count_is_absorbed_by_a_later_one():
    """Both assertions hold, each at its own time."""
    world = counted("10")
    early = world.do(CountStock(**HERE, quantity=d("15"), effective_at=NOON - minutes(30)))
    found, revised = sorted(events(early), key=lambda event: event.TYPE, reverse=True)
    assert (found.expected, found.variance) == (20, -5)
    assert revised.quantity == 5
    assert world.stock().on_hand == 10


def test_a_backdated_count_expects_what_was_on_hand_then():
    """Not what is on hand now."""
    world = shop().given(ReceiveStock(**HERE, quantity=d("20"), effective_at=MORNING))
    world.given(IssueStock(**HERE, quantity=d("5")))
    (event,) = events(
        world.do(CountStock(**HERE, quantity=d("18"), effective_at=NOON - minutes(60)))
    )
    assert (event.expected, event.variance) == (20, -2)
    assert world.stock().on_hand == 13


def test_a_count_below_what_is_quarantined_is_refused():
    """A count includes what is blocked."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("20")), QuarantineStock(**HERE, quantity=d("5"))
    )
    refused = world.do(CountStock(**HERE, quantity=d("4")))
    assert isinstance(refused, CountBelowQuarantine)
    assert refused.quarantined == 5


def test_a_count_below_what_is_reserved_says_to_release_first():
    """Somebody has to decide whose claim goes."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("20")), ReserveStock(**HERE, quantity=d("15"))
    )
    refused = world.do(CountStock(**HERE, quantity=d("12")))
    assert isinstance(refused, CountBelowClaims)
    assert (refused.reserved, refused.available) == (15, -3)
    assert "release reservations" in refused.detail()


def test_a_count_lets_go_of_expired_reservations_first():
    """They claim nothing any more."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("20")),
        ReserveStock(**HERE, quantity=d("15"), expires_at=NOON + minutes(5)),
    )
    world.now += minutes(10)
    assert types(world.do(CountStock(**HERE, quantity=d("12")))) == [
        "ReservationReleased",
        "StockCounted",
    ]


def test_blocking_goods_late_changes_no_variance():
    """On hand is the same, so there is nothing to revise."""
    world = counted("10")
    back = NOON - minutes(30)
    assert types(world.do(QuarantineStock(**HERE, quantity=d("3"), effective_at=back))) == [
        "StockQuarantined"
    ]


def test_scrapping_late_leaves_on_hand_as_counted_and_less_blocked():
    """What the count found was then on the shelf."""
    world = shop().given(
        ReceiveStock(**HERE, quantity=d("20"), effective_at=MORNING),
        QuarantineStock(**HERE, quantity=d("5"), effective_at=MORNING),
        CountStock(**HERE, quantity=d("20")),
    )
    late = world.do(
        ReleaseQuarantine(
            **HERE, quantity=d("2"), disposition="scrap", effective_at=NOON - minutes(30)
        )
    )
    assert sorted(types(late)) == ["CountVarianceRevised", "QuarantineReleased"]
    assert (world.stock().unrestricted, world.stock().quarantine) == (17, 3)


def test_a_late_transfer_is_absorbed_at_both_ends():
    """Each location has counts of its own; the transfer's two events stay together."""
    world = counted("10").given(
        CountStock(product_id=1, location_id=2, quantity=d("6"), effective_at=NOON)
    )
    late = world.do(
        TransferStock(
            product_id=1,
            from_location_id=1,
            to_location_id=2,
            quantity=d("3"),
            effective_at=NOON - minutes(30),
        )
    )
    assert types(late) == [
        "CountVarianceRevised",
        "TransferShipped",
        "TransferReceived",
        "CountVarianceRevised",
    ]
    assert (world.stock(1, 1).on_hand, world.stock(1, 2).on_hand) == (10, 6)


def test_a_withdrawn_count_takes_its_revisions_along():
    """The books are as if it had never been made."""
    world = counted("10").given(
        IssueStock(**HERE, quantity=d("3"), effective_at=NOON - minutes(30))
    )
    (reversal,) = events(world.do(ReverseMovement(position=5)))
    assert (reversal.quantity, reversal.from_account, reversal.to_account) == (
        7,
        "adjustment",
        "unrestricted",
    )
    assert world.stock().on_hand == 17
    back = NOON - minutes(20)
    assert types(world.do(IssueStock(**HERE, quantity=d("1"), effective_at=back))) == [
        "StockIssued"
    ]
    assert world.stock().on_hand == 16


def test_a_count_that_moved_nothing_can_be_withdrawn_too():
    """It no longer holds against late movements."""
    world = counted("20").given(ReverseMovement(position=5))
    world.given(IssueStock(**HERE, quantity=d("3"), effective_at=NOON - minutes(30)))
    assert world.stock().on_hand == 17


def test_withdrawing_a_count_before_another_leaves_what_that_one_found():
    """The later assertion stands."""
    world = counted("10").given(CountStock(**HERE, quantity=d("9")))
    assert types(world.do(ReverseMovement(position=5))) == [
        "MovementReversed",
        "CountVarianceRevised",
    ]
    assert world.stock().on_hand == 9
