"""The dashboard over very many orders.

Its tables are filled by SQL, past the log: what is measured is how a read scales with them.
"""

from collections.abc import Awaitable, Callable

import asyncpg

from tests.bench.load import Lane
from tests.bench.measure import in_turn, load
from tests.bench.plan import SPREAD_PRODUCTS, Bench
from tests.bench.report import Figure
from tests.bench.servers import API_KEY, Installation

ORDER_LINES = 1_000_000
ORDERS = 400_000
"""A thousand a day and more, for a year."""
LIMIT_MS = 50.0

_FILL = f"""
INSERT INTO projections.sales_order
    (tenant_id, order_id, order_number, status, channel, allocation, total_amount,
     cancelled_amount, item_count, ordered_at, recorded_at, version, position)
SELECT t.tenant_id, n, 'ORD-' || n, CASE WHEN n % 1000 = 0 THEN 'paid' ELSE 'shipped' END, 'api',
       'default', 149.97, 0, 3, at, at, 1, n
FROM (SELECT tenant_id FROM ledger.head LIMIT 1) t, generate_series(1, {ORDERS}) AS n,
     LATERAL (SELECT date_trunc('day', now()) + interval '1 day'
                     - (366.0 * ({ORDERS} - n + 1) / {ORDERS}) * interval '1 day' AS at) times;
INSERT INTO projections.order_line
    (tenant_id, order_id, order_item_id, product_id, ordered, open, reserved, fulfilled, cancelled,
     returned, unit_price, price_source)
SELECT t.tenant_id, 1 + n % {ORDERS}, (1 + n % {ORDERS}) * 1000 + 1 + n / {ORDERS},
       1 + n % {SPREAD_PRODUCTS}, 1, 0, 0, 1, 0, 0, 49.99, 'list'
FROM (SELECT tenant_id FROM ledger.head LIMIT 1) t, generate_series(0, {ORDER_LINES - 1}) AS n;
"""


async def dashboard(bench: Bench) -> list[Figure]:
    """One dashboard after the other on one connection."""
    ours = await bench.install("reports")
    await bench.grow(ours, SPREAD_PRODUCTS)
    bench.progress(f"filling {ORDER_LINES:,} order lines")
    await _fill(ours)
    await ours.settle()
    lane = Lane(
        name="dashboard",
        connections=1,
        kind="read",
        options={"path": "/api/reports/dashboard", "products": SPREAD_PRODUCTS},
    )

    def slowest() -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            results = await load(ours.server.port, API_KEY, [lane], durations=bench.durations)
            return results[lane.name].p99_ms

        return measure

    found = await in_turn({"dashboard": slowest()}, bench.durations.rounds, bench.progress)
    return [
        Figure(
            name=f"dashboard with {ORDER_LINES:,} order lines, p99",
            unit="ms",
            ours=found["dashboard"],
            against="what it may take",
            baseline=LIMIT_MS,
            limit=1.0,
            better="lower",
            note=f"{ORDERS:,} orders of a year, a whole day's for today among them, one in a "
            f"thousand open; {SPREAD_PRODUCTS:,} products",
        )
    ]


async def _fill(where: Installation) -> None:
    connection = await asyncpg.connect(**where.database.administrator)
    try:
        await connection.execute(_FILL)
    finally:
        await connection.close()
