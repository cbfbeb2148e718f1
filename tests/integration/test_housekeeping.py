"""What is kept for a time only goes when its time is over, and nothing else does."""

from datetime import timedelta

import msgspec

from deploy.housekeeping import tidy_up
from deploy.wiring import House
from ledger.store import tenant_transaction

KEEP_RESPONSE = """
INSERT INTO ledger.idempotency
VALUES ($1, $2, sha256(''), '', false, 200, '{}', false, 1, $3)
"""
LOG_USE = """
INSERT INTO access.api_key_log VALUES ($1, $2, 1, 'GET', '/', 200, 1, '127.0.0.1', $3)
"""

LOG_WEBHOOK = """
INSERT INTO access.webhook_log VALUES ($1, $2, $3, 1, '/', 200, 1, 1, 1, '127.0.0.1', '', '')
"""


async def test_only_what_is_too_old_goes(house: House, tenant_id: int) -> None:
    """A response is kept for its 30 days, a use for its 90, an inbound webhook for its 20."""
    settings = msgspec.structs.replace(
        house.all_settings, idempotency_days=30, usage_log_days=90, webhook_log_days=20
    )
    house.all_settings = settings
    now = house.now()
    async with tenant_transaction(house.pool, tenant_id) as connection:
        for key, days in (("young", 29), ("old", 31)):
            await connection.execute(KEEP_RESPONSE, tenant_id, key, now - timedelta(days=days))
        for log_id, days in ((1, 89), (2, 91)):
            await connection.execute(LOG_USE, tenant_id, log_id, now - timedelta(days=days))
        for log_id, days in ((1, 19), (2, 21), (3, 22)):
            await connection.execute(LOG_WEBHOOK, tenant_id, log_id, now - timedelta(days=days))
    assert await tidy_up(house) == (1, 3)
    async with tenant_transaction(house.pool, tenant_id) as connection:
        keys = await connection.fetch("SELECT key FROM ledger.idempotency")
        uses = await connection.fetch("SELECT log_id FROM access.api_key_log")
        webhooks = await connection.fetch("SELECT log_id FROM access.webhook_log")
    assert [row["key"] for row in keys] == ["young"]
    assert [row["log_id"] for row in uses] == [1]
    assert [row["log_id"] for row in webhooks] == [1]
