"""A rebuild of everything while clients write and read over HTTP as fast as they can."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from deploy.wiring import House, following
from projections.rebuild import Report, rebuild
from tests.support.api import Service, running_service
from tests.support.proving import prove

PRODUCTS = 8
WRITERS = 6
READERS = 4
REBUILDS = 2


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service, its following projections running."""
    async with running_service(house) as service, following(house):
        yield service


async def test_no_read_fails_and_none_is_late(service: Service, house: House) -> None:
    """Who has written reads his own write at once, and what only grows never shrinks.

    Each product has one writer, who knows what there must be. Readers of any product look at
    levels and movements, from other connections.
    """
    places = [await service.stocked(100, f"P-{n}") for n in range(PRODUCTS)]
    done = asyncio.Event()
    writes = reads = 0

    async def write(product_id: int, location_id: int) -> None:
        nonlocal writes
        on_hand, seen = 100, 0
        chance = random.Random(product_id)
        while not done.is_set():
            change = chance.choice([1, 2, -1])
            reply = await service.post(
                "/api/inventory/adjust",
                {
                    "product_id": product_id,
                    "warehouse_id": location_id,
                    "quantity": change,
                    "reason": "count",
                },
            )
            assert reply.status_code in (200, 201), reply.text
            writes += 1
            on_hand += change
            position = int(reply.headers["ledger-position"])
            read = await service.get(
                "/api/inventory",
                params={"product_id": product_id, "min_position": position},
            )
            assert read.status_code == 200, read.text
            assert int(read.headers["ledger-position"]) >= position
            assert [row["quantity"] for row in read.json()["inventory"]] == [on_hand]
            assert position > seen
            seen = position

    async def watch() -> None:
        nonlocal reads
        last: dict[int, int] = {}
        chance = random.Random(0)
        while not done.is_set():
            product_id, _ = chance.choice(places)
            read = await service.get("/api/inventory/movements", params={"product_id": product_id})
            assert read.status_code == 200, read.text
            total = read.json()["total"]
            assert total >= last.get(product_id, 1)
            last[product_id] = total
            reads += 1

    clients = [asyncio.create_task(write(*place)) for place in places[:WRITERS]]
    clients += [asyncio.create_task(watch()) for _ in range(READERS)]
    names = [projection.name for projection in house.engine.projections]
    reports: list[Report] = []
    writes_before: list[int] = []
    try:
        async with house.admin() as reader, house.admin() as writer:
            for _ in range(REBUILDS):
                writes_before.append(writes)
                reports.append(await rebuild(reader, writer, house.engine, names))
    finally:
        done.set()
        ended = await asyncio.gather(*clients, return_exceptions=True)
    assert [fault for fault in ended if fault is not None] == []
    assert all(report.swapped and report.differing == [] for report in reports)
    writes_before.append(writes)
    assert all(later > earlier for earlier, later in pairwise(writes_before))
    assert reads > READERS
    verdict = await prove(house.address, house.pool, house.engine, service.tenant_id)
    assert verdict.ok, verdict
