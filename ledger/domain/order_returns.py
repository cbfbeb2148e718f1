"""Goods that a customer sends back: into quarantine, or straight back on the shelf.

What comes back is taken to be of the latest fulfilment first, so each return names the issue
that its goods are worth the cost of. A client may name the lots or serials; without, they are
those that went out where that leaves no doubt: all that is left of them comes back, or there
was one lot.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ledger.aliases import fold
from ledger.domain import lot, serial
from ledger.domain.composing import Composed, Step
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    Refusal,
    State,
)
from ledger.domain.lot import LotState
from ledger.domain.order_figures import figures, in_line, in_own_units, line_not_found, line_of
from ledger.domain.order_fulfilment import reference_of
from ledger.domain.order_state import ZERO, LineState, OrderState, less, stream
from ledger.domain.order_steps import quarantine, receive
from ledger.domain.order_tracking import tracked
from ledger.domain.refusals_orders import ReturnableExceeded
from ledger.domain.serial import SerialState
from schemas.order import (
    MovedLine,
    OrderLineQuantity,
    OrderReturned,
    ReturnedLine,
    ReturnOrder,
)
from schemas.stock import LotPart, StockReceived


class _Back(NamedTuple):
    """What comes back of one line of a fulfilment; ``line`` counts those lines from 0.

    ``asked`` counts from 0 which of the client's lines it is for.
    """

    fulfilment: int
    line: int
    moved: MovedLine
    asked: int = 0


def left_of(state: OrderState, lines: Sequence[OrderLineQuantity]) -> Iterator[MovedLine]:
    """Yield what went out of some lines and has not come back."""
    asked = {each.order_item_id for each in lines}
    for fulfilment in state.fulfilments:
        yield from (moved for moved in fulfilment.left if moved.order_item_id in asked)


def steps(state: OrderState, command: ReturnOrder, states: Mapping[str, State]) -> list[Step]:
    """Return the steps that a return may take, for whatever of it may come back."""
    return [
        step
        for moved in left_of(state, command.lines)
        if moved.quantity
        for step in _steps(state, command, _Back(0, 0, moved), states)
    ]


def take_back(
    state: OrderState,
    command: ReturnOrder,
    at: datetime | None,
    states: Mapping[str, State],
    facts: Facts,
) -> Decision:
    """Return what came back, at what it cost when it went out.

    Refusals: InvalidCommand, OrderLineNotFound, ReturnableExceeded, and those of stock.
    """
    lines = in_own_units(state, command.lines, states)
    if isinstance(lines, Refusal):
        return lines
    coming = _coming_back(state, lines, at, states)
    if isinstance(coming, Refusal):
        return coming
    composed = Composed(states, facts)
    returned: list[ReturnedLine] = []
    for back in coming:
        received: StockReceived | None = None
        for step in _steps(state, command, back, states):
            done = composed.add(step)
            if isinstance(done, Refusal):
                return in_line(done, back.asked)
            for new in done:
                if isinstance(new.event, StockReceived):
                    received = new.event
        assert received is not None, "the first step receives"
        returned.append(
            ReturnedLine(
                order_item_id=back.moved.order_item_id,
                product_id=back.moved.product_id,
                location_id=received.location_id,
                quantity=received.quantity,
                lots=received.lots,
                serials=received.serials,
                fulfilment=back.fulfilment,
                fulfilment_line=back.line,
            )
        )
    event = OrderReturned(
        order_id=state.order_id,
        return_number=state.returns + 1,
        lines=tuple(returned),
        disposition=command.disposition,
        reason=command.reason,
        notes=command.notes,
    )
    return [NewEvent(stream(state.order_id), event, at), *composed.events]


def _steps(
    state: OrderState, command: ReturnOrder, back: _Back, states: Mapping[str, State]
) -> list[Step]:
    moved = back.moved
    part = tracked(moved, command.location_id or moved.location_id, states)
    reference = f"{state.order_number}/R{state.returns + 1}"
    found = [
        receive(
            reference_of(state.order_number, back.fulfilment),
            part,
            line_of(state, moved.order_item_id).unit_price,
            command.effective_at,
            reference=reference,
            reason=command.reason,
        )
    ]
    if command.disposition == "quarantine":
        found.append(quarantine(reference, part, command.effective_at, command.reason))
    return found


def _coming_back(
    state: OrderState,
    lines: Sequence[OrderLineQuantity],
    at: datetime | None,
    states: Mapping[str, State],
) -> list[_Back] | Refusal:
    """Return what of which fulfilment comes back, the latest first."""
    left = {fulfilment.number: list(fulfilment.left) for fulfilment in state.fulfilments}
    coming: list[_Back] = []
    for index, asked in enumerate(lines):
        line = state.line(asked.order_item_id)
        if line is None:
            return line_not_found(state, asked.order_item_id)
        wanted = _wanted(f"lines[{index}]", asked, left, states)
        if isinstance(wanted, Refusal):
            return wanted
        for fulfilment in reversed(state.fulfilments):
            if at is not None and at < fulfilment.at:
                continue
            moved_lines = left[fulfilment.number]
            for number, moved in enumerate(moved_lines):
                if moved.order_item_id != line.id or not moved.quantity:
                    continue
                part = wanted.part_of(moved)
                if part.quantity:
                    moved_lines[number] = less(moved, part)
                    coming.append(_Back(fulfilment.number, number, part, index))
        if wanted.quantity:
            return _too_much(state, line, asked.quantity, f"lines[{index}]", at, wanted, states)
    return coming


def _too_much(
    state: OrderState,
    line: LineState,
    requested: Decimal,
    field: str,
    at: datetime | None,
    wanted: "_Wanted",
    states: Mapping[str, State],
) -> Refusal:
    if wanted.is_named:
        fault = "name what did not go out with this line, or not so much of it; check the names"
        return InvalidCommand(field=f"{field}.{wanted.is_named}", fault=fault)
    if at is not None and requested <= line.fulfilled - line.returned:
        fault = "not so much had gone out by then; give a later time"
        return InvalidCommand(field="effective_at", fault=fault)
    return ReturnableExceeded(**figures(state, line, requested, states))


class _Wanted:
    """What is still to come back of a line: a quantity, of these lots or serials where named."""

    def __init__(
        self, quantity: Decimal, lots: Mapping[int, Decimal], serials: frozenset[int]
    ) -> None:
        self.quantity = quantity
        self._lots = dict(lots)
        self._serials = set(serials)
        self.is_named = "serials" if serials else "lots" if lots else ""

    def part_of(self, moved: MovedLine) -> MovedLine:
        """Return what of a moved line is wanted, and want that much less."""
        part = self._part_of(moved)
        self.quantity -= part.quantity
        return part

    def _part_of(self, moved: MovedLine) -> MovedLine:
        replace = msgspec.structs.replace
        if self.is_named == "serials":
            mine = tuple(each for each in moved.serials if each in self._serials)
            self._serials.difference_update(mine)
            return replace(moved, quantity=Decimal(len(mine)), lots=(), serials=mine)
        if self.is_named:
            parts: list[LotPart] = []
            for each in moved.lots:
                taken = min(each.quantity, self._lots.get(each.lot_id, ZERO))
                if taken:
                    self._lots[each.lot_id] -= taken
                    parts.append(LotPart(lot_id=each.lot_id, quantity=taken))
            quantity = sum((each.quantity for each in parts), ZERO)
            return replace(moved, quantity=quantity, lots=tuple(parts), serials=())
        if self.quantity >= moved.quantity:
            return moved
        lots = moved.lots
        if len(lots) == 1 and lots[0].quantity == moved.quantity:
            lots = (LotPart(lot_id=lots[0].lot_id, quantity=self.quantity),)
        else:
            lots = ()
        return replace(moved, quantity=self.quantity, lots=lots, serials=())


def _wanted(
    field: str,
    asked: OrderLineQuantity,
    left: Mapping[int, Sequence[MovedLine]],
    states: Mapping[str, State],
) -> _Wanted | InvalidCommand:
    """Return what a client asks to take back, its lots and serials by the ids they went out by."""
    gone = [
        moved
        for lines in left.values()
        for moved in lines
        if moved.order_item_id == asked.order_item_id
    ]
    lots: dict[int, Decimal] = {}
    if asked.lots:
        known: dict[str, int] = {}
        for lot_id in {part.lot_id for moved in gone for part in moved.lots}:
            lot_state: LotState = states[lot.stream(lot_id)]
            known[fold(lot_state.lot)] = lot_id
        for entry in asked.lots:
            lot_id = known.get(fold(entry.lot), 0)
            lots[lot_id] = lots.get(lot_id, ZERO) + entry.quantity
    serials: set[int] = set()
    if asked.serials:
        by_name: dict[str, int] = {}
        for number in {each for moved in gone for each in moved.serials}:
            serial_state: SerialState = states[serial.stream(number)]
            by_name[fold(serial_state.serial)] = number
        serials = {by_name.get(fold(name), -index) for index, name in enumerate(asked.serials, 1)}
        if len(serials) != asked.quantity:
            fault = "must be as many as the quantity, each once"
            return InvalidCommand(field=f"{field}.serials", fault=fault)
    elif asked.lots and sum(lots.values(), ZERO) != asked.quantity:
        fault = "must add up to the quantity"
        return InvalidCommand(field=f"{field}.lots", fault=fault)
    return _Wanted(asked.quantity, lots, frozenset(serials))
