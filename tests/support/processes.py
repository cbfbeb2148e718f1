"""API processes as the service runs them: real ones, on ports of their own, on one database."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.workers import READY, _process  # pyright: ignore[reportPrivateUsage]

START_WITHIN_S = 60.0


@asynccontextmanager
async def api_process(settings: Settings, address: DatabaseAddress) -> AsyncGenerator[None]:
    """Run an API process for as long as the block lasts; those of one folder find each other."""
    peers = settings.data_dir / "peers"
    peers.mkdir(exist_ok=True)
    async with _process(settings, address, "serve", str(peers)) as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), START_WITHIN_S) == READY
        yield
