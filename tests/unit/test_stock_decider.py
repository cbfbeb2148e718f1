"""Plain movements: what they record, and what refuses them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import (
    Facts,
    InvalidCommand,
    LocationNotFound,
    Lookup,
    ProductNotFound,
    Refusal,
)
from ledger.domain.refusals import BalanceOutOfBounds, InsufficientStock, QuantityConflict
from schemas.location import ReviseLocation
from schemas.product import AlternativeUnit, DiscontinueProduct, ReviseProduct
from schemas.stock import (
    AdjustStock,
    CountStock,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReleaseQuarantine,
    ReserveStock,
    ReverseMovement,
    SetStock,
    StockAdjusted,
    StockReceived,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}


def quantity(text: str) -> Decimal:
    return Decimal(text)


def stocked(on_hand: str = "10", **options: Any) -> World:
    return shop(**options).given(ReceiveStock(**HERE, quantity=quantity(on_hand)))


def test_a_receipt_keeps_cost_source_and_remarks():
    """What the client said besides the quantity is in the event."""
    world = shop()
    (recorded,) = world.do(
        ReceiveStock(
            **HERE,
            quantity=quantity("5"),
            source="customer",
            unit_cost=quantity("1.25"),
            reason="return",
            reference="R-7",
            notes="box open",
        )
    )
    assert recorded.event == StockReceived(
        product_id=1,
        location_id=1,
        quantity=quantity("5"),
        source="customer",
        unit_cost=quantity("1.25"),
        reason="return",
        reference="R-7",
        notes="box open",
    )
    assert recorded.effective_at == NOON
    assert world.stock().on_hand == 5


def test_an_issue_takes_what_is_available_and_not_one_more():
    """I6 at its plainest."""
    world = stocked("10")
    assert types(world.do(IssueStock(**HERE, quantity=quantity("10")))) == ["StockIssued"]
    refused = world.do(IssueStock(**HERE, quantity=quantity("1")))
    assert refused == InsufficientStock(
        product_id=1,
        location_id=1,
        sku="TEA",
        requested=quantity("1"),
        available=quantity("0"),
        stock_limit=quantity("0"),
    )
    assert refused.extensions() == {
        "product_id": 1,
        "location_id": 1,
        "sku": "TEA",
        "requested": "1",
        "available": "0",
        "stock_limit": "0",
    }


def test_reserved_and_quarantined_goods_are_not_available():
    """Available is on hand less reserved less quarantined."""
    world = stocked("10").given(
        ReserveStock(**HERE, quantity=quantity("4")),
        QuarantineStock(**HERE, quantity=quantity("3")),
    )
    assert world.stock().available_at(NOON) == 3
    assert types(world.do(IssueStock(**HERE, quantity=quantity("4")))) == ["insufficient_stock"]
    assert types(world.do(AdjustStock(**HERE, quantity=quantity("-4")))) == ["insufficient_stock"]
    assert types(world.do(IssueStock(**HERE, quantity=quantity("3")))) == ["StockIssued"]


def test_a_location_may_allow_stock_to_go_below_zero_to_its_limit():
    """The limit is the location's own."""
    world = shop(stock_limit="-5")
    assert types(world.do(IssueStock(**HERE, quantity=quantity("5")))) == ["StockIssued"]
    assert types(world.do(IssueStock(**HERE, quantity=quantity("1")))) == ["insufficient_stock"]


def test_raising_is_never_refused_even_when_available_is_below_a_raised_limit():
    """A limit raised above what is there stops lowering only."""
    world = shop(stock_limit="-5").given(
        IssueStock(**HERE, quantity=quantity("5")),
        ReviseLocation(location_id=1, name="L1", code="L1"),
    )
    assert types(world.do(ReceiveStock(**HERE, quantity=quantity("1")))) == ["StockReceived"]
    assert types(world.do(IssueStock(**HERE, quantity=quantity("1")))) == ["insufficient_stock"]


def test_a_backdated_issue_looks_at_the_lowest_later_point():
    """Now there is enough; in between there would not have been."""
    world = stocked("10")
    world.now += minutes(60)
    world.given(IssueStock(**HERE, quantity=quantity("8")))
    world.now += minutes(60)
    world.given(ReceiveStock(**HERE, quantity=quantity("20")))
    back = NOON + minutes(30)
    refused = world.do(IssueStock(**HERE, quantity=quantity("3"), effective_at=back))
    assert isinstance(refused, InsufficientStock)
    assert refused.available == 2
    assert refused.at == NOON + minutes(60)
    (recorded,) = world.do(IssueStock(**HERE, quantity=quantity("2"), effective_at=back))
    assert recorded.effective_at == back


def test_a_backdated_issue_finds_nothing_before_the_first_receipt():
    """Goods cannot go out before they came in."""
    world = stocked("10")
    early = NOON - minutes(1)
    outcome = world.do(IssueStock(**HERE, quantity=quantity("1"), effective_at=early))
    assert types(outcome) == ["insufficient_stock"]


def test_a_reservation_that_has_expired_since_still_counted_at_the_time():
    """Availability at a past time is less what was held then."""
    world = stocked("10")
    world.given(
        ReserveStock(**HERE, quantity=quantity("8"), expires_at=NOON + minutes(60)),
    )
    world.now += minutes(90)
    refused = world.do(IssueStock(**HERE, quantity=quantity("5"), effective_at=NOON + minutes(30)))
    assert isinstance(refused, InsufficientStock)
    assert refused.available == 2
    assert types(world.do(IssueStock(**HERE, quantity=quantity("5")))) == [
        "ReservationReleased",
        "StockIssued",
    ]


@pytest.mark.parametrize(
    ("effective_at", "fault"),
    [
        (NOON + minutes(6), "more than 5 minutes ahead"),
        (datetime(1899, 12, 31, tzinfo=UTC), "before 1900"),
        (datetime.max.replace(tzinfo=UTC), "more than 5 minutes ahead"),
        (datetime.min.replace(tzinfo=UTC), "before 1900"),
    ],
)
def test_an_effective_time_that_cannot_be_is_refused(effective_at: datetime, fault: str):
    """The field and the way out are named."""
    refused = shop().do(ReceiveStock(**HERE, quantity=quantity("1"), effective_at=effective_at))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "effective_at"
    assert fault in refused.fault


def test_a_clock_that_is_a_little_ahead_is_taken_to_mean_now():
    """No event is effective after it was recorded."""
    world = shop()
    ahead = NOON + minutes(5)
    (recorded,) = world.do(ReceiveStock(**HERE, quantity=quantity("1"), effective_at=ahead))
    assert recorded.effective_at == NOON


def boxed() -> World:
    units = (
        AlternativeUnit(unit="box", numerator=12),
        AlternativeUnit(unit="third", numerator=1, denominator=3),
        AlternativeUnit(unit="load", numerator=10**9),
    )
    return shop(product={"alternative_units": units})


def test_another_unit_is_converted_exactly_and_kept():
    """5 boxes of 12 are 60, whatever the wire made of it (odoo/odoo#5667)."""
    (recorded,) = boxed().do(ReceiveStock(**HERE, quantity=quantity("5"), unit="box"))
    event = recorded.event
    assert isinstance(event, StockReceived)
    assert (str(event.quantity), event.unit, event.entered_quantity) == ("60", "box", 5)


def test_the_products_own_unit_may_be_named():
    """It is no conversion, so nothing is kept of it."""
    (recorded,) = boxed().do(ReceiveStock(**HERE, quantity=quantity("5"), unit="each"))
    assert recorded.event == StockReceived(product_id=1, location_id=1, quantity=quantity("5"))


@pytest.mark.parametrize(
    ("amount", "unit", "field", "fault"),
    [
        ("1", "third", "quantity", "no exact number of each"),
        ("0.5", None, "quantity", "more than the 0 digits"),
        ("1", "pallet", "unit", "use one of 'each', 'box', 'third', 'load'"),
        ("1000000", "load", "quantity", "12 digits"),
    ],
)
def test_what_is_not_exact_in_the_products_scale_is_refused(
    amount: str, unit: str | None, field: str, fault: str
):
    """Nothing is rounded; the field and the way out are named."""
    refused = boxed().do(ReceiveStock(**HERE, quantity=quantity(amount), unit=unit))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == field
    assert fault in refused.fault


def test_digits_that_say_nothing_are_dropped():
    """5.00 of something that is counted is 5."""
    (recorded,) = shop().do(ReceiveStock(**HERE, quantity=quantity("5.00")))
    assert str(getattr(recorded.event, "quantity", None)) == "5"


def test_a_balance_never_has_more_than_twelve_digits():
    """I7: the sum is refused, not only the quantity."""
    world = stocked("999999999999")
    refused = world.do(ReceiveStock(**HERE, quantity=quantity("1")))
    assert isinstance(refused, BalanceOutOfBounds)


def test_what_does_not_exist_is_named():
    """Product first, then location."""
    world = shop(locations=1)
    one = quantity("1")
    assert world.do(ReceiveStock(product_id=9, location_id=9, quantity=one)) == ProductNotFound(
        product_id=9
    )
    assert world.do(ReceiveStock(product_id=1, location_id=9, quantity=one)) == LocationNotFound(
        location_id=9
    )


def test_an_inactive_product_still_moves_and_a_discontinued_one_does_not():
    """Inactive is for selling; discontinued is for good."""
    world = stocked("1").given(
        ReviseProduct(
            product_id=1, name="Tea", sku="TEA", base_price=quantity("2"), is_active=False
        ),
        IssueStock(**HERE, quantity=quantity("1")),
        DiscontinueProduct(product_id=1),
    )
    refused = world.do(ReceiveStock(**HERE, quantity=quantity("1")))
    assert types(refused) == ["product_discontinued"]


def test_nothing_comes_in_at_an_inactive_location_but_goods_go_out():
    """Closing a place means emptying it."""
    world = stocked("10").given(
        ReviseLocation(location_id=1, name="L1", code="L1", is_active=False)
    )
    one = quantity("1")
    for command in (
        ReceiveStock(**HERE, quantity=one),
        AdjustStock(**HERE, quantity=one),
        SetStock(**HERE, quantity=quantity("11")),
        TransferStock(product_id=1, from_location_id=2, to_location_id=1, quantity=one),
    ):
        assert types(world.do(command)) == ["location_inactive"]
    assert types(world.do(IssueStock(**HERE, quantity=one))) == ["StockIssued"]
    assert types(world.do(AdjustStock(**HERE, quantity=-one))) == ["StockAdjusted"]
    assert types(world.do(CountStock(**HERE, quantity=quantity("9")))) == ["StockCounted"]


def test_setting_records_the_implied_difference():
    """Both the difference and the figure are in the event."""
    world = stocked("10")
    (recorded,) = world.do(SetStock(**HERE, quantity=quantity("7")))
    assert recorded.event == StockAdjusted(
        product_id=1, location_id=1, quantity=quantity("-3"), set_to=quantity("7")
    )
    assert world.do(SetStock(**HERE, quantity=quantity("7"))) == []


def test_setting_is_refused_when_the_client_expects_another_figure():
    """Optimistic concurrency in the trade's own terms."""
    world = stocked("10")
    refused = world.do(SetStock(**HERE, quantity=quantity("7"), expected_quantity=quantity("9")))
    assert isinstance(refused, QuantityConflict)
    assert refused.actual_quantity == 10


def test_setting_is_as_of_now():
    """What was on hand in the past is for a count to say."""
    refused = stocked().do(SetStock(**HERE, quantity=quantity("7"), effective_at=NOON - minutes(6)))
    assert isinstance(refused, InvalidCommand)
    assert "CountStock" in refused.fault


def test_setting_below_what_is_claimed_is_refused():
    """Reserved goods cannot be declared away."""
    world = stocked("10").given(ReserveStock(**HERE, quantity=quantity("8")))
    assert types(world.do(SetStock(**HERE, quantity=quantity("7")))) == ["insufficient_stock"]


def test_quarantined_goods_go_back_to_the_shelf_or_to_loss():
    """Both ways out of quarantine, and no more than is in it."""
    world = stocked("10").given(
        QuarantineStock(**HERE, quantity=quantity("4")),
        ReleaseQuarantine(**HERE, quantity=quantity("1")),
        ReleaseQuarantine(**HERE, quantity=quantity("2"), disposition="scrap"),
    )
    stock = world.stock()
    assert (stock.unrestricted, stock.quarantine) == (7, 1)
    refused = world.do(ReleaseQuarantine(**HERE, quantity=quantity("2")))
    assert types(refused) == ["insufficient_quarantine"]


def test_goods_do_not_leave_quarantine_before_they_came_in():
    """Quarantine is looked at at every later time, too."""
    world = stocked("10")
    world.now += minutes(60)
    world.given(QuarantineStock(**HERE, quantity=quantity("4")))
    refused = world.do(
        ReleaseQuarantine(**HERE, quantity=quantity("1"), effective_at=NOON + minutes(10))
    )
    assert types(refused) == ["insufficient_quarantine"]


def test_later_events_are_asked_for_only_where_they_matter():
    """A command as of now, or one that only raises, reads nothing but its states."""
    world = stocked("10")
    world.now += minutes(60)
    back = NOON - minutes(60)
    asked: list[Any] = []
    look_up = world.found

    def noting(facts: Facts, lookups: Sequence[Lookup]) -> Facts:
        asked.extend(lookups)
        return look_up(facts, lookups)

    world.found = noting
    world.given(
        ReceiveStock(**HERE, quantity=quantity("1"), effective_at=back),
        IssueStock(**HERE, quantity=quantity("1")),
        AdjustStock(**HERE, quantity=quantity("1"), effective_at=back),
    )
    assert asked == []
    world.do(IssueStock(**HERE, quantity=quantity("1"), effective_at=back))
    assert [lookup.stream for lookup in asked] == ["stock-1-1"]


def test_every_refusal_says_what_to_do_next():
    """The text after the semicolon is the way out."""
    world = stocked("1")
    outcomes = [
        world.do(IssueStock(**HERE, quantity=quantity("2"))),
        world.do(ReverseMovement(position=99)),
        world.do(ReserveStock(**HERE, quantity=quantity("2"))),
        world.do(SetStock(**HERE, quantity=quantity("2"), expected_quantity=quantity("9"))),
    ]
    for outcome in outcomes:
        assert isinstance(outcome, Refusal)
        assert ";" in outcome.detail()
        assert outcome.detail().endswith(".")
