"""The figures that can be explained: rows of read models, sums of them, and what is worked out.

A figure is a row, named by its table's whole key, or the sum of the rows that a part of the key
picks out. The cost of goods sold and the value of stock are no table's: they are worked out from
those of the valuation, by the query that the reports use.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from asyncpg import Record

from projections.engine import FOLLOWING, INLINE
from projections.projection import SCHEMA, Connection, Projection
from projections.reach import Span, Wanted
from projections.valuation_queries import cogs_of_products, inventory_value

Row = dict[str, Any]
Compute = Callable[[Connection, int, Wanted], Awaitable[Row]]
"""Works a figure out from the tables that a connection reads, for a tenant."""

_TABLES: Final[Mapping[str, Projection]] = {
    table: projection for projection in (*INLINE, *FOLLOWING) for table in projection.tables
}


class ReadModel(NamedTuple):
    """A table that can be explained: its key, and all its columns with their types.

    ``tenant_id`` is in neither: it is the reader's own. ``remarks`` are the database's comments.
    A figure that is no table's, but worked out from some, has ``compute``, and what of its key
    is ``needed``.
    """

    table: str
    projection: Projection
    key: Sequence[str]
    columns: dict[str, str]
    remark: str | None
    remarks: dict[str, str]
    compute: "Compute | None" = None
    needed: Sequence[str] = ()

    @property
    def summed(self) -> list[str]:
        """The columns that are added up where more rows than one are asked for."""
        return [
            name
            for name, kind in self.columns.items()
            if kind.startswith("numeric") and name not in self.key
        ]


class Figure(NamedTuple):
    """What is to be explained: a row, or the sum of the rows that ``wanted`` picks out."""

    model: ReadModel
    wanted: Wanted

    @property
    def is_row(self) -> bool:
        """Whether the whole key is given, so that there is one row at most."""
        return self.model.compute is None and not any(
            isinstance(self.wanted.get(name), Span | None) for name in self.model.key
        )


async def _cogs(connection: Connection, tenant_id: int, wanted: Wanted) -> Row:
    span = _days(wanted)
    found = await cogs_of_products(
        connection,
        tenant_id,
        span.first or date(1, 1, 1),
        span.last or date(9999, 12, 30),
        product_id=wanted["product_id"],
    )
    return {
        "units": sum((each.units_sold for each in found), Decimal(0)),
        "cogs": sum((each.cogs for each in found), Decimal(0)),
    }


async def _value(connection: Connection, tenant_id: int, wanted: Wanted) -> Row:
    levels = await inventory_value(
        connection, tenant_id, _days(wanted).last or date.max, product_id=wanted["product_id"]
    )
    return {
        "quantity": sum((level.quantity for level in levels), Decimal(0)),
        "value": sum((level.value for level in levels), Decimal(0)),
    }


def _days(wanted: Wanted) -> Span:
    day = wanted.get("day")
    if isinstance(day, Span):
        return day
    return Span(day, day)


_WORKED_OUT: Final = {"product_id": "bigint", "day": "date"}
COMPUTED: Final[Mapping[str, ReadModel]] = {
    "cost_of_goods_sold": ReadModel(
        "cost_of_goods_sold",
        _TABLES["cost_day"],
        ["product_id", "day"],
        {**_WORKED_OUT, "units": "numeric", "cogs": "numeric"},
        "What was sold of a product on some days, and what that cost.",
        {},
        _cogs,
        ["product_id"],
    ),
    "stock_value": ReadModel(
        "stock_value",
        _TABLES["cost_day"],
        ["product_id", "day"],
        {**_WORKED_OUT, "quantity": "numeric", "value": "numeric"},
        "What there was of a product at the end of a day, on its way too, and what it was worth.",
        {},
        _value,
        ["product_id"],
    ),
}
"""Figures that are worked out from tables; their names stand beside those of tables."""


def names() -> list[str]:
    """Return the names of all that can be explained."""
    return [*_TABLES, *COMPUTED]


def tables() -> Mapping[str, Projection]:
    """Return the tables of all read models, each with its projection."""
    return _TABLES


_COLUMNS: Final = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS kind,
       obj_description(c.oid, 'pg_class') AS remark,
       col_description(c.oid, a.attnum) AS column_remark
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = $1::text::regnamespace AND c.relname = ANY ($2::text[])
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'tenant_id'
ORDER BY c.relname, a.attnum
"""


async def read_models(connection: Connection, names: Sequence[str]) -> dict[str, ReadModel]:
    """Return those that can be explained of some names, tables as the database has them."""
    found: dict[str, ReadModel] = {name: COMPUTED[name] for name in names if name in COMPUTED}
    for row in await connection.fetch(_COLUMNS, SCHEMA, list(names)):
        table = row["relname"]
        if table not in found:
            projection = _TABLES[table]
            key = [name for name in projection.tables[table] if name != "tenant_id"]
            found[table] = ReadModel(table, projection, key, {}, row["remark"], {})
        found[table].columns[row["attname"]] = row["kind"]
        if row["column_remark"]:
            found[table].remarks[row["attname"]] = row["column_remark"]
    return found


def row_of(model: ReadModel, record: Record, prefix: str = "") -> Row:
    """Return a record's values by column, JSON decoded."""
    values = {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix)
    }
    return {name: _of_column(model.columns.get(name, ""), value) for name, value in values.items()}


def _of_column(kind: str, value: Any) -> Any:
    if value is not None and kind in ("json", "jsonb"):
        return _json(value)
    return value


_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode
