"""What is kept for a time only, and is deleted after it: responses under keys, request logs, and
moments of the past that nobody reads any more.

Events, and the read models made from them, are kept for ever.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from deploy.webhooks import forget_deliveries
from deploy.wiring import House
from ledger.session import CONNECTION_LOST
from ledger.store import forget_responses, tenant_transaction
from projections.erasing import forget_unused_emails
from projections.known_snapshots import drop_unread

EVERY_S: Final = 3600.0
BATCH_ROWS: Final = 5_000
BATCHES_MAX: Final = 1_000

_FORGET_USES = """
DELETE FROM access.api_key_log
WHERE tenant_id = $1 AND log_id = ANY (ARRAY(
    SELECT log_id FROM access.api_key_log WHERE tenant_id = $1 AND created_at < $2 LIMIT $3
))
"""

_FORGET_WEBHOOKS = """
DELETE FROM access.webhook_log
WHERE tenant_id = $1 AND log_id = ANY (ARRAY(
    SELECT log_id FROM access.webhook_log WHERE tenant_id = $1 AND received_at < $2 LIMIT $3
))
"""

log = structlog.get_logger(__name__)


async def keep_house(house: House) -> None:
    """Tidy up now and then every hour, until cancelled."""
    while True:
        try:
            await tidy_up(house)
            await forget_deliveries(house)
        except CONNECTION_LOST as error:
            log.warning("housekeeping_put_off", error=str(error))
        await asyncio.sleep(EVERY_S)


async def tidy_up(house: House) -> tuple[int, int]:
    """Delete what is older than the settings say, in small batches; return how many of each.

    The first number is of responses kept under idempotency keys, the second of rows of the keys'
    usage log and of the log of inbound webhooks.
    """
    settings = house.all_settings
    responses_before = house.now() - timedelta(days=settings.idempotency_days)
    uses_before = house.now() - timedelta(days=settings.usage_log_days)
    webhooks_before = house.now() - timedelta(days=settings.webhook_log_days)
    async with house.pool.acquire() as connection:
        tenants = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    responses = uses = 0
    for tenant_id in tenants:
        for _ in range(BATCHES_MAX):
            async with tenant_transaction(house.pool, tenant_id) as connection:
                deleted = await forget_responses(
                    connection, tenant_id, responses_before, BATCH_ROWS
                )
            responses += deleted
            if deleted < BATCH_ROWS:
                break
        uses += await _forget(house, tenant_id, _FORGET_USES, uses_before)
        uses += await _forget(house, tenant_id, _FORGET_WEBHOOKS, webhooks_before)
        async with tenant_transaction(house.pool, tenant_id) as connection:
            await forget_unused_emails(connection, tenant_id)
    await drop_unread(house.pool, house.engine, tenants)
    if responses or uses:
        log.info("housekeeping_done", responses=responses, uses=uses)
    return responses, uses


async def _forget(house: House, tenant_id: int, statement: str, before: datetime) -> int:
    """Delete a tenant's rows from before a time, in batches; return how many."""
    forgotten = 0
    for _ in range(BATCHES_MAX):
        async with tenant_transaction(house.pool, tenant_id) as connection:
            status = await connection.execute(statement, tenant_id, before, BATCH_ROWS)
        deleted = int(status.rsplit(" ", 1)[1])
        forgotten += deleted
        if deleted < BATCH_ROWS:
            break
    return forgotten
