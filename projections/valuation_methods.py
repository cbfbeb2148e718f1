"""A change of method: the whole history of the products that it touches is costed anew.

What has no cost of its own (a return, goods found) gets the one that the new method gives it,
every movement known: as if the method had been this one always (IAS 8).
"""

from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from asyncpg import Record

from projections.costing import (
    INBOUND,
    MILLION,
    REMOVAL,
    REVALUATION,
    Curve,
    Layer,
    Marker,
    Movement,
    Place,
    Removal,
    Standards,
    share,
)
from projections.costing_reads import Reader, movement_columns, movement_of
from projections.projection import Connection, Statements
from projections.valuation_average import Walk, closing_row, keep_closings
from schemas.books import BooksConfigured, ValuationChosen

PREFETCH: Final = 5_000
ROWS_MAX: Final = 5_000
"""How many rows are gathered before they are written."""

# What another row says is asked of the index, row by row, and not joined: the statistics may be
# of before these tables were filled, and by them the planner would go through all rows for each.
_LAYER_COST = """
    SELECT coalesce(m.cost, 0) + m.landed FROM {schema}.cost_movement m
    WHERE m.tenant_id = r.tenant_id AND m.position = r.layer_position
"""
_ORIGIN_COST = """
    SELECT l.cost FROM {schema}.cost_movement l
    WHERE l.tenant_id = m.tenant_id AND l.position = m.origin
"""
_DAY_COSTS = """
    SELECT coalesce(sum(coalesce(m.cost, 0) + m.landed)
               FILTER (WHERE m.kind IN ('receipt', 'return', 'found')), 0),
           coalesce(sum(coalesce(m.cost, 0) + m.landed) FILTER (WHERE m.kind = 'return'), 0)
           - coalesce(sum(coalesce(m.cost, 0) + m.landed)
               FILTER (WHERE m.kind = 'removal' AND m.origin_kind = 'return'), 0)
    FROM {schema}.cost_movement m
    WHERE m.tenant_id = d.tenant_id AND m.product_id = d.product_id AND m.day = d.day
      AND m.location_id = d.location_id
"""

_SQL = Statements(
    configure="""
        INSERT INTO {schema}.cost_books (tenant_id, method, time_zone, has_chosen)
        VALUES ($1, $2, $3, false)
        ON CONFLICT (tenant_id) DO UPDATE
        SET method = excluded.method, time_zone = excluded.time_zone
    """,
    note_chosen="""
        INSERT INTO {schema}.cost_books (tenant_id, method, time_zone, has_chosen)
        VALUES ($1, 'standard', 'UTC', true)
        ON CONFLICT (tenant_id) DO UPDATE SET has_chosen = true
    """,
    choose="""
        INSERT INTO {schema}.cost_product (tenant_id, product_id, method, has_price)
        VALUES ($1, $2, $3, false)
        ON CONFLICT (tenant_id, product_id) DO UPDATE SET method = excluded.method
    """,
    method="SELECT method FROM {schema}.cost_books WHERE tenant_id = $1",
    own_method="""
        SELECT method FROM {schema}.cost_product WHERE tenant_id = $1 AND product_id = $2
    """,
    by_the_books="""
        SELECT w.product_id FROM (
            SELECT DISTINCT product_id FROM {schema}.cost_day WHERE tenant_id = $1
        ) w
        WHERE NOT EXISTS (
            SELECT FROM {schema}.cost_product p
            WHERE p.tenant_id = $1 AND p.product_id = w.product_id AND p.method IS NOT NULL
        )
        ORDER BY w.product_id
    """,
    forget_averages="""
        DELETE FROM {schema}.cost_average
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[])
    """,
    origins="""
        SELECT product_id, origin, reference_key FROM {schema}.cost_movement
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[]) AND basis = 'origin'
    """,
    # What was stated of products of which something came in without a cost of its own.
    stated="""
        SELECT m.product_id, m.position,
               (CASE WHEN m.kind = 'revaluation' THEN m.cost ELSE m.cost / m.quantity END
                * 1000000)::numeric(60)::text
        FROM {schema}.cost_movement m
        WHERE m.tenant_id = $1 AND m.product_id = ANY (ARRAY(
            SELECT DISTINCT p.product_id FROM {schema}.cost_movement p
            WHERE p.tenant_id = $1 AND p.product_id = ANY ($2::bigint[]) AND p.basis <> 'stated'
        )) AND (m.basis = 'stated' OR m.kind = 'revaluation')
        ORDER BY m.product_id, m.position
    """,
    history=f"""
        SELECT {movement_columns()}, m.basis, m.reference_key
        FROM {{schema}}.cost_movement m
        WHERE m.tenant_id = $1 AND m.product_id = ANY ($2::bigint[])
        ORDER BY m.product_id, m.day, m.effective_at, m.position
    """,
    cost="""
        UPDATE {schema}.cost_movement m SET cost = c.cost::numeric / 1000000
        FROM unnest($2::bigint[], $3::text[]) AS c (position, cost)
        WHERE m.tenant_id = $1 AND m.position = ANY ($2::bigint[]) AND m.position = c.position
    """,
    cost_removed=f"""
        UPDATE {{schema}}.cost_removal r SET cost = ({_LAYER_COST})
        WHERE r.tenant_id = $1 AND r.product_id = ANY ($2::bigint[]) AND r.cost <> ({_LAYER_COST})
    """,
    cost_removals=f"""
        UPDATE {{schema}}.cost_movement m SET cost = ({_ORIGIN_COST})
        WHERE m.tenant_id = $1 AND m.product_id = ANY ($2::bigint[]) AND m.kind = 'removal'
          AND m.cost IS DISTINCT FROM ({_ORIGIN_COST})
    """,
    cost_days=f"""
        UPDATE {{schema}}.cost_day d SET (in_cost, returned_cost) = ({_DAY_COSTS})
        WHERE d.tenant_id = $1 AND d.product_id = ANY ($2::bigint[])
          AND (d.in_cost, d.returned_cost) <> ({_DAY_COSTS})
    """,
    keep_last="""
        INSERT INTO {schema}.cost_product (tenant_id, product_id, has_price, last_unit_cost)
        SELECT $1, l.product_id, false, l.unit_cost::numeric / 1000000
        FROM unnest($2::bigint[], $3::text[]) AS l (product_id, unit_cost)
        ON CONFLICT (tenant_id, product_id) DO UPDATE SET last_unit_cost = excluded.last_unit_cost
    """,
)


async def change_method(
    connection: Connection, schema: str, tenant_id: int, event: BooksConfigured | ValuationChosen
) -> None:
    """Take a change of method in; one that changes the method of no product costs nothing."""
    sql = _SQL.of(schema)
    present: str = await connection.fetchval(sql["method"], tenant_id) or "standard"
    if isinstance(event, BooksConfigured):
        method = event.valuation_method
        await connection.execute(sql["configure"], tenant_id, method, event.time_zone)
        if method == present:
            return
        rows = await connection.fetch(sql["by_the_books"], tenant_id)
        products = [row[0] for row in rows]
    else:
        product_id = event.product_id
        own: str | None = await connection.fetchval(sql["own_method"], tenant_id, product_id)
        await connection.execute(sql["note_chosen"], tenant_id)
        await connection.execute(sql["choose"], tenant_id, product_id, event.valuation_method)
        method = event.valuation_method or present
        if method == (own or present):
            return
        products = [product_id]
    if products:
        await _Recosting(connection, schema, tenant_id, method, products).run()


class _Outflow(NamedTuple):
    """A sale or other outflow: where, what was there before and behind it, and its cost.

    Under FIFO the cost is asked of the curve when it is needed.
    """

    place: Place
    before: int
    quantity: int
    cost: int | None


class _Stated(NamedTuple):
    """The unit costs that were stated of a product, in the order of the log."""

    positions: list[int]
    unit_costs: list[int]

    def before(self, position: int) -> int | None:
        """Return the last one before a position, which is the present cost there."""
        count = bisect_left(self.positions, position)
        return self.unit_costs[count - 1] if count else None


class _Recosting:
    """Costs the whole history of some products by one method."""

    def __init__(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        method: str,
        products: Sequence[int],
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._tenant_id = tenant_id
        self._method = method
        self._products = products
        self._sql = _SQL.of(schema)
        self._positions: set[int] = set()
        self._keys: set[tuple[int, int]] = set()
        self._closings: list[str] = []
        self._costs: list[tuple[int, str | None]] = []
        self._last: list[tuple[int, str]] = []

    async def run(self) -> None:
        """Walk through every product's movements, and write what costs another amount now."""
        execute, sql, products = self._connection.execute, self._sql, self._products
        await execute(sql["forget_averages"], self._tenant_id, products)
        rows = await self._connection.fetch(sql["origins"], self._tenant_id, products)
        for product_id, origin, reference_key in rows:
            if origin is not None:
                self._positions.add(origin)
            if reference_key is not None:
                self._keys.add((product_id, reference_key))
        stated: dict[int, _Stated] = {}
        if self._method == "fifo":
            rows = await self._connection.fetch(sql["stated"], self._tenant_id, products)
            for product_id, position, unit_cost in rows:
                of_product = stated.setdefault(product_id, _Stated([], []))
                of_product.positions.append(position)
                of_product.unit_costs.append(int(unit_cost))
        standards = await Reader(self._connection, self._schema, self._tenant_id).standards(
            products, only_prices=self._method != "standard"
        )
        costing: _ProductCosting | None = None
        async with aclosing(self._history()) as history:
            async for row in history:
                if costing is None or costing.product_id != row["product_id"]:
                    await self._finish(costing)
                    product_id: int = row["product_id"]
                    costing = _ProductCosting(
                        product_id,
                        self._method,
                        standards[product_id],
                        stated.get(product_id, _Stated([], [])),
                        self._positions,
                        self._keys,
                    )
                costing.take(row)
        await self._finish(costing)
        await self._flush(0)
        await execute(sql["cost_removals"], self._tenant_id, products)
        await execute(sql["cost_removed"], self._tenant_id, products)
        await execute(sql["cost_days"], self._tenant_id, products)

    async def _history(self) -> AsyncGenerator[Record, None]:
        async for row in self._connection.cursor(
            self._sql["history"], self._tenant_id, self._products, prefetch=PREFETCH
        ):
            yield row

    async def _finish(self, costing: "_ProductCosting | None") -> None:
        if costing is None:
            return
        product_id = costing.product_id
        if self._method == "average":
            costing.walk.close()
            self._closings += [
                closing_row(self._tenant_id, product_id, closing)
                for closing in costing.walk.closings
            ]
        self._costs += costing.costs
        if self._method == "fifo" and costing.last_unit_cost is not None:
            self._last.append((product_id, str(costing.last_unit_cost)))
        await self._flush(ROWS_MAX)

    async def _flush(self, least: int) -> None:
        """Write what has been gathered, where it is as much as that."""
        if len(self._closings) > least:
            await keep_closings(self._connection, self._schema, self._closings)
            self._closings = []
        for name, rows in (("cost", self._costs), ("keep_last", self._last)):
            if len(rows) > least:
                columns: Any = zip(*rows, strict=True)
                await self._connection.execute(self._sql[name], self._tenant_id, *columns)
                rows.clear()


class _ProductCosting:
    """Goes through one product's movements in the order of costing."""

    def __init__(
        self,
        product_id: int,
        method: str,
        standards: Standards,
        stated: "_Stated",
        positions: set[int],
        keys: set[tuple[int, int]],
    ) -> None:
        self.product_id = product_id
        self.costs: list[tuple[int, str | None]] = []
        self.last_unit_cost: int | None = None
        self.walk = Walk(standards)
        self._last_stated_at = 0
        self._stated = stated
        self._method = method
        self._standards = standards
        self._positions = positions
        self._keys = keys
        self._curve = Curve(())
        self._curve.standards = standards
        self._layers: dict[int, Layer] = {}
        self._quantity = 0
        self._by_position: dict[int, _Outflow] = {}
        self._by_key: dict[int, list[_Outflow]] = {}
        self._last_sale: _Outflow | None = None
        self._changed: dict[int, int | None] = {}

    def take(self, row: Record) -> None:
        """Take the next movement in; give it a cost where it has none of its own."""
        movement = movement_of(row)
        basis: str | None = row["basis"]
        if movement.kind in INBOUND:
            movement = self._with_cost(movement, basis, row["reference_key"])
        elif movement.kind == REMOVAL and movement.origin in self._changed:
            movement = movement._replace(cost=self._changed[movement.origin])
        cost = self.walk.take(movement) if self._method == "average" else None
        if self._method == "fifo":
            self._follow(movement)
        elif self._method == "standard":
            cost = share(self._standards.on(movement.place.day), movement.quantity, MILLION)
        if movement.kind == "sale" and movement.quantity > 0:
            self._note_sale(movement, row["reference_key"], cost)
        elif movement.place.position in self._positions and movement.quantity > 0:
            outflow = _Outflow(movement.place, self._quantity, movement.quantity, cost)
            self._by_position[movement.place.position] = outflow
        self._quantity += movement.change

    def _with_cost(
        self, movement: Movement, basis: str | None, reference_key: int | None
    ) -> Movement:
        """Return what came in with its cost by the method."""
        quantity, position = movement.quantity, movement.place.position
        if basis == "stated":
            assert movement.cost is not None, "a stated cost is one"
            self._state(position, share(movement.cost, MILLION, quantity))
            return movement
        cost: int | None = None
        is_return = movement.kind == "return"
        if basis == "origin" or is_return:
            cost = self._cost_back(movement, reference_key)
        if cost is None and self._method == "fifo":
            unit = self._stated.before(position)
            if unit is None:
                unit = self._standards.on(movement.place.day)
            cost = share(unit, quantity, MILLION)
        elif cost is None and is_return and self._method == "standard":
            cost = share(self._standards.on(movement.place.day), quantity, MILLION)
        if cost != movement.cost:
            self.costs.append((position, None if cost is None else str(cost)))
            self._changed[position] = cost
        return movement._replace(cost=cost)

    def _state(self, position: int, unit_cost: int) -> None:
        """Note a unit cost that was stated, where it is the last one by the log."""
        if position > self._last_stated_at:
            self._last_stated_at, self.last_unit_cost = position, unit_cost

    def _cost_back(self, movement: Movement, reference_key: int | None) -> int | None:
        """Return what goods that come back went out for, None where that is not known."""
        outflows = self._by_key.get(reference_key, []) if reference_key is not None else []
        if not outflows and movement.origin in self._by_position:
            outflows = [self._by_position[movement.origin]]
        if not outflows and movement.kind == "return" and self._last_sale is not None:
            outflows = [self._last_sale]
        if not outflows:
            return None
        total = sum(outflow.quantity for outflow in outflows)
        return share(sum(map(self._cost_of, outflows)), movement.quantity, total)

    def _cost_of(self, outflow: _Outflow) -> int:
        place, before, quantity, cost = outflow
        if cost is not None:
            return cost
        return self._curve.value(place, before) - self._curve.value(place, before - quantity)

    def _note_sale(self, movement: Movement, reference_key: int | None, cost: int | None) -> None:
        outflow = _Outflow(movement.place, self._quantity, movement.quantity, cost)
        self._last_sale = outflow
        if movement.place.position in self._positions:
            self._by_position[movement.place.position] = outflow
        if reference_key is not None and (self.product_id, reference_key) in self._keys:
            self._by_key.setdefault(reference_key, []).append(outflow)

    def _follow(self, movement: Movement) -> None:
        """Bring the curve up to a movement."""
        place, cost = movement.place, (movement.cost or 0) + movement.landed
        if movement.kind in INBOUND:
            layer = Layer(place, movement.quantity, cost)
            self._layers[place.position] = layer
            self._curve.add(layer)
        elif movement.kind == REMOVAL:
            layer = self._layers[movement.origin or 0]
            self._curve.remove(Removal(place, movement.origin_kind or "", layer))
        elif movement.kind == REVALUATION:
            self._state(place.position, movement.cost or 0)
            self._curve.mark(Marker(place, movement.cost or 0))
