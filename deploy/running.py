"""How a process runs: on uvloop, with logging set up, until a signal ends it."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

import structlog
import uvloop

from deploy.logging import configure_logging
from deploy.settings import Settings

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


def run(settings: Settings, main: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine to its end and return what it returns."""
    configure_logging(settings)
    return uvloop.run(main)


def collect_seldom() -> None:
    """Let the cyclic garbage collector look less often, and never at what is there from the start.

    Requests leave no cycles to speak of; what is held for long, states above all, would be gone
    through again and again, in pauses that grow with it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


@contextlib.contextmanager
def stopping_on_signals(stop: asyncio.Event) -> Generator[None]:
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
