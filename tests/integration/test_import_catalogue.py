"""Products, suppliers, customers and warehouses taken into a real ledger."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.imports.catalogue import (
    Categories,
    CustomerTranslator,
    ProductTranslator,
    SupplierTranslator,
    WarehouseTranslator,
    known_headings,
)
from api.imports.tables import Table
from api.imports.translation import choose_columns
from deploy.address import DatabaseAddress
from deploy.wiring import House
from tests.support.imports import EXAMPLES, Importing, records


@pytest.fixture
def importing(house: House, database: DatabaseAddress) -> Importing:
    """A service on a database of the test's own."""
    return Importing(house, database)


async def test_products_come_with_what_is_on_hand(importing: Importing) -> None:
    """A second line with one SKU is refused, and brings no stock either."""
    tenant_id = await importing.new_tenant()
    report = await importing.take_in(
        tenant_id,
        *records(EXAMPLES / "products.csv", ProductTranslator, stock_column="on_hand"),
    )
    assert (report.lines, report.accepted) == (8, 6)
    assert report.refused == {"bad_price": 1, "sku_taken": 1}
    assert await importing.on_hand(tenant_id) == {
        "tea-earl-250": 84,
        "tea-mint-100": 120,
        "cup-blue": 60,
        "oil-olive": Decimal("41.75"),
        "lamp-old": 2,
    }


async def test_suppliers_and_warehouses(importing: Importing) -> None:
    """Bad lines are refused by number and column; the rest is there."""
    tenant_id = await importing.new_tenant()
    suppliers = await importing.take_in(
        tenant_id, *records(EXAMPLES / "suppliers.csv", SupplierTranslator)
    )
    assert suppliers.refused == {"bad_lead_time": 1}
    warehouses = await importing.take_in(
        tenant_id, *records(EXAMPLES / "warehouses.csv", WarehouseTranslator)
    )
    assert warehouses.refused == {"missing_name": 1}
    rows = await importing.fetch(tenant_id, "SELECT code FROM projections.location ORDER BY code")
    assert [row[0] for row in rows] == ["DEPOT", "MAIN", "SHOP"]
    assert len(await importing.fetch(tenant_id, "SELECT FROM projections.supplier")) == 2


async def test_customers_come_with_their_addresses(importing: Importing) -> None:
    """A second line with one code or one e-mail address is refused, and brings no address."""
    tenant_id = await importing.new_tenant()
    report = await importing.take_in(
        tenant_id, *records(EXAMPLES / "customers.csv", CustomerTranslator)
    )
    assert (report.lines, report.accepted) == (6, 3)
    assert report.refused == {"customer_code_taken": 1, "email_taken": 1, "bad_type": 1}
    rows = await importing.fetch(
        tenant_id,
        """
        SELECT c.code, c.customer_type, a.type, a.city, a.is_default
        FROM projections.customer c LEFT JOIN projections.customer_address a USING (customer_id)
        ORDER BY 1
        """,
    )
    assert [await importing.opened(tenant_id, row) for row in rows] == [
        ("ALBA", "retail", "shipping", "Edinburgh", True),
        ("FJORD", "wholesale", "shipping", "Ålesund", True),
        ("WALK-IN", "retail", None, None, None),
    ]


async def test_products_find_their_supplier_and_category(
    importing: Importing, tmp_path: Path
) -> None:
    """A category that is not there is made; a supplier that is not there refuses the line."""
    tenant_id = await importing.new_tenant()
    suppliers, products = tmp_path / "suppliers.csv", tmp_path / "products.csv"
    suppliers.write_text("code,name\nHILL,Hillside\n")
    products.write_text(
        "sku,name,price,category,supplier\nA,A,1,Tea,hill\nB,B,1,TEA,\nC,C,1,Oil,KILN\n"
    )
    await importing.take_in(tenant_id, *records(suppliers, SupplierTranslator))
    report = await importing.take_in(tenant_id, *records(products, ProductTranslator))
    assert report.refused == {"supplier_not_found": 1}
    rows = await importing.fetch(
        tenant_id,
        """
        SELECT p.sku, c.name, s.code FROM projections.product p
        LEFT JOIN projections.category c USING (category_id)
        LEFT JOIN projections.supplier s USING (supplier_id) ORDER BY 1
        """,
    )
    assert [tuple(row) for row in rows] == [("A", "Tea", "HILL"), ("B", "Tea", None)]


@pytest.mark.data
async def test_northwind_comes_in_whole(importing: Importing, test_data: Path) -> None:
    """29 suppliers, 77 products of 8 categories with 3,119 units, 91 customers; once."""
    tenant_id = await importing.new_tenant()
    folder = test_data / "northwind"
    for _ in range(2):
        suppliers = await importing.take_in(
            tenant_id, *records(folder / "suppliers.csv", SupplierTranslator)
        )
        assert (suppliers.lines, suppliers.accepted) == (29, 29)
        table = Table(folder / "products.csv")
        known = known_headings(ProductTranslator.fields) | {"category": ("category_id",)}
        products = await importing.take_in(
            tenant_id,
            table,
            ProductTranslator(
                table,
                choose_columns(table, known, ProductTranslator.required),
                stock_column="units_in_stock",
                categories=Categories(Table(folder / "categories.csv")),
            ),
        )
        assert (products.lines, products.accepted) == (77, 77)
        assert sum((await importing.on_hand(tenant_id)).values()) == 3_119
        customers = await importing.take_in(
            tenant_id, *records(folder / "customers.csv", CustomerTranslator)
        )
        assert (customers.lines, customers.accepted) == (91, 91)
    counts = await importing.fetch(
        tenant_id,
        """
        SELECT (SELECT count(*) FROM projections.customer),
               (SELECT count(*) FROM projections.customer_address WHERE is_default),
               (SELECT count(*) FROM projections.category),
               (SELECT count(*) FROM projections.product p
                JOIN projections.category USING (category_id)
                JOIN projections.supplier USING (supplier_id))
        """,
    )
    assert tuple(counts[0]) == (91, 91, 8, 77)
    alfki = await importing.fetch(
        tenant_id,
        """
        SELECT c.name, a.name, a.line1, a.city, a.state, a.postcode, a.country
        FROM projections.customer c JOIN projections.customer_address a USING (customer_id)
        WHERE c.code = 'ALFKI'
        """,
    )
    assert await importing.opened(tenant_id, alfki[0]) == (
        "Alfreds Futterkiste",
        "Maria Anders",
        "Obere Str. 57",
        "Berlin",
        None,
        "12209",
        "Germany",
    )
