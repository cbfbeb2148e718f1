"""Products, suppliers and warehouses taken into a real ledger."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.imports.catalogue import ProductTranslator, SupplierTranslator, WarehouseTranslator
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


@pytest.mark.data
async def test_northwind_comes_in_whole(importing: Importing, test_data: Path) -> None:
    """77 products with 3,119 units in stock, 29 suppliers; once."""
    tenant_id = await importing.new_tenant()
    path = test_data / "northwind/products.csv"
    for _ in range(2):
        report = await importing.take_in(
            tenant_id, *records(path, ProductTranslator, stock_column="units_in_stock")
        )
        assert (report.lines, report.accepted) == (77, 77)
        assert sum((await importing.on_hand(tenant_id)).values()) == 3_119
    suppliers = await importing.take_in(
        tenant_id, *records(test_data / "northwind/suppliers.csv", SupplierTranslator)
    )
    assert (suppliers.lines, suppliers.accepted) == (29, 29)
