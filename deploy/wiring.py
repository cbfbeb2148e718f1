"""The composition root: opens the database and puts the parts of the house together."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import asyncpg

from api.customer_search import CustomerSearch
from api.house import EXPORTS_MAX, WooCommerceSettings
from deploy.address import DatabaseAddress
from deploy.database import UnfitDatabase, open_database
from deploy.master_keys import master_keys
from deploy.secrets import jwt_secret
from deploy.settings import Settings
from ledger.committer import Committer, GroupReport
from ledger.ending import end
from ledger.feed import Feed
from ledger.personal_data import PersonalData
from ledger.sealed_committer import SealedCommitter
from ledger.store import Connection, Pool, create_pool
from ledger.yielding import EXPORT_NICENESS
from projections.deployment import deploy
from projections.engine import Engine
from projections.following import run_following
from projections.shadow import Progress
from projections.webhook_endpoints import Policy

if TYPE_CHECKING:
    from ledger.hints import Hints
    from ledger.nats_connection import NatsConnection


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

    def __init__(
        self, settings: Settings, address: DatabaseAddress, pool: Pool, exports: Pool
    ) -> None:
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
        self.exports = exports
        self.engine = Engine()
        self.superseded = False
        self.feed = Feed(pool)
        self.nats, self.hints = _hints_of(settings, self.feed)
        self.group_observers: list[Callable[[GroupReport], None]] = []
        self.masters = master_keys(settings)
        self.personal = PersonalData(pool, self.masters)
        self.customer_search = CustomerSearch(self.personal)
        committer = Committer(
            pool,
            self.engine,
            self.now,
            queue_commands_max=settings.queue_commands_max,
            group_commands_max=settings.group_commands_max,
            states_cached_max=settings.states_cached_max,
            on_group=self._report,
            on_commit=self._committed,
        )
        self.committer = SealedCommitter(committer, self.personal, self.engine)

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

    async def look_at_release(self) -> str:
        """Return which read models installed are of another release; "" where none is."""
        async with self.pool.acquire() as connection:
            differing = await self.engine.differing(cast(Connection, connection))
        self.superseded = bool(differing)
        return str(differing)

    def _committed(self, tenant_id: int) -> None:
        self.feed.wake(tenant_id)
        if self.hints is not None:
            self.hints.tell(tenant_id)

    def _report(self, report: GroupReport) -> None:
        for observe in self.group_observers:
            observe(report)


def _hints_of(settings: Settings, feed: Feed) -> "tuple[NatsConnection, Hints] | tuple[None, None]":
    """Return what hints are exchanged by, where there is NATS. Only then is its client loaded."""
    if settings.nats_url is None:
        return None, None
    from ledger.hints import Hints
    from ledger.nats_connection import NatsConnection

    nats = NatsConnection(settings.nats_url.split(","), "stockledger", echo=False)
    return nats, Hints(feed, nats)


@asynccontextmanager
async def open_ledger(
    settings: Settings,
    *,
    exclusive: bool = False,
    deploys: Progress | None = None,
    on_lost: Callable[[], object] | None = None,
) -> AsyncGenerator[House]:
    """Give the house on the settings' database, started or attached to, migrated and checked.

    With ``deploys``, which is told how far that is, read models of this release that differ from
    the installed ones are built and put in place first; without it they are refused with
    UnfitDatabase. ``exclusive`` and ``on_lost`` are for the service itself: see ``open_database``.
    """
    engine = Engine()
    async with open_database(
        settings, exclusive=exclusive, then=[engine.install], on_lost=on_lost
    ) as address:
        if deploys is not None:
            await deploy(address.owner, engine, deploys)
        else:
            await require_installed(address, engine)
        async with house_at(settings, address) as house:
            yield house


async def require_installed(address: DatabaseAddress, engine: Engine) -> None:
    """Raise UnfitDatabase where the installed read models are not those of this release."""
    connection = await asyncpg.connect(**address.owner)
    try:
        differing = await engine.differing(connection)
    finally:
        await connection.close()
    if differing:
        raise UnfitDatabase(
            f"the read models installed are of another release ({differing}); "
            "to build those of this one and switch to them, run: stockledger migrate"
        )


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
    # Connected to when somebody exports; what the database does for that yields to all else.
    exports = await create_pool(
        address.app,
        size_min=0,
        size_max=EXPORTS_MAX,
        niceness=EXPORT_NICENESS if settings.database_url is None else 0,
    )
    house = House(settings, address, pool, exports)
    try:
        async with _hinting(house):
            yield house
    finally:
        await house.committer.close()
        await _close(pool)
        await _close(exports)


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
        await end(task)


def following(house: House) -> AbstractAsyncContextManager[None]:
    """Run the projections that follow the log for as long as the block lasts."""
    return alongside(run_following(house.pool, house.feed, house.engine), "following projections")


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(10):
            await pool.close()
    except TimeoutError:
        pool.terminate()
