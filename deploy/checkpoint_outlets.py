"""Where checkpoints go besides the database and the file: NATS, an auditor's address."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp
import structlog

from ledger.checkpoints import Outlet, Signed
from ledger.nats_connection import NATS_LOST, NatsConnection

WAITING_MAX: Final = 1_000
POST_TIMEOUT_S: Final = 10
POST_ATTEMPTS_MAX: Final = 5
NATS_SUBJECT: Final = "stockledger-checkpoints"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def outlets(nats: NatsConnection | None, url: str | None) -> AsyncGenerator[Sequence[Outlet]]:
    """Give what passes new checkpoints on, for as long as the block lasts.

    Both are bounded, and neither holds up signing: what does not get there is in the database
    and in the file all the same.
    """
    open_ones: list[_Queued] = []
    if nats is not None:
        open_ones.append(_ToNats(nats))
    if url is not None:
        open_ones.append(_ToAuditor(url))
    tasks = [asyncio.create_task(outlet.run(), name=type(outlet).__name__) for outlet in open_ones]
    try:
        yield [outlet.take for outlet in open_ones]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Queued:
    """An outlet with a queue; of a log that outruns it, the oldest checkpoints are passed over."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[int, Signed]] = asyncio.Queue(WAITING_MAX)

    def take(self, tenant_id: int, signed: Signed) -> None:
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((tenant_id, signed))

    async def run(self) -> None:
        while True:
            tenant_id, signed = await self._waiting.get()
            await self._send(tenant_id, signed)

    async def _send(self, tenant_id: int, signed: Signed) -> None:
        raise NotImplementedError


class _ToNats(_Queued):
    """Publishes each note under ``stockledger-checkpoints.<tenant>``."""

    def __init__(self, nats: NatsConnection) -> None:
        super().__init__()
        self._nats = nats

    async def _send(self, tenant_id: int, signed: Signed) -> None:
        session = await self._nats.next_session()
        with suppress(*NATS_LOST):
            await session.client.publish(f"{NATS_SUBJECT}.{tenant_id}", signed.note.encode())


class _ToAuditor(_Queued):
    """POSTs each note to an address that the operator has set."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=POST_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as self._client:
            await super().run()

    async def _send(self, tenant_id: int, signed: Signed) -> None:
        fault = None
        for attempt in range(1, POST_ATTEMPTS_MAX + 1):
            fault = await self._post(signed)
            if fault is None:
                return
            await asyncio.sleep(2.0**attempt)
        log.warning("checkpoint_not_taken", tenant_id=tenant_id, error=fault)

    async def _post(self, signed: Signed) -> str | None:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            async with self._client.post(
                self._url, data=signed.note.encode(), headers=headers, allow_redirects=False
            ) as answer:
                return None if answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
