"""The database itself refuses to change history (I1) and to show one tenant another's rows (I9)."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from tests.support.postgres import create_tenant

INSERT = """
INSERT INTO ledger.event VALUES
    ($1, $2, 'stock-1-1', $2, 'StockReceived', 1, '{}', '{}', now(), now(), sha256('x'))
"""
CHANGES = [
    "UPDATE ledger.event SET type = 'StockIssued'",
    "DELETE FROM ledger.event",
    "TRUNCATE ledger.event",
]


@pytest.fixture
async def history(pool: Pool, tenant_id: int) -> int:
    """A tenant with one event; its id."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(INSERT, tenant_id, 1)
    return tenant_id


@pytest.fixture
async def superuser(database: DatabaseAddress) -> AsyncIterator[asyncpg.Connection]:
    """A connection that row-level security does not hold."""
    connection = await asyncpg.connect(**database.administrator)
    yield connection
    await connection.close()


@pytest.mark.parametrize("statement", CHANGES)
async def test_the_service_may_not_change_history(pool: Pool, history: int, statement: str) -> None:
    """Its role has INSERT and SELECT and no more."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
        async with tenant_transaction(pool, history) as connection:
            await connection.execute(statement)


@pytest.mark.parametrize("statement", CHANGES)
async def test_a_trigger_refuses_even_who_has_the_right(
    superuser: asyncpg.Connection, history: int, statement: str
) -> None:
    """The owner and a superuser included, and the message says what to do instead."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only") as caught:
        await superuser.execute(statement)
    assert "Record a correcting event" in str(getattr(caught.value, "hint", None))
    assert 1 == await superuser.fetchval("SELECT count(*) FROM ledger.event")


async def test_without_a_tenant_there_are_no_rows(pool: Pool, history: int) -> None:
    """A statement that forgot to name its tenant sees nothing at all."""
    for table in ("ledger.tenant", "ledger.head", "ledger.event"):
        assert 0 == await pool.fetchval(f"SELECT count(*) FROM {table}")


async def test_a_tenant_sees_its_own_rows_alone(
    pool: Pool, database: DatabaseAddress, history: int
) -> None:
    """And can write no row of another."""
    other = await create_tenant(database)
    async with tenant_transaction(pool, other) as connection:
        assert 0 == await connection.fetchval("SELECT count(*) FROM ledger.event")
        assert [other] == [
            r[0] for r in await connection.fetch("SELECT tenant_id FROM ledger.head")
        ]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with tenant_transaction(pool, other) as connection:
            await connection.execute(INSERT, history, 2)


async def test_the_tenant_ends_with_its_transaction(pool: Pool, history: int) -> None:
    """The next user of the connection starts with none."""
    async with pool.acquire() as connection:
        await connection.execute(f"BEGIN; SELECT set_config('ledger.tenant', '{history}', true)")
        assert 1 == await connection.fetchval("SELECT count(*) FROM ledger.event")
        await connection.execute("COMMIT")
        assert 0 == await connection.fetchval("SELECT count(*) FROM ledger.event")


async def test_a_key_leads_to_its_tenant_and_the_directory_to_nobody(
    pool: Pool, tenant_id: int
) -> None:
    """A new key is found by its digest; the directory itself cannot be read."""
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(
            """
            INSERT INTO access.api_key
                (tenant_id, key_id, name, key_prefix, key_hash, permissions, created_by, created_at)
            VALUES ($1, 7, 'till', 'sl_live', sha256('secret'), '{read}', 'test', now())
            """,
            tenant_id,
        )
    found = await pool.fetchrow("SELECT * FROM access.tenant_of_key(sha256('secret'))")
    assert (tenant_id, 7) == tuple(found or ())
    assert None is await pool.fetchrow("SELECT * FROM access.tenant_of_key(sha256('other'))")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.fetch("SELECT * FROM access.key_directory")
