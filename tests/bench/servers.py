"""The servers under test, as child processes on ports of their own."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import Request, urlopen

import asyncpg
import msgspec
import psutil

from deploy.address import DatabaseAddress
from deploy.embedded_postgres import embedded_postgres
from tests.bench import baselines, plain
from tests.bench.load import Lane
from tests.bench.measure import load
from tests.bench.traffic import SEED_QUANTITY, sku

API_KEY = "bench_key_0123456789abcdefghijklmnopqrstuvwxyz"
OWNER_EMAIL = "bench@example.com"
OWNER_PASSWORD = "bench owner's password"
START_TIMEOUT_S = 120
SETTLE_TIMEOUT_S = 900
LOCATION = "BENCH"
ADJUST = "/api/inventory/adjust"
ORDERS = "/api/orders"
BULK = "/api/ledger/commands"
# From linux/prctl.h.
PR_SET_PDEATHSIG = 1

_IS_BEHIND = """
SELECT EXISTS (
    SELECT FROM projections.checkpoint c JOIN ledger.head h USING (tenant_id)
    WHERE c.parked_at IS NULL AND c.position < h.position
)
"""


class ServerFailed(Exception):
    """A server did not start, or died; the message holds the end of its log."""


class Server(NamedTuple):
    """A running server."""

    port: int
    process: asyncio.subprocess.Process
    api_key: str = API_KEY

    def memory_bytes(self) -> int:
        """Return the resident memory of the server's own process (its database's not)."""
        return psutil.Process(self.process.pid).memory_info().rss


class Installation:
    """A service with a database of its own, and the products that the bench works on."""

    def __init__(self, server: Server, database: DatabaseAddress, location_id: int) -> None:
        self.server = server
        self.database = database
        self.location_id = location_id
        self.products = 0

    def adjust(self, name: str, connections: int, products: int) -> Lane:
        """Return a lane of single adjustments."""
        return Lane(
            name=name,
            connections=connections,
            kind="adjust",
            options={"path": ADJUST, "products": products, "location_id": self.location_id},
        )

    def order(self, name: str, connections: int, products: int) -> Lane:
        """Return a lane of orders of three lines."""
        return Lane(
            name=name,
            connections=connections,
            kind="order",
            options={"path": ORDERS, "products": products, "location_id": self.location_id},
        )

    def bulk(self, name: str, connections: int, products: int, **more: Any) -> Lane:
        """Return a lane of bulk requests."""
        where = {"path": BULK, "products": products, "location": LOCATION}
        return Lane(name=name, connections=connections, kind="bulk", options={**where, **more})

    async def grow(self, products: int, on_done: Callable[[int], None] = lambda done: None) -> None:
        """Register products until there are so many, and give each new one stock.

        That is two events a product. Ids are counted, so over one connection the n-th SKU is
        of product n.
        """
        first, more = self.products + 1, products - self.products
        if more <= 0:
            return
        register = Lane(
            name="register",
            connections=1,
            kind="register",
            options={"path": BULK, "products": more, "first": first},
        )
        await load(self.server.port, API_KEY, [register], on_done=on_done)
        await self.seed(first, more, on_done)
        self.products = products

    async def seed(
        self, first: int, products: int, on_done: Callable[[int], None] = lambda done: None
    ) -> None:
        """Give each of some products stock, in turn."""
        lane = self.bulk("seed", 1, products, first=first, in_turn=True, movements=products)
        await load(self.server.port, API_KEY, [lane], on_done=on_done)

    async def fill(self, events: int, on_done: Callable[[int], None]) -> None:
        """Adjust at random until the log has so many events."""
        missing = events - await self.events()
        if missing > 0:
            lane = self.bulk("fill", 3, self.products, movements=missing)
            await load(self.server.port, API_KEY, [lane], on_done=on_done)

    async def events(self) -> int:
        """Return the number of events in the log."""
        connection = await asyncpg.connect(**self.database.administrator)
        try:
            events: int = await connection.fetchval(
                "SELECT coalesce(sum(position), 0)::bigint FROM ledger.head"
            )
            return events
        finally:
            await connection.close()

    async def settle(self) -> None:
        """Bring the database to rest: what follows the log is there, statistics up to date, and a
        checkpoint behind it.
        """
        connection = await asyncpg.connect(**self.database.administrator)
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while await connection.fetchval(_IS_BEHIND):
                    await asyncio.sleep(0.2)
            await connection.execute("VACUUM (ANALYZE)")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()


@asynccontextmanager
async def installation(
    folder: Path, *, workers: int = 1, http_server: str = "granian", outward: bool = False
) -> AsyncGenerator[Installation]:
    """Run ``stockledger serve`` on a folder, with an embedded PostgreSQL, and open a location.

    With ``outward`` it tells others: NATS gets all events, and webhooks are sent. What that costs
    has a figure of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        "STOCKLEDGER_DATA_DIR": str(folder),
        "STOCKLEDGER_HOST": "127.0.0.1",
        "STOCKLEDGER_PORT": str(port),
        "STOCKLEDGER_WORKERS": str(workers),
        "STOCKLEDGER_HTTP_SERVER": http_server,
        "STOCKLEDGER_RELAY": str(outward).lower(),
        "STOCKLEDGER_WEBHOOKS": str(outward).lower(),
        "STOCKLEDGER_WEBHOOK_HTTP_ALLOWED": str(outward).lower(),
        "STOCKLEDGER_WEBHOOK_PRIVATE_ALLOWED": str(outward).lower(),
        "STOCKLEDGER_LOG_LEVEL": "warning",
        "STOCKLEDGER_LOG_FORMAT": "json",
        "STOCKLEDGER_BOOTSTRAP_TENANT": "Bench",
        "STOCKLEDGER_BOOTSTRAP_API_KEY": API_KEY,
        "STOCKLEDGER_BOOTSTRAP_OWNER_EMAIL": OWNER_EMAIL,
        "STOCKLEDGER_BOOTSTRAP_OWNER_PASSWORD": OWNER_PASSWORD,
    }
    command = [sys.executable, "-m", "deploy.cli", "serve"]
    async with _child(command, environment, folder / "serve.log", port, "/health/ready") as process:
        server = Server(port, process)
        async with embedded_postgres(folder) as database:
            location_id = await asyncio.to_thread(_open_location, port)
            yield Installation(server, database, location_id)


def _open_location(port: int) -> int:
    """Open the bench's location where there is none, and return its id."""
    for warehouse in call(port, "GET", "/api/warehouses")["warehouses"]:
        if warehouse["code"] == LOCATION:
            return warehouse["id"]
    command = {"type": "OpenLocation", "data": {"name": "Bench", "code": LOCATION}}
    call(port, "POST", BULK, {"mode": "atomic", "commands": [command]})
    return _open_location(port)


@asynccontextmanager
async def bench_server(
    application: str, folder: Path, http_server: str, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Server]:
    """Run one of the bench's own applications, served as the service is."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.serve", application, str(port), http_server]
    log = folder / f"{application.rpartition('.')[2].partition(':')[0]}.log"
    async with _child(command, environment or {}, log, port, None) as process:
        yield Server(port, process)


@asynccontextmanager
async def plain_server(
    where: DatabaseAddress, folder: Path, http_server: str, *, products: int, location_id: int
) -> AsyncGenerator[Server]:
    """Run the plain handler on a database of its own, on the same server as the log."""
    administrator = await asyncpg.connect(**where.administrator)
    try:
        await administrator.execute("CREATE DATABASE plain")
    finally:
        await administrator.close()
    parameters = where.of_database("plain").administrator
    connection = await asyncpg.connect(**parameters)
    try:
        await connection.execute(plain.SCHEMA)
        await connection.copy_records_to_table(
            "stock",
            records=[(n, location_id, sku(n), SEED_QUANTITY) for n in range(1, products + 1)],
        )
        await connection.execute("VACUUM ANALYZE stock")
    finally:
        await connection.close()
    environment = {plain.DSN_VARIABLE: msgspec.json.encode(dict(parameters)).decode()}
    async with bench_server("tests.bench.plain:app", folder, http_server, environment) as server:
        yield server


async def prepare_baselines(where: DatabaseAddress) -> None:
    """Make the copy of the event table that rows are inserted into."""
    connection = await asyncpg.connect(**where.administrator)
    try:
        await connection.execute(baselines.PREPARE)
    finally:
        await connection.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(port: int, method: str, path: str, body: object = None) -> Any:
    """Make one request and return the decoded answer; raise HTTPError unless it is a success."""
    request = Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=None if body is None else msgspec.json.encode(body),
        headers={"X-API-Key": API_KEY, "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        content = answer.read()
    return msgspec.json.decode(content) if content else None


@asynccontextmanager
async def _child(
    command: list[str],
    environment: Mapping[str, str],
    log: Path,
    port: int,
    ready: str | None,
) -> AsyncGenerator[asyncio.subprocess.Process]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STOCKLEDGER_")}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**inherited, **environment},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        await _wait_until_ready(process, port, ready, log)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 90)
            except TimeoutError:
                process.kill()
                await process.wait()


def _end_with_parent() -> None:
    """In the child: have Linux end it when the bench is killed, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


async def _wait_until_ready(
    process: asyncio.subprocess.Process, port: int, ready: str | None, log: Path
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_TIMEOUT_S
    while loop.time() < deadline and process.returncode is None:
        with contextlib.suppress(OSError, URLError):
            if ready is None:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            else:
                await asyncio.to_thread(call, port, "GET", ready)
            return
        await asyncio.sleep(0.1)
    last_words = log.read_bytes()[-2000:].decode(errors="replace")
    raise ServerFailed(f"the server of {log.name} did not start:\n{last_words}")
