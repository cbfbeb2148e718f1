"""Two API processes: what one commits, a follower at the other sees at once, by a hint."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from deploy.address import DatabaseAddress
from deploy.bootstrap import Founded, found_tenant
from deploy.settings import Settings
from deploy.wiring import house_at
from ledger.feed import POLL_INTERVAL_MAX_S
from tests.support.nats import Nats, free_ports, running_nats
from tests.support.processes import api_process

COMMITS = 8
WITHIN_S = 30.0


class Pair:
    """Two API processes on one database: follow at the first, commit through the second."""

    def __init__(self, ports: list[int], founded: Founded) -> None:
        headers = {"X-API-Key": founded.api_key}
        self.first, self.second = (
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=WITHIN_S
            )
            for port in ports
        )
        self.arrived: dict[int, float] = {}

    async def follow(self) -> None:
        """Note when each position arrives at the first."""
        async with self.first.stream("GET", "/api/ledger/events/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    self.arrived[int(line.removeprefix("id: "))] = time.monotonic()

    async def delays(self, name: str) -> list[float]:
        """Commit now and then through the second; return how long each took to the first."""
        committed: dict[int, float] = {}
        for number in range(COMMITS):
            # Longer than the longest poll, and not in step with it.
            await asyncio.sleep(POLL_INTERVAL_MAX_S * (1.3 + number / COMMITS))
            body = {"name": name, "code": f"{name}{number}"}
            answer = await self.second.post("/api/warehouses", json=body)
            assert answer.status_code == 201, answer.text
            committed[int(answer.headers["Ledger-Position"])] = time.monotonic()
        async with asyncio.timeout(WITHIN_S):
            while not committed.keys() <= self.arrived.keys():
                await asyncio.sleep(0.01)
        return [self.arrived[position] - at for position, at in committed.items()]


@pytest.fixture
async def server() -> AsyncIterator[Nats]:
    """A NATS server of one's own."""
    async with running_nats() as server:
        yield server


async def test_a_follower_is_woken_by_a_hint_and_without_nats_by_its_poll(
    server: Nats, database: DatabaseAddress, tmp_path: Path
) -> None:
    """The hint is faster; the table is the truth: with NATS killed everything arrives as well."""
    ports = free_ports(2)
    each = [Settings(data_dir=tmp_path, port=port, nats_url=server.url) for port in ports]
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(house_at(each[0], database))
        founded = await found_tenant(house, "Acme", email="owner@example.com")
        for settings in each:
            await stack.enter_async_context(api_process(settings, database))
        pair = Pair(ports, founded)
        following = asyncio.create_task(pair.follow())
        hinted = await pair.delays("H")
        await server.kill()
        polled = await pair.delays("P")
        following.cancel()
    assert statistics.median(hinted) < 0.6 * statistics.median(polled), json.dumps(
        {"hinted": hinted, "polled": polled}
    )
    assert sorted(pair.arrived) == list(range(1, max(pair.arrived) + 1))
