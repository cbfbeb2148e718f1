"""A service reduced to its database: runs it until standard input closes. For tests to kill."""

import asyncio
import sys
from pathlib import Path

from deploy.embedded_postgres import embedded_postgres


async def main() -> None:
    """Run, and say so when the server is up."""
    async with embedded_postgres(Path(sys.argv[1]), exclusive=True):
        print("up", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
