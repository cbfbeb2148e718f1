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
    """At most one transaction at a time. A group decided in memory needs none before it writes."""

    def __init__(self, pool: Pool, tenant_id: int) -> None:
        self._pool = pool
        self._tenant_id = tenant_id
        self._connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | None = None
        self.is_begun = False
        self.committing = False

    async def connection(self) -> Connection:
        """Return the connection, in a transaction that sees one tenant."""
        if self._connection is None:
            self._connection = await self._pool.acquire()
        if not self.is_begun:
            await store.begin(self._connection, self._tenant_id)
            self.is_begun = True
        return self._connection

    async def commit(self, *, go_on: bool = False) -> None:
        """Commit what has been begun; with ``go_on`` begin anew in the same round trip.

        Where that fails, for whatever reason, the outcome is unknown: ``committing`` stays True.
        """
        if self._connection is None or not self.is_begun:
            return
        self.committing = True
        if go_on:
            await store.commit_and_begin(self._connection, self._tenant_id)
        else:
            await self._connection.execute("COMMIT")
            self.is_begun = False
        self.committing = False

    async def end(self) -> None:
        """Give the connection back, out of any transaction."""
        connection, self._connection = self._connection, None
        self.is_begun = False
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
