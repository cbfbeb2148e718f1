"""A service reduced to its NATS: runs it until standard input closes. For tests to kill."""

import asyncio
import sys
from pathlib import Path

from deploy.embedded_nats import embedded_nats


async def main() -> None:
    """Run, and say so when it is told where the server will be."""
    async with embedded_nats(Path(sys.argv[1]), store_bytes_max=2**30) as url:
        print(url, flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
