"""The composition root: opens the database and puts the parts of the house together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from api.house import WooCommerceSettings
from deploy.address import DatabaseAddress
from deploy.database import open_database
from deploy.secrets import jwt_secret
from deploy.settings import Settings
from ledger.committer import Committer, GroupReport
from ledger.feed import Feed
from ledger.hints import Hints
from ledger.nats_connection import NatsConnection
from ledger.store import Connection, Pool, create_pool
from projections.engine import Engine
from projections.following import run_following
from projections.webhook_sending import Policy


class ServiceSettings(NamedTuple):
    """The settings that the API reads, secrets made where none was given."""

    jwt_secret: str
    body_bytes_max: int
    bulk_commands_max: int
    access_log: bool
    woocommerce: WooCommerceSettings
    ingestion_body_bytes_max: int
    data_dir: Path
    webhooks: Policy


class House:
    """Every part of the service, wired. One a process."""

    def __init__(self, settings: Settings, address: DatabaseAddress, pool: Pool) -> None:
        self.all_settings = settings
        self.settings = ServiceSettings(
            jwt_secret(settings),
            settings.body_bytes_max,
            settings.bulk_commands_max,
            settings.access_log,
            WooCommerceSettings(
                settings.woocommerce_items_max,
                settings.woocommerce_rollback,
                settings.woocommerce_rollback_percent,
            ),
            settings.ingestion_body_bytes_max,
            settings.data_dir,
            Policy(settings.webhook_http_allowed, settings.webhook_private_allowed),
        )
        self.address = address
        self.pool = pool
        self.engine = Engine()
        self.feed = Feed(pool)
        self.nats: NatsConnection | None = None
        self.hints: Hints | None = None
        if settings.nats_url is not None:
            self.nats = NatsConnection(settings.nats_url.split(","), "stockledger", echo=False)
            self.hints = Hints(self.feed, self.nats)
        self.group_observers: list[Callable[[GroupReport], None]] = []
        self.committer = Committer(
            pool,
            self.engine,
            self.now,
            queue_commands_max=settings.queue_commands_max,
            group_commands_max=settings.group_commands_max,
            states_cached_max=settings.states_cached_max,
            on_group=self._report,
            on_commit=self._committed,
        )

    @staticmethod
    def now() -> datetime:
        """Return the service's time, in UTC."""
        return datetime.now(UTC)

    @asynccontextmanager
    async def admin(self) -> AsyncGenerator[Connection]:
        """Give a connection that owns the tables, for administration."""
        connection = await asyncpg.connect(**self.address.owner)
        try:
            yield connection
        finally:
            await connection.close()

    def _committed(self, tenant_id: int) -> None:
        self.feed.wake(tenant_id)
        if self.hints is not None:
            self.hints.tell(tenant_id)

    def _report(self, report: GroupReport) -> None:
        for observe in self.group_observers:
            observe(report)


@asynccontextmanager
async def open_ledger(
    settings: Settings,
    *,
    exclusive: bool = False,
    on_lost: Callable[[], object] | None = None,
) -> AsyncGenerator[House]:
    """Give the house on the settings' database, started or attached to, migrated and checked.

    ``exclusive`` and ``on_lost`` are for the service itself: see ``open_database``.
    """
    engine = Engine()
    async with (
        open_database(
            settings, exclusive=exclusive, then=[engine.install], on_lost=on_lost
        ) as address,
        house_at(settings, address) as house,
    ):
        yield house


@asynccontextmanager
async def house_at(
    settings: Settings, address: DatabaseAddress, *, niceness: int = 0
) -> AsyncGenerator[House]:
    """Give the house on a database that is ready.

    With ``niceness`` what the embedded database does for it yields to what others ask of it.
    """
    pool = await create_pool(
        address.app,
        size_max=settings.pool_size,
        niceness=niceness if settings.database_url is None else 0,
    )
    house = House(settings, address, pool)
    try:
        async with _hinting(house):
            yield house
    finally:
        await house.committer.close()
        await _close(pool)


@asynccontextmanager
async def _hinting(house: House) -> AsyncGenerator[None]:
    """Exchange hints with other processes for as long as the block lasts, where there is NATS."""
    if house.nats is None or house.hints is None:
        yield
        return
    async with house.nats.running(), alongside(house.hints.run(), "hints"):
        yield


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None], name: str) -> AsyncGenerator[None]:
    """Run something that never ends for as long as the block lasts."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def following(house: House) -> AbstractAsyncContextManager[None]:
    """Run the projections that follow the log for as long as the block lasts."""
    return alongside(run_following(house.pool, house.feed, house.engine), "following projections")


async def _close(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), 10)
    except TimeoutError:
        pool.terminate()
