"""One HTTP server in this process's event loop, stopped cleanly when it is told to."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from deploy.settings import Settings
from ledger.errors import OperatorError

if TYPE_CHECKING:
    from litestar.types import ASGIApp

DRAIN_S: Final = 15
BACKLOG: Final = 2048
START_TIMEOUT_S: Final = 30


class PortTaken(OperatorError):
    """The address cannot be listened on; the message says why and what to do."""


def claim_port(settings: Settings) -> int:
    """Return the port to listen on, a free one for port 0; raise PortTaken when it is not free.

    The servers share a port among processes (SO_REUSEPORT), so on their own they would not
    notice that a stranger, or an earlier service, listens there already.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise PortTaken(
            f"cannot listen on {settings.host} port {settings.port}: {error}. "
            "Set STOCKLEDGER_HOST and STOCKLEDGER_PORT to an address that is free."
        ) from error


async def serve_http(
    app: "ASGIApp",
    settings: Settings,
    stop: asyncio.Event,
    *,
    on_ready: Callable[[], object] | None = None,
) -> None:
    """Serve until ``stop``; then take no more connections, finish what runs, and return.

    What still runs after ``DRAIN_S`` is cut off. ``on_ready`` is called once when connections
    are taken.
    """
    serving = asyncio.create_task(
        _granian(app, settings, stop)
        if settings.http_server == "granian"
        else _uvicorn(app, settings, stop)
    )
    try:
        if await _listening(settings, serving) and on_ready is not None:
            on_ready()
        await serving
    finally:
        stop.set()
        await asyncio.gather(serving, return_exceptions=True)


async def _listening(settings: Settings, serving: "asyncio.Task[None]") -> bool:
    """Wait until connections are taken; return False when the server ends before that."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    for _ in range(START_TIMEOUT_S * 20):
        if serving.done():
            return False
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, settings.port)
            writer.close()
            return True
        await asyncio.sleep(0.05)
    raise PortTaken(f"nothing answers on {host} port {settings.port}")


async def _granian(app: "ASGIApp", settings: Settings, stop: asyncio.Event) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        backlog=BACKLOG,
        backpressure=BACKLOG,
        websockets=False,
        log_enabled=False,
    )
    server.workers_kill_timeout = DRAIN_S

    async def stop_it() -> None:
        await stop.wait()
        server.stop()

    stopping = asyncio.create_task(stop_it())
    try:
        await server.serve()
    finally:
        stopping.cancel()


async def _uvicorn(app: "ASGIApp", settings: Settings, stop: asyncio.Event) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves the process's signals to us."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = Server(config)

    async def stop_it() -> None:
        await stop.wait()
        server.should_exit = True

    stopping = asyncio.create_task(stop_it())
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        try:
            await server.serve(sockets=[listener])
        finally:
            stopping.cancel()
