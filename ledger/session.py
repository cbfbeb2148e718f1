"""A tenant's transaction on a pooled connection, begun when it is first needed."""

from typing import cast

import asyncpg

from ledger import store
from ledger.store import Connection, Pool

CONNECTION_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    TimeoutError,
)
"""What is raised when the database went away, or does not answer."""


class Session:
    """At most one transaction. A group that is decided in memory needs none before it writes."""

    def __init__(self, pool: Pool, tenant_id: int) -> None:
        self._pool = pool
        self._tenant_id = tenant_id
        self._connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | None = None
        self.committing = False

    async def connection(self) -> Connection:
        """Return the connection, in a transaction that sees one tenant."""
        if self._connection is None:
            self._connection = await self._pool.acquire()
            await store.begin(self._connection, self._tenant_id)
        return self._connection

    async def commit(self) -> None:
        """Commit what has been begun. Lost in here, the outcome is unknown: ``committing``."""
        if self._connection is not None:
            self.committing = True
            await self._connection.execute("COMMIT")
            self.committing = False

    async def end(self) -> None:
        """Give the connection back, out of any transaction."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if store.is_open(connection) and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except CONNECTION_LOST:
            if store.is_open(connection):
                cast("asyncpg.Connection[asyncpg.Record]", connection).terminate()
        finally:
            await self._pool.release(connection)
