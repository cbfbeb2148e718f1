"""Analysts' queries yield to the service's own, where the database is the embedded one.

PostgreSQL knows no priorities; the system does, for the process that serves a connection. These are
looked for again and again, since a reader connects when it likes.
"""

import asyncio
from typing import Final

import asyncpg
import structlog

from deploy.wiring import House
from ledger.yielding import EXPORT_NICENESS, yield_to_others
from projections.star_views import READERS

LOOK_EVERY_S: Final = 1.0
"""How long a reader's new connection may take as much as anybody."""

# Only who and which process: what they ask is not shown to us, nor needed.
_PROCESSES: Final = f"""
SELECT a.pid FROM pg_stat_activity a
JOIN pg_auth_members m ON m.member = a.usesysid
JOIN pg_roles r ON r.oid = m.roleid AND r.rolname = '{READERS}'
"""

log = structlog.get_logger(__name__)


async def keep_readers_yielding(house: House) -> None:
    """Have every analyst's connection yield to the others, until cancelled."""
    done: set[int] = set()
    while True:
        try:
            async with house.pool.acquire() as connection:
                found = {row["pid"] for row in await connection.fetch(_PROCESSES)}
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("readers_unseen", error=str(error))
            found = done
        for pid in found - done:
            yield_to_others(pid, EXPORT_NICENESS)
        done = found
        await asyncio.sleep(LOOK_EVERY_S)
