"""Demand taken in by one request: a chunk of lines a commit, and it may be sent again.

The request is one ingestion batch. With an Idempotency-Key the batch's name is made from the
key, so the same request again finds its batch: chunks that are recorded are compared, by their
digests, and passed over; the first that is not goes on where the earlier attempt stopped. Only
the commit that closes the batch keeps the response under the key. Other lines under the same
key are told from the first chunk that differs on, before anything of them is recorded.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from api.context import Call
from api.problems import Problem, of_exception
from api.reply import Reply, encode
from api.writes import committed, idempotency_of, refused
from ledger import store
from ledger.domain.demand import KIND
from ledger.errors import IdempotencyMismatch, LedgerUnavailable, OutcomeUnknown, QueueFull
from ledger.submission import Idempotency, Item, Outcome, Rendered, Submission
from ledger.submission import Reply as CommitReply
from projections.import_batches import KnownChunk, list_refusals, read_batch, read_chunks
from schemas.common import Command
from schemas.demand import (
    DEMAND_LINES_MAX,
    DemandEntry,
    DemandRecorded,
    PeriodKind,
    RecordDemandChunk,
)
from schemas.import_batch import CloseImportBatch, LineRefusal, OpenImportBatch

CHUNK_LINES: Final = DEMAND_LINES_MAX
REFUSALS_SHOWN: Final = 100
ATTEMPTS_MAX: Final = 6
_DELAY_S_MAX: Final = 2.0
_SOURCE_NAME: Final = "order-lines"
_BUSY: Final = (QueueFull, LedgerUnavailable, OutcomeUnknown)

_DEFAULT_ZONE: Final = """
SELECT time_zone FROM projections.location WHERE tenant_id = $1 AND is_default
"""


class SaidOfAll(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a request says of all its lines; ``time_zone`` None: the default location's."""

    external_source_id: str | None
    period_kind: PeriodKind
    time_zone: str | None


class Chunk(NamedTuple):
    """A chunk's lines as they were read: those that can be, and those that are refused already.

    ``digest`` is of what was sent, whatever became of it.
    """

    first_line: int
    last_line: int
    lines: tuple[DemandEntry, ...]
    refusals: tuple[LineRefusal, ...]
    digest: str


class Finished(NamedTuple):
    """A batch that is closed. ``refusals`` are the first ``REFUSALS_SHOWN`` of it."""

    batch_id: str
    said: SaidOfAll
    lines: int
    accepted: int
    refused: int
    refusals: Sequence[LineRefusal]


class _Told(msgspec.Struct, frozen=True):
    """What became of a chunk, as it travels in the submission's response."""

    accepted: int = 0
    refused: int = 0
    code: str | None = None
    detail: str = ""


class DemandIngestion:
    """Takes one request in: `begin`, then `take` for every chunk, then `end`."""

    def __init__(self, call: Call, render: Callable[[Finished], Rendered]) -> None:
        """``render`` makes the response. Raise Problem (400) for a wrong Idempotency-Key."""
        given = idempotency_of(call, b"")
        self._call = call
        self._render = render
        self._key = None if given is None else given.key
        self.batch_id = secrets.token_hex(16) if self._key is None else _batch_id(self._key)
        self._is_known = False
        self._is_closed = False
        self._found: dict[int, KnownChunk] = {}
        self._chunks = 0
        self._lines = 0
        self._accepted = 0
        self._refused = 0
        self._digest = hashlib.sha256()

    async def begin(self, said: SaidOfAll) -> ZoneInfo:
        """Find what is recorded of the request already; return the zone its times are read in.

        Raise Problem: 400 for a zone that there is not, 422 when the key stands for another
        request by what is said of all lines.
        """
        call, tenant_id = self._call, self._call.caller.tenant_id
        async with store.tenant_transaction(
            call.house.pool, tenant_id, credential=call.caller.credential
        ) as connection:
            before = None
            if self._key is not None:
                used = await store.read_kept_responses(connection, tenant_id, [self._key])
                before = await read_batch(connection, tenant_id, self.batch_id)
                if used and before is None:
                    raise _mismatch("method or path")
            if before is not None:
                self._found = await read_chunks(connection, tenant_id, self.batch_id)
                self._is_known = True
                self._is_closed = before["closed_at"] is not None
                earlier = _said(msgspec.json.decode(before["options"], type=dict[str, str]))
                said = _as_before(said, earlier)
            elif said.time_zone is None:
                zone = await connection.fetchval(_DEFAULT_ZONE, tenant_id)
                said = msgspec.structs.replace(said, time_zone=zone or "UTC")
        self._said = said
        return _zone(said.time_zone)

    async def take(self, chunk: Chunk) -> None:
        """Record a chunk, the next one, unless an earlier attempt has.

        Raise Problem: 422 when other lines were recorded in its place, 409 when the batch was
        reversed meanwhile, 503 while the ledger is away; and what the committer raises.
        """
        if not self._is_known:
            await self._open()
        number = self._chunks
        known = self._found.get(number)
        if known is None:
            if self._is_closed:
                raise _mismatch(_span(chunk))
            known = await self._record(number, chunk)
        if (known.digest, known.last_line) != (chunk.digest, chunk.last_line):
            raise _mismatch(_span(chunk))
        self._chunks += 1
        self._lines = chunk.last_line
        self._accepted += known.accepted
        self._refused += known.refused
        self._digest.update(chunk.digest.encode())

    async def end(self) -> Reply:
        """Close the batch, and return the reply; that of the first time, where there was one.

        Raise Problem: 400 without any line, 422 when more lines were recorded under the key.
        """
        if not self._chunks:
            raise Problem("invalid_field", "lines: must have at least one line.", field="lines")
        if more := [number for number in self._found if number >= self._chunks]:
            raise _mismatch(_span(self._found[min(more)]))
        call, tenant_id = self._call, self._call.caller.tenant_id
        async with store.tenant_transaction(call.house.pool, tenant_id) as connection:
            rows = await list_refusals(connection, tenant_id, self.batch_id, REFUSALS_SHOWN)
        finished = Finished(
            self.batch_id,
            self._said,
            self._lines,
            self._accepted,
            self._refused,
            [LineRefusal(line=row[0], code=row[1], detail=row[2]) for row in rows],
        )
        closing = CloseImportBatch(
            batch_id=self.batch_id,
            lines=self._lines,
            accepted=self._accepted,
            refused=self._refused,
        )

        def render(outcomes: Sequence[Outcome]) -> Rendered:
            refusal = outcomes[0].refusal
            if refusal is not None:
                return refused(refusal, family=call.family)
            return self._render(finished)

        reply = await self._submit(closing, render, self._idempotency())
        # Keys are forgotten after a while, batches are not: the lines took effect once.
        replayed = reply.replayed or self._is_closed
        return committed(reply.status, reply.body, reply.position, replayed, call.family)

    def fault(self, exception: Exception) -> Exception:
        """Return what to raise for an exception; a problem says which batch is left open."""
        problem = of_exception(exception)
        if problem is None or not self._is_known:
            return exception
        problem.members.setdefault("import_batch_id", self.batch_id)
        return problem

    # --- commits ------------------------------------------------------------------------

    async def _open(self) -> None:
        said = self._said
        options = {"period": said.period_kind, "time_zone": said.time_zone or "UTC"}
        if said.external_source_id is not None:
            options["external_source_id"] = said.external_source_id
        opening = OpenImportBatch(
            batch_id=self.batch_id,
            kind=KIND,
            source_name=said.external_source_id or _SOURCE_NAME,
            source_digest="",
            options=options,
        )
        told = await self._told(opening)
        if told.code is not None:
            # Somebody has opened it this moment, under the same key but with other words.
            raise _mismatch("externalSourceId, periodKind or timeZone")
        self._is_known = True

    async def _record(self, number: int, chunk: Chunk) -> KnownChunk:
        command = RecordDemandChunk(
            batch_id=self.batch_id,
            chunk=number,
            first_line=chunk.first_line,
            last_line=chunk.last_line,
            digest=chunk.digest,
            lines=chunk.lines,
            refusals=chunk.refusals,
        )
        told = await self._told(command)
        if told.code is None:
            return KnownChunk(
                chunk.first_line, chunk.last_line, told.accepted, told.refused, chunk.digest
            )
        if told.code not in ("chunk_already_recorded", "import_batch_closed"):
            raise Problem(told.code, told.detail)
        # The same request comes in twice at this moment, or its answer was lost under way.
        call, tenant_id = self._call, self._call.caller.tenant_id
        async with store.tenant_transaction(call.house.pool, tenant_id) as connection:
            self._found |= await read_chunks(connection, tenant_id, self.batch_id, number)
        if number not in self._found:
            raise _mismatch(_span(chunk))
        return self._found[number]

    async def _told(self, command: Command) -> _Told:
        reply = await self._submit(command, _tell, None)
        return msgspec.json.decode(reply.body, type=_Told)

    async def _submit(
        self,
        command: Command,
        render: Callable[[Sequence[Outcome]], Rendered],
        idempotency: Idempotency | None,
    ) -> CommitReply:
        """Submit, and again while the ledger is busy, away, or leaves the outcome unknown.

        That is safe: what took effect already is nothing to do, or is refused, the second time.
        """
        call = self._call
        submission = Submission(
            tenant_id=call.caller.tenant_id,
            items=[Item(command)],
            meta=call.meta(self._key),
            render=render,
            idempotency=idempotency,
            credential=call.caller.credential,
        )
        for attempt in range(1, ATTEMPTS_MAX):
            try:
                return await call.house.committer.submit(submission)
            except _BUSY:
                await asyncio.sleep(min(_DELAY_S_MAX, 0.1 * 2**attempt))
        return await call.house.committer.submit(submission)

    def _idempotency(self) -> Idempotency | None:
        """Return what the key stands for: what was said, and a digest in place of the lines."""
        if self._key is None:
            return None
        stated = {
            **msgspec.to_builtins(self._said),
            "lines": [self._lines, self._digest.hexdigest()],
        }
        scope = self._call.scope
        line = f"{scope['method']} {scope['path']}\n"  # type: ignore[typeddict-item]
        return Idempotency(self._key, line.encode() + encode(stated))


def _batch_id(key: str) -> str:
    return hashlib.sha256(f"order-lines\n{key}".encode()).hexdigest()[:32]


def _tell(outcomes: Sequence[Outcome]) -> Rendered:
    (outcome,) = outcomes
    if outcome.refusal is not None:
        told = _Told(code=outcome.refusal.CODE, detail=outcome.refusal.detail())
    else:
        told = _Told()
        for recorded in outcome.events:
            if isinstance(recorded.event, DemandRecorded):
                told = _Told(len(recorded.event.lines), len(recorded.event.refusals))
    return Rendered(200, msgspec.json.encode(told))


def _said(options: dict[str, str]) -> SaidOfAll:
    return SaidOfAll(
        external_source_id=options.get("external_source_id"),
        period_kind=msgspec.convert(options["period"], PeriodKind),
        time_zone=options["time_zone"],
    )


def _as_before(said: SaidOfAll, earlier: SaidOfAll) -> SaidOfAll:
    """Return what was said the first time; raise Problem (422) where it differs.

    A zone that is not named stays what it was, even if the default location has moved.
    """
    if said.time_zone is None:
        said = msgspec.structs.replace(said, time_zone=earlier.time_zone)
    now, before = msgspec.to_builtins(said), msgspec.to_builtins(earlier)
    if differing := [name for name in now if now[name] != before[name]]:
        raise _mismatch(*differing)
    return earlier


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Problem(
            "invalid_field",
            f"timeZone: {name!r} is no time zone; name one such as Europe/London.",
            field="timeZone",
        ) from None


def _span(chunk: Chunk | KnownChunk) -> str:
    return f"lines {chunk.first_line} to {chunk.last_line}"


def _mismatch(*differing: str) -> Problem:
    problem = of_exception(IdempotencyMismatch(differing=differing))
    assert problem is not None, "it has a problem of its own"
    return problem
