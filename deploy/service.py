"""The running service: database, first tenant, processes; up in this order, down in reverse.

The first process runs the database and serves, or has API processes of their own do that; what
follows the log has processes of its own in any case.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, Final

import msgspec
import structlog

from deploy.address import DatabaseAddress
from deploy.bootstrap import Founded, bootstrap
from deploy.housekeeping import keep_house
from deploy.http_server import claim_port, serve_http
from deploy.settings import Settings
from deploy.wiring import House, alongside, house_at, open_ledger
from deploy.workers import Following, keep_following, serve_in_workers
from projections.following import run_following

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
        async with open_ledger(settings, exclusive=True, on_lost=give_up) as house:
            first = await bootstrap(house)
            async with (
                alongside(keep_following(settings, house.address, "follow"), "following"),
                alongside(keep_house(house), "housekeeping"),
            ):
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
) -> None:
    """Serve as one of several API processes; the process that started us runs the database."""
    # Stopping is the first process's business: it closes our input.
    with _stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address) as house:
            await _serve_here(house, settings, stop, on_ready)


async def _run_projections(house: House) -> None:
    await run_following(house.pool, house.feed, house.engine)


# What each of the processes that follow the log does, for ever.
_FOLLOWING: Final[Mapping[Following, Callable[[House], Coroutine[Any, Any, None]]]] = {
    "follow": _run_projections,
}


async def follow_as_worker(
    settings: Settings, address: DatabaseAddress, stop: asyncio.Event, work: Following
) -> None:
    """Run something that follows the log until ``stop``, for the process that started us."""
    with _stopping_on_signals(asyncio.Event()):
        async with house_at(settings, address) as house:
            _collect_seldom()
            working = asyncio.create_task(_FOLLOWING[work](house))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (working, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working


async def _serve_here(
    house: House, settings: Settings, stop: asyncio.Event, on_ready: Callable[[], object]
) -> None:
    from api.app import create_app

    _collect_seldom()
    await serve_http(create_app(house), settings, stop, on_ready=on_ready)


def _collect_seldom() -> None:
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
