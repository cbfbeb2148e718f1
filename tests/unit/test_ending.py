"""Tasks end when they are told to, whatever comes at that moment."""

import asyncio
import contextlib
import sys

import msgspec
import pytest

from deploy.address import DatabaseAddress
from deploy.settings import Settings, encode_path
from ledger import ending
from ledger.feed import _Watch  # pyright: ignore[reportPrivateUsage]
from ledger.nats_connection import NatsConnection


async def test_who_is_woken_and_cancelled_at_once_is_cancelled() -> None:
    """The feed's followers wait in a loop: one that went on would never end."""
    watch = _Watch()
    waiting = asyncio.create_task(watch.wait(0, 60))
    await asyncio.sleep(0.01)
    watch.wake(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_one_that_swallows_a_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As libraries do."""
    monkeypatch.setattr(ending, "CANCEL_AGAIN_S", 0.01)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            swallowed += 1
        await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await ending.end(task)
    assert task.cancelled()
    assert swallowed == 2


async def test_what_a_task_failed_with_is_told() -> None:
    """It may have failed before, or as it was cancelled."""

    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise LookupError("gone")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="gone"):
        await ending.end(task)
    with pytest.raises(LookupError, match="gone"):
        await ending.end(task)


async def test_nats_that_is_tried_for_in_vain_is_let_be_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library may say that an attempt failed, where it was cancelled."""
    nats = NatsConnection(["nats://127.0.0.1:1"], "test", echo=False)

    async def fail(_session: object, _server: str) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise OSError("refused") from None

    monkeypatch.setattr(nats, "_connect", fail)
    async with asyncio.timeout(5):
        async with nats.running():
            await asyncio.sleep(0.01)


async def test_a_process_that_something_holds_up_ends_all_the_same() -> None:
    """Here a database that takes the connection and never answers; its input is closed by then."""
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    host, port = silent.sockets[0].getsockname()
    way_in = {"host": host, "port": port, "user": "a", "password": "b", "database": "c"}
    address = DatabaseAddress(way_in, way_in, way_in)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from deploy import workers; workers.ENDS_WITHIN_S = 0.2; "
        "workers.run(workers.Settings(), workers._work('deliver'))",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told = [msgspec.json.encode(part, enc_hook=encode_path) for part in (Settings(), address)]
    _, said = await process.communicate(b"\n".join([*told, b""]))
    silent.close()
    assert process.returncode == 1
    assert said.startswith(b"Timeout (0:00:00.2"), said.decode()
    assert b"running.py" in said, "where it was"
