"""A new release's read models, built beside those of the release that serves, and switched to.

The new versions of tables are folded from the log in a schema of their own, while the release
before goes on reading and writing its own. When they have caught up, one short transaction holds
the heads, folds the rest, puts the tables in place and names the new versions in every head. From
there on a process of the release before can append nothing (`ledger.errors.Superseded`), and its
following projections stop, since their checkpoints are of another version.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
import structlog

from projections.engine import Engine
from projections.projection import Connection
from projections.shadow import Progress, Shadow, shadow_schemas
from projections.swapping import Release, aims, swap

log = structlog.get_logger(__name__)


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


async def deploy(
    owner: Mapping[str, Any], engine: Engine, progress: Progress = _no_progress
) -> list[str]:
    """Build what differs from the installed projections, and switch to it; return the names.

    ``owner`` holds asyncpg's parameters for logging in as the owner. Of several that deploy at
    once one does it, and the others wait for it. Raises `projections.swapping.SwapFailed` when
    readers or views stand in the way for too long, and what a fold raises: the installed ones are
    as they were then.
    """
    reader = await asyncpg.connect(**owner)
    writer = await asyncpg.connect(**owner)
    try:
        if not await engine.differing(writer):
            return []
        async with shadow_schemas(writer, wait=True):
            return await _deploy(reader, writer, engine, progress)
    finally:
        await reader.close()
        await writer.close()


async def _deploy(
    reader: Connection, writer: Connection, engine: Engine, progress: Progress
) -> list[str]:
    differing = await engine.differing(writer)
    if not differing:
        return []
    names = [projection.name for projection in differing.changed]
    log.info("projections_building", names=[*names, *differing.retired])
    shadow = Shadow(reader, writer, differing.changed, progress)
    await shadow.begin()
    await shadow.catch_up(lambda: _aims(reader, engine, shadow))
    await shadow.analyse()
    await swap(reader, shadow, engine, Release(names, differing.retired, differing.tables))
    log.info("projections_built", names=names, events=shadow.folded)
    return [*names, *differing.retired]


async def _aims(reader: Connection, engine: Engine, shadow: Shadow) -> dict[tuple[int, str], int]:
    async with reader.transaction():
        return await aims(reader, engine, shadow.projections)
