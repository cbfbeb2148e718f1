"""Files of products, suppliers and warehouses: lines into registrations, cell by cell."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.imports.catalogue import (
    ProductTranslator,
    RecordTranslator,
    SupplierTranslator,
    WarehouseTranslator,
    known_headings,
)
from api.imports.tables import Table
from api.imports.translation import Translated, choose_columns
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from schemas.supplier import RegisterSupplier


def translated(
    tmp_path: Path, kind: type[RecordTranslator], text: str, **options: str
) -> list[Translated]:
    """Translate a CSV."""
    path = tmp_path / "file.csv"
    path.write_text(text)
    table = Table(path)
    columns = choose_columns(table, known_headings(kind.fields), kind.required)
    translator = kind(table, columns, **options)
    assert list(translator.survey()) == [1]
    return list(translator.translate())


def test_a_product_line_in_the_words_of_northwind(tmp_path: Path) -> None:
    """Blank cells leave their fields out; stock is received once the product is there."""
    (line,) = translated(
        tmp_path,
        ProductTranslator,
        "product_id,product_name,supplier_id,category_id,quantity_per_unit,unit_price,"
        "units_in_stock,reorder_level,discontinued\n5,Gumbo Mix,2,3,36 boxes,21.35,7,,1\n",
        stock_column="units_in_stock",
        location="A1",
    )
    assert (
        RegisterProduct(
            sku="5",
            name="Gumbo Mix",
            vendor="2",
            category_id=3,
            description="36 boxes",
            base_price=Decimal("21.35"),
            is_active=False,
        )
        == line.own
    )
    (receipt,) = line.after
    assert isinstance(receipt, ReceiveStock)
    assert ("5", "A1", Decimal(7)) == (receipt.sku, receipt.location, receipt.quantity)


@pytest.mark.parametrize(
    ("cells", "code", "names"),
    [
        (",Tea,1,", "missing_sku", "'sku'"),
        ("T,,1,", "missing_name", "'name'"),
        ("T,Tea,,", "missing_price", "'price'"),
        ("T,Tea,1.2.3,", "bad_price", "price"),
        ("T,Tea,-1,", "bad_price", "base_price must not be below zero"),
        (f"{'T' * 101},Tea,1,", "bad_sku", "'sku'"),
        ("T,Tea,1,a few", "bad_reorder", "reorder"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, cells: str, code: str, names: str) -> None:
    """By the file's own heading, with the fault."""
    (line,) = translated(tmp_path, ProductTranslator, f"sku,name,price,reorder_level\n{cells}\n")
    assert line.fault is not None
    assert code == line.fault.code
    assert names in line.fault.detail


def test_stock_below_zero_is_refused(tmp_path: Path) -> None:
    """Nothing can be received less than not at all."""
    (line,) = translated(
        tmp_path, ProductTranslator, "sku,name,price,n\nT,Tea,1,-1\n", stock_column="n"
    )
    assert line.fault is not None
    assert line.fault.code == "bad_stock"


def test_fractional_stock_gives_the_product_a_scale(tmp_path: Path) -> None:
    """Or the ledger would refuse the receipt as inexact."""
    (line,) = translated(
        tmp_path, ProductTranslator, "sku,name,price,n\nT,Oil,1,41.75\n", stock_column="n"
    )
    assert isinstance(line.own, RegisterProduct)
    assert line.own.scale == 2


def test_a_supplier_line(tmp_path: Path) -> None:
    """With a lead time in whole days."""
    (line,) = translated(tmp_path, SupplierTranslator, "code,name,lead_time_days\nH,Hillside,7\n")
    assert RegisterSupplier(name="Hillside", code="H", lead_time_days=7) == line.own


def test_a_warehouse_line(tmp_path: Path) -> None:
    """Its stock limit may be below zero."""
    (line,) = translated(
        tmp_path,
        WarehouseTranslator,
        "code,name,time_zone,is_default,stock_limit\nS,Shop,Europe/London,yes,-5\n",
    )
    assert (
        OpenLocation(
            code="S",
            name="Shop",
            time_zone="Europe/London",
            is_default=True,
            stock_limit=Decimal(-5),
        )
        == line.own
    )
