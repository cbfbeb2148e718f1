"""Writing what came of attempts: gathered for a moment, and then written set-based."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from ledger.session import CONNECTION_LOST
from ledger.store import Connection, Pool, tenant_transaction
from projections.webhook_queue import Outcome, record

GATHER_S: Final = 0.02
RECORDED_AT_ONCE_MAX: Final = 2_000
UNRECORDED_MAX: Final = 5_000
RETRY_S: Final = 1.0
FAULTS: Final = (asyncpg.PostgresError, *CONNECTION_LOST)
"""What the database may be at fault for: to be tried again."""

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def unhurried(pool: Pool, tenant_id: int) -> AsyncGenerator[Connection]:
    """Give a transaction that does not wait for the disk.

    What a crash takes back is done again: deliveries are made again from the messages, and
    those that had been sent are sent again, under the same ids.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute("SET LOCAL synchronous_commit = off")
        yield connection


class Recorder:
    """Gathers what came of a tenant's attempts, and writes it."""

    def __init__(self, pool: Pool, tenant_id: int, holder: str, lanes: asyncio.Lock) -> None:
        """Whoever holds rows of several lanes takes turns by ``lanes``.

        ``on_room`` is called when more may be taken in again.
        """
        self._pool = pool
        self._tenant_id = tenant_id
        self._holder = holder
        self._lanes = lanes
        self.on_room: Callable[[], None] = lambda: None
        self._gathered: list[Outcome] = []
        self._failing_since: dict[int, datetime | None] = {}
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self.unrecorded = 0

    def add(self, outcome: Outcome, failing_since: float | None) -> None:
        """Take in what came of an attempt."""
        self._gathered.append(outcome)
        self._failing_since[outcome.endpoint_id] = (
            None if failing_since is None else datetime.fromtimestamp(failing_since, UTC)
        )
        self.unrecorded += 1
        self._some.set()
        self._none.clear()

    @property
    def has_room(self) -> bool:
        """Whether more should be sent: what is not written might be sent again."""
        return self.unrecorded < UNRECORDED_MAX

    async def flushed(self) -> None:
        """Wait until all is written."""
        await self._none.wait()

    async def run(self) -> None:
        """Write what is gathered, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_S)
            outcomes = self._gathered[:RECORDED_AT_ONCE_MAX]
            failing = {o.endpoint_id: self._failing_since[o.endpoint_id] for o in outcomes}
            try:
                async with self._lanes, unhurried(self._pool, self._tenant_id) as connection:
                    await record(connection, self._tenant_id, self._holder, outcomes, failing)
            except FAULTS as error:
                log.warning("webhooks_unrecorded", tenant_id=self._tenant_id, error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            del self._gathered[: len(outcomes)]
            was_full = self.unrecorded >= UNRECORDED_MAX
            self.unrecorded -= len(outcomes)
            if not self._gathered:
                self._some.clear()
                self._none.set()
            if was_full:
                self.on_room()
