"""What a group of submissions has come to so far: new events, and the states they lead to.

A draft lies over a working set and changes nothing in it until the group is sent to the
database. It can go back to an earlier point, so that a submission that is refused half-way
leaves nothing behind.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec

from ledger import merkle
from ledger.aliases import AliasChange, alias_changes
from ledger.domain import access, registry
from ledger.domain.decision import Alias, NewEvent, RecordedEvent, State
from ledger.domain.registry import evolve_by
from ledger.mapper import encode_event
from ledger.store import Credential, Head, IdempotencyRow, NewEvents, SnapshotRow
from ledger.working_set import WorkingSet
from schemas.access import ApiKeyRevoked, ApiKeyRotated

SNAPSHOT_EVERY_EVENTS = 100

# Makes a named tuple of a tuple, in half the time that its own constructor takes.
_recorded_event: Final = partial(
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]
    RecordedEvent,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# The categories whose streams are named by an id that a counter of that name gives out.
_COUNTED = frozenset(
    {
        "category",
        "customer",
        "location",
        "lot",
        "order",
        "pricetier",
        "product",
        "purchase",
        "serial",
        "supplier",
        "webhook",
    }
)
# Streams that are of something counted: a product's stock at a place, or its listing there.
_COUNTED_AS: Final = {"stock": "product", "listing": "product"}
_LINKED: Final = {"item": "product", "store": "location"}


class Unread(Exception):
    """Something that is in no cache must be read before going on."""

    def __init__(self, *, aliases: Sequence[Alias] = (), streams: Sequence[str] = ()) -> None:
        super().__init__()
        self.aliases = aliases
        self.streams = streams


class Draft:
    """Events to append to a tenant's log after ``head``, all recorded at ``now``."""

    def __init__(self, working_set: WorkingSet, now: datetime) -> None:
        head = working_set.head
        assert head is not None, "a group is decided at a known head"
        self.working_set = working_set
        self.head = head
        self.now = head.clock(now)
        self.events: list[RecordedEvent] = []
        self.data: list[str] = []
        self.meta: list[str] = []
        self.leaves: list[bytes] = []
        self.keys: list[IdempotencyRow] = []
        self.revoked: set[Credential] = set()
        self._now_us = _microseconds(self.now)
        self._states: dict[str, tuple[int, State]] = {}
        self._undo: list[tuple[str, tuple[int, State] | None]] = []
        self._aliases: dict[Alias, int] = {}
        self._changes: list[AliasChange] = []
        self._counters = dict(head.counters)
        self._snapshots_due: set[str] = set()

    # --- reading ------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The position of the last event so far."""
        return self.head.position + len(self.events)

    @property
    def counters(self) -> dict[str, int]:
        """The last id given out of each kind, as of the last event so far; not for writing."""
        return self._counters

    def next_id(self, counter: str) -> int:
        """Return the id that ``take_id`` would use up."""
        return self._counters.get(counter, 0) + 1

    def take_id(self, counter: str) -> None:
        """Use up a counter's next id."""
        self._counters[counter] = self.next_id(counter)

    def find_alias(self, alias: Alias) -> int | None:
        """Return the owner of an alias, None when it has none; raise Unread when unknown."""
        owner = self._aliases.get(alias) if self._aliases else None
        if owner is None:
            aliases = self.working_set.aliases
            owner = aliases.young.get(alias)
            if owner is None:
                owner = aliases.get(alias)
            if owner is None:
                raise Unread(aliases=[alias])
        return owner or None

    def find_aliases(self, aliases: Sequence[Alias]) -> dict[Alias, int | None]:
        """Return the owners of aliases; raise Unread with all those that are unknown."""
        found: dict[Alias, int | None] = {}
        missing: list[Alias] = []
        for alias in aliases:
            try:
                found[alias] = self.find_alias(alias)
            except Unread:
                missing.append(alias)
        if missing:
            raise Unread(aliases=missing)
        return found

    def states_of(self, streams: Sequence[str]) -> dict[str, State]:
        """Return the states of streams; raise Unread for those that are not held."""
        here, held = self._states, self.working_set.states
        young = held.young
        found: dict[str, State] = {}
        missing: list[str] = []
        for stream in streams:
            entry = here.get(stream) or young.get(stream) or held.get(stream)
            if entry is not None:
                found[stream] = entry[1]
            elif self._is_new(stream):
                found[stream] = registry.initial(registry.category(stream))
                held[stream] = (0, found[stream])
            else:
                missing.append(stream)
        if missing:
            raise Unread(streams=missing)
        return found

    def _is_new(self, stream: str) -> bool:
        """Tell whether a stream belongs to a product or place that this group itself makes.

        Its id is above the head's counter, so the log has no event of it.
        """
        category, _, ids = stream.partition("-")
        counter = _COUNTED_AS.get(category, category)
        if category == "link":
            # Of a link, ``link-<system>-item-<product>``, the last two words are what counts.
            _, _, rest = ids.partition("-")
            kind, _, ids = rest.partition("-")
            counter = _LINKED.get(kind, kind)
        given_out = self.head.counters.get(counter, 0)
        number = ids.partition("-")[0]
        return counter in _COUNTED and number.isdecimal() and int(number) > given_out

    def version_of(self, stream: str) -> int:
        """Return the version of a stream whose state is held."""
        return self._held(stream)[0]

    def changed_states(self, prefix: str) -> dict[str, State]:
        """Return the states of streams whose names begin so and that this draft appends to."""
        return {s: state for s, (_, state) in self._states.items() if s.startswith(prefix)}

    def _held(self, stream: str) -> tuple[int, State]:
        held = self._states.get(stream) or self.working_set.states.get(stream)
        if held is None:
            raise Unread(streams=[stream])
        return held

    # --- writing ------------------------------------------------------------------------

    def append(
        self,
        decided: Sequence[NewEvent],
        default_at: datetime,
        meta: str,
        states: dict[str, State],
    ) -> list[RecordedEvent]:
        """Add a decision's events, and bring ``states`` to what they are after them."""
        tenant_id, now, now_us = self.working_set.tenant_id, self.now, self._now_us
        here, young, events = self._states, self.working_set.states.young, self.events
        meta_bytes = meta.encode()
        position = self.head.position + len(events)
        appended: list[RecordedEvent] = []
        for stream, event, event_at in decided:
            effective_at = event_at or default_at
            before = here.get(stream)
            version, state = before or young.get(stream) or self._held(stream)
            version += 1
            position += 1
            data = encode_event(event)
            leaf = merkle.leaf_hash(
                tenant_id,
                position,
                stream,
                version,
                event.TYPE,
                event.SCHEMA_VERSION,
                data,
                meta_bytes,
                now_us if effective_at is now else _microseconds(effective_at),
                now_us,
            )
            new = _recorded_event((position, stream, version, event, effective_at, now))
            events.append(new)
            self.data.append(data.decode())
            self.meta.append(meta)
            self.leaves.append(leaf)
            after = evolve_by(type(event))(state, new)
            self._undo.append((stream, before))
            here[stream] = (version, after)
            states[stream] = after
            if version % SNAPSHOT_EVERY_EVENTS == 0:
                self._snapshots_due.add(stream)
            if not stream.startswith("stock-"):
                if version == 1:
                    self._count(stream)
                self._note(new)
            appended.append(new)
        return appended

    def _count(self, stream: str) -> None:
        """Use up the id that names a stream which has just begun."""
        category, _, number = stream.partition("-")
        if category in _COUNTED:
            self._counters[category] = max(self._counters.get(category, 0), int(number))

    def _note(self, event: RecordedEvent) -> None:
        """Take in what an event says about aliases and credentials."""
        for change in alias_changes(event.event):
            self._changes.append(change)
            if event.version > 1:
                for alias in self.working_set.aliases.keys_of(change.target_id):
                    self.end_alias_of(change, alias)
                for alias, owner in list(self._aliases.items()):
                    if owner == change.target_id:
                        self.end_alias_of(change, alias)
            if change.key is not None:
                self._aliases[change.kind, change.key] = change.target_id
        if isinstance(event.event, ApiKeyRevoked | ApiKeyRotated):
            _, state = self._states[event.stream]
            ended = access.ended_by(event.event, state.generation)
            self.revoked |= {("key", credential) for credential in ended}

    def end_alias_of(self, change: AliasChange, alias: Alias) -> None:
        """Take an alias from the target of a change, where it is of that kind."""
        if alias[0] == change.kind:
            self._aliases[alias] = 0

    def correct_aliases(self, aliases: Sequence[Alias]) -> None:
        """Take aliases just read from tables away from owners that this draft has renamed."""
        for change in self._changes:
            for alias in aliases:
                owner = self.working_set.aliases.get(alias)
                if (alias[0], owner) == (change.kind, change.target_id) and alias[1] != change.key:
                    self._aliases.setdefault(alias, 0)

    def mark(self) -> Callable[[], None]:
        """Return a function that takes the draft back to where it stands now."""
        events, keys, changes = len(self.events), len(self.keys), len(self._changes)
        counters, aliases, revoked = dict(self._counters), dict(self._aliases), set(self.revoked)
        self._undo.clear()

        def go_back() -> None:
            del self.events[events:], self.data[events:], self.meta[events:], self.leaves[events:]
            del self.keys[keys:], self._changes[changes:]
            for stream, before in reversed(self._undo):
                if before is None:
                    self._states.pop(stream, None)
                    self._snapshots_due.discard(stream)
                else:
                    self._states[stream] = before
            self._undo.clear()
            self._aliases, self.revoked = aliases, revoked
            # In place, since decisions are handed this very mapping.
            self._counters.clear()
            self._counters.update(counters)

        return go_back

    # --- the transaction ----------------------------------------------------------------

    def head_after(self) -> Head:
        """Return the head with the draft's events appended."""
        frontier = list(self.head.frontier)
        merkle.append(frontier, self.head.position, self.leaves)
        return self.head._replace(
            position=self.position,
            root=merkle.root(frontier),
            frontier=frontier,
            counters=self._counters,
            recorded_at=self.now,
        )

    def new_events(self) -> NewEvents:
        """Return the events as the log stores them."""
        _, streams, versions, events, effective_at, recorded_at = zip(*self.events, strict=True)
        return NewEvents(
            streams,
            versions,
            [event.TYPE for event in events],
            [event.SCHEMA_VERSION for event in events],
            self.data,
            self.meta,
            () if effective_at == recorded_at else effective_at,
            self.leaves,
        )

    def snapshots(self) -> list[SnapshotRow]:
        """Return the states to keep, of streams that have grown past another round number."""
        due: list[SnapshotRow] = []
        for stream in self._snapshots_due:
            version, state = self._states[stream]
            state_version = registry.state_version(registry.category(stream))
            due.append(SnapshotRow(stream, version, state_version, msgspec.json.encode(state)))
        return due

    def publish(self, head: Head) -> None:
        """Make the working set what the draft has made of it."""
        held = self.working_set
        held.states.update(self._states)
        for event in self.events:
            if not event.stream.startswith("stock-"):
                held.note(event)
        for row in self.keys:
            held.recent_keys[row.key] = True
        held.head = head


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
