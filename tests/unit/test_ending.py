"""Tasks end when they are told to, whatever comes at that moment."""

import asyncio
import contextlib

import pytest

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
