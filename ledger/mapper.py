"""The storage format of events: stable type names, schema versions, upcasters.

An event is stored as its ``TYPE``, its ``SCHEMA_VERSION`` and the JSON of its fields, in the
order the struct declares them, without those that have their default value. The stored bytes
are what the Merkle tree hashes, and are never rewritten: an old version is brought forward
each time it is read, by one upcaster a version.

**Must-understand is the schema version, not the field.** A field that this release does not
know is ignored within a schema version that it knows: during a rolling upgrade the older
processes go on reading what the newer ones write. So a field may be added without a new
version only when it has a default and no fold needs it; anything a fold depends on raises
``SCHEMA_VERSION``, and an older process then stops with `UnreadableEvent` rather than
compute a wrong figure. Where the new version only has more fields, each with the default that
an old event stands for, ``READS_FROM`` says so, and old events are read with no upcaster.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast, get_args

import msgspec
from eventsourcing import persistence
from eventsourcing.utils import register_topic

from ledger.errors import UnreadableEvent
from schemas.access import AccessEvent
from schemas.books import BooksEvent
from schemas.category import CategoryEvent
from schemas.common import Event
from schemas.customer import CustomerEvent, PriceTierEvent
from schemas.demand import DemandEvent
from schemas.import_batch import ImportBatchEvent
from schemas.integration import IntegrationEvent
from schemas.listing import ListingEvent
from schemas.location import LocationEvent
from schemas.lot import LotEvent, SerialEvent
from schemas.order import OrderEvent
from schemas.product import ProductEvent
from schemas.purchase import PurchaseOrderEvent
from schemas.stock import StockEvent
from schemas.supplier import SupplierEvent
from schemas.webhook import WebhookEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class EventFormat:
    """Encodes and decodes a closed set of event types.

    The service has one, behind this module's functions; a test can make another.
    """

    def __init__(self, event_types: Iterable[type[Event]]) -> None:
        """Take the types in; raise ValueError when two have one name."""
        types: dict[str, type[Event]] = {}
        for event_type in event_types:
            if types.setdefault(event_type.TYPE, event_type) is not event_type:
                raise ValueError(f"two event types are called {event_type.TYPE}")
        self.event_types: Mapping[str, type[Event]] = MappingProxyType(types)
        self._decoders: dict[tuple[str, int], Callable[[bytes | str], Event]] = {
            (name, event_type.SCHEMA_VERSION): msgspec.json.Decoder(event_type).decode
            for name, event_type in types.items()
        }
        for name, event_type in types.items():
            for version in range(_reads_from(event_type), event_type.SCHEMA_VERSION):
                self._decoders[name, version] = self._decoders[name, event_type.SCHEMA_VERSION]
        self._many: dict[tuple[str, int], Callable[[str], Sequence[Event]]] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        self.encode: Callable[[Event], bytes] = msgspec.json.Encoder().encode

    def upcaster(self, type_name: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Register a function that turns the fields of ``from_version`` into the next version's.

        It gets the decoded JSON object, its numbers as int or Decimal, and may change it.
        Raises ValueError for a second one, or one that leads nowhere.
        """
        event_type = self.event_types.get(type_name)
        if event_type is None or not 1 <= from_version < _reads_from(event_type):
            raise ValueError(f"{type_name} has no version after {from_version} to go to")
        if (type_name, from_version) in self._upcasters:
            raise ValueError(f"{type_name} has two upcasters from version {from_version}")

        def register(function: Upcaster) -> Upcaster:
            self._upcasters[type_name, from_version] = function
            return function

        return register

    def decode(self, type_name: str, schema_version: int, data: bytes | str) -> Event:
        """Return a stored event in its present shape.

        Raises `UnreadableEvent` for a type or version that this release does not know, and
        for data that does not have the type's fields.
        """
        try:
            return self._decoders[type_name, schema_version](data)
        except KeyError:
            return self._decode_old(type_name, schema_version, data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unreadable(type_name, schema_version, str(error)) from error

    def decode_many(self, type_name: str, schema_version: int, data: str) -> Sequence[Event]:
        """Return stored events of one type and version; ``data`` are theirs, with commas between.

        Raises `UnreadableEvent` as ``decode`` does.
        """
        key = type_name, schema_version
        decode_all = self._many.get(key)
        if decode_all is None and key in self._decoders:
            decoder = msgspec.json.Decoder(list[self.event_types[type_name]])
            decode_all = self._many[key] = decoder.decode
        if decode_all is not None:
            # What is wrong is found below, in the one event that is.
            with suppress(msgspec.DecodeError):
                return decode_all(f"[{data}]")
        return [self.decode(type_name, schema_version, bytes(one)) for one in _split(f"[{data}]")]

    def _decode_old(self, type_name: str, schema_version: int, data: bytes | str) -> Event:
        event_type = self.event_types.get(type_name)
        if event_type is None:
            raise _unreadable(type_name, schema_version, "this release has no such type")
        present = event_type.SCHEMA_VERSION
        if not 1 <= schema_version < present:
            raise _unreadable(
                type_name, schema_version, f"this release knows versions 1 to {present}"
            )
        try:
            fields = _decode_fields(data)
            for version in range(schema_version, _reads_from(event_type)):
                fields = self._upcasters[type_name, version](fields)
            return msgspec.convert(fields, event_type)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"upcasting it failed with {type(error).__name__}: {error}"
            raise _unreadable(type_name, schema_version, reason) from error


def _reads_from(event_type: type[Event]) -> int:
    return event_type.READS_FROM or event_type.SCHEMA_VERSION


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def _unreadable(type_name: str, schema_version: int, reason: str) -> UnreadableEvent:
    return UnreadableEvent(
        f"The log holds an event {type_name} of schema version {schema_version} that cannot be "
        f"read: {reason}. Run the release that wrote it, or a later one.",
        type_name=type_name,
        schema_version=schema_version,
    )


def _members(union: Any) -> tuple[type[Event], ...]:
    return get_args(union) or (union,)


_FORMAT = EventFormat(
    event_type
    for union in (
        AccessEvent,
        BooksEvent,
        CategoryEvent,
        CustomerEvent,
        DemandEvent,
        ImportBatchEvent,
        IntegrationEvent,
        ListingEvent,
        LocationEvent,
        LotEvent,
        OrderEvent,
        PriceTierEvent,
        ProductEvent,
        PurchaseOrderEvent,
        SerialEvent,
        StockEvent,
        SupplierEvent,
        WebhookEvent,
    )
    for event_type in _members(union)
)

EVENT_TYPES = _FORMAT.event_types
encode_event = _FORMAT.encode
decode_event = _FORMAT.decode
decode_events = _FORMAT.decode_many
upcaster = _FORMAT.upcaster

# The streams that deciders fold. Whatever else is in a tenant's log belongs to applications of
# the eventsourcing library (`ledger.bridge`), and has types that are none of ours.
OUR_CATEGORIES: Final = frozenset(
    {
        "access",
        "books",
        "category",
        "customer",
        "divergence",
        "import",
        "link",
        "listing",
        "location",
        "lot",
        "order",
        "pricetier",
        "product",
        "purchase",
        "serial",
        "stock",
        "supplier",
        "webhook",
    }
)


def is_ours(stream: str) -> bool:
    """Return whether a stream holds our events, as opposed to a library application's."""
    return stream.partition("-")[0] in OUR_CATEGORIES


# Upcasters follow here, one function a version, named upcast_<type>_v<from>. There are none
# yet: every version so far has only added fields with defaults.


# --- the eventsourcing library's view -------------------------------------------------------


class StreamEvent(NamedTuple):
    """An event with its place in its stream: what the library calls a domain event."""

    originator_id: str
    originator_version: int
    event: Event


_VERSIONED_TOPIC = re.compile(r"(?P<type_name>[A-Za-z]+)\.v(?P<version>[1-9][0-9]{0,4})")


def topic_of(type_name: str, schema_version: int) -> str:
    """Return the library's topic of a stored type: its name, from version 2 on ``Name.v2``.

    The library's `StoredEvent` has no schema version, so it has to be told by the topic.
    """
    return type_name if schema_version == 1 else f"{type_name}.v{schema_version}"


def split_topic(topic: str) -> tuple[str, int]:
    """Return type name and schema version of a topic; one of the library's own has version 1."""
    versioned = _VERSIONED_TOPIC.fullmatch(topic)
    if versioned is None or versioned["type_name"] not in EVENT_TYPES:
        return topic, 1
    return versioned["type_name"], int(versioned["version"])


class StructMapper(persistence.Mapper[Any]):
    """The library's mapper for our events (as `StreamEvent`), and for its own beside them.

    Ours are stored in plain JSON whatever cipher or compressor is set: SQL reads them and
    proofs hash them. The library's own go through its transcoder as ever.
    """

    def to_stored_event(self, domain_event: Any) -> persistence.StoredEvent:
        """Return the stored form; raises what the library raises for an event of its own."""
        if not isinstance(domain_event, StreamEvent):
            return super().to_stored_event(domain_event)
        event = domain_event.event
        return persistence.StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic_of(event.TYPE, event.SCHEMA_VERSION),
            state=encode_event(event),
        )

    def to_domain_event(self, stored_event: persistence.StoredEvent) -> Any:
        """Return the event in its present shape; raises `UnreadableEvent` for one of ours."""
        type_name, schema_version = split_topic(stored_event.topic)
        if type_name not in EVENT_TYPES:
            return super().to_domain_event(stored_event)
        return StreamEvent(
            str(stored_event.originator_id),
            stored_event.originator_version,
            decode_event(type_name, schema_version, stored_event.state),
        )


for _name, _event_type in EVENT_TYPES.items():
    register_topic(_name, cast(Any, _event_type))
