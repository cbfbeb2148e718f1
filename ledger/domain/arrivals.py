"""What arrives of a transfer and what is lost of it, lot by lot and unit by unit."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ledger.aliases import fold
from ledger.domain.decision import InvalidCommand, Refs, Refusal
from ledger.domain.lot_picking import checked_entries
from ledger.domain.posting import Place
from ledger.domain.refusals_tracking import LotNotFound, LotShort, SerialNotFound
from ledger.domain.stock_state import ZERO, Incoming, less_lots
from ledger.domain.tracked import Parts, at_place
from schemas.stock import LotPart, ReceiveTransfer


class Split(NamedTuple):
    """Of which lots and serials the goods are that arrived, and those that were lost."""

    arrived: Parts
    lost: Parts


def split(
    place: Place,
    incoming: Incoming,
    command: ReceiveTransfer,
    refs: Refs,
    quantity: Decimal,
    lost: Decimal,
) -> Split | Refusal:
    """Return of what a transfer's goods are.

    Refusals: InvalidCommand, LotNotFound, LotShort, SerialNotFound.
    """
    if not incoming.lots and not incoming.serials and not command.lots and not command.serials:
        return Split(Parts(), Parts())
    named = _named(place, incoming, command, refs, quantity or lost)
    if isinstance(named, Refusal):
        return named
    if named is not None and not quantity:
        return Split(Parts(), named)
    arrived = named or _first(incoming, quantity)
    rest = Incoming(
        incoming.quantity - quantity,
        incoming.since,
        incoming.from_location_id,
        less_lots(incoming.lots, arrived.lots),
        tuple(each for each in incoming.serials if each not in arrived.serials),
    )
    return Split(arrived, _last(rest, lost))


def _first(incoming: Incoming, quantity: Decimal) -> Parts:
    """Return what was sent first; what is of no known lot, or has no number, comes last."""
    return Parts(_taken(incoming.lots, quantity), incoming.serials[: int(quantity)])


def _last(incoming: Incoming, quantity: Decimal) -> Parts:
    """Return what was sent last, and before that what is of no known lot or has no number."""
    unassigned = incoming.quantity - sum((part.quantity for part in incoming.lots), ZERO)
    lots = _taken(incoming.lots[::-1], max(quantity - unassigned, ZERO))
    unnumbered = incoming.quantity - len(incoming.serials)
    count = int(max(quantity - unnumbered, ZERO))
    return Parts(lots, incoming.serials[len(incoming.serials) - count :])


def _taken(lots: Sequence[LotPart], quantity: Decimal) -> tuple[LotPart, ...]:
    taken: list[LotPart] = []
    for part in lots:
        if quantity <= 0:
            break
        some = min(part.quantity, quantity)
        taken.append(LotPart(lot_id=part.lot_id, quantity=some))
        quantity -= some
    return tuple(taken)


def _named(
    place: Place, incoming: Incoming, command: ReceiveTransfer, refs: Refs, quantity: Decimal
) -> Parts | Refusal | None:
    """Return what a client says goods of a transfer are, which must be on its way; None: nothing.

    What is on its way without being known to be of a lot may turn out to be of any.
    """
    product_id = place.product_id
    if command.lots:
        entries = checked_entries(place.product, command.lots, quantity)
        if isinstance(entries, Refusal):
            return entries
        coming = {part.lot_id: part.quantity for part in incoming.lots}
        lots: list[LotPart] = []
        for entry, asked in entries:
            lot_id = refs.lots.get((product_id, fold(entry.lot)))
            if lot_id is None:
                return LotNotFound(product_id=product_id, lot=entry.lot)
            available = coming.get(lot_id, ZERO)
            if available < asked:
                return LotShort(
                    **at_place(place, None), lot=entry.lot, requested=asked, available=available
                )
            lots.append(LotPart(lot_id=lot_id, quantity=asked))
        return Parts(tuple(lots))
    if not command.serials:
        return None
    if len(command.serials) != quantity:
        fault = (
            f"are {len(command.serials)} but {quantity:f} is to move; name one for each, or none"
        )
        return InvalidCommand(field="serials", fault=fault)
    serials: list[int] = []
    for number in command.serials:
        serial_id = refs.serials.get((product_id, fold(number)))
        if serial_id is None or serial_id not in incoming.serials or serial_id in serials:
            return SerialNotFound(product_id=product_id, sku=place.product.sku, serial=number)
        serials.append(serial_id)
    return Parts((), tuple(serials))
