"""What is written in COPY's binary format is what PostgreSQL then has."""

import io
import random
from decimal import Decimal
from typing import Any

import asyncpg
import numpy as np
import pytest

from deploy.address import DatabaseAddress
from projections.binary_copy import (
    bigints,
    binary_rows,
    byteas,
    dates,
    decimals,
    instants,
    integer,
    names,
    nulls,
    or_null,
    smallints,
)
from projections.log_columns import instant
from projections.moves import MILLIONTHS

NAMES = ["", "on_hand", "naïve ✓", "a\tb\\N\n"]
MOST = 2**63 - 1
# Around each power of the base of a numeric's digits, and the ends.
EDGES = [0, 1, 99, 100, 9_999, 10_000, 10**6, 10**10, 10**14 - 1, 10**18, 9 * 10**18, MOST]
COLUMNS = """
    tenant integer, n bigint, level smallint, at timestamptz, day date, name text, amount
    numeric(30,6), maybe bigint, nothing text, digest bytea, start bytea
"""


def amounts_of(chance: random.Random, count: int, unit: int) -> list[int]:
    """Return numbers of millionths of all sizes, each a multiple of the unit."""
    found = [chance.choice((1, -1)) * chance.choice(EDGES) for _ in range(count // 2)]
    found += [chance.randint(-(10 ** chance.randint(1, 18)), 10**18) for _ in range(count)]
    return [number - int(np.fmod(number, unit)) for number in found[:count]]


@pytest.mark.parametrize("count", [0, 1, 2, 400])
@pytest.mark.parametrize("unit", [1, MILLIONTHS])
async def test_rows_arrive_as_they_are(database: DatabaseAddress, count: int, unit: int) -> None:
    """Every kind of field: numbers, times, names, amounts to the last digit, and nulls."""
    chance = random.Random(count + unit)
    amounts = amounts_of(chance, count, unit)
    numbers = [chance.choice((MOST, -MOST, 0, chance.randint(-9, 9))) for _ in range(count)]
    levels = [chance.randint(-(2**15), 2**15 - 1) for _ in range(count)]
    times = [chance.randint(-3 * 10**15, 2 * 10**17) for _ in range(count)]
    days = [chance.randint(-30_000, 100_000) for _ in range(count)]
    named = [chance.randrange(len(NAMES)) for _ in range(count)]
    is_null = [chance.random() < 0.3 for _ in range(count)]
    digests = np.frombuffer(chance.randbytes(8 * count), np.uint8).reshape(count, 8)
    lengths = [chance.randint(0, 8) for _ in range(count)]
    content = binary_rows(
        integer(7),
        bigints(np.array(numbers, np.int64)),
        smallints(np.array(levels, np.int64)),
        instants(np.array(times, np.int64)),
        dates(np.array(days, np.int64)),
        names(NAMES, np.array(named, np.int64)),
        decimals(np.array(amounts, np.int64)),
        or_null(bigints(np.array(numbers, np.int64)), np.array(is_null, np.bool_)),
        nulls(),
        byteas(digests),
        byteas(digests, np.array(lengths, np.int64)),
    )
    if not count:
        assert content == b""
        return
    rows = await copied(database, content)
    expected = zip(
        [7] * count,
        numbers,
        levels,
        map(instant, times),
        days,
        [NAMES[number] for number in named],
        [Decimal(amount).scaleb(-6) for amount in amounts],
        [None if empty else number for number, empty in zip(numbers, is_null, strict=True)],
        [None] * count,
        map(bytes, digests),
        [bytes(digest[:length]) for digest, length in zip(digests, lengths, strict=True)],
        strict=True,
    )
    assert sorted(rows, key=repr) == sorted(map(tuple, expected), key=repr)


async def test_rows_of_one_form_keep_their_order(database: DatabaseAddress) -> None:
    """Where no field has names or nulls."""
    rows = await copied(
        database,
        binary_rows(
            *(integer(1), bigints(np.arange(50)), nulls(), nulls(), nulls(), nulls()),
            *(decimals(np.zeros(50, np.int64)), nulls(), nulls(), nulls(), nulls()),
        ),
    )
    assert [row[1] for row in rows] == list(range(50))
    assert {str(row[6]) for row in rows} == {"0.000000"}


async def copied(database: DatabaseAddress, content: bytes) -> list[tuple[Any, ...]]:
    """Return the rows that a table has when these have been copied into it."""
    connection = await asyncpg.connect(**database.owner)
    try:
        await connection.execute(f"CREATE TEMP TABLE target ({COLUMNS})")
        await connection.copy_to_table("target", source=io.BytesIO(content), format="binary")
        rows = await connection.fetch(
            "SELECT tenant, n, level, at, day - date '2000-01-01', name, amount, maybe, nothing, "
            "digest, start FROM target"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()
