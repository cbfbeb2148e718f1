"""Any commands in any order, at any effective times: what must hold whatever is decided.

The rules are checked against plain recomputations over the whole log, which share nothing with
the deciders but the definition of what an event moves.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ledger.domain import registry
from ledger.domain.decision import RecordedEvent, Refusal
from ledger.domain.movements import claim_of, legs
from ledger.domain.refusals import InsufficientStock
from ledger.domain.stock import StockState
from schemas.common import Command
from schemas.stock import (
    AdjustStock,
    CountStock,
    CountVarianceRevised,
    ExtendReservation,
    IssueReserved,
    IssueStock,
    MovementReversed,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    StockCounted,
    TransferStock,
)
from tests.support.decisions import World, minutes, shop

LOCATIONS = (1, 2)
FIRST_STOCK_POSITION = 4
STEP_MINUTES = 10


class Step(NamedTuple):
    """A command to be made once the time is known: so long after the last, so long ago."""

    wait: int
    back: int | None
    kind: str
    location_id: int
    quantity: int
    name: str
    pick: int
    flag: bool


KINDS = [
    *("receive", "issue", "issue", "adjust", "set", "count", "count", "reverse", "reverse"),
    *("transfer", "ship", "arrive", "quarantine", "unblock"),
    *("reserve", "extend", "release", "issue_reserved"),
]

steps = st.builds(
    Step,
    wait=st.integers(0, 3),
    back=st.none() | st.integers(0, 12),
    kind=st.sampled_from(KINDS),
    location_id=st.sampled_from(LOCATIONS),
    quantity=st.integers(1, 9),
    name=st.sampled_from(["a", "b"]),
    pick=st.integers(0, 60),
    flag=st.booleans(),
)
plans = st.lists(steps, min_size=5, max_size=25)


def command_of(step: Step, world: World) -> Command:
    """Return the command that a step stands for, now."""
    quantity = Decimal(step.quantity)
    ago = None if step.back is None else world.now - minutes(STEP_MINUTES * step.back)
    place: dict[str, Any] = {
        "product_id": 1,
        "location_id": step.location_id,
        "effective_at": ago,
    }
    route: dict[str, Any] = {
        "product_id": 1,
        "from_location_id": step.location_id,
        "to_location_id": 3 - step.location_id,
        "effective_at": ago,
        "quantity": quantity,
    }
    later = world.now + minutes(STEP_MINUTES * (step.pick % 8))
    match step.kind:
        case "receive":
            return ReceiveStock(**place, quantity=quantity * 2)
        case "issue":
            return IssueStock(**place, quantity=quantity)
        case "adjust":
            return AdjustStock(**place, quantity=quantity if step.flag else -quantity)
        case "count":
            found = world.stock(1, step.location_id).on_hand + quantity - 5
            return CountStock(**place, quantity=max(found, Decimal(0)))
        case "set":
            return SetStock(**(place | {"effective_at": None}), quantity=quantity)
        case "transfer":
            return TransferStock(**route)
        case "ship":
            return ShipTransfer(**route)
        case "arrive":
            lost = Decimal(step.pick % 3)
            transfer_id = 1 + step.pick % 4
            return ReceiveTransfer(**place, transfer_id=transfer_id, quantity=quantity, lost=lost)
        case "reserve":
            expires_at = later if step.flag else None
            return ReserveStock(
                **place, quantity=quantity, reservation_id=step.name, expires_at=expires_at
            )
        case "extend":
            return ExtendReservation(**place, reservation_id=step.name, expires_at=later)
        case "release":
            return ReleaseReservation(
                **place, reservation_id=step.name, quantity=quantity if step.flag else None
            )
        case "issue_reserved":
            return IssueReserved(
                **place, reservation_id=step.name, quantity=quantity if step.flag else None
            )
        case "quarantine":
            return QuarantineStock(**place, quantity=quantity)
        case "unblock":
            disposition = "restock" if step.flag else "scrap"
            return ReleaseQuarantine(**place, quantity=quantity, disposition=disposition)
        case _:
            position = FIRST_STOCK_POSITION + step.pick % (
                len(world.log) - FIRST_STOCK_POSITION + 1
            )
            at = world.log[position - 1].effective_at if step.flag else ago
            return ReverseMovement(position=position, effective_at=at)


# --- recomputations ---------------------------------------------------------------------


class Figures(NamedTuple):
    """What is so after everything of a time."""

    at: datetime
    unrestricted: Decimal
    quarantine: Decimal
    claimed: Decimal

    @property
    def available(self) -> Decimal:
        return self.unrestricted - self.claimed


def deltas(recorded: RecordedEvent, location_id: int) -> tuple[Decimal, Decimal, Decimal]:
    """Return what an event changes of unrestricted, quarantine and in transit at a location."""
    change = {"unrestricted": Decimal(0), "quarantine": Decimal(0), "in_transit": Decimal(0)}
    leg = legs(recorded.event)
    if leg is not None:
        if leg.from_location_id == location_id and leg.from_account in change:
            change[leg.from_account] -= leg.quantity
        if leg.to_location_id == location_id and leg.to_account in change:
            change[leg.to_account] += leg.quantity
    return change["unrestricted"], change["quarantine"], change["in_transit"]


def timeline(world: World, location_id: int) -> Iterator[Figures]:
    """Yield the figures at each effective time, with dead holds let go when they expired."""
    steps: list[tuple[datetime, Decimal, Decimal, Decimal]] = []
    for recorded in world.stock_events(1, location_id):
        unrestricted, quarantine, _ = deltas(recorded, location_id)
        claim = claim_of(recorded.event)
        claimed = Decimal(0) if claim is None else claim[1]
        steps.append((recorded.effective_at, unrestricted, quarantine, claimed))
    steps += [
        (hold.expires_at, Decimal(0), Decimal(0), -hold.quantity)
        for hold in world.stock(1, location_id).holds.values()
        if hold.expires_at is not None and hold.expires_at <= world.now
    ]
    for at in sorted({step[0] for step in steps}):
        so_far = [step for step in steps if step[0] <= at]
        yield Figures(
            at,
            sum((step[1] for step in so_far), Decimal(0)),
            sum((step[2] for step in so_far), Decimal(0)),
            sum((step[3] for step in so_far), Decimal(0)),
        )


def on_hand_by_counts(world: World, location_id: int) -> list[tuple[datetime, Decimal]]:
    """Return on hand after each time, taking each count at its word and no variance at all.

    Withdrawn counts are passed over. A reversal effective when its movement was stands at
    that movement's place.
    """
    events = world.stock_events(1, location_id)
    by_position = {recorded.position: recorded for recorded in events}
    withdrawn: set[int] = set()
    placed: list[tuple[datetime, int, int, RecordedEvent]] = []
    for recorded in events:
        at, position = recorded.effective_at, recorded.position
        if isinstance(recorded.event, MovementReversed):
            original = by_position[recorded.event.reversed_position]
            if isinstance(original.event, StockCounted):
                withdrawn |= {original.position, recorded.position}
            if at == original.effective_at:
                position = original.position
        placed.append((at, position, recorded.position, recorded))
    on_hand = Decimal(0)
    after: dict[datetime, Decimal] = {}
    for at, _, _, recorded in sorted(placed, key=lambda item: item[:3]):
        if recorded.position not in withdrawn:
            if isinstance(recorded.event, StockCounted):
                on_hand = recorded.event.counted
            elif not isinstance(recorded.event, CountVarianceRevised):
                unrestricted, quarantine, _ = deltas(recorded, location_id)
                on_hand += unrestricted + quarantine
        after[at] = on_hand
    return list(after.items())


# --- what must hold ---------------------------------------------------------------------


class CheckedWorld(World):
    """A world that looks at every prefix of its history."""

    stock_limit = Decimal(0)

    def append(self, stream: str, event: Any, effective_at: datetime) -> RecordedEvent:
        assert effective_at <= self.now
        recorded = super().append(stream, event, effective_at)
        if stream.startswith("stock-"):
            stock: StockState = self.states[stream]
            assert stock.available_at(self.now) >= self.stock_limit
            assert stock.quarantine >= 0
            assert stock.reserved == sum(h.quantity for h in stock.holds.values())
        return recorded


def stocked(world: World) -> World:
    """Return a world with some of everything, spread over two hours before now."""
    for index, location_id in enumerate(LOCATIONS):
        place: dict[str, Any] = {"product_id": 1, "location_id": location_id}
        ago = [world.now - minutes(STEP_MINUTES * steps) for steps in (12, 8, 5, 2)]
        world.given(
            ReceiveStock(**place, quantity=Decimal(20), effective_at=ago[0]),
            QuarantineStock(**place, quantity=Decimal(3), effective_at=ago[1]),
            ReserveStock(
                **place,
                quantity=Decimal(4),
                reservation_id="a",
                expires_at=world.now + minutes(STEP_MINUTES * 3),
                effective_at=ago[2],
            ),
            CountStock(**place, quantity=Decimal(19 + index), effective_at=ago[2]),
            IssueStock(**place, quantity=Decimal(2), effective_at=ago[3]),
        )
    return world


def checked_shop(stock_limit: str) -> CheckedWorld:
    """Return a shop that checks itself."""
    made = stocked(shop(stock_limit=stock_limit))
    world = CheckedWorld(made.now)
    world.__dict__.update(made.__dict__)
    world.stock_limit = Decimal(stock_limit)
    return world


def run(world: World, plan: list[Step]) -> None:
    """Do a plan; refusals are fine."""
    for step in plan:
        world.now += minutes(STEP_MINUTES * step.wait)
        command = command_of(step, world)
        before = len(world.log)
        outcome = world.do(command)
        if isinstance(outcome, Refusal):
            event(f"{command.TYPE} refused: {outcome.CODE}")
            assert len(world.log) == before
            check_refusal(world, command, outcome)
        else:
            event(f"{command.TYPE} accepted")


def check_refusal(world: World, command: Command, refusal: Refusal) -> None:
    """A plain issue is refused only when some later time really would be short."""
    if isinstance(command, ReceiveStock):
        raise AssertionError(f"nothing speaks against a receipt: {refusal.detail()}")
    if not isinstance(command, IssueStock):
        return
    assert isinstance(refusal, InsufficientStock)
    at = command.effective_at or world.now
    location_id = command.location_id or 0
    events = world.stock_events(1, location_id)
    withdrawn = {r.event.reversed_position for r in events if isinstance(r.event, MovementReversed)}
    counts = [
        r.effective_at
        for r in events
        if isinstance(r.event, StockCounted) and r.effective_at > at and r.position not in withdrawn
    ]
    end = min(counts, default=None)
    points = list(timeline(world, location_id))
    start = [figures.available for figures in points if figures.at <= at][-1:] or [Decimal(0)]
    later = [p.available for p in points if p.at > at and (end is None or p.at < end)]
    assert min(start + later) - command.quantity < Decimal(refusal.stock_limit)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans, stock_limit=st.sampled_from(["0", "-4"]))
def test_nothing_is_ever_short_in_any_prefix_or_at_any_effective_time(
    plan: list[Step], stock_limit: str
) -> None:
    """I6 twice: as recorded (at every position), and at every effective time up to now."""
    world = checked_shop(stock_limit)
    for step in plan:
        run(world, [step])
        for location_id in LOCATIONS:
            for figures in timeline(world, location_id):
                assert figures.available >= Decimal(stock_limit), figures
                assert figures.quarantine >= 0, figures
                assert figures.claimed >= 0, figures


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_what_was_counted_is_what_was_on_hand(plan: list[Step]) -> None:
    """Whatever is recorded late, on hand after a count is the count and what came after it."""
    world = stocked(shop(stock_limit="-20"))
    for step in plan:
        if step.kind == "reverse" and step.back is not None:
            world.now += minutes(STEP_MINUTES * step.wait)
            command = command_of(step, world)
            assert isinstance(command, ReverseMovement)
            named = world.log[command.position - 1 : command.position]
            if named and isinstance(named[0].event, StockCounted):
                # Withdrawn as of another time it is a movement of that time: not this model.
                command = ReverseMovement(position=command.position)
            world.do(command)
        else:
            run(world, [step])
        for location_id in LOCATIONS:
            told = [
                (figures.at, figures.unrestricted + figures.quarantine)
                for figures in timeline(world, location_id)
            ]
            expected = dict(on_hand_by_counts(world, location_id))
            assert {at: figure for at, figure in told if at in expected} == expected


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_states_are_the_sums_of_the_legs_and_of_the_claims(plan: list[Step]) -> None:
    """I5 and the deciders' own states agree: one definition of movements is enough."""
    world = stocked(shop(stock_limit="-4"))
    run(world, plan)
    for location_id in LOCATIONS:
        changes = [deltas(recorded, location_id) for recorded in world.log]
        stock = world.stock(1, location_id)
        assert stock.unrestricted == sum(change[0] for change in changes)
        assert stock.quarantine == sum(change[1] for change in changes)
        assert stock.in_transit == sum(change[2] for change in changes)
    for recorded in world.log:
        leg = legs(recorded.event)
        assert leg is None or leg.quantity > 0


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans, cut=st.integers(0, 60))
def test_a_fold_gives_the_same_from_any_snapshot(plan: list[Step], cut: int) -> None:
    """The state is a function of the events, whether or not it was stored as JSON on the way."""
    world = stocked(shop(stock_limit="-4"))
    run(world, plan)
    folded: dict[str, Any] = {}
    for recorded in world.log:
        category = registry.category(recorded.stream)
        state = folded.get(recorded.stream, registry.initial(category))
        if recorded.position == cut:
            stored = msgspec.json.encode(state)
            state = msgspec.json.decode(stored, type=registry.state_type(category))
        folded[recorded.stream] = registry.evolve(category)(state, recorded)
    assert folded == world.states


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_every_movement_can_be_undone_once_and_no_more(plan: list[Step]) -> None:
    """A second reversal of whatever was reversed is refused, by either end of a transfer."""
    world = stocked(shop(stock_limit="-50"))
    run(world, plan)
    for position in range(1, len(world.log) + 1):
        outcome = world.do(ReverseMovement(position=position))
        if isinstance(outcome, Refusal):
            continue
        assert any(isinstance(r.event, MovementReversed) for r in outcome)
        again = world.do(ReverseMovement(position=position))
        assert isinstance(again, Refusal)
        assert again.CODE == "already_reversed"


@pytest.mark.parametrize("scale", [0, 3])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_every_quantity_has_exactly_the_digits_of_the_scale(scale: int, plan: list[Step]) -> None:
    """I7: one quantity is written in one way only."""
    world = stocked(shop(stock_limit="-4", scale=scale))
    run(world, plan)
    for recorded in world.log[FIRST_STOCK_POSITION - 1 :]:
        for field in ("quantity", "counted", "expected", "variance", "set_to"):
            value = getattr(recorded.event, field, None)
            if value is not None and value:
                assert isinstance(value, Decimal)
                assert value.as_tuple().exponent == -scale
