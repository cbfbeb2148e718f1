"""Deliverers are killed while receivers fail half the time: each message arrives, or is parked."""

import asyncio
import contextlib
import random
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aiohttp import web

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.webhook_messages import WebhookMessages
from projections.webhook_secrets import keep_secret, new_secret
from schemas.stock import StockReceived
from schemas.webhook import WebhookEndpointCreated
from tests.support.receiver import Received, receiving
from tests.support.written_log import Scribe

PRODUCTS = 12
ROUNDS = 8
EVENTS_A_ROUND = 30
ENDPOINTS = (1, 2)


@asynccontextmanager
async def deliverer(database: DatabaseAddress) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a process that delivers; it is killed at the end, with no time for anything."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.run_deliverer",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(database) + b"\n")
    await process.stdin.drain()
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("seed", [1])
async def test_each_message_arrives_in_order_or_is_parked(
    pool: Pool, tenant_id: int, database: DatabaseAddress, seed: int
):
    """Whatever is killed when, each item's messages are accepted in log order, none is missing.

    Two deliverers share the work, and one of them is killed and started again all the time.
    """
    chance = random.Random(seed)
    scribe = Scribe(pool, Engine(), tenant_id)
    messages = WebhookMessages()
    accepted: dict[str, list[tuple[int, int, str]]] = defaultdict(list)

    async def half_the_time(one: Received) -> web.Response:
        draw = chance.random()
        if draw < 0.45:
            return web.Response(status=500)
        if draw < 0.5:
            await asyncio.sleep(1.2)
        data: Any = one.json["data"]
        accepted[one.path].append((data["product_id"], data["position"], one.id))
        return web.Response(status=200)

    async with receiving() as receiver:
        for number in ENDPOINTS:
            receiver.answer(f"/{number}", half_the_time)
            event = WebhookEndpointCreated(
                endpoint_id=number,
                url=receiver.url(f"/{number}"),
                topics=("stock.changed",),
                verified=True,
            )
            await scribe.write((f"webhook-{number}", event))
            async with tenant_transaction(pool, tenant_id) as connection:
                await keep_secret(connection, tenant_id, number, new_secret(), scribe.now)

        async def state() -> dict[str, int]:
            async with tenant_transaction(pool, tenant_id) as connection:
                rows = await connection.fetch(
                    "SELECT state, count(*) FROM webhook.delivery GROUP BY 1"
                )
            return {row[0]: row[1] for row in rows}

        total = ROUNDS * EVENTS_A_ROUND
        async with deliverer(database):
            for _ in range(ROUNDS):
                async with deliverer(database):
                    products = [chance.randint(1, PRODUCTS) for _ in range(EVENTS_A_ROUND)]
                    await scribe.write(
                        *(
                            (
                                f"stock-{product}-1",
                                StockReceived(
                                    product_id=product, location_id=1, quantity=Decimal(1)
                                ),
                            )
                            for product in products
                        )
                    )
                    await catch_up(pool, messages, tenant_id)
                    await asyncio.sleep(chance.uniform(0.3, 1.2))
            async with asyncio.timeout(90):
                while (now := await state()).get("waiting", 0) or sum(now.values()) < 2 * total:
                    await asyncio.sleep(0.2)
        async with tenant_transaction(pool, tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT endpoint_id, position, state FROM webhook.delivery ORDER BY 1, 2"
            )
    parked = {(row[0], row[1]) for row in rows if row[2] == "parked"}
    positions = range(len(ENDPOINTS) + 1, len(ENDPOINTS) + 1 + total)
    for number in ENDPOINTS:
        came = accepted[f"/{number}"]
        first = dict.fromkeys((product, position) for product, position, _ in came)
        arrived = {position for _, position in first}
        assert arrived | {p for n, p in parked if n == number} == set(positions)
        for product in range(1, PRODUCTS + 1):
            got = [position for one, position in first if one == product]
            in_order = [p for p in got if (number, p) not in parked]
            assert in_order == sorted(in_order), f"product {product} at endpoint {number}"
        ids = {position: identifier for _, position, identifier in came}
        assert all(ids[position] == identifier for _, position, identifier in came)
    assert len(parked) < total / 10
