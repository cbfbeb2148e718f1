"""The closings of each day under moving average, kept up to what has been folded.

What is effective after all that is known goes on from the last closing. What is recorded late is
walked through from its day on, up to the day behind it that closes as it did before: at the
latest when stock was at zero in between and nothing else has changed.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import date
from typing import Any, Final, NamedTuple

from projections.costing import AveragePool, Movement, Place, Pool, Standards
from projections.costing_reads import Reader, millionths, movement_columns, movement_of
from projections.projection import Connection, Statements

BATCH: Final = 5_000
_START: Final = date.min


class Closing(NamedTuple):
    """How a day closed: what was owned, what was sold did cost, and its last movement."""

    day: date
    pool: Pool
    sold_cost: int
    last: Place


_CLOSING = f"""
    c.product_id, c.day, {millionths("c.quantity")}, {millionths("c.value")},
    {millionths("c.unit_cost")}, {millionths("c.sold_cost")}, c.last_at, c.last_position
"""

_SQL = Statements(
    last=f"""
        SELECT {_CLOSING} FROM unnest($2::bigint[]) AS w (product_id)
        CROSS JOIN LATERAL (
            SELECT * FROM {{schema}}.cost_average c
            WHERE c.tenant_id = $1 AND c.product_id = w.product_id ORDER BY c.day DESC LIMIT 1
        ) c
    """,
    before=f"""
        SELECT w.day, {_CLOSING} FROM unnest($2::bigint[], $3::date[]) AS w (product_id, day)
        CROSS JOIN LATERAL (
            SELECT * FROM {{schema}}.cost_average c
            WHERE c.tenant_id = $1 AND c.product_id = w.product_id AND c.day < w.day
            ORDER BY c.day DESC LIMIT 1
        ) c
    """,
    since=f"""
        SELECT {_CLOSING} FROM {{schema}}.cost_average c
        WHERE c.tenant_id = $1 AND c.product_id = $2 AND c.day >= $3
    """,
    movements_since=f"""
        SELECT {movement_columns()} FROM {{schema}}.cost_movement m
        WHERE m.tenant_id = $1 AND m.product_id = $2 AND m.day >= $3
        ORDER BY m.day, m.effective_at, m.position
    """,
    keep="""
        INSERT INTO {schema}.cost_average
        SELECT n.* FROM unnest((SELECT $1::text::{schema}.cost_average[])) AS n
        ON CONFLICT (tenant_id, product_id, day) DO UPDATE
        SET quantity = excluded.quantity, value = excluded.value, unit_cost = excluded.unit_cost,
            sold_cost = excluded.sold_cost, last_at = excluded.last_at,
            last_position = excluded.last_position
    """,
)


def _closing(row: Iterable[Any]) -> tuple[int, Closing]:
    product_id, day, quantity, value, unit_cost, sold_cost, at, position = row
    pool = Pool(int(quantity), int(value), None if unit_cost is None else int(unit_cost))
    return product_id, Closing(day, pool, int(sold_cost), Place(day, at, position))


async def closings_before(
    connection: Connection, schema: str, tenant_id: int, days: Iterable[tuple[int, date]]
) -> dict[tuple[int, date], Pool]:
    """Return what was owned of products at the beginning of days."""
    wanted = list(days)
    pools = dict.fromkeys(wanted, Pool())
    if wanted:
        rows = await connection.fetch(
            _SQL.of(schema)["before"], tenant_id, *zip(*wanted, strict=True)
        )
        for day, *row in rows:
            product_id, closing = _closing(row)
            pools[product_id, day] = closing.pool
    return pools


class Changes(NamedTuple):
    """What happened to products at average cost since their closings were brought up to it.

    ``added`` has new movements, ``changed_from`` days of which a movement has changed, and
    ``restated`` products whose standard cost is another on some day.
    """

    added: dict[int, list[Movement]]
    changed_from: dict[int, date]
    restated: set[int]


async def update_averages(
    connection: Connection, schema: str, tenant_id: int, changes: Changes
) -> None:
    """Bring the closings up to changes, which are written already."""
    sql = _SQL.of(schema)
    added, changed_from, restated = changes
    products = sorted({*added, *changed_from, *restated})
    standards = await Reader(connection, schema, tenant_id).standards(products)
    last = dict(map(_closing, await connection.fetch(sql["last"], tenant_id, products)))
    rows: list[str] = []
    for product_id in products:
        stated = standards[product_id]
        if product_id in restated:
            # A standard cost counts until there was something on hand, and no longer.
            walk = Walk(stated)
            await _walk_again(connection, schema, tenant_id, product_id, walk, _START, _START)
            await _keep(connection, schema, tenant_id, product_id, walk)
        movements = sorted(added.get(product_id, ()))
        days = [movement.place.day for movement in movements]
        if product_id in changed_from:
            days.append(changed_from[product_id])
        if not days:
            continue
        walk = Walk(stated)
        tail = last.get(product_id)
        if len(days) == len(movements) and product_id not in restated and _goes_on(tail, movements):
            if tail is not None:
                walk.start(tail)
            for movement in movements:
                walk.take(movement)
        else:
            await _walk_again(connection, schema, tenant_id, product_id, walk, min(days), max(days))
        walk.close()
        rows += [closing_row(tenant_id, product_id, closing) for closing in walk.closings]
    await keep_closings(connection, schema, rows)


async def _keep(
    connection: Connection, schema: str, tenant_id: int, product_id: int, walk: "Walk"
) -> None:
    walk.close()
    rows = [closing_row(tenant_id, product_id, closing) for closing in walk.closings]
    await keep_closings(connection, schema, rows)


async def keep_closings(connection: Connection, schema: str, rows: Sequence[str]) -> None:
    """Write closings, in place of those that their days had."""
    if rows:
        await connection.execute(_SQL.of(schema)["keep"], '{"' + '","'.join(rows) + '"}')


def closing_row(tenant_id: int, product_id: int, closing: Closing) -> str:
    """Return a closing as the text of a row."""
    day, (quantity, value, unit_cost), sold_cost, last = closing
    unit = "" if unit_cost is None else f"{unit_cost}e-6"
    return (
        f"({tenant_id},{product_id},{day},{quantity}e-6,{value}e-6,{unit},{sold_cost}e-6,"
        f"{last.at.isoformat()},{last.position})"
    )


def _goes_on(tail: Closing | None, movements: Sequence[Movement]) -> bool:
    """Tell whether movements follow all that is known; one that cancels goes back to another."""
    if tail is not None and movements[0].place < tail.last:
        return False
    return all(movement.quantity >= 0 for movement in movements)


class Walk:
    """Takes movements in their order and closes each day."""

    def __init__(self, standards: Standards) -> None:
        self.closings: list[Closing] = []
        self._standards = standards
        self._pool = AveragePool()
        self._last: Place | None = None
        self._day: date | None = None
        self._standard = 0

    def start(self, closing: Closing, *, within: bool = True) -> None:
        """Go on from a closing; not ``within`` its day, from the beginning of a later one."""
        self._pool = AveragePool(closing.pool, closing.sold_cost if within else 0)
        self._last = closing.last if within else None

    def take(self, movement: Movement) -> int:
        """Take a movement in; return its cost."""
        place = movement.place
        if place.day != self._day:
            if self._last is not None and self._last.day != place.day:
                self.close()
            self._day = place.day
            self._standard = self._standards.on(place.day)
        self._last = place
        return self._pool.take(movement, self._standard)

    def close(self) -> Closing | None:
        """Close the day that was walked through last, if there is one; return its closing."""
        if self._last is None:
            return None
        closing = Closing(self._last.day, self._pool.pool, self._pool.sold_cost, self._last)
        self.closings.append(closing)
        self._pool.sold_cost = 0
        self._last = None
        return closing


async def _walk_again(
    connection: Connection,
    schema: str,
    tenant_id: int,
    product_id: int,
    walk: Walk,
    first: date,
    latest: date,
) -> None:
    """Walk from the beginning of a day to where, behind another, a day closes as it did."""
    sql = _SQL.of(schema)
    rows = await connection.fetch(sql["before"], tenant_id, [product_id], [first])
    for _, *row in rows:
        walk.start(_closing(row)[1], within=False)
    stored_rows = await connection.fetch(sql["since"], tenant_id, product_id, first)
    stored = {closing.day: closing for _, closing in map(_closing, stored_rows)}
    day: date | None = None
    async with aclosing(_movements(connection, schema, tenant_id, product_id, first)) as batches:
        async for batch in batches:
            for movement in batch:
                if movement.place.day != day:
                    if day is not None:
                        closing, before = walk.close(), stored.get(day)
                        if closing is not None and closing == before:
                            walk.closings.pop()
                        if closing is not None and day >= latest and _is_same(before, closing):
                            return
                    day = movement.place.day
                walk.take(movement)


def _is_same(before: Closing | None, closing: Closing) -> bool:
    """Tell whether what follows a closing follows it as it did: also by its unit cost."""
    pool = closing.pool
    return before is not None and before.pool == pool and pool.unit_cost is not None


async def _movements(
    connection: Connection, schema: str, tenant_id: int, product_id: int, first: date
) -> AsyncGenerator[Iterable[Movement], None]:
    """Yield a product's movements from a day on, batch by batch."""
    query = _SQL.of(schema)["movements_since"]
    cursor = await connection.cursor(query, tenant_id, product_id, first)
    while rows := await cursor.fetch(BATCH):
        yield map(movement_of, rows)
