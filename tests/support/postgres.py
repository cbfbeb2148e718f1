"""A PostgreSQL for the whole test run, and a fresh, migrated database for each test in it."""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from deploy.address import OWNER_ROLE, DatabaseAddress
from deploy.embedded_postgres import embedded_postgres
from deploy.migrate import migrate
from projections.engine import Engine

TEMPLATE = "stockledger_template"
Result = TypeVar("Result")


class TestServer:
    """A running server, whose databases ``fresh_database`` makes in milliseconds."""

    __test__ = False

    def __init__(self, address: DatabaseAddress) -> None:
        self.address = address

    @asynccontextmanager
    async def fresh_database(self) -> AsyncGenerator[DatabaseAddress]:
        """Give the way in to a migrated database of its own; it is dropped at the end."""
        name = f"test_{secrets.token_hex(6)}"
        # Of files that nobody writes to: quicker than by way of the write-ahead log.
        await self.execute(
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER_ROLE} STRATEGY FILE_COPY"
        )
        try:
            yield self.address.of_database(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str) -> None:
        """Run a statement as the server's administrator, outside any test's database."""
        connection = await asyncpg.connect(**self.address.of_database("postgres").administrator)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def make_template(self) -> None:
        """Make the database that every test's own is a copy of."""
        await self.execute(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER_ROLE}")
        await migrate(self.address.of_database(TEMPLATE).owner, then=[Engine().install])


@contextmanager
def running_server() -> Generator[TestServer]:
    """Run a server that is quick and not durable, for tests with an event loop or without.

    It is looked after by a thread and an event loop of its own, so that it belongs to no test's.
    """
    # Directly below the folder for temporary files: pytest's own would make the path too long.
    data_dir = Path(tempfile.mkdtemp(prefix="stockledger-test-"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test PostgreSQL", daemon=True)
    thread.start()

    def do(coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    try:
        running = embedded_postgres(data_dir, exclusive=True, durable=False)
        address = do(_enter(running))
        try:
            server = TestServer(address)
            do(server.make_template())
            yield server
        finally:
            do(_leave(running))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(data_dir, ignore_errors=True)


async def _enter(running: contextlib.AbstractAsyncContextManager[Result]) -> Result:
    return await running.__aenter__()


async def _leave(running: contextlib.AbstractAsyncContextManager[Any]) -> None:
    await running.__aexit__(None, None, None)


async def create_tenant(address: DatabaseAddress, slug: str | None = None) -> int:
    """Make an empty tenant; return its id."""
    slug = slug or f"t{secrets.token_hex(6)}"
    connection = await asyncpg.connect(**address.owner)
    try:
        return await connection.fetchval(
            "SELECT ledger.create_tenant($1, $1, 'UTC', gen_random_uuid(), now())", slug
        )
    finally:
        await connection.close()
