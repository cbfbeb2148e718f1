"""Costing: a receipt recorded late into a product with a long history, and the month after it.

In this process, on a database of its own, without HTTP: measured is the append through the
committer, the fold of the valuation, and the cost of goods sold of a month behind the receipt,
one after the other. Beside it is what others do: the receipt is posted at its place, and every
movement behind it is read, costed again by moving average, and its row updated.

Then the same by moving average, where it is at its worst: stock is never at zero, so that a late
receipt changes all days behind it.
"""

import contextlib
import gc
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import uuid4

from deploy.running import collect_seldom
from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger.domain.decision import Refusal
from ledger.ports import Meta
from ledger.store import Connection, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections.following import catch_up
from projections.valuation import Valuation
from projections.valuation_queries import cogs_of_products
from schemas.books import ConfigureBooks
from schemas.common import Command
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock, IssueStock, ReceiveStock
from tests.bench.plan import Bench
from tests.bench.report import Figure

YEARS: Final = 3
ALLOWED_MS: Final = 50.0
BULK_COMMANDS: Final = 1_000
NAIVE_BATCH: Final = 5_000
NAIVE_ROUNDS: Final = 3
_META: Final = Meta(actor="key:1", source="bench", actor_name="Bench")
_VALUATION: Final = Valuation()


class Timed(NamedTuple):
    """What one receipt took, in ms."""

    append: float
    fold: float
    cogs: float

    @property
    def whole(self) -> float:
        """All of it."""
        return sum(self)


async def backdating(bench: Bench) -> list[Figure]:
    """A late receipt and the month after it: p99 in ms, and against posting all again."""
    movements = bench.size.many_events // 5
    rounds = 60 * bench.durations.rounds
    settings = Settings(data_dir=bench.folder / "valuation", log_level="warning")
    async with open_ledger(settings) as house:
        clerk = await Clerk.hired(house, movements)
        await clerk.fill(bench.counting("receiving and selling", movements))
        bench.progress("folding the valuation")
        began = time.perf_counter()
        await clerk.fold()
        fold_rate = movements / (time.perf_counter() - began)
        async with house.admin() as connection:
            await connection.execute("ANALYZE")
        bench.progress("late receipts")
        with _collecting_as_the_service():
            for _ in range(10):
                await clerk.receive_late()
            taken = [await clerk.receive_late() for _ in range(rounds)]
        bench.progress("checking a year's cost of goods sold")
        await clerk.check()
        bench.progress("posting all again")
        naive = [await clerk.post_again() for _ in range(NAIVE_ROUNDS)]
        bench.progress("costing all by moving average")
        await clerk.do(ConfigureBooks(valuation_method="average"))
        await clerk.fold()
        bench.progress("late receipts by moving average")
        averaged = [await clerk.receive_late(middle=True) for _ in range(NAIVE_ROUNDS)]
    p99 = _percentile([each.whole for each in taken], 99)
    parts = ", ".join(
        f"{name} {statistics.median(getattr(each, name) for each in taken):.1f}"
        for name in Timed._fields
    )
    what = f"a late receipt among {movements:,} movements, its fold, and a month's COGS"
    return [
        Figure(
            name=f"{what}, p99",
            unit="ms",
            ours=p99,
            against="what is allowed",
            baseline=ALLOWED_MS,
            limit=1.0,
            better="lower",
            note=f"{rounds} receipts at random days of {YEARS} years; medians in ms: {parts}. The "
            f"history was folded at {fold_rate:,.0f} movements a second",
        ),
        Figure(
            name=f"{what}, median",
            unit="ms",
            ours=statistics.median(each.whole for each in taken),
            against="posting all later movements again",
            baseline=statistics.median(naive),
            limit=0.05,
            better="lower",
            note="by moving average, in one pass over the rows and one update of each; "
            f"{NAIVE_ROUNDS} times, at the middle of the history",
        ),
        Figure(
            name="the same by moving average, with no zero-stock point behind the receipt, median",
            unit="ms",
            ours=statistics.median(each.whole for each in averaged),
            against="posting all later movements again",
            baseline=statistics.median(naive),
            limit=1.0,
            better="lower",
            note=f"{NAIVE_ROUNDS} receipts at the middle of the history; all of it is the fold, in "
            "the follower: the append and the month's cost of goods sold took "
            f"{max(each.append + each.cogs for each in averaged):.0f} ms at most",
        ),
    ]


@contextlib.contextmanager
def _collecting_as_the_service() -> Generator[None]:
    """Let the garbage collector go about as it does where the service runs."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


class Clerk:
    """Keeps the stock of one product at one place, by first in first out."""

    def __init__(self, house: House, tenant_id: int, movements: int) -> None:
        self.tenant_id = tenant_id
        self._house = house
        self._movements = movements
        self._random = random.Random(7)
        self._last = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        self._first = self._last - timedelta(days=365 * YEARS)

    @classmethod
    async def hired(cls, house: House, movements: int) -> "Clerk":
        """Make a tenant with the product, the place and the method."""
        async with house.admin() as connection:
            tenant_id: int = await connection.fetchval(
                "SELECT ledger.create_tenant($1, $1, 'UTC', $2, $3)",
                "costs", uuid4(), datetime.now(UTC),
            )  # fmt: skip
        clerk = cls(house, tenant_id, movements)
        await clerk.do(
            OpenLocation(name="Bench", code="BENCH"),
            RegisterProduct(name="W", sku="W", base_price=Decimal(9), cost_price=Decimal(2)),
            ConfigureBooks(valuation_method="fifo"),
        )
        return clerk

    async def do(self, *commands: Command) -> None:
        """Have commands committed together."""

        def render(outcomes: Sequence[Outcome]) -> Rendered:
            for outcome in outcomes:
                assert not isinstance(outcome.refusal, Refusal), outcome.refusal
            return Rendered(200, b"{}")

        await self._house.committer.submit(
            Submission(
                tenant_id=self.tenant_id,
                items=[Item(command) for command in commands],
                meta=_META,
                render=render,
            )
        )

    async def fill(self, on_done: Callable[[int], None]) -> None:
        """Receive and sell in the order of time: a receipt for ten sales, now and then a loss."""
        step = (self._last - self._first) / (self._movements + 1)
        batches = range(0, self._movements, BULK_COMMANDS)
        for first in batches:
            numbers = range(first, min(first + BULK_COMMANDS, self._movements))
            await self.do(*(self._movement(n, self._first + step * n) for n in numbers))
            on_done(numbers.stop)

    def _movement(self, number: int, at: datetime) -> Command:
        if number % 11 == 0:
            return self._receipt(Decimal(16), at)
        if number % 20_000 == 7:
            return AdjustStock(product_id=1, location_id=1, quantity=Decimal(-1), effective_at=at)
        quantity = Decimal(1 + number % 2)
        return IssueStock(product_id=1, location_id=1, quantity=quantity, effective_at=at)

    def _receipt(self, quantity: Decimal, at: datetime) -> Command:
        cost = Decimal(self._random.randrange(100, 400)) / 100
        return ReceiveStock(
            product_id=1, location_id=1, quantity=quantity, unit_cost=cost, effective_at=at
        )

    async def fold(self) -> None:
        """Bring the valuation up to the log."""
        await catch_up(self._house.pool, _VALUATION, self.tenant_id)

    async def receive_late(self, *, middle: bool = False) -> Timed:
        """Receive at a random day, or at the middle; fold; ask what the month behind it cost."""
        share = 0.5 if middle else self._random.random()
        at = self._first + (self._last - self._first) * share
        command = self._receipt(Decimal(5), at)
        last = at.date() + timedelta(days=30)
        pool = self._house.pool

        async def cogs() -> None:
            async with tenant_transaction(pool, self.tenant_id) as connection:
                found = await cogs_of_products(connection, self.tenant_id, at.date(), last)
            assert found, "something was sold in every month"

        return Timed(
            await _took(self.do(command)),
            await _took(self.fold()),
            await _took(cogs()),
        )

    async def check(self) -> None:
        """Hold a year to a queue that is walked from the first movement on."""
        year = self._last.year - 1
        first, last = date(year, 1, 1), date(year, 12, 31)
        queue: deque[list[Fraction]] = deque()
        cogs = Fraction(0)
        async with tenant_transaction(self._house.pool, self.tenant_id) as connection:
            (ours,) = await cogs_of_products(connection, self.tenant_id, first, last)
            rows = await connection.fetch(
                """
                SELECT effective_at, type, data ->> 'quantity', data ->> 'unit_cost'
                FROM ledger.event WHERE tenant_id = $1 AND stream = 'stock-1-1'
                ORDER BY effective_at::date, effective_at, position
                """,
                self.tenant_id,
            )
        for at, kind, text, unit_cost in rows:
            quantity = Fraction(text)
            if kind == "StockReceived":
                queue.append([quantity, Fraction(unit_cost)])
                continue
            wanted, cost = abs(quantity), Fraction(0)
            while wanted:
                taken = min(wanted, queue[0][0])
                cost += taken * queue[0][1]
                wanted -= taken
                queue[0][0] -= taken
                if not queue[0][0]:
                    queue.popleft()
            if kind == "StockIssued" and first <= at.date() <= last:
                cogs += cost
        assert round(cogs, 2) == round(Fraction(ours.cogs), 2), (ours, float(cogs))

    async def post_again(self) -> float:
        """Do it by a running balance and value on each row; return what it took in ms."""
        async with self._house.admin() as connection:
            await _prepare_naive(connection, self.tenant_id)
            middle = self._first + (self._last - self._first) / 2
            return await _took(_post_again(connection, middle))


async def _took(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1000


async def _prepare_naive(connection: Connection, tenant_id: int) -> None:
    await connection.execute(
        f"""
        SELECT set_config('ledger.tenant', '{int(tenant_id)}', false);
        DROP TABLE IF EXISTS public.posted;
        CREATE TABLE public.posted AS
        SELECT row_number() OVER (ORDER BY effective_at, position) AS number, effective_at,
               CASE WHEN kind = 'receipt' THEN quantity ELSE -quantity END AS quantity, cost,
               sum(CASE WHEN kind = 'receipt' THEN quantity ELSE -quantity END)
                   OVER (ORDER BY effective_at, position) AS balance, 0::numeric AS value
        FROM projections.cost_movement WHERE tenant_id = {int(tenant_id)};
        ALTER TABLE public.posted ADD PRIMARY KEY (number);
        CREATE INDEX ON public.posted (effective_at);
        ANALYZE public.posted;
        """
    )


async def _post_again(connection: Connection, at: datetime) -> None:
    """Go through the rows behind a time: read, cost by moving average, update."""
    async with connection.transaction():
        first: int | None = await connection.fetchval(
            "SELECT min(number) FROM public.posted WHERE effective_at > $1", at
        )
        assert first is not None, "half of the history is behind it"
        quantity, value = Decimal(5), Decimal(10)
        numbers: list[int] = []
        balances: list[Decimal] = []
        values: list[Decimal] = []

        async def write() -> None:
            await connection.execute(
                """
                UPDATE public.posted p SET balance = n.balance, value = n.value
                FROM unnest($1::bigint[], $2::numeric[], $3::numeric[])
                    AS n (number, balance, value)
                WHERE p.number = n.number
                """,
                numbers,
                balances,
                values,
            )
            numbers.clear()
            balances.clear()
            values.clear()

        rows = await connection.fetch(
            "SELECT number, quantity, cost FROM public.posted WHERE number >= $1 ORDER BY number",
            first,
        )
        for number, moved, cost in rows:
            if moved > 0:
                value += cost
            elif quantity > 0:
                value += value * moved / quantity
            quantity += moved
            numbers.append(number)
            balances.append(quantity)
            values.append(round(value, 6))
            if len(numbers) >= NAIVE_BATCH:
                await write()
        if numbers:
            await write()
