"""An event as everybody outside is shown it: over HTTP, in server-sent events, by the relay."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.store import EventRow

_encode: Final = msgspec.json.Encoder().encode


def event_json(event: EventRow) -> bytes:
    """Return an event as JSON; its data and meta are passed on as they are stored."""
    return (
        f'{{"position":{event.position},"stream":{_quoted(event.stream)},'
        f'"version":{event.version},"type":{_quoted(event.type)},'
        f'"schema_version":{event.schema_version},"effective_at":"{instant(event.effective_at)}",'
        f'"recorded_at":"{instant(event.recorded_at)}","data":{event.data},"meta":{event.meta}}}'
    ).encode()


def instant(at: datetime) -> str:
    """Return a moment as RFC 3339 has it, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _quoted(text: str) -> str:
    return _encode(text).decode()
