"""The fold of the valuation, between two changes of method.

The events are gone through once. Where the cost of one depends on what is stored (a return on
its issue, a reversal on what it undoes) the events of its product wait behind it: what came
before is written, then all that wait are answered together, and so on. So a batch takes as many
rounds as one product has such events in it, and the rows do not depend on the size of batches.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.costing import (
    INBOUND,
    MILLION,
    OUTBOUND,
    REMOVAL,
    REVALUATION,
    Place,
    share,
)
from projections.projection import Connection, Statements, rows_as_json
from projections.valuation_average import Changes, update_averages
from projections.valuation_entries import (
    IN_TRANSIT,
    LANDED,
    ON_HAND,
    REVERSAL,
    STANDARD,
    Entry,
    EventReader,
)
from projections.valuation_origins import Issue, Origins
from projections.valuation_reversals import (
    Original,
    complete_landed,
    complete_removal,
    complete_reversal,
    original_of,
)
from schemas.product import ProductRegistered, ProductRevised

DAY_FIGURES: Final = (
    "layers",
    "in_qty",
    "in_cost",
    "bought_qty",
    "bought_cost",
    "returned_qty",
    "returned_cost",
    "sold_qty",
    "specials",
    "on_hand",
    "in_transit",
)
"""Layers and what they cost; of them, what was bought at a stated cost, and what customers
returned, both less what was reversed; what was sold; how many movements of the day have to be
costed one by one; and what the day did to on hand and to what is on its way."""

(
    _LAYERS, _IN_QTY, _IN_COST, _BOUGHT_QTY, _BOUGHT_COST, _RETURNED_QTY, _RETURNED_COST, _SOLD,
    _SPECIALS, *_,
) = range(len(DAY_FIGURES))  # fmt: skip
_SCALES: Final = ["" if f in ("layers", "specials") else "e-6" for f in DAY_FIGURES]
_NOTHING: Final = [0] * len(DAY_FIGURES)
_ACCOUNTS: Final = {ON_HAND: DAY_FIGURES.index(ON_HAND), IN_TRANSIT: DAY_FIGURES.index(IN_TRANSIT)}


class Product(msgspec.Struct):
    """What the fold knows of a product: its own method, what it says it costs, what came last."""

    method: str | None = None
    cost_price: int | None = None
    has_price: bool = False
    last_unit_cost: int | None = None


_SQL = Statements(
    books="SELECT method, time_zone, has_chosen FROM {schema}.cost_books WHERE tenant_id = $1",
    zones="SELECT location_id, time_zone FROM {schema}.cost_zone WHERE tenant_id = $1",
    keep_zones="""
        INSERT INTO {schema}.cost_zone (tenant_id, location_id, time_zone)
        SELECT $1, r.* FROM json_to_recordset($2::text::json)
            AS r (location_id bigint, time_zone text)
        ON CONFLICT (tenant_id, location_id) DO UPDATE SET time_zone = excluded.time_zone
    """,
    products="""
        SELECT product_id, method, (cost_price * 1000000)::numeric(60)::text AS cost_price,
               has_price,
               (last_unit_cost * 1000000)::numeric(60)::text AS last_unit_cost
        FROM {schema}.cost_product WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[])
    """,
    keep_products="""
        INSERT INTO {schema}.cost_product
        SELECT n.* FROM unnest((SELECT $1::text::{schema}.cost_product[])) AS n
        ON CONFLICT (tenant_id, product_id) DO UPDATE
        SET cost_price = excluded.cost_price, has_price = excluded.has_price,
            last_unit_cost = excluded.last_unit_cost
    """,
    standards="""
        SELECT product_id, day, effective_at, position,
               (coalesce(unit_cost, 0) * 1000000)::numeric(60)::text AS unit_cost
        FROM {schema}.cost_standard
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[]) AND NOT is_revaluation
    """,
    keep_standards="""
        INSERT INTO {schema}.cost_standard
        SELECT n.* FROM unnest((SELECT $1::text::{schema}.cost_standard[])) AS n
    """,
    move="""
        INSERT INTO {schema}.cost_movement
        SELECT n.* FROM unnest((SELECT $1::text::{schema}.cost_movement[])) AS n
    """,
    add=f"""
        INSERT INTO {{schema}}.cost_day AS d
        SELECT n.* FROM unnest((SELECT $1::text::{{schema}}.cost_day[])) AS n
        ON CONFLICT (tenant_id, product_id, day, location_id) DO UPDATE
        SET {", ".join(f"{figure} = d.{figure} + excluded.{figure}" for figure in DAY_FIGURES)}
    """,
    take_out="""
        INSERT INTO {schema}.cost_removal
        SELECT n.* FROM unnest((SELECT $1::text::{schema}.cost_removal[])) AS n
    """,
    land="""
        UPDATE {schema}.cost_movement m SET landed = m.landed + l.amount::numeric / 1000000
        FROM unnest($2::bigint[], $3::text[]) AS l (position, amount)
        WHERE m.tenant_id = $1 AND m.position = ANY ($2::bigint[]) AND m.position = l.position
    """,
    # What was added to a layer that has been taken out is taken out with it.
    land_removed="""
        UPDATE {schema}.cost_removal r SET cost = r.cost + l.amount::numeric / 1000000
        FROM unnest($2::bigint[], $3::text[]) AS l (position, amount)
        WHERE r.tenant_id = $1 AND r.layer_position = ANY ($2::bigint[])
          AND r.layer_position = l.position
    """,
    originals="""
        SELECT m.position, m.product_id, m.location_id, m.day, m.effective_at, m.kind,
               (m.quantity * 1000000)::numeric(60)::text,
               (m.cost * 1000000)::numeric(60)::text,
               (m.landed * 1000000)::numeric(60)::text, m.basis
        FROM {schema}.cost_movement m WHERE m.tenant_id = $1 AND m.position = ANY ($2::bigint[])
    """,
)

_StandardAt = tuple[date, datetime, int, int]


class Fold:
    """Folds one stretch of events into the tables of one schema."""

    def __init__(self, connection: Connection, schema: str, tenant_id: int) -> None:
        self._connection = connection
        self._schema = schema
        self._tenant_id = tenant_id
        self._sql = _SQL.of(schema)
        self._reader = EventReader({}, "UTC", self._transfer)
        self._method = "standard"
        self._products: dict[int, Product] = {}
        self._changed: set[int] = set()
        self._standards: dict[int, list[_StandardAt]] = {}
        self._waiting: dict[int, list[Entry]] = {}
        self._movements: list[str] = []
        self._days: dict[tuple[int, date, int], list[int]] = {}
        self._removals: list[str] = []
        self._new_standards: list[str] = []
        self._landed: list[tuple[int, str]] = []
        self._averaged = Changes({}, {}, set())

    async def fold(self, events: Sequence[RecordedEvent]) -> None:
        """Fold events, which hold no change of method."""
        await self._begin(events)
        for recorded in events:
            self._read(recorded)
        await self._write()
        while self._waiting:
            await self._answer()
            for product_id in list(self._waiting):
                queue = self._waiting.pop(product_id)
                for number, entry in enumerate(queue):
                    if entry.waits:
                        self._waiting[product_id] = queue[number:]
                        break
                    self._take(entry)
            await self._write()
        if rezoned := self._reader.rezoned:
            zones = self._reader.zones
            stated = [{"location_id": place, "time_zone": zones[place]} for place in rezoned]
            await self._connection.execute(
                self._sql["keep_zones"], self._tenant_id, rows_as_json(stated)
            )

    async def _begin(self, events: Sequence[RecordedEvent]) -> None:
        """Read what is known of the books, the places and the products."""
        row = await self._connection.fetchrow(self._sql["books"], self._tenant_id)
        has_chosen, time_zone = False, "UTC"
        if row is not None:
            self._method, time_zone, has_chosen = row
        rows = await self._connection.fetch(self._sql["zones"], self._tenant_id)
        self._reader = EventReader({row[0]: row[1] for row in rows}, time_zone, self._transfer)
        # While all products are at standard cost, only what is said of one is looked up.
        is_plain = self._method == "standard" and not has_chosen
        kinds = (ProductRegistered, ProductRevised)
        wanted = {
            product_id
            for recorded in events
            if (not is_plain or isinstance(recorded.event, kinds))
            and (product_id := getattr(recorded.event, "product_id", None)) is not None
        }
        if not wanted:
            return
        for row in await self._connection.fetch(
            self._sql["products"], self._tenant_id, list(wanted)
        ):
            product_id, method, price, has_price, last = row
            self._products[product_id] = Product(
                method,
                None if price is None else int(price),
                has_price,
                None if last is None else int(last),
            )
        unknown = [
            product_id
            for product_id in wanted
            if self._method_of(product_id) == "fifo"
            and self._product(product_id).last_unit_cost is None
        ]
        if unknown:
            for row in await self._connection.fetch(
                self._sql["standards"], self._tenant_id, unknown
            ):
                product_id, day, at, position, unit_cost = row
                self._standards.setdefault(product_id, []).append(
                    (day, at, position, int(unit_cost))
                )
            for stated in self._standards.values():
                stated.sort()

    def _product(self, product_id: int) -> Product:
        product = self._products.get(product_id)
        if product is None:
            product = self._products[product_id] = Product()
        return product

    def _method_of(self, product_id: int) -> str:
        product = self._products.get(product_id)
        return self._method if product is None else product.method or self._method

    def _read(self, recorded: RecordedEvent) -> None:
        """Take an event in, or put it behind what its product waits for."""
        entry = self._reader.read(recorded)
        if entry is None:
            return
        queue = self._waiting.get(entry.product_id)
        if queue is not None:
            queue.append(entry)
        elif entry.waits:
            self._waiting[entry.product_id] = [entry]
        else:
            self._take(entry)

    # --- taking entries in ------------------------------------------------------------------

    def _figures(self, product_id: int, day: date, location_id: int) -> list[int]:
        figures = self._days.get((product_id, day, location_id))
        if figures is None:
            figures = self._days[product_id, day, location_id] = _NOTHING.copy()
        return figures

    def _transfer(
        self, product_id: int, day: date, location_id: int, account: str, change: int
    ) -> None:
        self._figures(product_id, day, location_id)[_ACCOUNTS[account]] += change

    def _take(self, entry: Entry) -> None:
        """Add an entry, which waits for nothing, to what is to be written."""
        product_id, kind, place = entry.product_id, entry.kind, entry.place
        if kind == LANDED:
            self._land(entry)
            return
        method = self._method_of(product_id)
        if kind in (STANDARD, REVALUATION):
            self._state(entry, method)
            if kind == STANDARD:
                return
        figures = self._figures(product_id, place.day, entry.location_id)
        quantity = entry.quantity
        if kind in INBOUND:
            if method == "fifo":
                self._cost_present(entry)
            cost = (entry.cost or 0) + entry.landed
            figures[_LAYERS] += 1
            figures[_IN_QTY] += quantity
            figures[_IN_COST] += cost
            if kind == "return":
                figures[_RETURNED_QTY] += quantity
                figures[_RETURNED_COST] += cost
            elif kind == "receipt" and entry.basis == "stated":
                figures[_BOUGHT_QTY] += quantity
                figures[_BOUGHT_COST] += cost
            figures[_ACCOUNTS[entry.account]] += quantity
        elif kind in OUTBOUND:
            if kind == "sale":
                figures[_SOLD] += quantity
            else:
                figures[_SPECIALS] += 1
            figures[_ACCOUNTS[entry.account]] -= quantity
        elif kind == REMOVAL:
            cost = (entry.cost or 0) + entry.landed
            if entry.origin_kind == "return":
                figures[_RETURNED_QTY] -= quantity
                figures[_RETURNED_COST] -= cost
            elif entry.origin_kind == "receipt" and entry.origin_basis == "stated":
                figures[_BOUGHT_QTY] -= quantity
                figures[_BOUGHT_COST] -= cost
            figures[_ACCOUNTS[entry.account]] -= quantity
        else:
            figures[_SPECIALS] += 1
        self._movements.append(self._row(entry))
        if method == "average":
            self._averaged.added.setdefault(product_id, []).append(entry.movement())

    def _row(self, entry: Entry) -> str:
        day, at, position = entry.place
        cost = "" if entry.cost is None else f"{entry.cost}e-6"
        return (
            f"({self._tenant_id},{position},{entry.product_id},{entry.location_id},{day},"
            f"{at.isoformat()},{entry.kind},{entry.quantity}e-6,{cost},{entry.landed}e-6,"
            f"{entry.basis or ''},{_text(entry.origin)},{entry.origin_kind or ''},"
            f"{_text(entry.reference_key)})"
        )

    def _cost_present(self, entry: Entry) -> None:
        """Give what came in at the present cost that cost; keep what came in at another."""
        product = self._product(entry.product_id)
        if entry.basis == "stated":
            if product.last_unit_cost != entry.unit_cost:
                product.last_unit_cost = entry.unit_cost
                self._changed.add(entry.product_id)
        elif entry.basis == "present":
            unit_cost = product.last_unit_cost
            if unit_cost is None:
                unit_cost = self._standard(entry.product_id, entry.place.day)
            entry.cost = share(unit_cost, entry.quantity, MILLION)

    def _standard(self, product_id: int, day: date) -> int:
        stated = self._standards.get(product_id)
        count = bisect_right(stated, day, key=lambda at: at[0]) if stated else 0
        return stated[count - 1][3] if stated and count else 0

    def _state(self, entry: Entry, method: str) -> None:
        """Keep a new standard cost, or a revaluation, which is one too."""
        product_id, place = entry.product_id, entry.place
        is_revaluation = entry.kind == REVALUATION
        if not is_revaluation:
            product = self._product(product_id)
            if entry.cost == product.cost_price:
                return
            if not product.has_price:
                place = place._replace(day=date.min)
            product.cost_price, product.has_price = entry.cost, True
            self._changed.add(product_id)
        cost = "" if entry.cost is None else f"{entry.cost}e-6"
        self._new_standards.append(
            f"({self._tenant_id},{product_id},{place.position},{place.day},"
            f"{place.at.isoformat()},{cost},{is_revaluation})"
        )
        if is_revaluation:
            if method == "fifo":
                self._product(product_id).last_unit_cost = entry.cost
                self._changed.add(product_id)
        elif method == "average":
            self._averaged.restated.add(product_id)
        elif method == "fifo":
            stated = self._standards.setdefault(product_id, [])
            stated.append((place.day, place.at, place.position, entry.cost or 0))
            stated.sort()

    def _land(self, entry: Entry) -> None:
        """Add to the cost of a receipt; one that is not there has nothing to add to."""
        if entry.origin is None:
            return
        figures = self._figures(entry.product_id, entry.place.day, entry.location_id)
        figures[_IN_COST] += entry.landed
        if entry.origin_basis == "stated":
            figures[_BOUGHT_COST] += entry.landed
        self._landed.append((entry.origin, str(entry.landed)))
        if self._method_of(entry.product_id) == "average":
            self._averaged.changed_from[entry.product_id] = entry.place.day

    # --- answers ----------------------------------------------------------------------------

    async def _answer(self) -> None:
        """Complete the first entry of each product that waits."""
        heads = [queue[0] for queue in self._waiting.values()]
        positions = [entry.origin for entry in heads if entry.origin is not None]
        originals: dict[int, Original] = {}
        if positions:
            rows = await self._connection.fetch(self._sql["originals"], self._tenant_id, positions)
            originals = {row[0]: original_of(row) for row in rows}
        origins = Origins(self._connection, self._schema, self._tenant_id)
        for entry in heads:
            entry.waits = False
            original = originals.get(entry.origin or 0)
            if original is not None and original.product_id != entry.product_id:
                original = None
            if entry.kind == LANDED:
                complete_landed(entry, original)
            elif entry.kind == REMOVAL:
                layer = complete_removal(entry, original)
                if layer is not None:
                    self._take_out(entry, layer)
            elif entry.kind == REVERSAL:
                if original is not None and complete_reversal(entry, original):
                    issue = Issue(original.place, original.quantity)
                    origins.want(entry, self._method_of(entry.product_id), [issue])
                elif original is None:
                    entry.kind, entry.basis = entry.origin_kind or "found", "present"
                    entry.origin = entry.origin_kind = None
            else:
                origins.want(entry, self._method_of(entry.product_id))
        await origins.answer()

    def _take_out(self, entry: Entry, layer: Place) -> None:
        """Keep that an entry takes out what came in at a place."""
        day, at, position = entry.place
        cost = (entry.cost or 0) + entry.landed
        self._removals.append(
            f"({self._tenant_id},{entry.product_id},{position},{day},{at.isoformat()},"
            f"{entry.origin_kind},{entry.quantity}e-6,{cost}e-6,{layer.day},"
            f"{layer.at.isoformat()},{layer.position})"
        )

    # --- writing ----------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write what has been taken in, and bring the averages up to it."""
        execute, sql = self._connection.execute, self._sql
        if self._movements:
            await execute(sql["move"], _array(self._movements))
            self._movements = []
        if self._days:
            await execute(
                sql["add"],
                _array(
                    [
                        f"({self._tenant_id},{product_id},{day},{place},"
                        f"{','.join([f'{n}{e}' for n, e in zip(figures, _SCALES, strict=True)])})"
                        for (product_id, day, place), figures in self._days.items()
                    ]
                ),
            )
            self._days = {}
        if self._removals:
            await execute(sql["take_out"], _array(self._removals))
            self._removals = []
        if self._new_standards:
            await execute(sql["keep_standards"], _array(self._new_standards))
            self._new_standards = []
        if self._landed:
            amounts = tuple(zip(*self._landed, strict=True))
            await execute(sql["land"], self._tenant_id, *amounts)
            await execute(sql["land_removed"], self._tenant_id, *amounts)
            self._landed = []
        if self._changed:
            await self._write_products()
        if any(self._averaged):
            await update_averages(self._connection, self._schema, self._tenant_id, self._averaged)
            self._averaged = Changes({}, {}, set())

    async def _write_products(self) -> None:
        rows: list[str] = []
        for product_id in self._changed:
            product = self._products[product_id]
            price = "" if product.cost_price is None else f"{product.cost_price}e-6"
            last = "" if product.last_unit_cost is None else f"{product.last_unit_cost}e-6"
            rows.append(
                f"({self._tenant_id},{product_id},{product.method or ''},{price},"
                f"{product.has_price},{last})"
            )
        await self._connection.execute(self._sql["keep_products"], _array(rows))
        self._changed = set()


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def _array(rows: Sequence[str]) -> str:
    """Return rows, whose fields need no quoting, as the text of an array of them."""
    return '{"' + '","'.join(rows) + '"}'
