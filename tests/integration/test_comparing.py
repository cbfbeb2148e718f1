"""Digests of tables: the same for the same rows, and another one for any other value."""

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from projections.comparing import Digest, digest

COLUMNS = {
    "number": ("bigint", "5", "-5"),
    "small": ("smallint", "5", "-5"),
    "amount": ("numeric(30,6)", "5", "-5"),
    "balance": ("numeric(30,6)", "-0.000001", "0.000001"),
    "maybe": ("numeric(30,6)", "NULL", "0"),
    "text": ("text", "'a'", "'-a'"),
    "on_day": ("date", "'2020-01-01'", "'1979-12-31'"),
    "at": ("timestamptz", "'2000-01-02Z'", "'1999-12-31Z'"),
    "is_so": ("boolean", "false", "true"),
    "document": ("jsonb", """'{"a": [1, -2]}'""", """'{"a": [1, 2]}'"""),
    "other": ("jsonb", "NULL", "'-1'"),
    "content": ("bytea", r"'\x01'", r"'\xff'"),
    "names": ("text[]", "'{a,b}'", "'{b,a}'"),
}


async def of_rows(database: DatabaseAddress, *rows: dict[str, str]) -> Digest:
    """Return the digest of a table that has these rows, each by what it has in place of ours."""
    connection = await asyncpg.connect(**database.owner)
    try:
        kinds = ", ".join(f"{name} {kind}" for name, (kind, _, _) in COLUMNS.items())
        values = ", ".join(
            f"(1, {', '.join(row.get(name, usual) for name, (_, usual, _) in COLUMNS.items())})"
            for row in rows
        )
        await connection.execute(
            f"CREATE TEMP TABLE compared (tenant_id integer, {kinds}, PRIMARY KEY (number)); "
            f"INSERT INTO compared VALUES {values}"
        )
        return await digest(connection, "pg_temp", "compared", 1)
    finally:
        await connection.close()


@pytest.mark.parametrize("column", COLUMNS)
async def test_another_value_gives_another_digest(database: DatabaseAddress, column: str) -> None:
    """Of any type: also where it is the same number below zero."""
    other = {column: COLUMNS[column][2]}
    assert await of_rows(database, {}) != await of_rows(database, other)
    # Nor do two rows that exchange their values.
    numbered = [{"number": "1", **other}, {"number": "2"}]
    exchanged = [{"number": "1"}, {"number": "2", **other}]
    if column != "number":
        assert await of_rows(database, *numbered) != await of_rows(database, *exchanged)


async def test_the_same_rows_have_the_same_digest_in_any_order(database: DatabaseAddress) -> None:
    """And the digest tells how many there are."""
    rows = [{"number": str(n), "amount": str(-n)} for n in range(3)]
    found = await of_rows(database, *rows)
    assert found == await of_rows(database, *reversed(rows))
    assert found.rows == 3
