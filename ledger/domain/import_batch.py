"""Ingestion batches: which lines of a file have been dealt with, so that none is taken twice."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    RecordedEvent,
    Refs,
    State,
)
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals import (
    ChunkAlreadyRecorded,
    ChunkOutOfOrder,
    ImportBatchConflict,
    ImportBatchIsClosed,
    ImportBatchNotFound,
    ImportCountsDiffer,
)
from schemas.import_batch import (
    CloseImportBatch,
    ImportBatchClosed,
    ImportBatchCommand,
    ImportBatchOpened,
    ImportChunkRecorded,
    OpenImportBatch,
    RecordImportChunk,
)

FIRST_CHUNK: Final = 0


def stream(batch_id: str) -> str:
    """Return the name of a batch's stream."""
    return f"import-{batch_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class ImportBatchState(msgspec.Struct, frozen=True, gc=False):
    """How far a batch is. ``next_chunk`` is the number of the chunk to come."""

    is_open: bool = False
    is_closed: bool = False
    source_digest: str = ""
    reading: bytes = b""
    """Fingerprint of how the file is read: its kind and options."""
    next_chunk: int = FIRST_CHUNK
    last_line: int = -1
    accepted: int = 0
    refused: int = 0


INITIAL: Final = ImportBatchState()


def evolve(state: ImportBatchState, recorded: RecordedEvent) -> ImportBatchState:
    """Return the state after an event."""
    match recorded.event:
        case ImportBatchOpened() as event:
            return ImportBatchState(
                is_open=True, source_digest=event.source_digest, reading=_reading(event)
            )
        case ImportChunkRecorded() as event:
            return msgspec.structs.replace(
                state,
                next_chunk=event.chunk + 1,
                last_line=event.last_line,
                accepted=state.accepted + event.accepted,
                refused=state.refused + event.refused,
            )
        case ImportBatchClosed():
            return msgspec.structs.replace(state, is_open=False, is_closed=True)
        case event:
            raise TypeError(f"an import batch has no {type(event).__name__}")


def _reading(said: ImportBatchOpened) -> bytes:
    """Return a fingerprint of kind and options, whatever their order."""
    return fingerprint(
        ImportBatchOpened(
            batch_id=said.batch_id,
            kind=said.kind,
            source_name="",
            source_digest="",
            options=dict(sorted(said.options.items())),
        )
    )


# --- decisions --------------------------------------------------------------------------


class ImportBatchDecider(Decider):
    """The decider of ingestion batches."""

    def streams(self, command: ImportBatchCommand, refs: Refs) -> Sequence[str]:
        """The batch's own."""
        return (stream(command.batch_id),)

    def decide(
        self, command: ImportBatchCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it is so already, or a refusal.

        A chunk that is recorded already is refused rather than passed over: it is submitted
        in one atomic request with what its lines lead to, which then has no effect either.
        Refusals: ImportBatchNotFound, ImportBatchConflict, ImportBatchIsClosed,
        ChunkAlreadyRecorded, ChunkOutOfOrder, ImportCountsDiffer, InvalidCommand.
        """
        name = stream(command.batch_id)
        state: ImportBatchState = states[name]
        if isinstance(command, OpenImportBatch):
            return _open(command, name, state)
        if not state.is_open and not state.is_closed:
            return ImportBatchNotFound(batch_id=command.batch_id)
        if isinstance(command, RecordImportChunk):
            return _record_chunk(command, name, state)
        return _close(command, name, state)


DECIDER: Final = ImportBatchDecider()


def _open(command: OpenImportBatch, name: str, state: ImportBatchState) -> Decision:
    event = ImportBatchOpened(**msgspec.structs.asdict(command))
    if not state.is_open and not state.is_closed:
        return [NewEvent(name, event)]
    if state.source_digest != command.source_digest:
        return ImportBatchConflict(batch_id=command.batch_id, field="source_digest")
    if state.reading != _reading(event):
        return ImportBatchConflict(batch_id=command.batch_id, field="kind or options")
    return []


def _record_chunk(command: RecordImportChunk, name: str, state: ImportBatchState) -> Decision:
    batch_id, next_chunk = command.batch_id, state.next_chunk
    if command.chunk < next_chunk:
        return ChunkAlreadyRecorded(batch_id=batch_id, chunk=command.chunk, next_chunk=next_chunk)
    if state.is_closed:
        return ImportBatchIsClosed(batch_id=batch_id)
    if command.chunk > next_chunk:
        return ChunkOutOfOrder(batch_id=batch_id, chunk=command.chunk, next_chunk=next_chunk)
    if command.first_line <= state.last_line:
        fault = f"must come after line {state.last_line}, the last one that has been dealt with"
        return InvalidCommand(field="first_line", fault=fault)
    if command.last_line < command.first_line:
        return InvalidCommand(field="last_line", fault="must not come before first_line")
    # Fewer than the span is right: a file may have lines with nothing in them.
    span = command.last_line - command.first_line + 1
    if command.accepted + command.refused > span:
        return ImportCountsDiffer(
            batch_id=batch_id,
            field="accepted and refused",
            stated=command.accepted + command.refused,
            actual=span,
        )
    return [NewEvent(name, ImportChunkRecorded(**msgspec.structs.asdict(command)))]


def _close(command: CloseImportBatch, name: str, state: ImportBatchState) -> Decision:
    for field, stated, actual in (
        ("accepted", command.accepted, state.accepted),
        ("refused", command.refused, state.refused),
        ("lines", command.lines, state.accepted + state.refused),
    ):
        if stated != actual:
            return ImportCountsDiffer(
                batch_id=command.batch_id, field=field, stated=stated, actual=actual
            )
    if state.is_closed:
        return []
    return [NewEvent(name, ImportBatchClosed(**msgspec.structs.asdict(command)))]
