"""Files of products, suppliers, customers, warehouses: lines into registrations, cell by cell."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.imports.catalogue import (
    Categories,
    CustomerTranslator,
    ProductTranslator,
    RecordTranslator,
    SupplierTranslator,
    WarehouseTranslator,
    known_headings,
)
from api.imports.tables import Table, UnreadableFile
from api.imports.translation import Translated, choose_columns
from schemas.address import Address
from schemas.category import DefineCategory
from schemas.customer import CustomerAddress, RegisterCustomer
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
            supplier="2",
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


def test_a_category_is_defined_before_its_first_line(tmp_path: Path) -> None:
    """By its name, in any case; a line that is refused needs none."""
    path = tmp_path / "products.csv"
    path.write_text(
        "sku,name,price,category\nA,A,?,Tea\nB,B,1,Tea\nC,C,1, tea\nD,D,1,\nE,E,1,Oil\n"
    )
    table = Table(path)
    translator = ProductTranslator(
        table, {name: name for name in ("sku", "name", "price", "category")}
    )
    lines = list(translator.translate())
    assert [list(line.before) for line in lines] == [
        [],
        [DefineCategory(name="Tea")],
        [],
        [],
        [DefineCategory(name="Oil")],
    ]
    own = [line.own for line in lines if isinstance(line.own, RegisterProduct)]
    assert [command.category for command in own] == ["Tea", "tea", None, "Oil"]


def test_categories_are_named_by_another_file(tmp_path: Path) -> None:
    """Which is part of how the file is read; a number that it lacks is told of."""
    names, products = tmp_path / "categories.csv", tmp_path / "products.csv"
    names.write_text("category_id,category_name\n1,Beverages\n2,\n")
    products.write_text("sku,name,price,category_id\nA,A,1,1\nB,B,1,2\n")
    categories = Categories(Table(names))
    columns = {"sku": "sku", "name": "name", "price": "price", "category": "category_id"}
    translator = ProductTranslator(Table(products), columns, categories=categories)
    first, second = translator.translate()
    assert isinstance(first.own, RegisterProduct)
    assert first.own.category == "Beverages"
    assert second.fault is not None
    assert (second.fault.code, "'2'" in second.fault.detail) == ("bad_category", True)
    assert translator.options["categories"] == categories.digest
    names.write_text("category_id\n1\n")
    with pytest.raises(ValueError, match="no column for name"):
        Categories(Table(names))
    with pytest.raises(UnreadableFile):
        Categories(Table(tmp_path / "none.csv"))


def test_a_customer_line_in_the_words_of_northwind(tmp_path: Path) -> None:
    """The address is where goods are sent to, with whom to ask for."""
    (line,) = translated(
        tmp_path,
        CustomerTranslator,
        "customer_id,company_name,contact_name,contact_title,address,city,region,postal_code,"
        "country,phone,fax\n"
        "GROSR,GROSELLA,Manuel Pereira,Owner,5ª Ave. Los Palos,Caracas,DF,1081,Venezuela,"
        "(2) 283-2951,(2) 283-3397\n",
    )
    address = Address(
        name="Manuel Pereira",
        line1="5ª Ave. Los Palos",
        city="Caracas",
        state="DF",
        postcode="1081",
        country="Venezuela",
    )
    assert (
        RegisterCustomer(
            name="GROSELLA",
            code="GROSR",
            company="GROSELLA",
            phone="(2) 283-2951",
            addresses=(CustomerAddress(type="shipping", address=address, is_default=True),),
        )
        == line.own
    )


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        (",C,retail,Rd", "missing_name"),
        ("N,C,friend,Rd", "bad_type"),
        (f"N,{'C' * 51},retail,Rd", "bad_code"),
        (f"N,C,retail,{'R' * 201}", "bad_address"),
    ],
)
def test_a_customers_bad_cell_is_named(tmp_path: Path, cells: str, code: str) -> None:
    """Also one of the address."""
    (line,) = translated(tmp_path, CustomerTranslator, f"name,code,type,address\n{cells}\n")
    assert line.fault is not None
    assert line.fault.code == code


def test_a_customer_without_an_address_has_none(tmp_path: Path) -> None:
    """Whom to ask for is no address."""
    (line,) = translated(
        tmp_path, CustomerTranslator, "name,type,contact,city\nAcme,b2b,Jane Doe,\n"
    )
    assert RegisterCustomer(name="Acme", customer_type="b2b") == line.own


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
