"""Reading what costing needs of the valuation's tables: curves, days, standards, the averages.

The fold reads so as well as the queries, each in its own schema. Numbers come as text of whole
millionths: that is read several times as fast as decimals are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from asyncpg import Record

from projections.costing import (
    Curve,
    DayTotal,
    Layer,
    Marker,
    Movement,
    Place,
    Removal,
    Standards,
)
from projections.projection import Connection, Statements


def millionths(column: str) -> str:
    """Return the SQL of a number as the text of whole millionths."""
    return f"({column} * 1000000)::numeric(60)::text"


_MOVEMENT = f"""
    m.product_id, m.day, m.effective_at, m.position, m.kind, {millionths("m.quantity")} AS quantity,
    {millionths("m.cost")} AS cost, {millionths("m.landed")} AS landed, m.origin, m.origin_kind
"""

# Of the days up to `first` only those are needed that units on hand at its end came in on (from
# the last one back to where they add up to what was on hand), and the last one that anything
# moved on: it says which day's standard cost holds. A layer that is taken out after `first` may
# reach back further.
_CURVE = f"""
    dead AS (
        SELECT r.product_id, r.layer_day AS day, count(*) AS layers, sum(r.quantity) AS quantity
        FROM {{schema}}.cost_removal r JOIN wanted w ON w.product_id = r.product_id
        WHERE r.tenant_id = $1 AND r.day <= w.first GROUP BY r.product_id, r.layer_day
    ),
    late AS (
        SELECT DISTINCT r.product_id
        FROM {{schema}}.cost_removal r JOIN wanted w ON w.product_id = r.product_id
        WHERE r.tenant_id = $1 AND r.day > w.first
    ),
    ranked AS (
        SELECT d.*, coalesce(sum(d.change) FILTER (WHERE d.day <= d.first) OVER p, 0) AS opening,
               max(d.day) FILTER (WHERE d.day <= d.first AND (
                   d.layers <> 0 OR d.change <> 0 OR d.sold_qty <> 0 OR d.specials <> 0
               )) OVER p AS last_day,
               sum(d.in_qty - coalesce(dead.quantity, 0)) FILTER (WHERE d.day <= d.first)
                   OVER (PARTITION BY d.product_id ORDER BY d.day DESC)
                   - d.in_qty + coalesce(dead.quantity, 0) AS since,
               d.layers - coalesce(dead.layers, 0) AS alive,
               late.product_id IS NOT NULL AS is_late
        FROM daily d
        LEFT JOIN dead ON dead.product_id = d.product_id AND dead.day = d.day
        LEFT JOIN late ON late.product_id = d.product_id
        WINDOW p AS (PARTITION BY d.product_id)
    )
    SELECT product_id, day, layers, {millionths("in_qty")} AS in_qty,
           {millionths("in_cost")} AS in_cost, {millionths("change")} AS change,
           {millionths("sold_qty")} AS sold_qty, {millionths("returned_cost")} AS returned_cost,
           specials,
           {millionths("opening")} AS opening, day > first AS is_within
    FROM ranked
    WHERE day > first OR day = last_day
       OR (layers > 0 AND (is_late OR (alive > 0 AND (since <= 0 OR since < opening))))
    ORDER BY product_id, day
"""
_DAILY = """
    sum(d.layers) AS layers, sum(d.in_qty) AS in_qty, sum(d.in_cost) AS in_cost,
    sum(d.on_hand + d.in_transit) AS change, sum(d.sold_qty) AS sold_qty,
    sum(d.returned_cost) AS returned_cost, sum(d.specials) AS specials
"""

_SQL = Statements(
    curves_of=f"""
        WITH wanted AS (
            SELECT * FROM unnest($2::bigint[], $3::date[], $4::date[])
                AS w (product_id, first, last)
        ), daily AS (
            SELECT d.product_id, w.first, d.day, {_DAILY}
            FROM wanted w JOIN {{schema}}.cost_day d
                ON d.tenant_id = $1 AND d.product_id = w.product_id AND d.day <= w.last
            GROUP BY d.product_id, w.first, d.day
        ), {_CURVE}
    """,
    # All products that are costed first in, first out, from one day to another.
    curves_of_all=f"""
        WITH daily AS (
            SELECT d.product_id, $2::date AS first, d.day, {_DAILY}
            FROM {{schema}}.cost_day d
            LEFT JOIN {{schema}}.cost_product p
                ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
            WHERE d.tenant_id = $1 AND d.day <= $3 AND coalesce(p.method, $4) = 'fifo'
            GROUP BY d.product_id, d.day
        ), wanted AS (SELECT DISTINCT product_id, first FROM daily), {_CURVE}
    """,
    # What makes a curve another one from a moment on: layers taken out, and revaluations.
    turns=f"""
        SELECT product_id, day, effective_at, position, kind, layer_day, layer_at,
               layer_position, {millionths("quantity")}, {millionths("cost")}
        FROM {{schema}}.cost_removal
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[])
        UNION ALL
        SELECT product_id, day, effective_at, position, NULL, NULL, NULL, NULL, NULL,
               {millionths("unit_cost")}
        FROM {{schema}}.cost_standard
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[]) AND is_revaluation
        ORDER BY product_id, day, effective_at, position
    """,
    standards="""
        SELECT product_id, day, (coalesce(unit_cost, 0) * 1000000)::numeric(60)::text AS unit_cost
        FROM {schema}.cost_standard
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[])
          AND NOT (is_revaluation AND $3)
        ORDER BY product_id, day, effective_at, position
    """,
    movements_of_days=f"""
        SELECT {_MOVEMENT}
        FROM unnest($2::bigint[], $3::date[]) AS w (product_id, day)
        JOIN {{schema}}.cost_movement m
            ON m.tenant_id = $1 AND m.product_id = w.product_id AND m.day = w.day
        ORDER BY m.product_id, m.day, m.effective_at, m.position
    """,
    layers_of_days=f"""
        SELECT {_MOVEMENT}
        FROM unnest($2::bigint[], $3::date[]) AS w (product_id, day)
        JOIN {{schema}}.cost_movement m
            ON m.tenant_id = $1 AND m.product_id = w.product_id AND m.day = w.day
        WHERE m.kind IN ('receipt', 'return', 'found')
        ORDER BY m.product_id, m.day, m.effective_at, m.position
    """,
)


def movement_of(row: Record) -> Movement:
    """Return a movement of a row with the columns of `movement_columns`."""
    cost = row["cost"]
    return Movement(
        Place(row["day"], row["effective_at"], row["position"]),
        row["kind"],
        int(row["quantity"]),
        None if cost is None else int(cost),
        int(row["landed"]),
        row["origin"],
        row["origin_kind"],
    )


def movement_columns() -> str:
    """Return what is selected of ``cost_movement m`` for `movement_of`."""
    return _MOVEMENT


class Day(NamedTuple):
    """What one day did to a product; ``specials`` have to be costed one by one."""

    day: date
    change: int
    in_cost: int
    returned_cost: int
    specials: int


class Ledger(NamedTuple):
    """One product, first in first out: its curve, what was on hand at first, and its days since."""

    curve: Curve
    opening: int
    days: Sequence[Day]
    removals: Sequence[Removal]


DayKey = tuple[int, date]


class Reader:
    """Reads for one tenant from the tables in one schema."""

    def __init__(self, connection: Connection, schema: str, tenant_id: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._sql: Final = _SQL.of(schema)

    async def ledgers_of(self, wanted: Mapping[int, tuple[date, date]]) -> dict[int, Ledger]:
        """Return products from the end of one day to the end of another."""
        if not wanted:
            return {}
        first, last = zip(*wanted.values(), strict=True)
        rows = await self._connection.fetch(
            self._sql["curves_of"], self._tenant_id, list(wanted), first, last
        )
        return await self._ledgers(rows)

    async def ledgers_of_all(self, first: date, last: date, method: str) -> dict[int, Ledger]:
        """Return all FIFO products; ``method`` is that of those that have none of their own."""
        rows = await self._connection.fetch(
            self._sql["curves_of_all"], self._tenant_id, first, last, method
        )
        return await self._ledgers(rows)

    async def _ledgers(self, rows: Iterable[Record]) -> dict[int, Ledger]:
        totals: dict[int, list[DayTotal]] = {}
        days: dict[int, list[Day]] = {}
        opening: dict[int, int] = {}
        for product_id, day, layers, in_qty, in_cost, change, *more in rows:
            sold, returned_cost, specials, opened, is_within = more
            cost = int(in_cost)
            is_moving = bool(layers or int(change) or int(sold) or specials)
            totals.setdefault(product_id, []).append(
                DayTotal(day, int(layers), int(in_qty), cost, is_moving)
            )
            opening[product_id] = int(opened)
            within = days.setdefault(product_id, [])
            if is_within:
                within.append(Day(day, int(change), cost, int(returned_cost), int(specials)))
        turns = await self._turns(list(totals))
        ledgers: dict[int, Ledger] = {}
        for product_id, of_days in totals.items():
            removals, markers = turns.get(product_id, ((), ()))
            curve = Curve(of_days, removals=removals, markers=markers)
            ledgers[product_id] = Ledger(curve, opening[product_id], days[product_id], removals)
        return ledgers

    async def _turns(
        self, products: Sequence[int]
    ) -> dict[int, tuple[list[Removal], list[Marker]]]:
        rows = await self._connection.fetch(self._sql["turns"], self._tenant_id, products)
        found: dict[int, tuple[list[Removal], list[Marker]]] = {}
        for product_id, day, at, position, kind, *layer, quantity, cost in rows:
            removals, markers = found.setdefault(product_id, ([], []))
            place = Place(day, at, position)
            if kind is None:
                markers.append(Marker(place, int(cost)))
            else:
                taken_out = Layer(Place(*layer), int(quantity), int(cost))
                removals.append(Removal(place, kind, taken_out))
        return found

    async def standards(
        self, products: Sequence[int], *, only_prices: bool = True
    ) -> dict[int, Standards]:
        """Return the standard costs of products as their cost prices say.

        For products at standard cost, not ``only_prices``, a revaluation is one as well.
        """
        rows = await self._connection.fetch(
            self._sql["standards"], self._tenant_id, products, only_prices
        )
        stated: dict[int, list[tuple[date, int]]] = {}
        for product_id, day, unit_cost in rows:
            stated.setdefault(product_id, []).append((day, int(unit_cost)))
        return {product_id: Standards(stated.get(product_id, ())) for product_id in products}

    async def movements(self, days: Iterable[DayKey]) -> dict[DayKey, list[Movement]]:
        """Return all movements of some days, in their order."""
        wanted = list(days)
        found: dict[DayKey, list[Movement]] = {key: [] for key in wanted}
        if wanted:
            rows = await self._connection.fetch(
                self._sql["movements_of_days"], self._tenant_id, *zip(*wanted, strict=True)
            )
            for row in rows:
                found[row["product_id"], row["day"]].append(movement_of(row))
        return found

    async def fill(self, ledgers: Mapping[int, Ledger]) -> None:
        """Read what the curves were asked for and did not have."""
        days = [(key, day) for key, ledger in ledgers.items() for day in ledger.curve.unread]
        if days:
            rows = await self._connection.fetch(
                self._sql["layers_of_days"], self._tenant_id, *zip(*days, strict=True)
            )
            layers: dict[DayKey, list[Layer]] = {key: [] for key in days}
            for row in rows:
                movement = movement_of(row)
                cost = (movement.cost or 0) + movement.landed
                layers[row["product_id"], row["day"]].append(
                    Layer(movement.place, movement.quantity, cost)
                )
            for (product_id, day), found in layers.items():
                ledgers[product_id].curve.read(day, found)
        unknown = [
            key
            for key, ledger in ledgers.items()
            if ledger.curve.is_standard_unread and ledger.curve.standards is None
        ]
        if unknown:
            for product_id, standards in (await self.standards(unknown)).items():
                ledgers[product_id].curve.standards = standards
