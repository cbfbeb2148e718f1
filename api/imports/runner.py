"""Takes a translated file into the ledger as one ingestion batch, a chunk of lines a commit.

The batch's name is derived from the file's bytes and from how it is read, so the same file
again is the same batch. Each chunk's movements, and the event that says that its lines have
been dealt with and which of them were refused, are one commit. So a run that was killed goes
on behind its last chunk, with the same result as if it had not been; a finished batch takes
nothing in again; and of two runs at once each chunk is recorded by one.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from api.house import Submitter
from api.imports.refused import RefusedFile
from api.imports.tables import Table
from api.imports.translation import Translated, Translator
from ledger import store
from ledger.domain import import_batch
from ledger.domain.decision import Refusal
from ledger.errors import LedgerUnavailable, OutcomeUnknown, QueueFull
from ledger.ports import Meta
from ledger.submission import Item, Outcome, Rendered, Reply, Submission
from ledger.working_set import recorded
from schemas.common import Command
from schemas.import_batch import (
    CloseImportBatch,
    ImportBatchClosed,
    ImportChunkRecorded,
    LineRefusal,
    OpenImportBatch,
    RecordImportChunk,
)

CHUNK_LINES: Final = 1_000
ATTEMPTS_MAX: Final = 20
_DELAY_S_MAX: Final = 10.0
_DETAIL_LENGTH_MAX: Final = 200
_NAME_LENGTH_MAX: Final = 200


class ImportFailed(Exception):
    """The import cannot go on; what it has recorded stays, and a new run continues there."""


class ImportReport(msgspec.Struct, kw_only=True):
    """What became of a file. ``lines`` = ``accepted`` + the sum of ``refused`` by reason.

    ``appended`` counts the events of this run by type, those of earlier runs left out;
    ``was_complete``: the batch was closed before this run, which appended nothing.
    """

    batch_id: str
    lines: int = 0
    accepted: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter[str])
    appended: Counter[str] = msgspec.field(default_factory=Counter[str])
    chunks_found: int = 0
    was_complete: bool = False
    position: int = 0


class _ChunkResult(msgspec.Struct, frozen=True):
    """What became of a chunk's lines, as it travels in the submission's response."""

    accepted: int
    refusals: tuple[LineRefusal, ...]
    appended: dict[str, int] = {}
    aborted: str | None = None


class _Batch(NamedTuple):
    chunks: Mapping[int, ImportChunkRecorded]
    closed: ImportBatchClosed | None


def batch_id_of(table: Table, translator: Translator) -> str:
    """Return the name of the batch that a file read in this way is."""
    identity = msgspec.json.encode(
        [translator.kind, table.digest, sorted(translator.options.items())]
    )
    return hashlib.sha256(identity).hexdigest()[:32]


class ImportRunner:
    """Drives one import through a committer, for one tenant."""

    def __init__(
        self,
        committer: Submitter,
        pool: store.Pool,
        tenant_id: int,
        *,
        actor: str = "system:import",
        actor_name: str | None = None,
        chunk_lines: int = CHUNK_LINES,
    ) -> None:
        self._committer = committer
        self._pool = pool
        self._tenant_id = tenant_id
        self._actor = actor
        self._actor_name = actor_name
        self._chunk_lines = chunk_lines

    async def run(
        self,
        table: Table,
        translator: Translator,
        refused_file: RefusedFile | None = None,
        progress: Callable[[ImportReport], None] | None = None,
    ) -> ImportReport:
        """Take a surveyed file in, or what is left of it, and return what became of it.

        ``progress`` is called after each chunk. Raises ImportFailed when the ledger will not
        have the batch, and UnreadableFile when the file is damaged on the way.
        """
        batch_id = batch_id_of(table, translator)
        report = ImportReport(batch_id=batch_id)
        batch = await self._open(table, translator, batch_id, report)
        report.chunks_found = len(batch.chunks)
        report.was_complete = batch.closed is not None
        translations = translator.translate()
        chunk = 0
        while lines := list(islice(translations, self._chunk_lines)):
            found = batch.chunks.get(chunk)
            if found is None:
                result = await self._submit_chunk(batch_id, chunk, lines, report)
            else:
                result = _ChunkResult(found.accepted, found.refusals)
            self._add_up(report, lines, result, refused_file)
            chunk += 1
            if progress is not None:
                progress(report)
            await asyncio.sleep(0)
        if batch.closed is None:
            closing = CloseImportBatch(
                batch_id=batch_id,
                lines=report.lines,
                accepted=report.accepted,
                refused=report.refused.total(),
            )
            await self._submit_own(self._submission(batch_id, [closing], _own), report)
        return report

    # --- the batch's own events ---------------------------------------------------------

    async def _open(
        self, table: Table, translator: Translator, batch_id: str, report: ImportReport
    ) -> _Batch:
        opening = OpenImportBatch(
            batch_id=batch_id,
            kind=translator.kind,
            source_name=table.path.name[:_NAME_LENGTH_MAX],
            source_digest=f"sha256:{table.digest}",
            options=dict(translator.options),
        )
        found = await self._read_batch(batch_id)
        if found.closed is not None:
            return found
        commands = [opening, *translator.opening()]
        await self._submit_own(self._submission(batch_id, commands, _own), report)
        return await self._read_batch(batch_id)

    async def _read_batch(self, batch_id: str) -> _Batch:
        stream = import_batch.stream(batch_id)
        async with store.tenant_transaction(self._pool, self._tenant_id) as connection:
            rows = await store.read_stream(connection, self._tenant_id, stream)
        chunks: dict[int, ImportChunkRecorded] = {}
        closed = None
        for row in rows:
            match recorded(row).event:
                case ImportChunkRecorded() as event:
                    chunks[event.chunk] = event
                case ImportBatchClosed() as event:
                    closed = event
                case _:
                    pass
        return _Batch(chunks, closed)

    # --- chunks -------------------------------------------------------------------------

    async def _submit_chunk(
        self, batch_id: str, chunk: int, lines: Sequence[Translated], report: ImportReport
    ) -> _ChunkResult:
        """Commit one chunk, or find that it is recorded."""
        commands, own_places = _commands(lines)

        def result_of(outcomes: Sequence[Outcome]) -> tuple[_ChunkResult, list[Command]]:
            return _result(lines, own_places, outcomes)

        def finish(outcomes: Sequence[Outcome]) -> list[Command]:
            result, after = result_of(outcomes)
            record = RecordImportChunk(
                batch_id=batch_id,
                chunk=chunk,
                first_line=lines[0].line.number,
                last_line=lines[-1].line.number,
                accepted=result.accepted,
                refused=len(result.refusals),
                refusals=result.refusals,
            )
            return [*after, record]

        def render(outcomes: Sequence[Outcome]) -> Rendered:
            for outcome in outcomes[len(commands) :]:
                if outcome.refusal is not None:
                    aborted = _ChunkResult(0, (), aborted=outcome.refusal.detail())
                    return Rendered(409, msgspec.json.encode(aborted))
            result, _ = result_of(outcomes)
            told = msgspec.structs.replace(result, appended=_appended(outcomes))
            return Rendered(200, msgspec.json.encode(told))

        submission = self._submission(batch_id, commands, render, finish)
        reply = await self._submit(submission)
        result = msgspec.json.decode(reply.body, type=_ChunkResult)
        if result.aborted is None:
            report.position = reply.position
            return result
        found = (await self._read_batch(batch_id)).chunks.get(chunk)
        if found is None:
            raise ImportFailed(result.aborted)
        # Another run was faster, or an attempt of ours of unknown outcome was done.
        return _ChunkResult(found.accepted, found.refusals)

    async def _submit_own(self, submission: Submission, report: ImportReport) -> None:
        """Commit what opens or closes the batch; raise ImportFailed when it is refused."""
        reply = await self._submit(submission)
        result = msgspec.json.decode(reply.body, type=_ChunkResult)
        if result.aborted is not None:
            raise ImportFailed(result.aborted)
        report.appended.update(result.appended)
        report.position = reply.position

    async def _submit(self, submission: Submission) -> Reply:
        """Submit, and again while the ledger is busy, away, or leaves the outcome unknown.

        That is safe: what took effect already is nothing to do, or is refused, the second time.
        """
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._committer.submit(submission)
            except (QueueFull, LedgerUnavailable, OutcomeUnknown):
                await asyncio.sleep(min(_DELAY_S_MAX, 0.1 * 2**attempt))
        raise ImportFailed(
            f"the ledger did not answer {ATTEMPTS_MAX} times; run the same import again to go on"
        )

    def _submission(
        self,
        batch_id: str,
        commands: Sequence[Command],
        render: Callable[[Sequence[Outcome]], Rendered],
        finish: Callable[[Sequence[Outcome]], Sequence[Command]] | None = None,
    ) -> Submission:
        return Submission(
            tenant_id=self._tenant_id,
            items=[Item(command) for command in commands],
            meta=Meta(
                actor=self._actor,
                actor_name=self._actor_name,
                source="import",
                correlation_id=batch_id,
            ),
            atomic=False,
            render=render,
            finish=finish,
        )

    def _add_up(
        self,
        report: ImportReport,
        lines: Sequence[Translated],
        result: _ChunkResult,
        refused_file: RefusedFile | None,
    ) -> None:
        report.lines += len(lines)
        report.accepted += result.accepted
        report.appended.update(result.appended)
        by_number = {translated.line.number: translated.line for translated in lines}
        for refusal in result.refusals:
            report.refused[refusal.code] += 1
            if refused_file is not None:
                refused_file.add(by_number[refusal.line], refusal.code, refusal.detail)


def _own(outcomes: Sequence[Outcome]) -> Rendered:
    """Answer for the first command; the others may be refused without harm."""
    refusal = outcomes[0].refusal
    aborted = None if refusal is None else refusal.detail()
    result = _ChunkResult(0, (), _appended(outcomes), aborted)
    return Rendered(200 if aborted is None else 409, msgspec.json.encode(result))


def _appended(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(type(each.event).TYPE for outcome in outcomes for each in outcome.events)


def _commands(lines: Sequence[Translated]) -> tuple[list[Command], list[int | None]]:
    """Return a chunk's commands in order, and where among them each line's own is."""
    commands: list[Command] = []
    own_places: list[int | None] = []
    for translated in lines:
        commands += translated.before
        if translated.own is None:
            own_places.append(None)
        else:
            own_places.append(len(commands))
            commands.append(translated.own)
    return commands, own_places


def _result(
    lines: Sequence[Translated], own_places: Sequence[int | None], outcomes: Sequence[Outcome]
) -> tuple[_ChunkResult, list[Command]]:
    """Return what became of each line, and the commands that follow the accepted ones."""
    refusals: list[LineRefusal] = []
    after: list[Command] = []
    for translated, place in zip(lines, own_places, strict=True):
        fault = translated.fault
        refusal = None if place is None else outcomes[place].refusal
        if fault is None and refusal is None:
            after += translated.after
            continue
        code, detail = fault if fault is not None else _told(refusal)
        refusals.append(
            LineRefusal(line=translated.line.number, code=code, detail=detail[:_DETAIL_LENGTH_MAX])
        )
    return _ChunkResult(len(lines) - len(refusals), tuple(refusals)), after


def _told(refusal: object) -> tuple[str, str]:
    assert isinstance(refusal, Refusal)
    return refusal.CODE, refusal.detail()
