"""The embedded NATS is durable, private, ours alone, kept running, and never outlives us."""

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import psutil
import pytest
from nats.aio.client import Client

from deploy import embedded_nats as module
from deploy.embedded_nats import embedded_nats, reader_url_file
from tests.support.nats import connect

ROOT = Path(__file__).parents[2]
WITHIN_S = 30.0
STORE_BYTES = 2**30


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Client]:
    """Give a connection, as soon as there is one to be had."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                client = await connect(url)
                break
            except (OSError, nats.errors.Error):
                await asyncio.sleep(0.05)
    try:
        yield client
    finally:
        await client.close()


async def publish(url: str, count: int = 1) -> None:
    """Make the stream ``kept`` where there is none, and add to it."""
    async with connected(url) as client:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="kept", subjects=["kept.>"])
        for _ in range(count):
            await jetstream.publish("kept.one", b"x")


async def kept(url: str) -> int:
    """Return how many messages the stream ``kept`` has."""
    async with connected(url) as client:
        return (await client.jetstream().stream_info("kept")).state.messages


def servers(data_dir: Path) -> list[psutil.Process]:
    """Return the data folder's servers and their supervisors."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data_dir) in line and "run_embedded_nats.py" not in line:
            found.append(process)
    return found


async def gone(data_dir: Path) -> bool:
    """Wait until no server of the data folder is left; say whether that came."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        if not servers(data_dir):
            return True
        await asyncio.sleep(0.05)
    return False


@asynccontextmanager
async def other_process(data_dir: Path) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Run the data folder's NATS in another process; give that, and the URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "support" / "run_embedded_nats.py"),
        str(data_dir),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.stdin.close()
        await process.wait()


async def test_it_syncs_always_wants_a_password_and_listens_here_alone(tmp_path: Path) -> None:
    """What others can read of the folder is nothing."""
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as url:
        await publish(url)
        assert url.startswith("nats://service:")
        with pytest.raises(nats.errors.Error):
            await connect(url.replace("service:", "service:wrong"))
        port = int(url.rpartition(":")[2])
        listening = [
            connection.laddr
            for process in servers(tmp_path)
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == [("127.0.0.1", port)]
        configuration = (tmp_path / "nats" / "nats.conf").read_text()
        assert "sync_interval: always" in configuration
        assert f"max_file_store: {STORE_BYTES}" in configuration
        for private in [*(tmp_path / "secrets").iterdir(), tmp_path / "nats" / "nats.conf",
                        reader_url_file(tmp_path)]:  # fmt: skip
            assert stat.S_IMODE(private.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "nats").stat().st_mode) == 0o700
    assert await gone(tmp_path)


async def test_a_reader_reads_and_changes_nothing(tmp_path: Path) -> None:
    """Consumers of its own it may make; streams, and what is in them, it leaves alone."""
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as url:
        await publish(url, 3)
        async with connected(reader_url_file(tmp_path).read_text().strip()) as client:
            jetstream = client.jetstream(timeout=0.3)
            subscription = await jetstream.pull_subscribe("kept.>", durable="mine", stream="kept")
            messages = await subscription.fetch(3, timeout=5)
            await messages[-1].ack_sync()
            assert len(messages) == 3
            for forbidden in (
                jetstream.publish("kept.one", b"y"),
                jetstream.purge_stream("kept"),
                jetstream.delete_stream("kept"),
                jetstream.add_stream(name="other", subjects=["other"]),
            ):
                with pytest.raises(nats.errors.TimeoutError):
                    await forbidden
        assert await kept(url) == 3


async def test_nobody_waits_for_it_and_a_restart_keeps_data_and_port(tmp_path: Path) -> None:
    """The URL is there before the server is."""
    started = time.monotonic()
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as first:
        assert time.monotonic() - started < 1
        await publish(first)
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as second:
        assert first == second
        assert await kept(second) == 1


async def test_a_port_that_somebody_has_taken_is_given_up(tmp_path: Path) -> None:
    """And the next one is kept in its turn."""
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as first:
        await publish(first)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", int(first.rpartition(":")[2])))
        stranger.listen()
        async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as second:
            assert first != second
            assert await kept(second) == 1
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as third:
        assert third == second


async def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    """At the same place, with what it held."""
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as url:
        await publish(url)
        pid = int((tmp_path / "nats" / "nats.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while psutil.pid_exists(pid):
            await asyncio.sleep(0.01)
        assert await kept(url) == 1


async def test_a_killed_service_leaves_no_orphan_and_the_next_start_waits_for_nobody(
    tmp_path: Path,
) -> None:
    """SIGKILL leaves the service no time for anything."""
    async with other_process(tmp_path) as (process, first):
        await publish(first)
        process.kill()
        await process.wait()
        async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as url:
            assert first == url
            assert await kept(url) == 1
    assert await gone(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG, which is Linux's")
async def test_service_and_supervisor_killed_together_leave_no_orphan(tmp_path: Path) -> None:
    """The kernel tells the server in the supervisor's place."""
    async with other_process(tmp_path) as (process, url):
        await publish(url)
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.kill()
    assert await gone(tmp_path)


async def test_a_second_process_uses_the_server_of_the_first(tmp_path: Path) -> None:
    """One data folder, one server."""
    async with other_process(tmp_path) as (_, first):
        await publish(first)
        async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as second:
            assert first == second
        assert await kept(first) == 1


async def test_a_missing_program_is_told_of_and_nothing_else_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service runs on without it."""
    monkeypatch.setattr(module, "binary", lambda: None)
    async with embedded_nats(tmp_path, store_bytes_max=STORE_BYTES) as url:
        await asyncio.sleep(0.1)
        with pytest.raises((OSError, nats.errors.Error)):
            await connect(url)
