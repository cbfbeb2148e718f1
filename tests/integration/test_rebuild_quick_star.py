"""The star's quick way gives the rows of the ordinary fold: its levels, and all that is beside."""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.comparing import table_names
from projections.log_reading import tenant_ids
from projections.orders import Orders
from projections.rebuild import Report
from projections.shadow import SHADOW
from projections.star import Star
from projections.star_stock import StarStock
from schemas.common import Event
from schemas.customer import CustomerRegistered, CustomerRevised
from schemas.location import LocationOpened
from schemas.order import CancelledLine, Claim, OrderCancelled, OrderLine, OrderPlaced
from schemas.product import ProductDiscontinued, ProductRegistered
from schemas.stock import StockReceived, StockReserved
from schemas.supplier import SupplierRegistered
from tests.integration.test_rebuild_quick import ENGINE, catch_up_all, held, history, rebuilt
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe, Written

ZONES = ["UTC", "Pacific/Kiritimati", "America/St_Johns"]


def facts(chance: random.Random, number: int) -> list[Written]:
    """Return what else happens: a product, a location, a customer, a supplier, and an order."""
    product_id, order_id = 100 + number, 5000 + number
    claim = Claim(location_id=1, quantity=Decimal(1))
    line = OrderLine(
        id=1000 * order_id + 1,
        product_id=product_id,
        quantity=Decimal(2),
        unit_price=Decimal("9.5"),
        price_source="list",
        claims=(claim,),
        backordered=Decimal(1),
    )
    placed = OrderPlaced(
        order_id=order_id,
        order_number=f"ORD-{order_id}",
        channel="api",
        lines=(line,),
        total_amount=Decimal(19),
        allocation="default",
        customer_id=number,
        notes="Ring twice",
    )
    sku = f"P{number}"
    registered = ProductRegistered(
        product_id=product_id, sku=sku, name="a\tb\\", base_price=Decimal(3)
    )
    supplier = SupplierRegistered(supplier_id=number, name="S", email="s@example.com")
    zone = chance.choice(ZONES)
    told: list[Written] = [
        (f"product-{product_id}", registered),
        (f"location-{number + 10}", _opened(number + 10, zone)),
        (f"customer-{number}", CustomerRegistered(customer_id=number, name="Jane")),
        (f"supplier-{number}", supplier),
        (f"order-{order_id}", placed),
        (f"stock-{product_id}-1", _held(product_id)),
    ]
    cancelled = CancelledLine(order_item_id=line.id, open=Decimal(1), released=(claim,))
    later: list[Written] = [
        (f"customer-{number}", _revised(number)),
        (f"order-{order_id}", OrderCancelled(order_id=order_id, lines=(cancelled,))),
        (f"product-{product_id}", ProductDiscontinued(product_id=product_id, sku=sku)),
    ]
    return told + [entry for entry in later if chance.random() < 0.5]


def _opened(location_id: int, zone: str) -> LocationOpened:
    return LocationOpened(
        location_id=location_id, code=f"L{location_id}", name=zone, time_zone=zone
    )


def _held(product_id: int) -> StockReserved:
    return StockReserved(
        product_id=product_id, location_id=1, quantity=Decimal(1), reservation_id="an order's"
    )


def _revised(customer_id: int) -> CustomerRevised:
    return CustomerRevised(customer_id=customer_id, name="Jane", customer_type="b2b")


async def write(pool: Pool, tenant_id: int, seed: int) -> None:
    """Write a history of stock with all else in between, in groups of random sizes."""
    chance = random.Random(seed)
    scribe = Scribe(pool, ENGINE, tenant_id)
    rest: list[Written] = [(r.stream, r.event, r.effective_at) for r in history(seed)]
    for number in range(1, 13):
        at = chance.randint(0, len(rest))
        for entry in facts(chance, number):
            rest.insert(at, entry)
            at = chance.randint(at + 1, min(at + 8, len(rest)))
    while rest:
        size = chance.randint(1, 12)
        await scribe.write(*rest[:size])
        rest = rest[size:]
    await scribe.write(held("\t still open"))
    await catch_up_all(pool, tenant_id)


async def rebuilt_to_the_same(
    database: DatabaseAddress, pool: Pool, names: Sequence[str] = ("star",)
) -> Report:
    """Rebuild; every row is the one that was there, its signs and times among what is compared."""
    before = await _rows(pool, names)
    report = await rebuilt(database, names)
    assert report.differing == []
    assert report.swapped
    assert await _rows(pool, names) == before
    return report


async def _rows(pool: Pool, names: Sequence[str]) -> list[tuple[int, str, str]]:
    found: list[tuple[int, str, str]] = []
    async with pool.acquire() as connection:
        tenants = await tenant_ids(connection)
    for tenant_id in tenants:
        async with tenant_transaction(pool, tenant_id) as connection:
            for table in table_names([ENGINE.named(name) for name in names]):
                rows = await connection.fetch(f"SELECT t::text FROM projections.{table} t")
                found += [(tenant_id, table, row[0]) for row in rows]
    return sorted(found)


class Counted:
    """How many events a part of the star has folded in the ordinary way, into a shadow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[StarStock | Orders]) -> None:
        self.positions: list[int] = []
        usual: Any = kind.apply

        async def apply(part: Any, connection: Any, schema: str, tenant: int, events: Any) -> None:
            if schema == SHADOW:
                self.positions += [event.position for event in events]
            await usual(part, connection, schema, tenant, events)

        monkeypatch.setattr(kind, "apply", apply)


@pytest.mark.parametrize(
    ("batch_events", "held_rows_max", "ends_early"),
    [
        (40_000, 500_000, False),
        (7, 500_000, False),
        (1, 500_000, False),
        (60, 8, True),
        (31, 16, True),
    ],
    ids=["large", "small", "one by one", "ended early", "ended later"],
)
async def test_the_rows_are_the_same_whatever_the_sizes(
    database: DatabaseAddress,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    batch_events: int,
    held_rows_max: int,
    ends_early: bool,
) -> None:
    """Of two tenants; where memory is short, from the middle on by the ordinary fold of all."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    monkeypatch.setattr("projections.shadow.HELD_ROWS_MAX", held_rows_max)
    for seed in (1, 2):
        await write(pool, await create_tenant(database), 10 * seed + batch_events)
    stock, orders = Counted(monkeypatch, StarStock), Counted(monkeypatch, Orders)
    report = await rebuilt_to_the_same(database, pool)
    rows = {row.table: row.rows_rebuilt for row in report.tables}
    assert min(rows["star_stock_level"], rows["star_reservation"]) > 0
    assert rows["star_product"] >= 12
    assert rows["star_sales_order"] == 12
    assert bool(stock.positions) == ends_early
    assert len(orders.positions) >= 24, "of two tenants"


@pytest.mark.parametrize(
    ("bound", "value"),
    [("projections.shadow.HELD_ROWS_MAX", 12), ("projections.moves.MILLIONTHS_MAX", 400e6)],
    ids=["after a stretch", "before one"],
)
async def test_each_event_of_the_rest_is_folded_once_where_the_quick_way_ends(
    database: DatabaseAddress,
    pool: Pool,
    tenant_id: int,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: float,
) -> None:
    """Up to there beside the quick way, from there on with all else."""
    await write(pool, tenant_id, 5)
    with monkeypatch.context() as patch:
        every = Counted(patch, Orders)
        await rebuilt(database, ["star"])
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 40)
    # So that what is beside a stretch is read in several goes.
    monkeypatch.setattr("projections.log_reading.SCANNED_EVENTS_MAX", 5)
    monkeypatch.setattr(bound, value)
    orders, stock = Counted(monkeypatch, Orders), Counted(monkeypatch, StarStock)
    await rebuilt_to_the_same(database, pool)
    assert orders.positions == every.positions
    ended = stock.positions[0]
    assert orders.positions[0] < ended
    assert any(position in range(ended, ended + 40) for position in orders.positions)


async def test_what_one_leaves_out_another_one_folds_quickly(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zones of locations are told beside the star's columns, and in those of stock by day."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 11)
    scribe = Scribe(pool, ENGINE, tenant_id)
    for zone in ZONES:
        await scribe.write(("location-1", _opened(1, zone)))
        for _ in range(15):
            received = StockReceived(product_id=1, location_id=1, quantity=Decimal(1))
            await scribe.write(("stock-1-1", received))
    await catch_up_all(pool, tenant_id)
    await rebuilt_to_the_same(database, pool, ["stock_by_day", "star", "locations"])


async def test_tables_of_the_rest_keep_their_keys(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the quick way goes on, only those of stock have none; in the end all have them."""
    await write(pool, tenant_id, 6)
    seen: set[str] = set()
    usual: Any = Orders.apply

    async def apply(part: Any, connection: Any, schema: str, tenant: int, events: Any) -> None:
        if schema == SHADOW:
            seen.update(row[0] for row in await connection.fetch(KEYLESS, schema))
        await usual(part, connection, schema, tenant, events)

    monkeypatch.setattr(Orders, "apply", apply)
    await rebuilt_to_the_same(database, pool)
    assert seen == set(StarStock.tables)
    async with pool.acquire() as connection:
        left = {row[0] for row in await connection.fetch(KEYLESS, "projections")}
    assert left.isdisjoint(Star.tables)


KEYLESS = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'
  AND NOT (c.relforcerowsecurity
           AND EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary))
  AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant_id')
"""


@pytest.mark.parametrize("names", [["star"], ["stock_levels"]])
async def test_more_is_reserved_than_64_bits_hold(
    database: DatabaseAddress, pool: Pool, tenant_id: int, names: Sequence[str]
) -> None:
    """Then the ordinary fold goes on."""
    scribe = Scribe(pool, ENGINE, tenant_id)
    for number in range(12):
        most: Event = StockReserved(
            product_id=1,
            location_id=1,
            quantity=Decimal("999999999999.999999"),
            reservation_id=f"{number}",
        )
        await scribe.write(("stock-1-1", most))
    await catch_up_all(pool, tenant_id)
    await rebuilt_to_the_same(database, pool, names)
