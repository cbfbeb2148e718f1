"""Any figure of any read model, explained: the steps are those at which a naive fold changes it."""

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date, datetime
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest

from deploy.wiring import House
from ledger.store import tenant_transaction
from projections import explaining, figures
from projections.explaining_fold import Explanation, TooManyEvents
from projections.figures import Figure, ReadModel, Row
from projections.following import catch_up
from projections.log_reading import Batch
from projections.past import PAST, Moment, empty_tables, fold_batch, read_past
from projections.projection import Connection, Projection
from projections.reach import Span, Wanted
from projections.valuation_queries import cogs_of_products, inventory_value
from tests.support.api import running_service
from tests.support.auditing import busy_shop

SINGLY = 40
"""How many of the newest events the naive fold looks at one by one."""
ROWS_EACH = 2
Key = tuple[Any, ...]
Rows = dict[Key, Row]
Told = list[tuple[int, Row | None, Row | None]]


class Shop(NamedTuple):
    """A tenant with something of everything in its log."""

    house: House
    tenant_id: int
    head: int


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Shop]:
    """The made-up shop after some weeks."""
    async with running_service(house) as service:
        head = await busy_shop(house, service)
        yield Shop(house, service.tenant_id, head)


class Naive:
    """Every row of a projection's tables after each event, and so what each event changed."""

    def __init__(self, models: dict[str, ReadModel], projection: Projection) -> None:
        self.models = {name: models[name] for name in projection.tables}
        self.projection = projection
        self.told: dict[str, dict[Key, Told]] = {name: defaultdict(list) for name in self.models}
        self.rows: dict[str, Rows] = {}
        self.snapshots: dict[int, dict[str, Rows]] = {}

    async def fold(
        self, connection: Connection, tenant_id: int, moment: Moment, since: int
    ) -> None:
        """Fold up to ``since`` at once, and then one event at a time."""
        await empty_tables(connection, [self.projection])
        await connection.execute("SAVEPOINT naive")
        types = frozenset(kind.TYPE for kind in self.projection.event_types)
        async for batch in read_past(connection, tenant_id, moment, types):
            early = [event for event in batch.events if event.position <= since]
            await fold_batch(connection, PAST, tenant_id, [self.projection], Batch(since, early))
            self.rows = await self._look(connection, tenant_id)
            for event in batch.events:
                if event.position > since:
                    one = Batch(event.position, [event])
                    await fold_batch(connection, PAST, tenant_id, [self.projection], one)
                    self._compare(event.position, await self._look(connection, tenant_id))
        await connection.execute("ROLLBACK TO SAVEPOINT naive; RELEASE SAVEPOINT naive")

    async def _look(self, connection: Connection, tenant_id: int) -> dict[str, Rows]:
        found: dict[str, Rows] = {}
        for name, model in self.models.items():
            columns = ", ".join(model.columns)
            rows = await connection.fetch(
                f"SELECT {columns} FROM {PAST}.{name} WHERE tenant_id = $1", tenant_id
            )
            found[name] = {
                tuple(row[column] for column in model.key): figures.row_of(model, row)
                for row in rows
            }
        return found

    def _compare(self, position: int, rows: dict[str, Rows]) -> None:
        for name, after in rows.items():
            before = self.rows[name]
            for key in before.keys() | after.keys():
                if before.get(key) != after.get(key):
                    self.told[name][key].append((position, before.get(key), after.get(key)))
        self.rows = rows
        self.snapshots[position] = rows


@pytest.mark.parametrize("bounded", [False, True], ids=["all that is known", "as of a time"])
async def test_steps_are_where_a_naive_fold_changes_the_row(shop: Shop, bounded: bool) -> None:
    """For every table: some rows that changed lately, and some that did not."""
    random = Random(5)
    compared: set[str] = set()
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        models = await figures.read_models(connection, list(figures.tables()))
        as_of = await _middle(connection, shop.tenant_id) if bounded else None
        moment, since = Moment(shop.head, as_of), shop.head - SINGLY
        for projection in dict.fromkeys(figures.tables().values()):
            if projection.name == "star":  # Copies of the others' rows, by the others' folds.
                continue
            naive = Naive(models, projection)
            await naive.fold(connection, shop.tenant_id, moment, since)
            for name, model in naive.models.items():
                changed = sorted(naive.told[name], key=repr)
                still = sorted(naive.rows.get(name, {}).keys() - set(changed), key=repr)
                few = len(changed) if name == "stock_level" else ROWS_EACH
                picked = random.sample(changed, min(few, len(changed)))
                picked += random.sample(still, min(1, len(still)))
                for key in picked:
                    figure = Figure(model, dict(zip(model.key, key, strict=True)))
                    made = await explaining.explain(
                        connection, shop.tenant_id, figure, moment, limit=explaining.STEPS_MAX
                    )
                    told = [
                        (step.event.position, step.before, step.after)
                        for step in reversed(made.steps)
                        if step.event.position > since
                    ]
                    assert told == naive.told[name].get(key, []), (name, key)
                    assert made.figure == naive.rows[name].get(key), (name, key)
                    compared.add(name)
    if not bounded:
        assert {
            "stock_level", "movement", "reservation", "stock_by_day", "sales_day", "cost_day",
            "cost_average", "cost_product", "demand", "lot_level", "serial", "sales_order",
            "order_line", "purchase_order", "product", "alias",
        } <= compared  # fmt: skip


async def _middle(connection: Connection, tenant_id: int) -> datetime:
    return await connection.fetchval(
        """
        SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY effective_at) FROM ledger.event
        WHERE tenant_id = $1 AND type = 'StockIssued'
        """,
        tenant_id,
    )


async def _figure(connection: Connection, name: str, **wanted: Any) -> Figure:
    models = await figures.read_models(connection, [name])
    return Figure(models[name], wanted)


async def _busiest(connection: Connection, tenant_id: int) -> int:
    return await connection.fetchval(
        """
        SELECT product_id FROM projections.movement WHERE tenant_id = $1
        GROUP BY product_id ORDER BY count(*) DESC, product_id LIMIT 1
        """,
        tenant_id,
    )


def positions(made: Explanation) -> list[int]:
    """Return the positions of steps."""
    return [step.event.position for step in made.steps]


async def test_pages_make_up_the_whole(shop: Shop) -> None:
    """Each leads to the next, where the figure before the oldest step is the next one's own."""
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        product_id = await _busiest(connection, shop.tenant_id)
        figure = await _figure(connection, "stock_level", product_id=product_id, location_id=1)
        moment = Moment(shop.head)
        whole = await explaining.explain(connection, shop.tenant_id, figure, moment)
        assert whole.before is None
        assert whole.brought_forward is None
        assert len(whole.steps) > 14
        seen: list[int] = []
        before: int | None = None
        at = whole.figure
        for _ in range(len(whole.steps) + 1):
            page = await explaining.explain(
                connection, shop.tenant_id, figure, moment, before=before, limit=7
            )
            assert page.figure == at
            assert len(page.steps) <= 7
            seen += positions(page)
            before, at = page.before, page.brought_forward
            if before is None:
                break
        assert seen == positions(whole)


async def test_a_part_of_the_key_is_the_sum_of_its_rows(shop: Shop) -> None:
    """With running values, and where only a span of days is asked for."""
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        product_id = await _busiest(connection, shop.tenant_id)
        span = Span(date(2020, 1, 1), None)
        figure = await _figure(connection, "stock_by_day", product_id=product_id, day=span)
        made = await explaining.explain(connection, shop.tenant_id, figure, Moment(shop.head))
        rows = await explaining.rows_at(connection, shop.tenant_id, figure, Moment(shop.head))
        assert made.figure is not None
        assert made.figure["rows"] == len(rows) > 1
        for name in figure.model.summed:
            assert made.figure[name] == sum(row[name] for row in rows)
        running = [step.after["change"] for step in made.steps if step.after is not None]
        assert len(set(running)) > 1


async def test_what_is_worked_out_is_explained_too(shop: Shop) -> None:
    """The last running value is the report's own figure; each step changed it."""
    told: dict[str, Row] = {}
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        product_id = await _busiest(connection, shop.tenant_id)
        for name in figures.COMPUTED:
            figure = await _figure(connection, name, product_id=product_id)
            made = await explaining.explain(connection, shop.tenant_id, figure, Moment(shop.head))
            assert made.figure is not None
            told[name] = made.figure
            assert len(made.steps) > 5
            assert all(step.before != step.after for step in made.steps)
            for newer, older in pairwise(made.steps):
                assert newer.before == older.after
    await catch_up(shop.house.pool, figures.tables()["cost_day"], shop.tenant_id)
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        levels = await inventory_value(connection, shop.tenant_id, date.max, product_id=product_id)
        (sold,) = await cogs_of_products(
            connection, shop.tenant_id, date(2000, 1, 1), date(2100, 1, 1), product_id=product_id
        )
    assert told["stock_value"]["value"] == sum(level.value for level in levels) > 0
    assert told["cost_of_goods_sold"] == {"units": sold.units_sold, "cogs": sold.cogs}
    assert sold.cogs > 0


async def test_a_difference_is_that_of_two_folds(shop: Shop) -> None:
    """The rows at both positions, folded apart; the steps lead from the one to the other."""
    start, end = shop.head - 200, shop.head - 20
    cases: list[tuple[str, Wanted]] = [
        ("stock_level", {"product_id": 1}),
        ("stock_level", {"product_id": 1, "location_id": 1}),
        ("movement", {}),
        ("stock_level", {}),
    ]
    for table, wanted in cases:
        async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
            await _compare(connection, shop.tenant_id, table, wanted, start, end)


async def _compare(
    connection: Connection, tenant_id: int, table: str, wanted: Wanted, start: int, end: int
) -> None:
    figure = await _figure(connection, table, **wanted)
    sides: list[Rows] = []
    for position in (start, end):
        rows = await explaining.rows_at(connection, tenant_id, figure, Moment(position))
        sides.append({tuple(row[name] for name in figure.model.key): row for row in rows})
    before, after = sides
    changed = {each for each in before.keys() | after.keys() if before.get(each) != after.get(each)}
    made = await explaining.diff(connection, tenant_id, figure, start, Moment(end), rows=1_000)
    told = {tuple(each.key.values()): (each.before, each.after) for each in made.changes.rows}
    assert told == {each: (before.get(each), after.get(each)) for each in changed}
    assert made.changes.total == len(changed) > 0
    page = await explaining.diff(connection, tenant_id, figure, start, Moment(end), rows=1, page=2)
    assert page.changes.rows == made.changes.rows[1:2]
    if wanted:
        steps = made.between.steps
        assert steps
        assert all(start < step.event.position <= end for step in steps)
        assert (steps[-1].before, steps[0].after) == (made.before, made.after)


async def test_more_events_than_a_request_may_ask_for_are_refused(shop: Shop) -> None:
    """With words that say what to do; without a bound all is told."""
    async with tenant_transaction(shop.house.pool, shop.tenant_id) as connection:
        figure = await _figure(connection, "movement")
        with pytest.raises(TooManyEvents, match="more than 10 events"):
            await explaining.explain(
                connection, shop.tenant_id, figure, Moment(shop.head), folded_max=10
            )
        told: list[tuple[int, int]] = []
        await explaining.explain(
            connection, shop.tenant_id, figure, Moment(shop.head), limit=3, folded_max=None,
            progress=lambda done, of: told.append((done, of)),
        )  # fmt: skip
        assert told[-1][0] == told[-1][1] > 100
