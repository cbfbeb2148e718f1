"""The whole service on a port of its own, in a thread, for tests that bring their own client."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import uvicorn

from api.app import create_app
from api.credentials import new_session
from deploy.bootstrap import Founded, found_tenant
from deploy.settings import Settings
from deploy.wiring import following, house_at
from tests.support.postgres import TestServer


class Served(NamedTuple):
    """Where a service listens, and who may use it."""

    url: str
    founded: Founded
    token: str


@contextmanager
def served(postgres: TestServer, data_dir: Path, *, follows: bool = False) -> Generator[Served]:
    """Serve a fresh database with one tenant until the block ends.

    With ``follows`` the read models that follow the log are kept up.
    """
    result: list[Served | BaseException] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with (
            postgres.fresh_database() as address,
            house_at(Settings(data_dir=data_dir), address) as house,
            following(house) if follows else nullcontext(),
        ):
            founded = await found_tenant(house, "Acme", email="owner@example.com")
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port = listener.getsockname()[1]
                server = uvicorn.Server(
                    uvicorn.Config(
                        create_app(house),
                        log_config=None,
                        access_log=False,
                        lifespan="on",
                    )
                )
                serving = asyncio.create_task(server.serve(sockets=[listener]))
                while not server.started and not serving.done():
                    await asyncio.sleep(0.01)
                secret = house.settings.jwt_secret
                token = new_session(
                    secret,
                    tenant_id=founded.tenant_id,
                    user_id=1,
                    role="owner",
                    name="Owner",
                    now=house.now(),
                )
                result.append(Served(f"http://127.0.0.1:{port}", founded, token))
                started.set()
                await asyncio.to_thread(stop.wait)
                server.should_exit = True
                await serving

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as fault:
            result.append(fault)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    started.wait()
    try:
        first = result[0]
        if isinstance(first, BaseException):
            raise first
        yield first
    finally:
        stop.set()
        thread.join()
