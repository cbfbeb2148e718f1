"""Comparing two copies of a projection's tables, and saying where they differ."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from projections.projection import Connection, Projection

SHOWN_MAX: Final = 5
STATEMENT_TIMEOUT_S: Final = 24 * 3600.0
"""For statements that go through whole tables; the pool's own is for requests."""


class Difference(NamedTuple):
    """A row that is not the same in both: its table, its key, and both sides' values."""

    table: str
    key: Mapping[str, Any]
    stored: Mapping[str, Any] | None
    expected: Mapping[str, Any] | None

    def __str__(self) -> str:
        where = ", ".join(f"{name}={value}" for name, value in self.key.items())
        if self.stored is None:
            return f"{self.table} ({where}) is missing"
        if self.expected is None:
            return f"{self.table} ({where}) should not be there"
        fields = ", ".join(
            f"{name} is {self.stored[name]} and should be {value}"
            for name, value in self.expected.items()
            if self.stored[name] != value
        )
        return f"{self.table} ({where}): {fields}"


class Digest(NamedTuple):
    """How many rows, and a sum of their hashes that does not depend on their order."""

    rows: int
    hash_sum: int


async def digest(connection: Connection, schema: str, table: str, tenant_id: int) -> Digest:
    """Return the digest of a tenant's rows of a table, by the values of all their columns.

    PostgreSQL adds up the hashes of a row's columns, so that rows which exchange the values of one
    would have the same sum: each row is hashed with its key for a seed. And it hashes a number as
    its negative, within a document too: so signs, and documents as texts, are in the seed.
    """
    columns = await connection.fetch(_COLUMNS, f"{schema}.{table}")
    key = ", ".join(f"t.{name}" for name, is_key, *_ in columns if is_key)
    seeds = [
        f"coalesce(hashtextextended(t.{name}::text, {n}), 0)"
        if is_document
        else f"(coalesce(t.{name} < 0, false)::integer::bigint << {n})"
        for n, (name, _, has_sign, is_document) in enumerate(columns)
        if has_sign or is_document
    ]
    seed = f"hash_record_extended(ROW({key}), {' # '.join(['0::bigint', *seeds])})"
    row = await connection.fetchrow(
        f"""
        SELECT count(*), coalesce(sum(hash_record_extended(t, {seed})::numeric), 0)::text
        FROM {schema}.{table} t WHERE tenant_id = $1
        """,
        tenant_id,
        timeout=STATEMENT_TIMEOUT_S,
    )
    assert row is not None, "an aggregate without GROUP BY always has a row"
    return Digest(row[0], int(row[1]))


_COLUMNS: Final = """
SELECT a.attname, a.attnum = ANY (i.indkey), a.atttypid = 'numeric'::regtype,
       a.atttypid = 'jsonb'::regtype
FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


class Side(NamedTuple):
    """One of two copies of the tables: where they are, and who sees them."""

    connection: Connection
    schema: str


async def differences(
    tenant_id: int,
    table: str,
    key: Sequence[str],
    *,
    stored: Side,
    expected: Side,
    limit: int = SHOWN_MAX,
) -> list[Difference]:
    """Return the first rows, by key, that two copies of a table differ in.

    Both connections must be in a transaction of the tenant's. The copies are read side by side
    in the order of their key, and no further than to the last row returned.
    """
    found: list[Difference] = []
    left, right = _rows(stored, table, key, tenant_id), _rows(expected, table, key, tenant_id)
    async with aclosing(left), aclosing(right):
        mine, theirs = await anext(left, None), await anext(right, None)
        while len(found) < limit and (mine or theirs):
            if theirs is None or (mine is not None and mine.place < theirs.place):
                assert mine is not None, "one of the two has a row"
                found.append(Difference(table, mine.key, mine.fields(), None))
                mine = await anext(left, None)
            elif mine is None or theirs.place < mine.place:
                found.append(Difference(table, theirs.key, None, theirs.fields()))
                theirs = await anext(right, None)
            else:
                if mine.text != theirs.text:
                    found.append(Difference(table, mine.key, mine.fields(), theirs.fields()))
                mine, theirs = await anext(left, None), await anext(right, None)
    return found


class _Row(NamedTuple):
    place: tuple[Any, ...]
    key: Mapping[str, Any]
    text: str

    def fields(self) -> dict[str, Any]:
        return _decode(self.text)


async def _rows(
    side: Side, table: str, key: Sequence[str], tenant_id: int
) -> AsyncGenerator[_Row, None]:
    # In the collation "C" the database orders text as Python does: by code point.
    order = ", ".join(f't.{name}::text COLLATE "C"' for name in key)
    query = f"""
        SELECT {order}, {", ".join(key)}, to_jsonb(t)::text
        FROM {side.schema}.{table} t WHERE tenant_id = $1 ORDER BY {order}
    """
    async for row in side.connection.cursor(
        query, tenant_id, prefetch=1_000, timeout=STATEMENT_TIMEOUT_S
    ):
        count = len(key)
        named = dict(zip(key, row[count : 2 * count], strict=True))
        named.pop("tenant_id", None)
        yield _Row(tuple(row[:count]), named, row[-1])


_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def table_names(projections: Sequence[Projection]) -> list[str]:
    """Return the names of all tables of some projections."""
    return [table for projection in projections for table in projection.tables]
