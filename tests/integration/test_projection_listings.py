"""The projection of listings, and what is read of it with stock beside it."""

from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections import listing_queries
from projections.engine import Engine
from projections.listing_queries import Filter
from schemas.listing import ProductListed
from schemas.location import LocationOpened
from schemas.product import ProductRegistered
from schemas.stock import StockReceived
from tests.support.proving import prove
from tests.support.written_log import Scribe

ENGINE = Engine()


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


def listed(
    product_id: int,
    location_id: int,
    regular: Decimal | None = None,
    sale: Decimal | None = None,
    **said: Any,
) -> tuple[str, ProductListed]:
    prices: dict[str, Any] = {"regular_price": regular, "sale_price": sale, **said}
    event = ProductListed(product_id=product_id, location_id=location_id, **prices)
    return f"listing-{product_id}-{location_id}", event


async def _shop(scribe: Scribe) -> None:
    await scribe.write(
        *(
            (
                f"product-{number}",
                ProductRegistered(
                    product_id=number,
                    name=f"Product {number}",
                    sku=f"P{number}",
                    base_price=Decimal(number),
                    variant_of=1 if number == 2 else None,
                ),
            )
            for number in (1, 2, 3)
        ),
        *(
            (f"location-{number}", LocationOpened(location_id=number, name="L", code=f"L{number}"))
            for number in (1, 2)
        ),
        (
            "stock-3-1",
            StockReceived(product_id=3, location_id=1, quantity=Decimal(5), source="supplier"),
        ),
    )


async def test_a_listing_is_what_was_last_said(
    scribe: Scribe, database: DatabaseAddress, pool: Pool
) -> None:
    """Within a batch and across batches; a fresh fold gives the same rows."""
    await _shop(scribe)
    await scribe.write(
        listed(1, 1, Decimal("1.5")),
        listed(1, 2, Decimal(2), Decimal(1), backorders=False, disabled=True),
        listed(1, 1, sale=Decimal("0.000001"), disabled=True),
    )
    await scribe.write(listed(1, 2))

    async with tenant_transaction(pool, scribe.tenant_id) as connection:
        rows = await connection.fetch(
            """SELECT product_id, location_id, regular_price, sale_price, backorders, disabled,
                      version, position
               FROM projections.listing ORDER BY 1, 2"""
        )

    assert [tuple(row) for row in rows] == [
        (1, 1, None, Decimal("0.000001"), None, True, 2, 9),
        (1, 2, None, None, None, False, 2, 10),
    ]
    verdict = await prove(database, pool, ENGINE, scribe.tenant_id)
    assert verdict.ok, [check for check in verdict.checks if not check.ok]


async def test_products_are_where_they_have_stock_or_are_listed(scribe: Scribe, pool: Pool) -> None:
    """In pages by number, behind a place, and of some products; with filters."""
    await _shop(scribe)
    await scribe.write(listed(3, 1, disabled=True), listed(2, 2), listed(2, 1))

    async with tenant_transaction(pool, scribe.tenant_id) as connection:
        tenant = scribe.tenant_id

        async def found(wanted: Filter) -> list[tuple[int, int, int]]:
            rows = await listing_queries.places(connection, tenant, wanted, 9, 0)
            assert len(rows) == await listing_queries.count_places(connection, tenant, wanted)
            return [(row["product_id"], row["location_id"], int(row["on_hand"])) for row in rows]

        assert await found(Filter()) == [(2, 1, 0), (2, 2, 0), (3, 1, 5)]
        assert await found(Filter(sku="p2", code="l2")) == [(2, 2, 0)]
        assert await found(Filter(product_id=3, location_id=2)) == []
        after = await listing_queries.places_after(connection, tenant, Filter(), (2, 1), 9)
        assert [(row["product_id"], row["location_id"]) for row in after] == [(2, 2), (3, 1)]
        of_three = await listing_queries.places_of(connection, tenant, [3])
        assert [(row["sku"], row["disabled"]) for row in of_three] == [("P3", True)]
        disabled = await listing_queries.listings(connection, tenant, Filter(disabled=True), 9, 0)
        assert [row["product_id"] for row in disabled] == [3]
        parents = await listing_queries.parents_among(connection, tenant, {1, 3}, {"p2"})
        assert parents == ({1}, {"p1"})
        by_sku = await listing_queries.parents_among(connection, tenant, set(), {"p1", "p3"})
        assert by_sku == ({1}, {"p1"})
        assert await listing_queries.parents_among(connection, tenant, {2, 3}, set()) == (
            set(),
            set(),
        )
