"""The quick ways of sales and of lots give the rows of the ordinary folds."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from schemas.location import LocationOpened, LocationRevised
from schemas.lot import LotRegistered, LotRevised
from schemas.stock import (
    MovementReversed,
    StockCounted,
    StockIssued,
    StockReceived,
    TransferReceived,
    TransferShipped,
)
from schemas.stock_terms import LotPart
from tests.integration.test_rebuild_quick import ENGINE, catch_up_all
from tests.integration.test_rebuild_quick_star import rebuilt_to_the_same
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe, Written

NAMES = ["sales", "lots"]
ZONES = ["UTC", "Pacific/Kiritimati", "America/St_Johns", "Europe/London"]
START = datetime(2024, 3, 30, 20, tzinfo=UTC)
EVENTS = 160
_DESTINATIONS: Final = ("customer", "customer", "supplier")


def happenings(chance: random.Random) -> Iterator[Written]:
    """Yield places and lots, and then what is received, sold, brought back, moved and undone."""
    for place in (1, 2):
        yield f"location-{place}", LocationOpened(location_id=place, code=f"P{place}", name="P")
    for lot in (1, 2, 3):
        told = LotRegistered(
            lot_id=lot, product_id=lot % 2 + 1, lot=f"a\t{lot}\\", expiry_date=START.date()
        )
        yield f"lot-{lot}", told
    sales: list[tuple[int, StockIssued]] = []
    for position in range(6, 6 + EVENTS):
        product_id, place = chance.choice((1, 2)), chance.choice((1, 2))
        quantity = Decimal(chance.randint(1, 10**9)).scaleb(-chance.choice((0, 6)))
        price = chance.choice((None, Decimal(chance.randint(0, 10**8)).scaleb(-6)))
        lots = (LotPart(lot_id=chance.choice((1, 2, 3)), quantity=quantity),)
        lots = lots if chance.random() < 0.4 else ()
        stream = f"stock-{product_id}-{place}"
        at = START + timedelta(minutes=chance.randint(-3_000, 3_000))
        said: Any = {"product_id": product_id, "location_id": place, "quantity": quantity}
        match chance.randint(0, 9):
            case 0:
                zone = chance.choice(ZONES)
                revised = LocationRevised(
                    location_id=place, code=f"P{place}", name="P", time_zone=zone
                )
                yield f"location-{place}", revised, at
            case 1:
                lot = chance.choice((1, 2, 3))
                noted = LotRevised(
                    lot_id=lot, product_id=lot % 2 + 1, lot=f"b{lot}", notes="line\nline"
                )
                yield f"lot-{lot}", noted, at
            case 2 if sales:
                undone, sale = chance.choice(sales)
                back = MovementReversed(
                    product_id=sale.product_id,
                    location_id=sale.location_id,
                    reversed_position=undone,
                    reversed_type=sale.TYPE,
                    quantity=sale.quantity,
                    from_account=sale.destination,
                    from_location_id=sale.location_id,
                    to_account="unrestricted",
                    to_location_id=sale.location_id,
                    lots=sale.lots,
                )
                yield f"stock-{sale.product_id}-{sale.location_id}", back, at
            case 3:
                yield stream, StockReceived(**said, lots=lots), at
            case 4:
                back = StockReceived(**said, source="customer", unit_price=price, lots=lots)
                yield stream, back, at
            case 5:
                shipped = TransferShipped(
                    **said, to_location_id=3 - place, transfer_id=position, lots=lots
                )
                yield stream, shipped, at
            case 6:
                arrived = TransferReceived(
                    **said, from_location_id=3 - place, transfer_id=position, lots=lots
                )
                yield stream, arrived, at
            case 7:
                counted = StockCounted(
                    product_id=product_id,
                    location_id=place,
                    counted=quantity,
                    expected=quantity,
                    variance=Decimal(0),
                )
                yield stream, counted, at
            case _:
                destination = chance.choice(_DESTINATIONS)
                sale = StockIssued(**said, destination=destination, unit_price=price, lots=lots)
                sales.append((position, sale))
                yield stream, sale, at


async def write(pool: Pool, tenant_id: int, seed: int) -> None:
    """Write all that in groups of random sizes, and have those that follow catch up."""
    chance = random.Random(seed)
    scribe = Scribe(pool, ENGINE, tenant_id)
    rest = list(happenings(chance))
    while rest:
        size = chance.randint(1, 12)
        await scribe.write(*rest[:size])
        rest = rest[size:]
    await catch_up_all(pool, tenant_id)


@pytest.mark.parametrize(
    ("batch_events", "held_rows_max"),
    [(40_000, 500_000), (7, 500_000), (1, 500_000), (30, 12)],
    ids=["large", "small", "one by one", "ended early"],
)
async def test_the_rows_are_the_same_whatever_the_sizes(
    database: DatabaseAddress,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    batch_events: int,
    held_rows_max: int,
) -> None:
    """Of two tenants, with zones that change, prices or none, and sales that are undone later."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", batch_events)
    monkeypatch.setattr("projections.shadow.HELD_ROWS_MAX", held_rows_max)
    for seed in (1, 2):
        await write(pool, await create_tenant(database), 10 * seed + batch_events)
    report = await rebuilt_to_the_same(database, pool, NAMES)
    rows = {row.table: row.rows_rebuilt for row in report.tables}
    assert rows["sales_day"] > 10
    assert rows["sale_price"] > 10
    assert rows["lot"] == 3
    assert rows["lot_level"] > 3


async def test_a_priced_sale_is_remembered_until_it_is_undone(
    database: DatabaseAddress, pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretches later: what was refunded is what had been paid."""
    monkeypatch.setattr("projections.shadow.BATCH_EVENTS", 3)
    await write(pool, tenant_id, 5)
    await rebuilt_to_the_same(database, pool, NAMES)
    async with tenant_transaction(pool, tenant_id) as connection:
        taken_back = await connection.fetchval(
            "SELECT count(*) FROM projections.sales_day WHERE revenue < 0"
        )
    assert taken_back > 0
