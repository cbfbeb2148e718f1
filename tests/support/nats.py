"""NATS servers of a test's own, one or a cluster, each of which can be killed and started again."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from deploy.child_process import start_child, stop_child
from deploy.embedded_nats import binary

WITHIN_S = 30.0


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Nats:
    """One server; ``settings`` is more of its configuration, and ``jetstream`` of JetStream's."""

    def __init__(
        self, folder: Path, port: int, name: str, *, settings: str = "", jetstream: str = ""
    ) -> None:
        self.folder = folder
        self.url = f"nats://127.0.0.1:{port}"
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(
            f"""\
server_name: {name}
host: 127.0.0.1
port: {port}
pid_file: {json.dumps(str(folder / "nats.pid"))}
jetstream {{
    store_dir: {json.dumps(str(folder / "jetstream"))}
    sync_interval: always
    {jetstream}
}}
{settings}
"""
        )
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        program = binary()
        assert program is not None
        self._child = await start_child(
            [str(program), "-c", str(self.folder / "nats.conf")],
            output=self.folder / "nats.log",
            folder=self.folder,
            environment={},
        )
        async with asyncio.timeout(WITHIN_S):
            while not await self.answers():
                said = (self.folder / "nats.log").read_text()
                assert self._child.returncode is None, f"NATS does not start: {said}"
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        """Say whether it takes connections."""
        try:
            async with self.client() as client:
                await client.flush()
        except (OSError, nats.errors.Error):
            return False
        return True

    async def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        pid = int((self.folder / "nats.pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._child is not None
        await self.signal(signal.SIGKILL)
        await self._child.wait()

    async def stop(self) -> None:
        """End it as its service would."""
        await stop_child(self._child, 30)

    async def wipe(self) -> None:
        """Kill it and lose all that it holds."""
        await self.kill()
        shutil.rmtree(self.folder / "jetstream")

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        """Give a connection."""
        client = await connect(self.url)
        try:
            yield client
        finally:
            await client.close()


async def connect(url: str) -> Client:
    """Connect now or not at all, which nats-py raises one of its errors or an OSError for."""

    async def ignore(_error: Exception) -> None:
        return None

    return await nats.connect(
        url,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0,
        connect_timeout=2,
        error_cb=ignore,
    )


@asynccontextmanager
async def running_nats(*, settings: str = "", jetstream: str = "") -> AsyncGenerator[Nats]:
    """Run a server on a free port with a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="stockledger-nats-"))
    server = Nats(folder, free_ports(1)[0], "one", settings=settings, jetstream=jetstream)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running_cluster(size: int = 3) -> AsyncGenerator[Sequence[Nats]]:
    """Run a cluster on loopback, each server with JetStream."""
    folder = Path(tempfile.mkdtemp(prefix="stockledger-nats-"))
    ports = free_ports(2 * size)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[size:])
    servers = [
        Nats(
            folder / f"n{number}",
            ports[number],
            f"n{number}",
            settings=f'cluster {{ name: test, listen: "127.0.0.1:{ports[size + number]}", '
            f"routes: [{routes}] }}",
        )
        for number in range(size)
    ]
    try:
        await asyncio.gather(*(server.start() for server in servers))
        await _elected(servers[0])
        yield servers
    finally:
        await asyncio.gather(*(server.stop() for server in servers), return_exceptions=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _elected(server: Nats) -> None:
    """Wait until the cluster has a leader that makes streams."""
    async with asyncio.timeout(WITHIN_S), server.client() as client:
        while True:
            with contextlib.suppress(nats.errors.Error):
                await client.jetstream(timeout=1).account_info()
                return
            await asyncio.sleep(0.1)


async def messages(client: Client, stream: str) -> list[Any]:
    """Return everything that a stream holds, in its order; nothing where there is none yet."""
    jetstream = client.jetstream()
    found: list[Any] = []
    try:
        info = await jetstream.stream_info(stream)
    except NotFoundError:
        return found
    if info.state.messages == 0:
        return found
    subscription = await jetstream.subscribe(
        info.config.subjects[0] if info.config.subjects else ">",
        stream=stream,
        ordered_consumer=True,
    )
    while len(found) < info.state.messages:
        found.append(await subscription.next_msg(timeout=10))
    await subscription.unsubscribe()
    return found
