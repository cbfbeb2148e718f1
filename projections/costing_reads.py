"""Reading what costing needs of the valuation's tables: curves, days, standards, the averages.

The fold reads so as well as the queries, each in its own schema. Numbers come as text of whole
millionths: that is read several times as fast as decimals are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from asyncpg import Record

from projections.costing import (
    REVALUATION,
    Curve,
    DayTotal,
    Layer,
    Marker,
    Movement,
    Place,
    Removal,
    Special,
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

# The days of a product. A day of nothing but transfers moves nothing.
_DAYS = """
    SELECT d.day, sum(d.layers)::integer AS layers, sum(d.in_qty)::text AS in_qty,
           sum(d.in_cost)::text AS in_cost, sum(d.on_hand + d.in_transit)::text AS change,
           sum(d.returned_cost)::text AS returned_cost, sum(d.specials)::integer AS specials,
           sum(d.layers) <> 0 OR sum(d.on_hand + d.in_transit) <> 0 OR sum(d.sold_qty) <> 0
               OR sum(d.specials) <> 0 AS is_moving
    FROM {schema}.cost_day d
    WHERE d.tenant_id = $1 AND d.product_id = w.product_id
"""
_WANTED = """
    FROM unnest($2::bigint[], $3::date[], $4::date[]) AS w (product_id, first, last)
"""

_SQL = Statements(
    # What was on hand at the end of `first`, as a row of change without a day; the last days up
    # to then on which something came in ($5), and the last on which anything moved; those since.
    near=f"""
        SELECT w.product_id, d.* {_WANTED}
        CROSS JOIN LATERAL (
            SELECT NULL::date AS day, 0 AS layers, '0' AS in_qty, '0' AS in_cost,
                   coalesce(sum(d.on_hand + d.in_transit), 0)::text AS change,
                   '0' AS returned_cost, 0 AS specials, false AS is_moving
            FROM {{schema}}.cost_day d
            WHERE d.tenant_id = $1 AND d.product_id = w.product_id AND d.day <= w.first
            UNION ALL
            ({_DAYS} AND d.day <= w.first AND d.layers > 0
                GROUP BY d.day ORDER BY d.day DESC LIMIT $5)
            UNION ALL
            (SELECT * FROM ({_DAYS} AND d.day <= w.first GROUP BY d.day ORDER BY d.day DESC) d
                WHERE is_moving LIMIT 1)
            UNION ALL
            ({_DAYS} AND d.day > w.first AND d.day <= w.last GROUP BY d.day)
        ) d
    """,
    whole=f"""
        SELECT w.product_id, d.* {_WANTED}
        CROSS JOIN LATERAL ({_DAYS} AND d.day <= w.last GROUP BY d.day) d
    """,
    moved_at_fifo="""
        SELECT w.product_id FROM (
            SELECT DISTINCT product_id FROM {schema}.cost_day
            WHERE tenant_id = $1 AND day > $2 AND day <= $3
        ) w
        WHERE coalesce((
            SELECT p.method FROM {schema}.cost_product p
            WHERE p.tenant_id = $1 AND p.product_id = w.product_id
        ), $4) = 'fifo'
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
    # With what the day had changed by then: so nobody has to go through all of the day.
    specials_of_days=f"""
        SELECT product_id, day, effective_at, position, kind, {millionths("change")},
               {millionths("after")}
        FROM (
            SELECT m.product_id, m.day, m.effective_at, m.position, m.kind, c.change,
                   sum(c.change) OVER (PARTITION BY m.product_id, m.day
                                       ORDER BY m.effective_at, m.position) AS after
            FROM unnest($2::bigint[], $3::date[]) AS w (product_id, day)
            JOIN {{schema}}.cost_movement m
                ON m.tenant_id = $1 AND m.product_id = w.product_id AND m.day = w.day
            CROSS JOIN LATERAL (
                SELECT CASE WHEN m.kind IN ('receipt', 'return', 'found') THEN m.quantity
                            WHEN m.kind = 'revaluation' THEN 0 ELSE -m.quantity END AS change
            ) c
        ) m
        WHERE kind IN ('supplier_return', 'missed', 'loss', 'revaluation')
           OR position = ANY ($4::bigint[])
        ORDER BY product_id, day, effective_at, position
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


def _exact(text: str) -> int:
    """Return whole millionths of a number's text, which is zero or has six decimals."""
    return int(text.replace(".", ""))


def movement_of(row: Record) -> Movement:
    """Return a movement of a row that begins with the columns of `movement_columns`."""
    # By their order: histories have a million of them, and names are looked up one by one.
    _, day, at, position, kind, quantity, cost, landed, origin, origin_kind, *_ = row
    return Movement(
        Place(day, at, position),
        kind,
        int(quantity),
        None if cost is None else int(cost),
        int(landed),
        origin,
        origin_kind,
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
LAYER_DAYS: Final = (8, 64)
"""How many days with layers are looked at: so many, then more, then all."""


class _History:
    """What has been read of one product's days."""

    def __init__(self, first: date, removals: Sequence[Removal]) -> None:
        self.opening = 0
        self.changed = 0
        """What the days up to the first changed: of all days, what was on hand at first."""
        self.totals: dict[date, DayTotal] = {}
        self.days: list[Day] = []
        self._first = first
        self._came_in = 0
        self._has_lasting = not removals
        self._gone_at_first: dict[date, int] = {}
        self._gone: dict[date, int] = {}
        for removal in removals:
            day, quantity = removal.layer.place.day, removal.layer.quantity
            self._gone[day] = self._gone.get(day, 0) + quantity
            if removal.place.day <= first:
                self._gone_at_first[day] = self._gone_at_first.get(day, 0) + quantity

    def take(self, row: Sequence[Any]) -> None:
        """Take a row of the statements in."""
        day, layers, in_qty, in_cost, change, returned_cost, specials, is_moving = row
        if day is None:
            self.opening += _exact(change)
            return
        if day in self.totals:
            return
        quantity, cost = _exact(in_qty), _exact(in_cost)
        self.totals[day] = DayTotal(day, layers, quantity, cost, is_moving)
        if day > self._first:
            self.days.append(Day(day, _exact(change), cost, _exact(returned_cost), specials))
        else:
            self._came_in += quantity - self._gone_at_first.get(day, 0)
            self._has_lasting |= quantity > self._gone.get(day, 0)
            self.changed += _exact(change)

    @property
    def is_enough(self) -> bool:
        """Whether no value from the first day on reaches back to days that were not read.

        All that was on hand at first must have come in on those that were, and where layers are
        taken out, one that never is must be among them: what is owed costs what came in last.
        """
        return self._came_in >= self.opening and self._has_lasting


_Turns = tuple[list[Removal], list[Marker]]
_NO_TURNS: Final[_Turns] = ([], [])


class Reader:
    """Reads for one tenant from the tables in one schema."""

    def __init__(self, connection: Connection, schema: str, tenant_id: int) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._sql: Final = _SQL.of(schema)

    async def moved_at_fifo(self, first: date, last: date, method: str) -> list[int]:
        """Return the FIFO products that moved after ``first`` up to ``last``.

        ``method`` is that of products that have none of their own.
        """
        rows = await self._connection.fetch(
            self._sql["moved_at_fifo"], self._tenant_id, first, last, method
        )
        return [row[0] for row in rows]

    async def ledgers_of(self, wanted: Mapping[int, tuple[date, date]]) -> dict[int, Ledger]:
        """Return products from the end of one day to the end of another.

        What is on hand mostly came in on the last few days on which something did.
        """
        if not wanted:
            return {}
        turns = await self._turns(list(wanted))
        found: dict[int, _History] = {}
        rest = wanted
        for layer_days in LAYER_DAYS:
            near = await self._histories("near", rest, turns, layer_days)
            found |= {key: history for key, history in near.items() if history.is_enough}
            rest = {key: days for key, days in wanted.items() if key not in found}
        for product_id, history in (await self._histories("whole", rest, turns)).items():
            history.opening = history.changed
            found[product_id] = history
        ledgers: dict[int, Ledger] = {}
        for product_id, history in found.items():
            removals, markers = turns.get(product_id, _NO_TURNS)
            totals = [history.totals[day] for day in sorted(history.totals)]
            curve = Curve(totals, removals=removals, markers=markers)
            days = sorted(history.days)
            ledgers[product_id] = Ledger(curve, history.opening, days, removals)
        return ledgers

    async def _histories(
        self,
        statement: str,
        wanted: Mapping[int, tuple[date, date]],
        turns: Mapping[int, _Turns],
        *more: int,
    ) -> dict[int, _History]:
        if not wanted:
            return {}
        histories = {
            product_id: _History(first, turns.get(product_id, _NO_TURNS)[0])
            for product_id, (first, _) in wanted.items()
        }
        first, last = zip(*wanted.values(), strict=True)
        rows = await self._connection.fetch(
            self._sql[statement], self._tenant_id, list(wanted), first, last, *more
        )
        for product_id, *row in rows:
            histories[product_id].take(row)
        return histories

    async def _turns(self, products: Sequence[int]) -> dict[int, _Turns]:
        rows = await self._connection.fetch(self._sql["turns"], self._tenant_id, products)
        found: dict[int, _Turns] = {}
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

    async def specials(
        self, days: Iterable[DayKey], positions: Iterable[int] = ()
    ) -> dict[DayKey, list[Special]]:
        """Return what of some days has to be costed by itself, and what is at ``positions``."""
        wanted = list(days)
        found: dict[DayKey, list[Special]] = {key: [] for key in wanted}
        if wanted:
            rows = await self._connection.fetch(
                self._sql["specials_of_days"],
                self._tenant_id,
                *zip(*wanted, strict=True),
                list(positions),
            )
            for product_id, day, at, position, kind, change, after in rows:
                special = Special(
                    Place(day, at, position), kind == REVALUATION, int(change), int(after)
                )
                found[product_id, day].append(special)
        return found

    async def fill(self, ledgers: Mapping[int, Ledger]) -> dict[int, Ledger]:
        """Read what the curves were asked for and did not have; return those to ask again."""
        lacking = {key: ledger for key, ledger in ledgers.items() if ledger.curve.is_lacking}
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
        return lacking
