"""Doing the rebuilds that were asked for over HTTP: each in a process of its own, as the owner.

The API's role may not touch the tables' definitions, so a request is a row
(`projections.rebuild_requests`). The process that follows the log looks for one every second and
starts a process that does it and tells how far it is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from api.rebuilds import OPERATOR
from deploy.wiring import House
from ledger.session import CONNECTION_LOST
from ledger.store import tenant_transaction
from projections import rebuild_requests
from projections.rebuild import RebuildFailed, Step, rebuild

LOOK_EVERY_S: Final = 1.0
TELL_EVERY_S: Final = 0.5

log = structlog.get_logger(__name__)


async def run_rebuilds(house: House, perform: Callable[[int], Awaitable[object]]) -> None:
    """Have each rebuild done that is asked for, one after another, until cancelled.

    ``perform`` is given its id. Only the first tenant may ask (`api.rebuilds`).
    """
    while True:
        try:
            rebuild_id = await rebuild_requests.claim(house.pool, OPERATOR)
            if rebuild_id is not None:
                log.info("rebuild_begins")
                await perform(rebuild_id)
                await rebuild_requests.fail(
                    house.pool,
                    OPERATOR,
                    rebuild_id,
                    "The process that did it has ended; ask again.",
                )
                continue
        except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
            log.warning("rebuilds_unknown", error=str(error))
        await asyncio.sleep(LOOK_EVERY_S)


async def perform_rebuild(house: House, rebuild_id: int) -> None:
    """Do a rebuild that was asked for, and tell how far it is and what came of it."""
    step: Step | None = None
    done, total = 0, None

    def on_step(begun: Step) -> None:
        nonlocal step
        step = begun

    def progress(so_far: int, of: int) -> None:
        nonlocal done, total
        done, total = so_far, of

    async def tell() -> None:
        while True:
            await rebuild_requests.beat(house.pool, OPERATOR, rebuild_id, step, done, total)
            await asyncio.sleep(TELL_EVERY_S)

    async with tenant_transaction(house.pool, OPERATOR) as connection:
        asked = await rebuild_requests.read(connection, OPERATOR, rebuild_id)
    assert asked is not None, "it has just been claimed"
    telling = asyncio.create_task(tell())
    try:
        async with house.admin() as reader, house.admin() as writer:
            report = await rebuild(
                reader,
                writer,
                house.engine,
                asked["projections"],
                progress,
                replace_different=asked["replace_different"],
                on_step=on_step,
            )
    except (LookupError, RebuildFailed) as error:
        await rebuild_requests.fail(house.pool, OPERATOR, rebuild_id, str(error))
    except Exception as error:
        log.exception("rebuild_failed")
        reason = f"{type(error).__name__}: {error}"
        await rebuild_requests.fail(house.pool, OPERATOR, rebuild_id, reason)
    else:
        await rebuild_requests.finish(house.pool, OPERATOR, rebuild_id, report)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
