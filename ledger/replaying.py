"""Replaying streams: the states that deciders had, from the events alone, with no database.

What the committer decides on is a fold of a stream's events (`ledger.domain.registry`). The same
fold of an export's lines gives the same states, on any machine that has this package.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from ledger.domain import registry
from ledger.domain.decision import RecordedEvent
from ledger.mapper import decode_event, is_ours
from ledger.offline import HEADER_MARK, ExportedEvent

PROGRESS_EVERY: Final = 5_000


class Replayed(NamedTuple):
    """A stream's state as its decider had it, and the last event that made it."""

    stream: str
    version: int
    position: int
    state: Any


class Replay:
    """The states of some streams, or of all, on their way through the log."""

    def __init__(self, wanted: Callable[[str], bool] = is_ours) -> None:
        self._wanted = wanted
        self._states: dict[str, Replayed] = {}
        self.events = 0

    def take(self, event: RecordedEvent) -> None:
        """Fold one more event; it must come in the order of the log."""
        stream = event.stream
        if not is_ours(stream) or not self._wanted(stream):
            return
        before = self._states.get(stream)
        category = registry.category(stream)
        state = registry.initial(category) if before is None else before.state
        state = registry.evolve(category)(state, event)
        self._states[stream] = Replayed(stream, event.version, event.position, state)
        self.events += 1

    @property
    def states(self) -> list[Replayed]:
        """The states so far, in the order of their streams' names."""
        return [self._states[stream] for stream in sorted(self._states)]


def state_json(replayed: Replayed) -> bytes:
    """Return a state as one line of JSON; decimals are strings, so that none is rounded."""
    return msgspec.json.encode(
        {
            "stream": replayed.stream,
            "version": replayed.version,
            "position": replayed.position,
            "state": replayed.state,
        }
    )


def exported_events(
    lines: Iterable[bytes],
    wanted: Callable[[str], bool],
    position: int | datetime | None = None,
    as_of: datetime | None = None,
    happenings: frozenset[str] = frozenset(),
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[RecordedEvent]:
    """Yield the events of an export that are of wanted streams, up to a position or time.

    ``as_of`` leaves out those of ``happenings`` that are effective later. Raises ValueError,
    naming the line, for what is no event, and for a position that is not the next.
    """
    decode = msgspec.json.Decoder(ExportedEvent).decode
    last = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith(HEADER_MARK)):
            continue
        try:
            event = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            raise ValueError(f"line {number} is no event: {fault}") from None
        if event.position != last + 1:
            raise ValueError(
                f"line {number} has position {event.position} after {last}: the export is not "
                f"whole; `stockledger verify` says what is wrong with it"
            )
        last = event.position
        if isinstance(position, datetime):
            if event.recorded_at > position:
                break
        elif position is not None and last > position:
            break
        if last % PROGRESS_EVERY == 0:
            progress(last)
        if not wanted(event.stream):
            continue
        if as_of is not None and event.type in happenings and event.effective_at > as_of:
            continue
        yield RecordedEvent(
            last,
            event.stream,
            event.version,
            decode_event(event.type, event.schema_version, bytes(event.data)),
            event.effective_at,
            event.recorded_at,
        )
    progress(last)
