"""What goes through COPY into Arrow comes out as it was: every type, NULL, and what looks so."""

import io
import random
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.exports.columns import column_of, schema_of
from api.exports.copying import BlockReader, CopyWriter, ParquetWriter, copied
from ledger.store import Pool, tenant_transaction

ROWS = 3_000
TEXTS = ("", "NULL", "\\N", "\\.", '"', '""', ",", "\x01", "\x02", "\x01\x01", "\n", "\r", "\t",
         " ", "é", "😀", "\u2028", "true", "0", "x")  # fmt: skip
TYPES = {
    "flag": ("bool", "boolean"),
    "small": ("int2", "smallint"),
    "number": ("int4", "integer"),
    "large": ("int8", "bigint"),
    "amount": ("numeric", "numeric(18,6)"),
    "wide": ("numeric", "numeric(38,12)"),
    "free": ("numeric", "numeric"),
    "day": ("date", "date"),
    "at": ("timestamptz", "timestamptz"),
    "words": ("text", "text"),
    "tree": ("json", "json"),
    "content": ("bytea", "bytea"),
    "id": ("uuid", "uuid"),
}


def _row(dice: random.Random) -> tuple[Any, ...]:
    at = datetime(1, 1, 2, tzinfo=UTC) + timedelta(
        days=dice.randrange(3_600_000), microseconds=dice.randrange(86_400_000_000)
    )
    words = "".join(dice.choices(TEXTS, k=dice.randrange(4)))
    values = (
        dice.random() < 0.5,
        dice.randrange(-(2**15), 2**15),
        dice.randrange(-(2**31), 2**31),
        dice.randrange(-(2**63), 2**63),
        Decimal(dice.randrange(-(10**18), 10**18)).scaleb(-6),
        Decimal(str(dice.randrange(-(10**38) + 1, 10**38)) + "E-12"),
        Decimal(dice.randrange(10**30)).scaleb(-20),
        date.fromordinal(dice.randrange(1, 3_600_000)),
        at.replace(microsecond=dice.choice([0, 500_000, at.microsecond])),
        words,
        '{"a": "' + "x" * dice.randrange(3) + '"}\n',
        dice.randbytes(dice.randrange(5)),
        f"{dice.randrange(16**32):032x}",
    )
    return tuple(None if dice.random() < 0.1 else value for value in values)


async def _copied(pool: Pool, rows: list[tuple[Any, ...]]) -> tuple[list[Any], list[Any], Any]:
    """Return rows as the database has them, as a file has them, and the file's schema."""
    async with tenant_transaction(pool, 1) as connection:
        listed = ", ".join(f'"{name}" {kind}' for name, (_, kind) in TYPES.items())
        await connection.execute(f"CREATE TEMPORARY TABLE awkward ({listed}) ON COMMIT DROP")
        await connection.executemany(
            "INSERT INTO awkward VALUES ("
            + ", ".join(f"${number}" for number in range(1, len(TYPES) + 1))
            + ")",
            rows,
        )
        described = await connection.fetch(
            "SELECT attname, atttypmod FROM pg_attribute"
            " WHERE attrelid = 'awkward'::regclass AND attnum > 0 ORDER BY attnum"
        )
        columns = [
            column_of(row["attname"], TYPES[row["attname"]][0], row["atttypmod"], "")
            for row in described
        ]
        texts = {"free", "tree", "id"}
        wanted = ", ".join(f'"{name}"::text' if name in texts else f'"{name}"' for name in TYPES)
        expected = [tuple(row) for row in await connection.fetch(f"SELECT {wanted} FROM awkward")]
        schema = schema_of(columns, {})
        sink = io.BytesIO()
        writer = CopyWriter(BlockReader(columns, schema), ParquetWriter(sink, schema))
        query = f"SELECT {', '.join(column.expression for column in columns)} FROM awkward"
        async with aclosing(copied(connection, query, timeout_s=60)) as blocks:
            async for block in blocks:
                writer.write(block)
        writer.writer.close()
    table = pq.read_table(io.BytesIO(sink.getvalue()))
    return expected, [tuple(row.values()) for row in table.to_pylist()], table.schema


async def test_every_value_comes_out_as_it_was(pool: Pool) -> None:
    """Of thousands of rows, each value at random, one in ten of them NULL."""
    dice = random.Random(9)
    expected, found, schema = await _copied(pool, [_row(dice) for _ in range(ROWS)])
    assert found == expected
    assert schema.field("amount").type == pa.decimal128(18, 6)
    assert schema.field("wide").type == pa.decimal128(38, 12)
    assert {schema.field(name).type for name in ("free", "tree", "id")} == {pa.string()}


async def test_an_amount_with_too_many_digits_is_refused_and_never_rounded(pool: Pool) -> None:
    """Where the database allows more digits than analysts' tools hold."""
    column = column_of("amount", "numeric", (48 << 16 | 6) + 4, "")
    assert column.type == pa.decimal128(38, 6)
    schema = schema_of([column], {})
    reader = BlockReader([column], schema)
    fits = "9" * 32 + ".999999"
    assert reader.read(f"{fits}\n".encode()).column(0).to_pylist() == [Decimal(fits)]
    with pytest.raises(ValueError, match="precision"):
        reader.read(f"1{'0' * 32}.000000\n".encode())
