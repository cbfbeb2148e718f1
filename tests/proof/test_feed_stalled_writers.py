"""Invariant I2: a reader that has seen position N has seen everything before it.

``tests/integration/test_feed.py`` has writers that stall while they hold the head; here they
are whole committers that stall, fail and are cut off in the middle of their transactions.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing

import pytest

from ledger.domain.decision import RecordedEvent
from ledger.errors import LedgerUnavailable, OutcomeUnknown
from ledger.feed import Feed
from ledger.store import Connection
from projections.engine import Engine
from tests.proof.rig import Desk, Ledger, adjust
from tests.proof.test_two_committers import check_log


class StallingProjections(Engine):
    """The real read models, whose writer then sits on its transaction, or gives it up."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._dice = random.Random(seed)

    async def apply(
        self, connection: Connection, tenant_id: int, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold the events; then stall, and once in a while lose the connection."""
        await super().apply(connection, tenant_id, events)
        await asyncio.sleep(self._dice.random() ** 4 * 0.05)
        if self._dice.random() < 0.02:
            connection.terminate()


async def _follow_stalled_writers(ledger: Ledger, writers: int, commands: int) -> None:
    async with AsyncExitStack() as stack:
        desk = Desk(await stack.enter_async_context(ledger.committer()), await ledger.new_tenant())
        await desk.shop(["A", "B"])
        desks = [
            Desk(
                await stack.enter_async_context(
                    ledger.committer(projections=StallingProjections(seed))
                ),
                desk.tenant_id,
            )
            for seed in range(writers)
        ]
        pool = await stack.enter_async_context(ledger.pool())

        async def write(number: int) -> None:
            dice = random.Random(number)
            for n in range(commands):
                many = [adjust(1, dice.choice("AB"))] * dice.randint(1, 3)
                while True:
                    try:
                        await desks[number].do(*many, key=f"{number}.{n}")
                        break
                    except (OutcomeUnknown, LedgerUnavailable):
                        await asyncio.sleep(0.01)

        async def follow(batch: int) -> list[int]:
            seen: list[int] = []
            async with aclosing(Feed(pool).follow(desk.tenant_id, batch=batch)) as batches:
                async for events in batches:
                    seen += [event.position for event in events]
                    if any(
                        event.type == "StockAdjusted" and "last" in event.data for event in events
                    ):
                        return seen
            return seen

        readers = [asyncio.create_task(follow(batch)) for batch in (1, 7, 1000)]
        await asyncio.gather(*(write(number) for number in range(writers)))
        last = await desk.do(adjust(1, reason="last"))
        for seen in await asyncio.wait_for(asyncio.gather(*readers), 60):
            assert seen == list(range(1, last.position + 1))
    await check_log(ledger, desk.tenant_id)


async def test_readers_of_8_stalling_committers_miss_nothing(ledger: Ledger) -> None:
    """Three live readers see every position once and in order."""
    await _follow_stalled_writers(ledger, writers=8, commands=5)


@pytest.mark.long
async def test_readers_of_32_stalling_committers_miss_nothing(ledger: Ledger) -> None:
    """The same with 32 writers, at length."""
    await _follow_stalled_writers(ledger, writers=32, commands=60)
