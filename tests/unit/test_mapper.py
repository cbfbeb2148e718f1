"""The storage format: type names, schema versions, upcasters, and the library's mapper."""

from decimal import Decimal
from typing import Any, ClassVar

import pytest
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, UUIDAsHex
from eventsourcing.utils import resolve_topic

from ledger.domain import registry
from ledger.errors import UnreadableEvent
from ledger.mapper import (
    EVENT_TYPES,
    OUR_CATEGORIES,
    EventFormat,
    StreamEvent,
    StructMapper,
    decode_event,
    encode_event,
    is_ours,
    split_topic,
    topic_of,
)
from schemas.common import Event
from schemas.stock import StockReceived
from tests.golden.examples import EXAMPLES

RECEIVED = StockReceived(product_id=1, location_id=2, quantity=Decimal("5.50"))


class Weighed(Event, frozen=True, kw_only=True):
    """At its third version: version 1 had grams, version 2 kilograms, this one has a unit."""

    TYPE: ClassVar[str] = "Weighed"
    SCHEMA_VERSION: ClassVar[int] = 3
    weight: Decimal
    unit: str


@pytest.fixture
def weighing() -> EventFormat:
    """A format of its own, with the upcasters of one type."""
    made = EventFormat([Weighed])

    @made.upcaster("Weighed", 1)
    def upcast_weighed_v1(fields: dict[str, Any]) -> dict[str, Any]:
        return {"kilograms": str(Decimal(fields["grams"]) / 1000)}

    @made.upcaster("Weighed", 2)
    def upcast_weighed_v2(fields: dict[str, Any]) -> dict[str, Any]:
        return {"weight": fields["kilograms"], "unit": "kg"}

    return made


@pytest.mark.parametrize(
    ("schema_version", "data"),
    [
        (1, b'{"grams":"1250"}'),
        (2, b'{"kilograms":"1.25"}'),
        (3, b'{"weight":"1.25","unit":"kg"}'),
    ],
)
def test_any_version_is_brought_to_the_present_one(
    weighing: EventFormat, schema_version: int, data: bytes
) -> None:
    """One upcaster a version, each from the version before."""
    decoded = weighing.decode("Weighed", schema_version, data)

    assert decoded == Weighed(weight=Decimal("1.25"), unit="kg")


def test_an_upcaster_sees_numbers_exactly(weighing: EventFormat) -> None:
    """No float touches a quantity, not even one that was stored as a JSON number (I7)."""
    decoded = weighing.decode("Weighed", 2, b'{"kilograms":0.1000000000000000055}')

    assert decoded == Weighed(weight=Decimal("0.1000000000000000055"), unit="kg")


@pytest.mark.parametrize(
    ("type_name", "schema_version", "data", "told"),
    [
        ("Melted", 1, b"{}", "no such type"),
        ("Weighed", 4, b"{}", "knows versions 1 to 3"),
        ("Weighed", 0, b"{}", "knows versions 1 to 3"),
        ("Weighed", 3, b"{}", "missing required field `weight`"),
        ("Weighed", 3, b'{"weight":"1', "truncated"),
        ("Weighed", 3, b'{"weight":"1","unit":"\xff"}', "utf-8"),
        ("Weighed", 1, b"{}", "KeyError: 'grams'"),
        ("Weighed", 2, b'{"kilograms":true}', "ValidationError"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_name_and_version(
    weighing: EventFormat, type_name: str, schema_version: int, data: bytes, told: str
) -> None:
    """A newer release's events stop an older process, and nothing is guessed."""
    with pytest.raises(UnreadableEvent, match=told) as raised:
        weighing.decode(type_name, schema_version, data)

    assert raised.value.type_name == type_name
    assert raised.value.schema_version == schema_version


def test_many_of_a_version_are_read_in_one_go(weighing: EventFormat) -> None:
    """Old ones too, and the same as one by one."""
    present = '{"weight":"1.25","unit":"kg"},{"weight":"2","unit":"t"}'
    old = '{"grams":"1250"},{"grams":"2"}'

    assert weighing.decode_many("Weighed", 3, present) == [
        Weighed(weight=Decimal("1.25"), unit="kg"),
        Weighed(weight=Decimal(2), unit="t"),
    ]
    assert weighing.decode_many("Weighed", 1, old) == [
        weighing.decode("Weighed", 1, one) for one in ('{"grams":"1250"}', '{"grams":"2"}')
    ]


@pytest.mark.parametrize("type_name", ["Weighed", "Melted"])
def test_one_among_many_that_cannot_be_read_is_told(weighing: EventFormat, type_name: str) -> None:
    """As it is told by itself."""
    with pytest.raises(UnreadableEvent, match=r"no such type|missing required field `unit`"):
        weighing.decode_many(type_name, 3, '{"weight":"1","unit":"kg"},{"weight":"1"}')


def test_a_version_without_its_upcaster_is_unreadable() -> None:
    """It is told as such when such an event is met; the golden files meet each version."""
    with pytest.raises(UnreadableEvent, match="upcasting"):
        EventFormat([Weighed]).decode("Weighed", 1, b'{"grams":"1"}')


def test_an_upcaster_has_one_place(weighing: EventFormat) -> None:
    """No second one for a version, none beyond the present version, none for a stranger."""
    with pytest.raises(ValueError, match="two upcasters"):
        weighing.upcaster("Weighed", 1)
    with pytest.raises(ValueError, match="no version after 3"):
        weighing.upcaster("Weighed", 3)
    with pytest.raises(ValueError, match="no version after 1"):
        weighing.upcaster("Melted", 1)


def test_two_types_cannot_share_a_name() -> None:
    """The name is all that the log knows a type by."""

    class Other(Event, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "Weighed"

    with pytest.raises(ValueError, match="two event types are called Weighed"):
        EventFormat([Weighed, Other])


def test_an_unknown_field_is_ignored_within_a_known_version() -> None:
    """So an older process goes on while a newer one adds what no fold needs."""
    data = encode_event(RECEIVED)[:-1] + b',"colour":"red"}'

    assert decode_event("StockReceived", 1, data) == RECEIVED


def test_text_and_bytes_read_alike() -> None:
    """asyncpg gives JSON as text."""
    data = encode_event(RECEIVED)

    assert decode_event("StockReceived", 1, data.decode()) == decode_event("StockReceived", 1, data)


def test_every_category_of_ours_has_a_decider() -> None:
    """What counts as our stream is what the domain folds."""
    assert {registry.category(f"{name}-1") for name in OUR_CATEGORIES} == OUR_CATEGORIES
    assert all(registry.initial(name) is not None for name in OUR_CATEGORIES)
    assert is_ours("stock-1-2")
    assert not is_ours("stocktake-1")
    assert not is_ours("0f5c8a52-2f6e-4f0e-9a53-5d4ad5a3c111")


def test_decimals_keep_their_digits() -> None:
    """What was hashed is what was said: 5.50 is not 5.5."""
    assert encode_event(RECEIVED) == b'{"product_id":1,"location_id":2,"quantity":"5.50"}'


@pytest.fixture
def mapper() -> StructMapper:
    """The library's mapper over our format."""
    transcoder = JSONTranscoder()
    transcoder.register(UUIDAsHex())
    transcoder.register(DatetimeAsISO())
    return StructMapper(transcoder)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_the_library_maps_every_event_there_and_back(mapper: StructMapper, event: Event) -> None:
    """Its topic is the stable type name and version, its state the bytes that we store."""
    placed = StreamEvent("stock-1-2", 7, event)

    stored = mapper.to_stored_event(placed)

    assert stored.topic == topic_of(event.TYPE, event.SCHEMA_VERSION)
    assert stored.state == encode_event(event)
    assert mapper.to_domain_event(stored) == placed


def test_the_library_maps_its_own_events_as_ever(mapper: StructMapper) -> None:
    """An application's aggregates live beside ours."""
    (created,) = Aggregate().collect_events()

    copy = mapper.to_domain_event(mapper.to_stored_event(created))

    assert copy == created


def test_topics_carry_the_schema_version() -> None:
    """Version 1 is the bare name; a topic of the library's own is never taken apart."""
    assert topic_of("StockReceived", 1) == "StockReceived"
    assert split_topic(topic_of("StockReceived", 2)) == ("StockReceived", 2)
    assert split_topic("zoo.v2") == ("zoo.v2", 1)
    assert all(resolve_topic(name) is event_type for name, event_type in EVENT_TYPES.items())
