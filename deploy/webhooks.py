"""The process that delivers webhooks: its settings put together, and what it records."""

import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from deploy.wiring import House
from ledger.ports import Meta
from ledger.store import tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections.webhook_delivery import Deliverer
from projections.webhook_lanes import Plan
from projections.webhook_queue import prune
from projections.webhook_schedule import RETRY_DELAYS_S, RETRY_SPAN_S, Rules
from projections.webhook_sending import Limits, Sender
from schemas.webhook import DisableCause, DisableWebhookEndpoint

DAY_S: Final = 86_400.0
PRUNED_AT_ONCE: Final = 5_000
PRUNES_MAX: Final = 1_000

log = structlog.get_logger(__name__)


async def run_webhooks(house: House) -> None:
    """Deliver webhooks until cancelled."""
    settings = house.all_settings
    slower = settings.webhook_retry_minutes * 60 / RETRY_SPAN_S
    plan = Plan(
        Rules(
            at_once_max=settings.webhook_endpoint_at_once_max,
            retry_delays_s=[delay_s * slower for delay_s in RETRY_DELAYS_S],
        ),
        at_once_max=settings.webhook_at_once_max,
        failing_s=settings.webhook_failing_days * DAY_S,
    )
    limits = Limits(
        connect_s=min(5.0, settings.webhook_timeout_s), total_s=settings.webhook_timeout_s
    )
    async with Sender(house.settings.webhooks, limits) as sender:

        async def disable(tenant_id: int, endpoint_id: int, cause: DisableCause) -> None:
            await disable_endpoint(house, tenant_id, endpoint_id, cause)

        # The installation's name: its next deliverer goes on at once where this one ended.
        holder = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
        await Deliverer(house.pool, sender, disable, plan, holder=holder).run()


async def disable_endpoint(
    house: House, tenant_id: int, endpoint_id: int, cause: DisableCause
) -> None:
    """Record that nothing more is sent to an endpoint; one that is gone already stays so."""
    await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(DisableWebhookEndpoint(endpoint_id=endpoint_id, cause=cause))],
            meta=Meta(actor="system:webhooks", source="webhooks"),
            render=_render,
        )
    )


async def forget_deliveries(house: House) -> int:
    """Delete what the log of deliveries has from longer ago than the settings say; return how much.

    It goes in small batches. Messages stay, and so can still be replayed.
    """
    before = house.now() - timedelta(days=house.all_settings.delivery_log_days)
    async with house.pool.acquire() as connection:
        tenants = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    forgotten = 0
    for tenant_id in tenants:
        for _ in range(PRUNES_MAX):
            async with tenant_transaction(house.pool, tenant_id) as connection:
                deleted = await prune(connection, tenant_id, before, PRUNED_AT_ONCE)
            forgotten += deleted
            if not deleted:
                break
    if forgotten:
        log.info("deliveries_forgotten", rows=forgotten)
    return forgotten


def _render(outcomes: Sequence[Outcome]) -> Rendered:
    return Rendered(200, b"")
