"""The same statements on other tables: those of another moment, or of a copy."""

from collections.abc import Callable
from typing import Any

import asyncpg

from projections.projection import Connection


class Elsewhere:
    """A connection on which statements are ``rewrite``'s of them, and so find other tables."""

    def __init__(self, connection: Connection, rewrite: Callable[[str], str]) -> None:
        self._connection = connection
        self._rewrite = rewrite

    async def execute(self, query: str, *arguments: object) -> str:
        """Run a statement there."""
        return await self._connection.execute(self._rewrite(query), *arguments)

    async def executemany(self, query: str, arguments: Any) -> None:
        """Run a statement there for each of some arguments."""
        await self._connection.executemany(self._rewrite(query), arguments)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return what a query finds there."""
        return await self._connection.fetch(self._rewrite(query), *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Return the first row that a query finds there."""
        return await self._connection.fetchrow(self._rewrite(query), *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """Return the first value that a query finds there."""
        return await self._connection.fetchval(self._rewrite(query), *arguments)

    def cursor(self, query: str, *arguments: object, **options: Any) -> Any:
        """Return a cursor over what a query finds there."""
        return self._connection.cursor(self._rewrite(query), *arguments, **options)
