"""What the relay publishes, where an event is not as ours are."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.store import EventRow
from projections.relay_messages import Message, message_of, source_of, stream_name
from projections.relay_stream import BATCH_BYTES_MAX, TenantStream

AT = datetime(2026, 5, 5, 14, 30, tzinfo=timezone(timedelta(hours=2)))
SOURCE = source_of(UUID(int=5))


def row(stream: str = "stock-1-1", kind: str = "StockReceived", position: int = 9) -> EventRow:
    """Make a stored event."""
    return EventRow(
        position, stream, 1, kind, 1, '{"a":1}', "{}", AT, AT.astimezone(UTC), bytes(range(32))
    )


@pytest.mark.parametrize(
    ("stream", "kind", "subject"),
    [
        ("stock-7-1", "StockReceived", "stockledger.3.stock.StockReceived"),
        ("no hyphen", "A.B:C", "stockledger.3.no%20hyphen.A%2EB%3AC"),
        ("*-1", ">", "stockledger.3.%2A.%3E"),
        ("-1", "~", "stockledger.3.%00.%7E"),
        ("naïve-1", "Ünder_score", "stockledger.3.na%C3%AFve.%C3%9Cnder_score"),
    ],
)
def test_what_a_subject_may_not_have_is_encoded(stream: str, kind: str, subject: str) -> None:
    """Streams of a library's applications are in the log as well, under any name."""
    assert message_of(3, SOURCE, row(stream, kind)).subject == subject


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_whatever_the_names_the_message_keeps_its_form(stream: str, kind: str) -> None:
    """Four tokens without wildcards; headers of printable ASCII that decode to what they were."""
    message = message_of(3, SOURCE, row(stream, kind))
    tokens = message.subject.split(".")
    assert len(tokens) == 4
    assert all(token and not set(token) & set(" \t\r\n*>.") for token in tokens)
    assert message.subject.isascii()
    for text in message.headers.values():
        assert all(" " < character < "\x7f" for character in text)
    assert unquote(message.headers["ce-subject"]) == stream
    assert unquote(message.headers["ce-type"]) == kind


def test_times_are_in_utc_and_the_source_names_the_system() -> None:
    """Whatever zone the database session has."""
    headers = message_of(3, SOURCE, row()).headers
    assert headers["ce-time"] == headers["ce-recordedtime"] == "2026-05-05T12:30:00Z"
    assert headers["ce-source"] == "urn:uuid:00000000-0000-0000-0000-000000000005"
    assert headers["ce-leafhash"] == bytes(range(32)).hex()
    assert stream_name(3) == "STOCKLEDGER-3"


@given(st.lists(st.integers(0, BATCH_BYTES_MAX * 2), max_size=60), st.booleans())
def test_parts_are_bounded_and_leave_nothing_out(sizes: list[int], batches: bool) -> None:
    """Each is as short and as small as the server takes, unless it is one large message."""
    messages: list[Any] = [_Sized(size, number) for number, size in enumerate(sizes)]
    stream = TenantStream.__new__(TenantStream)
    stream.takes_batches = batches
    parts = list(stream.in_batches(messages))
    assert [message for part in parts for message in part] == messages
    for part in parts:
        assert len(part) == 1 or sum(message.size for message in part) <= BATCH_BYTES_MAX
        assert 1 <= len(part) <= (1_000 if batches else 100)


@pytest.mark.parametrize(("batches", "longest"), [(True, 1_000), (False, 100)])
def test_a_part_has_no_more_messages_than_the_server_takes(batches: bool, longest: int) -> None:
    """A thousand in an atomic batch; fewer where each waits for its own sync."""
    small = Message(1, "s", {}, b"")
    stream = TenantStream.__new__(TenantStream)
    stream.takes_batches = batches
    assert [len(part) for part in stream.in_batches([small] * 2_050)] == [
        *[longest] * (2_050 // longest),
        2_050 % longest,
    ]


class _Sized:
    """Stands for a message of a size, without the bytes."""

    def __init__(self, size: int, position: int) -> None:
        self.size = size
        self.position = position
