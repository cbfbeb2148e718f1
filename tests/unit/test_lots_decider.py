"""Lots: what is named, what is picked, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand, Refusal
from ledger.domain.refusals_tracking import (
    InsufficientLots,
    LotDiffers,
    LotNotFound,
    LotsExceedStock,
    LotShort,
    LotTaken,
)
from schemas.location import ReviseLocation
from schemas.lot import LotRegistered, LotRevised, RegisterLot, ReviseLot
from schemas.product import AlternativeUnit, ReviseProduct
from schemas.stock import (
    AdjustStock,
    CountStock,
    CountVarianceRevised,
    IssueReserved,
    IssueStock,
    LotEntry,
    LotPart,
    MovementReversed,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    StockCounted,
    StockIssued,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}
THERE: dict[str, Any] = {"product_id": 1, "location_id": 2}
ROUTE: dict[str, Any] = {"product_id": 1, "from_location_id": 1, "to_location_id": 2}
TODAY = NOON.date()


def d(number: int | str) -> Decimal:
    return Decimal(number)


def days(count: int) -> date:
    return TODAY + timedelta(days=count)


def entry(lot: str, quantity: int | str, **dates: Any) -> LotEntry:
    return LotEntry(lot=lot, quantity=d(quantity), **dates)


def receipt(*lots: LotEntry, place: dict[str, Any] = HERE, **more: Any) -> ReceiveStock:
    total = sum((each.quantity for each in lots), Decimal(0))
    return ReceiveStock(**place, quantity=total, lots=lots, **more)


def tracked(**options: Any) -> World:
    """A world whose product is tracked by lots."""
    options.setdefault("product", {})
    options["product"] = {"tracking_type": "batch", **options["product"]}
    return shop(**options)


def stocked() -> World:
    """5 of A (expires in 20 days), 5 of B (in 10 days), 5 of no lot."""
    return tracked().given(
        receipt(entry("A", 5, expiry_date=days(20))),
        receipt(entry("B", 5, expiry_date=days(10))),
        ReceiveStock(**HERE, quantity=d(5)),
    )


def lots_of(outcome: Any, event_type: Any = None) -> dict[int, Decimal]:
    """Return the lots of the first event that has some, or of the first of a type."""
    assert not isinstance(outcome, Refusal), outcome.detail()
    for recorded in outcome:
        is_wanted = event_type is None or isinstance(recorded.event, event_type)
        if is_wanted and hasattr(recorded.event, "lots"):
            return {part.lot_id: part.quantity for part in recorded.event.lots}
    raise AssertionError(types(outcome))


def held(world: World, location_id: int = 1) -> dict[int, tuple[Decimal, Decimal]]:
    lots = world.stock(1, location_id).lots
    return {lot_id: (each.unrestricted, each.quarantine) for lot_id, each in lots.items()}


# --- coming in --------------------------------------------------------------------------


def test_a_lot_is_made_known_by_the_first_of_it_that_comes_in():
    """In the same commit, before the receipt, with the dates that the client gives."""
    world = tracked()
    dates: dict[str, Any] = {
        "manufacture_date": days(-3),
        "expiry_date": days(9),
        "removal_date": days(7),
    }
    outcome = world.do(receipt(entry("A", 4, lot_number="L04-A", **dates), entry("B", 1)))
    assert types(outcome) == ["LotRegistered", "LotRegistered", "StockReceived"]
    assert outcome[0].event == LotRegistered(
        lot_id=1, product_id=1, lot="A", lot_number="L04-A", **dates
    )
    assert lots_of(outcome) == {1: 4, 2: 1}
    assert held(world) == {1: (4, 0), 2: (1, 0)}
    again = world.do(receipt(entry(" a ", 2, expiry_date=days(9))))
    assert types(again) == ["StockReceived"]
    assert held(world)[1] == (6, 0)


def test_what_comes_in_without_lots_is_of_no_known_lot():
    """As clients of seed 003 send it, whatever the product's tracking."""
    world = tracked().given(ReceiveStock(**HERE, quantity=d(5)), AdjustStock(**HERE, quantity=d(2)))
    assert world.stock().on_hand == 7
    assert held(world) == {}


def test_dates_that_disagree_with_a_known_lot_are_refused():
    """On the way in and out; those that agree, or are not given, are fine."""
    world = tracked().given(receipt(entry("A", 5, expiry_date=days(9))))
    wrong = world.do(receipt(entry("A", 1, expiry_date=days(8))))
    assert wrong == LotDiffers(
        product_id=1,
        sku="TEA",
        lot="A",
        lot_id=1,
        field="expiry_date",
        present=days(9).isoformat(),
        given=days(8).isoformat(),
    )
    for named in (entry("A", 1, removal_date=days(1)), entry("A", 1, lot_number="X")):
        assert types(world.do(IssueStock(**HERE, quantity=d(1), lots=(named,)))) == ["lot_differs"]
    right = entry("A", 1, expiry_date=days(9))
    assert types(world.do(IssueStock(**HERE, quantity=d(1), lots=(right,)))) == ["StockIssued"]


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ((("A", "3"),), "add up to 3 but 5 unit is to move"),
        ((("A", "3"), ("a ", "2")), "named twice"),
        (((" ", "5"),), "must not be blank"),
        ((("A", "5.5"),), "more than the 0 digits"),
    ],
)
def test_lots_must_name_all_of_the_quantity_once(named: Any, fault: str):
    """Partly named is refused, rather than guessed."""
    world = tracked(product={"unit": "unit"})
    lots = tuple(entry(lot, quantity) for lot, quantity in named)
    refused = world.do(ReceiveStock(**HERE, quantity=d(5), lots=lots))
    assert isinstance(refused, InvalidCommand)
    assert refused.field.startswith("lots")
    assert fault in refused.fault


def test_lots_are_in_the_products_own_unit():
    """However the whole is said."""
    boxes = (AlternativeUnit(unit="box", numerator=12),)
    world = tracked(product={"unit": "jar", "alternative_units": boxes})
    box = ReceiveStock(**HERE, quantity=d(1), unit="box", lots=(entry("A", 12),))
    assert lots_of(world.do(box)) == {1: 12}


@pytest.mark.parametrize("tracking", ["none", "serial"])
def test_lots_of_a_product_that_is_not_tracked_by_lots_are_refused(tracking: Any):
    """Naming the field; so are serials of a product that has lots."""
    world = shop(product={"tracking_type": tracking})
    refused = world.do(receipt(entry("A", 5)))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "lots"
    of_lots = tracked().do(ReceiveStock(**HERE, quantity=d(1), serials=("S1",)))
    assert isinstance(of_lots, InvalidCommand)
    assert of_lots.field == "serials"


def test_lots_cannot_exceed_what_was_on_hand_below_zero():
    """A product may have been below zero before it was tracked: no lot was there then."""
    world = shop(stock_limit="-5").given(IssueStock(**HERE, quantity=d(3)))
    below = world.now
    world.now += minutes(60)
    world.given(
        ReceiveStock(**HERE, quantity=d(3)),
        ReviseProduct(product_id=1, name="Tea", sku="TEA", base_price=d(1), tracking_type="batch"),
    )
    refused = world.do(receipt(entry("A", 5), effective_at=below))
    assert isinstance(refused, LotsExceedStock)
    assert refused.unassigned == -3
    world.given(receipt(entry("A", 5)))
    assert held(world) == {1: (5, 0)}


# --- going out --------------------------------------------------------------------------


def test_what_expires_first_goes_out_first_and_what_is_of_no_lot_last():
    """FEFO, and the picks are in the event."""
    world = stocked()
    assert lots_of(world.do(IssueStock(**HERE, quantity=d(7)))) == {2: 5, 1: 2}
    last = world.do(IssueStock(**HERE, quantity=d(6)))
    assert lots_of(last) == {1: 3}
    assert held(world) == {}
    assert world.stock().on_hand == 2


def test_fefo_goes_by_removal_then_expiry_then_receipt_then_id():
    """The removal date is the expiry date where there is none."""
    world = tracked()
    wanted = [
        entry("by id", 1, expiry_date=days(30)),
        entry("late receipt", 1, expiry_date=days(30)),
        entry("removal", 1, expiry_date=days(40), removal_date=days(5)),
        entry("expiry", 1, expiry_date=days(20), removal_date=days(5)),
        entry("dateless", 1),
        entry("sooner", 1, expiry_date=days(29)),
    ]
    world.given(receipt(wanted[0], *wanted[2:]))
    world.now += minutes(5)
    world.given(receipt(wanted[1]), receipt(entry("same receipt", 1, expiry_date=days(30))))
    order = [next(iter(lots_of(world.do(IssueStock(**HERE, quantity=d(1)))))) for _ in range(7)]
    names = {number: world.states[f"lot-{number}"].lot for number in order}
    assert [names[number] for number in order] == [
        "expiry", "removal", "sooner", "by id", "late receipt", "same receipt", "dateless"
    ]  # fmt: skip


def test_nothing_for_use_is_of_a_lot_that_is_past_its_removal_date():
    """On that very day it is past, by the clock of the location; the refusal names the lots."""
    world = tracked().given(
        receipt(entry("A", 5, expiry_date=days(20), removal_date=days(1))),
        receipt(entry("B", 2, expiry_date=days(30))),
        ReceiveStock(**HERE, quantity=d(1)),
        ReviseLocation(
            location_id=1, name="L1", code="L1", time_zone="Pacific/Kiritimati", is_default=True
        ),
    )
    # Noon in UTC is the next day on Kiritimati.
    refused = world.do(IssueStock(**HERE, quantity=d(4)))
    assert refused == InsufficientLots(
        product_id=1,
        sku="TEA",
        location_id=1,
        requested=d(4),
        eligible=d(3),
        past_removal=("A",),
    )
    assert "past their removal date are A" in refused.detail()
    assert refused.extensions()["eligible"] == "3"
    for command in (
        TransferStock(**ROUTE, quantity=d(4)),
        ShipTransfer(**ROUTE, quantity=d(4)),
    ):
        assert types(world.do(command)) == ["insufficient_lots"]
    world.given(ReserveStock(**HERE, quantity=d(4), reservation_id="r"))
    assert types(world.do(IssueReserved(**HERE, reservation_id="r"))) == ["insufficient_lots"]
    assert lots_of(world.do(IssueStock(**HERE, quantity=d(3)))) == {2: 2}
    named = IssueStock(**HERE, quantity=d(1), lots=(entry("A", 1),))
    assert lots_of(world.do(named)) == {1: 1}


@pytest.mark.parametrize(
    "command",
    [
        AdjustStock(**HERE, quantity=d(-4)),
        SetStock(**HERE, quantity=d(1)),
        QuarantineStock(**HERE, quantity=d(4)),
        IssueStock(**HERE, quantity=d(4), destination="supplier"),
    ],
    ids=lambda command: command.TYPE,
)
def test_corrections_and_blocks_take_what_is_past_its_date_first(command: Any):
    """What is written off, blocked or sent back is most likely just that."""
    world = tracked().given(
        receipt(entry("A", 3, expiry_date=days(9))), receipt(entry("B", 2, expiry_date=days(-1)))
    )
    assert lots_of(world.do(command)) == {2: 2, 1: 2}


def test_a_named_lot_must_be_known_and_have_so_much_here():
    """Not elsewhere, not blocked, and not more than there is."""
    world = stocked().given(receipt(entry("C", 9), place=THERE))
    unknown = world.do(IssueStock(**HERE, quantity=d(1), lots=(entry("Z", 1),)))
    assert unknown == LotNotFound(product_id=1, lot="Z")
    for lot, quantity, available in (("A", 6, 5), ("C", 1, 0)):
        short = world.do(IssueStock(**HERE, quantity=d(quantity), lots=(entry(lot, quantity),)))
        assert isinstance(short, LotShort)
        assert (short.lot, short.requested, short.available) == (lot, quantity, available)
    world.given(QuarantineStock(**HERE, quantity=d(4), lots=(entry("A", 4),)))
    blocked = world.do(IssueStock(**HERE, quantity=d(2), lots=(entry("A", 2),)))
    assert isinstance(blocked, LotShort)
    assert blocked.available == 1


def test_what_is_short_in_all_is_told_as_such():
    """Lots do not hide that there is not enough."""
    assert types(stocked().do(IssueStock(**HERE, quantity=d(16)))) == ["insufficient_stock"]


def test_tracked_goods_do_not_go_out_below_zero():
    """A limit below zero lets them be promised, not sent: there is nothing to send."""
    world = tracked(stock_limit="-5").given(receipt(entry("A", 2)))
    assert types(world.do(IssueStock(**HERE, quantity=d(3)))) == ["insufficient_lots"]
    assert types(world.do(ReserveStock(**HERE, quantity=d(3)))) == ["StockReserved"]


def test_a_reservation_is_of_no_lot_until_goods_go_out():
    """They are picked then, or named."""
    world = stocked().given(
        ReserveStock(**HERE, quantity=d(6), reservation_id="r"),
    )
    part = IssueReserved(
        **HERE, reservation_id="r", quantity=d(2), lots=(entry("A", 2),), unit_price=d("2.50")
    )
    outcome = world.do(part)
    assert lots_of(outcome) == {1: 2}
    assert outcome[0].event.unit_price == d("2.50")
    assert lots_of(world.do(IssueReserved(**HERE, reservation_id="r"))) == {2: 4}


# --- blocks, transfers, counts ----------------------------------------------------------


def test_lots_are_blocked_and_freed_and_scrapped():
    """Per account: what is blocked is not picked, and what is freed is again."""
    world = stocked().given(QuarantineStock(**HERE, quantity=d(6)))
    assert held(world) == {1: (4, 1), 2: (0, 5)}
    world.given(ReleaseQuarantine(**HERE, quantity=d(1), lots=(entry("A", 1),)))
    assert held(world) == {1: (5, 0), 2: (0, 5)}
    world.given(ReleaseQuarantine(**HERE, quantity=d(2), disposition="scrap"))
    assert held(world) == {1: (5, 0), 2: (0, 3)}
    refused = world.do(ReleaseQuarantine(**HERE, quantity=d(1), lots=(entry("A", 1),)))
    assert isinstance(refused, LotShort)


def test_a_transfer_takes_its_lots_along():
    """In one step, both of its events say so."""
    world = stocked()
    outcome = world.do(TransferStock(**ROUTE, quantity=d(6)))
    assert lots_of(outcome) == lots_of(outcome, TransferReceived) == {2: 5, 1: 1}
    assert held(world) == {1: (4, 0)}
    assert held(world, 2) == {1: (1, 0), 2: (5, 0)}


def test_a_transfer_on_its_way_arrives_in_the_order_in_which_it_was_sent():
    """What is lost is of no lot first, and then what was sent last."""
    world = stocked()
    sent = world.do(ShipTransfer(**ROUTE, quantity=d(12)))
    assert lots_of(sent, TransferExpected) == {2: 5, 1: 5}
    arrived = world.do(
        ReceiveTransfer(**THERE, transfer_id=1, quantity=d(6), lost=d(3)),
    )
    assert lots_of(arrived, TransferReceived) == {2: 5, 1: 1}
    assert lots_of(arrived, TransferLost) == {1: 1}
    assert world.stock(1, 2).incoming[1].lots == (LotPart(lot_id=1, quantity=d(3)),)
    rest = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d(3), lots=(entry("A", 3),)))
    assert lots_of(rest) == {1: 3}
    assert held(world, 2) == {1: (4, 0), 2: (5, 0)}


def test_only_lots_that_are_on_their_way_can_arrive_or_be_lost():
    """Named on arrival, or on loss when nothing arrives."""
    world = stocked().given(ShipTransfer(**ROUTE, quantity=d(7)))
    for named, code in (
        ((entry("A", 3),), "lot_short"),
        ((entry("Z", 3),), "lot_not_found"),
        ((entry("A", 2),), "invalid_command"),
    ):
        command = ReceiveTransfer(**THERE, transfer_id=1, quantity=d(3), lots=named)
        assert types(world.do(command)) == [code]
    lost = ReceiveTransfer(**THERE, transfer_id=1, lost=d(2), lots=(entry("A", 2),))
    assert lots_of(world.do(lost), TransferLost) == {1: 2}


def test_what_a_count_misses_is_of_no_lot_first_then_of_the_lot_registered_last():
    """What it finds too much is of no lot."""
    world = stocked().given(CountStock(**HERE, quantity=d(13)))
    assert held(world) == {1: (5, 0), 2: (5, 0)}
    outcome = world.do(CountStock(**HERE, quantity=d(4)))
    assert lots_of(outcome) == {2: 5, 1: 1}
    world.given(CountStock(**HERE, quantity=d(9)))
    assert held(world) == {1: (4, 0)}
    assert world.stock().on_hand == 9


# --- late -------------------------------------------------------------------------------


def test_a_lot_must_have_enough_at_every_later_time():
    """Each lot for itself: the total may be fine while one lot is not."""
    world = tracked().given(receipt(entry("A", 5)))
    world.now += minutes(60)
    world.given(receipt(entry("B", 9)), IssueStock(**HERE, quantity=d(4), lots=(entry("A", 4),)))
    ago = world.now - minutes(30)
    named = IssueStock(**HERE, quantity=d(2), lots=(entry("A", 2),), effective_at=ago)
    short = world.do(named)
    assert isinstance(short, LotShort)
    assert (short.available, short.at) == (1, world.now)
    unnamed = world.do(IssueStock(**HERE, quantity=d(2), effective_at=ago))
    assert isinstance(unnamed, InsufficientLots)
    assert unnamed.eligible == 1
    fine = world.do(IssueStock(**HERE, quantity=d(1), effective_at=ago))
    assert lots_of(fine) == {1: 1}


def test_what_is_past_its_date_now_could_still_go_out_then():
    """The day is that of the movement."""
    world = tracked().given(receipt(entry("A", 5, expiry_date=days(2))))
    world.now += timedelta(days=3)
    late = world.now - timedelta(days=2)
    assert types(world.do(IssueStock(**HERE, quantity=d(1)))) == ["insufficient_lots"]
    assert lots_of(world.do(IssueStock(**HERE, quantity=d(1), effective_at=late))) == {1: 1}


def test_a_late_issue_gives_a_count_back_what_it_missed_too_much():
    """Lot by lot: the count had blamed another lot for it."""
    world = tracked().given(receipt(entry("A", 5, expiry_date=days(9)), entry("B", 5)))
    world.now += minutes(60)
    count = world.do(CountStock(**HERE, quantity=d(6)))
    assert lots_of(count) == {2: 4}
    late = IssueStock(**HERE, quantity=d(3), effective_at=world.now - minutes(30))
    outcome = world.do(late)
    assert lots_of(outcome, StockIssued) == {1: 3}
    assert lots_of(outcome, CountVarianceRevised) == {2: 3}
    assert held(world) == {1: (2, 0), 2: (4, 0)}
    assert world.stock().on_hand == 6


def test_a_late_issue_can_be_of_a_lot_that_a_count_has_written_off():
    """It is given back at the count's time, having gone out before."""
    world = tracked().given(receipt(entry("A", 5)))
    world.now += minutes(60)
    world.given(CountStock(**HERE, quantity=d(0)))
    outcome = world.do(IssueStock(**HERE, quantity=d(5), effective_at=world.now - minutes(30)))
    assert lots_of(outcome, StockIssued) == lots_of(outcome, CountVarianceRevised) == {1: 5}
    assert held(world) == {}


def test_a_late_receipt_explains_what_a_count_had_found_too_much():
    """What is of no lot goes first, so that the lot that was received stays known."""
    world = tracked().given(receipt(entry("A", 5)))
    world.now += minutes(60)
    world.given(CountStock(**HERE, quantity=d(8)))
    late = world.now - minutes(30)
    outcome = world.do(receipt(entry("B", 4), effective_at=late))
    assert lots_of(outcome, CountVarianceRevised) == {2: 1}
    assert held(world) == {1: (5, 0), 2: (3, 0)}
    assert world.stock().on_hand == 8


# --- undoing ----------------------------------------------------------------------------


def test_the_same_lots_go_back():
    """Of an issue, a receipt, a block and a transfer in one step."""
    world = stocked()
    before = held(world)
    for command in (
        IssueStock(**HERE, quantity=d(7)),
        receipt(entry("A", 2)),
        QuarantineStock(**HERE, quantity=d(3), lots=(entry("A", 3),)),
        TransferStock(**ROUTE, quantity=d(6)),
    ):
        done = world.do(command)
        undone = world.do(ReverseMovement(position=done[0].position))
        assert lots_of(undone) == lots_of(done)
        assert held(world) == before
        assert held(world, 2) == {}


def test_what_is_gone_of_a_lot_cannot_go_back():
    """Though there is enough in all."""
    world = tracked().given(receipt(entry("A", 5)), receipt(entry("B", 5)))
    world.given(IssueStock(**HERE, quantity=d(1), lots=(entry("A", 1),)))
    first = next(r.position for r in world.log if r.event.TYPE == "StockReceived")
    refused = world.do(ReverseMovement(position=first))
    assert isinstance(refused, LotShort)
    assert (refused.lot, refused.available) == ("A", 4)


def test_goods_of_no_lot_are_taken_back_from_lots_where_none_is_left():
    """A client that does not name lots need not know that they were picked."""
    world = tracked().given(ReceiveStock(**HERE, quantity=d(5)), receipt(entry("A", 5)))
    world.given(CountStock(**HERE, quantity=d(8)))
    world.now += minutes(1)
    first = next(r.position for r in world.log if r.event.TYPE == "StockReceived")
    assert lots_of(world.do(ReverseMovement(position=first))) == {1: 2}
    assert held(world) == {1: (3, 0)}


def test_a_transfer_on_its_way_is_undone_with_its_lots():
    """As sent, as received and as lost."""
    world = stocked()
    sent = world.do(ShipTransfer(**ROUTE, quantity=d(6)))
    undone = world.do(ReverseMovement(position=sent[0].position))
    assert lots_of(undone, MovementReversed) == {2: 5, 1: 1}
    assert held(world) == {1: (5, 0), 2: (5, 0)}
    world.given(ShipTransfer(**ROUTE, quantity=d(6)))
    arrived = world.do(ReceiveTransfer(**THERE, transfer_id=2, quantity=d(4), lost=d(2)))
    for recorded in arrived:
        world.given(ReverseMovement(position=recorded.position))
    assert world.stock(1, 2).incoming[2].lots == (
        LotPart(lot_id=2, quantity=d(5)),
        LotPart(lot_id=1, quantity=d(1)),
    )
    assert held(world, 2) == {}


def test_a_withdrawn_count_gives_back_its_lots():
    """With what late movements have added to it."""
    world = tracked().given(receipt(entry("A", 5, expiry_date=days(9)), entry("B", 5)))
    world.now += minutes(60)
    count = world.do(CountStock(**HERE, quantity=d(6)))
    world.given(IssueStock(**HERE, quantity=d(3), effective_at=world.now - minutes(30)))
    undone = world.do(ReverseMovement(position=count[0].position))
    assert lots_of(undone) == {2: 1}
    assert held(world) == {1: (2, 0), 2: (5, 0)}


def test_a_count_that_took_and_added_lots_has_to_be_counted_again():
    """One movement cannot undo both."""
    world = tracked().given(receipt(entry("A", 5)))
    world.now += minutes(60)
    count = world.do(CountStock(**HERE, quantity=d(7)))
    assert isinstance(count[0].event, StockCounted)
    world.given(IssueStock(**HERE, quantity=d(7)))
    world.given(receipt(entry("B", 3), effective_at=world.now - minutes(30)))
    refused = world.do(ReverseMovement(position=count[0].position))
    assert types(refused) == ["not_reversible"]
    assert "count again" in refused.detail()


# --- lots by themselves -----------------------------------------------------------------


def test_a_lot_is_registered_and_revised():
    """What is not said any more is not known any more; product and batch number stay."""
    world = tracked()
    (made,) = world.do(RegisterLot(product_id=1, lot="A", expiry_date=days(9), notes="n"))
    assert made.event == LotRegistered(
        lot_id=1, product_id=1, lot="A", expiry_date=days(9), notes="n"
    )
    (revised,) = world.do(ReviseLot(lot_id=1, removal_date=days(5)))
    assert revised.event == LotRevised(lot_id=1, product_id=1, lot="A", removal_date=days(5))
    assert world.do(ReviseLot(lot_id=1, removal_date=days(5))) == []
    assert types(world.do(ReviseLot(lot_id=2))) == ["lot_not_found"]
    world.given(receipt(entry("B", 1, expiry_date=days(6)), entry("A", 1)))
    assert lots_of(world.do(IssueStock(**HERE, quantity=d(1)))) == {1: 1}


def test_a_batch_number_is_unique_for_its_product():
    """Whatever its case; another product may have the same."""
    world = tracked().given(RegisterLot(product_id=1, lot="A"))
    taken = world.do(RegisterLot(product_id=1, lot=" a"))
    assert taken == LotTaken(product_id=1, sku="TEA", lot=" a", lot_id=1)


def test_what_no_lot_can_be_is_refused():
    """Of a product that is not there or not tracked so; blank; expired before it was made."""
    assert types(tracked().do(RegisterLot(product_id=9, lot="A"))) == ["product_not_found"]
    assert shop().do(RegisterLot(product_id=1, lot="A")).field == "product_id"
    assert tracked().do(RegisterLot(product_id=1, lot=" ")).field == "lot"
    wrong: dict[str, Any] = {"manufacture_date": days(2), "expiry_date": days(1)}
    assert tracked().do(RegisterLot(product_id=1, lot="A", **wrong)).field == "expiry_date"
    refused = tracked().do(receipt(entry("A", 1, **wrong)))
    assert refused.field == "lots.expiry_date"


def test_a_movement_of_lots_is_told_by_the_time_it_takes_effect():
    """A lot that came in later cannot have gone out before."""
    world = tracked().given(receipt(entry("A", 5)))
    world.now = datetime(2026, 3, 3, tzinfo=UTC)
    world.given(receipt(entry("B", 5)))
    early = IssueStock(**HERE, quantity=d(1), lots=(entry("B", 1),), effective_at=NOON + minutes(1))
    assert types(world.do(early)) == ["lot_short"]
