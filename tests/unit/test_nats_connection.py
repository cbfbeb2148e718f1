"""A connection to NATS that has just been lost: who waits for the next one really waits."""

import asyncio
from typing import Literal

import pytest

from ledger.nats_connection import NatsConnection, Session


class _ImpatientEvent(asyncio.Event):
    """An event that does not let itself be asked for ever."""

    asked = 0

    async def wait(self) -> Literal[True]:
        self.asked += 1
        assert self.asked < 10, "asked again and again without anybody else getting a turn"
        return await super().wait()


async def test_a_session_that_was_lost_a_moment_ago_is_waited_out() -> None:
    """Its end is known before whoever keeps connecting has got round to taking it away."""
    connection = NatsConnection(["nats://127.0.0.1:1"], "test")
    arrived = _ImpatientEvent()
    connection._arrived = arrived
    lost = Session()
    connection._session = lost
    arrived.set()
    lost.lost.set()
    waiting = asyncio.create_task(connection.next_session())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    following = Session()
    connection._session = following
    arrived.set()
    assert await asyncio.wait_for(waiting, 1) is following
