"""The running service: database, first tenant, processes; up in this order, down in reverse.

The first process runs the database and serves, or has API processes of their own do that; what
follows the log has processes of its own in any case.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import get_args

import msgspec
import structlog

from deploy.address import DatabaseAddress
from deploy.bootstrap import Founded, bootstrap
from deploy.embedded_nats import embedded_nats
from deploy.housekeeping import keep_house
from deploy.http_server import claim_port, serve_http
from deploy.running import collect_seldom, stopping_on_signals
from deploy.settings import Settings
from deploy.superseding import telling_progress, watch_releases
from deploy.wiring import House, alongside, house_at, open_ledger
from deploy.workers import Following, keep_following, serve_in_workers

log = structlog.get_logger(__name__)


async def serve(settings: Settings, on_ready: Callable[[Settings, Founded | None], None]) -> int:
    """Serve until SIGINT or SIGTERM; return the process's exit status.

    ``on_ready`` is called when requests are taken, with the settings as they turned out (the
    port) and what the first start made.
    """
    settings = msgspec.structs.replace(settings, port=claim_port(settings))
    stop = asyncio.Event()
    lost = asyncio.Event()

    def give_up() -> None:
        lost.set()
        stop.set()

    with stopping_on_signals(stop):
        async with (
            _with_nats(settings) as settings,
            open_ledger(
                settings, exclusive=True, deploys=telling_progress(), on_lost=give_up
            ) as house,
        ):
            first = await bootstrap(house)
            async with AsyncExitStack() as beside:
                await beside.enter_async_context(alongside(keep_house(house), "housekeeping"))
                for work in _follows(settings):
                    keeping = keep_following(settings, house.address, work)
                    await beside.enter_async_context(alongside(keeping, work))
                if settings.workers == 1:
                    await _serve_here(house, settings, stop, lambda: on_ready(settings, first))
                else:
                    await serve_in_workers(
                        settings, house.address, stop, lambda: on_ready(settings, first)
                    )
    return 1 if lost.is_set() else 0


async def serve_as_worker(
    settings: Settings,
    address: DatabaseAddress,
    stop: asyncio.Event,
    on_ready: Callable[[], object],
    folder: Path,
) -> None:
    """Serve as one of several API processes; the process that started us runs the database.

    ``folder`` is where these processes find each other.
    """
    # Stopping is the first process's business: it closes our input.
    with stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address) as house:
            await _serve_here(house, settings, stop, on_ready, folder)


def _follows(settings: Settings) -> Sequence[Following]:
    """Return which processes that follow the log these settings ask for."""
    off = {"relay": not settings.relay, "deliver": not settings.webhooks}
    return [work for work in get_args(Following) if not off.get(work)]


@asynccontextmanager
async def _with_nats(settings: Settings) -> AsyncGenerator[Settings]:
    """Give the settings with a NATS in them: their own, or else the embedded one."""
    if settings.nats_url is not None or not settings.relay:
        yield settings
        return
    async with embedded_nats(
        settings.data_dir, store_bytes_max=settings.nats_store_bytes_max
    ) as url:
        yield msgspec.structs.replace(settings, nats_url=url)


async def _serve_here(
    house: House,
    settings: Settings,
    stop: asyncio.Event,
    on_ready: Callable[[], object],
    folder: Path | None = None,
) -> None:
    from api.app import create_app

    collect_seldom()
    async with alongside(watch_releases(house), "releases"):
        await serve_http(create_app(house, folder), settings, stop, on_ready=on_ready)
