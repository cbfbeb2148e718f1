"""PostgreSQL 18 as our own child process, from the binaries that a wheel carries.

Its data lie in ``data_dir/postgres``, it listens on a private Unix socket alone, wants a
password even there, and ends when we end, however we end (``postgres_supervisor``). One
process at a time runs it for a data folder, held by a file lock; others attach to it.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import structlog

from deploy import postgres_cluster
from deploy.address import ANALYSIS_ROLES, APP_ROLE, OWNER_ROLE, DatabaseAddress
from deploy.child_process import start_child, stop_child
from deploy.data_lock import DataFolderBusy, DataLock
from deploy.postgres_cluster import Cluster, PostgresFailed

DATABASE: Final = "stockledger"
BOOT_TIMEOUT_S: Final = 90
STOP_TIMEOUT_S: Final = 75
RESTARTS_MAX: Final = 5
DURABLE: Final = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}

log = structlog.get_logger(__name__)


@asynccontextmanager
async def embedded_postgres(
    data_dir: Path,
    *,
    exclusive: bool = False,
    durable: bool = True,
    options: Mapping[str, str] | None = None,
    tcp_port: int = 0,
    on_lost: Callable[[], object] | None = None,
) -> AsyncGenerator[DatabaseAddress]:
    """Run the data folder's PostgreSQL, or attach to the one that another process runs.

    The first start makes the cluster, its roles and the database ``stockledger``. A server
    that dies is started again; when that fails ``RESTARTS_MAX`` times in a row ``on_lost`` is
    called. ``exclusive`` refuses to attach: raises DataFolderBusy naming who has the folder.
    ``durable=False``, for tests alone, gives up durability for speed. ``options`` are further
    server settings. With ``tcp_port`` it listens on 127.0.0.1 too. Raises PostgresFailed, with
    what the server said, when it cannot start.
    """
    data_dir = data_dir.absolute()
    lock = DataLock(data_dir)
    async with AsyncExitStack() as stack:
        address = await _attach(data_dir, lock, exclusive=exclusive)
        if address is None:
            stack.callback(lock.release)
            server = _Server(
                data_dir, durable=durable, options=options or {}, tcp_port=tcp_port, on_lost=on_lost
            )
            address = await stack.enter_async_context(server.running())
        yield address


async def _attach(data_dir: Path, lock: DataLock, *, exclusive: bool) -> DatabaseAddress | None:
    """Return the address of a server that runs already, or None with the lock taken."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BOOT_TIMEOUT_S
    while not lock.acquire():
        if exclusive:
            raise DataFolderBusy(data_dir, lock.holder())
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            socket_dir = postgres_cluster.read_socket_dir(data_dir)
            address = _address(socket_dir, postgres_cluster.read_port(data_dir), data_dir)
            if await _answers(address.app):
                return address
        if loop.time() > deadline:
            raise PostgresFailed(
                f"{lock.holder()} holds {data_dir}, but its PostgreSQL does not answer; stop it"
            )
        await asyncio.sleep(0.1)
    return None


def _address(socket_dir: Path, port: int, data_dir: Path) -> DatabaseAddress:
    secrets = data_dir / "secrets"
    common = {"host": str(socket_dir), "port": port, "database": DATABASE}
    app = {
        **common,
        "user": APP_ROLE,
        "password": postgres_cluster.password(secrets, "postgres-app"),
    }
    administrator = {
        **common,
        "user": postgres_cluster.SUPERUSER,
        "password": postgres_cluster.password(secrets, "postgres-superuser"),
    }
    owner = {**administrator, "server_settings": {"role": OWNER_ROLE}}
    return DatabaseAddress(app, owner, administrator)


async def _answers(parameters: Mapping[str, Any]) -> bool:
    """Say whether the server takes connections yet."""
    try:
        connection = await asyncpg.connect(**parameters, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


class _Server:
    """The server that this process runs: its supervisor, and the watch over it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool,
        options: Mapping[str, str],
        tcp_port: int,
        on_lost: Callable[[], object] | None,
    ) -> None:
        self._data_dir = data_dir
        self._tcp_port = tcp_port
        self._durable = durable
        self._options = options
        self._on_lost = on_lost
        self._supervisor: asyncio.subprocess.Process | None = None
        self._cluster: Cluster | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[DatabaseAddress]:
        self._cluster = cluster = await asyncio.to_thread(
            Cluster.prepare, self._data_dir, durable=self._durable, tcp_port=self._tcp_port
        )
        watch: asyncio.Task[None] | None = None
        try:
            address = _address(cluster.socket_dir, cluster.port, self._data_dir)
            await self._boot(cluster, address)
            if self._durable:
                await require_durable(address.administrator)
            watch = asyncio.create_task(self._watch(cluster, address))
            yield address
        finally:
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
            await self._stop()
            cluster.forget_socket()

    async def _boot(self, cluster: Cluster, address: DatabaseAddress) -> None:
        """Start the server and wait until the service can log in to it."""
        await asyncio.to_thread(cluster.clear_leftovers)
        argv = cluster.command(self._options)
        self._supervisor = await start_child(
            argv,
            output=cluster.start_log,
            folder=cluster.folder if os.access(cluster.folder, os.X_OK) else Path("/"),
            environment=postgres_cluster.environment(),
            run_as=cluster.run_as_spec(),
        )
        try:
            async with asyncio.timeout(BOOT_TIMEOUT_S):
                administrator = {**address.administrator, "database": "postgres"}
                while not await _answers(administrator):
                    if self._supervisor.returncode is not None:
                        raise PostgresFailed(
                            f"PostgreSQL did not start on {cluster.folder}:\n{cluster.last_words()}"
                        )
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self._stop()
            raise PostgresFailed(
                f"PostgreSQL did not answer within {BOOT_TIMEOUT_S} s:\n{cluster.last_words()}"
            ) from None
        await _ensure_database(administrator, address)

    async def _watch(self, cluster: Cluster, address: DatabaseAddress) -> None:
        """Start the server again whenever it dies."""
        failures = 0
        while failures < RESTARTS_MAX:
            assert self._supervisor is not None
            status = await self._supervisor.wait()
            log.error("postgres_died", exit_status=status)
            try:
                await self._boot(cluster, address)
            except (OSError, PostgresFailed, asyncpg.PostgresError) as error:
                failures += 1
                log.error("postgres_restart_failed", error=str(error), attempt=failures)
                await asyncio.sleep(0.5 * failures)
            else:
                failures = 0
                log.warning("postgres_restarted")
        log.critical("postgres_lost", data_dir=str(self._data_dir))
        if self._on_lost is not None:
            self._on_lost()

    async def _stop(self) -> None:
        await stop_child(self._supervisor, STOP_TIMEOUT_S)


async def require_durable(parameters: Mapping[str, Any]) -> None:
    """Raise PostgresFailed unless an acknowledged commit is on disk (fsync and its like)."""
    connection = await asyncpg.connect(**parameters)
    try:
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", list(DURABLE)
        )
    finally:
        await connection.close()
    # synchronous_commit's stronger values wait for replicas too.
    stronger = {"synchronous_commit": {"remote_write", "remote_apply"}}
    wrong = [
        f"{row['name']} is {row['setting']} and must be {DURABLE[row['name']]}"
        for row in rows
        if row["setting"] not in {DURABLE[row["name"]], *stronger.get(row["name"], ())}
    ]
    if wrong:
        raise PostgresFailed(
            "PostgreSQL could lose what was acknowledged, so it is not served from: "
            + "; ".join(wrong)
        )


async def _ensure_database(administrator: Mapping[str, Any], address: DatabaseAddress) -> None:
    """Make the roles and the database of the service, where they are missing."""
    connection = await asyncpg.connect(**administrator)
    try:
        for role, attributes in (
            (OWNER_ROLE, "NOLOGIN"),
            (APP_ROLE, "LOGIN"),
        ):
            found = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
            await connection.execute(
                f"{'ALTER' if found else 'CREATE'} ROLE {role} {attributes} NOSUPERUSER "
                "NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION"
            )
        await connection.execute(ANALYSIS_ROLES)
        # The password is of URL-safe letters only, so it needs no escaping.
        await connection.execute(f"ALTER ROLE {APP_ROLE} PASSWORD '{address.app['password']}'")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE}")
            await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        # Temporary tables hold read models as they were at another moment (projections.past).
        await connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {APP_ROLE}")
    finally:
        await connection.close()
