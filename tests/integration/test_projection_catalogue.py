"""The projections of products, locations, suppliers, aliases and import batches."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ledger.aliases import LOCATION, SKU
from ledger.store import Pool, tenant_transaction
from projections.aliases import find_aliases
from projections.engine import Engine
from projections.following import catch_up
from projections.stock_by_day import by_day
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened, ImportChunkRecorded
from schemas.location import LocationOpened, LocationRevised
from schemas.product import (
    AlternativeUnit,
    ProductDiscontinued,
    ProductRegistered,
    ProductRevised,
)
from schemas.stock import StockIssued, StockReceived
from schemas.supplier import SupplierRegistered
from tests.support.written_log import START, Scribe

ENGINE = Engine()


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


async def rows(scribe: Scribe, query: str) -> list[tuple[Any, ...]]:
    """Read as the tenant does."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


async def aliases(scribe: Scribe, *wanted: tuple[str, str]) -> dict[tuple[str, str], int]:
    """Look aliases up."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        return await find_aliases(connection, scribe.tenant_id, wanted)


def product(number: int, sku: str, event: Any = ProductRegistered, **more: Any) -> Any:
    """Make an entry about a product."""
    return f"product-{number}", event(
        product_id=number, name=f"Product {number}", sku=sku, base_price=Decimal("9.99"), **more
    )


async def test_a_product_is_what_was_last_said(scribe: Scribe) -> None:
    """In one batch or several; it keeps the time at which it was made."""
    pack = AlternativeUnit(unit="box", numerator=12)
    await scribe.write(
        product(1, "A", alternative_units=(pack,), weight=Decimal("0.450")),
        product(2, "B"),
        product(1, "A1", ProductRevised, reorder_level=Decimal(5)),
    )
    await scribe.write(
        product(2, "B2", ProductRevised, cost_price=Decimal("0.000001")),
        ("product-1", ProductDiscontinued(product_id=1, sku="A1")),
    )
    found = await rows(
        scribe,
        """SELECT product_id, sku, reorder_level, cost_price, is_active, is_discontinued,
                  revised_at - created_at, version, alternative_units::text
           FROM projections.product ORDER BY 1""",
    )
    second = scribe.now - START
    assert [row[:6] + row[7:] for row in found] == [
        (1, "A1", 5, None, False, True, 3, "[]"),
        (2, "B2", None, Decimal("0.000001"), True, False, 2, "[]"),
    ]
    assert [row[6] for row in found] == [second / 2, second / 2]


async def test_a_name_may_pass_from_one_to_another(scribe: Scribe) -> None:
    """Within a batch, in a ring, and after it was given up; case and outer space do not count."""
    await scribe.write(product(1, "A"), product(2, "B"), ("location-1", _location(1, "A")))
    assert await aliases(scribe, (SKU, "a"), (SKU, "b"), (LOCATION, "a"), (SKU, "c")) == {
        (SKU, "a"): 1,
        (SKU, "b"): 2,
        (LOCATION, "a"): 1,
    }
    await scribe.write(
        product(1, "C", ProductRevised),
        product(2, " a", ProductRevised),
        product(1, "B", ProductRevised),
    )
    assert await aliases(scribe, (SKU, "a"), (SKU, "b"), (SKU, "c")) == {
        (SKU, "a"): 2,
        (SKU, "b"): 1,
    }
    await scribe.write(("product-2", ProductDiscontinued(product_id=2, sku="a")), product(3, "A"))
    assert await aliases(scribe, (SKU, "a")) == {(SKU, "a"): 3}
    assert await aliases(scribe) == {}


def _location(number: int, code: str, event: Any = LocationOpened, **more: Any) -> Any:
    return event(location_id=number, name=f"Place {number}", code=code, **more)


async def test_exactly_the_last_default_is_the_default(scribe: Scribe) -> None:
    """A new default takes the mark from the old one, within a batch and across batches."""

    async def defaults() -> list[tuple[Any, ...]]:
        return await rows(
            scribe, "SELECT location_id FROM projections.location WHERE is_default ORDER BY 1"
        )

    await scribe.write(
        ("location-1", _location(1, "A", is_default=True)),
        ("location-2", _location(2, "B", is_default=True)),
        ("location-3", _location(3, "C")),
    )
    assert await defaults() == [(2,)]
    await scribe.write(("location-3", _location(3, "C", LocationRevised, is_default=True)))
    assert await defaults() == [(3,)]
    await scribe.write(
        ("location-1", _location(1, "A", LocationRevised, is_default=True)),
        ("location-2", _location(2, "B", LocationRevised, stock_limit=Decimal(-5))),
    )
    assert await defaults() == [(1,)]


async def test_suppliers_and_their_codes(scribe: Scribe) -> None:
    """One without a code has no alias."""
    await scribe.write(
        ("supplier-1", SupplierRegistered(supplier_id=1, name="Bolts", code="B-1")),
        ("supplier-2", SupplierRegistered(supplier_id=2, name="Nuts", lead_time_days=7)),
    )
    assert await rows(
        scribe, "SELECT supplier_id, code, lead_time_days FROM projections.supplier ORDER BY 1"
    ) == [(1, "B-1", None), (2, None, 7)]
    assert await aliases(scribe, ("supplier", "b-1")) == {("supplier", "b-1"): 1}


async def test_a_batch_adds_up_its_chunks(scribe: Scribe) -> None:
    """However they are spread over commits."""

    def chunk(number: int) -> Any:
        return "import-x", ImportChunkRecorded(
            batch_id="x",
            chunk=number,
            first_line=number * 10 + 1,
            last_line=number * 10 + 10,
            accepted=9,
            refused=1,
        )

    query = """SELECT chunks, last_line, accepted, refused, lines, closed_at IS NOT NULL
               FROM projections.import_batch"""
    await scribe.write(
        (
            "import-x",
            ImportBatchOpened(
                batch_id="x", kind="products", source_name="p.csv", source_digest="d"
            ),
        ),
        chunk(0),
        chunk(1),
    )
    assert await rows(scribe, query) == [(2, 20, 18, 2, None, False)]
    await scribe.write(
        chunk(2),
        ("import-x", ImportBatchClosed(batch_id="x", lines=30, accepted=27, refused=3)),
    )
    assert await rows(scribe, query) == [(3, 30, 27, 3, 30, True)]


async def test_a_day_is_the_locations(scribe: Scribe) -> None:
    """20:00 UTC is the next day in Perth."""
    evening = START.replace(hour=20)
    received = StockReceived(product_id=1, location_id=1, quantity=Decimal(5))
    issued = StockIssued(product_id=1, location_id=1, quantity=Decimal(2))
    await scribe.write(
        ("location-1", _location(1, "A", time_zone="Australia/Perth")),
        ("stock-1-1", received, START),
        ("stock-1-1", issued, evening),
    )
    await scribe.write(("stock-1-1", issued, evening))
    assert await catch_up(scribe.pool, ENGINE.following[0], scribe.tenant_id) == 4
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        days = await by_day(connection, scribe.tenant_id, 1, 1, START.date(), date(2030, 12, 31))
    assert [
        (row["day"], row["received"], row["issued"], row["change"], row["closing"]) for row in days
    ] == [(date(2030, 5, 1), 5, 0, 5, 5), (date(2030, 5, 2), 0, 4, -4, 1)]
