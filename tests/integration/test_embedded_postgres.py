"""The embedded PostgreSQL is durable, private, ours alone, and never outlives us."""

import asyncio
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from deploy.address import APP_ROLE, DatabaseAddress
from deploy.data_lock import DataFolderBusy
from deploy.embedded_postgres import embedded_postgres, require_durable
from deploy.postgres_cluster import PostgresFailed

ROOT = Path(__file__).parents[2]


async def value(address: DatabaseAddress, query: str) -> object:
    """Return what a query gives, asked as the owner."""
    connection = await asyncpg.connect(**address.owner)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def servers(data_dir: Path) -> list[psutil.Process]:
    """Return the data folder's postmasters and their supervisors."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(data_dir) in part for part in process.info["cmdline"] or [])
        and "run_embedded.py" not in " ".join(process.info["cmdline"] or [])
    ]


async def gone(data_dir: Path, *, within_s: float = 20) -> bool:
    """Wait until no server of the data folder is left; say whether that came."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if not servers(data_dir):
            return True
        await asyncio.sleep(0.05)
    return False


@asynccontextmanager
async def other_process(data_dir: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run the database in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "support" / "run_embedded.py"),
        str(data_dir),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"up\n"
        yield process
    finally:
        if process.returncode is None:
            process.stdin.close()
        await process.wait()


async def test_settings_are_durable_and_the_socket_private(tmp_path: Path) -> None:
    """An acknowledged commit is on disk, and nobody else can so much as knock."""
    async with embedded_postgres(tmp_path) as address:
        await require_durable(address.administrator)
        for name, expected in (
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("data_checksums", "on"),
            ("listen_addresses", ""),
            ("server_encoding", "UTF8"),
        ):
            assert expected == await value(address, f"SHOW {name}")
        socket_dir = Path(address.app["host"])
        assert 0o700 == stat.S_IMODE(socket_dir.stat().st_mode)
        for secret in (tmp_path / "secrets").iterdir():
            assert 0o600 == stat.S_IMODE(secret.stat().st_mode)
        wrong: dict[str, Any] = {**address.app, "password": "wrong"}
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**wrong)


async def test_the_service_logs_in_as_a_confined_role(tmp_path: Path) -> None:
    """Neither a superuser nor past row-level security nor the owner of anything."""
    async with embedded_postgres(tmp_path, durable=False) as address:
        connection = await asyncpg.connect(**address.app)
        row = await connection.fetchrow(
            "SELECT current_user::text, rolsuper, rolbypassrls, rolcreaterole "
            "FROM pg_roles WHERE rolname = current_user"
        )
        await connection.close()
    assert (APP_ROLE, False, False, False) == tuple(row or ())


async def test_undurable_server_is_not_served_from(tmp_path: Path) -> None:
    """The message names the settings."""
    async with embedded_postgres(tmp_path, durable=False) as address:
        with pytest.raises(PostgresFailed, match="fsync is off and must be on"):
            await require_durable(address.administrator)


async def test_restart_keeps_the_data(tmp_path: Path) -> None:
    """The second start finds what the first one left."""
    async with embedded_postgres(tmp_path, durable=False) as address:
        await value(address, "CREATE TABLE kept AS SELECT 42 AS n")
    assert not servers(tmp_path)
    async with embedded_postgres(tmp_path, durable=False) as address:
        assert 42 == await value(address, "SELECT n FROM kept")


async def test_killed_service_leaves_no_orphan_and_the_next_start_recovers(tmp_path: Path) -> None:
    """SIGKILL leaves the service no time for anything."""
    async with other_process(tmp_path) as process:
        async with embedded_postgres(tmp_path) as address:
            await value(address, "CREATE TABLE kept AS SELECT 42 AS n")
        process.kill()
    assert await gone(tmp_path)
    async with embedded_postgres(tmp_path, exclusive=True) as address:
        assert 42 == await value(address, "SELECT n FROM kept")


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG, which is Linux's")
async def test_service_and_supervisor_killed_together_leave_no_orphan(tmp_path: Path) -> None:
    """The kernel tells the server in the supervisor's place."""
    async with other_process(tmp_path) as process:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
    assert await gone(tmp_path)


async def test_next_start_does_not_wait_for_the_last_to_be_gone(tmp_path: Path) -> None:
    """A start right after a SIGKILL waits by itself for the old server's end."""
    async with other_process(tmp_path) as process:
        process.kill()
    async with embedded_postgres(tmp_path, exclusive=True) as address:
        assert 1 == await value(address, "SELECT 1")


async def test_killed_server_is_started_again(tmp_path: Path) -> None:
    """The service lives on and finds its data."""
    async with embedded_postgres(tmp_path) as address:
        await value(address, "CREATE TABLE kept AS SELECT 42 AS n")
        postmaster = int((tmp_path / "postgres/18/postmaster.pid").read_text().split("\n")[0])
        os.kill(postmaster, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert 42 == await value(address, "SELECT n FROM kept")
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
        assert postmaster not in [process.pid for process in servers(tmp_path)]


async def test_others_attach_and_a_second_service_is_refused(tmp_path: Path) -> None:
    """One data folder, one service; commands such as verify work beside it."""
    async with other_process(tmp_path) as process:
        async with embedded_postgres(tmp_path) as address:
            assert 1 == await value(address, "SELECT 1")
        async with embedded_postgres(tmp_path) as address:
            assert 1 == await value(address, "SELECT 1")
        with pytest.raises(DataFolderBusy, match=f"in use by process {process.pid} "):
            async with embedded_postgres(tmp_path, exclusive=True):
                pass
    assert await gone(tmp_path)


async def test_long_path_puts_the_socket_elsewhere(tmp_path: Path) -> None:
    """A socket's path has 107 bytes at most."""
    data_dir = tmp_path / ("long" * 30)
    async with embedded_postgres(data_dir, durable=False) as address:
        socket_dir = Path(address.app["host"])
        assert data_dir not in socket_dir.parents
        assert 0o700 == stat.S_IMODE(socket_dir.stat().st_mode)
        assert 1 == await value(address, "SELECT 1")
    assert not socket_dir.exists()


async def test_stranger_with_the_old_process_number_is_no_obstacle(tmp_path: Path) -> None:
    """In containers an old process number soon belongs to something else."""
    async with embedded_postgres(tmp_path, durable=False) as address:
        assert 1 == await value(address, "SELECT 1")
    pid_file = tmp_path / "postgres/18/postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{tmp_path}\n0\n5432\n\n\n")
    async with embedded_postgres(tmp_path, durable=False) as address:
        assert 1 == await value(address, "SELECT 1")


async def test_interrupted_first_start_begins_anew(tmp_path: Path) -> None:
    """A cluster stands in its place only when it is complete."""
    partial = tmp_path / "postgres" / "18.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")
    async with embedded_postgres(tmp_path, durable=False) as address:
        assert 1 == await value(address, "SELECT 1")
    assert not partial.exists()
