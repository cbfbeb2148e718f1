"""Following the log over HTTP: whatever is killed, each event arrives once, in order, to the end.

Writers write through two API processes. Clients follow at one or the other, are cut off at
random, and come back with the last id that they have seen, as browsers do, to either.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from deploy.address import DatabaseAddress
from deploy.bootstrap import found_tenant
from deploy.settings import Settings
from deploy.wiring import house_at
from tests.support.nats import free_ports, running_nats
from tests.support.processes import api_process

WRITERS = 16
COMMANDS_EACH = 8
FOLLOWERS = 4
STREAM = "/api/ledger/events/stream"
FILTERED = "category=stock&type=StockReceived,StockIssued"
DONE_WITHIN_S = 60


class Follower:
    """A client of the stream that loses its connection now and then, and what it has seen."""

    def __init__(self, clients: list[httpx.AsyncClient], query: str, seed: int) -> None:
        self._clients = clients
        self._query = query
        self._random = random.Random(seed)
        self.ids: list[int] = []
        self.connections = 0

    @property
    def last(self) -> int:
        """The last id that was seen."""
        return self.ids[-1] if self.ids else 0

    async def follow(self) -> None:
        """Follow for ever, cut off after some events or some time, whichever comes first."""
        while True:
            self.connections += 1
            lasts_s = self._random.uniform(0.05, 0.8)
            try:
                async with asyncio.timeout(lasts_s):
                    await self._read(self._random.randint(1, 60))
            except (TimeoutError, httpx.HTTPError):
                pass

    async def _read(self, count: int) -> None:
        headers = {"Last-Event-ID": str(self.last)} if self.ids else {}
        client = self._random.choice(self._clients)
        address = f"{STREAM}?{self._query}"
        async with client.stream("GET", address, headers=headers) as answer:
            assert answer.status_code == 200
            event: int | None = None
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    event = int(line.removeprefix("id: "))
                elif not line and event is not None:
                    # Only what has come whole counts, as for a browser.
                    self.ids.append(event)
                    event = None
                    count -= 1
                    if not count:
                        return


async def _write(client: httpx.AsyncClient, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(COMMANDS_EACH):
        many = chance.randint(1, 20)
        commands = [
            {
                "type": chance.choice(("ReceiveStock", "ReceiveStock", "AdjustStock")),
                "data": {"sku": "TEA", "location": "L", "quantity": 1},
            }
            for _ in range(many)
        ]
        answer = await client.post("/api/ledger/commands", json={"commands": commands})
        assert answer.status_code == 200, answer.text
        await asyncio.sleep(chance.uniform(0, 0.05))


@pytest.fixture
async def nats_url(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """The address of a NATS server, or none."""
    if not request.param:
        yield None
        return
    async with running_nats() as server:
        yield server.url


@pytest.mark.parametrize("nats_url", [True, False], ids=["hints", "no hints"], indirect=True)
async def test_clients_that_are_cut_off_miss_nothing_and_see_nothing_twice(
    nats_url: str | None, database: DatabaseAddress, tmp_path: Path
) -> None:
    """Ids are 1 to the head for who follows all, and those of the pages for who filters."""
    ports = free_ports(2)
    each = [Settings(data_dir=tmp_path, port=port, nats_url=nats_url) for port in ports]
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(house_at(each[0], database))
        founded = await found_tenant(house, "Acme", email="owner@example.com")
        for settings in each:
            await stack.enter_async_context(api_process(settings, database))
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"X-API-Key": founded.api_key},
                    timeout=30,
                    limits=httpx.Limits(max_connections=100),
                )
            )
            for port in ports
        ]
        product = {"name": "Tea", "sku": "TEA", "base_price": "1"}
        assert (await clients[0].post("/api/products", json=product)).is_success
        place = {"name": "L", "code": "L"}
        assert (await clients[0].post("/api/warehouses", json=place)).is_success

        queries = ["", FILTERED] * (FOLLOWERS // 2)
        followers = [Follower(clients, query, seed) for seed, query in enumerate(queries)]
        following = [asyncio.create_task(follower.follow()) for follower in followers]
        async with asyncio.TaskGroup() as writing:
            for number in range(WRITERS):
                writing.create_task(_write(clients[number % 2], number))
        head = (await clients[1].get("/api/ledger/head")).json()["position"]
        passing = await _paged(clients[0], FILTERED)
        wanted = [list(range(1, head + 1)) if not query else passing for query in queries]
        async with asyncio.timeout(DONE_WITHIN_S):
            while any(f.last < ids[-1] for f, ids in zip(followers, wanted, strict=True)):
                assert not any(task.done() for task in following), "a follower failed"
                await asyncio.sleep(0.05)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    for follower, ids in zip(followers, wanted, strict=True):
        assert follower.ids == ids
        assert follower.connections > 3
    assert head > WRITERS * COMMANDS_EACH
    assert 0 < len(passing) < head


async def _paged(client: httpx.AsyncClient, query: str) -> list[int]:
    """Return the positions of all events that pass a filter, by pages."""
    found: list[int] = []
    after: int | None = 0
    while after is not None:
        answer = await client.get(f"/api/ledger/events?{query}&limit=500&after={after}")
        page = answer.json()
        found += [event["position"] for event in page["events"]]
        after = page["next_after"]
    return found
