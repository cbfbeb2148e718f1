"""A process that delivers webhooks, to be killed: its way in to the database is on its input.

It retries within a second, and holds lanes for two.
"""

import asyncio
import sys

import msgspec
import uvloop

from deploy.address import DatabaseAddress
from deploy.settings import Settings
from deploy.webhooks import disable_endpoint
from deploy.wiring import house_at
from projections import webhook_delivery
from projections.webhook_delivery import Deliverer
from projections.webhook_endpoints import Policy
from projections.webhook_lanes import Plan
from projections.webhook_schedule import Rules
from projections.webhook_sending import Limits, Sender
from schemas.webhook import DisableCause

FAST = Plan(Rules(at_once_max=16, retry_delays_s=(0.05,) * 7))
LIMITS = Limits(connect_s=1, total_s=1)


async def _run() -> None:
    webhook_delivery.LEASE_S = 2.0  # type: ignore[misc]
    webhook_delivery.LEASE_MARGIN_S = 0.5  # type: ignore[misc]
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    address = msgspec.json.decode(line, type=DatabaseAddress)
    async with (
        house_at(Settings(relay=False), address) as house,
        Sender(Policy(http_allowed=True, private_allowed=True), LIMITS) as sender,
    ):

        async def disable(tenant_id: int, endpoint_id: int, cause: DisableCause) -> None:
            await disable_endpoint(house, tenant_id, endpoint_id, cause)

        await Deliverer(house.pool, sender, disable, FAST).run()


if __name__ == "__main__":
    uvloop.run(_run())
