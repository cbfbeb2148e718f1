"""One position, four ways to look at it: the API, SQL as a reader, Parquet, a consumer's own table.

They agree to the last digit, account by account: a shop that trades in everything, with quantities
of three decimals, quarantine, transfers on their way and lost, returns and reversals.
"""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import msgspec
import polars
import pytest

from deploy.analysts import create_analyst
from deploy.parquet_tables import Manifest, export_tables
from deploy.wiring import House, following
from projections import relay
from tests.proof.rig import Desk
from tests.proof.test_relay_consumer import ACCOUNTS, CODES, SKUS, Consumer, load
from tests.support.api import Service, running_service
from tests.support.auditing import busy_shop
from tests.support.nats import running_nats
from tests.support.relay import relaying

WITHIN_S = 60.0
SHOWN = ("on_hand", "reserved", "available", "quarantine", "in_transit")

Balances = dict[tuple[int, int, str], Decimal]
Levels = dict[tuple[int, int], tuple[Decimal, ...]]
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service whose read models follow."""
    async with following(house), running_service(house) as service:
        yield service


async def test_api_sql_parquet_and_a_consumer_agree_to_the_last_digit(
    house: House, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At one position, each by its own road."""
    monkeypatch.setattr(relay, "TENANTS_POLL_S", 0.2)
    await busy_shop(house, service)
    desk = Desk(house.committer, service.tenant_id)  # type: ignore[arg-type]
    await desk.shop(SKUS, CODES)
    await load(desk, random.Random(11), 60)
    position = await _settled(service)

    levels = await _by_api(service)
    async with running_nats() as server, relaying(house.address, server.url):
        consumer = Consumer(server, service.tenant_id, tmp_path / "stock.db")
        await consumer.finish(position)
    balances = _by_consumer(tmp_path / "stock.db", position)
    by_sql = await _by_sql(house, service.tenant_id, position)
    manifest, _ = await export_tables(
        house.exports, service.tenant_id, tmp_path / "tables", lambda _name, _done: None
    )
    assert manifest.position == position
    file = _stock_file(tmp_path / "tables", manifest)
    by_duckdb = _rows(duckdb.execute(f"SELECT * FROM '{file}'"))
    by_polars = polars.read_parquet(file).to_dicts()

    # The figures are of some weight: fractions, everywhere where something can be.
    assert len(levels) > 20
    assert {account for _, _, account in balances} == set(ACCOUNTS)
    assert any(amount % 1 for amount in balances.values())
    assert any(level[1] for level in levels.values()), "nothing is reserved"
    for rows in (by_sql, by_duckdb, by_polars):
        assert _levels(rows) == levels
        assert _balances(rows) == balances
    held = sum(level[0] for level in levels.values())
    assert held == sum(
        amount
        for (_, _, account), amount in balances.items()
        if account in ("unrestricted", "quarantine")
    )
    await _must_be_in_files(house, service.tenant_id, tmp_path / "tables", manifest)
    # Nothing has moved while that was looked at, so that it was one position.
    assert await _settled(service) == position


async def _must_be_in_files(house: House, tenant_id: int, folder: Path, manifest: Manifest) -> None:
    """Hold every row of what grows, and of what is worked out, against what a reader is shown."""
    connection = await asyncpg.connect(await create_analyst(house.address, tenant_id, "Bob"))
    try:
        for name in ("movement", "event", "valuation_layer", "cogs_by_day", "sales_by_day"):
            files = [str(folder / file.path) for file in manifest.tables[name].files]
            names = [column["name"] for column in manifest.tables[name].columns]
            in_files = polars.read_parquet(files, hive_partitioning=False).select(names).rows()
            by_sql = await connection.fetch(f"SELECT {', '.join(names)} FROM {name}")
            assert len(by_sql) > 5, name
            assert sorted(map(_told, in_files)) == sorted(map(_told, by_sql)), name
    finally:
        await connection.close()


async def _settled(service: Service) -> int:
    """Wait until the tables are at the head of the log; return that."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            head = (await service.get("/api/ledger/head")).json()["position"]
            if (await service.get("/api/ledger/export/tables")).json()["position"] == head:
                return head
            await asyncio.sleep(0.05)


async def _by_api(service: Service) -> Levels:
    found: Levels = {}
    page, total = 1, 1
    while len(found) < total:
        answer = _decode((await service.get(f"/api/inventory?limit=200&page={page}")).content)
        total, page = answer["total"], page + 1
        for row in answer["inventory"]:
            found[row["product_id"], row["warehouse_id"]] = tuple(
                Decimal(row[name])
                for name in (
                    "quantity",
                    "reserved_quantity",
                    "available_quantity",
                    "quarantined_quantity",
                    "in_transit_quantity",
                )
            )
    return {key: level for key, level in found.items() if any(level)}


async def _by_sql(house: House, tenant_id: int, position: int) -> list[dict[str, Any]]:
    """Ask as a reader does, in one transaction, with nothing but the connection string."""
    connection = await asyncpg.connect(await create_analyst(house.address, tenant_id, "Ann"))
    try:
        async with connection.transaction():
            assert await connection.fetchval("SELECT analysis.position()") == position
            return [dict(row) for row in await connection.fetch("SELECT * FROM stock_level")]
    finally:
        await connection.close()


def _by_consumer(database: Path, position: int) -> Balances:
    found = sqlite3.connect(database)
    try:
        assert found.execute("SELECT position FROM progress").fetchall() == [(position,)]
        return {
            (product, place, account): Decimal(quantity)
            for product, place, account, quantity in found.execute("SELECT * FROM stock")
            if Decimal(quantity)
        }
    finally:
        found.close()


def _stock_file(folder: Path, manifest: Manifest) -> str:
    (file,) = manifest.tables["stock_level"].files
    return str(folder / file.path)


def _rows(answer: Any) -> list[dict[str, Any]]:
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _levels(rows: Iterable[dict[str, Any]]) -> Levels:
    found = {
        (row["product_id"], row["location_id"]): tuple(row[name] for name in SHOWN) for row in rows
    }
    assert all(isinstance(amount, Decimal) for level in found.values() for amount in level)
    return {key: level for key, level in found.items() if any(level)}


def _balances(rows: Iterable[dict[str, Any]]) -> Balances:
    return {
        (row["product_id"], row["location_id"], account): row[account]
        for row in rows
        for account in ACCOUNTS
        if row[account]
    }


def _told(row: Iterable[Any]) -> str:
    """Return a row's values with all their digits, times in the one way."""
    return repr([at.astimezone(UTC) if isinstance(at, datetime) else at for at in row])
