"""A consumer that has nothing but the stream has the same stock, whatever is killed."""

import asyncio
import random
import sqlite3
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.store import tenant_transaction
from projections import relay
from schemas.common import Command
from schemas.stock import (
    CountStock,
    QuarantineStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReverseMovement,
    ShipTransfer,
    TransferStock,
)
from tests.proof.rig import Desk, Ledger, adjust, issue, receive
from tests.support.nats import Nats, running_nats
from tests.support.relay import head, relaying

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "relay_consumer.py"
ACCOUNTS = (
    "unrestricted", "quarantine", "in_transit", "supplier", "customer", "adjustment", "loss",
)  # fmt: skip
SKUS = ("A", "B", "C")
CODES = ("MAIN", "EAST")
WITHIN_S = 60.0


class Consumer:
    """The example, as a process."""

    def __init__(self, server: Nats, tenant_id: int, database: Path) -> None:
        self._arguments = (
            sys.executable, str(SCRIPT), server.url,
            "--tenant", str(tenant_id), "--database", str(database),
        )  # fmt: skip
        self.log = database.with_suffix(".log")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, until: int = 0) -> None:
        """Start it; it ends by itself at position ``until``, where that is above zero."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._arguments, "--until", str(until), stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """End it with SIGKILL."""
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        self.process.kill()
        await self.process.wait()

    async def finish(self, until: int) -> None:
        """Run it to a position, and to its end."""
        await self.start(until)
        assert self.process is not None
        status = await asyncio.wait_for(self.process.wait(), WITHIN_S)
        assert status == 0, self.log.read_text()


def random_command(dice: random.Random, count: int) -> Command:
    """Return a command of any kind that moves stock; many of them will be refused."""
    sku, code = dice.choice(SKUS), dice.choice(CODES)
    other = CODES[1 - CODES.index(code)]
    quantity = Decimal(dice.randint(1, 5_000)) / 1000
    at: dict[str, Any] = {"sku": sku, "location": code, "quantity": quantity}
    across: dict[str, Any] = {
        "sku": sku,
        "from_location": code,
        "to_location": other,
        "quantity": quantity,
    }
    chosen: Callable[[], Command] = dice.choice(
        [
            lambda: receive(quantity, sku, code),
            lambda: receive(quantity, sku, code, source="customer"),
            lambda: issue(quantity, sku, code),
            lambda: adjust(-quantity, sku, code),
            lambda: CountStock(**at),
            lambda: TransferStock(**across),
            lambda: ShipTransfer(**across),
            lambda: ReceiveTransfer(
                sku=sku, location=code, transfer_id=dice.randint(1, 40), quantity=quantity / 2
            ),
            lambda: ReceiveTransfer(
                sku=sku, location=code, transfer_id=dice.randint(1, 40), lost=quantity / 2
            ),
            lambda: QuarantineStock(**at),
            lambda: ReleaseQuarantine(**at, disposition=dice.choice(["restock", "scrap"])),
            lambda: ReverseMovement(position=dice.randint(1, max(2, count))),
        ]
    )
    return chosen()


async def load(desk: Desk, dice: random.Random, commits: int) -> None:
    """Commit groups of random commands."""
    count = 10
    for _ in range(commits):
        done = await desk.do(*[random_command(dice, count) for _ in range(20)], atomic=False)
        count = max(count, done.position)
        await asyncio.sleep(0.01)


async def must_have_the_same_stock(ledger: Ledger, tenant_id: int, database: Path) -> None:
    """Hold the consumer's table against the read model, account by account."""
    async with ledger.pool() as pool, tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch("SELECT * FROM projections.stock_level")
        position = await connection.fetchval("SELECT position FROM ledger.head")
    expected = {
        (row["product_id"], row["location_id"], account): row[account]
        for row in rows
        for account in ACCOUNTS
        if row[account]
    }
    found = sqlite3.connect(database)
    assert found.execute("SELECT position FROM progress").fetchall() == [(position,)]
    table = {
        (product, place, account): Decimal(quantity)
        for product, place, account, quantity in found.execute("SELECT * FROM stock")
        if Decimal(quantity)
    }
    found.close()
    assert len(expected) > 20
    assert {account for _, _, account in expected} == set(ACCOUNTS)
    assert table == expected


async def test_a_consumer_that_is_killed_at_random_has_the_same_stock(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load, five times, with NATS killed and wiped in between."""
    monkeypatch.setattr(relay, "TENANTS_POLL_S", 0.2)
    dice = random.Random(5)
    async with ledger.committer() as committer, running_nats() as server:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop(SKUS, CODES)
        async with ledger.pool() as pool, relaying(ledger.address, server.url):
            consumer = Consumer(server, desk.tenant_id, tmp_path / "stock.db")
            loading = asyncio.create_task(load(desk, dice, 150))
            for number in range(5):
                await consumer.start()
                await asyncio.sleep(dice.uniform(0.4, 1.2))
                if number == 1:
                    await server.kill()
                    await server.start()
                if number == 3:
                    await server.wipe()
                    await server.start()
                await consumer.kill()
            await loading
            await consumer.finish(await head(pool, desk.tenant_id))
        await must_have_the_same_stock(ledger, desk.tenant_id, tmp_path / "stock.db")


async def test_a_consumer_whose_table_was_restored_reads_on_from_there(
    ledger: Ledger, tmp_path: Path
) -> None:
    """What it had acknowledged is asked for again, by its own position."""
    dice = random.Random(6)
    async with ledger.committer() as committer, running_nats() as server:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop(SKUS, CODES)
        async with ledger.pool() as pool, relaying(ledger.address, server.url):
            consumer = Consumer(server, desk.tenant_id, tmp_path / "stock.db")
            await load(desk, dice, 50)
            await consumer.finish(await head(pool, desk.tenant_id))
            backup = tmp_path / "backup.db"
            with sqlite3.connect(tmp_path / "stock.db") as now, sqlite3.connect(backup) as kept:
                now.backup(kept)
            await load(desk, dice, 50)
            await consumer.finish(await head(pool, desk.tenant_id))
            for file in tmp_path.glob("stock.db*"):
                file.unlink()
            backup.rename(tmp_path / "stock.db")
            await consumer.finish(await head(pool, desk.tenant_id))
        await must_have_the_same_stock(ledger, desk.tenant_id, tmp_path / "stock.db")
