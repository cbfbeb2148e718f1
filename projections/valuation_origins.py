"""What goods that come back cost: what they went out for, as far as the log has told by then.

A customer's return is worth what the issue cost that it names (several of one reference: their
average), whichever location it enters; one that names none, or none that is known, what the last
sale before it cost. What a reversal brings back is worth what it went out for.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec
from asyncpg import Record

from projections.costing import (
    MILLION,
    AveragePool,
    Movement,
    Place,
    Special,
    Standards,
    cost_of,
    share,
)
from projections.costing_reads import DayKey, Ledger, Reader
from projections.projection import Connection, Statements
from projections.valuation_average import closings_before
from projections.valuation_entries import Entry

ISSUES_MAX: Final = 100
"""How many issues of one reference are looked at, the latest."""

_DAY: Final = timedelta(days=1)


class Issue(NamedTuple):
    """An outflow that goods come back from."""

    place: Place
    quantity: int


class _Wanted(msgspec.Struct):
    entry: Entry
    method: str
    issues: Sequence[Issue]


_SQL = Statements(
    of_reference="""
        SELECT w.number, m.day, m.effective_at, m.position,
               (m.quantity * 1000000)::numeric(60)::text
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[])
            AS w (product_id, reference_key, number)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.cost_movement m
            WHERE m.tenant_id = $1 AND m.product_id = w.product_id
              AND m.reference_key = w.reference_key AND m.kind = 'sale' AND m.quantity > 0
            ORDER BY m.position DESC LIMIT $5
        ) m
        ORDER BY w.number, m.position
    """,
    last_before="""
        SELECT w.number, m.day, m.effective_at, m.position,
               (m.quantity * 1000000)::numeric(60)::text
        FROM unnest($2::bigint[], $3::date[], $4::timestamptz[], $5::bigint[], $6::bigint[])
            AS w (product_id, day, effective_at, position, number)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.cost_movement m
            WHERE m.tenant_id = $1 AND m.product_id = w.product_id
              AND (m.day, m.effective_at, m.position) < (w.day, w.effective_at, w.position)
              AND m.kind = 'sale' AND m.quantity > 0
            ORDER BY m.day DESC, m.effective_at DESC, m.position DESC LIMIT 1
        ) m
    """,
)


class Origins:
    """Answers what goods that come back cost, for one entry of each product at a time."""

    def __init__(self, connection: Connection, schema: str, tenant_id: int) -> None:
        self._connection = connection
        self._schema = schema
        self._tenant_id = tenant_id
        self._sql = _SQL.of(schema)
        self._reader = Reader(connection, schema, tenant_id)
        self._wanted: list[_Wanted] = []

    def want(self, entry: Entry, method: str, issues: Sequence[Issue] = ()) -> None:
        """Ask for an entry's cost; without ``issues`` those that it comes back from are found."""
        self._wanted.append(_Wanted(entry, method, issues))

    async def answer(self) -> None:
        """Give every entry that was asked for its cost, or say that it is the present one."""
        if not self._wanted:
            return
        await self._find_issues()
        by_method: dict[str, list[_Wanted]] = {}
        for wanted in self._wanted:
            wanted.entry.basis = "origin"
            if wanted.issues:
                wanted.entry.origin = wanted.issues[-1].place.position
            elif wanted.method != "standard":
                wanted.entry.basis = "present"
                continue
            by_method.setdefault(wanted.method, []).append(wanted)
        if standard := by_method.get("standard"):
            await self._at_standard(standard)
        if fifo := by_method.get("fifo"):
            await self._at_fifo(fifo)
        if average := by_method.get("average"):
            await self._at_average(average)

    async def _find_issues(self) -> None:
        named = [
            (wanted.entry.product_id, wanted.entry.reference_key, number)
            for number, wanted in enumerate(self._wanted)
            if not wanted.issues and wanted.entry.reference_key is not None
        ]
        if named:
            rows = await self._connection.fetch(
                self._sql["of_reference"],
                self._tenant_id,
                *zip(*named, strict=True),
                ISSUES_MAX,
            )
            self._take_issues(rows)
        unnamed = [
            (wanted.entry.product_id, *wanted.entry.place, number)
            for number, wanted in enumerate(self._wanted)
            if not wanted.issues
        ]
        if unnamed:
            rows = await self._connection.fetch(
                self._sql["last_before"], self._tenant_id, *zip(*unnamed, strict=True)
            )
            self._take_issues(rows)

    def _take_issues(self, rows: Iterable[Record]) -> None:
        for row in rows:
            number: int = row[0]
            _, day, at, position, quantity = row
            each = self._wanted[number]
            each.issues = [*each.issues, Issue(Place(day, at, position), int(quantity))]

    async def _at_standard(self, wanted: Sequence[_Wanted]) -> None:
        products = [each.entry.product_id for each in wanted]
        standards = await self._reader.standards(products, only_prices=False)
        for each in wanted:
            stated = standards[each.entry.product_id]
            issues = each.issues or [Issue(each.entry.place, each.entry.quantity)]
            _settle(
                each.entry,
                issues,
                [share(stated.on(i.place.day), i.quantity, MILLION) for i in issues],
            )

    async def _at_fifo(self, wanted: Sequence[_Wanted]) -> None:
        ledgers = await self._reader.ledgers_of(
            {
                each.entry.product_id: (
                    min(issue.place.day for issue in each.issues) - _DAY,
                    max(issue.place.day for issue in each.issues),
                )
                for each in wanted
            }
        )
        positions = [issue.place.position for each in wanted for issue in each.issues]
        specials = {
            special.place.position: special
            for of_day in (await self._reader.specials(_days_of(wanted), positions)).values()
            for special in of_day
        }
        asked = ledgers
        while asked:
            for each in wanted:
                ledger = asked.get(each.entry.product_id)
                if ledger is not None:
                    costs = [_fifo_cost(ledger, issue, specials) for issue in each.issues]
                    _settle(each.entry, each.issues, costs)
            asked = await self._reader.fill(asked)

    async def _at_average(self, wanted: Sequence[_Wanted]) -> None:
        days = _days_of(wanted)
        movements = await self._reader.movements(days)
        pools = await closings_before(self._connection, self._schema, self._tenant_id, days)
        standards = await self._reader.standards([each.entry.product_id for each in wanted])
        for each in wanted:
            costs: list[int] = []
            stated = standards[each.entry.product_id]
            for issue in each.issues:
                key = each.entry.product_id, issue.place.day
                pool = AveragePool(pools[key])
                costs.append(_average_cost(pool, movements[key], issue, stated))
            _settle(each.entry, each.issues, costs)


def _days_of(wanted: Sequence[_Wanted]) -> list[DayKey]:
    """Return the days of all issues, each once."""
    return list(
        dict.fromkeys(
            (each.entry.product_id, issue.place.day) for each in wanted for issue in each.issues
        )
    )


def _fifo_cost(ledger: Ledger, issue: Issue, specials: Mapping[int, Special]) -> int:
    day = issue.place.day
    opening = ledger.opening + sum(each.change for each in ledger.days if each.day < day)
    return cost_of(ledger.curve, opening, specials[issue.place.position])


def _average_cost(
    pool: AveragePool, movements: Sequence[Movement], issue: Issue, standards: Standards
) -> int:
    standard = standards.on(issue.place.day)
    for movement in movements:
        cost = pool.take(movement, standard)
        if movement.place.position == issue.place.position:
            return cost
    raise LookupError(f"nothing went out at position {issue.place.position}")


def _settle(entry: Entry, issues: Sequence[Issue], costs: Sequence[int]) -> None:
    """Give an entry its part of what issues cost."""
    entry.cost = share(sum(costs), entry.quantity, sum(issue.quantity for issue in issues))
