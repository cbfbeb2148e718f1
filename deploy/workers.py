"""Further processes of the service, kept running by the first one: API processes, and others.

What follows the log has processes of its own: the following projections, the relay and the
deliveries of webhooks, each of which may take as much time as the commands do.

They are told the settings and the way in to the database on their standard input, and end when it
closes; so none outlives the first process, however that ends. Whatever else holds one up, be it a
library that waits for a server that is gone, it ends within ``ENDS_WITHIN_S``: nothing is lost by
that, since what is not committed is done again.
"""

import asyncio
import faulthandler
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, cast

import msgspec
import structlog

from deploy.address import DatabaseAddress
from deploy.http_server import DRAIN_S
from deploy.running import run
from deploy.settings import Settings, decode_path, encode_path
from ledger.errors import OperatorError

RESTARTS_MAX: Final = 5
SETTLED_S: Final = 30
RESTART_DELAY_MAX_S: Final = 30.0
READY: Final = b"ready\n"
READY_TIMEOUT_S: Final = 60
ENDS_WITHIN_S: Final = DRAIN_S + 5
"""A process that is told to end, and has not by then, is ended by itself, as it stands."""

Work = Literal["serve", "follow", "relay", "deliver", "rebuild"]
Following = Literal["follow", "relay", "deliver"]

log = structlog.get_logger(__name__)


class WorkersFailed(OperatorError):
    """API processes end as soon as they are started; the log says why."""


async def serve_in_workers(
    settings: Settings,
    address: DatabaseAddress,
    stop: asyncio.Event,
    on_ready: Callable[[], object],
) -> None:
    """Run ``settings.workers`` API processes until ``stop``, each restarted when it dies.

    Raises WorkersFailed when one dies ``RESTARTS_MAX`` times, each within ``SETTLED_S``.
    """
    ready = asyncio.Barrier(settings.workers + 1)
    with TemporaryDirectory(prefix="stockledger-") as folder:
        async with asyncio.TaskGroup() as group:
            for number in range(1, settings.workers + 1):
                group.create_task(
                    _keep_serving(settings, address, Path(folder), number, stop, ready)
                )
            async with asyncio.timeout(READY_TIMEOUT_S):
                await ready.wait()
            on_ready()


async def _keep_serving(
    settings: Settings,
    address: DatabaseAddress,
    folder: Path,
    number: int,
    stop: asyncio.Event,
    ready: asyncio.Barrier,
) -> None:
    loop = asyncio.get_running_loop()
    failures = 0
    announced = False
    while not stop.is_set():
        started = loop.time()
        async with _process(settings, address, "serve", str(folder)) as process:
            ended = asyncio.create_task(process.wait())
            stopped = asyncio.create_task(stop.wait())
            try:
                assert process.stdout is not None
                if await process.stdout.readline() == READY and not announced:
                    announced = True
                    await ready.wait()
                await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
        if stop.is_set():
            return
        log.error("worker_died", worker=number, exit_status=process.returncode)
        failures = failures + 1 if loop.time() - started < SETTLED_S else 0
        if failures >= RESTARTS_MAX:
            raise WorkersFailed(f"API process {number} ends as soon as it is started")
        await asyncio.sleep(0.2 * failures)


async def keep_following(settings: Settings, address: DatabaseAddress, work: Following) -> None:
    """Run what follows the log in a process of its own, until cancelled.

    It takes as much time as the commands do, which one event loop has only once. When the
    process dies it is started again, after a delay that grows while that goes on: what it does is
    behind meanwhile, which ``/metrics`` tells, and nothing else is.
    """
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        started = loop.time()
        async with _process(settings, address, work) as process:
            await process.wait()
        failures = failures + 1 if loop.time() - started < SETTLED_S else 0
        delay_s = min(0.2 * 2**failures, RESTART_DELAY_MAX_S)
        log.error("follower_died", work=work, exit_status=process.returncode, seconds=delay_s)
        await asyncio.sleep(delay_s)


async def rebuild_in_process(settings: Settings, address: DatabaseAddress, rebuild_id: int) -> None:
    """Do a rebuild that was asked for in a process of its own, and wait for its end."""
    async with _process(settings, address, "rebuild", str(rebuild_id)) as process:
        await process.wait()


@asynccontextmanager
async def _process(
    settings: Settings, address: DatabaseAddress, work: Work, *arguments: str
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Start a process of the service; at the block's end it stops, or is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.workers",
        work,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Ctrl-C is for the first process, which has it stopped.
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        for told in (settings, address):
            process.stdin.write(msgspec.json.encode(told, enc_hook=encode_path) + b"\n")
        yield process
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(DRAIN_S + 10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _work(work: Work, *arguments: str) -> None:
    """Be such a process: read what is told on standard input, work until it closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = msgspec.json.decode(await reader.readline(), type=Settings, dec_hook=decode_path)
    address = msgspec.json.decode(await reader.readline(), type=DatabaseAddress)
    from deploy.logging import configure_logging

    configure_logging(settings)
    stop = asyncio.Event()

    async def stop_at_end() -> None:
        await reader.read()
        # Tells where it was on standard error. It needs neither the event loop nor the interpreter.
        faulthandler.dump_traceback_later(ENDS_WITHIN_S, exit=True)
        stop.set()

    def announce() -> None:
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()

    watching = asyncio.create_task(stop_at_end())
    try:
        if work == "serve":
            from deploy.service import serve_as_worker

            await serve_as_worker(settings, address, stop, announce, Path(*arguments))
        elif work == "rebuild":
            from deploy.followers import rebuild_as_worker

            await rebuild_as_worker(settings, address, stop, int(*arguments))
        else:
            from deploy.followers import follow_as_worker

            await follow_as_worker(settings, address, stop, work)
    finally:
        watching.cancel()


if __name__ == "__main__":
    run(Settings(), _work(cast(Work, sys.argv[1]), *sys.argv[2:]))
