"""Two releases on one database: the new one's read models are built beside the old one's."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from deploy.address import DatabaseAddress
from deploy.database import UnfitDatabase
from deploy.superseding import watch_releases
from deploy.wiring import House, alongside, require_installed
from ledger.committer import Committer
from ledger.domain.decision import RecordedEvent
from ledger.errors import Superseded
from ledger.ports import Meta
from ledger.store import Connection, Pool, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections.deployment import deploy
from projections.engine import Engine
from projections.following import catch_up
from projections.products import Products
from projections.projection import Columns
from projections.stock_by_day import StockByDay
from projections.stock_levels import StockLevels
from projections.swapping import SwapFailed
from schemas.common import Command, Event
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock, StockAdjusted
from tests.support.api import running_service
from tests.support.postgres import create_tenant
from tests.support.proving import prove

OLD = Engine()
PRODUCTS = 5


class Tally:
    """A read model that only the new release has: how often each product was adjusted."""

    name: ClassVar[str] = "tally"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"tally": ("tenant_id", "product_id")}
    event_types: ClassVar[frozenset[type[Event]]] = frozenset({StockAdjusted})

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return Columns("product_id bigint", "times bigint").create(
            schema, "tally", self.tables["tally"]
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Count."""
        for recorded in events:
            event: Any = recorded.event
            await connection.execute(
                f"INSERT INTO {schema}.tally AS t VALUES ($1, $2, 1) "
                "ON CONFLICT (tenant_id, product_id) DO UPDATE SET times = t.times + 1",
                tenant_id,
                event.product_id,
            )


class WiderLevels(StockLevels):
    """Levels with another version and another shape: a column that tells what is to be counted."""

    version: ClassVar[int] = StockLevels.version + 1

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables, one with a column more."""
        return f"""{super().ddl(schema)}
            ALTER TABLE {schema}.reservation ADD COLUMN to_count boolean NOT NULL DEFAULT false;
        """


class LaterByDay(StockByDay):
    """Stock by day in another version."""

    version: ClassVar[int] = StockByDay.version + 1


class NamelessProducts(Products):
    """Products in a shape that the old release cannot read, and without any."""

    version: ClassVar[int] = Products.version + 1
    event_types: ClassVar[frozenset[type[Event]]] = frozenset()

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables, a column of which has another name."""
        return super().ddl(schema) + f"ALTER TABLE {schema}.product RENAME COLUMN name TO title;"


NEW = Engine(
    [WiderLevels() if p.name == "stock_levels" else p for p in OLD.inline] + [Tally()],
    [LaterByDay() if p.name == "stock_by_day" else p for p in OLD.following],
)
NAMELESS = Engine(
    [NamelessProducts() if p.name == "products" else p for p in OLD.inline], OLD.following
)
CHANGED = ["stock_levels", "tally", "stock_by_day"]


def render(outcomes: Sequence[Outcome]) -> Rendered:
    """Answer with the status alone; what is refused would be a fault of these tests."""
    assert all(outcome.refusal is None for outcome in outcomes), outcomes
    return Rendered(200, b"")


def product(number: int) -> RegisterProduct:
    """Make a product to put in the catalogue."""
    return RegisterProduct(sku=f"P{number}", name=f"Product {number}", base_price=Decimal(1))


class Shop:
    """A tenant with a place and products, through one release's committer."""

    def __init__(self, house: House, pool: Pool, tenant_id: int, engine: Engine) -> None:
        self.pool = pool
        self.tenant_id = tenant_id
        self.committer = Committer(pool, engine, house.now)

    async def do(self, *commands: Command) -> int:
        """Have commands take effect; return the position."""
        reply = await self.committer.submit(
            Submission(
                tenant_id=self.tenant_id,
                items=[Item(command) for command in commands],
                meta=Meta(actor="user:1", source="test"),
                render=render,
            )
        )
        return reply.position

    async def open(self) -> None:
        """Make what can be adjusted."""
        await self.do(
            OpenLocation(code="MAIN", name="Main"),
            *(product(n) for n in range(1, PRODUCTS + 1)),
        )

    async def adjust(self, product_id: int) -> int:
        """Find one more of a product."""
        return await self.do(
            AdjustStock(product_id=product_id, location_id=1, quantity=Decimal(1), reason="found")
        )

    async def read(self, product_id: int) -> tuple[int, int]:
        """Return a product's movements as its level says it, and as they are counted."""
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            row = await connection.fetchrow(
                """
                SELECT coalesce(max(l.movements), 0),
                       (SELECT count(*) FROM projections.movement WHERE product_id = $1)
                FROM projections.stock_level l WHERE l.product_id = $1
                """,
                product_id,
            )
        assert row is not None
        return row[0], row[1]


@asynccontextmanager
async def shop_of(house: House, tenant_id: int, engine: Engine = OLD) -> AsyncGenerator[Shop]:
    """Give a shop, and close its committer."""
    shop = Shop(house, house.pool, tenant_id, engine)
    try:
        yield shop
    finally:
        await shop.committer.close()


async def test_the_old_release_serves_until_the_new_one_is_complete(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """No write fails and no read is late before the switch; none is taken from the old one after.

    Each writer reads its own write at once. The new release goes on where the old one was cut off,
    and `verify` finds every table as its log says, those of the other tenant too.
    """
    other_id = await create_tenant(database)
    async with shop_of(house, tenant_id) as shop, shop_of(house, other_id) as other:
        await shop.open()
        await other.open()
        for n in range(40):
            await shop.adjust(n % PRODUCTS + 1)
            await other.adjust(n % PRODUCTS + 1)
        written = dict.fromkeys(range(1, PRODUCTS + 1), 8)
        superseded: list[Exception] = []

        async def write(product_id: int) -> None:
            while True:
                try:
                    await shop.adjust(product_id)
                except Superseded as error:
                    superseded.append(error)
                    return
                written[product_id] += 1
                level, counted = await shop.read(product_id)
                assert level == counted == written[product_id]

        writing = [asyncio.create_task(write(n)) for n in written]
        await asyncio.sleep(0.2)
        before = sum(written.values())
        assert await deploy(database.owner, NEW) == CHANGED
        async with asyncio.timeout(30):
            await asyncio.gather(*writing)
        assert len(superseded) == PRODUCTS
        assert sum(written.values()) > before
        with pytest.raises(Superseded, match="Another release"):
            await other.adjust(1)
    async with shop_of(house, tenant_id, NEW) as shop:
        await shop.adjust(1)
        assert await shop.read(1) == (written[1] + 1, written[1] + 1)
    async with tenant_transaction(house.pool, tenant_id) as connection:
        rows = await connection.fetch("SELECT product_id, times FROM projections.tally")
        assert dict(map(tuple, rows)) == written | {1: written[1] + 1}
        await connection.fetch("SELECT to_count FROM projections.reservation")
    for each in (tenant_id, other_id):
        for projection in NEW.following:
            await catch_up(house.pool, projection, each)
        verdict = await prove(database, house.pool, NEW, each)
        assert verdict.ok, verdict
    assert await deploy(database.owner, NEW) == []


async def test_the_old_following_projections_leave_the_new_tables_alone(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """A follower of the release before folds nothing into tables of another version."""
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
        await shop.adjust(1)
    await deploy(database.owner, NEW)
    async with shop_of(house, tenant_id, NEW) as shop:
        end = await shop.adjust(1)
    old, new = (e.named("stock_by_day") for e in (OLD, NEW))
    assert await catch_up(house.pool, old, tenant_id) is None
    assert await _days(house.pool, tenant_id) == 1
    assert await catch_up(house.pool, new, tenant_id) == end
    assert await _days(house.pool, tenant_id) == 2


async def _days(pool: Pool, tenant_id: int) -> int:
    async with tenant_transaction(pool, tenant_id) as connection:
        return await connection.fetchval("SELECT sum(movements) FROM projections.stock_by_day")


async def test_going_back_is_a_deployment_too(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """What the older release does not have goes away, so that nothing half written is met later."""
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
        await shop.adjust(1)
    await deploy(database.owner, NEW)
    assert set(await deploy(database.owner, OLD)) == set(CHANGED)
    async with shop_of(house, tenant_id) as shop:
        await shop.adjust(1)
        assert await shop.read(1) == (2, 2)
    async with shop_of(house, tenant_id, NEW) as shop:
        with pytest.raises(Superseded):
            await shop.adjust(1)
    assert (await prove(database, house.pool, OLD, tenant_id)).checks[0].ok


async def test_several_that_start_at_once_build_once(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """The others wait until it is done."""
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
    done = await asyncio.gather(*(deploy(database.owner, NEW) for _ in range(3)))
    assert sorted(map(len, done)) == [0, 0, len(CHANGED)]


async def test_a_build_that_fails_leaves_the_old_release_serving(
    database: DatabaseAddress, house: House, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads for too long holds up the switch, and the old release goes on."""
    monkeypatch.setattr("projections.swapping.SWAP_ATTEMPTS_MAX", 1)
    monkeypatch.setattr("projections.swapping.OLD_READERS_WAIT_S", 0.1)
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
        async with tenant_transaction(house.pool, tenant_id) as connection:
            await connection.fetch("SELECT * FROM projections.movement")
            with pytest.raises(SwapFailed, match="long readers"):
                await deploy(database.owner, NEW)
        await shop.adjust(1)
    assert (await prove(database, house.pool, OLD, tenant_id)).checks[0].ok


async def test_a_tenant_made_afterwards_belongs_to_the_new_release(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """Its head says so from the beginning."""
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
    await deploy(database.owner, NEW)
    later_id = await create_tenant(database)
    async with shop_of(house, later_id, NEW) as shop:
        await shop.open()
    async with shop_of(house, later_id) as shop:
        with pytest.raises(Superseded):
            await shop.adjust(1)


async def test_what_does_not_deploy_refuses_other_versions(
    database: DatabaseAddress, house: House, tenant_id: int
) -> None:
    """It says what to run."""
    await require_installed(database, OLD)
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
    with pytest.raises(UnfitDatabase, match=r"stock_levels, tally, stock_by_day.*migrate"):
        await require_installed(database, NEW)


async def test_a_read_that_meets_another_shape_is_told_so(
    database: DatabaseAddress, house: House
) -> None:
    """Before the process has noticed by itself, over HTTP; and then writes are refused too."""
    async with running_service(house) as service:
        product_id, location_id = await service.stocked()
        await deploy(database.owner, NAMELESS)
        assert not house.superseded
        body = {"product_id": product_id, "warehouse_id": location_id, "quantity": 1}
        refused = await service.post("/api/inventory/receive", body)
        assert (refused.status_code, refused.json()["code"]) == (503, "superseded")
        late = await service.get("/api/products")
        assert (late.status_code, late.json()["code"]) == (503, "superseded")
        assert house.superseded


async def test_a_process_notices_that_it_is_superseded(
    database: DatabaseAddress, house: House, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second; and that the other release has gone again."""
    monkeypatch.setattr("deploy.superseding.LOOK_EVERY_S", 0.02)
    async with shop_of(house, tenant_id) as shop:
        await shop.open()
    async with alongside(watch_releases(house), "releases"):
        await deploy(database.owner, NEW)
        await _until(lambda: house.superseded)
        await deploy(database.owner, OLD)
        await _until(lambda: not house.superseded)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
