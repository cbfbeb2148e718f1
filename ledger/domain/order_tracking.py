"""Lots and serial numbers of what goes out for an order and comes back.

A client names them by lot and serial; an order remembers their ids. Which product a name is of
is known from the order alone, so the ids are looked up once its state is there.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from ledger.aliases import LOT, SERIAL, fold, lot_key, serial_key
from ledger.domain import lot, serial
from ledger.domain.decision import Facts, InvalidCommand, Lookup, OwnerOf, Refs, SerialsAt, State
from ledger.domain.lot import LotState
from ledger.domain.lots import later_streams
from ledger.domain.order_state import LineState, OrderState
from ledger.domain.order_steps import Part
from ledger.domain.serial import SerialState
from schemas.order import MovedLine, OrderLineQuantity
from schemas.stock import LotEntry

ZERO: Final = Decimal(0)


def owners(state: OrderState, lines: Iterable[OrderLineQuantity]) -> list[Lookup]:
    """Return what finds the ids of the lots and serials that lines name."""
    wanted: list[Lookup] = []
    for asked in lines:
        line = state.line(asked.order_item_id)
        if line is None:
            continue
        wanted += [OwnerOf((LOT, lot_key(line.product_id, each.lot))) for each in asked.lots]
        wanted += [OwnerOf((SERIAL, serial_key(line.product_id, each))) for each in asked.serials]
    return wanted


def found_streams(facts: Facts) -> list[str]:
    """Return the streams of the lots and serials that lookups have found, lots gone since too."""
    names = later_streams(facts)
    for lookup, answer in facts.found.items():
        match lookup:
            case OwnerOf((kind, _)):
                if answer is not None:
                    name = lot.stream(answer) if kind == LOT else serial.stream(answer)
                    names[name] = None
            case SerialsAt():
                names.update(dict.fromkeys(serial.stream(number) for number in answer))
            case _:
                pass
    return list(names)


def moved_streams(lines: Iterable[MovedLine]) -> list[str]:
    """Return the streams of the lots and serials that moved."""
    names: dict[str, None] = {}
    for line in lines:
        names.update(dict.fromkeys(lot.stream(part.lot_id) for part in line.lots))
        names.update(dict.fromkeys(serial.stream(number) for number in line.serials))
    return list(names)


class Named:
    """The lots and serials that a client named for a line, handed on part by part.

    Without ``facts`` it is as if none had been named.
    """

    def __init__(
        self, line: LineState, index: int, asked: OrderLineQuantity, facts: Facts | None
    ) -> None:
        self._line = line
        self._index = index
        self._lots: list[LotEntry] = []
        self._serials: list[str] = []
        self._refs = Refs()
        if facts is None:
            return
        self._lots += asked.lots
        self._serials += asked.serials
        product_id = line.product_id
        lots: dict[tuple[int, str], int | None] = {}
        for each in asked.lots:
            owner = facts.found.get(OwnerOf((LOT, lot_key(product_id, each.lot))))
            lots[product_id, fold(each.lot)] = owner
        serials: dict[tuple[int, str], int | None] = {}
        for each in asked.serials:
            owner = facts.found.get(OwnerOf((SERIAL, serial_key(product_id, each))))
            serials[product_id, fold(each)] = owner
        self._refs = Refs(lots=lots, serials=serials)

    def part(self, location_id: int, quantity: Decimal) -> Part:
        """Return so much of the line at a location, with the next lots and serials named."""
        line = self._line
        lots, serials = self._next_lots(quantity), self._next_serials(quantity)
        return Part(
            line.id,
            line.product_id,
            location_id,
            quantity,
            lots,
            serials,
            self._refs,
            self._index,
        )

    def _next_lots(self, quantity: Decimal) -> tuple[LotEntry, ...]:
        taken: list[LotEntry] = []
        while self._lots and quantity > 0:
            entry = self._lots.pop(0)
            part = min(entry.quantity, quantity)
            if part < entry.quantity:
                rest = msgspec.structs.replace(entry, quantity=entry.quantity - part)
                self._lots.insert(0, rest)
            taken.append(msgspec.structs.replace(entry, quantity=part))
            quantity -= part
        return tuple(taken)

    def _next_serials(self, quantity: Decimal) -> tuple[str, ...]:
        count = int(quantity)
        taken, self._serials = self._serials[:count], self._serials[count:]
        return tuple(taken)

    def unused(self) -> InvalidCommand | None:
        """Return the refusal of what was named beyond the quantity."""
        for name, rest in (("lots", self._lots), ("serials", self._serials)):
            if rest:
                fault = "name more than the quantity; give the quantity that they add up to"
                return InvalidCommand(field=f"lines[{self._index}].{name}", fault=fault)
        return None


def tracked(moved: MovedLine, location_id: int, states: Mapping[str, State]) -> Part:
    """Return what moved as a part at a location, its lots and serials by name.

    Their streams may be read yet or not: what has not been read is left out.
    """
    product_id = moved.product_id
    lots: list[LotEntry] = []
    lot_ids: dict[tuple[int, str], int | None] = {}
    for each in moved.lots:
        lot_state: LotState | None = states.get(lot.stream(each.lot_id))
        if lot_state is not None:
            name = lot_state.lot
            lots.append(LotEntry(lot=name, quantity=each.quantity))
            lot_ids[product_id, fold(name)] = each.lot_id
    serials: list[str] = []
    serial_ids: dict[tuple[int, str], int | None] = {}
    for number in moved.serials:
        serial_state: SerialState | None = states.get(serial.stream(number))
        if serial_state is not None:
            name = serial_state.serial
            serials.append(name)
            serial_ids[product_id, fold(name)] = number
    return Part(
        moved.order_item_id,
        product_id,
        location_id,
        moved.quantity,
        tuple(lots),
        tuple(serials),
        Refs(lots=lot_ids, serials=serial_ids),
    )
