"""Decisions made of decisions: an order that reserves, a delivery that receives.

A step is a command of stock with the ids it is about. Steps are decided one after the other,
each on the state that those before it leave, so two lines for one product cannot both have the
last of it. Where one is refused, all are.

The decider of the larger command asks for what the steps need where it asks for its own:
`streams` and, once these are read, `more_streams` (the lots at the places), then `lookups`,
and `streams_after` (the serials that were found).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from ledger.aliases import fold
from ledger.domain import stock
from ledger.domain.decision import (
    Facts,
    Lookup,
    NewEvent,
    RecordedEvent,
    Refs,
    Refusal,
    SerialsAt,
    State,
)
from schemas.lot import LotRegistered, SerialRegistered
from schemas.stock import StockCommand


class Step(NamedTuple):
    """One command of stock within a larger one, and the ids that it is about.

    ``refs.lots`` and ``refs.serials`` have what it names, by ``(product_id, fold(name))``.
    """

    command: StockCommand
    refs: Refs


def streams(steps: Iterable[Step]) -> list[str]:
    """Return the streams that steps read or append to, each once."""
    names: dict[str, None] = {}
    for step in steps:
        names.update(dict.fromkeys(stock.DECIDER.streams(step.command, step.refs)))
    return list(names)


def more_streams(steps: Iterable[Step], states: Mapping[str, State]) -> list[str]:
    """Return the streams that only these states tell of: those of the lots at the places.

    States that are not read yet are passed over; ask again once they are.
    """
    names: dict[str, None] = {}
    for step in steps:
        names.update(dict.fromkeys(stock.DECIDER.more_streams(step.command, step.refs, states)))
    return list(names)


def lookups(steps: Iterable[Step], states: Mapping[str, State], now: datetime) -> list[Lookup]:
    """Return what else must be read for steps, each once.

    Several steps that take serials from one place must not find the same ones only.
    """
    wanted: dict[Lookup, None] = {}
    serials: dict[SerialsAt, int] = {}
    for step in steps:
        for lookup in stock.DECIDER.lookups(step.command, step.refs, states, now):
            if isinstance(lookup, SerialsAt):
                place = msgspec.structs.replace(lookup, limit=0)
                serials[place] = serials.get(place, 0) + lookup.limit
            else:
                wanted[lookup] = None
    asked = [msgspec.structs.replace(place, limit=limit) for place, limit in serials.items()]
    return [*wanted, *asked]


def streams_after(steps: Iterable[Step], facts: Facts) -> list[str]:
    """Return the streams known only now that the lookups have been answered."""
    names: dict[str, None] = {}
    for step in steps:
        found = stock.DECIDER.streams_after(step.command, step.refs, facts)
        names.update(dict.fromkeys(found))
    return list(names)


class Composed:
    """The events of steps so far, and the states that they lead to.

    ``states`` starts as the caller's and is never changed in place: it belongs to the draft.
    """

    def __init__(self, states: Mapping[str, State], facts: Facts) -> None:
        # Imported here since the registry knows the modules that are composed with this one.
        from ledger.domain import registry

        self.states = dict(states)
        self.events: list[NewEvent] = []
        self._registry = registry
        self._now = facts.now
        self._counters = dict(facts.counters)
        self._later = {stream: list(found) for stream, found in facts.later.items()}
        # What is found out on the way goes into these two, and so into the facts.
        self._facts = facts._replace(counters=self._counters, later=self._later)
        self._lots: dict[tuple[int, str], int] = {}
        self._serials: dict[tuple[int, str], int] = {}

    def add(self, step: Step) -> Sequence[NewEvent] | Refusal:
        """Decide a step after those before it; return its events, or why it is refused."""
        refs = step.refs
        if self._lots or self._serials:
            refs = self._known(refs)
        decision = stock.decide_step(step.command, refs, self.states, self._facts)
        if isinstance(decision, Refusal):
            return decision
        self.take(decision)
        return decision

    def _known(self, refs: Refs) -> Refs:
        """Return refs with the ids of lots and serials that earlier steps have made known."""
        if refs.lots and self._lots:
            lots = {key: found or self._lots.get(key) for key, found in refs.lots.items()}
            refs = refs._replace(lots=lots)
        if refs.serials and self._serials:
            serials = {key: found or self._serials.get(key) for key, found in refs.serials.items()}
            refs = refs._replace(serials=serials)
        return refs

    def take(self, events: Sequence[NewEvent]) -> None:
        """Add events, and bring the states of stock and of what is tracked up to them."""
        registry, states, now = self._registry, self.states, self._now
        for new in events:
            stream, event, effective_at = new
            state = states.get(stream)
            if state is None:
                state = registry.initial(registry.category(stream))
            recorded = RecordedEvent(0, stream, 0, event, effective_at or now, now)
            states[stream] = registry.evolve_by(type(event))(state, recorded)
            # A step of the past may leave something effective later, such as what expired since.
            if effective_at is not None:
                self._later.setdefault(stream, []).append(recorded)
            if isinstance(event, LotRegistered):
                self._lots[event.product_id, fold(event.lot)] = event.lot_id
                self._count("lot", event.lot_id)
            elif isinstance(event, SerialRegistered):
                self._serials[event.product_id, fold(event.serial)] = event.serial_id
                self._count("serial", event.serial_id)
        self.events += events

    def _count(self, counter: str, number: int) -> None:
        self._counters[counter] = max(self._counters.get(counter, 0), number)
