"""What runs in processes of their own beside the API's: what follows the log, and rebuilds.

Each loads what it needs and no more, so that it starts soon and takes little memory.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from deploy.address import DatabaseAddress
from deploy.running import collect_seldom, keep_freed_memory, stopping_on_signals
from deploy.settings import Settings
from deploy.wiring import House, house_at
from deploy.workers import Following, rebuild_in_process
from ledger.ending import end
from ledger.yielding import FOLLOWER_NICENESS, yield_to_others

_Follow = Callable[[House], Coroutine[Any, Any, None]]


async def follow_as_worker(
    settings: Settings, address: DatabaseAddress, stop: asyncio.Event, work: Following
) -> None:
    """Run something that follows the log until ``stop``, for the process that started us."""
    follow = {"follow": _projections, "relay": _relay, "deliver": _webhooks}[work]()
    with stopping_on_signals(asyncio.Event()):
        async with _house_that_yields(settings, address) as house:
            await _until_stopped(follow(house), stop)


async def rebuild_as_worker(
    settings: Settings, address: DatabaseAddress, stop: asyncio.Event, rebuild_id: int
) -> None:
    """Do one rebuild, or as much of it as there is until ``stop``."""
    from deploy.rebuilds import perform_rebuild

    with stopping_on_signals(asyncio.Event()):
        async with _house_that_yields(settings, address) as house:
            keep_freed_memory()
            await _until_stopped(perform_rebuild(house, rebuild_id), stop)


@asynccontextmanager
async def _house_that_yields(settings: Settings, address: DatabaseAddress) -> AsyncGenerator[House]:
    """Give the house to a process that yields from then on: to start is soon done, if it may."""
    async with house_at(settings, address, niceness=FOLLOWER_NICENESS) as house:
        collect_seldom()
        yield_to_others(os.getpid(), FOLLOWER_NICENESS)
        yield house


async def _until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await end(working)


def _projections() -> _Follow:
    from deploy.checkpoints import run_checkpoints
    from deploy.readers import keep_readers_yielding
    from deploy.rebuilds import run_rebuilds
    from projections.following import run_following
    from projections.known_snapshots import run_known_snapshots

    async def run(house: House) -> None:
        """Fold what is new, and sign it: that costs next to nothing. Fold the past if asked to."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_following(house.pool, house.feed, house.engine))
            tasks.create_task(run_known_snapshots(house.pool, house.engine))
            tasks.create_task(
                run_rebuilds(house, partial(rebuild_in_process, house.all_settings, house.address))
            )
            if house.all_settings.checkpoints:
                tasks.create_task(run_checkpoints(house))
            if house.all_settings.database_url is None:
                tasks.create_task(keep_readers_yielding(house))

    return run


def _relay() -> _Follow:
    from projections.relay import run_relay

    async def run(house: House) -> None:
        settings = house.all_settings
        assert house.nats is not None, "a relay is started only where there is NATS"
        # The installation's name: its next relay goes on at once, another one's when this ended.
        holder = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
        await run_relay(
            house.pool, house.feed, house.nats, holder=holder, replicas=settings.nats_replicas
        )

    return run


def _webhooks() -> _Follow:
    from deploy.webhooks import run_webhooks

    return run_webhooks
