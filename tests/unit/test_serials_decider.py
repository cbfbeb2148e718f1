"""Serial numbers: one live place a unit, whatever moves it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import InvalidCommand, Refusal
from ledger.domain.refusals_tracking import (
    InsufficientSerials,
    SerialElsewhere,
    SerialInStock,
    SerialMovedSince,
    SerialNotFound,
    SerialsNeeded,
)
from ledger.domain.stock_state import LotBalance
from schemas.lot import SerialMoved, SerialRegistered
from schemas.stock import (
    SERIALS_MAX,
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
    SetStock,
    ShipTransfer,
    StockIssued,
    StockReceived,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}
THERE: dict[str, Any] = {"product_id": 1, "location_id": 2}
ROUTE: dict[str, Any] = {"product_id": 1, "from_location_id": 1, "to_location_id": 2}


def d(number: int | str) -> Decimal:
    return Decimal(number)


def units(*serials: str, place: dict[str, Any] = HERE, **more: Any) -> ReceiveStock:
    return ReceiveStock(**place, quantity=d(len(serials)), serials=serials, **more)


def stocked(*serials: str, unnumbered: int = 0) -> World:
    """A world with units of a product that is tracked by serial numbers."""
    world = shop(product={"tracking_type": "serial"})
    if serials:
        world.given(units(*serials))
    if unnumbered:
        world.given(ReceiveStock(**HERE, quantity=d(unnumbered)))
    return world


def where(world: World) -> dict[str, tuple[str | None, int]]:
    """Return where each unit is by its own stream."""
    return {
        state.serial: (state.status, state.location_id)
        for name, state in sorted(world.states.items())
        if name.startswith("serial-")
    }


def serials_of(outcome: Any, event_type: Any) -> tuple[int, ...]:
    assert not isinstance(outcome, Refusal), outcome.detail()
    return next(r.event.serials for r in outcome if isinstance(r.event, event_type))


def test_a_unit_is_registered_once_and_moves_at_each_movement():
    """Beside the movement, in the same commit."""
    world = stocked()
    outcome = world.do(units("S1", "S2"))
    assert types(outcome) == [
        "StockReceived", "SerialRegistered", "SerialRegistered", "SerialMoved", "SerialMoved"
    ]  # fmt: skip
    assert serials_of(outcome, StockReceived) == (1, 2)
    assert outcome[1].event == SerialRegistered(serial_id=1, product_id=1, serial="S1")
    assert outcome[3].event == SerialMoved(
        serial_id=1, product_id=1, location_id=1, status="in_stock"
    )
    sold = world.do(IssueStock(**HERE, quantity=d(1), serials=(" s2",)))
    assert types(sold) == ["StockIssued", "SerialMoved"]
    assert where(world) == {"S1": ("in_stock", 1), "S2": ("sold", 1)}


def test_a_unit_may_come_go_return_and_come_again():
    """Its stream tells each of its moves; it is registered the first time only."""
    world = stocked("S1").given(IssueStock(**HERE, quantity=d(1), serials=("S1",)))
    back = world.do(units("S1", place=THERE, source="customer"))
    assert types(back) == ["StockReceived", "SerialMoved"]
    to_supplier: dict[str, Any] = {"destination": "supplier", "serials": ("S1",)}
    world.given(IssueStock(**THERE, quantity=d(1), **to_supplier))
    assert where(world) == {"S1": ("returned", 2)}
    world.given(units("S1"))
    assert where(world) == {"S1": ("in_stock", 1)}


@pytest.mark.parametrize(
    ("first", "status", "location_id"),
    [
        (None, "in_stock", 1),
        (QuarantineStock(**HERE, quantity=d(1)), "quarantined", 1),
        (ShipTransfer(**ROUTE, quantity=d(1)), "in_transit", 2),
    ],
)
def test_a_unit_that_is_in_stock_cannot_come_in(first: Any, status: str, location_id: int):
    """The refusal says where it is."""
    world = stocked("S1").given(*([first] if first else []))
    for command in (units("S1", place=THERE), AdjustStock(**THERE, quantity=d(1), serials=("S1",))):
        refused = world.do(command)
        assert refused == SerialInStock(
            product_id=1,
            sku="TEA",
            serial="S1",
            serial_id=1,
            location_id=location_id,
            serial_status=status,
        )
        assert f"{status} at location {location_id}" in refused.detail()


@pytest.mark.parametrize(
    ("serials", "fault"),
    [
        (("S1",), "are 1 but 2 pcs is to move"),
        (("S1", "s1 "), "named twice"),
        (("S1", " "), "must not be blank"),
    ],
)
def test_serials_must_be_named_one_for_each_unit(serials: tuple[str, ...], fault: str):
    world = shop(product={"tracking_type": "serial", "unit": "pcs"})
    refused = world.do(ReceiveStock(**HERE, quantity=d(2), serials=serials))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "serials"
    assert fault in refused.fault


def test_a_named_unit_must_be_known_and_be_there():
    """In stock to go out, blocked to be freed."""
    world = stocked("S1", "S2", unnumbered=2).given(units("T1", place=THERE))
    world.given(QuarantineStock(**HERE, quantity=d(1), serials=("S2",)))
    unknown = world.do(IssueStock(**HERE, quantity=d(1), serials=("X",)))
    assert unknown == SerialNotFound(product_id=1, sku="TEA", serial="X")
    for serial, place, status in (("T1", 2, "in_stock"), ("S2", 1, "quarantined")):
        refused = world.do(IssueStock(**HERE, quantity=d(1), serials=(serial,)))
        assert isinstance(refused, SerialElsewhere)
        assert (refused.location_id, refused.serial_status) == (place, status)
    freed = world.do(ReleaseQuarantine(**HERE, quantity=d(1), serials=("S1",)))
    assert isinstance(freed, SerialElsewhere)
    assert (freed.wanted_status, freed.serial_status) == ("quarantined", "in_stock")


def test_a_move_before_the_last_one_is_refused_or_passed_over():
    """Named, it is refused; unnamed, another unit goes."""
    world = stocked("S1")
    world.now += minutes(60)
    world.given(units("S2"), TransferStock(**ROUTE, quantity=d(1), serials=("S1",)))
    world.given(TransferStock(**ROUTE, quantity=d(1), serials=("S2",)))
    world.given(units("T1", place=THERE, effective_at=NOON))
    between = world.now - minutes(30)
    refused = world.do(IssueStock(**THERE, quantity=d(1), serials=("S1",), effective_at=between))
    assert refused == SerialMovedSince(
        product_id=1, sku="TEA", serial="S1", serial_id=1, effective_at=between, moved_at=world.now
    )
    picked = world.do(IssueStock(**THERE, quantity=d(1), effective_at=between))
    assert serials_of(picked, StockIssued) == (3,)


def test_units_known_longest_go_out_first_and_those_without_numbers_last():
    """Unless they are named."""
    world = stocked(unnumbered=2).given(units("S1", "S2", "S3"))
    world.given(IssueStock(**HERE, quantity=d(1), serials=("S2",)))
    assert serials_of(world.do(IssueStock(**HERE, quantity=d(1))), StockIssued) == (1,)
    assert serials_of(world.do(IssueStock(**HERE, quantity=d(2))), StockIssued) == (3,)
    assert serials_of(world.do(IssueStock(**HERE, quantity=d(1))), StockIssued) == ()
    assert types(world.do(IssueStock(**HERE, quantity=d(1)))) == ["insufficient_stock"]


def test_units_of_one_movement_are_bounded():
    """More than a movement may have are refused, with the way out; without numbers they may go."""
    world = stocked(unnumbered=SERIALS_MAX + 5)
    world.given(IssueStock(**HERE, quantity=d(SERIALS_MAX + 1)))
    for start in (0, SERIALS_MAX):
        count = SERIALS_MAX if not start else 1
        world.given(units(*(f"S{start + number}" for number in range(count))))
    refused = world.do(IssueStock(**HERE, quantity=d(SERIALS_MAX + 1)))
    assert isinstance(refused, InvalidCommand)
    assert "split it up" in refused.fault


def test_every_movement_keeps_the_status_of_its_units():
    """In stock, blocked, freed, scrapped, on the way, arrived, lost, adjusted away."""
    world = stocked("S1", "S2", "S3", "S4", "S5")
    world.given(QuarantineStock(**HERE, quantity=d(2)))
    assert where(world)["S1"] == where(world)["S2"] == ("quarantined", 1)
    world.given(ReleaseQuarantine(**HERE, quantity=d(1)))
    assert where(world)["S1"] == ("in_stock", 1)
    world.given(ReleaseQuarantine(**HERE, quantity=d(1), disposition="scrap"))
    assert where(world)["S2"] == ("lost", 1)
    world.given(AdjustStock(**HERE, quantity=d(-1), serials=("S4",)))
    assert where(world)["S4"] == ("lost", 1)
    sent = world.do(ShipTransfer(**ROUTE, quantity=d(3)))
    assert serials_of(sent, TransferShipped) == serials_of(sent, TransferExpected) == (1, 3, 5)
    assert where(world)["S1"] == ("in_transit", 2)
    arrived = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d(1), lost=d(1)))
    assert serials_of(arrived, TransferReceived) == (1,)
    assert serials_of(arrived, TransferLost) == (5,)
    assert where(world)["S1"] == ("in_stock", 2)
    assert where(world)["S5"] == ("lost", 2)
    assert where(world)["S3"] == ("in_transit", 2)
    assert world.stock(1, 2).incoming[1].serials == (3,)
    world.given(ReceiveTransfer(**THERE, transfer_id=1, quantity=d(1), serials=("S3",)))
    moved = world.do(TransferStock(
        product_id=1, from_location_id=2, to_location_id=1, quantity=d(1), serials=("S3",)
    ))  # fmt: skip
    assert types(moved) == ["TransferShipped", "TransferReceived", "SerialMoved"]
    assert where(world)["S3"] == ("in_stock", 1)
    world.given(AdjustStock(**HERE, quantity=d(1), serials=("S4",)))
    assert where(world)["S4"] == ("in_stock", 1)
    assert world.stock(1, 1).lots[0].unrestricted == 2
    assert world.stock(1, 2).lots[0].unrestricted == 1


def test_only_units_that_are_on_their_way_arrive():
    world = stocked("S1", "S2").given(ShipTransfer(**ROUTE, quantity=d(1), serials=("S2",)))
    wrong = ReceiveTransfer(**THERE, transfer_id=1, quantity=d(1), serials=("S1",))
    assert types(world.do(wrong)) == ["serial_not_found"]
    few = ReceiveTransfer(**THERE, transfer_id=1, quantity=d(1), serials=("S2", "S1"))
    assert types(world.do(few)) == ["invalid_command"]


def test_a_count_does_not_guess_which_unit_is_missing():
    """Those without numbers may be; else somebody has to say which, by an adjustment."""
    world = stocked("S1", "S2", unnumbered=1)
    world.given(CountStock(**HERE, quantity=d(2)))
    refused = world.do(CountStock(**HERE, quantity=d(1)))
    assert refused == SerialsNeeded(
        product_id=1, sku="TEA", location_id=1, missing=d(1), unnumbered=d(0)
    )
    world.given(
        AdjustStock(**HERE, quantity=d(-1), serials=("S1",)), CountStock(**HERE, quantity=d(1))
    )
    world.given(CountStock(**HERE, quantity=d(4)))
    assert world.stock().lots == {0: LotBalance(d(1), d(0), NOON)}


def test_an_absolute_figure_takes_the_units_known_longest():
    """A system that synchronises does not know of units."""
    world = stocked("S1", "S2", unnumbered=1).given(SetStock(**HERE, quantity=d(1)))
    assert where(world) == {"S1": ("lost", 1), "S2": ("lost", 1)}


def test_units_of_a_reservation_are_picked_when_they_go_out():
    world = stocked("S1", "S2").given(ReserveStock(**HERE, quantity=d(2), reservation_id="r"))
    named = IssueReserved(**HERE, reservation_id="r", quantity=d(1), serials=("S2",))
    assert serials_of(world.do(named), StockIssued) == (2,)
    assert serials_of(world.do(IssueReserved(**HERE, reservation_id="r")), StockIssued) == (1,)


def test_units_that_cannot_go_out_so_early_are_not_made_up_for():
    """On hand was enough then, of units that have moved since."""
    world = stocked("S1")
    world.now += minutes(60)
    world.given(
        IssueStock(**HERE, quantity=d(1), serials=("S1",)),
        units("S1", source="customer"),
        units("S2"),
    )
    refused = world.do(IssueStock(**HERE, quantity=d(1), effective_at=world.now - minutes(30)))
    assert isinstance(refused, Refusal)
    assert refused.CODE in (InsufficientSerials.CODE, "insufficient_stock")
    world.now += minutes(60)
    world.given(QuarantineStock(**HERE, quantity=d(1), serials=("S1",)))
    world.given(ReleaseQuarantine(**HERE, quantity=d(1), serials=("S1",)))
    world.given(QuarantineStock(**HERE, quantity=d(1), serials=("S2",)))
    world.given(ReleaseQuarantine(**HERE, quantity=d(1), serials=("S2",)))
    early = IssueStock(**HERE, quantity=d(1), effective_at=world.now - minutes(30))
    assert types(world.do(early)) == ["insufficient_serials"]


# --- undoing ----------------------------------------------------------------------------


def test_the_same_units_go_back():
    """Of a receipt, an issue, an adjustment, a block and transfers."""
    world = stocked("S1", "S2", "S3")
    for command, during in (
        (IssueStock(**HERE, quantity=d(1), serials=("S2",)), ("sold", 1)),
        (AdjustStock(**HERE, quantity=d(-1), serials=("S2",)), ("lost", 1)),
        (QuarantineStock(**HERE, quantity=d(1), serials=("S2",)), ("quarantined", 1)),
        (TransferStock(**ROUTE, quantity=d(1), serials=("S2",)), ("in_stock", 2)),
        (ShipTransfer(**ROUTE, quantity=d(1), serials=("S2",)), ("in_transit", 2)),
    ):
        done = world.do(command)
        assert where(world)["S2"] == during
        undone = world.do(ReverseMovement(position=done[0].position))
        assert serials_of(undone, MovementReversed) == (2,)
        assert where(world)["S2"] == ("in_stock", 1), command.TYPE
        assert world.stock(1, 1).lots[0].unrestricted == 3
    received = next(r.position for r in world.log if isinstance(r.event, StockReceived))
    world.given(ReverseMovement(position=received))
    assert set(where(world).values()) == {("returned", 1)}


def test_a_unit_that_has_moved_on_cannot_go_back():
    """Where it is now is for its later movements to say."""
    world = stocked("S1", unnumbered=3)
    received = next(r.position for r in world.log if isinstance(r.event, StockReceived))
    sold = world.do(IssueStock(**HERE, quantity=d(1), serials=("S1",)))
    assert types(world.do(ReverseMovement(position=received))) == ["serial_elsewhere"]
    world.given(units("S1", place=THERE, source="customer"))
    assert types(world.do(ReverseMovement(position=sold[0].position))) == ["serial_in_stock"]


def test_an_arrival_and_a_loss_are_undone_with_their_units():
    """They are on their way again."""
    world = stocked("S1", "S2").given(ShipTransfer(**ROUTE, quantity=d(2)))
    arrived = world.do(ReceiveTransfer(**THERE, transfer_id=1, quantity=d(1), lost=d(1)))
    for recorded in arrived[:2]:
        world.given(ReverseMovement(position=recorded.position))
    assert where(world) == {"S1": ("in_transit", 2), "S2": ("in_transit", 2)}
    assert set(world.stock(1, 2).incoming[1].serials) == {1, 2}


def test_a_late_sale_of_a_unit_before_a_count_leaves_one_without_a_number():
    """The count stays what was counted: there is one unit more than is known."""
    world = stocked("S1", "S2")
    world.now += minutes(60)
    world.given(CountStock(**HERE, quantity=d(2)))
    late = world.now - minutes(30)
    world.given(IssueStock(**HERE, quantity=d(1), serials=("S1",), effective_at=late))
    assert world.stock().on_hand == 2
    assert world.stock().lots[0].unrestricted == 1
    refused = world.do(units("S3", effective_at=late))
    assert types(refused) == [
        "StockReceived",
        "CountVarianceRevised",
        "SerialRegistered",
        "SerialMoved",
    ]
    again = world.do(units("S4", effective_at=late))
    assert isinstance(again, SerialsNeeded)
    world.now += timedelta(days=1)
    assert world.stock().lots[0].unrestricted == 2
