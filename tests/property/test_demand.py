"""Demand on a real database against plain Python, whatever lines come in whatever batches."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.domain.decision import RecordedEvent
from ledger.store import Connection
from projections.demand import Demand, DemandFilter, demand_by_period, period_start
from projections.products import Products
from schemas.common import Event
from schemas.demand import DemandLine, DemandRecorded, ImportBatchReversed
from schemas.product import ProductRegistered
from tests.support.naive_demand import demand_by_day, grouped, spread
from tests.support.postgres import TestServer, create_tenant

DEMAND = Demand()
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SCALES = {1: 0, 2: 2, 3: 6}
FIRST, LAST = date(2028, 1, 20), date(2028, 5, 10)
PERIODS = ("day", "week", "month")

days = st.dates(date(2028, 1, 1), date(2028, 5, 31))
lines = st.tuples(
    st.sampled_from(list(SCALES)),
    st.integers(1, 10**7),
    days,
    st.sampled_from(PERIODS),
)
batches = st.lists(
    st.tuples(st.lists(st.lists(lines, max_size=6), min_size=1, max_size=3), st.booleans()),
    min_size=1,
    max_size=3,
)
SETTINGS = settings(
    max_examples=40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Desk:
    """A connection of a loop of its own, for tests that Hypothesis calls many times."""

    def __init__(self, runner: asyncio.Runner, connection: Connection, tenant_id: int) -> None:
        self.runner = runner
        self.connection = connection
        self.tenant_id = tenant_id

    @asynccontextmanager
    async def fresh(self) -> AsyncGenerator[Connection]:
        """Give a transaction of the tenant's with three products, undone at its end."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            await self.connection.execute(
                "SELECT set_config('ledger.tenant', $1, true)", str(self.tenant_id)
            )
            products: list[Event] = [
                ProductRegistered(
                    product_id=number, name=f"P{number}", sku=f"P{number}", base_price=Decimal(1),
                    scale=scale,
                )
                for number, scale in SCALES.items()
            ]  # fmt: skip
            await Products().apply(
                self.connection, "projections", self.tenant_id, recorded(products)
            )
            yield self.connection
        finally:
            await transaction.rollback()


@pytest.fixture(scope="module")
def desk(postgres: TestServer) -> Iterator[Desk]:
    """A fresh database with one tenant."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> Desk:
            address = await stack.enter_async_context(postgres.fresh_database())
            tenant_id = await create_tenant(address)
            connection = await asyncpg.connect(**address.app)
            stack.push_async_callback(connection.close)
            return Desk(runner, connection, tenant_id)

        yield runner.run(begin())
        runner.run(stack.aclose())


def recorded(events: list[Event]) -> list[RecordedEvent]:
    """Return events as the log has them."""
    return [
        RecordedEvent(position, "s", position, event, NOW, NOW)
        for position, event in enumerate(events, 1)
    ]


def quantity(product_id: int, units: int) -> Decimal:
    """Return so many units of a product's scale."""
    return Decimal(units).scaleb(-SCALES[product_id])


def written(told: list[Any]) -> list[Event]:
    """Return batches as events: their chunks, and that some were reversed."""
    events: list[Event] = []
    for number, (chunks, is_reversed) in enumerate(told):
        for nth, chunk in enumerate(chunks):
            listed = tuple(
                DemandLine(
                    line=n, product_id=product_id, quantity=quantity(product_id, units),
                    order_date=day, period=period,
                )
                for n, (product_id, units, day, period) in enumerate(chunk, 1)
            )  # fmt: skip
            events.append(
                DemandRecorded(
                    batch_id=f"b{number}", chunk=nth, first_line=1, last_line=9, digest="",
                    lines=listed,
                )
            )  # fmt: skip
        if is_reversed:
            events.append(ImportBatchReversed(batch_id=f"b{number}"))
    return events


async def fold(desk: Desk, connection: Connection, events: list[RecordedEvent]) -> None:
    """Fold one batch of the log."""
    await DEMAND.apply(connection, "projections", desk.tenant_id, events)


async def report(
    desk: Desk, connection: Connection, group_by: Any, first: date = FIRST, last: date = LAST
) -> dict[tuple[str, date], Decimal]:
    """Return the report of all products."""
    rows, total, whole = await demand_by_period(
        connection, desk.tenant_id, DemandFilter(first, last), group_by, 100_000, 0
    )
    assert total == len(rows)
    assert whole == sum(row["quantity"] for row in rows)
    return {(row["sku"], row["period"]): row["quantity"] for row in rows}


@given(told=batches)
@SETTINGS
def test_the_report_is_what_plain_python_makes_of_the_lines(desk: Desk, told: list[Any]) -> None:
    """By day, week and month, without the reversed batches, over a range that cuts periods."""
    left = [
        (f"P{product_id}", quantity(product_id, units), day, period)
        for chunks, is_reversed in told
        if not is_reversed
        for chunk in chunks
        for product_id, units, day, period in chunk
    ]
    by_day = demand_by_day(left, {f"P{number}": scale for number, scale in SCALES.items()})

    async def check() -> None:
        async with desk.fresh() as connection:
            await fold(desk, connection, recorded(written(told)))
            for group_by in PERIODS:
                expected = grouped(by_day, FIRST, LAST, group_by)
                assert await report(desk, connection, group_by) == expected
            whole = date(2027, 12, 1), date(2028, 7, 1)
            found = await report(desk, connection, "month", *whole)
            assert sum(found.values()) == sum(line[1] for line in left)

    desk.runner.run(check())


@given(told=batches, cuts=st.sets(st.integers(0, 15)), order=st.randoms(use_true_random=False))
@SETTINGS
def test_batches_of_whatever_sizes_fold_alike(
    desk: Desk, told: list[Any], cuts: set[int], order: Any
) -> None:
    """The log in one piece or in many; and the batches in another order give the same report."""
    events = recorded(written(told))
    shuffled = list(told)
    order.shuffle(shuffled)

    async def rows(pieces: list[list[RecordedEvent]]) -> list[Any]:
        async with desk.fresh() as connection:
            for piece in pieces:
                await fold(desk, connection, piece)
            found = await connection.fetch("TABLE projections.demand ORDER BY 1, 2, 3, 4, 5")
            return [[tuple(row) for row in found], await report(desk, connection, "day")]

    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(events)), len(events)]
    whole = desk.runner.run(rows([events]))
    assert desk.runner.run(rows([events[a:b] for a, b in pairwise(edges)])) == whole
    other = desk.runner.run(rows([recorded(written(shuffled))]))
    assert other[1] == whole[1]


@given(
    product_id=st.sampled_from(list(SCALES)),
    units=st.lists(st.integers(1, 10**11), min_size=1, max_size=5),
    day=days,
    period=st.sampled_from(PERIODS),
)
@SETTINGS
def test_a_period_adds_up_exactly_and_its_days_are_within_one_unit(
    desk: Desk, product_id: int, units: list[int], day: date, period: Any
) -> None:
    """However many lines it was told in; the earliest days have what is left over."""
    chunk = [(product_id, each, day, period) for each in units]

    async def found() -> dict[tuple[str, date], Decimal]:
        async with desk.fresh() as connection:
            await fold(desk, connection, recorded(written([([chunk], False)])))
            return await report(desk, connection, "day", date(2027, 12, 1), date(2028, 7, 1))

    shares = [quantity for _, quantity in sorted(desk.runner.run(found()).items())]
    unit = Decimal(1).scaleb(-SCALES[product_id])
    assert sum(shares) == sum(quantity(product_id, each) for each in units)
    assert max(shares) - min(shares) <= unit
    assert shares == sorted(shares, reverse=True)


@given(amount=st.integers(1, 10**12), parts=st.integers(1, 31), scale=st.integers(0, 6))
def test_the_plain_spread_is_as_even_as_can_be(amount: int, parts: int, scale: int) -> None:
    """What the database is held to is itself held to the rule."""
    total = Decimal(amount).scaleb(-scale)
    shares = spread(total, parts, scale)
    assert sum(shares) == total
    assert max(shares) - min(shares) <= Decimal(1).scaleb(-scale)
    assert shares == sorted(shares, reverse=True)


@given(day=days)
def test_weeks_begin_on_monday(day: date) -> None:
    """And months on the first."""
    assert period_start(day, "week").weekday() == 0
    assert 0 <= (day - period_start(day, "week")).days <= 6
    assert period_start(day, "month") == date(day.year, day.month, 1)
    assert period_start(day, "day") == day
