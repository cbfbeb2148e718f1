"""Any movements of tracked goods, at any effective times, against a model that shares no code.

The model knows of each type of event which way goods went, and nothing else of the domain: it
adds up the log by lot and by unit, and picks lots on its own.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ledger.domain.decision import RecordedEvent, Refusal
from schemas.common import Command
from schemas.lot import LotRegistered, SerialMoved
from schemas.stock import (
    AdjustStock,
    CountStock,
    IssueReserved,
    IssueStock,
    LotEntry,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    TransferStock,
)
from tests.support.decisions import NOON, World, minutes, shop

LOCATIONS = (1, 2)
FIRST_STOCK_POSITION = 4
STEP_MINUTES = 10
TODAY = NOON.date()
# Batch number, days until expiry and until removal: None for no such date.
LOTS: dict[str, tuple[int | None, int | None]] = {
    "A": (20, None),
    "B": (20, 5),
    "C": (3, 0),
    "D": (None, None),
}
UNITS = [f"SN-{number}" for number in range(8)]
ZERO = Decimal(0)


class Step(NamedTuple):
    """A command to be made once the time is known: so long after the last, so long ago."""

    wait: int
    back: int | None
    kind: str
    location_id: int
    quantity: int
    names: tuple[int, ...]
    pick: int
    flag: bool


KINDS = [
    *("receive", "receive", "issue", "issue", "adjust", "set", "count", "reverse", "reverse"),
    *("transfer", "ship", "arrive", "quarantine", "unblock", "reserved"),
]
steps = st.builds(
    Step,
    wait=st.integers(0, 3),
    back=st.none() | st.integers(0, 9),
    kind=st.sampled_from(KINDS),
    location_id=st.sampled_from(LOCATIONS),
    quantity=st.integers(1, 6),
    names=st.just(()) | st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple),
    pick=st.integers(0, 60),
    flag=st.booleans(),
)
plans = st.lists(steps, min_size=5, max_size=22)


def day(offset: int | None) -> date | None:
    return None if offset is None else TODAY + timedelta(days=offset)


def entries(step: Step) -> tuple[LotEntry, ...]:
    """Return lots that a step names, among them perhaps one twice or one too much."""
    wanted = [list(LOTS)[index % len(LOTS)] for index in step.names]
    each = Decimal(step.quantity) / len(wanted) if wanted else ZERO
    if each != each.to_integral_value():
        wanted, each = wanted[:1], Decimal(step.quantity)
    return tuple(
        LotEntry(
            lot=name, quantity=each, expiry_date=day(LOTS[name][0]), removal_date=day(LOTS[name][1])
        )
        for name in wanted
    )


def command_of(step: Step, world: World, tracking: str) -> Command:
    """Return the command that a step stands for, now."""
    quantity = Decimal(step.quantity)
    named: dict[str, Any] = {}
    if tracking == "batch":
        named = {"lots": entries(step)}
    elif step.names:
        units = {UNITS[index] for index in step.names}
        named, quantity = {"serials": tuple(sorted(units))}, Decimal(len(units))
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
        **named,
    }
    match step.kind:
        case "receive":
            return ReceiveStock(**place, quantity=quantity, **named)
        case "issue":
            to = "supplier" if step.pick % 5 == 0 else "customer"
            return IssueStock(**place, quantity=quantity, destination=to, **named)
        case "adjust":
            return AdjustStock(**place, quantity=quantity if step.flag else -quantity, **named)
        case "count":
            found = world.stock(1, step.location_id).on_hand + step.quantity - 4
            return CountStock(**place, quantity=max(found, ZERO))
        case "set":
            return SetStock(**(place | {"effective_at": None}), quantity=Decimal(step.quantity))
        case "transfer":
            return TransferStock(**route)
        case "ship":
            return ShipTransfer(**route)
        case "arrive":
            return ReceiveTransfer(
                **place,
                transfer_id=1 + step.pick % 4,
                quantity=quantity if step.flag else ZERO,
                lost=Decimal(step.pick % 3) if step.flag else quantity,
                **named,
            )
        case "quarantine":
            return QuarantineStock(**place, quantity=quantity, **named)
        case "unblock":
            disposition = "restock" if step.flag else "scrap"
            return ReleaseQuarantine(**place, quantity=quantity, disposition=disposition, **named)
        case "reserved":
            hold = f"h{step.location_id}"
            if hold not in world.stock(1, step.location_id).holds:
                return ReserveStock(**place, quantity=quantity, reservation_id=hold)
            return IssueReserved(**place, reservation_id=hold)
        case _:
            position = FIRST_STOCK_POSITION + step.pick % (
                len(world.log) - FIRST_STOCK_POSITION + 1
            )
            at = world.log[position - 1].effective_at if step.flag else ago
            return ReverseMovement(position=position, effective_at=at)


# --- the model --------------------------------------------------------------------------


class Move(NamedTuple):
    """So much of one lot (None: of none) into or out of an account at a location."""

    at: datetime
    position: int
    location_id: int
    account: str
    lot: int | None
    change: Decimal


def directions(e: Any) -> list[tuple[int, str, int]]:
    """Return where an event adds (+1) and takes (-1), by location and account."""
    here: int = getattr(e, "location_id", 0)
    match e.TYPE:
        case "StockReceived":
            return [(here, "unrestricted", 1)]
        case "StockIssued" | "TransferShipped":
            return [(here, "unrestricted", -1)]
        case "StockAdjusted" | "CountVarianceRevised":
            return [(here, "unrestricted", 1 if e.quantity > 0 else -1)]
        case "StockCounted":
            return [(here, "unrestricted", 1 if e.variance > 0 else -1)]
        case "TransferReceived":
            return [(here, "unrestricted", 1)]
        case "StockQuarantined":
            return [(here, "unrestricted", -1), (here, "quarantine", 1)]
        case "QuarantineReleased":
            to = [(here, "unrestricted", 1)] if e.disposition == "restock" else []
            return [(here, "quarantine", -1), *to]
        case "MovementReversed":
            return [
                (e.from_location_id, e.from_account, -1),
                (e.to_location_id, e.to_account, 1),
            ]
        case _:
            return []


def moves(world: World) -> Iterator[Move]:
    """Yield what each event of the log did to goods on hand, lot by lot."""
    for r in world.log:
        e: Any = r.event
        for location_id, account, sign in directions(e):
            if account not in ("unrestricted", "quarantine"):
                continue
            if r.stream != f"stock-1-{location_id}":
                # A transfer's other end is in its own stream, or on no premises.
                continue
            total = abs(e.variance if e.TYPE == "StockCounted" else e.quantity)
            parts = {part.lot_id: part.quantity for part in e.lots}
            if getattr(e, "serials", ()):
                parts = {0: Decimal(len(e.serials))}
            assert all(quantity > 0 for quantity in parts.values())
            assert sum(parts.values()) <= total
            rest = total - sum(parts.values(), ZERO)
            for lot, quantity in (*parts.items(), (None, rest)):
                yield Move(r.effective_at, r.position, location_id, account, lot, sign * quantity)


Balances = dict[tuple[int, str, int | None], Decimal]


def balances(found: list[Move]) -> Balances:
    """Return what there is of each lot in each account."""
    held: Balances = defaultdict(Decimal)
    for move in found:
        held[move.location_id, move.account, move.lot] += move.change
    return held


def check_never_negative(world: World) -> None:
    """Nothing is below zero of any lot: after any time in the world, and in the log's order."""
    found = list(moves(world))
    for at in {move.at for move in found}:
        for key, quantity in balances([move for move in found if move.at <= at]).items():
            assert quantity >= 0, (key, at, quantity)


def check_states(world: World) -> None:
    """The deciders' states say what the log adds up to, and lots never exceed on hand."""
    held = balances(list(moves(world)))
    for location_id in LOCATIONS:
        stock = world.stock(1, location_id)
        for account in ("unrestricted", "quarantine"):
            of_lots = {
                lot: quantity
                for (place, name, lot), quantity in held.items()
                if (place, name) == (location_id, account)
            }
            assert sum(of_lots.values(), ZERO) == getattr(stock, account)
            known = {lot: q for lot, q in of_lots.items() if lot is not None and q}
            assert known == {
                lot: getattr(balance, account)
                for lot, balance in stock.lots.items()
                if getattr(balance, account)
            }
            assert sum(known.values(), ZERO) <= getattr(stock, account)


def fefo(world: World, location_id: int, *, for_use: bool) -> list[tuple[int | None, Decimal]]:
    """Return what is on the shelf of each lot, in the order in which it should be picked."""
    found = list(moves(world))
    dates: dict[int, tuple[date, date]] = {}
    for r in world.log:
        if isinstance(r.event, LotRegistered):
            expiry = r.event.expiry_date or date.max
            dates[r.event.lot_id] = (r.event.removal_date or expiry, expiry)
    received: dict[int, datetime] = {}
    for move in sorted(found, key=lambda move: move.position):
        if move.location_id != location_id or move.lot is None:
            continue
        so_far = [m for m in found if m.position <= move.position and m.lot == move.lot]
        here = balances([m for m in so_far if m.location_id == location_id])
        if not any(here.values()):
            received.pop(move.lot, None)
        elif move.lot not in received or move.at < received[move.lot]:
            received[move.lot] = move.at
    held = balances(found)
    ranked = sorted(
        (
            (*dates[lot], received[lot], lot, quantity)
            for (place, account, lot), quantity in held.items()
            if (place, account) == (location_id, "unrestricted") and lot is not None and quantity
        ),
        key=lambda row: row[:4],
    )
    good = [(row[3], row[4]) for row in ranked if not for_use or row[0] > world.now.date()]
    return [*good, (None, held[location_id, "unrestricted", None])]


def picks(ranked: list[tuple[int | None, Decimal]], quantity: Decimal) -> dict[int | None, Decimal]:
    """Return what is taken, front to back."""
    taken: dict[int | None, Decimal] = {}
    for lot, there in ranked:
        part = min(there, quantity)
        if part:
            taken[lot] = part
            quantity -= part
    return taken


# --- lots -------------------------------------------------------------------------------


def tracked_shop(tracking: str) -> World:
    """Return two places with goods of lots or with numbers, and some without."""
    world = shop(product={"tracking_type": tracking})
    for location_id in LOCATIONS:
        place: dict[str, Any] = {"product_id": 1, "location_id": location_id}
        ago = [world.now - minutes(STEP_MINUTES * back) for back in (9, 6, 3)]
        if tracking == "batch":
            named: list[dict[str, Any]] = [
                {"lots": (entry_of("A", 4), entry_of("C", 2)), "quantity": Decimal(6)},
                {"lots": (entry_of("B", 5),), "quantity": Decimal(5)},
            ]
        else:
            units = UNITS[:3] if location_id == 1 else UNITS[3:5]
            named = [{"serials": tuple(units), "quantity": Decimal(len(units))}]
        for which, at in zip(named, ago, strict=False):
            world.given(ReceiveStock(**place, **which, effective_at=at))
        world.given(ReceiveStock(**place, quantity=Decimal(3), effective_at=ago[2]))
    for location_id in LOCATIONS:
        route: dict[str, Any] = {"from_location_id": location_id, "to_location_id": 3 - location_id}
        world.given(ShipTransfer(product_id=1, **route, quantity=Decimal(3)))
    return world


def entry_of(name: str, quantity: int) -> LotEntry:
    return LotEntry(
        lot=name,
        quantity=Decimal(quantity),
        expiry_date=day(LOTS[name][0]),
        removal_date=day(LOTS[name][1]),
    )


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_lots_are_never_below_zero_and_add_up_to_what_is_on_hand(plan: list[Step]) -> None:
    """Whatever is recorded, and for whatever time."""
    world = tracked_shop("batch")
    for step in plan:
        run(world, step, "batch")
        check_never_negative(world)
        check_states(world)


def run(world: World, step: Step, tracking: str) -> list[RecordedEvent]:
    """Do a step; a refusal is fine, and leaves nothing behind."""
    world.now += minutes(STEP_MINUTES * step.wait)
    command = command_of(step, world, tracking)
    before = len(world.log)
    outcome = world.do(command)
    if isinstance(outcome, Refusal):
        event(f"{command.TYPE} refused: {outcome.CODE}")
        assert len(world.log) == before
        return []
    event(f"{command.TYPE} accepted{' late' if step.back else ''}")
    return outcome


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_goods_that_go_out_unnamed_are_those_that_expire_first(plan: list[Step]) -> None:
    """FEFO, with what is past its removal date left out of what is for use."""
    world = tracked_shop("batch")
    for step in plan:
        lowers = step.kind in ("issue", "transfer", "ship", "quarantine")
        if not lowers or step.names:
            run(world, step, "batch")
            continue
        step = step._replace(back=None, pick=1)
        world.now += minutes(STEP_MINUTES * step.wait)
        ranked = fefo(world, step.location_id, for_use=step.kind != "quarantine")
        available = world.stock(1, step.location_id).available_at(world.now)
        eligible = sum((quantity for _, quantity in ranked), ZERO)
        outcome = world.do(command_of(step, world, "batch"))
        if step.quantity > available:
            assert outcome.CODE == "insufficient_stock"
        elif step.quantity > eligible:
            assert outcome.CODE == "insufficient_lots"
            assert outcome.eligible == eligible
            assert outcome.past_removal == ("C",)
        else:
            moved = next(r.event for r in outcome if hasattr(r.event, "lots"))
            taken = {part.lot_id: part.quantity for part in moved.lots}
            expected = picks(ranked, Decimal(step.quantity))
            expected.pop(None, None)
            assert taken == expected


# --- serial numbers ---------------------------------------------------------------------

STATUSES = {
    "unrestricted": "in_stock",
    "quarantine": "quarantined",
    "in_transit": "in_transit",
    "customer": "sold",
    "supplier": "returned",
    "adjustment": "lost",
    "loss": "lost",
}


def ends_at(e: Any) -> tuple[str, int] | None:
    """Return the status and place that units of an event have after it."""
    here = e.location_id
    match e.TYPE:
        case "StockReceived" | "TransferReceived":
            return "in_stock", here
        case "StockIssued":
            return ("sold" if e.destination == "customer" else "returned"), here
        case "StockAdjusted":
            return ("in_stock" if e.quantity > 0 else "lost"), here
        case "TransferShipped":
            return "in_transit", e.to_location_id
        case "TransferLost":
            return "lost", here
        case "StockQuarantined":
            return "quarantined", here
        case "QuarantineReleased":
            return ("in_stock" if e.disposition == "restock" else "lost"), here
        case "MovementReversed":
            return STATUSES[e.to_account], e.to_location_id
        case _:
            return None


COMES_IN = ("StockReceived",)
LIVE = ("in_stock", "quarantined", "in_transit")


def check_serials(world: World) -> None:
    """Each unit is in one place, where its own stream and the stock say it is."""
    where: dict[int, tuple[str, int]] = {}
    moved_at: dict[int, datetime] = {}
    told: dict[int, tuple[str, int]] = {}
    for r in world.log:
        e: Any = r.event
        if isinstance(e, SerialMoved):
            told[e.serial_id] = (e.status, e.location_id)
            continue
        units = getattr(e, "serials", ())
        assert len(set(units)) == len(units)
        end = ends_at(e) if units and r.stream.startswith("stock-") else None
        if end is None:
            continue
        for unit in units:
            if e.TYPE in COMES_IN:
                assert where.get(unit, ("none", 0))[0] not in LIVE
            assert moved_at.get(unit, r.effective_at) <= r.effective_at
            where[unit], moved_at[unit] = end, r.effective_at
    assert where == told
    for location_id in LOCATIONS:
        stock = world.stock(1, location_id)
        numbered = stock.lots.get(0)
        for status, account in (("in_stock", "unrestricted"), ("quarantined", "quarantine")):
            there = sum(1 for end in where.values() if end == (status, location_id))
            assert there == (getattr(numbered, account) if numbered else 0)
        coming = {unit for t in stock.incoming.values() for unit in t.serials}
        assert coming == {u for u, end in where.items() if end == ("in_transit", location_id)}


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_a_unit_is_in_one_place_at_a_time(plan: list[Step]) -> None:
    """Whatever is recorded, and for whatever time."""
    world = tracked_shop("serial")
    for step in plan:
        run(world, step, "serial")
        check_never_negative(world)
        check_states(world)
        check_serials(world)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_every_tracked_movement_can_be_undone_at_most_once(plan: list[Step]) -> None:
    """And what is undone leaves lots and units right."""
    for tracking in ("batch", "serial"):
        world = tracked_shop(tracking)
        for step in plan:
            run(world, step, tracking)
        for position in range(1, len(world.log) + 1):
            outcome = world.do(ReverseMovement(position=position))
            if isinstance(outcome, Refusal):
                continue
            assert world.do(ReverseMovement(position=position)).CODE == "already_reversed"
        check_never_negative(world)
        check_states(world)
        if tracking == "serial":
            check_serials(world)
