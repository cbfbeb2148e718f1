"""Stock at any moment, with very many movements of one product at one place.

In this process, on a database of its own; requests go through the whole application, but not over
a socket, one after the other. The log is filled by SQL, past the committer, and folded as it is
in the service. A third of the movements are recorded late, by up to three years, at random.
"""

import logging
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger.store import tenant_transaction
from projections.following import catch_up
from projections.projection import SCHEMA
from projections.stock_history import StockHistory
from tests.bench.plan import Bench
from tests.bench.report import Figure
from tests.support.api import Service, running_service

YEARS: Final = 3
ALLOWED_MS: Final = 50.0
PRODUCTS: Final = 50
MOVEMENTS_OF_OTHERS: Final = 2_000
FILLED_AT_ONCE: Final = 100_000
CHECKED: Final = 10

# $1 tenant, $2 position before the first, $3 how many, $4 product, $5 version before the first,
# $6 when the first is recorded, $7 how long after one another, $8 how many seconds late at most.
_FILL: Final = """
INSERT INTO ledger.event
SELECT $1, $2::bigint + n, 'stock-' || $4::bigint || '-1', $5::bigint + n,
       CASE WHEN ($5 + n) % 7 = 1 THEN 'StockReceived' ELSE 'StockIssued' END, 2,
       CASE WHEN ($5 + n) % 7 = 1
            THEN json_build_object('product_id', $4::bigint, 'location_id', 1, 'quantity', '16')
            ELSE json_build_object(
                'product_id', $4::bigint, 'location_id', 1, 'quantity', (1 + n % 2)::text || '.25'
            ) END,
       '{"actor":"key:1","source":"bench"}',
       CASE WHEN random() < 1 / 3.0 THEN at - random() * $8::integer * interval '1 second'
            ELSE at END,
       at, decode(repeat('00', 32), 'hex')
FROM generate_series(1, $3::bigint) AS n,
     LATERAL (SELECT $6::timestamptz + ($5 + n) * $7::interval AS at) times
"""

_REPLAYED: Final = """
SELECT coalesce(sum(CASE type WHEN 'StockReceived' THEN (data ->> 'quantity')::numeric
                              ELSE -(data ->> 'quantity')::numeric END), 0)
FROM ledger.event
WHERE tenant_id = $1 AND stream = $2 AND position <= $3 AND effective_at <= $4
"""


async def moments(bench: Bench) -> list[Figure]:
    """One SKU at one place, and a page of 50 levels, at random moments: p99 in ms."""
    movements = bench.size.many_events
    logging.getLogger("httpx").setLevel(logging.WARNING)
    settings = Settings(data_dir=bench.folder / "bitemporal", log_level="warning")
    async with open_ledger(settings) as house, running_service(house) as service:
        asker = Asker(service, movements)
        await asker.prepare()
        await asker.fill(bench)
        bench.progress("folding the history of stock")
        began = time.perf_counter()
        await catch_up(house.pool, StockHistory(), service.tenant_id)
        rate = asker.filled / (time.perf_counter() - began)
        async with house.admin() as connection:
            await connection.execute("VACUUM ANALYZE")
        size = await _bytes(house)
        bench.progress("checking some moments")
        for _ in range(CHECKED):
            await asker.check()
        rounds = bench.durations.rounds
        bench.progress("asking for one SKU")
        singles = await asker.ask_often(asker.single, 400 * rounds)
        bench.progress("asking for pages")
        pages = await asker.ask_often(asker.page, 100 * rounds)
    note = (
        f"{asker.filled:,} movements in all, folded at {rate:,.0f} a second into "
        f"{size / asker.filled:.0f} bytes each; "
    )
    return [
        _figure(
            f"one SKU at one place with {movements:,} movements, at a random moment, p99",
            singles,
            note,
        ),
        _figure(
            f"a page of {PRODUCTS} levels with {movements:,} movements of one, at a random moment, "
            "p99",
            pages,
            note,
        ),
    ]


def _figure(name: str, taken: Sequence[float], note: str) -> Figure:
    return Figure(
        name=name,
        unit="ms",
        ours=sorted(taken)[math.ceil(len(taken) * 0.99) - 1],
        against="what it may take",
        baseline=ALLOWED_MS,
        limit=1.0,
        better="lower",
        note=f"{note}median {statistics.median(taken):.1f} ms of {len(taken):,} requests",
    )


async def _bytes(house: House) -> int:
    async with house.admin() as connection:
        return sum(
            [
                await connection.fetchval("SELECT pg_total_relation_size($1)", f"{SCHEMA}.{table}")
                for table in StockHistory.tables
            ]
        )


class Asker:
    """Fills a tenant's log, and asks for moments of it."""

    def __init__(self, service: Service, movements: int) -> None:
        self.filled = movements + (PRODUCTS - 1) * MOVEMENTS_OF_OTHERS
        self._service = service
        self._movements = movements
        self._random = random.Random(11)
        self._last = datetime.now(UTC) - timedelta(days=1)
        self._first = self._last - timedelta(days=365 * YEARS)
        self._before = 0
        self._head = 0

    async def prepare(self) -> None:
        """Register the products and open the place."""
        for number in range(1, PRODUCTS + 1):
            body = {"name": f"P{number}", "sku": f"P{number}", "base_price": "1"}
            assert (await self._service.post("/api/products", body)).status_code == 201
        place = await self._service.post("/api/warehouses", {"name": "Bench", "code": "BENCH"})
        assert place.status_code == 201, place.text
        self._before = (await self._service.get("/api/ledger/head")).json()["position"]

    async def fill(self, bench: Bench) -> None:
        """Write the movements into the log: those of the other products, then the many."""
        position = self._before
        done = bench.counting("filling the log", self.filled)
        house, tenant_id = self._service.house, self._service.tenant_id
        for product in (*range(2, PRODUCTS + 1), 1):
            count = self._movements if product == 1 else MOVEMENTS_OF_OTHERS
            step = (self._last - self._first) / (count + 1)
            for first in range(0, count, FILLED_AT_ONCE):
                some = min(FILLED_AT_ONCE, count - first)
                async with tenant_transaction(house.pool, tenant_id) as connection:
                    await connection.execute(
                        _FILL, tenant_id, position, some, product, first, self._first, step,
                        YEARS * 365 * 86_400,
                    )  # fmt: skip
                position += some
                done(position - self._before)
        async with tenant_transaction(house.pool, tenant_id) as connection:
            await connection.execute(
                "UPDATE ledger.head SET position = $2 WHERE tenant_id = $1", tenant_id, position
            )
        async with house.admin() as connection:
            await connection.execute("VACUUM ANALYZE ledger.event")
        self._head = position

    def _moment(self) -> tuple[int, datetime]:
        position = self._random.randrange(self._before, self._head + 1)
        return position, self._first + (self._last - self._first) * self._random.random()

    def single(self) -> str:
        """Return a path that asks for one SKU."""
        position, as_of = self._moment()
        time_then = quote(as_of.isoformat())
        return f"/api/stock/P1?location=BENCH&known_at={position}&as_of={time_then}"

    def page(self) -> str:
        """Return a path that asks for a page of levels, when all of them had begun."""
        position, as_of = self._moment()
        position = max(position, self._before + (PRODUCTS - 1) * MOVEMENTS_OF_OTHERS + 1)
        return f"/api/inventory?limit=50&known_at={position}&as_of={quote(as_of.isoformat())}"

    async def ask_often(self, path: Callable[[], str], times: int) -> list[float]:
        """Return how long each of some requests took, in ms, after some that are not counted."""
        taken: list[float] = []
        for number in range(times + 50):
            where = path()
            began = time.perf_counter()
            response = await self._service.client.get(
                where, headers={"X-API-Key": self._service.api_key}
            )
            assert response.status_code == 200, response.text
            if number >= 50:
                taken.append((time.perf_counter() - began) * 1000)
        return taken

    async def check(self) -> None:
        """Hold a random moment to a sum over the log."""
        position, as_of = self._moment()
        tenant_id = self._service.tenant_id
        async with tenant_transaction(self._service.house.pool, tenant_id) as connection:
            expected: Decimal = await connection.fetchval(
                _REPLAYED, tenant_id, "stock-1-1", position, as_of
            )
        path = f"/api/stock/P1?location=BENCH&known_at={position}&as_of={quote(as_of.isoformat())}"
        found = (await self._service.get(path)).json()["on_hand"]
        assert Decimal(str(found)) == expected, (found, expected)
