"""What every decider is given and what it answers.

A decider is ``decide(command, refs, states, facts) -> Decision``: it reads the states of the
streams it named, and answers with events to append, each with its stream, or with a refusal.
No events means: nothing to do, already so.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from schemas.common import Event


class Refs(NamedTuple):
    """The ids a command's aliases stand for, and the new id it may give out.

    ``location_id`` is the source of a transfer, ``to_location_id`` its destination. A command
    with lines has their products in ``products``, in order. ``lots`` and ``serials`` hold the
    ids of those that it names, None for one that is not known yet.

    A step of a larger command may say what is picked before all else, where nothing is named:
    so much of each lot (None is what is of no known lot), and which serials.
    """

    product_id: int = 0
    location_id: int = 0
    to_location_id: int = 0
    new_id: int = 0
    products: tuple[int, ...] = ()
    lots: Mapping[tuple[int, str], int | None] = {}
    serials: Mapping[tuple[int, str], int | None] = {}
    lots_first: Mapping[int | None, Decimal] = {}
    serials_first: tuple[int, ...] = ()


Alias = tuple[str, str]


class Names(Protocol):
    """Who has which alias, as of the decision. What is not known yet is read, and asked again."""

    def find_alias(self, alias: Alias) -> int | None:
        """Return the id that has an alias, None when nobody has it."""
        ...

    def find_aliases(self, aliases: Sequence[Alias]) -> Mapping[Alias, int | None]:
        """Return the ids that have these aliases: for many, one look where it takes one."""
        ...


class RecordedEvent(NamedTuple):
    """An event as the log holds it, decoded and brought to its present shape."""

    position: int
    stream: str
    version: int
    event: Event
    effective_at: datetime
    recorded_at: datetime


class _Lookup(msgspec.Struct, frozen=True):
    """What a decision asks to be read. Two are equal only if they ask the same of the same."""


class LaterEvents(_Lookup, frozen=True):
    """Asks for the events of a stream that are effective after a time, in log order."""

    stream: str
    effective_at: datetime


class EventAt(_Lookup, frozen=True):
    """Asks for the event at a position and its neighbours, one of which may be its twin."""

    position: int


class StockOf(_Lookup, frozen=True):
    """Asks whether any location still has a product on hand, in transit or reserved."""

    product_id: int


class ActiveLocations(_Lookup, frozen=True):
    """Asks for the ids of all active locations, in order, the default one first.

    ``products`` are those whose stock is looked for there; the answer does not depend on them.
    """

    products: tuple[int, ...] = ()


class SerialsAt(_Lookup, frozen=True):
    """Asks for the ids of a product's serials at a location that are in a status, oldest first.

    At most ``limit`` of them, and as the tables have it: the serials' own states say whether
    commands of this group have moved one since. ``arrived`` of `Facts` has those that came.
    """

    product_id: int
    location_id: int
    status: str
    limit: int


class OwnerOf(_Lookup, frozen=True):
    """Asks for the id that has an alias which only a state tells of; None where nobody has it."""

    alias: Alias


class HasVariants(_Lookup, frozen=True):
    """Asks whether any product in the catalogue is a variant of this one."""

    product_id: int


class OpenOrders(_Lookup, frozen=True):
    """Asks for the ids of a customer's orders that are neither fulfilled nor cancelled, a few."""

    customer_id: int
    limit: int = 10


Lookup = (
    LaterEvents
    | EventAt
    | StockOf
    | ActiveLocations
    | SerialsAt
    | OwnerOf
    | HasVariants
    | OpenOrders
)


class Facts(NamedTuple):
    """What a decision may know besides states: the commit's time, and what lookups found.

    ``later`` is by stream, ``events`` by position, ``has_stock`` by product; ``aliases`` holds,
    for each alias the command asked for, the id that has it, or None. ``found`` has the answer
    to every lookup, by the lookup. ``counters`` is the last id given out of each kind: a stream
    named by the next one is made by its first event, which is what uses the id up.
    """

    now: datetime
    later: Mapping[str, Sequence[RecordedEvent]] = {}
    events: Mapping[int, RecordedEvent] = {}
    aliases: Mapping[tuple[str, str], int | None] = {}
    has_stock: Mapping[int, bool] = {}
    found: Mapping[Lookup, Any] = {}
    counters: Mapping[str, int] = {}


class NewEvent(NamedTuple):
    """An event to append; ``effective_at`` None stands for the command's, or the commit's time."""

    stream: str
    event: Event
    effective_at: datetime | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a command takes no effect. Subclasses carry what the client needs to act."""

    CODE: ClassVar[str]

    def detail(self) -> str:
        """One sentence for a person: what is wrong, and the way out."""
        raise NotImplementedError

    def extensions(self) -> dict[str, Any]:
        """The refusal's own members, for the problem document."""
        return {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        }


class ProductNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "product_not_found"
    product_id: int | None = None
    sku: str | None = None

    def detail(self) -> str:
        name = f"product_id {self.product_id}" if self.sku is None else f"sku {self.sku!r}"
        return f"There is no product with {name}; register it first or check the spelling."


class LocationNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "location_not_found"
    location_id: int | None = None
    location: str | None = None

    def detail(self) -> str:
        name = f"id {self.location_id}" if self.location is None else f"code {self.location!r}"
        return f"There is no location with {name}; open it first or check the spelling."


class InvalidCommand(Refusal, frozen=True, kw_only=True):
    """A field's value cannot be right here: the field, its fault, and the way out."""

    CODE: ClassVar[str] = "invalid_command"
    field: str
    fault: str

    def detail(self) -> str:
        return f"{self.field}: {self.fault}."


Decision = Sequence[NewEvent] | Refusal
State = Any


class Decider(Protocol):
    """How the committer sees the commands of one aggregate. Each module of deciders has one.

    ``resolve(command, names)`` gives the ids that a command's names stand for; one that leaves
    it out gets what `ledger.resolution` makes of the usual fields.
    ``allocates(command)`` names the counter that gives ``refs.new_id``, or None.
    ``aliases(command)`` lists ``(kind, key)`` pairs whose owners the decision must know.
    ``streams(command, refs)`` names the streams whose states it reads or appends to; the first
    is the one whose version If-Match means.
    ``more_streams(command, refs, states)`` names those that only these states tell of; it is
    asked again with the states of these, until it names no others.
    ``lookups(command, refs, states, now)`` lists what else must be read; nearly always nothing.
    ``streams_after(command, refs, facts)`` names further streams, known only now that the
    lookups have been answered, and ``lookups_after(command, refs, states, facts)`` what must be
    read then.
    Deciders are subclasses, which leave out what they have no need of.
    """

    def resolve(self, command: Any, names: Names) -> "Refs | Refusal":
        return Refs()

    def allocates(self, command: Any) -> str | None:
        return None

    def aliases(self, command: Any) -> Sequence[tuple[str, str]]:
        return ()

    def streams(self, command: Any, refs: Refs) -> Sequence[str]: ...

    def more_streams(self, command: Any, refs: Refs, states: Mapping[str, State]) -> Sequence[str]:
        return ()

    def lookups(
        self, command: Any, refs: Refs, states: Mapping[str, State], now: datetime
    ) -> Sequence[Lookup]:
        return ()

    def streams_after(self, command: Any, refs: Refs, facts: Facts) -> Sequence[str]:
        return ()

    def lookups_after(
        self, command: Any, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Sequence[Lookup]:
        return ()

    def decide(
        self, command: Any, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision: ...
