"""What the committer keeps for each tenant: who waits, what is under way, what is known."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ledger.submission import Reply, Submission
from ledger.working_set import WorkingSet


class Ticket(NamedTuple):
    """A submission that waits, how many commands it holds, and where its reply goes."""

    submission: Submission
    commands: int
    reply: "asyncio.Future[Reply]"


class Flight(NamedTuple):
    """A group whose transaction is under way; the task tells whether it was committed.

    ``in_line`` is set once it holds the head: only then may the next one ask for it, or they
    could come in the wrong order.
    """

    tickets: Sequence[Ticket]
    task: "asyncio.Task[bool]"
    in_line: asyncio.Event


class Writer:
    """A tenant's queue and what its writer knows."""

    def __init__(self, tenant_id: int) -> None:
        self.working_set = WorkingSet(tenant_id)
        self.queue: deque[Ticket] = deque()
        self.queued_commands = 0
        self.arrived = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.flight: Flight | None = None
        self.locked_groups = 0
        self.used_at = 0.0
