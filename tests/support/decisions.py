"""A ledger in memory for tests of deciders: it decides, folds and looks up, and stores nothing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ledger.aliases import DEFAULT_LOCATION, alias_changes
from ledger.domain import registry
from ledger.domain.decision import (
    ActiveLocations,
    Alias,
    EventAt,
    Facts,
    HasVariants,
    LaterEvents,
    Lookup,
    OpenOrders,
    OwnerOf,
    RecordedEvent,
    Refusal,
    SerialsAt,
    StockOf,
)
from ledger.domain.stock import StockState, has_stock
from ledger.resolution import resolver_for
from schemas.common import Command, Event
from schemas.location import OpenLocation
from schemas.order import OPEN_STATUSES, OrderPlaced
from schemas.product import RegisterProduct

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    """Return so many minutes."""
    return timedelta(minutes=count)


class World:
    """One tenant's log and the states it folds to; commands name everything by id."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self.log: list[RecordedEvent] = []
        self.states: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.counters: dict[str, int] = {}
        self.aliases: dict[tuple[str, str], int] = {}

    def given(self, *commands: Command) -> "World":
        """Do commands that must be accepted."""
        for command in commands:
            outcome = self.do(command)
            assert not isinstance(outcome, Refusal), outcome.detail()
        return self

    def do(self, command: Command) -> Any:
        """Decide a command as the committer does, and append what it leads to.

        Returns the recorded events or the refusal; not typed as such, so that a test can go
        straight to what it expects.
        """
        decider = registry.decider_for(type(command))
        counter = decider.allocates(command)
        new_id = 0 if counter is None else self.counters.get(counter, 0) + 1
        refs = resolver_for(type(command), decider)(command, self)
        if isinstance(refs, Refusal):
            return refs
        refs = refs._replace(new_id=new_id)
        aliases = self.find_aliases(decider.aliases(command))
        facts = Facts(self.now, aliases=aliases, counters=dict(self.counters))
        states = self._states(decider.streams(command, refs))
        while more := set(decider.more_streams(command, refs, states)) - states.keys():
            states |= self._states(more)
        facts = self.found(facts, decider.lookups(command, refs, states, self.now))
        states |= self._states(decider.streams_after(command, refs, facts))
        facts = self.found(facts, decider.lookups_after(command, refs, states, facts))
        decision = decider.decide(command, refs, states, facts)
        if isinstance(decision, Refusal):
            assert decision.detail()
            assert decision.extensions() is not None
            return decision
        if decision and counter is not None:
            self.counters[counter] = new_id
        default = getattr(command, "effective_at", None) or self.now
        return [self.append(new.stream, new.event, new.effective_at or default) for new in decision]

    def append(self, stream: str, event: Event, effective_at: datetime) -> RecordedEvent:
        """Put an event in the log and fold it."""
        version = self.versions.get(stream, 0) + 1
        recorded = RecordedEvent(len(self.log) + 1, stream, version, event, effective_at, self.now)
        evolve = registry.evolve(registry.category(stream))
        self.states[stream] = evolve(self._states([stream])[stream], recorded)
        self.versions[stream] = version
        self.log.append(recorded)
        category, _, number = stream.partition("-")
        if version == 1 and category != "stock" and number.isdecimal():
            self.counters[category] = max(self.counters.get(category, 0), int(number))
        for change in alias_changes(event):
            for alias in [a for a, owner in self.aliases.items() if owner == change.target_id]:
                if alias[0] == change.kind:
                    del self.aliases[alias]
            if change.key is not None:
                self.aliases[change.kind, change.key] = change.target_id
        return recorded

    def stock(self, product_id: int = 1, location_id: int = 1) -> StockState:
        """Return the state of a product at a location."""
        name = f"stock-{product_id}-{location_id}"
        return self._states([name])[name]

    def stock_events(self, product_id: int = 1, location_id: int = 1) -> list[RecordedEvent]:
        """Return what is in the log of a product at a location."""
        name = f"stock-{product_id}-{location_id}"
        return [recorded for recorded in self.log if recorded.stream == name]

    def find_alias(self, alias: Alias) -> int | None:
        """Return who has an alias."""
        return self.aliases.get(alias)

    def find_aliases(self, aliases: Sequence[Alias]) -> dict[Alias, int | None]:
        """Return who has which alias."""
        return {alias: self.aliases.get(alias) for alias in aliases}

    def _states(self, streams: Iterable[str]) -> dict[str, Any]:
        return {
            name: self.states.get(name, registry.initial(registry.category(name)))
            for name in streams
        }

    def found(self, facts: Facts, lookups: Sequence[Lookup]) -> Facts:
        """Return the facts with what the lookups find in the log."""
        later: dict[str, Sequence[RecordedEvent]] = dict(facts.later)
        events: dict[int, RecordedEvent] = dict(facts.events)
        stocked: dict[int, bool] = dict(facts.has_stock)
        answers: dict[Lookup, Any] = dict(facts.found)
        for lookup in lookups:
            match lookup:
                case LaterEvents(stream, effective_at):
                    later[stream] = [
                        recorded
                        for recorded in self.log
                        if recorded.stream == stream and recorded.effective_at > effective_at
                    ]
                case EventAt(position):
                    near = self.log[max(0, position - 2) : position + 1]
                    events |= {recorded.position: recorded for recorded in near}
                case StockOf(product_id):
                    stocked[product_id] = any(
                        has_stock(state)
                        for name, state in self.states.items()
                        if name.startswith(f"stock-{product_id}-")
                    )
                case ActiveLocations():
                    default = self.aliases.get((DEFAULT_LOCATION, ""))
                    ids = [
                        state.location_id
                        for name, state in self.states.items()
                        if name.startswith("location-") and state.is_active
                    ]
                    answers[lookup] = tuple(sorted(ids, key=lambda i: (i != default, i)))
                case OwnerOf(alias):
                    answers[lookup] = self.aliases.get(alias)
                case OpenOrders(customer_id):
                    answers[lookup] = tuple(
                        recorded.event.order_id
                        for recorded in self.log
                        if isinstance(recorded.event, OrderPlaced)
                        and recorded.event.customer_id == customer_id
                        and self.states[recorded.stream].status in OPEN_STATUSES
                    )
                case HasVariants(product_id):
                    answers[lookup] = any(
                        state.variant_of == product_id and not state.discontinued
                        for name, state in self.states.items()
                        if name.startswith("product-")
                    )
                case SerialsAt(product_id, location_id, status, limit):
                    answers[lookup] = tuple(
                        sorted(
                            state.serial_id
                            for name, state in self.states.items()
                            if name.startswith("serial-")
                            and (state.product_id, state.location_id, state.status)
                            == (product_id, location_id, status)
                        )[:limit]
                    )
        return facts._replace(later=later, events=events, has_stock=stocked, found=answers)


def shop(
    *,
    locations: int = 2,
    scale: int = 0,
    stock_limit: str = "0",
    product: Mapping[str, Any] | None = None,
) -> World:
    """Return a world with one product and some locations."""
    world = World()
    fields: dict[str, Any] = {"name": "Tea", "sku": "TEA", "base_price": Decimal("2.50")}
    fields |= {"scale": scale, **(product or {})}
    world.given(RegisterProduct(**fields))
    for number in range(1, locations + 1):
        world.given(
            OpenLocation(name=f"L{number}", code=f"L{number}", stock_limit=Decimal(stock_limit))
        )
    return world


def types(outcome: list[RecordedEvent] | Refusal) -> list[str]:
    """Return the names of events, or the code of a refusal."""
    if isinstance(outcome, Refusal):
        return [outcome.CODE]
    return [recorded.event.TYPE for recorded in outcome]
