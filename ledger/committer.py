"""The committer: group commit. One in each process.

Requests put submissions on a bounded queue. For each tenant a writer takes whatever waits, up
to a limit, decides it in order and commits it in one transaction; while one group commits the
next gathers, so load makes groups larger and not latency unbounded.

A writer decides on what it holds in memory, and appends under a compare-and-set of the head's
position. So it need not wait for one group's commit to decide the next: when enough waits, it
decides on the states that the group in flight will leave, and its transaction queues behind
that one's on the head's row. Whatever goes wrong (another process has moved the head, a key
was used before, a statement fails), nothing of the group has been written: the working set is
dropped and the groups concerned are done again, each under the head's lock.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog

from ledger import store
from ledger.domain.decision import Refusal
from ledger.errors import LedgerError, LedgerUnavailable, OutcomeUnknown, QueueFull, Superseded
from ledger.group import Group
from ledger.ports import InlineProjections
from ledger.session import CONNECTION_LOST, Session
from ledger.store import IdempotencyRow, Pool
from ledger.submission import Reply, Submission
from ledger.working_set import RECENT_KEYS_MAX, WorkingSet
from ledger.writer import Flight, Sessions, Ticket, Writer, answer, answer_all

LOCKED_GROUPS_AFTER_CONTENTION = 16
OVERLAP_FROM_COMMANDS = 256
WRITER_IDLE_S = 30.0
SESSION_IDLE_S = 0.1
ATTEMPTS_MAX = 4

_log = structlog.get_logger(__name__)


class GroupReport(NamedTuple):
    """What one commit took, for metrics."""

    commands: int
    submissions: int
    events: int
    seconds: float
    contended: bool
    refusals: Sequence[Refusal]


class _Stale(Exception):
    """Another process has moved the head since this group was decided."""


# What a group that is written without the head's lock may meet; it is done again under it.
_FORESEEN: Final = (_Stale, asyncpg.UniqueViolationError, *CONNECTION_LOST)


class Committer:
    """Takes submissions and answers each when its transaction has committed."""

    def __init__(
        self,
        pool: Pool,
        projections: InlineProjections,
        clock: Callable[[], datetime],
        *,
        queue_commands_max: int = 10_000,
        group_commands_max: int = 1_000,
        states_cached_max: int = 65_536,
        tenants_cached_max: int = 256,
        on_group: Callable[[GroupReport], None] = lambda report: None,
        on_commit: Callable[[int], None] = lambda tenant_id: None,
    ) -> None:
        """``on_commit`` is told the tenant whose log has grown, to wake its readers."""
        self._pool = pool
        self._projections = projections
        self._clock = clock
        self._queue_commands_max = queue_commands_max
        self._group_commands_max = group_commands_max
        self._states_cached_max = states_cached_max
        self._tenants_cached_max = tenants_cached_max
        self._on_group = on_group
        self._on_commit = on_commit
        self._writers: dict[int, Writer] = {}
        self._sessions = Sessions(pool)
        self._closing = False
        self.queued_commands = 0

    async def submit(self, submission: Submission) -> Reply:
        """Queue a submission and return its reply once it is committed or refused.

        Raises
        ------
        QueueFull: too many commands are waiting.
        LedgerUnavailable: the database cannot be reached; nothing was recorded.
        OutcomeUnknown: the connection was lost during the commit.
        Superseded: another release has put its own read models in place.
        IdempotencyMismatch: the key stands for another request.
        VersionConflict: the stream is not at the version the client expects.
        CredentialRevoked: the credential has ended since the request was let in.
        """
        commands = len(submission.items) or 1
        if self._closing:
            raise LedgerUnavailable("The service is stopping; nothing was recorded, try again.")
        # A submission larger than the whole queue is let in when nothing else waits.
        if self.queued_commands and self.queued_commands + commands > self._queue_commands_max:
            raise QueueFull(retry_after_s=1)
        writer = self._writer(submission.tenant_id)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        writer.queue.append(Ticket(submission, commands, reply))
        writer.queued_commands += commands
        self.queued_commands += commands
        writer.arrived.set()
        return await reply

    async def close(self) -> None:
        """Commit what waits, and stop."""
        self._closing = True
        tasks = [writer.task for writer in self._writers.values() if writer.task is not None]
        for writer in self._writers.values():
            writer.arrived.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _writer(self, tenant_id: int) -> Writer:
        writer = self._writers.get(tenant_id)
        if writer is None:
            self._forget_idle_tenants()
            writer = self._writers[tenant_id] = Writer(tenant_id)
        if writer.task is None or writer.task.done():
            writer.task = asyncio.create_task(
                self._write(writer), name=f"committer of tenant {tenant_id}"
            )
        return writer

    def _forget_idle_tenants(self) -> None:
        if len(self._writers) < self._tenants_cached_max:
            return
        idle = [w for w in self._writers.values() if w.task is None or w.task.done()]
        for writer in sorted(idle, key=lambda w: w.used_at)[: len(idle) // 2 + 1]:
            del self._writers[writer.working_set.tenant_id]

    # --- one tenant's writer ------------------------------------------------------------

    async def _write(self, writer: Writer) -> None:
        try:
            while await self._has_work(writer):
                if writer.flight is not None and writer.queued_commands < OVERLAP_FROM_COMMANDS:
                    await self._land(writer)
                tickets = self._take(writer)
                if not tickets:
                    continue
                try:
                    if writer.locked_groups > 0 or writer.working_set.head is None:
                        await self._land(writer)
                        await self._commit_carefully(writer, tickets, gather=True)
                    else:
                        await self._take_off(writer, tickets)
                except Exception:
                    # A fault of ours must not leave requests waiting for ever.
                    _log.exception("writer_failed", tenant_id=writer.working_set.tenant_id)
                    in_flight = () if writer.flight is None else writer.flight.tickets
                    writer.flight = None
                    writer.working_set.forget()
                    answer_all([*in_flight, *tickets], OutcomeUnknown())
                writer.used_at = time.monotonic()
                self._bound_memory()
        finally:
            await self._sessions.let_go(writer)

    async def _has_work(self, writer: Writer) -> bool:
        """Wait until something is queued; return False when the writer is to end."""
        loop = asyncio.get_running_loop()
        while not writer.queue:
            if writer.flight is not None:
                await self._land(writer)
                continue
            writer.arrived.clear()
            if self._closing:
                return False
            idle_s = WRITER_IDLE_S if writer.session is None else SESSION_IDLE_S
            timer = loop.call_later(idle_s, writer.arrived.set)
            await writer.arrived.wait()
            timer.cancel()
            if not writer.queue and not self._closing:
                if writer.session is None:
                    return False
                await self._sessions.let_go(writer)
        return True

    def _take(self, writer: Writer, beside: Sequence[Ticket] = ()) -> list[Ticket]:
        """Take what waits, oldest first, up to the limit on a group.

        At least one submission, unless it goes ``beside`` others and there is no room for it.
        """
        tickets: list[Ticket] = []
        room = self._group_commands_max - sum(ticket.commands for ticket in beside)
        commands = 0
        while writer.queue:
            next_commands = writer.queue[0].commands
            if (tickets or beside) and commands + next_commands > room:
                break
            tickets.append(writer.queue.popleft())
            commands += next_commands
        writer.queued_commands -= commands
        self.queued_commands -= commands
        return tickets

    async def _take_off(self, writer: Writer, tickets: Sequence[Ticket]) -> None:
        """Decide a group and start its transaction; the one before it may still be under way."""
        suspected = self._keys_used_lately(writer.working_set, tickets)
        before = writer.flight

        async def settle() -> None:
            if before is not None and not await before.task:
                raise _Stale

        began = time.perf_counter()
        session = self._sessions.of(writer)
        try:
            if suspected:
                await settle()
            kept = await self._kept(session, writer.working_set, suspected)
            group = Group(
                [ticket.submission for ticket in tickets],
                writer.working_set,
                session,
                self._projections,
                self._clock(),
                kept,
                settle,
            )
            replies = await self._decide(group, tickets)
        except Exception as error:
            if not isinstance(error, _Stale):
                _log.warning("group_decided_again", exc_info=True)
            await session.end()
            await self._land(writer)
            writer.working_set.forget()
            await self._commit_carefully(writer, list(tickets))
            return
        head = group.draft.head_after()
        group.draft.publish(head)
        in_line = asyncio.Event()
        task = asyncio.create_task(
            self._fly(writer, before, in_line, session, group, head, tickets, replies, began)
        )
        # One at a time may be under way besides the one that was just started.
        if before is not None and not await before.task:
            writer.flight = Flight([*before.tickets, *tickets], task, in_line)
            await task
            writer.flight = None
            await self._do_again(writer, [before.tickets, tickets])
            return
        writer.flight = Flight(tickets, task, in_line)

    async def _land(self, writer: Writer) -> None:
        """Wait for the group in flight; do it again when it did not commit."""
        flight = writer.flight
        if flight is None:
            return
        writer.flight = None
        if not await flight.task:
            await self._do_again(writer, [flight.tickets])

    async def _do_again(self, writer: Writer, groups: Iterable[Sequence[Ticket]]) -> None:
        writer.working_set.forget()
        writer.locked_groups = LOCKED_GROUPS_AFTER_CONTENTION
        for tickets in groups:
            waiting = [ticket for ticket in tickets if not ticket.reply.done()]
            await self._commit_carefully(writer, waiting)

    async def _fly(
        self,
        writer: Writer,
        before: Flight | None,
        in_line: asyncio.Event,
        session: Session,
        group: Group,
        head: store.Head,
        tickets: Sequence[Ticket],
        replies: Sequence[Reply | LedgerError],
        began: float,
    ) -> bool:
        """Write a decided group and answer it; tell whether it was committed.

        Raises nothing: what was not committed is done again by the writer. Only a connection
        lost during the commit is answered here, since that must not be done again.
        """
        tenant_id = writer.working_set.tenant_id
        committed = False
        try:
            if group.draft.events:
                if before is not None:
                    await before.in_line.wait()
                await self._append(session, tenant_id, group, head, in_line)
            else:
                if before is not None:
                    await asyncio.wait([before.task])
                current = await store.read_head(await session.connection(), tenant_id)
                if current.root != group.draft.head.root:
                    raise _Stale
            await session.commit(go_on=self._sessions.may_keep)
            committed = True
        except Exception as error:
            if session.committing and group.draft.events:
                unknown = OutcomeUnknown()
                unknown.__cause__ = error
                answer_all(tickets, unknown)
            elif not isinstance(error, _FORESEEN):
                _log.warning("group_done_again", tenant_id=tenant_id, exc_info=True)
            return False
        finally:
            in_line.set()
            if not committed:
                await session.end()
        self._answered(writer, group, tickets, replies, began, contended=False)
        await self._sessions.keep(writer, session)
        return True

    async def _commit_carefully(
        self, writer: Writer, tickets: list[Ticket], *, gather: bool = False
    ) -> None:
        """Commit a group under the head's lock, and answer every ticket, come what may.

        A group that fails is tried one by one, so that a failing submission is answered alone
        and its neighbours take effect. With ``gather`` what comes while it waits for the lock
        joins ``tickets``.
        """
        if not tickets:
            return
        suspected = self._keys_used_lately(writer.working_set, tickets)
        for _ in range(ATTEMPTS_MAX):
            try:
                await self._transact(writer, tickets, suspected, gather=gather)
                return
            except LedgerError as error:
                answer_all(tickets, error)
                return
            except Exception as error:
                writer.working_set.forget()
                if isinstance(error, asyncpg.TransactionRollbackError):
                    continue  # For who swaps tables, say; it has been rolled back whole.
                keys = {key for ticket in tickets for key in ticket.submission.idempotency_keys()}
                if _is_used_key(error) and suspected != keys:
                    suspected = keys
                    continue
                if len(tickets) > 1:
                    for ticket in tickets:
                        await self._commit_carefully(writer, [ticket])
                else:
                    _log.exception("submission_failed", tenant_id=writer.working_set.tenant_id)
                    answer_all(tickets, error)
                return
        answer_all(tickets, LedgerUnavailable("The log is contended; nothing was recorded."))

    @staticmethod
    def _keys_used_lately(working_set: WorkingSet, tickets: Iterable[Ticket]) -> set[str]:
        recent = working_set.recent_keys
        return {
            k for ticket in tickets for k in ticket.submission.idempotency_keys() if recent.get(k)
        }

    @staticmethod
    async def _kept(
        session: Session, working_set: WorkingSet, suspected: set[str]
    ) -> dict[str, IdempotencyRow]:
        if not suspected:
            return {}
        connection = await session.connection()
        return await store.read_kept_responses(connection, working_set.tenant_id, suspected)

    async def _transact(
        self, writer: Writer, tickets: list[Ticket], suspected: set[str], *, gather: bool
    ) -> None:
        """Decide and commit a group in one transaction that holds the head, then answer.

        With ``gather`` it adds to ``tickets``, and to the keys that are ``suspected``, what has
        come by the time that the head is held.
        Raise asyncpg.UniqueViolationError when a key was used before, LedgerUnavailable or
        OutcomeUnknown when the connection is lost.
        """
        began = time.perf_counter()
        working_set = writer.working_set
        writer.locked_groups = max(0, writer.locked_groups - 1)
        session = Session(self._pool, working_set.tenant_id)
        appended = False
        try:
            connection = await session.connection()
            head = await store.lock_head(connection, working_set.tenant_id)
            if head.models != self._projections.models:
                raise Superseded
            await working_set.catch_up(connection, head)
            if gather:
                more = self._take(writer, beside=tickets)
                suspected |= self._keys_used_lately(working_set, more)
                tickets += more
            kept = await self._kept(session, working_set, suspected)
            group = Group(
                [ticket.submission for ticket in tickets],
                working_set,
                session,
                self._projections,
                self._clock(),
                kept,
            )
            replies = await self._decide(group, tickets)
            head = group.draft.head_after()
            if group.draft.events:
                await self._append(session, working_set.tenant_id, group, head)
                appended = True
            await session.commit()
        except CONNECTION_LOST as error:
            working_set.forget()
            unknown = session.committing and appended
            raise (OutcomeUnknown if unknown else LedgerUnavailable) from error
        except store.UnknownTenant as error:
            working_set.forget()
            raise LedgerUnavailable(str(error)) from error
        finally:
            await session.end()
        group.draft.publish(head)
        self._answered(writer, group, tickets, replies, began, contended=True)

    def _answered(
        self,
        writer: Writer,
        group: Group,
        tickets: Sequence[Ticket],
        replies: Sequence[Reply | LedgerError],
        began: float,
        *,
        contended: bool,
    ) -> None:
        for ticket, reply in zip(tickets, replies, strict=True):
            answer(ticket, reply)
        report = GroupReport(
            sum(ticket.commands for ticket in tickets),
            len(tickets),
            len(group.draft.events),
            time.perf_counter() - began,
            contended,
            group.refusals,
        )
        try:
            if group.draft.events:
                self._on_commit(writer.working_set.tenant_id)
            self._on_group(report)
        except Exception:
            # What is committed and answered stays so, whatever becomes of those who watch.
            _log.exception("observer_failed", tenant_id=writer.working_set.tenant_id)

    async def _decide(self, group: Group, tickets: Sequence[Ticket]) -> list[Reply | LedgerError]:
        replies: list[Reply | LedgerError] = []
        for ticket in tickets:
            submission = ticket.submission
            try:
                reply = group.decide_at_once(submission)
                replies.append(await group.decide(submission) if reply is None else reply)
            except LedgerError as error:
                replies.append(error)
        return replies

    async def _append(
        self,
        session: Session,
        tenant_id: int,
        group: Group,
        head: store.Head,
        in_line: asyncio.Event | None = None,
    ) -> None:
        draft = group.draft
        connection = await session.connection()
        appended = await store.append(
            connection,
            tenant_id,
            expected=draft.head,
            head=head,
            events=draft.new_events(),
            idempotency=draft.keys,
        )
        if not appended:
            raise _Stale
        if in_line is not None:
            in_line.set()
        await self._projections.apply(connection, tenant_id, draft.events)
        snapshots = draft.snapshots()
        if snapshots:
            await store.keep_snapshots(connection, tenant_id, snapshots)
        for submission, outcomes in group.side_effects:
            assert submission.side_effect is not None
            await submission.side_effect(connection, outcomes)

    def _bound_memory(self) -> None:
        """Hold all tenants together to the bound on cached states."""
        held = sum(writer.working_set.size() for writer in self._writers.values())
        if held > self._states_cached_max:
            for writer in self._writers.values():
                writer.working_set.states.turn()
                writer.working_set.aliases.turn()
        for writer in self._writers.values():
            writer.working_set.recent_keys.turn_over(RECENT_KEYS_MAX)


def _is_used_key(error: Exception) -> bool:
    return (
        isinstance(error, asyncpg.UniqueViolationError)
        and error.constraint_name == "idempotency_pkey"
    )
