"""A webhooks' receiver that fails often, and remembers what it was sent."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from standardwebhooks import Webhook


class Taken(NamedTuple):
    """A message that was answered well: its id and what it tells."""

    id: str
    data: dict[str, Any]


class UnreliableReceiver:
    """Answers 500 to a part of what it gets, at random; the rest it takes, once an id."""

    def __init__(self, seed: int, failing: float = 0.5) -> None:
        self._failing = failing
        self._dice = random.Random(seed)
        self._seen: set[str] = set()
        self.secret = ""
        self.taken: list[Taken] = []
        self.failed = 0
        self.again = 0
        self.wrong: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Listen on a free port of this machine for as long as the block lasts."""
        application = web.Application()
        application.router.add_post("/", self._receive)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            message: Any = Webhook(self.secret).verify(body, dict(request.headers))
        except Exception as fault:
            self.wrong.append(f"not signed as it should be: {fault!r}")
            return web.Response(status=400)
        if message["type"] == "webhook.verification":
            return web.json_response({"challenge": message["challenge"]})
        if self._dice.random() < self._failing:
            self.failed += 1
            return web.Response(status=500, text="not now")
        known = request.headers["webhook-id"]
        if known in self._seen:
            self.again += 1
        else:
            self._seen.add(known)
            self.taken.append(Taken(known, message["data"]))
        return web.Response(status=204)
