"""The figures, each measured against its baseline in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from deploy.running import collect_seldom, keep_freed_memory
from projections.engine import Engine
from projections.rebuild import rebuild as rebuild_projections
from tests.bench import baselines
from tests.bench.load import Lane
from tests.bench.measure import LoadFailed, in_turn, load
from tests.bench.plan import (
    BULK_CONNECTIONS,
    BULK_PRODUCTS,
    CONNECTIONS,
    SPREAD_PRODUCTS,
    Bench,
)
from tests.bench.rates import elsewhere, rate_of
from tests.bench.report import Figure
from tests.bench.servers import API_KEY, prepare_baselines
from tests.bench.traffic import BULK_COMMANDS

RAW_BATCHES = 20
READ_CONNECTIONS = 16
REBUILD_FACTOR = 10
REBUILD_ROUNDS_MAX = 3
STOCK_MODELS = ("stock_levels", "stock_by_day")
SETTLE_S = 2.0


async def singles(bench: Bench) -> list[Figure]:
    """One adjustment a request over 64 connections, against the ceiling and the plain handler."""
    ours, ceiling, plain = await bench.main(), await bench.ceiling(), await bench.plain()
    spread = ours.adjust("spread", CONNECTIONS, SPREAD_PRODUCTS)
    hot = ours.adjust("hot", CONNECTIONS, 1)
    found = await in_turn(
        {
            "empty handler": rate_of(bench, ceiling, elsewhere(spread, "/empty")),
            "single commands": rate_of(bench, ours.server, spread),
            "plain handler": rate_of(bench, plain, elsewhere(spread, "/adjust")),
            "single commands, one hot SKU": rate_of(bench, ours.server, hot),
            "plain handler, one hot SKU": rate_of(bench, plain, elsewhere(hot, "/adjust")),
        },
        bench.durations.rounds,
        bench.progress,
    )
    spread_rate = found["single commands"]
    hot_rate = found["single commands, one hot SKU"]
    return [
        Figure(
            name="single commands, 1,000 SKUs, 64 connections",
            unit="/s",
            ours=spread_rate,
            against="empty POST handler",
            baseline=found["empty handler"],
            limit=0.55,
        ),
        Figure(
            name="single commands, one hot SKU",
            unit="/s",
            ours=hot_rate,
            against="spread out",
            baseline=spread_rate,
            limit=0.80,
        ),
        Figure(
            name="single commands, 1,000 SKUs",
            unit="/s",
            ours=spread_rate,
            against="plain handler",
            baseline=found["plain handler"],
            limit=2.5,
        ),
        Figure(
            name="single commands, one hot SKU",
            unit="/s",
            ours=hot_rate,
            against="plain handler, hot",
            baseline=found["plain handler, one hot SKU"],
            limit=4.0,
        ),
    ]


async def bulk(bench: Bench) -> list[Figure]:
    """A thousand movements a request, against raw inserts and the plain handler's bulk."""
    ours, plain = await bench.main(), await bench.plain()
    spread = ours.bulk("bulk", BULK_CONNECTIONS, BULK_PRODUCTS)
    hot = ours.bulk("bulk hot", BULK_CONNECTIONS, 1)
    batches = await _raw_batches(bench)
    administrator = ours.database.administrator
    seconds = bench.durations.seconds

    async def raw(connections: int = 1) -> float:
        rate = await baselines.insert_batches(
            administrator, batches, seconds, connections=connections
        )
        await baselines.clear(administrator)
        return rate

    found = await in_turn(
        {
            "raw inserts": raw,
            "bulk": rate_of(bench, ours.server, spread, BULK_COMMANDS),
            "bulk, one hot SKU": rate_of(bench, ours.server, hot, BULK_COMMANDS),
            "plain handler's bulk": rate_of(
                bench, plain, elsewhere(spread, "/bulk"), BULK_COMMANDS
            ),
            "raw inserts on two connections": lambda: raw(2),
        },
        bench.durations.rounds,
        bench.progress,
    )
    rate = found["bulk"]
    return [
        Figure(
            name="movements through bulk, 1,000 a request, 20,000 SKUs",
            unit="/s",
            ours=rate,
            against="raw INSERT … SELECT unnest, batches of 1,000",
            baseline=found["raw inserts"],
            limit=0.40,
            note="the aim is 0.50; the raw inserts are on one connection, as there is one log",
        ),
        Figure(
            name="movements through bulk",
            unit="/s",
            ours=rate,
            against="raw inserts on two connections",
            baseline=found["raw inserts on two connections"],
        ),
        Figure(
            name="movements through bulk, one hot SKU",
            unit="/s",
            ours=found["bulk, one hot SKU"],
            against="spread out",
            baseline=rate,
            limit=0.80,
        ),
        Figure(
            name="movements through bulk",
            unit="/s",
            ours=rate,
            against="plain handler's bulk",
            baseline=found["plain handler's bulk"],
            limit=1.2,
        ),
    ]


async def latency(bench: Bench) -> list[Figure]:
    """One command at a time on one connection, against one bare INSERT and its commit."""
    ours = await bench.main()
    batches = await _raw_batches(bench)
    lane = ours.adjust("one at a time", 1, SPREAD_PRODUCTS)
    administrator = ours.database.administrator

    async def over_http() -> float:
        results = await load(ours.server.port, API_KEY, [lane], durations=bench.durations)
        return results[lane.name].p50_ms

    async def bare() -> float:
        median = await baselines.insert_one_by_one(
            administrator, batches[0], bench.durations.seconds
        )
        await baselines.clear(administrator)
        return median

    found = await in_turn(
        {"one bare INSERT": bare, "one command at a time": over_http},
        bench.durations.rounds,
        bench.progress,
    )
    return [
        Figure(
            name="one command at a time, p50",
            unit="ms",
            ours=found["one command at a time"],
            against="one bare INSERT commit, p50",
            baseline=found["one bare INSERT"],
            limit=4.0,
            better="lower",
        )
    ]


async def reads(bench: Bench) -> list[Figure]:
    """Reads of stock with and without the write load of the first figure beside them."""
    ours = await bench.main()
    await ours.settle()
    writes = ours.adjust("writes", CONNECTIONS, SPREAD_PRODUCTS)
    figures: list[Figure] = []
    for name, path in (
        ("stock read by SKU", "/api/external/products/{sku}"),
        ("list of 50 stock levels", "/api/inventory?limit=50"),
    ):
        lane = Lane(
            name=name,
            connections=READ_CONNECTIONS,
            kind="read",
            options={"path": path, "products": SPREAD_PRODUCTS},
        )

        def p99(lanes: list[Lane], name: str = name) -> Callable[[], Awaitable[float]]:
            async def measure() -> float:
                results = await load(ours.server.port, API_KEY, lanes, durations=bench.durations)
                return results[name].p99_ms

            return measure

        found = await in_turn(
            {f"{name}, quiet": p99([lane]), f"{name}, under writes": p99([lane, writes])},
            bench.durations.rounds,
            bench.progress,
        )
        figures.append(
            Figure(
                name=f"{name}, p99 under the write load",
                unit="ms",
                ours=found[f"{name}, under writes"],
                against="p99 without it",
                baseline=found[f"{name}, quiet"],
                limit=3.0,
                better="lower",
                note=f"{READ_CONNECTIONS} connections reading in a closed loop both times; the "
                f"write load is that of the first figure, {CONNECTIONS} connections in a closed "
                "loop, so that the server has no idle time left",
            )
        )
    return figures


async def rebuild(bench: Bench) -> list[Figure]:
    """Projections made again from the log, against reading the log and doing nothing."""
    ours = await bench.main()
    least = bench.size.few_events * REBUILD_FACTOR
    await ours.fill(least, bench.counting("filling", least, BULK_COMMANDS))
    engine = Engine()
    names = [projection.name for projection in engine.projections]
    # As the process that rebuilds has it.
    collect_seldom()
    keep_freed_memory()

    async def rebuilt(names: Sequence[str]) -> float:
        reader = await asyncpg.connect(**ours.database.owner)
        writer = await asyncpg.connect(**ours.database.owner)
        try:
            done = await rebuild_projections(reader, writer, engine, names)
        finally:
            await reader.close()
            await writer.close()
        if done.differing:
            raise LoadFailed(f"the rebuilt tables differ from the live ones: {done.differing}")
        return done.events / done.seconds

    write = rate_of(bench, ours.server, ours.adjust("writes", CONNECTIONS, SPREAD_PRODUCTS))

    async def beside_writers() -> float:
        has_ended = asyncio.Event()

        async def keep_writing() -> None:
            while not has_ended.is_set():
                await write()

        writing = asyncio.create_task(keep_writing())
        await asyncio.sleep(SETTLE_S)
        try:
            return await rebuilt(STOCK_MODELS)
        finally:
            has_ended.set()
            await writing
            await ours.settle()

    found = await in_turn(
        {
            "bare scan": lambda: baselines.scan(ours.database.administrator),
            "rebuild of all projections": lambda: rebuilt(names),
            "rebuild of the stock read models": lambda: rebuilt(STOCK_MODELS),
            "rebuild of the stock read models beside writers": beside_writers,
        },
        min(REBUILD_ROUNDS_MAX, bench.durations.rounds),
        bench.progress,
    )
    return [
        Figure(
            name="rebuild of all projections",
            unit="events/s",
            ours=found["rebuild of all projections"],
            against="bare scan of the log",
            baseline=found["bare scan"],
            limit=0.15,
            note=f"{await ours.events():,} events; the comparison with the live tables and the "
            "swap are in it",
        ),
        Figure(
            name="rebuild of the stock read models",
            unit="events/s",
            ours=found["rebuild of the stock read models"],
            against="100,000 a second",
            baseline=100_000.0,
            limit=1.0,
            note="levels, movements, holds, and stock by day, of the same log",
        ),
        Figure(
            name="rebuild of the stock read models beside full write load",
            unit="events/s",
            ours=found["rebuild of the stock read models beside writers"],
            against="100,000 a second",
            baseline=100_000.0,
            limit=1.0,
            note=f"beside single commands, {CONNECTIONS} connections in a closed loop; client "
            "and server are on the same processors, and nobody yields to anybody",
        ),
    ]


async def memory(bench: Bench) -> list[Figure]:
    """The server's resident memory after few and after many distinct SKUs were touched."""
    large = await bench.large()
    few, many = bench.size.few_products, bench.size.many_products
    await bench.grow(large, few)
    await asyncio.sleep(SETTLE_S)
    before = large.server.memory_bytes()
    await bench.grow(large, many)
    await asyncio.sleep(SETTLE_S)
    after = large.server.memory_bytes()
    return [
        Figure(
            name=f"memory of the server after {many:,} distinct SKUs",
            unit="MB",
            ours=after / 1e6,
            against=f"after {few:,}",
            baseline=before / 1e6,
            limit=3.0,
            better="lower",
            note="resident memory; each SKU was registered and adjusted",
        )
    ]


async def depth(bench: Bench) -> list[Figure]:
    """Single commands a second on a long log, against a short one: two installations in turn."""
    large = await bench.large()
    await bench.grow(large, SPREAD_PRODUCTS)
    many, few = bench.size.many_events, bench.size.few_events
    await large.fill(many, bench.counting("filling the long log", many, BULK_COMMANDS))
    small = await bench.install("small")
    await bench.grow(small, SPREAD_PRODUCTS)
    await small.fill(few, bench.counting("filling the short log", few, BULK_COMMANDS))
    for place in (large, small):
        await place.settle()
    found = await in_turn(
        {
            "long log": rate_of(
                bench, large.server, large.adjust("long", CONNECTIONS, SPREAD_PRODUCTS)
            ),
            "short log": rate_of(
                bench, small.server, small.adjust("short", CONNECTIONS, SPREAD_PRODUCTS)
            ),
        },
        bench.durations.rounds,
        bench.progress,
    )
    return [
        Figure(
            name=f"single commands with {many:,} events in the log",
            unit="/s",
            ours=found["long log"],
            against=f"with {few:,}",
            baseline=found["short log"],
            limit=0.90,
            note=f"the long log has {large.products:,} SKUs and the short one {small.products:,}; "
            f"{SPREAD_PRODUCTS:,} are adjusted in both, and both grow meanwhile",
        )
    ]


async def processes(bench: Bench) -> list[Figure]:
    """Two API processes on one database, against one."""
    one = await bench.main()
    two = await bench.install("two-processes", workers=2)
    await bench.grow(two, SPREAD_PRODUCTS)
    found = await in_turn(
        {
            "one process": rate_of(
                bench, one.server, one.adjust("one", CONNECTIONS, SPREAD_PRODUCTS)
            ),
            "two processes": rate_of(
                bench, two.server, two.adjust("two", CONNECTIONS, SPREAD_PRODUCTS)
            ),
        },
        bench.durations.rounds,
        bench.progress,
    )
    return [
        Figure(
            name="single commands, two API processes",
            unit="/s",
            ours=found["two processes"],
            against="one API process",
            baseline=found["one process"],
            note="one tenant: its commands take turns at one log, whatever the processes",
        )
    ]


async def _raw_batches(bench: Bench) -> list[baselines.Batch]:
    """Return event rows of the main installation's log, and a place to insert them again."""
    ours = await bench.main()
    connection = await asyncpg.connect(**ours.database.administrator)
    try:
        if await connection.fetchval("SELECT to_regclass('bench.event')") is None:
            await prepare_baselines(ours.database)
        return await baselines.read_batches(connection, RAW_BATCHES)
    finally:
        await connection.close()
