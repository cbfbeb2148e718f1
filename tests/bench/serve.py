"""Serve one of the bench's own applications exactly as the service is served.

``python -m tests.bench.serve tests.bench.plain:app 8001 granian``
"""

import asyncio
import signal
import sys
from importlib import import_module
from typing import cast

from deploy.http_server import serve_http
from deploy.running import run
from deploy.settings import Settings


async def serve(name: str, settings: Settings) -> None:
    """Serve ``module:attribute`` until told to stop."""
    module, _, attribute = name.partition(":")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve_http(getattr(import_module(module), attribute), settings, stop)


if __name__ == "__main__":
    settings = Settings(
        port=int(sys.argv[2]),
        http_server=cast("str", sys.argv[3]),  # type: ignore[arg-type]
        log_level="warning",
    )
    run(settings, serve(sys.argv[1], settings))
