"""How a process runs: on uvloop, with logging set up, until a signal ends it."""

import asyncio
import contextlib
import ctypes
import gc
import signal
import sys
from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeVar

import structlog
import uvloop

from deploy.logging import configure_logging
from deploy.settings import Settings

Result = TypeVar("Result")

# M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX and M_ARENA_MAX of <malloc.h>: never trim, grow by 64 MB,
# take no pages for one block alone, and have one pool for all threads.
_KEEPING: Final = {-1: 1 << 30, -2: 64 << 20, -4: 0, -8: 1}

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


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for what comes next, for as long as the process lasts.

    Who goes through a log takes some hundred megabytes for each batch. Given back to the system and
    asked for anew, they were up to a third of the processor time that a rebuild takes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in _KEEPING.items():
            mallopt(option, value)


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
