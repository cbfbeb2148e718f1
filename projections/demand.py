"""Demand: what customers wanted in the past, by product and period, as batches told.

A week's quantity is kept as that week's and spread over its days when it is asked for: all that
is known of a product's week (or month) is spread together, in whole units of the product's
scale, as evenly as can be. By the rule of the largest remainder with equal shares, where shares
do not come out even the earliest days have one unit more. So the days of a period add up to it
exactly and are within one unit of each other, however many lines it was told in; and taking a
batch back leaves what would be there without it.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Context, Decimal
from typing import ClassVar, Final, NamedTuple

from asyncpg import Record

from ledger.domain.decision import RecordedEvent
from projections.projection import BALANCE, Columns, Connection, Statements
from schemas.common import Event
from schemas.demand import DemandRecorded, ImportBatchReversed, PeriodKind

_DEMAND = Columns(
    "product_id bigint",
    "period text",
    "starts_on date",
    "batch_id text",
    f"quantity {BALANCE}",
    "lines bigint",
)
_EXACT: Final = Context(prec=60)

_SQL = Statements(
    add="""
        INSERT INTO {schema}.demand AS d
            (tenant_id, product_id, period, starts_on, batch_id, quantity, lines)
        SELECT $1, n.* FROM unnest(
            $2::bigint[], $3::text[], $4::date[], $5::text[], $6::numeric[], $7::bigint[]
        ) AS n
        ON CONFLICT (tenant_id, product_id, starts_on, period, batch_id) DO UPDATE
        SET quantity = d.quantity + excluded.quantity, lines = d.lines + excluded.lines
    """,
    take_back="DELETE FROM {schema}.demand WHERE tenant_id = $1 AND batch_id = ANY ($2::text[])",
)

_Key = tuple[int, str, date, str]


class Demand:
    """Adds up demand by product, period and batch; a batch that is reversed goes as a whole."""

    name: ClassVar[str] = "demand"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "demand": ("tenant_id", "product_id", "starts_on", "period", "batch_id")
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({DemandRecorded, ImportBatchReversed})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return (
            _DEMAND.create(schema, "demand", self.tables["demand"])
            + f"CREATE INDEX demand_by_start ON {schema}.demand (tenant_id, starts_on);"
            + f"CREATE INDEX demand_by_batch ON {schema}.demand (tenant_id, batch_id);"
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add the lines up, then take back the batches that were reversed.

        A reversed batch takes no more lines, so the order of the two does not matter.
        """
        added: dict[_Key, tuple[Decimal, int]] = {}
        reversed_batches: list[str] = []
        zero = (Decimal(0), 0)
        add = _EXACT.add
        for recorded in events:
            match recorded.event:
                case DemandRecorded(batch_id=batch_id, lines=lines):
                    for line in lines:
                        key = (
                            line.product_id,
                            line.period,
                            period_start(line.order_date, line.period),
                            batch_id,
                        )
                        quantity, count = added.get(key, zero)
                        added[key] = add(quantity, line.quantity), count + 1
                case ImportBatchReversed(batch_id=batch_id):
                    reversed_batches.append(batch_id)
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
        sql = _SQL.of(schema)
        if added:
            products, periods, starts, batches = zip(*added, strict=True)
            quantities, counts = zip(*added.values(), strict=True)
            await connection.execute(
                sql["add"], tenant_id, products, periods, starts, batches, quantities, counts
            )
        if reversed_batches:
            await connection.execute(sql["take_back"], tenant_id, reversed_batches)


# --- periods ----------------------------------------------------------------------------


def period_start(day: date, period: PeriodKind) -> date:
    """Return the first day of the period that a day is in. A week begins on Monday."""
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)


# --- queries ----------------------------------------------------------------------------


class DemandFilter(NamedTuple):
    """Which days of which product; None: of all of them."""

    first: date
    last: date
    product_id: int | None = None


# A period's total in units of the scale is ``each * days + extra``: every day has ``each``, and
# the first ``extra`` days one more. So what falls on a stretch of its days, counted from 0, takes
# no row a day to work out. A period reaches at most 30 days before what is asked for.
_SPREAD: Final = """
WITH told AS (
    SELECT d.product_id, d.starts_on, p.scale,
           CASE d.period WHEN 'day' THEN 1 WHEN 'week' THEN 7
                ELSE extract(day FROM d.starts_on + interval '1 month - 1 day')::integer
           END AS days,
           sum(d.quantity) * (10::numeric ^ p.scale) AS units
    FROM projections.demand d
    JOIN projections.product p ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
    WHERE d.tenant_id = $1 AND d.starts_on BETWEEN $2::date - 30 AND $3
      AND ($4::bigint IS NULL OR d.product_id = $4)
    GROUP BY d.product_id, d.starts_on, d.period, p.scale
), shared AS (
    SELECT product_id, starts_on, scale, div(units, days) AS each, mod(units, days) AS extra,
           greatest(starts_on, $2::date) AS first, least(starts_on + days - 1, $3::date) AS last
    FROM told WHERE starts_on + days > $2::date
), parts AS (
    SELECT s.product_id, s.scale, b.starts_at::date AS period, s.each, s.extra,
           greatest(s.first, b.starts_at::date) - s.starts_on AS from_day,
           least(s.last, (b.starts_at + $6::interval)::date - 1) - s.starts_on + 1 AS to_day
    FROM shared s
    CROSS JOIN LATERAL generate_series(
        date_trunc($5, s.first::timestamp), s.last::timestamp, $6::interval
    ) AS b (starts_at)
), summed AS (
    SELECT product_id, period, scale,
           sum(each * (to_day - from_day) + least(to_day, extra) - least(from_day, extra)) AS units
    FROM parts GROUP BY product_id, period, scale
)
"""

_STEPS: Final[dict[PeriodKind, str]] = {
    "day": "1 day",
    "week": "7 days",
    "month": "1 month",
}


async def demand_by_period(
    connection: Connection,
    tenant_id: int,
    wanted: DemandFilter,
    group_by: PeriodKind,
    limit: int,
    offset: int,
) -> tuple[list[Record], int, Decimal]:
    """Return a page of demand by product and period, how many rows there are, and their sum.

    A row has ``product_id``, ``sku``, ``name``, ``period`` (its first day) and ``quantity``: what
    falls on the days asked for. Rows are in the order of products and periods.
    """
    arguments = (
        tenant_id,
        wanted.first,
        wanted.last,
        wanted.product_id,
        group_by,
    )
    spread = _SPREAD.replace("$6::interval", f"interval '{_STEPS[group_by]}'")
    rows = await connection.fetch(
        f"""{spread}
        SELECT s.product_id, p.sku, p.name, s.period,
               trim_scale(s.units / (10::numeric ^ s.scale)) AS quantity
        FROM summed s JOIN projections.product p ON p.tenant_id = $1 AND p.product_id = s.product_id
        WHERE s.units <> 0
        ORDER BY s.product_id, s.period LIMIT $6 OFFSET $7
        """,
        *arguments, limit, offset,
    )  # fmt: skip
    whole = await connection.fetchrow(
        f"""{spread}
        SELECT count(*) AS total,
               coalesce(trim_scale(sum(s.units / (10::numeric ^ s.scale))), 0) AS quantity
        FROM summed s WHERE s.units <> 0
        """,
        *arguments,
    )  # fmt: skip
    assert whole is not None
    return rows, whole["total"], whole["quantity"]
