"""Lots of what moves: those that a client names, and those that are picked.

**Late movements.** What a movement takes from a lot must be there at its time and at every
later one. Where a count comes after it, the count's revision is of lots as well: what the count
had missed too much is given back lot by lot, and what it finds missing now is of no known lot
first, then of the movement's own.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from ledger.aliases import fold
from ledger.domain import lot
from ledger.domain.decision import InvalidCommand, NewEvent, Refusal
from ledger.domain.lot import LotState
from ledger.domain.lots import (
    Key,
    Picked,
    Timeline,
    business_day,
    first_expired_first,
    found_by,
    given_back,
    lot_parts,
    missing_first,
    pick,
)
from ledger.domain.movements import UNRESTRICTED, Leg
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals_tracking import (
    InsufficientLots,
    LotDiffers,
    LotNotFound,
    LotsExceedStock,
    LotShort,
)
from ledger.domain.stock_state import ZERO
from ledger.domain.tracked import Movement, Outcome, Parts, at_place, revision_in, with_parts
from schemas.lot import LotRegistered
from schemas.stock import Account, LotEntry


def follow(decision: Sequence[NewEvent], movement: Movement, leg: Leg) -> Outcome | Refusal:
    """Return a decision with the lots that it is of.

    Refusals: InvalidCommand, LotNotFound, LotDiffers, LotShort, InsufficientLots,
    LotsExceedStock.
    """
    place, facts = movement.place, movement.facts
    timeline = Timeline(place, facts)
    revision = revision_in(decision, movement.event)
    out, into = movement.out_of(leg), movement.into(leg)
    registered: list[NewEvent] = []
    back: dict[Key, Decimal] = {}
    if revision is not None and revision.quantity > 0:
        found = found_by(facts.later[place.stream], revision.event.count_position)
        back = given_back(found, revision.quantity)
        timeline.add(revision.at, UNRESTRICTED, back)
    if out is not None:
        parts = _going_out(movement, leg, out, timeline)
        if isinstance(parts, Refusal):
            return parts
    else:
        coming = _coming_in(movement, leg)
        if isinstance(coming, Refusal):
            return coming
        parts, registered = coming
        below = timeline.lowest(None, into, None) if into is not None else None
        if parts.keys() - {None} and below is not None and below.quantity < 0:
            return LotsExceedStock(**at_place(place, below.at), unassigned=below.quantity)
        if into is not None:
            timeline.add(None, into, parts)
    if revision is not None and revision.quantity < 0:
        order = missing_first(timeline, parts)
        picked = pick(timeline, UNRESTRICTED, -revision.quantity, order, revision.at)
        if picked.short:
            return _insufficient(movement, -revision.quantity, picked, revision.at)
        back = picked.parts
    lots = lot_parts(parts)
    decision = with_parts(decision, movement.event, lots=lots)
    if revision is not None:
        decision = with_parts(decision, revision.event, lots=lot_parts(back))
    return Outcome(registered, decision, (), Parts(lots))


def _going_out(
    movement: Movement, leg: Leg, account: Account, timeline: Timeline
) -> dict[Key, Decimal] | Refusal:
    """Return of which lots goods are that go out."""
    if movement.given is not None:
        return _given_out(movement, leg, account, timeline)
    if movement.lots:
        return _named_out(movement, leg, account, timeline)
    if movement.purpose == "missing":
        order = missing_first(timeline)
        picked = pick(timeline, account, leg.quantity, order)
        return _insufficient(movement, leg.quantity, picked) if picked.short else picked.parts
    day = business_day(movement.place, movement.facts.now) if movement.purpose == "use" else None
    ranked = first_expired_first(movement.place, timeline, movement.states, day)
    order = [*ranked.lot_ids, None]
    first = movement.refs.lots_first
    picked = pick(timeline, account, leg.quantity, order, first=first)
    if not picked.short:
        return picked.parts
    past = [lot_id for lot_id in ranked.past if timeline.lowest(lot_id, account).quantity > 0]
    return _insufficient(movement, leg.quantity, picked, past=past)


def _given_out(
    movement: Movement, leg: Leg, account: Account, timeline: Timeline
) -> dict[Key, Decimal] | Refusal:
    """Return the lots that are certain, and for the rest what is missing first."""
    assert movement.given is not None
    parts: dict[Key, Decimal] = {part.lot_id: part.quantity for part in movement.given.lots}
    for key, quantity in parts.items():
        low = timeline.lowest(key, account)
        if low.quantity < quantity:
            return _short(movement, key, quantity, low.quantity, low.at)
    rest = leg.quantity - sum(parts.values(), ZERO)
    if rest:
        timeline.add(None, account, parts, -1)
        picked = pick(timeline, account, rest, missing_first(timeline))
        timeline.add(None, account, parts)
        if picked.short:
            return _insufficient(movement, rest, picked)
        for key, quantity in picked.parts.items():
            parts[key] = parts.get(key, ZERO) + quantity
    return parts


def _named_out(
    movement: Movement, leg: Leg, account: Account, timeline: Timeline
) -> dict[Key, Decimal] | Refusal:
    entries = checked_entries(movement.product, movement.lots, leg.quantity)
    if isinstance(entries, Refusal):
        return entries
    parts: dict[Key, Decimal] = {}
    for entry, quantity in entries:
        state = _known(movement, entry)
        if state is None:
            return LotNotFound(product_id=movement.place.product_id, lot=entry.lot)
        differs = _differs(movement.product, state, entry)
        if differs is not None:
            return differs
        low = timeline.lowest(state.lot_id, account)
        if low.quantity < quantity:
            return _short(movement, state.lot_id, quantity, low.quantity, low.at)
        parts[state.lot_id] = quantity
    return parts


def _coming_in(movement: Movement, leg: Leg) -> tuple[dict[Key, Decimal], list[NewEvent]] | Refusal:
    """Return of which lots goods are that come in, and the registration of those not known."""
    if movement.given is not None:
        parts: dict[Key, Decimal] = {part.lot_id: part.quantity for part in movement.given.lots}
    elif not movement.lots:
        parts = {}
    else:
        named = _named_in(movement, leg)
        if isinstance(named, Refusal):
            return named
        return named
    rest = leg.quantity - sum(parts.values(), ZERO)
    return ({**parts, None: rest} if rest else parts), []


def _named_in(movement: Movement, leg: Leg) -> tuple[dict[Key, Decimal], list[NewEvent]] | Refusal:
    entries = checked_entries(movement.product, movement.lots, leg.quantity)
    if isinstance(entries, Refusal):
        return entries
    parts: dict[Key, Decimal] = {}
    registered: list[NewEvent] = []
    for entry, quantity in entries:
        state = _known(movement, entry)
        if state is not None:
            differs = _differs(movement.product, state, entry)
            if differs is not None:
                return differs
            parts[state.lot_id] = quantity
            continue
        fault = lot.date_fault(entry.manufacture_date, entry.expiry_date)
        if fault is not None:
            return InvalidCommand(field="lots.expiry_date", fault=fault)
        lot_id = movement.facts.counters.get("lot", 0) + len(registered) + 1
        event = LotRegistered(
            lot_id=lot_id,
            product_id=movement.place.product_id,
            lot=entry.lot,
            lot_number=entry.lot_number,
            manufacture_date=entry.manufacture_date,
            expiry_date=entry.expiry_date,
            removal_date=entry.removal_date,
        )
        registered.append(NewEvent(lot.stream(lot_id), event, movement.place.at))
        parts[lot_id] = quantity
    return parts, registered


def checked_entries(
    product: ProductState, lots: Sequence[LotEntry], quantity: Decimal
) -> list[tuple[LotEntry, Decimal]] | InvalidCommand:
    """Return the lots that a client names, each with its quantity, which add up to the whole."""
    entries: list[tuple[LotEntry, Decimal]] = []
    seen: set[str] = set()
    for entry in lots:
        key = fold(entry.lot)
        if not key:
            return InvalidCommand(field="lots.lot", fault="must not be blank; name the lot")
        if key in seen:
            fault = f"{entry.lot!r} is named twice; add its quantities up"
            return InvalidCommand(field="lots", fault=fault)
        seen.add(key)
        part = in_own_unit(product, entry.quantity, None, "lots.quantity")
        if isinstance(part, InvalidCommand):
            return part
        entries.append((entry, part))
    total = sum((part for _, part in entries), ZERO)
    if total != quantity:
        fault = (
            f"add up to {total:f} but {quantity:f} {product.unit} is to move; name lots for all "
            f"of it, or none"
        )
        return InvalidCommand(field="lots", fault=fault)
    return entries


def _known(movement: Movement, entry: LotEntry) -> LotState | None:
    lot_id = movement.refs.lots.get((movement.place.product_id, fold(entry.lot)))
    return None if lot_id is None else movement.states[lot.stream(lot_id)]


def _differs(product: ProductState, state: LotState, entry: LotEntry) -> LotDiffers | None:
    for field in ("lot_number", "manufacture_date", "expiry_date", "removal_date"):
        given, present = getattr(entry, field), getattr(state, field)
        if given is not None and given != present:
            return LotDiffers(
                product_id=product.product_id,
                sku=product.sku,
                lot=state.lot,
                lot_id=state.lot_id,
                field=field,
                present=None if present is None else str(present),
                given=str(given),
            )
    return None


def _short(
    movement: Movement, key: Key, requested: Decimal, available: Decimal, at: datetime | None
) -> LotShort:
    state: LotState | None = movement.states.get(lot.stream(key or 0))
    return LotShort(
        **at_place(movement.place, at),
        lot=f"lot {key}" if state is None else state.lot,
        requested=requested,
        available=available,
    )


def _insufficient(
    movement: Movement,
    requested: Decimal,
    picked: Picked,
    at: datetime | None = None,
    past: Sequence[int] = (),
) -> InsufficientLots:
    names: list[str] = []
    for lot_id in past:
        state: LotState = movement.states[lot.stream(lot_id)]
        names.append(state.lot)
    return InsufficientLots(
        **at_place(movement.place, at or movement.place.at),
        requested=requested,
        eligible=requested - picked.short,
        past_removal=tuple(names),
    )
