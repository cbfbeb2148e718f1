"""A PostgreSQL for the whole test run, and a fresh, migrated database for each test in it."""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
import threading
import time
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
END_OTHERS_WITHIN_S = 5.0
Result = TypeVar("Result")


class TestServer:
    """A running server, whose databases ``fresh_database`` makes in milliseconds."""

    __test__ = False

    def __init__(self, address: DatabaseAddress) -> None:
        self.address = address
        self._emptied: list[str] = []
        self._full: list[str] = []
        self._new = ""

    @asynccontextmanager
    async def fresh_database(self) -> AsyncGenerator[DatabaseAddress]:
        """Give the way in to a migrated database of its own.

        At the end it is emptied for the next one, or dropped, where more than rows has changed.
        """
        if self._emptied:
            name = self._emptied.pop()
        else:
            name = f"test_{secrets.token_hex(6)}"
            # Of files that nobody writes to: quicker than by way of the write-ahead log.
            await self.execute(
                f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER_ROLE} STRATEGY FILE_COPY"
            )
        try:
            yield self.address.of_database(name)
        finally:
            if await self._empty(name):
                self._emptied.append(name)
            else:
                await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _empty(self, name: str) -> bool:
        """Take all rows out of a database, unless its tables, rights or versions have changed."""
        connection = await asyncpg.connect(**self.address.of_database(name).administrator)
        try:
            deadline = time.monotonic() + END_OTHERS_WITHIN_S
            while await connection.fetchval(_END_OTHERS):
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(0.002)
            if await _shape(connection, self._full) != self._new:
                return False
            emptying = await connection.fetchval(_EMPTYING, self._full)
            await connection.execute(f"SET session_replication_role = replica; {emptying or ''}")
            return True
        finally:
            await connection.close()

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
        template = self.address.of_database(TEMPLATE)
        await migrate(template.owner, then=[Engine().install])
        connection = await asyncpg.connect(**template.administrator)
        try:
            tables = [row[0] for row in await connection.fetch(_TABLES)]
            self._full = [
                table
                for table in tables
                if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})")
            ]
            self._new = await _shape(connection, self._full)
        finally:
            await connection.close()


_END_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Tables that are not empty to begin with are a part of the shape.
_OURS = "nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'"
_SHAPE = f"""
SELECT concat_ws(
    '/',
    (SELECT md5(string_agg(concat_ws(',', c.oid, relname, nspname, relacl, relnatts, relowner,
                                     relhastriggers, relkind = 'r' AND reltuples = 0),
                                ';' ORDER BY c.oid))
     FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS}),
    (SELECT md5(string_agg(concat_ws(',', oid, nspname, nspacl), ';' ORDER BY oid))
     FROM pg_namespace WHERE {_OURS}),
    (SELECT md5(string_agg(concat_ws(',', p.oid, proacl, prosrc), ';' ORDER BY p.oid))
     FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE {_OURS}),
    (SELECT md5(string_agg(concat_ws(',', oid, tgrelid, tgenabled), ';' ORDER BY oid))
     FROM pg_trigger),
    (SELECT md5(string_agg(concat_ws(',', oid, polrelid), ';' ORDER BY oid)) FROM pg_policy),
    (SELECT datacl FROM pg_database WHERE datname = current_database())
)
"""
_TABLES = f"""
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE {_OURS} AND relkind = 'r'
"""
# Truncating makes new files, which takes longer than deleting a few rows.
_EMPTYING = f"""
SELECT string_agg(
    CASE WHEN pg_relation_size(c.oid) > 65536 THEN format('TRUNCATE %s CASCADE', c.oid::regclass)
         ELSE format('DELETE FROM %s', c.oid::regclass) END, ';')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE {_OURS} AND relkind = 'r' AND pg_relation_size(c.oid) > 0
  AND c.oid::regclass::text <> ALL ($1::text[])
"""


async def say_that_tables_are_empty(database: DatabaseAddress) -> None:
    """Have the planner count on one row in each table, until it is analysed.

    That is what it does after an ANALYZE that came while the first rows were not committed yet.
    """
    await _execute_in(database, _EMPTY_STATISTICS)


async def analyse(database: DatabaseAddress) -> None:
    """Have the planner know what is in the tables."""
    await _execute_in(database, "ANALYZE")


async def _execute_in(database: DatabaseAddress, statement: str) -> None:
    connection = await asyncpg.connect(**database.administrator)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


_EMPTY_STATISTICS = f"""
UPDATE pg_class c SET reltuples = 0, relpages = 1 FROM pg_namespace n
WHERE n.oid = c.relnamespace AND {_OURS} AND c.relkind = 'r'
"""


async def _shape(connection: "asyncpg.Connection[Any]", full: list[str]) -> str:
    """Return what tells whether more has changed than the rows of tables that were empty."""
    parts: list[str] = [await connection.fetchval(_SHAPE)]
    for table in full:
        rows = f"SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM {table} t"
        parts.append(await connection.fetchval(rows) or "")
    return "/".join(parts)


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
