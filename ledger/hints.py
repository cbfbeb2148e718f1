"""Hints between processes, through NATS: "this tenant's log has grown".

A process that commits says so, and the followers of the tenant's log in other processes look at
once in place of at their next poll. It is a hint and no more: the log's table says what there is,
and whoever gets no hint (NATS is away, slow, or not there at all) finds it by polling.
"""

import asyncio
from typing import Final

import structlog
from nats.aio.msg import Msg

from ledger.feed import Feed
from ledger.nats_connection import NATS_LOST, NatsConnection, Session

SUBJECT: Final = "stockledger-hint"
# Commits that follow each other so fast are told of once.
GATHER_S: Final = 0.002
RETRY_S: Final = 0.5

log = structlog.get_logger(__name__)


class Hints:
    """Tells other processes of this one's commits, and this one's followers of theirs."""

    def __init__(self, feed: Feed, connection: NatsConnection) -> None:
        """``connection`` should not echo: a process wakes its own followers itself."""
        self._feed = feed
        self._connection = connection
        self._grown: set[int] = set()
        self._told = asyncio.Event()

    def tell(self, tenant_id: int) -> None:
        """Say that a tenant's log has grown, some time soon, or never while NATS is away.

        It neither waits nor fails, and what is held is bounded by the number of tenants.
        """
        if self._connection.session is not None:
            self._grown.add(tenant_id)
            self._told.set()

    async def run(self) -> None:
        """Send and receive hints, until cancelled."""
        while True:
            session = await self._connection.next_session()
            try:
                await session.client.subscribe(f"{SUBJECT}.*", cb=self._heard)
                await self._send(session)
            except Exception as error:
                # Mostly the session is over, or about to be: the table has what was to be said.
                if not isinstance(error, NATS_LOST):
                    log.warning("hints_failed", exc_info=True)
                await asyncio.sleep(RETRY_S)

    async def _send(self, session: Session) -> None:
        lost = asyncio.create_task(session.lost.wait())
        try:
            while not session.is_lost:
                told = asyncio.create_task(self._told.wait())
                await asyncio.wait({lost, told}, return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
                self._told.clear()
                grown, self._grown = self._grown, set()
                for tenant_id in grown:
                    await session.client.publish(f"{SUBJECT}.{tenant_id}")
                await asyncio.sleep(GATHER_S)
        finally:
            lost.cancel()

    async def _heard(self, message: Msg) -> None:
        """Wake a tenant's followers. How far its log goes they ask the database."""
        tenant_id = message.subject.rpartition(".")[2]
        if tenant_id.isdecimal():
            self._feed.wake(int(tenant_id))
