"""Stock in two times, replayed step by step from plain tuples: what the quick way is held to.

A history is a list of steps in the order in which they were recorded; the position of a step is
its place in the list, from 1. Nothing here uses the service's own rules or types.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

Item = tuple[int, int]
"""A product and a location."""


class Move(NamedTuple):
    """So much from one figure of an item to another's, as recorded of the item ``home``."""

    home: Item
    source: tuple[Item, str]
    target: tuple[Item, str]
    quantity: Decimal


class Claim(NamedTuple):
    """So much more (or less) is claimed by a reservation; with ``expiry``, until then."""

    item: Item
    claim: int
    quantity: Decimal
    states_expiry: bool = False
    expiry: datetime | None = None


class Ordered(NamedTuple):
    """A purchase order says what it wants for an item."""

    order: int
    wanted: dict[Item, Decimal]


class Purchased(NamedTuple):
    """A purchase order gets a status, and goods of it arrive."""

    order: int
    status: str
    arrived: dict[Item, Decimal]


class Step(NamedTuple):
    """What was recorded at one position."""

    effective_at: datetime
    recorded_at: datetime
    facts: Sequence[Move | Claim | Ordered | Purchased]
    touched: frozenset[Item] = frozenset()
    """The items whose stock it was about."""


def replay(
    steps: Sequence[Step], items: Iterable[Item], as_of: datetime | None, position: int
) -> dict[Item, dict[str, Decimal]]:
    """Return the figures of some items: of the first so many steps, those effective by then."""
    figures: dict[Item, defaultdict[str, Decimal]] = {item: defaultdict(Decimal) for item in items}
    claims: dict[int, tuple[Item, Decimal, datetime | None]] = {}
    orders: dict[int, tuple[str, dict[Item, Decimal]]] = {}
    for step in steps[:position]:
        if as_of is not None and step.effective_at > as_of:
            continue
        for fact in step.facts:
            if isinstance(fact, Move):
                for (item, figure), quantity in (
                    (fact.source, -fact.quantity),
                    (fact.target, fact.quantity),
                ):
                    if item in figures:
                        figures[item][figure] += quantity
                if fact.home in figures:
                    figures[fact.home]["movements"] += 1
            elif isinstance(fact, Claim):
                _, left, expiry = claims.get(fact.claim, (fact.item, Decimal(0), None))
                if fact.states_expiry:
                    expiry = fact.expiry
                claims[fact.claim] = fact.item, left + fact.quantity, expiry
            elif isinstance(fact, Ordered):
                orders[fact.order] = "draft", dict(fact.wanted)
            elif fact.order in orders:
                left_of = orders[fact.order][1]
                for item, quantity in fact.arrived.items():
                    left_of[item] -= quantity
                orders[fact.order] = fact.status, left_of
    now = as_of if as_of is not None or not position else steps[position - 1].recorded_at
    for item, left, expiry in claims.values():
        if item in figures and (expiry is None or now is None or now < expiry):
            figures[item]["reserved"] += left
    for status, left_of in orders.values():
        if status in ("sent", "partial"):
            for item, left in left_of.items():
                if item in figures:
                    figures[item]["incoming"] += max(left, Decimal(0))
    return {item: dict(found) for item, found in figures.items()}
