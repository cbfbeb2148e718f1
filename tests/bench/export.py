"""Files for analysts: how fast the log becomes Parquet, and what reading takes from writing."""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from deploy.analysts import create_analyst
from deploy.parquet_log import export_log
from deploy.readers import LOOK_EVERY_S
from ledger.store import create_pool
from tests.bench.measure import LoadFailed, in_turn
from tests.bench.plan import CONNECTIONS, SPREAD_PRODUCTS, Bench
from tests.bench.rates import rate_of
from tests.bench.report import Figure
from tests.bench.servers import Installation
from tests.bench.traffic import BULK_COMMANDS

LOG_FACTOR = 10
SIGNED_WITHIN_S = 60.0
STARTED_WITHIN_S = 120.0

# The same rows in the same order.
_ROWS = """
SELECT position, stream, version, type, schema_version, data, meta, effective_at, recorded_at,
       leaf_hash
FROM ledger.event WHERE tenant_id = {tenant} ORDER BY position
"""
# Every movement and every event is looked at, JSON and all.
_HEAVY = """
SELECT m.product_id, date_trunc('day', m.effective_at), m.from_account, m.to_account,
       sum(m.quantity), count(*), max((e.data ->> 'quantity')::numeric)
FROM movement m JOIN event e ON e.position = m.position
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 100
"""


async def export(bench: Bench) -> list[Figure]:
    """The log to Parquet against COPY, and single commands beside an export and an analyst."""
    ours = await bench.main()
    least = bench.size.few_events * LOG_FACTOR
    await ours.fill(least, bench.counting("filling", least, BULK_COMMANDS))
    await ours.settle()
    tenant_id = await _tenant(ours)
    events = await ours.events()
    return [
        *await _against_copy(bench, ours, tenant_id, events),
        await _beside_writes(bench, ours, tenant_id),
    ]


async def _against_copy(
    bench: Bench, ours: Installation, tenant_id: int, events: int
) -> list[Figure]:
    found = await in_turn(
        {
            "COPY … TO STDOUT": _copying(ours, tenant_id, to_nowhere=False),
            "export to Parquet": _exporting(bench, ours, tenant_id),
            "COPY … TO '/dev/null'": _copying(ours, tenant_id, to_nowhere=True),
        },
        bench.durations.rounds,
        bench.progress,
    )
    exported = found["export to Parquet"]
    return [
        Figure(
            name="export of the log to Parquet",
            unit="events/s",
            ours=exported,
            against="COPY … TO STDOUT of the same rows",
            baseline=found["COPY … TO STDOUT"],
            limit=0.5,
            note=f"{events:,} events; compressed (zstd), and on the disk when it ends; COPY is in "
            "text, and its client throws it away",
        ),
        Figure(
            name="export of the log to Parquet",
            unit="events/s",
            ours=exported,
            against="COPY … TO '/dev/null' of the same rows, within the server",
            baseline=found["COPY … TO '/dev/null'"],
        ),
    ]


async def _beside_writes(bench: Bench, ours: Installation, tenant_id: int) -> Figure:
    lane = ours.adjust("writes", CONNECTIONS, SPREAD_PRODUCTS)
    alone = rate_of(bench, ours.server, lane)

    async def beside() -> float:
        async with _analyst(ours, tenant_id), _export_going_on(bench):
            return await alone()

    found = await in_turn(
        {"alone": alone, "beside an export and an analyst": beside},
        bench.durations.rounds,
        bench.progress,
    )
    return Figure(
        name="single commands while the log is exported and an analyst asks",
        unit="/s",
        ours=found["beside an export and an analyst"],
        against="with neither",
        baseline=found["alone"],
        limit=0.8,
        note=f"{CONNECTIONS} connections; `stockledger export log --format parquet` again and "
        "again, and one query after the other over every movement and event",
    )


def _copying(
    ours: Installation, tenant_id: int, *, to_nowhere: bool
) -> Callable[[], Awaitable[float]]:
    rows = _ROWS.format(tenant=tenant_id)

    async def throw_away(_chunk: bytes) -> None:
        return None

    async def measure() -> float:
        connection = await asyncpg.connect(**ours.database.administrator)
        try:
            began = time.perf_counter()
            if to_nowhere:
                status = await connection.execute(f"COPY ({rows}) TO '/dev/null'")
            else:
                status = await connection.copy_from_query(rows, output=throw_away)
            return int(status.split()[-1]) / (time.perf_counter() - began)
        finally:
            await connection.close()

    return measure


def _exporting(bench: Bench, ours: Installation, tenant_id: int) -> Callable[[], Awaitable[float]]:
    folder = bench.folder / "exported"

    async def measure() -> float:
        # Neither yields: all else is at rest, and yielding is measured with the figure after this.
        pool = await create_pool(ours.database.app, size_max=2)
        try:
            began = time.perf_counter()
            done = await export_log(pool, tenant_id, folder, lambda _done, _total: None)
            return done.events / (time.perf_counter() - began)
        finally:
            pool.terminate()
            shutil.rmtree(folder, ignore_errors=True)

    return measure


async def _tenant(ours: Installation) -> int:
    """Return the tenant, once something of its log has been signed."""
    connection = await asyncpg.connect(**ours.database.administrator)
    try:
        async with asyncio.timeout(SIGNED_WITHIN_S):
            while True:
                tenant_id = await connection.fetchval("SELECT tenant_id FROM proof.tree LIMIT 1")
                if tenant_id is not None:
                    return tenant_id
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


@asynccontextmanager
async def _export_going_on(bench: Bench) -> AsyncGenerator[None]:
    """Export the log into one new folder after the other, as the command does."""
    folder = bench.folder / "beside"
    async with _going_on(lambda: _run_export(bench.folder / "main", folder)):
        # What it takes to start the program is no part of it.
        async with asyncio.timeout(STARTED_WITHIN_S):
            while not list(folder.glob("*.parquet*")):
                await asyncio.sleep(0.05)
        yield
    shutil.rmtree(folder, ignore_errors=True)


async def _run_export(data_dir: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STOCKLEDGER_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.cli", "export", "log", "--format", "parquet"),
        *("--out", str(folder)),
        start_new_session=True,
        env={**inherited, "STOCKLEDGER_DATA_DIR": str(data_dir)},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        if await process.wait():
            raise LoadFailed("the export beside the writes failed; its error is above")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _analyst(ours: Installation, tenant_id: int) -> AsyncGenerator[None]:
    """Ask one heavy query after the other, as a reader."""
    connection = await asyncpg.connect(await create_analyst(ours.database, tenant_id, "Bench"))
    try:
        async with _going_on(lambda: connection.fetch(_HEAVY, timeout=600)):
            await asyncio.sleep(2 * LOOK_EVERY_S)
            yield
    finally:
        connection.terminate()


@asynccontextmanager
async def _going_on(work: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Do something again and again until the block ends; raise what went wrong with it."""

    async def repeat() -> None:
        while True:
            await work()

    task = asyncio.create_task(repeat())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
