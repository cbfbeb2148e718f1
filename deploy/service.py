"""The running service: database, first tenant, API processes; up in this order, down in reverse."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Generator

import msgspec
import structlog

from deploy.bootstrap import Founded, bootstrap
from deploy.housekeeping import keep_house
from deploy.http_server import claim_port, serve_http
from deploy.settings import Settings
from deploy.wiring import House, alongside, following, open_ledger
from deploy.workers import serve_in_workers

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
            async with following(house), alongside(keep_house(house), "housekeeping"):
                if settings.workers == 1:
                    await _serve_here(house, settings, stop, lambda: on_ready(settings, first))
                else:
                    await serve_in_workers(settings, stop, lambda: on_ready(settings, first))
    return 1 if lost.is_set() else 0


async def serve_as_worker(
    settings: Settings, stop: asyncio.Event, on_ready: Callable[[], object]
) -> None:
    """Serve as one of several API processes; the process that started us runs the database."""
    # Stopping is the first process's business: it closes our input.
    with _stopping_on_signals(asyncio.Event()):
        async with open_ledger(settings) as house:
            await _serve_here(house, settings, stop, on_ready)


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
