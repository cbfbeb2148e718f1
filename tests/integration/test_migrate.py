"""Migrations run once, in order, under a lock, and an edited one is refused."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import asyncpg
import pytest

from deploy.address import OWNER_ROLE, DatabaseAddress
from deploy.migrate import Migration, MigrationRefused, migrate, read_migrations
from tests.support.postgres import TestServer


def migration(name: str, sql: str) -> Migration:
    """Return a migration as its file would give it."""
    return Migration(name, sql, sha256(sql.encode()).digest())


ONE = migration("0001_one", "CREATE TABLE public_one (n int); INSERT INTO public_one VALUES (1)")
TWO = migration("0002_two", "INSERT INTO public_one VALUES (2)")


@pytest.fixture
async def empty(postgres: TestServer) -> AsyncIterator[DatabaseAddress]:
    """A database that nothing has been done to."""
    name = f"empty_{secrets.token_hex(6)}"
    await postgres.execute(f"CREATE DATABASE {name} OWNER {OWNER_ROLE}")
    yield postgres.address.of_database(name)
    await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def rows(address: DatabaseAddress) -> list[int]:
    """Return what the two migrations wrote."""
    connection = await asyncpg.connect(**address.owner)
    try:
        return [row[0] for row in await connection.fetch("SELECT n FROM public_one ORDER BY n")]
    finally:
        await connection.close()


async def test_each_is_applied_once(empty: DatabaseAddress) -> None:
    """A second run, and a run with more of them, applies what is new."""
    assert ["0001_one"] == await migrate(empty.owner, migrations=[ONE])
    assert ["0002_two"] == await migrate(empty.owner, migrations=[ONE, TWO])
    assert [] == await migrate(empty.owner, migrations=[ONE, TWO])
    assert [1, 2] == await rows(empty)


async def test_processes_that_start_together_apply_each_once(empty: DatabaseAddress) -> None:
    """They queue at the lock; whoever comes later finds it done."""
    results = await asyncio.gather(*(migrate(empty.owner, migrations=[ONE, TWO]) for _ in range(6)))
    assert ["0001_one", "0002_two"] == sorted(name for result in results for name in result)
    assert [1, 2] == await rows(empty)


async def test_edited_migration_is_refused(empty: DatabaseAddress) -> None:
    """And nothing after it is applied."""
    await migrate(empty.owner, migrations=[ONE])
    edited = migration("0001_one", "SELECT 1")
    with pytest.raises(MigrationRefused, match="0001_one was changed after"):
        await migrate(empty.owner, migrations=[edited, TWO])
    assert [1] == await rows(empty)


async def test_newer_database_is_refused(empty: DatabaseAddress) -> None:
    """An older release must not write to tables that it does not know."""
    await migrate(empty.owner, migrations=[ONE, TWO])
    with pytest.raises(MigrationRefused, match="0002_two, which this release does not know"):
        await migrate(empty.owner, migrations=[ONE])


async def test_failed_migration_leaves_nothing(empty: DatabaseAddress) -> None:
    """Its statements and its record are one transaction."""
    broken = migration("0002_two", "INSERT INTO public_one VALUES (2); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty.owner, migrations=[ONE, broken])
    assert [1] == await rows(empty)
    assert ["0002_two"] == await migrate(empty.owner, migrations=[ONE, TWO])


def test_missing_number_is_refused(tmp_path: Path) -> None:
    """A file that was left out would be noticed too late otherwise."""
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_c.sql").write_text("SELECT 1")
    with pytest.raises(MigrationRefused, match="0002 is missing"):
        read_migrations(tmp_path)


def test_our_own_are_numbered_without_a_gap() -> None:
    """As read_migrations wants them."""
    assert len(read_migrations()) >= 3


async def test_every_table_has_forced_row_security(database: DatabaseAddress) -> None:
    """Every table that names a tenant holds even its owner to it (I9)."""
    connection = await asyncpg.connect(**database.owner)
    try:
        unprotected = await connection.fetch(
            """
            SELECT c.oid::regclass::text AS name FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text <> 'pg_catalog'
              AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
            """
        )
    finally:
        await connection.close()
    assert [] == [row["name"] for row in unprotected]
