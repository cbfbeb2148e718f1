"""The projections of customers, price tiers, categories, suppliers and products' new facts."""

from decimal import Decimal
from typing import Any

import pytest

from deploy.address import DatabaseAddress
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.products import variants_of
from schemas.address import Address
from schemas.category import CategoryDefined, CategoryRevised
from schemas.customer import (
    CustomerAddressAdded,
    CustomerErased,
    CustomerRegistered,
    CustomerRevised,
    PriceTierDefined,
    PriceTierRevised,
    TierPrice,
)
from schemas.product import (
    ProductDiscontinued,
    ProductImageEntry,
    ProductRegistered,
    ProductRevised,
    VariantOption,
)
from schemas.supplier import SupplierRegistered, SupplierRevised
from tests.support.proving import prove
from tests.support.written_log import START, Scribe

ENGINE = Engine()
OURS = ("customers", "price_tiers", "categories", "products", "suppliers", "aliases")


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


async def rows(scribe: Scribe, query: str) -> list[tuple[Any, ...]]:
    """Read as the tenant does."""
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


def customer(number: int, event: Any = CustomerRegistered, **more: Any) -> Any:
    """Make an entry about a customer."""
    return f"customer-{number}", event(customer_id=number, name=f"Customer {number}", **more)


def address(number: int, nth: int, kind: Any = "shipping", *, default: bool = False) -> Any:
    """Make an entry about a customer's address."""
    return f"customer-{number}", CustomerAddressAdded(
        customer_id=number,
        address_id=number * 1000 + nth,
        type=kind,
        address=Address(line1=f"{nth} George St"),
        is_default=default,
    )


def tier(event: Any, *prices: tuple[int, str, str], name: str = "Trade") -> Any:
    """Make an entry about the one tier: prices are product, quantity and price."""
    return "pricetier-1", event(
        price_tier_id=1,
        name=name,
        discount_percent=Decimal("2.5"),
        prices=tuple(
            TierPrice(product_id=product, min_quantity=Decimal(least), unit_price=Decimal(price))
            for product, least, price in prices
        ),
    )


def product(number: int, event: Any = ProductRegistered, **more: Any) -> Any:
    """Make an entry about a product."""
    return f"product-{number}", event(
        product_id=number,
        name=f"Product {number}",
        sku=f"P-{number}",
        base_price=Decimal("9.99"),
        **more,
    )


async def test_a_customer_is_what_was_last_said_and_its_version_the_streams(
    scribe: Scribe,
) -> None:
    """An address is of the customer's stream, so it raises the version; the name stays."""
    await scribe.write(customer(1, code="C1", email="a@b.example", price_tier_id=3), customer(2))
    await scribe.write(address(1, 1, default=True), customer(2, CustomerRevised, company="Two"))
    await scribe.write(customer(1, CustomerRevised, phone="1"), address(1, 2), address(1, 3))
    found = await rows(
        scribe,
        """SELECT customer_id, code, email, phone, company, price_tier_id, version, position,
                  created_at, revised_at
           FROM projections.customer ORDER BY 1""",
    )
    assert [row[:8] for row in found] == [
        (1, None, None, "1", None, None, 5, 7),
        (2, None, None, None, "Two", None, 2, 4),
    ]
    assert [(row[8] - START).seconds for row in found] == [1, 1]
    assert [(row[9] - START).seconds for row in found] == [3, 2]


async def test_an_erased_customer_keeps_its_row_and_no_address_in_use(
    scribe: Scribe, database: DatabaseAddress
) -> None:
    """In one batch with what was said of it, or in a later one: the same row, by its fold anew."""
    sealed: dict[str, Any] = {"subject": "0" * 32, "code": "C"}
    erased = [
        (f"customer-{number}", CustomerErased(customer_id=number, reason="asked"))
        for number in (1, 2)
    ]
    await scribe.write(customer(1, email_key="a", **sealed), address(1, 1, default=True), erased[0])
    await scribe.write(customer(2, email_key="b", **{**sealed, "code": "D"}))
    await scribe.write(address(2, 1, default=True))
    await scribe.write(erased[1])
    found = await rows(
        scribe,
        """SELECT customer_id, name, code, subject, email_key, version, erased_at, revised_at
           FROM projections.customer ORDER BY 1""",
    )
    assert [row[:6] for row in found] == [
        (1, "Customer 1", "C", "0" * 32, None, 3),
        (2, "Customer 2", "D", "0" * 32, None, 3),
    ]
    assert [((row[6] - START).seconds, (row[7] - START).seconds) for row in found] == [
        (1, 1),
        (4, 2),
    ]
    aliases = await rows(scribe, "SELECT kind, key FROM projections.alias ORDER BY 1, 2")
    assert aliases == [("customer", "c"), ("customer", "d")]
    verdict = await prove(database, scribe.pool, ENGINE, scribe.tenant_id)
    assert not [check for check in verdict.checks if check.faults and "customer" in check.name]


async def test_of_each_type_the_last_default_is_the_only_one(scribe: Scribe) -> None:
    """Within a batch and across batches, each customer and each type for itself."""

    async def defaults() -> list[int]:
        found = await rows(
            scribe, "SELECT address_id FROM projections.customer_address WHERE is_default"
        )
        return sorted(row[0] for row in found)

    await scribe.write(
        customer(1),
        customer(2),
        address(1, 1, default=True),
        address(1, 2, "billing", default=True),
        address(1, 3, default=True),
        address(2, 1, default=True),
    )
    assert await defaults() == [1002, 1003, 2001]
    await scribe.write(address(1, 4), address(1, 5, "billing"))
    assert await defaults() == [1002, 1003, 2001]
    await scribe.write(address(1, 6, default=True), address(1, 7, default=True), address(1, 8))
    assert await defaults() == [1002, 1007, 2001]
    stored = await rows(scribe, "SELECT count(*), min(line1) FROM projections.customer_address")
    assert stored == [(9, "1 George St")]


async def test_a_revised_tier_has_its_new_prices_alone(scribe: Scribe) -> None:
    """In one batch or in two, also when it has none any more."""
    query = "SELECT product_id, min_quantity, unit_price FROM projections.tier_price ORDER BY 1, 2"
    await scribe.write(
        tier(PriceTierDefined, (1, "1", "5"), (1, "10", "4"), (2, "1", "7")),
        tier(PriceTierRevised, (1, "10", "3.5"), (3, "0.5", "1.25")),
    )
    assert await rows(scribe, query) == [
        (1, 10, Decimal("3.5")),
        (3, Decimal("0.5"), Decimal("1.25")),
    ]
    await scribe.write(tier(PriceTierRevised, name="Plain"))
    assert await rows(scribe, query) == []
    assert await rows(
        scribe, "SELECT name, discount_percent, version FROM projections.price_tier"
    ) == [("Plain", Decimal("2.5"), 3)]


async def test_a_product_says_all_that_is_new_of_it(scribe: Scribe) -> None:
    """And its variants are found by it while they are in the catalogue."""
    await scribe.write(
        product(1),
        product(2, variant_of=1, options=(VariantOption(name="Size", value="M"),)),
        product(3, variant_of=1, backorders=True, supplier_id=8),
        product(4, variant_of=1, images=(ProductImageEntry(url="/a.jpg", is_primary=True),)),
    )
    assert await rows(
        scribe,
        """SELECT backorders, supplier_id, options::text, images::text
           FROM projections.product WHERE variant_of = 1 ORDER BY product_id""",
    ) == [
        (False, None, '[{"name": "Size", "value": "M"}]', "[]"),
        (True, 8, "[]", "[]"),
        (False, None, "[]", '[{"url": "/a.jpg", "is_primary": true}]'),
    ]
    await scribe.write(
        product(2, ProductRevised), ("product-3", ProductDiscontinued(product_id=3, sku="P-3"))
    )
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        assert await variants_of(connection, scribe.tenant_id, 1, 10) == [4]
        assert await variants_of(connection, scribe.tenant_id, 2, 10) == []


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 100])
async def test_the_fold_is_the_same_whatever_the_batches(
    database: DatabaseAddress, scribe: Scribe, batch: int
) -> None:
    """Verification folds the log in one go; what was written batch by batch equals it."""
    entries: list[Any] = [
        ("category-1", CategoryDefined(category_id=1, name="Drinks")),
        ("category-2", CategoryDefined(category_id=2, name="Tea", parent_id=1)),
        ("category-2", CategoryRevised(category_id=2, name="Teas")),
        ("supplier-1", SupplierRegistered(supplier_id=1, name="Hill", code="HILL")),
        ("supplier-2", SupplierRegistered(supplier_id=2, name="Kiln")),
        ("supplier-1", SupplierRevised(supplier_id=1, name="Hillside", lead_time_days=7)),
        ("supplier-2", SupplierRevised(supplier_id=2, name="Kiln", code="hill")),
        product(1, category_id=1, supplier_id=1),
        product(2, variant_of=1),
        product(2, ProductRevised, variant_of=1, options=(VariantOption(name="a", value="b"),)),
        tier(PriceTierDefined, (1, "1", "5")),
        tier(PriceTierRevised, (1, "1", "4"), (2, "1", "3")),
        tier(PriceTierRevised, (2, "1", "2")),
        customer(1, email="a@b.example", price_tier_id=1),
        address(1, 1, default=True),
        address(1, 2, "billing", default=True),
        customer(2, code="TWO"),
        address(1, 3, default=True),
        customer(1, CustomerRevised, code="ONE"),
        address(2, 1, default=True),
        address(1, 4, default=True),
        address(1, 5),
        ("customer-1", CustomerErased(customer_id=1)),
    ]
    for start in range(0, len(entries), batch):
        await scribe.write(*entries[start : start + batch])
    verdict = await prove(database, scribe.pool, ENGINE, scribe.tenant_id)
    tables = {
        f"{table} = log": 0
        for projection in ENGINE.inline
        if projection.name in OURS
        for table in projection.tables
    }
    checks = {check.name: check for check in verdict.checks if check.name in tables}
    assert checks.keys() == tables.keys()
    assert [check.faults for check in checks.values() if not check.ok] == []
    assert (checks["customer_address = log"].checked, checks["tier_price = log"].checked) == (6, 1)
