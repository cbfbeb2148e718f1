"""Readers for analysts: made, listed and taken away, on the embedded server and on one's own."""

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.address import DatabaseAddress
from deploy.analysts import (
    AnalystsUnavailable,
    connection_string,
    create_analyst,
    list_analysts,
    revoke_analyst,
    scram_verifier,
)
from deploy.database import external_database
from deploy.embedded_postgres import embedded_postgres
from deploy.migrate import migrate
from deploy.settings import Settings
from projections.engine import Engine
from tests.support.postgres import TestServer, create_tenant


async def test_a_readers_sessions_are_careful_by_default(
    database: DatabaseAddress, tenant_id: int
) -> None:
    """Read only, one snapshot a transaction, limits on time, and names found without a schema."""
    uri = await create_analyst(database, tenant_id, "ana")
    connection = await asyncpg.connect(uri)
    try:
        settings = {
            name: await connection.fetchval("SELECT current_setting($1)", name)
            for name in (
                "default_transaction_read_only", "default_transaction_isolation", "search_path",
                "statement_timeout", "idle_in_transaction_session_timeout",
            )
        }  # fmt: skip
        assert await connection.fetch("SELECT * FROM dim_product") == []
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("CREATE TABLE mine ()")
    finally:
        await connection.close()
    assert settings == {
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "repeatable read",
        "search_path": "analysis",
        "statement_timeout": "5min",
        "idle_in_transaction_session_timeout": "1min",
    }


async def test_the_password_is_in_no_catalogue(database: DatabaseAddress, tenant_id: int) -> None:
    """The server is told what it checks a password with, never the password."""
    uri = await create_analyst(database, tenant_id, "ana")
    (analyst,) = await list_analysts(database, tenant_id)
    assert analyst.role in uri
    connection = await asyncpg.connect(**database.administrator)
    try:
        stored = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1", analyst.role
        )
    finally:
        await connection.close()
    assert stored.startswith("SCRAM-SHA-256$4096:")
    assert scram_verifier("x") != scram_verifier("x")


def test_a_connection_string_goes_where_the_service_does() -> None:
    """As the reader, and with what else the service's own URL says."""
    app = {"dsn": "postgresql://service:secret@db.example:6432/stock?sslmode=verify-full"}
    address = DatabaseAddress(app, app, app)
    assert connection_string(address, "analyst_1", "a/b") == (
        "postgresql://analyst_1:a%2Fb@db.example:6432/stock?sslmode=verify-full"
    )


async def test_the_embedded_server_may_listen_for_readers(tmp_path: Path) -> None:
    """On a port of this machine alone; whoever attaches finds the server by its socket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with (
        embedded_postgres(tmp_path, durable=False, tcp_port=port) as address,
        embedded_postgres(tmp_path, durable=False) as attached,
    ):
        assert attached == address
        await migrate(address.owner, then=[Engine().install])
        tenant_id = await create_tenant(address)
        uri = await create_analyst(address, tenant_id, "ana")
        assert f"@127.0.0.1:{port}/stockledger" in uri
        connection = await asyncpg.connect(uri)
        assert await connection.fetchval("SELECT analysis.tenant()") == tenant_id
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(uri, password="wrong")


@asynccontextmanager
async def own_database(postgres: TestServer, attributes: str) -> AsyncGenerator[DatabaseAddress]:
    """Give the way in to a database that an administrator who is no superuser looks after."""
    name, admin = f"own_{secrets.token_hex(6)}", f"admin_{secrets.token_hex(6)}"
    await postgres.execute(f"CREATE ROLE {admin} LOGIN PASSWORD 'secret' {attributes}")
    # As one has it who made the roles.
    for role in ("owner", "app", "analysis", "reader"):
        await postgres.execute(
            f"GRANT stockledger_{role} TO {admin} WITH ADMIN TRUE, INHERIT FALSE, SET TRUE"
        )
    await postgres.execute(f"CREATE DATABASE {name} OWNER stockledger_owner")
    host = postgres.address.app["host"]
    try:
        settings = Settings(
            database_url=f"postgresql://{admin}:secret@/{name}?host={host}", data_dir=Path("/x")
        )
        address = await external_database(settings)
        await migrate(address.owner, then=[Engine().install])
        yield address
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await postgres.execute(f"DROP OWNED BY {admin} CASCADE")


async def test_an_administrator_who_may_make_roles_makes_readers(
    postgres: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No superuser is needed: neither for the views nor for the readers, nor to end them."""
    monkeypatch.setattr("deploy.database.require_durable", _nothing)
    async with own_database(postgres, "CREATEROLE") as address:
        tenant_id = await create_tenant(address)
        uri = await create_analyst(address, tenant_id, "ana")
        connection = await asyncpg.connect(uri)
        assert await connection.fetchval("SELECT analysis.tenant()") == tenant_id
        assert await connection.fetch("SELECT * FROM stock_level") == []
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("CREATE TEMPORARY TABLE mine ()")
        assert await revoke_analyst(address, tenant_id, "ana") == 1
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
            await connection.fetch("SELECT * FROM stock_level")


async def test_an_administrator_who_may_not_is_told_what_to_do(
    postgres: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else works; the error names the right that is missing."""
    monkeypatch.setattr("deploy.database.require_durable", _nothing)
    async with own_database(postgres, "NOCREATEROLE") as address:
        tenant_id = await create_tenant(address)
        with pytest.raises(AnalystsUnavailable, match="CREATEROLE"):
            await create_analyst(address, tenant_id, "ana")
        assert await list_analysts(address, tenant_id) == []


async def _nothing(_parameters: object) -> None:
    """Take the test server, which is quick and not durable, for one that is."""
