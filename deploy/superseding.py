"""What a process does about releases: tells how far the build is, and when it is over for it."""

import asyncio
import time
from typing import Final

import asyncpg
import structlog

from deploy.wiring import House
from ledger.session import CONNECTION_LOST
from projections.shadow import Progress

TELL_EVERY_S: Final = 10.0
LOOK_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


def telling_progress() -> Progress:
    """Return what writes a line to the log now and then while read models are built."""
    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_S:
            told = time.monotonic()
            log.info("projections_building", events=done, count=total)

    return tell


async def watch_releases(house: House) -> None:
    """Keep ``house.superseded`` true to what is installed, until cancelled.

    A command is refused by the database at once; this tells those who read, and the balancer.
    """
    while True:
        was = house.superseded
        try:
            differing = await house.look_at_release()
        except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
            log.warning("release_unknown", error=str(error))
        else:
            if house.superseded != was:
                log.warning("superseded" if differing else "serving_again", names=differing)
        await asyncio.sleep(LOOK_EVERY_S)
