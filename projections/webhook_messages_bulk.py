"""What webhooks have to tell, folded in memory: the quick way into empty tables.

Stock is added up in columns. Everything else is folded by `projections.webhook_fold`, with all
facts at hand; events of stock go through it only where somebody is told of stock.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import floor
from typing import Final, NamedTuple

import msgspec
import numpy as np

from ledger.domain.movements import MOVING, QUARANTINE, UNRESTRICTED, claim_of
from projections.binary_copy import bigints, binary_rows, decimals, integer
from projections.bulk import Copied, CopyRows, text_field, text_rows
from projections.log_columns import Column, Ints, Stretch
from projections.moves import (
    ACCOUNTS,
    MILLIONTHS,
    MILLIONTHS_MAX,
    Moves,
    Slots,
    Sums,
    fields_of,
    in_millionths,
)
from projections.projection import Connection
from projections.stock_levels_bulk import running
from projections.webhook_facts import MIPOS, Fact, FactKey, Figures, Place, changes_of
from projections.webhook_fold import Interest, Message, WebhookFold
from projections.webhook_messages import STOCK_EVENTS, WebhookMessages
from projections.webhook_subscriptions import SUBSCRIPTION_EVENTS, Subscriptions
from schemas.common import Event
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import ReservationReleased, StockIssued, StockReserved

_NO_FIGURE: Final = -1
_UNRESTRICTED: Final = 0
_QUARANTINE: Final = 1
_RESERVED: Final = 2
_CHANGES: Final = 3
_WIDTH: Final = 4
_FIGURE_OF: Final = {UNRESTRICTED: _UNRESTRICTED, QUARANTINE: _QUARANTINE}
# By the number of the account.
_FIGURE: Final = np.array([_FIGURE_OF.get(account, _NO_FIGURE) for account in ACCOUNTS])
_MILLIONTHS_DIGITS: Final = 6
_CLAIMING: Final[frozenset[type[Event]]] = frozenset(
    {StockReserved, ReservationReleased, StockIssued}
)
_REVISING: Final[frozenset[type[Event]]] = frozenset({ProductRegistered, ProductRevised})
_OF_CHANGES: Final[frozenset[Interest]] = frozenset(
    {("standard", "stock.changed"), (MIPOS, "stock.changed")}
)
_OF_LOW: Final[Interest] = ("standard", "stock.low")
_NO_LEVEL: Final = -(2**63)
_NONE: Final[Ints] = np.zeros(0, np.int64)


class Changes(NamedTuple):
    """Changes of figures, in no order.

    ``figures`` are 0 for unrestricted, 1 for quarantine and 2 for reserved. Quantities are in
    millionths; ``counts`` is 1, or 0 for what is a part of another change.
    """

    positions: Ints
    products: Ints
    places: Ints
    figures: Ints
    quantities: Ints
    counts: Ints


class WebhookMessagesBulk:
    """One tenant's stock, facts and subscriptions, in memory; messages are given out as made."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._slots = Slots()
        self._stock = Sums(_WIDTH)
        self._volume = 0.0
        self._fold = WebhookFold({}, {})
        self._subscriptions = Subscriptions(())

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._slots.pairs) + len(self._fold.facts) + len(self._subscriptions.changed)

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether every sum would still be held exactly."""
        return self._volume + _volume(stretch, moves) < MILLIONTHS_MAX

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; return the messages about them."""
        self._volume += _volume(stretch, moves)
        changes = _joined(moved(moves), claimed(stretch))
        slots = self._slots.of(changes.products, changes.places)
        told = self._told(stretch, changes, slots)
        self._fold.go_on(self._figures(told))
        self._add_up(changes, slots)
        positions = changes.positions[np.isin(slots, told)]

        def telling(column: Column) -> Ints | None:
            is_stock = column.kind in STOCK_EVENTS
            return np.flatnonzero(np.isin(column.positions, positions)) if is_stock else None

        for recorded in stretch.in_order(WebhookMessages.event_types, telling):
            kind = type(recorded.event)
            if kind in SUBSCRIPTION_EVENTS:
                self._subscriptions.add(recorded)
            elif kind in STOCK_EVENTS:
                self._fold.add(recorded, changes_of(recorded.event), self._subscriptions.interests)
            else:
                self._fold.add(recorded, {}, self._subscriptions.interests)
        messages, self._fold.messages = self._fold.messages, []
        return {"webhook_message": self._message_rows(messages)}

    def _told(self, stretch: Stretch, changes: Changes, slots: Ints) -> Ints:
        """Return the slots that there may be messages about, whose events are gone through.

        No others change what the messages tell.
        """
        interests = self._subscriptions.interests
        if stretch.of(SUBSCRIPTION_EVENTS) or not interests.isdisjoint(_OF_CHANGES):
            return np.union1d(slots, self._revised(stretch))
        if _OF_LOW in interests:
            return np.union1d(self._falling_low(changes, slots), self._revised(stretch))
        return _NONE

    def _revised(self, stretch: Stretch) -> Ints:
        """Return the slots of products whose reorder level may be raised."""
        columns = stretch.of(_REVISING)
        if not columns:
            return _NONE
        revised = np.concatenate([fields_of(column.events, "product_id") for column in columns])
        products, _ = self._slots.columns()
        return np.flatnonzero(np.isin(products, revised))

    def _falling_low(self, changes: Changes, slots: Ints) -> Ints:
        """Return the slots where available falls to the reorder level that is known by now.

        An event that changes two figures counts as if it changed one after the other: so there
        are all of those where it falls by whole events, and maybe more.
        """
        counted = np.flatnonzero(changes.figures != _QUARANTINE)
        counted = counted[np.argsort(changes.positions[counted], kind="stable")]
        slots, quantities = slots[counted], changes.quantities[counted]
        quantities = np.where(changes.figures[counted] == _RESERVED, -quantities, quantities)
        stock = self._stock.reach(len(self._slots.pairs))
        available = stock[:, _UNRESTRICTED] - stock[:, _RESERVED]
        after = running(available, slots, quantities)
        products, which = np.unique(changes.products[counted], return_inverse=True)
        levels = np.fromiter(map(self._level, products.tolist()), np.int64, len(products))[which]
        return slots[(after <= levels) & (after - quantities > levels)]

    def _level(self, product_id: int) -> int:
        """Return a product's reorder level in millionths, or a number that is below all."""
        level = (self._fold.facts.get(("product", str(product_id))) or {}).get("reorder_level")
        return _NO_LEVEL if level is None else floor(Decimal(level) * MILLIONTHS)

    def _figures(self, slots: Ints) -> dict[Place, Figures]:
        """Return figures as they are by now."""
        stock = self._stock.reach(len(self._slots.pairs))[slots].tolist()
        return {
            self._slots.pairs[slot]: Figures(
                _decimal(unrestricted), _decimal(quarantine), _decimal(reserved), changes
            )
            for slot, (unrestricted, quarantine, reserved, changes) in zip(
                slots.tolist(), stock, strict=True
            )
        }

    def _add_up(self, changes: Changes, slots: Ints) -> None:
        stock = self._stock.reach(len(self._slots.pairs)).reshape(-1)
        np.add.at(stock, slots * _WIDTH + changes.figures, changes.quantities)
        np.add.at(stock, slots * _WIDTH + _CHANGES, changes.counts)

    def finish(self) -> CopyRows:
        """Return stock, facts and subscriptions."""
        return {
            "webhook_stock": self._stock_rows(),
            "webhook_fact": self._fact_rows(self._fold.facts),
            "webhook_subscription": self._subscription_rows(),
        }

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""

    # --- rows -------------------------------------------------------------------------------

    def _stock_rows(self) -> Copied:
        products, locations = self._slots.columns()
        stock = self._stock.rows[: len(products)]
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(products),
            bigints(locations),
            *(decimals(stock[:, figure]) for figure in range(_CHANGES)),
            bigints(stock[:, _CHANGES]),
        )
        return Copied(rows)

    def _fact_rows(self, facts: Mapping[FactKey, Fact | None]) -> Copied:
        return text_rows(
            f"{self._tenant_id}\t{kind}\t{text_field(key)}\t{_json_field(_encode(fact).decode())}\n"
            for (kind, key), fact in facts.items()
            if fact is not None
        )

    def _subscription_rows(self) -> Copied:
        return text_rows(
            f"{self._tenant_id}\t{row['endpoint_id']}\t{row['from_position']}\t"
            f"{_number(row['to_position'])}\t{{{','.join(row['topics'])}}}\t"
            f"{row['format']}\t{row['state']}\n"
            for row in self._subscriptions.changed
        )

    def _message_rows(self, messages: Iterable[Message]) -> Copied:
        return text_rows(
            f"{self._tenant_id}\t{made.position}\t{made.n}\t{made.topic}\t{made.format}\t"
            f"{text_field(made.item)}\t{made.occurred_at.isoformat()}\t{text_field(made.zone)}\t"
            f"{_json_field(made.data)}\n"
            for made in messages
        )


_encode: Final = msgspec.json.Encoder().encode


def _volume(stretch: Stretch, moves: Moves) -> float:
    """Return how much moves and is claimed in all, in millionths; no sum is above it."""
    volume = moves.quantities.sum(dtype=np.float64)
    for column in stretch.of(_CLAIMING - MOVING):
        quantities = in_millionths([event.quantity for event in column.events])
        volume += np.abs(quantities).sum(dtype=np.float64)
    return float(volume)


def moved(moves: Moves) -> Changes:
    """Return what `projections.webhook_facts.changes_of` says that events move."""
    sources, targets = _FIGURE[moves.from_accounts], _FIGURE[moves.to_accounts]
    at_one_place = moves.from_places == moves.to_places
    differ = ~at_one_place | (sources != targets)
    leaving = np.flatnonzero(differ & (sources != _NO_FIGURE))
    arriving = np.flatnonzero(differ & (targets != _NO_FIGURE))
    # From one figure to another at one place is one change.
    is_same = at_one_place & (sources != _NO_FIGURE)
    return Changes(
        np.concatenate([moves.positions[leaving], moves.positions[arriving]]),
        np.concatenate([moves.products[leaving], moves.products[arriving]]),
        np.concatenate([moves.from_places[leaving], moves.to_places[arriving]]),
        np.concatenate([sources[leaving], targets[arriving]]),
        np.concatenate([-moves.quantities[leaving], moves.quantities[arriving]]),
        np.concatenate([np.ones(len(leaving), np.int64), np.where(is_same[arriving], 0, 1)]),
    )


def claimed(stretch: Stretch) -> Changes:
    """Return what events do to what is reserved; of one that moves too, it is the same change."""
    found = [
        (
            position,
            event.product_id,
            event.location_id,
            claim[1],
            0 if column.kind in MOVING else 1,
        )
        for column in stretch.of(_CLAIMING)
        for position, event in zip(column.positions.tolist(), column.events, strict=True)
        if (claim := claim_of(event)) and claim[1]
    ]
    columns = zip(*found, strict=True) if found else [()] * 5
    positions, products, places, quantities, counts = columns
    return Changes(
        np.array(positions, np.int64),
        np.array(products, np.int64),
        np.array(places, np.int64),
        np.full(len(found), _RESERVED),
        in_millionths(quantities),
        np.array(counts, np.int64),
    )


def _joined(*changes: Changes) -> Changes:
    return Changes(*map(np.concatenate, zip(*changes, strict=True)))


def _decimal(millionths: int) -> Decimal:
    return Decimal(millionths).scaleb(-_MILLIONTHS_DIGITS)


def _number(number: int | None) -> str:
    return r"\N" if number is None else str(number)


def _json_field(json: str) -> str:
    """Return JSON as a field of COPY's text format: the only escapes in it are its own."""
    return json.replace("\\", "\\\\")
