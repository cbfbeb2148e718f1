"""One connection for several tasks: their statements, and cursors, take turns."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, Final

import asyncpg

from projections.projection import Connection

CURSOR_ROWS: Final = 1_000
CURSORS_MAX: Final = 16


class SharedConnection:
    """A connection that several tasks may use: their statements wait for each other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self._cursors: deque[_HeldCursor] = deque()

    async def execute(self, query: str, *arguments: object) -> str:
        async with self._lock:
            return await self._connection.execute(query, *arguments)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._lock:
            return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: object) -> asyncpg.Record | None:
        async with self._lock:
            return await self._connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        async with self._lock:
            return await self._connection.fetchval(query, *arguments)

    async def copy_to_table(self, table_name: str, **options: Any) -> str:
        async with self._lock:
            return await self._connection.copy_to_table(table_name, **options)

    def cursor(
        self, query: str, *arguments: object, prefetch: int = CURSOR_ROWS, **_: object
    ) -> "_HeldCursor":
        return _HeldCursor(self, query, arguments, prefetch)

    async def make_room(self, cursor: "_HeldCursor") -> None:
        """Let go of the oldest cursor where many are open: whoever had it has stopped reading."""
        self._cursors.append(cursor)
        if len(self._cursors) > CURSORS_MAX:
            await self._cursors.popleft().close(given_up=True)


class _HeldCursor:
    """A cursor that needs no transaction: each of the writer's statements is one of its own.

    What it shows is as it was when it was opened, whatever others write meanwhile.
    """

    def __init__(
        self, writer: SharedConnection, query: str, arguments: Sequence[object], prefetch: int
    ) -> None:
        self._writer = writer
        self._query = query
        self._arguments = arguments
        self._prefetch = prefetch
        self._name = f"held_{next(_cursor_numbers)}"
        self._is_open = self._is_given_up = False

    def __await__(self) -> Generator[Any, None, "_HeldCursor"]:
        return self._opened().__await__()

    async def __aiter__(self) -> AsyncGenerator[asyncpg.Record, None]:
        await self._opened()
        try:
            while rows := await self.fetch(self._prefetch):
                for row in rows:
                    yield row
        finally:
            await self.close()

    async def fetch(self, n: int) -> list[asyncpg.Record]:
        """Return the next rows; none once they are at their end."""
        assert not self._is_given_up, "too many cursors are read from at once"
        if not self._is_open:
            return []
        rows = await self._writer.fetch(f"FETCH {int(n)} FROM {self._name}")
        if len(rows) < n:
            await self.close()
        return rows

    async def _opened(self) -> "_HeldCursor":
        statement = f"DECLARE {self._name} NO SCROLL CURSOR WITH HOLD FOR {self._query}"
        await self._writer.execute(statement, *self._arguments)
        self._is_open = True
        await self._writer.make_room(self)
        return self

    async def close(self, *, given_up: bool = False) -> None:
        """Let its rows go."""
        self._is_given_up = given_up and self._is_open
        if self._is_open:
            self._is_open = False
            await self._writer.execute(f"CLOSE {self._name}")


_cursor_numbers = itertools.count(1)
