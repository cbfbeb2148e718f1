"""A receiver of webhooks for tests: a local HTTP server that remembers, and answers as told."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

Answering = Callable[["Received"], "web.Response | Awaitable[web.Response]"]


class Received(NamedTuple):
    """A request as it came in: ``path`` tells endpoints apart."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """What came in, in order; ``answering`` decides on the answer of each, 200 unless it says."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answering: dict[str, Answering] = {}
        self.port = 0

    def url(self, path: str = "/hook") -> str:
        """Return the address of an endpoint here."""
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """Return what came in at a path."""
        return [one for one in self.received if one.path == path]

    def answer(self, path: str, answering: Answering) -> None:
        """Decide how requests at a path are answered."""
        self.answering[path] = answering

    async def until(self, what: Callable[[], Any], timeout_s: float = 20) -> None:
        """Wait until something is true; fail when it does not get so."""
        async with asyncio.timeout(timeout_s):
            while not what():
                await asyncio.sleep(0.02)

    async def handle(self, request: web.Request) -> web.Response:
        """Take in a request."""
        body = await request.read()
        one = Received(request.path, {k.lower(): v for k, v in request.headers.items()}, body)
        self.received.append(one)
        decoded = msgspec.json.decode(body)
        if decoded.get("type") == "webhook.verification" and one.path not in self.answering:
            return web.json_response({"challenge": decoded["challenge"]})
        answer = self.answering.get(one.path, _accept)(one)
        return answer if isinstance(answer, web.Response) else await answer


def _accept(_one: Received) -> web.Response:
    return web.Response(status=200)


def status(code: int, **more: Any) -> Answering:
    """Answer with a status, always."""
    return lambda _one: web.Response(status=code, **more)


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """Run a receiver on a free port of this machine."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
