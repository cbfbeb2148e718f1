"""A tenant with receivers of webhooks, and deliverers for it, in a test."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import catch_up
from projections.webhook_delivery import Deliverer
from projections.webhook_endpoints import Policy
from projections.webhook_lanes import Plan
from projections.webhook_messages import WebhookMessages
from projections.webhook_schedule import Rules
from projections.webhook_secrets import keep_secret, new_secret
from projections.webhook_sending import Limits, Sender
from schemas.stock import StockReceived
from schemas.webhook import DisableCause, WebhookEndpointCreated, WebhookEndpointDisabled
from tests.support.receiver import Receiver
from tests.support.written_log import Scribe

ENGINE: Final = Engine()
MESSAGES: Final = WebhookMessages()
OPEN: Final = Policy(http_allowed=True, private_allowed=True)
FAST: Final = Plan(Rules(retry_delays_s=(0.05, 0.05, 0.1, 0.1, 0.2, 0.2, 0.2)))


class Shop:
    """A tenant with receivers; what its deliverers disable is put in its log."""

    def __init__(self, pool: Pool, tenant_id: int, receiver: Receiver) -> None:
        self.pool = pool
        self.tenant_id = tenant_id
        self.receiver = receiver
        self.scribe = Scribe(pool, ENGINE, tenant_id)
        self.secrets: dict[int, str] = {}

    async def endpoint(
        self, number: int = 1, *, topics: Any = ("stock.changed",), path: str = "/hook", **more: Any
    ) -> None:
        """Add a verified receiver with a secret."""
        said: dict[str, Any] = {"verified": True, **more}
        event = WebhookEndpointCreated(
            endpoint_id=number, url=self.receiver.url(path), topics=topics, **said
        )
        await self.scribe.write((f"webhook-{number}", event))
        secret = self.secrets[number] = new_secret()
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            await keep_secret(connection, self.tenant_id, number, secret, self.scribe.now)

    async def say(self, number: int, event: Any, **more: Any) -> None:
        """Record something of an endpoint."""
        await self.scribe.write((f"webhook-{number}", event(endpoint_id=number, **more)))

    async def receive(self, *products: int, quantity: str = "1") -> None:
        """Receive some of each product: a message each."""
        await self.scribe.write(
            *(
                (
                    f"stock-{product}-1",
                    StockReceived(product_id=product, location_id=1, quantity=Decimal(quantity)),
                )
                for product in products
            )
        )
        await self.fold()

    async def fold(self) -> None:
        """Bring the messages up to date, as the process of the projections does."""
        await catch_up(self.pool, MESSAGES, self.tenant_id)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            return [tuple(row) for row in await connection.fetch(query)]

    async def states(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        found = await self.rows("SELECT state, count(*) FROM webhook.delivery GROUP BY 1")
        return {row[0]: row[1] for row in found}

    async def until(self, states: dict[str, int], timeout_s: float = 20) -> None:
        """Wait until the deliveries are in these states."""
        try:
            async with asyncio.timeout(timeout_s):
                while await self.states() != states:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            assert await self.states() == states

    async def disable(self, _tenant_id: int, endpoint_id: int, cause: DisableCause) -> None:
        await self.say(endpoint_id, WebhookEndpointDisabled, cause=cause)

    @asynccontextmanager
    async def delivering(
        self, plan: Plan = FAST, *, limits: Limits | None = None, policy: Policy = OPEN
    ) -> AsyncGenerator[Deliverer]:
        """Deliver for as long as the block lasts."""
        async with Sender(policy, limits) as sender:
            deliverer = Deliverer(self.pool, sender, self.disable, plan)
            task = asyncio.create_task(deliverer.run())
            try:
                yield deliverer
                assert not task.done(), task.exception()
            finally:
                task.cancel()
                await asyncio.wait([task])
