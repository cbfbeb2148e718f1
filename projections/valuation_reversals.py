"""What goes back to a movement before it: reversals, and what is added to a receipt's cost."""

from typing import NamedTuple

from asyncpg import Record

from projections.costing import INBOUND, OUTBOUND, Place
from projections.valuation_entries import Entry


class Original(NamedTuple):
    """A movement that an entry goes back to."""

    position: int
    product_id: int
    location_id: int
    place: Place
    kind: str
    quantity: int
    cost: int | None
    landed: int
    basis: str | None


def complete_removal(entry: Entry, original: Original | None) -> Place | None:
    """Take the very layer out again that came in; return its place.

    What goes back to no layer of this quantity, as of a count that was revised since, goes out
    as anything does.
    """
    if original is None or original.kind not in INBOUND or original.quantity != entry.quantity:
        entry.kind, entry.origin_kind = entry.origin_kind or "missed", None
        entry.origin = None
        return None
    layer = original.place
    is_same_time = entry.place.at == layer.at
    day = layer.day if is_same_time else max(entry.place.day, layer.day)
    entry.place = entry.place._replace(day=day)
    entry.origin_kind, entry.origin_basis = original.kind, original.basis
    entry.cost, entry.landed = original.cost, original.landed
    return layer


def complete_landed(entry: Entry, original: Original | None) -> None:
    """Find the receipt that costs more; without one there is nothing to add to."""
    if original is None or original.kind not in INBOUND:
        entry.origin = None
        return
    entry.place = entry.place._replace(day=original.place.day)
    entry.location_id = original.location_id
    entry.origin_basis = original.basis


def complete_reversal(entry: Entry, original: Original) -> bool:
    """Undo an outflow; return whether what comes back has to be costed by it.

    At the outflow's own time it is as if there had been none. Later, goods come in at what they
    went out for. What goes back to no outflow of this quantity comes in at the present cost.
    """
    entry.kind, entry.origin_kind = entry.origin_kind or "found", None
    if original.kind not in OUTBOUND or original.quantity != entry.quantity:
        entry.origin, entry.basis = None, "present"
        return False
    if original.place.at == entry.place.at:
        entry.kind = original.kind
        entry.quantity = -entry.quantity
        entry.place = entry.place._replace(day=original.place.day)
        return False
    return True


def original_of(row: Record) -> Original:
    """Return the movement of a row."""
    position, product_id, location_id, day, at, kind, quantity, cost, landed, basis = row
    return Original(
        position,
        product_id,
        location_id,
        Place(day, at, position),
        kind,
        int(quantity),
        None if cost is None else int(cost),
        int(landed),
        basis,
    )
