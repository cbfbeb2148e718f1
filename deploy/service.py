"""The running service: database, first tenant, processes; up in this order, down in reverse.

The first process runs the database and serves, or has API processes of their own do that; what
follows the log has processes of its own in any case.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from deploy.address import DatabaseAddress
from deploy.bootstrap import Founded, bootstrap
from deploy.checkpoints import run_checkpoints
from deploy.embedded_nats import embedded_nats
from deploy.housekeeping import keep_house
from deploy.http_server import claim_port, serve_http
from deploy.readers import keep_readers_yielding
from deploy.rebuilds import perform_rebuild, run_rebuilds
from deploy.settings import Settings
from deploy.superseding import telling_progress, watch_releases
from deploy.webhooks import run_webhooks
from deploy.wiring import House, alongside, house_at, open_ledger
from deploy.workers import (
    Following,
    keep_following,
    rebuild_in_process,
    serve_in_workers,
)
from ledger.yielding import FOLLOWER_NICENESS
from projections.following import run_following
from projections.known_snapshots import run_known_snapshots
from projections.relay import run_relay

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

    with _stopping_on_signals(stop):
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
    with _stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address) as house:
            await _serve_here(house, settings, stop, on_ready, folder)


async def _run_projections(house: House) -> None:
    """Fold what is new, and sign it: that costs next to nothing. Fold the past where asked to."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_following(house.pool, house.feed, house.engine))
        tasks.create_task(run_known_snapshots(house.pool, house.engine))
        tasks.create_task(
            run_rebuilds(house, partial(rebuild_in_process, house.all_settings, house.address))
        )
        if house.all_settings.checkpoints:
            tasks.create_task(run_checkpoints(house))
        if house.all_settings.database_url is None:
            tasks.create_task(keep_readers_yielding(house))


async def _run_relay(house: House) -> None:
    settings = house.all_settings
    assert house.nats is not None, "a relay is started only where there is NATS"
    # The installation's name: its next relay goes on at once, another one's when this has ended.
    holder = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    await run_relay(
        house.pool, house.feed, house.nats, holder=holder, replicas=settings.nats_replicas
    )


def _follows(settings: Settings) -> Sequence[Following]:
    """Return which of the processes below these settings ask for."""
    off = {"relay": not settings.relay, "deliver": not settings.webhooks}
    return [work for work in _FOLLOWING if not off.get(work)]


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


# What each of the processes that follow the log does, for ever.
_FOLLOWING: Final[Mapping[Following, Callable[[House], Coroutine[Any, Any, None]]]] = {
    "follow": _run_projections,
    "relay": _run_relay,
    "deliver": run_webhooks,
}


async def follow_as_worker(
    settings: Settings, address: DatabaseAddress, stop: asyncio.Event, work: Following
) -> None:
    """Run something that follows the log until ``stop``, for the process that started us."""
    with _stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address, niceness=FOLLOWER_NICENESS) as house:
            collect_seldom()
            await _until_stopped(_FOLLOWING[work](house), stop)


async def rebuild_as_worker(
    settings: Settings, address: DatabaseAddress, stop: asyncio.Event, rebuild_id: int
) -> None:
    """Do one rebuild, or as much of it as there is until ``stop``."""
    with _stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address, niceness=FOLLOWER_NICENESS) as house:
            collect_seldom()
            await _until_stopped(perform_rebuild(house, rebuild_id), stop)


async def _until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


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


def collect_seldom() -> None:
    """Let the cyclic garbage collector look less often, and never at what is there from the start.

    Requests leave no cycles to speak of; what is held for long, states above all, would be gone
    through again and again, in pauses that grow with it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


@contextlib.contextmanager
def _stopping_on_signals(stop: asyncio.Event) -> Generator[None]:
    """Turn SIGINT and SIGTERM into ``stop``; a second one ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        log.info("stopping")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
