"""What the relay publishes: an event as a CloudEvent in a NATS message.

A tenant's events go to a stream of its own, in which an event's sequence number is its position:
that is what makes a gap or a duplicate impossible, whoever publishes (`projections.relay_stream`).

The message is a CloudEvent 1.0 in binary mode: the attributes are headers with the prefix
``ce-``, the body is the event as ``/api/ledger/events`` shows it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from ledger.showing import event_json, instant
from ledger.store import EventRow

SUBJECT_PREFIX: Final = "stockledger"
STREAM_PREFIX: Final = "STOCKLEDGER"
SPEC_VERSION: Final = "1.0"
MEDIA_TYPE: Final = "application/json"
MESSAGE_ID: Final = "Nats-Msg-Id"
"""JetStream's own: what is sent twice within its duplicate window is kept once."""
LEAF: Final = "ce-leafhash"
# Printable ASCII but for the three that the binding has encoded (HTTP's 3.1.3.2 and NATS's).
_PLAIN: Final = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")


class Message(NamedTuple):
    """One event, ready to be published."""

    position: int
    subject: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def size(self) -> int:
        """The bytes it takes, about."""
        return len(self.body) + sum(len(name) + len(text) for name, text in self.headers.items())


def stream_name(tenant_id: int) -> str:
    """Return the name of a tenant's stream."""
    return f"{STREAM_PREFIX}-{tenant_id}"


def stream_subjects(tenant_id: int) -> str:
    """Return what a tenant's stream takes in."""
    return f"{SUBJECT_PREFIX}.{tenant_id}.>"


def source_of(inventory_system_id: UUID) -> str:
    """Return the ``source`` of a tenant's events: no other tenant anywhere has the same."""
    return inventory_system_id.urn


def message_id(tenant_id: int, position: int) -> str:
    """Return what tells an event from every other of the installation."""
    return f"{tenant_id}-{position}"


def message_of(tenant_id: int, source: str, event: EventRow) -> Message:
    """Return an event as a message."""
    name = message_id(tenant_id, event.position)
    category = event.stream.partition("-")[0]
    return Message(
        event.position,
        f"{SUBJECT_PREFIX}.{tenant_id}.{_token(category)}.{_token(event.type)}",
        {
            MESSAGE_ID: name,
            "ce-specversion": SPEC_VERSION,
            "ce-id": name,
            "ce-source": source,
            "ce-type": _header(event.type),
            "ce-subject": _header(event.stream),
            "ce-time": instant(event.effective_at),
            "ce-recordedtime": instant(event.recorded_at),
            "ce-datacontenttype": MEDIA_TYPE,
            LEAF: event.leaf_hash.hex(),
        },
        event_json(event),
    )


@lru_cache(maxsize=4096)
def _token(text: str) -> str:
    """Return text as one token of a subject: in others' streams there may be dots and spaces."""
    if _TOKEN.fullmatch(text):
        return text
    return quote(text, safe="-_").replace(".", "%2E").replace("~", "%7E") or "%00"


@lru_cache(maxsize=65_536)
def _header(text: str) -> str:
    """Return text as a header's value, what is not plain percent-encoded."""
    return quote(text, safe=_PLAIN)
