"""The following projections' own process: it is kept running, and outlives nobody."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from ledger.yielding import turn_ns
from tests.proof.crash import KEY, Service

WITHIN_S = 30.0


@asynccontextmanager
async def _running(folder: Path) -> AsyncGenerator[Service]:
    service = Service(folder)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def _follower(service: Service, besides: psutil.Process | None = None) -> psutil.Process:
    """Return the service's follower, waiting for one that is another than ``besides``."""
    assert service.process is not None
    async with asyncio.timeout(WITHIN_S):
        while True:
            for child in psutil.Process(service.process.pid).children():
                try:
                    if child.cmdline()[-2:] == ["deploy.workers", "follow"] and child != besides:
                        return child
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    continue
            await asyncio.sleep(0.05)


def _yielding_backends(service: Service) -> list[psutil.Process]:
    """Return the database's processes that yield to the others: those of what follows."""
    assert service.process is not None
    children = psutil.Process(service.process.pid).children(recursive=True)
    servers = [child for child in children if child.name() == "postgres"]
    usual = min(server.nice() for server in servers)
    return [server for server in servers if server.nice() > usual]


async def _gone(process: psutil.Process) -> bool:
    """Tell whether a process ends within the time."""
    for _ in range(int(WITHIN_S / 0.05)):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.05)
    return False


async def _behind(service: Service) -> dict[str, int]:
    """Return how far the following projections are behind, as ``/metrics`` says."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{service.url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("stockledger_projection_lag")]
    return {
        line.partition('"')[2].partition('"')[0]: int(float(line.split()[-1])) for line in lines
    }


async def test_it_is_started_again_when_it_dies_and_catches_up(tmp_path: Path) -> None:
    """What was written while there was none is folded by the next one, and the metric says so."""
    async with _running(tmp_path) as service:
        first = await _follower(service)
        first.kill()
        async with httpx.AsyncClient(headers={"X-API-Key": KEY}) as client:
            body = {"name": "Main", "code": "MAIN"}
            made = await client.post(f"{service.url}/api/warehouses", json=body)
            assert made.status_code == 201, made.text
        second = await _follower(service, first)
        async with asyncio.timeout(WITHIN_S):
            while any((await _behind(service)).values()):
                await asyncio.sleep(0.1)
        assert "stock_by_day" in await _behind(service)
        assert second.nice() > psutil.Process().nice()
        assert _yielding_backends(service)
        processes = [second, *_yielding_backends(service)]
        assert not (usual := turn_ns(os.getpid())) or all(
            turn_ns(process.pid) > usual for process in processes
        )


async def test_it_ends_with_the_service_on_ctrl_c(tmp_path: Path) -> None:
    """Cleanly: the service's exit status is that of a stop that was asked for."""
    async with _running(tmp_path) as service:
        follower = await _follower(service)
        await service.stop()
        assert service.process is not None
        assert service.process.returncode == 0
        assert not follower.is_running()
        assert "Traceback" not in service.log.read_text()


async def test_it_ends_when_the_service_is_killed(tmp_path: Path) -> None:
    """Nobody is left to tell it: the end of its input does."""
    async with _running(tmp_path) as service:
        follower = await _follower(service)
        assert service.process is not None
        service.process.send_signal(signal.SIGKILL)
        await service.process.wait()
        assert await _gone(follower)
