"""Deliveries of webhooks a second, from messages in the database to a local receiver.

The deliverer runs in this process and does all it does in earnest: it makes deliveries, claims
lanes, signs, sends over HTTP and writes what came of it. The receiver is a process of its own
that does next to nothing.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from deploy.bootstrap import found_tenant
from deploy.settings import Settings
from deploy.webhooks import run_webhooks
from deploy.wiring import House, open_ledger
from ledger.ports import Meta
from ledger.store import tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections.following import catch_up
from projections.webhook_messages import WebhookMessages
from schemas.common import Command
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock
from schemas.webhook import CreateWebhookEndpoint
from tests.bench.plan import FULL_SIZE, Bench
from tests.bench.report import Figure
from tests.bench.servers import free_port

PRODUCTS: Final = 1_000
DELIVERIES: Final = 100_000
QUICK_DELIVERIES: Final = 20_000
ENDPOINTS: Final = 8
TARGET: Final = 5_000.0
_AT_ONCE: Final = 500


class Run(NamedTuple):
    """How long so many deliveries took, and the sender's own processor time."""

    deliveries: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.deliveries / self.seconds

    @property
    def cpu_each_us(self) -> float:
        return self.cpu_seconds / self.deliveries * 1e6


async def deliveries(bench: Bench) -> list[Figure]:
    """All to one endpoint, and shared by some."""
    wanted = DELIVERIES if bench.size == FULL_SIZE else QUICK_DELIVERIES
    figures: list[Figure] = []
    for endpoints in (1, ENDPOINTS):
        bench.progress(f"delivering {wanted:,} webhooks to {endpoints} endpoints")
        folder = bench.folder / f"webhooks-{endpoints}"
        run = await deliver(folder, endpoints, wanted)
        shown = "1 endpoint" if endpoints == 1 else f"{endpoints} endpoints"
        figures.append(
            Figure(
                name=f"webhook deliveries, {shown}",
                unit="/s",
                ours=run.rate,
                against="the target",
                baseline=TARGET,
                note=f"{run.deliveries:,} messages of stock.changed, signed, to a local receiver "
                f"over HTTP/1.1, with every attempt logged; the sending process took "
                f"{run.cpu_each_us:,.0f} µs of processor time for each",
            )
        )
    return figures


async def deliver(folder: Path, endpoints: int, wanted: int) -> Run:
    """Make so many messages for so many endpoints, and time their delivery."""
    folder.mkdir(parents=True)
    settings = Settings(
        data_dir=folder,
        relay=False,
        log_level="warning",
        webhook_http_allowed=True,
        webhook_private_allowed=True,
    )
    async with receiver() as port, open_ledger(settings) as house:
        founded = await found_tenant(house, "Bench", email="bench@example.com", password="x" * 12)
        tenant_id = founded.tenant_id
        await _submit(house, tenant_id, [OpenLocation(name="Bench", code="B")])
        await _submit(
            house,
            tenant_id,
            [
                RegisterProduct(name=f"P{n}", sku=f"P{n}", base_price=Decimal(1))
                for n in range(1, PRODUCTS + 1)
            ],
        )
        await _submit(
            house,
            tenant_id,
            [
                CreateWebhookEndpoint(
                    url=f"http://127.0.0.1:{port}/{n}", topics=("stock.changed",), verified=True
                )
                for n in range(endpoints)
            ],
        )
        messages = wanted // endpoints
        await _submit(
            house,
            tenant_id,
            [
                AdjustStock(
                    product_id=1 + n % PRODUCTS, location_id=1, quantity=Decimal(1), reason="bench"
                )
                for n in range(messages)
            ],
        )
        await catch_up(house.pool, WebhookMessages(), tenant_id)
        started, cpu = time.perf_counter(), time.process_time()
        task = asyncio.create_task(run_webhooks(house))
        try:
            while await _left(house, tenant_id, messages * endpoints) and not task.done():
                await asyncio.sleep(0.1)
            seconds = time.perf_counter() - started
            cpu_seconds = time.process_time() - cpu
        finally:
            task.cancel()
            await asyncio.wait([task])
        return Run(messages * endpoints, seconds, cpu_seconds)


async def _left(house: House, tenant_id: int, wanted: int) -> int:
    async with tenant_transaction(house.pool, tenant_id) as connection:
        done: int = await connection.fetchval(
            "SELECT coalesce(sum(delivered), 0)::bigint FROM webhook.lane"
        )
    return wanted - done


async def _submit(house: House, tenant_id: int, commands: Sequence[Command]) -> None:
    for first in range(0, len(commands), _AT_ONCE):
        await house.committer.submit(
            Submission(
                tenant_id=tenant_id,
                items=[Item(command) for command in commands[first : first + _AT_ONCE]],
                meta=Meta(actor="system:bench", source="bench"),
                render=_accepted,
            )
        )


def _accepted(outcomes: Sequence[Outcome]) -> Rendered:
    assert all(outcome.refusal is None for outcome in outcomes)
    return Rendered(200, b"")


@asynccontextmanager
async def receiver() -> AsyncGenerator[int]:
    """Run the receiver; give its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.webhook_receiver", str(port)
    )
    try:
        await asyncio.sleep(1)
        yield port
    finally:
        process.terminate()
        await process.wait()
