"""The relay and NATS as parts of a running service: nobody waits for them, none outlives it."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.proof.crash import KEY, Service

WITHIN_S = 30.0


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncGenerator[Service]:
    """Run a service with further settings."""
    service = Service(folder, outward=True)
    service.environment |= settings
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


async def command(service: Service, code: str) -> None:
    """Record something."""
    async with httpx.AsyncClient(base_url=service.url, headers={"X-API-Key": KEY}) as client:
        made = await client.post("/api/warehouses", json={"name": code, "code": code})
    assert made.status_code == 201, made.text


async def metrics(service: Service) -> dict[str, float]:
    """Return the relay's figures, as ``/metrics`` tells them."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{service.url}/metrics")).text
    lines = [line.split() for line in text.splitlines() if line.startswith("stockledger_relay_")]
    return {name.removeprefix("stockledger_relay_"): float(value) for name, value in lines}


async def becomes(service: Service, wanted: Callable[[dict[str, float]], bool]) -> None:
    """Wait until the figures are as wanted."""
    async with asyncio.timeout(WITHIN_S):
        while not wanted(await metrics(service)):
            await asyncio.sleep(0.1)


def belonging(service: Service) -> dict[str, psutil.Process]:
    """Return the service's relay and NATS, by these names, where they run."""
    assert service.process is not None
    found: dict[str, psutil.Process] = {}
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            line = process.cmdline()
            if line[-2:] == ["deploy.workers", "relay"]:
                found["relay"] = process
            elif line and line[0].endswith("nats-server"):
                found["NATS"] = process
    return found


async def gone(process: psutil.Process) -> bool:
    """Tell whether a process ends within the time."""
    for _ in range(int(WITHIN_S / 0.05)):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_it_relays_is_started_again_and_ends_with_the_service(tmp_path: Path) -> None:
    """Relay and NATS killed, then the service itself."""
    async with running(tmp_path) as service:
        await command(service, "A")
        await becomes(service, lambda m: m["lag_positions"] == 0 and m["connected"] == 1)
        before = belonging(service)
        assert before["relay"].nice() > psutil.Process().nice()
        published = (await metrics(service))["published_total"]
        for process in before.values():
            process.kill()
        await command(service, "B")
        await becomes(service, lambda m: m["lag_positions"] == 0 and m["connected"] == 1)
        assert (await metrics(service))["published_total"] > published
        after = belonging(service)
        assert after["relay"] != before["relay"]
        assert after["NATS"] != before["NATS"]
        assert service.process is not None
        service.process.send_signal(signal.SIGKILL)
        await service.process.wait()
        assert await gone(after["relay"])
        assert await gone(after["NATS"])


async def test_with_no_nats_to_be_had_commands_go_on(tmp_path: Path) -> None:
    """And the metrics tell what is not relayed."""
    async with running(tmp_path, STOCKLEDGER_NATS_URL="nats://127.0.0.1:1") as service:
        await command(service, "A")
        figures = await metrics(service)
        assert figures["connected"] == 0
        assert figures["lag_positions"] >= 3
        assert figures["published_total"] == figures["stopped"] == 0
        assert belonging(service).keys() == {"relay"}


async def test_switched_off_there_is_neither(tmp_path: Path) -> None:
    """No process, no folder, no secrets."""
    async with running(tmp_path, STOCKLEDGER_RELAY="false") as service:
        await command(service, "A")
        assert belonging(service) == {}
        assert not (tmp_path / "data" / "nats").exists()
