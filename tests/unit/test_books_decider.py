"""The decisions about the books: methods, closed periods, costs that move no goods."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.books import STREAM, BooksState, PeriodIsClosed, closed, day_in
from ledger.domain.decision import InvalidCommand, ProductNotFound
from ledger.domain.refusals import MovementNotFound, ProductIsDiscontinued
from ledger.domain.refusals_books import (
    ClosedFurther,
    CostBelowZero,
    DayNotOver,
    MethodFixed,
    NotAReceipt,
    NotClosedThatFar,
    ReceiptReversed,
)
from schemas.books import (
    AddLandedCost,
    BooksConfigured,
    ChooseValuation,
    ClosePeriod,
    ConfigureBooks,
    LandedCostAdded,
    PeriodClosed,
    ReopenPeriod,
    RevalueStock,
    StockRevalued,
    ValuationChosen,
)
from schemas.location import OpenLocation
from schemas.product import DiscontinueProduct
from schemas.stock import IssueStock, ReceiveStock, ReverseMovement
from tests.support.decisions import NOON, World, shop

FEBRUARY = date(2026, 2, 28)
YESTERDAY = date(2026, 3, 1)
TODAY = date(2026, 3, 2)


def at(location: int = 1, **more: Any) -> dict[str, Any]:
    """Return the fields of a stock command for product 1."""
    return {"product_id": 1, "location_id": location, **more}


def received(world: World, *, days_ago: int = 0, cost: str | None = "2", **more: Any) -> int:
    """Receive ten; return the position."""
    unit_cost = None if cost is None else Decimal(cost)
    command = ReceiveStock(
        **at(**more),
        quantity=Decimal(10),
        unit_cost=unit_cost,
        effective_at=world.now - timedelta(days=days_ago),
    )
    (recorded,) = world.do(command)
    return recorded.position


def books(world: World) -> BooksState:
    """Return the state of the books."""
    return world.states.get(STREAM, BooksState())


def test_books_start_at_standard_cost_in_utc_and_saying_so_is_nothing_new():
    """The defaults are what holds before anything was said."""
    world = shop()
    assert world.do(ConfigureBooks()) == []
    (changed,) = world.do(ConfigureBooks(valuation_method="fifo", time_zone="Europe/London"))
    assert changed.event == BooksConfigured(valuation_method="fifo", time_zone="Europe/London")
    assert (changed.stream, books(world).valuation_method) == (STREAM, "fifo")


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "Europe", "x" * 200, "UTC\x7f"])
def test_a_zone_has_to_be_one(name: str):
    """Also names that a file system would take."""
    refused = shop().do(ConfigureBooks(time_zone=name))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "time_zone"


def test_a_products_own_method_goes_before_that_of_the_books():
    """Null goes back; choosing what is chosen is nothing to do."""
    world = shop()
    (chosen,) = world.do(ChooseValuation(product_id=1, valuation_method="average"))
    assert chosen.event == ValuationChosen(product_id=1, valuation_method="average")
    assert world.do(ChooseValuation(product_id=1, valuation_method="average")) == []
    world.given(ChooseValuation(product_id=1, valuation_method=None))
    assert books(world).chosen == {}
    refused = world.do(ChooseValuation(product_id=9, valuation_method="fifo"))
    assert refused == ProductNotFound(product_id=9)


def test_no_method_changes_while_a_period_is_closed():
    """It would change what is closed; the zone may change, and what changes no method."""
    world = shop().given(ClosePeriod(through=FEBRUARY))
    fixed = MethodFixed(valuation_method="standard", closed_through=FEBRUARY)
    assert world.do(ConfigureBooks(valuation_method="fifo")) == fixed
    assert world.do(ChooseValuation(product_id=1, valuation_method="fifo")) == fixed
    world.given(
        ConfigureBooks(time_zone="Asia/Tokyo"),
        ChooseValuation(product_id=1, valuation_method="standard"),
        ReopenPeriod(through=None),
        ConfigureBooks(valuation_method="fifo"),
    )


def test_closing_goes_forward_and_reopening_back():
    """Each says what the other is for."""
    world = shop()
    (done,) = world.do(ClosePeriod(through=FEBRUARY, notes="filed"))
    assert done.event == PeriodClosed(through=FEBRUARY, notes="filed")
    assert world.do(ClosePeriod(through=FEBRUARY)) == []
    january = date(2026, 1, 31)
    assert world.do(ClosePeriod(through=january)) == ClosedFurther(
        through=january, closed_through=FEBRUARY
    )
    assert world.do(ReopenPeriod(through=YESTERDAY)) == NotClosedThatFar(
        through=YESTERDAY, closed_through=FEBRUARY
    )
    world.given(ReopenPeriod(through=january))
    assert books(world).closed_through == january
    world.given(ReopenPeriod(through=None))
    assert world.do(ReopenPeriod(through=None)) == []
    assert isinstance(world.do(ReopenPeriod(through=january)), NotClosedThatFar)


def test_only_a_day_that_is_over_everywhere_can_be_closed():
    """At noon UTC on the 2nd it is still the 1st in Honolulu until ten hours after midnight."""
    world = shop()
    assert world.do(ClosePeriod(through=TODAY)) == DayNotOver(
        through=TODAY, today=TODAY, time_zone="UTC"
    )
    world.given(OpenLocation(name="Far", code="FAR", time_zone="Pacific/Honolulu"))
    world.now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert world.do(ClosePeriod(through=YESTERDAY)) == DayNotOver(
        through=YESTERDAY, today=YESTERDAY, time_zone="Pacific/Honolulu"
    )
    world.given(ClosePeriod(through=FEBRUARY))
    world.now = datetime(2026, 3, 2, 10, tzinfo=UTC)
    world.given(ClosePeriod(through=YESTERDAY))


def test_what_is_closed_goes_by_the_places_own_day():
    """The same instant is in a closed period in one zone, and behind it in another."""
    state = BooksState(closed_through=FEBRUARY)
    instant = datetime(2026, 2, 28, 22, tzinfo=UTC)
    assert closed(state, instant, "UTC") == PeriodIsClosed(day=FEBRUARY, closed_through=FEBRUARY)
    assert closed(state, instant, "Australia/Sydney") is None
    assert closed(state, None, "UTC") is None
    assert closed(BooksState(), instant, "UTC") is None
    assert day_in("No/Zone", instant) == FEBRUARY


def test_a_landed_cost_is_of_its_receipts_own_time():
    """So it counts for what was sold since."""
    world = shop()
    position = received(world, days_ago=3, location=2)
    (added,) = world.do(
        AddLandedCost(position=position, amount=Decimal("4.50"), reason="freight", notes="DHL")
    )
    assert added.effective_at == NOON - timedelta(days=3)
    assert added.event == LandedCostAdded(
        position=position,
        product_id=1,
        location_id=2,
        amount=Decimal("4.50"),
        reason="freight",
        notes="DHL",
    )


def test_a_landed_cost_needs_a_receipt_from_a_supplier_that_stands():
    """Not a sale, not a return, not one that was reversed, not one that never was."""
    world = shop()
    position = received(world)
    (sale,) = world.do(IssueStock(**at(), quantity=Decimal(1)))
    (back,) = world.do(ReceiveStock(**at(), quantity=Decimal(1), source="customer"))
    one = Decimal(1)
    assert world.do(AddLandedCost(position=99, amount=one)) == MovementNotFound(position=99)
    for recorded in (sale, back):
        refused = world.do(AddLandedCost(position=recorded.position, amount=one))
        assert refused == NotAReceipt(position=recorded.position, event_type=recorded.event.TYPE)
    other = received(world)
    world.given(ReverseMovement(position=other))
    assert world.do(AddLandedCost(position=other, amount=one)) == ReceiptReversed(position=other)
    world.given(AddLandedCost(position=position, amount=one))


def test_a_credit_takes_off_no_more_than_a_receipt_cost_with_all_that_was_added():
    """Twenty, and three of freight: then there is nothing left to take off."""
    world = shop()
    position = received(world, days_ago=1)
    world.given(AddLandedCost(position=position, amount=Decimal(3)))
    too_much = AddLandedCost(position=position, amount=Decimal("-23.01"))
    assert world.do(too_much) == CostBelowZero(
        position=position, cost=Decimal(23), amount=Decimal("-23.01")
    )
    world.given(AddLandedCost(position=position, amount=Decimal(-23)))
    again = world.do(AddLandedCost(position=position, amount=Decimal("-0.01")))
    assert isinstance(again, CostBelowZero)
    unknown = received(world, cost=None)
    assert isinstance(world.do(AddLandedCost(position=unknown, amount=Decimal(-1))), CostBelowZero)


def test_a_closed_period_takes_no_landed_cost_and_no_revaluation():
    """Both name the day and how far the books are closed."""
    world = shop()
    old, new = received(world, days_ago=2), received(world, days_ago=1)
    world.given(ClosePeriod(through=FEBRUARY))
    refusal = PeriodIsClosed(day=FEBRUARY, closed_through=FEBRUARY)
    assert world.do(AddLandedCost(position=old, amount=Decimal(1))) == refusal
    world.given(AddLandedCost(position=new, amount=Decimal(1)))
    late = NOON - timedelta(days=2)
    cost = Decimal(3)
    assert world.do(RevalueStock(product_id=1, unit_cost=cost, effective_at=late)) == refusal
    world.given(RevalueStock(product_id=1, unit_cost=cost))


def test_a_revaluation_is_of_a_product_that_is_there():
    """Effective now, or at a time that was."""
    world = shop()
    (revalued,) = world.do(RevalueStock(product_id=1, unit_cost=Decimal("1.05"), reason="damp"))
    assert revalued.event == StockRevalued(product_id=1, unit_cost=Decimal("1.05"), reason="damp")
    ahead = world.do(
        RevalueStock(product_id=1, unit_cost=Decimal(1), effective_at=NOON + timedelta(days=1))
    )
    assert isinstance(ahead, InvalidCommand)
    assert world.do(RevalueStock(product_id=7, unit_cost=Decimal(1))) == ProductNotFound(
        product_id=7
    )
    world.given(DiscontinueProduct(product_id=1))
    refused = world.do(RevalueStock(product_id=1, unit_cost=Decimal(1)))
    assert isinstance(refused, ProductIsDiscontinued)
