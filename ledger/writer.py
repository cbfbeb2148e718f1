"""What the committer keeps for each tenant: who waits, what is under way, what is known."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ledger.session import Session
from ledger.store import Pool
from ledger.submission import Reply, Submission
from ledger.working_set import WorkingSet


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """A submission that waits, how many commands it holds, and where its reply goes."""

    submission: Submission
    commands: int
    reply: "asyncio.Future[Reply]"


def answer(ticket: Ticket, reply: Reply | BaseException) -> None:
    """Give a waiting request its reply, unless it has gone away."""
    if ticket.reply.done():
        return
    if isinstance(reply, Reply):
        ticket.reply.set_result(reply)
    else:
        ticket.reply.set_exception(reply)


def answer_all(tickets: Iterable[Ticket], error: BaseException) -> None:
    """Give all that still wait an error."""
    for ticket in tickets:
        answer(ticket, error)


class Flight(NamedTuple):
    """A group whose transaction is under way; the task tells whether it was committed.

    ``in_line`` is set once it holds the head: only then may the next one ask for it, or they
    could come in the wrong order.
    """

    tickets: Sequence[Ticket]
    task: "asyncio.Task[bool]"
    in_line: asyncio.Event


class Writer:
    """A tenant's queue and what its writer knows.

    ``session`` is one whose next transaction has been begun, and that no group uses yet.
    """

    def __init__(self, tenant_id: int) -> None:
        self.working_set = WorkingSet(tenant_id)
        self.queue: deque[Ticket] = deque()
        self.queued_commands = 0
        self.arrived = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.flight: Flight | None = None
        self.session: Session | None = None
        self.locked_groups = 0
        self.used_at = 0.0


class Sessions:
    """Sessions for writers' groups. Between two groups one may be kept, its transaction begun.

    That saves the next group a round trip, and the way to the pool and back.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # The others must find connections, to read with above all.
        self._kept_max = pool.get_max_size() // 2
        self._kept = 0

    @property
    def may_keep(self) -> bool:
        """Whether another one may be kept."""
        return self._kept < self._kept_max

    def of(self, writer: Writer) -> Session:
        """Return the session for a writer's next group."""
        session = writer.session
        if session is None:
            return Session(self._pool, writer.working_set.tenant_id)
        writer.session = None
        self._kept -= 1
        return session

    async def keep(self, writer: Writer, session: Session) -> None:
        """Keep a session for the writer's next group, where its next transaction has begun."""
        if session.is_begun and writer.session is None:
            writer.session = session
            self._kept += 1
        else:
            await session.end()

    async def let_go(self, writer: Writer) -> None:
        """Give back a session that has been kept and is not needed."""
        if writer.session is not None:
            await self.of(writer).end()
