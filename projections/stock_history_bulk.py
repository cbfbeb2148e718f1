"""Stock in two times folded in memory: the quick way into empty tables.

The rules are those of `projections.stock_history`. Movements become entries by column; what
reservations and purchase orders change is unfolded event by event, as it is there.
"""

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from ledger.domain.movements import MOVING
from projections.binary_copy import (
    Field,
    bigints,
    binary_rows,
    byteas,
    decimals,
    integer,
    smallints,
)
from projections.bulk import Copied, CopyRows, text_field, text_rows
from projections.log_columns import EPOCH, Ints, Stretch
from projections.moves import Moves, Slots, Sums, Total, fields_of
from projections.projection import Connection
from projections.stock_history import Shape
from projections.stock_history_chunks import (
    ENTRIES,
    ENTRY_SIZE,
    Array,
    Bools,
    Full,
    Late,
    Runs,
    Straight,
    highest_before,
    opening,
)
from projections.stock_history_fold import (
    CLAIMING,
    FIGURES,
    FOR_EVER,
    NOWHERE,
    PURCHASE_EVENTS,
    STOCK_EVENTS,
    ClaimKey,
    ClaimStep,
    Purchase,
    Unfolded,
    followed,
    instant,
)

_SINCE: Final = instant(EPOCH)
"""What an event's time in columns is behind an entry's."""

# What is known of an item. The lead is how much earlier than `FOR_EVER` it began.
_PRODUCT, _LOCATION, _LATEST, _LEAD = range(4)


class _Entries(NamedTuple):
    """Entries by item, each item's in the order of the log."""

    slots: Ints
    packed: Array
    own: Bools


class StockHistoryBulk:
    """One tenant's items, and the claims on them; chunks are given out as they are full."""

    def __init__(self, tenant_id: int, shape: Shape) -> None:
        self._tenant_id = tenant_id
        self._slots = Slots()
        self._placed = 0
        self._items = Sums(_LEAD + 1)
        self._straight = Straight(shape)
        self._late = Late(shape)
        self._claims: dict[ClaimKey, list[ClaimStep]] = {}
        self._purchases: dict[int, Purchase] = {}
        self._total = Total()
        self._next: tuple[Stretch, Unfolded] | None = None

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        claims = len(self._claims) + len(self._purchases)
        return len(self._slots.pairs) + self._late.held + claims

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether every sum would still be held exactly."""
        return self._total.takes(_with_claims(moves, self._unfold(stretch)))

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; return the chunks that are full, and when items have begun."""
        unfolded = self._unfold(stretch)
        self._next = None
        self._total.add(_with_claims(moves, unfolded))
        self._keep(unfolded)
        own = self._slots.of(moves.products, moves.locations)
        givers = self._slots_at(moves, moves.from_places, own)
        takers = self._slots_at(moves, moves.to_places, own)
        begun = self._begin(stretch, moves, (own, givers, takers))
        entries = self._entries(moves, givers, takers, unfolded)
        if not len(entries.slots):
            return begun
        straight = self._are_straight(entries)
        full = self._straight.add(entries.slots[straight], entries.packed[straight])
        rows = {**begun, "stock_history_straight": self._straight_rows(full)}
        if not straight.all():
            late, runs = self._late.add(entries.slots[~straight], entries.packed[~straight])
            rows["stock_history_late"] = self._late_rows(late)
            rows["stock_history_sorted"] = self._run_rows(runs)
        return rows

    def _unfold(self, stretch: Stretch) -> Unfolded:
        """Return what events do to claims, and the entries of that; made once for a stretch.

        What is kept stays as it is: the stretch may not be taken.
        """
        if self._next is not None and self._next[0] is stretch:
            return self._next[1]
        named: list[tuple[int, int, Any]] = []
        for column in stretch.of(CLAIMING | PURCHASE_EVENTS):
            found: Any = zip(
                column.positions.tolist(),
                (column.effective + _SINCE).tolist(),
                column.events,
                strict=True,
            )
            if column.kind in CLAIMING:
                found = (each for each in found if each[2].reservation_id is not None)
            named += found
        # One position has one event.
        named.sort(key=_first)
        keys, orders = followed(event for _, _, event in named)
        unfolded = Unfolded()
        unfolded.claims = {key: self._claims[key] for key in keys if key in self._claims}
        unfolded.purchases = {
            number: msgspec.structs.replace(self._purchases[number])
            for number in orders
            if number in self._purchases
        }
        for position, at, event in named:
            if type(event) in PURCHASE_EVENTS:
                unfolded.purchase(event, at, position)
            else:
                unfolded.claim(event, at, position)
        self._next = stretch, unfolded
        return unfolded

    def _keep(self, unfolded: Unfolded) -> None:
        """Keep what claims and purchase orders have become."""
        for key, steps in unfolded.claims.items():
            if steps:
                self._claims[key] = steps
            else:
                self._claims.pop(key, None)
        for number, purchase in unfolded.purchases.items():
            if purchase is not None:
                self._purchases[number] = purchase
            else:
                self._purchases.pop(number, None)

    def _slots_at(self, moves: Moves, places: Ints, own: Ints) -> Ints:
        """Return the items of the movements' products at places; most are the movements' own."""
        elsewhere = np.flatnonzero(places != moves.locations)
        if not len(elsewhere):
            return own
        slots = own.copy()
        slots[elsewhere] = self._slots.of(moves.products[elsewhere], places[elsewhere])
        return slots

    def _known(self) -> Ints:
        """Return what is known of each item, new ones among them."""
        count = len(self._slots.pairs)
        items = self._items.reach(count)
        if new := self._slots.pairs[self._placed :]:
            items[self._placed : count, _PRODUCT : _LOCATION + 1] = new
            self._placed = count
        return items

    def _begin(
        self, stretch: Stretch, moves: Moves, slots: tuple[Ints, Ints, Ints]
    ) -> dict[str, Copied]:
        """Return where items came to have begun earlier than was known before."""
        own, givers, takers = slots
        apart = np.flatnonzero(moves.from_places != moves.to_places)
        products, locations, positions, effective = _unmoved(stretch, moves)
        touched = [own, givers[apart], takers[apart], self._slots.of(products, locations)]
        items = self._known()
        touching = np.concatenate(touched)
        at = _SINCE + np.concatenate(
            [moves.effective, moves.effective[apart], moves.effective[apart], effective]
        )
        known = np.concatenate(
            [moves.positions, moves.positions[apart], moves.positions[apart], positions]
        )
        leads = FOR_EVER - at
        earlier = np.flatnonzero(leads > items[touching, _LEAD])
        if not len(earlier):
            return {}
        earlier = earlier[np.lexsort((known[earlier], touching[earlier]))]
        touching, leads = touching[earlier], leads[earlier]
        first = leads > highest_before(touching, leads, items[touching, _LEAD])
        began, leads = touching[first], leads[first]
        # Of several of an item the last one stays, which is the earliest.
        items[began, _LEAD] = leads
        rows = binary_rows(
            *self._of_items(began),
            bigints(known[earlier][first]),
            bigints(FOR_EVER - leads),
        )
        return {"stock_history_begin": Copied(rows)}

    def _of_items(self, slots: Ints) -> tuple[Field, Field, Field]:
        """Return the columns that say of which item a row is."""
        items = self._items.rows
        return (
            integer(self._tenant_id),
            bigints(items[slots, _PRODUCT]),
            bigints(items[slots, _LOCATION]),
        )

    def _entries(self, moves: Moves, givers: Ints, takers: Ints, unfolded: Unfolded) -> _Entries:
        """Return the movements' entries, and those of claims."""
        is_apart = moves.from_places != moves.to_places
        apart = np.flatnonzero(is_apart)
        changes = [
            (self._slots.slot(item), change)
            for item, changes in unfolded.changes.items()
            for change in changes
        ]
        self._known()
        slots = np.concatenate(
            [givers, takers[apart], np.array([slot for slot, _ in changes], np.int64)]
        )
        moved = len(givers)
        packed = np.empty(len(slots), ENTRIES)
        leaving, arriving = packed[:moved], packed[moved : moved + len(apart)]
        leaving["at"] = moves.effective + _SINCE
        leaving["position"] = moves.positions
        leaving["source"] = moves.from_accounts
        leaving["target"] = np.where(is_apart, NOWHERE, moves.to_accounts)
        leaving["moves"] = moves.from_places == moves.locations
        leaving["quantity"] = moves.quantities
        arriving[:] = leaving[apart]
        arriving["source"] = NOWHERE
        arriving["target"] = moves.to_accounts[apart]
        arriving["moves"] = moves.to_places[apart] == moves.locations[apart]
        claimed = b"".join(change.packed for _, change in changes)
        packed[moved + len(apart) :] = np.frombuffer(claimed, ENTRIES)
        own = np.ones(len(slots), np.bool_)
        own[len(slots) - len(changes) :] = [change.own for _, change in changes]
        # An event's movement comes before what it does to a claim.
        order = np.lexsort((packed["position"].astype(np.int64), slots))
        return _Entries(slots[order], packed[order], own[order])

    def _are_straight(self, entries: _Entries) -> Bools:
        """Tell which entries are in the order in which things happened."""
        slots = entries.slots
        at = entries.packed["at"].astype(np.int64)
        # Only what happened at the time of its event tells how far an item is.
        reached = highest_before(
            slots, np.where(entries.own, at, 0), self._items.rows[slots, _LATEST]
        )
        straight = entries.own & (at >= reached)
        # Of several of an item the last one stays, which is the latest.
        self._items.rows[slots[straight], _LATEST] = at[straight]
        return straight

    def _straight_rows(self, full: Full) -> Copied:
        first = opening(full.chunks)
        rows = binary_rows(
            *self._of_items(full.slots),
            bigints(full.numbers),
            bigints(first["at"]),
            bigints(first["position"]),
            *(decimals(full.sums[:, figure]) for figure in range(len(FIGURES))),
            byteas(full.chunks),
        )
        return Copied(rows)

    def _late_rows(self, full: Full) -> Copied:
        rows = binary_rows(
            *self._of_items(full.slots),
            bigints(full.numbers),
            bigints(opening(full.chunks)["position"]),
            byteas(full.chunks),
        )
        return Copied(rows)

    def _run_rows(self, full: Runs) -> Copied:
        rows = binary_rows(
            *self._of_items(full.slots),
            smallints(full.levels),
            bigints(full.runs),
            bigints(full.numbers),
            bigints(opening(full.chunks)["at"]),
            *(decimals(full.sums[:, figure]) for figure in range(len(FIGURES))),
            byteas(full.chunks),
        )
        return Copied(rows)

    def finish(self) -> CopyRows:
        """Return the items with what they have open, and the claims."""
        count = len(self._slots.pairs)
        items = self._items.rows[:count]
        straight_chunks, straight, straight_counts = self._straight.open(count)
        late_chunks, late, late_counts = self._late.open(count)
        rows = binary_rows(
            *self._of_items(np.arange(count)),
            bigints(FOR_EVER - items[:, _LEAD]),
            bigints(items[:, _LATEST]),
            bigints(straight_chunks),
            bigints(late_chunks),
            byteas(straight, straight_counts * ENTRY_SIZE),
            byteas(late, late_counts * ENTRY_SIZE),
        )
        claims = text_rows(
            f"{self._tenant_id}\t{product_id}\t{location_id}\t{text_field(name)}\t"
            f"{text_field(msgspec.json.encode(steps).decode())}\n"
            for (product_id, location_id, name), steps in self._claims.items()
        )
        purchases = text_rows(
            f"{self._tenant_id}\t{number}\t{text_field(msgspec.json.encode(purchase).decode())}\n"
            for number, purchase in self._purchases.items()
        )
        return {
            "stock_history_item": Copied(rows),
            "stock_history_claim": claims,
            "stock_history_purchase": purchases,
        }

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


def _with_claims(moves: Moves, unfolded: Unfolded) -> Moves:
    """Return movements with the quantities of claims' entries beside theirs, to be counted."""
    packed = [change.packed for changes in unfolded.changes.values() for change in changes]
    if not packed:
        return moves
    entered = np.frombuffer(b"".join(packed), ENTRIES)["quantity"]
    return moves._replace(quantities=np.concatenate([moves.quantities, entered.astype(float)]))


def _unmoved(stretch: Stretch, moves: Moves) -> tuple[Ints, Ints, Ints, Ints]:
    """Return products, locations, positions and times of stock events that move nothing."""
    found: list[tuple[Ints, Ints, Ints, Ints]] = [(_NONE, _NONE, _NONE, _NONE)]
    for column in stretch.of(STOCK_EVENTS):
        events, positions, effective = column.events, column.positions, column.effective
        if column.kind in MOVING:
            still = np.flatnonzero(~np.isin(positions, moves.positions))
            events = [events[index] for index in still.tolist()]
            positions, effective = positions[still], effective[still]
        if len(events):
            products, locations = fields_of(events, "product_id"), fields_of(events, "location_id")
            found.append((products, locations, positions, effective))
    products, locations, positions, effective = map(np.concatenate, zip(*found, strict=True))
    return products, locations, positions, effective


def _first(named: tuple[int, int, Any]) -> int:
    return named[0]


_NONE: Final[Ints] = np.zeros(0, np.int64)
