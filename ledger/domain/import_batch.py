"""Ingestion batches: which lines of a file have been dealt with, so that none is taken twice."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.domain import demand
from ledger.domain.decision import Decider, Decision, Facts, Names, NewEvent, Refs, State
from ledger.domain.import_batch_state import (
    FIRST_CHUNK as FIRST_CHUNK,
)
from ledger.domain.import_batch_state import (
    INITIAL as INITIAL,
)
from ledger.domain.import_batch_state import (
    STATE_VERSION as STATE_VERSION,
)
from ledger.domain.import_batch_state import (
    ImportBatchState,
    chunk_refusal,
    reading_of,
)
from ledger.domain.import_batch_state import (
    evolve as evolve,
)
from ledger.domain.import_batch_state import (
    stream as stream,
)
from ledger.domain.refusals import (
    ImportBatchConflict,
    ImportBatchNotFound,
    ImportCountsDiffer,
)
from ledger.domain.refusals_ingestion import ImportBatchIsReversed
from schemas.demand import DemandCommand, RecordDemandChunk, ReverseImportBatch
from schemas.import_batch import (
    CloseImportBatch,
    ImportBatchClosed,
    ImportBatchCommand,
    ImportBatchOpened,
    ImportChunkRecorded,
    OpenImportBatch,
    RecordImportChunk,
)

# --- decisions --------------------------------------------------------------------------


class ImportBatchDecider(Decider):
    """The decider of ingestion batches, those of demand among them."""

    def resolve(self, command: ImportBatchCommand | DemandCommand, names: Names) -> Refs:
        """The products that lines of demand name."""
        return demand.resolve(command, names) if isinstance(command, RecordDemandChunk) else Refs()

    def streams(self, command: ImportBatchCommand | DemandCommand, refs: Refs) -> Sequence[str]:
        """The batch's own, and those of the products that lines of demand name."""
        return (stream(command.batch_id), *demand.product_streams(refs))

    def decide(
        self,
        command: ImportBatchCommand | DemandCommand,
        refs: Refs,
        states: Mapping[str, State],
        facts: Facts,
    ) -> Decision:
        """Return the one event, nothing when it is so already, or a refusal.

        A chunk that is recorded already is refused rather than passed over: it is submitted
        in one atomic request with what its lines lead to, which then has no effect either.
        Refusals: ImportBatchNotFound, ImportBatchConflict, ImportBatchIsClosed,
        ChunkAlreadyRecorded, ChunkOutOfOrder, ImportCountsDiffer, InvalidCommand; and those of
        `demand`.
        """
        name = stream(command.batch_id)
        state: ImportBatchState = states[name]
        if isinstance(command, OpenImportBatch):
            return _open(command, name, state)
        if not state.is_known:
            return ImportBatchNotFound(batch_id=command.batch_id)
        match command:
            case RecordImportChunk():
                return _record_chunk(command, name, state)
            case RecordDemandChunk():
                return demand.record(command, refs, state, states)
            case CloseImportBatch():
                return _close(command, name, state)
            case ReverseImportBatch():
                return demand.reverse(command, state)


DECIDER: Final = ImportBatchDecider()


def _open(command: OpenImportBatch, name: str, state: ImportBatchState) -> Decision:
    event = ImportBatchOpened(**msgspec.structs.asdict(command))
    if not state.is_known:
        return [NewEvent(name, event)]
    if state.source_digest != command.source_digest:
        return ImportBatchConflict(batch_id=command.batch_id, field="source_digest")
    if state.reading != reading_of(event):
        return ImportBatchConflict(batch_id=command.batch_id, field="kind or options")
    return []


def _record_chunk(command: RecordImportChunk, name: str, state: ImportBatchState) -> Decision:
    if state.kind == demand.KIND:
        return ImportBatchConflict(batch_id=command.batch_id, field="kind")
    refusal = chunk_refusal(command, state, command.accepted + command.refused)
    if refusal is not None:
        return refusal
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
    if state.is_reversed:
        return ImportBatchIsReversed(batch_id=command.batch_id)
    return [NewEvent(name, ImportBatchClosed(**msgspec.structs.asdict(command)))]
