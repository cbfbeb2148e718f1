"""Steps of larger commands: each on the state the others left, lots and serials among it."""

from datetime import date
from decimal import Decimal
from typing import Any

from ledger.aliases import LOT, SERIAL, fold, lot_key, serial_key
from ledger.domain import composing
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import Facts, Refs, Refusal, SerialsAt
from schemas.books import PeriodClosed
from schemas.stock import (
    ExtendReservation,
    IssueReserved,
    IssueStock,
    LotEntry,
    ReceiveStock,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    StockReceived,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}


def d(number: int | str) -> Decimal:
    return Decimal(number)


def step(world: World, command: Any) -> Step:
    """Return a step with the ids of what it names."""
    lots = {
        (1, fold(each.lot)): world.find_alias((LOT, lot_key(1, each.lot))) for each in command.lots
    }
    serials = {
        (1, fold(each)): world.find_alias((SERIAL, serial_key(1, each))) for each in command.serials
    }
    return Step(command, Refs(1, 1, lots=lots, serials=serials))


def compose(world: World, *commands: Any) -> Composed | Refusal:
    """Decide commands as steps of one, with what the composing functions say they need."""
    steps = [step(world, command) for command in commands]
    states = world._states(composing.streams(steps))  # pyright: ignore[reportPrivateUsage]
    while more := set(composing.more_streams(steps, states)) - states.keys():
        states |= world._states(sorted(more))  # pyright: ignore[reportPrivateUsage]
    facts = Facts(world.now, counters=dict(world.counters))
    facts = world.found(facts, composing.lookups(steps, states, world.now))
    states |= world._states(composing.streams_after(steps, facts))  # pyright: ignore[reportPrivateUsage]
    composed = Composed(states, facts)
    for each in steps:
        decision = composed.add(each)
        if isinstance(decision, Refusal):
            return decision
    return composed


def test_two_steps_cannot_both_have_the_last_of_a_lot():
    """The second is picked from what the first has left."""
    world = shop(product={"tracking_type": "batch"})
    world.given(
        ReceiveStock(**HERE, quantity=d(3), lots=(LotEntry(lot="A", quantity=d(3)),)),
        ReceiveStock(**HERE, quantity=d(3), lots=(LotEntry(lot="B", quantity=d(3)),)),
    )
    issue = IssueStock(**HERE, quantity=d(2))
    composed = compose(world, issue, issue)
    assert isinstance(composed, Composed)
    taken = [
        {part.lot_id: part.quantity for part in new.event.lots}  # type: ignore[attr-defined]
        for new in composed.events
    ]
    assert taken == [{1: 2}, {1: 1, 2: 1}]


def test_two_steps_never_take_the_same_unit():
    """Units are looked up for all steps together."""
    world = shop(product={"tracking_type": "serial"})
    world.given(ReceiveStock(**HERE, quantity=d(3), serials=("S1", "S2", "S3")))
    issue = IssueStock(**HERE, quantity=d(1))
    steps = [step(world, issue), step(world, issue)]
    states = world._states(composing.streams(steps))  # pyright: ignore[reportPrivateUsage]
    assert composing.lookups(steps, states, world.now) == [SerialsAt(1, 1, "in_stock", 2)]
    composed = compose(world, issue, issue)
    assert isinstance(composed, Composed)
    assert [new.stream for new in composed.events if new.stream.startswith("serial-")] == [
        "serial-1",
        "serial-2",
    ]


def test_a_lot_that_a_step_makes_known_is_known_to_the_next():
    """Two deliveries of one new lot register it once; a unit comes once."""
    world = shop(product={"tracking_type": "batch"})
    new = ReceiveStock(**HERE, quantity=d(2), lots=(LotEntry(lot="A", quantity=d(2)),))
    composed = compose(world, new, new)
    assert isinstance(composed, Composed)
    assert [n.event.TYPE for n in composed.events] == [
        "LotRegistered", "StockReceived", "StockReceived"
    ]  # fmt: skip
    assert composed.states["lot-1"].lot == "A"
    assert composed.states["stock-1-1"].lots[1].unrestricted == 4
    serials = shop(product={"tracking_type": "serial"})
    unit = ReceiveStock(**HERE, quantity=d(1), serials=("S1",))
    assert types(compose(serials, unit, unit)) == ["serial_in_stock"]  # type: ignore[arg-type]


def test_ids_of_orders_reservations_are_their_own():
    """A client is refused each command about one; a step of an order is not."""
    world = shop().given(ReceiveStock(**HERE, quantity=d(5)))
    of_order = "order:1042001"
    for command in (
        ReserveStock(**HERE, quantity=d(1), reservation_id=of_order),
        ExtendReservation(**HERE, reservation_id=of_order, expires_at=None),
        ReleaseReservation(**HERE, reservation_id=of_order),
        IssueReserved(**HERE, reservation_id=of_order),
    ):
        assert types(world.do(command)) == ["reservation_is_an_orders"]
    composed = Composed(world.states, Facts(world.now))
    reserve = ReserveStock(**HERE, quantity=d(1), reservation_id=of_order)
    for command in (reserve, IssueReserved(**HERE, reservation_id=of_order, unit_price=d(3))):
        assert not isinstance(composed.add(Step(command, Refs(1, 1))), Refusal)
    assert world.do(reserve).detail().endswith("reservation_id.")


def test_nothing_is_recorded_for_a_day_that_the_books_are_closed_for():
    """By the clock of each place that it is about; now is in no closed period."""
    world = shop().given(ReceiveStock(**HERE, quantity=d(5), effective_at=NOON - minutes(3000)))
    received = world.log[-1].position
    world.append("books-1", PeriodClosed(through=date(2026, 3, 1)), NOON)
    yesterday: dict[str, Any] = {"effective_at": NOON - minutes(13 * 60)}
    for command in (
        ReceiveStock(**HERE, quantity=d(1), **yesterday),
        IssueStock(**HERE, quantity=d(1), **yesterday),
        ReserveStock(**HERE, quantity=d(1), **yesterday),
        TransferStock(
            product_id=1, from_location_id=1, to_location_id=2, quantity=d(1), **yesterday
        ),
        ReverseMovement(position=received, **yesterday),
    ):
        refused = world.do(command)
        assert types(refused) == ["period_closed"], command.TYPE
        assert refused.extensions()["closed_through"] == "2026-03-01"
    assert types(world.do(ReverseMovement(position=received))) == ["MovementReversed"]
    today: dict[str, Any] = {"effective_at": NOON - minutes(11 * 60)}
    assert types(world.do(ReceiveStock(**HERE, quantity=d(1), **today))) == ["StockReceived"]


def test_prices_destinations_and_references_reach_the_events():
    """What later figures of revenue and cost are made of."""
    world = shop().given(ReceiveStock(**HERE, quantity=d(9)))
    (issued,) = world.do(
        IssueStock(**HERE, quantity=d(1), destination="supplier", unit_price=d("2.50"))
    )
    assert (issued.event.destination, issued.event.unit_price) == ("supplier", d("2.50"))
    (back,) = world.do(
        ReceiveStock(
            **HERE, quantity=d(1), source="customer", unit_price=d("2.50"), returns="ORD-1/1"
        )
    )
    assert isinstance(back.event, StockReceived)
    assert (back.event.unit_price, back.event.returns) == (d("2.50"), "ORD-1/1")
