"""Proving a tenant's ledger in a test, as the command does."""

from typing import Any

import asyncpg

from deploy.address import DatabaseAddress
from ledger.store import Pool
from projections.engine import Engine
from projections.verify import Verdict, verify


async def prove(
    database: DatabaseAddress, pool: Pool, engine: Engine, tenant_id: int, **more: Any
) -> Verdict:
    """Verify with a connection of the owner's for what is folded afresh."""
    fresh = await asyncpg.connect(**database.owner)
    try:
        return await verify(pool, fresh, engine, tenant_id, **more)
    finally:
        await fresh.close()
