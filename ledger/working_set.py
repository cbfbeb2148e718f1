"""What a writer holds of one tenant: the head, and the states and aliases it has met, as of it."""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from ledger import store
from ledger.aliases import alias_changes
from ledger.domain import registry
from ledger.domain.access import key_of
from ledger.domain.decision import RecordedEvent, State
from ledger.mapper import decode_event, is_ours
from ledger.ports import InlineProjections
from ledger.store import Connection, Credential, EventRow, Head
from schemas.access import ApiKeyRevoked, ApiKeyRotated

Key = TypeVar("Key")
Value = TypeVar("Value")

CATCH_UP_EVENTS_MAX = 20_000
# Read in parts, since an event may hold a hundred kilobytes.
CATCH_UP_READ_MAX = 1_000
RECENT_KEYS_MAX = 100_000


class Generations(Generic[Key, Value]):
    """A bounded map that forgets what has not been used for longest, in two generations.

    What is used moves to the young one; when that is turned over, what stayed old is gone.
    It costs one look-up a use, where a linked list would cost three. ``young`` may be looked
    into directly where that is worth a call: what is there has been used, and stays.
    """

    __slots__ = ("_old", "young")

    def __init__(self) -> None:
        self.young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: Key) -> Value | None:
        """Return a value and count it as used; None when there is none."""
        value = self.young.get(key)
        if value is None:
            value = self._old.pop(key, None)
            if value is not None:
                self.young[key] = value
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        self.young[key] = value
        self._old.pop(key, None)

    def update(self, values: dict[Key, Value]) -> None:
        """Put in many at once."""
        self.young.update(values)
        if self._old:
            for key in values:
                self._old.pop(key, None)

    def keys_of(self, value: Value) -> list[Key]:
        """Return the keys that have a value, by going through all of them."""
        return [
            key
            for generation in (self.young, self._old)
            for key, held in generation.items()
            if held == value
        ]

    def turn(self) -> None:
        """Forget the old generation; the young one becomes it."""
        self._old = self.young
        self.young = {}

    def turn_over(self, maximum: int) -> None:
        """Keep at most ``maximum`` entries."""
        if len(self.young) > maximum // 2:
            self.turn()


class WorkingSet:
    """A tenant's head with the decider states and alias owners that are known at it.

    ``states`` holds ``(version, state)`` by stream; ``aliases`` the owner of an alias, 0 for
    one that nobody has. ``verified`` are the credentials known not to be revoked at the head;
    ``recent_keys`` idempotency keys that were used lately, so that a retry is looked up first.
    """

    def __init__(self, tenant_id: int) -> None:
        self.tenant_id = tenant_id
        self.head: Head | None = None
        self.states: Generations[str, tuple[int, State]] = Generations()
        self.aliases: Generations[tuple[str, str], int] = Generations()
        self.verified: set[Credential] = set()
        self.recent_keys: Generations[str, bool] = Generations()

    def forget(self) -> None:
        """Drop all that may no longer be so, after a failure with an unknown end."""
        self.head = None
        self.states = Generations()
        self.aliases = Generations()
        self.verified = set()

    def size(self) -> int:
        """Return how many entries are held, to bound them."""
        return len(self.states) + len(self.aliases)

    async def catch_up(self, connection: Connection, head: Head) -> None:
        """Take in what other processes have appended, up to a head that is locked or just read."""
        known = self.head
        if known is not None and head.position - known.position > CATCH_UP_EVENTS_MAX:
            self.forget()
        elif known is not None:
            position = known.position
            while position < head.position:
                rows = await store.read_after(
                    connection, self.tenant_id, position, CATCH_UP_READ_MAX
                )
                for row in rows:
                    if row.position <= head.position and is_ours(row.stream):
                        self.take_in(recorded(row))
                position = rows[-1].position
        self.head = head

    def take_in(self, event: RecordedEvent) -> None:
        """Bring what is held of an event's stream up to it; a state ahead of it stays."""
        held = self.states.get(event.stream)
        if held is not None and event.version == held[0] + 1:
            evolve = registry.evolve_by(type(event.event))
            self.states[event.stream] = (event.version, evolve(held[1], event))
        self.note(event)

    def note(self, event: RecordedEvent) -> None:
        """Take in what an event says about aliases and credentials."""
        for change in alias_changes(event.event):
            if event.version > 1:
                for kind, key in self.aliases.keys_of(change.target_id):
                    if kind == change.kind:
                        self.aliases[kind, key] = 0
            if change.key is not None:
                self.aliases[change.kind, change.key] = change.target_id
        if isinstance(event.event, ApiKeyRevoked | ApiKeyRotated):
            key_id = event.event.key_id
            self.verified = {
                each for each in self.verified if each[0] != "key" or key_of(each[1]) != key_id
            }

    async def load_aliases(
        self,
        connection: Connection,
        projections: InlineProjections,
        aliases: Sequence[tuple[str, str]],
    ) -> None:
        """Look up the owners of aliases."""
        found = await projections.find_aliases(connection, self.tenant_id, aliases)
        self.aliases.update({alias: found.get(alias, 0) for alias in aliases})

    async def load_states(self, connection: Connection, streams: Iterable[str]) -> None:
        """Read the states of streams: the latest snapshot, and the events since."""
        wanted = {stream: (0, registry.initial(registry.category(stream))) for stream in streams}
        for row in await store.read_snapshots(connection, self.tenant_id, list(wanted)):
            category = registry.category(row.stream)
            if row.state_version == registry.state_version(category):
                state = msgspec.json.decode(row.state, type=registry.state_type(category))
                wanted[row.stream] = (row.version, state)
        after = {stream: version for stream, (version, _) in wanted.items()}
        for row in await store.read_streams(connection, self.tenant_id, after):
            event = recorded(row)
            evolve = registry.evolve_by(type(event.event))
            wanted[row.stream] = (row.version, evolve(wanted[row.stream][1], event))
        self.states.update(wanted)


def recorded(row: EventRow) -> RecordedEvent:
    """Return a stored event decoded, in its present shape."""
    return RecordedEvent(
        row.position,
        row.stream,
        row.version,
        decode_event(row.type, row.schema_version, row.data),
        row.effective_at,
        row.recorded_at,
    )
