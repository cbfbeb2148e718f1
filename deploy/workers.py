"""Several API processes on one port and one database, kept running by the first process."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from deploy.http_server import DRAIN_S
from deploy.running import run
from deploy.settings import Settings, decode_path, encode_path

RESTARTS_MAX: Final = 5
SETTLED_S: Final = 30
READY: Final = b"ready\n"
READY_TIMEOUT_S: Final = 60

log = structlog.get_logger(__name__)


class WorkersFailed(Exception):
    """API processes end as soon as they are started; the log says why."""


async def serve_in_workers(
    settings: Settings, stop: asyncio.Event, on_ready: Callable[[], object]
) -> None:
    """Run ``settings.workers`` API processes until ``stop``, each restarted when it dies.

    They hold a pipe from us and end when it closes, so none outlives this process. Raises
    WorkersFailed when one dies ``RESTARTS_MAX`` times, each within ``SETTLED_S``.
    """
    ready = asyncio.Barrier(settings.workers + 1)
    async with asyncio.TaskGroup() as group:
        for number in range(1, settings.workers + 1):
            group.create_task(_keep(settings, number, stop, ready))
        async with asyncio.timeout(READY_TIMEOUT_S):
            await ready.wait()
        on_ready()


async def _keep(
    settings: Settings, number: int, stop: asyncio.Event, ready: asyncio.Barrier
) -> None:
    loop = asyncio.get_running_loop()
    failures = 0
    announced = False
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.workers",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        started = loop.time()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(settings, enc_hook=encode_path) + b"\n")
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        try:
            if await process.stdout.readline() == READY and not announced:
                announced = True
                await ready.wait()
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            process.stdin.close()
            try:
                await asyncio.wait_for(asyncio.shield(ended), DRAIN_S + 10)
            except TimeoutError:
                process.kill()
                await ended
        if stop.is_set():
            return
        log.error("worker_died", worker=number, exit_status=process.returncode)
        failures = failures + 1 if loop.time() - started < SETTLED_S else 0
        if failures >= RESTARTS_MAX:
            raise WorkersFailed(f"API process {number} ends as soon as it is started")
        await asyncio.sleep(0.2 * failures)


async def _work() -> None:
    """Be one API process: read the settings from standard input, serve until it closes."""
    from deploy.service import serve_as_worker

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = msgspec.json.decode(await reader.readline(), type=Settings, dec_hook=decode_path)
    from deploy.logging import configure_logging

    configure_logging(settings)
    stop = asyncio.Event()

    async def stop_at_end() -> None:
        await reader.read()
        stop.set()

    def announce() -> None:
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()

    watching = asyncio.create_task(stop_at_end())
    try:
        await serve_as_worker(settings, stop, announce)
    finally:
        watching.cancel()


if __name__ == "__main__":
    run(Settings(), _work())
