"""Ingestion batches: their stream, and what decisions need of one that is under way."""

from typing import Final

import msgspec

from ledger.domain.decision import InvalidCommand, RecordedEvent, Refusal
from ledger.domain.fingerprint import fingerprint
from ledger.domain.refusals import (
    ChunkAlreadyRecorded,
    ChunkOutOfOrder,
    ImportBatchIsClosed,
    ImportCountsDiffer,
)
from schemas.demand import DemandRecorded, ImportBatchReversed, RecordDemandChunk
from schemas.import_batch import (
    ImportBatchClosed,
    ImportBatchOpened,
    ImportChunkRecorded,
    RecordImportChunk,
)

FIRST_CHUNK: Final = 0


def stream(batch_id: str) -> str:
    """Return the name of a batch's stream."""
    return f"import-{batch_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class ImportBatchState(msgspec.Struct, frozen=True, gc=False):
    """How far a batch is. ``next_chunk`` is the number of the chunk to come."""

    is_open: bool = False
    is_closed: bool = False
    is_reversed: bool = False
    kind: str = ""
    source_digest: str = ""
    reading: bytes = b""
    """Fingerprint of how the file is read: its kind and options."""
    next_chunk: int = FIRST_CHUNK
    last_line: int = -1
    accepted: int = 0
    refused: int = 0

    @property
    def is_known(self) -> bool:
        """Whether there is such a batch."""
        return bool(self.kind)


INITIAL: Final = ImportBatchState()


def evolve(state: ImportBatchState, recorded: RecordedEvent) -> ImportBatchState:
    """Return the state after an event."""
    match recorded.event:
        case ImportBatchOpened() as event:
            return ImportBatchState(
                is_open=True,
                kind=event.kind,
                source_digest=event.source_digest,
                reading=reading_of(event),
            )
        case ImportChunkRecorded(accepted=accepted, refused=refused) as event:
            return _advanced(state, event, accepted, refused)
        case DemandRecorded(lines=lines, refusals=refusals) as event:
            return _advanced(state, event, len(lines), len(refusals))
        case ImportBatchClosed():
            return msgspec.structs.replace(state, is_open=False, is_closed=True)
        case ImportBatchReversed():
            return msgspec.structs.replace(state, is_open=False, is_reversed=True)
        case event:
            raise TypeError(f"an import batch has no {type(event).__name__}")


def _advanced(
    state: ImportBatchState,
    event: ImportChunkRecorded | DemandRecorded,
    accepted: int,
    refused: int,
) -> ImportBatchState:
    return msgspec.structs.replace(
        state,
        next_chunk=event.chunk + 1,
        last_line=event.last_line,
        accepted=state.accepted + accepted,
        refused=state.refused + refused,
    )


def reading_of(said: ImportBatchOpened) -> bytes:
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


def chunk_refusal(
    command: RecordImportChunk | RecordDemandChunk, state: ImportBatchState, told_of: int
) -> Refusal | None:
    """Return why a chunk cannot be the batch's next one; None where it can.

    ``told_of`` is how many lines it accepts and refuses. Fewer than from its first to its last
    is right: a file may have lines with nothing in them.
    """
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
    span = command.last_line - command.first_line + 1
    if told_of > span:
        return ImportCountsDiffer(
            batch_id=batch_id, field="accepted and refused", stated=told_of, actual=span
        )
    return None
