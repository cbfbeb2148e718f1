"""The files of the Northwind sample database, read into values: exact, checked, in order.

Northwind is Microsoft's sample of a wholesaler of food: 77 products of 29 suppliers, 91
customers, and 830 orders of 1996 to 1998. What is read is a folder of CSV files with a header
each: categories, suppliers, products, customers, orders and order_details.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from api.imports.cells import Unusable, decimal_of, text_of, truth_of
from api.imports.tables import Table, UnreadableFile

FILES: Final = ("categories", "suppliers", "products", "customers", "orders", "order_details")
Key = TypeVar("Key")
Row = TypeVar("Row")


class Place(NamedTuple):
    """A postal address, in the words of this service's API; "" where the file has nothing."""

    name: str
    line1: str
    city: str
    state: str
    postcode: str
    country: str


class Supplier(NamedTuple):
    supplier_id: int
    name: str
    phone: str


class Product(NamedTuple):
    """A product; ``in_stock`` and ``on_order`` are so at the end of the files' time."""

    product_id: int
    name: str
    supplier_id: int
    category_id: int
    quantity_per_unit: str
    list_price: Decimal
    in_stock: Decimal
    on_order: Decimal
    reorder_level: Decimal
    discontinued: bool


class Customer(NamedTuple):
    customer_id: str
    name: str
    phone: str
    address: Place


class Line(NamedTuple):
    """So much of a product; ``charged`` is ``list_price`` less the line's discount, exactly."""

    product_id: int
    quantity: Decimal
    list_price: Decimal
    charged: Decimal


class Order(NamedTuple):
    """An order; ``shipped`` is None where it has not left by the end of the files' time."""

    order_id: int
    customer_id: str
    ordered: date
    shipped: date | None
    address: Place
    lines: tuple[Line, ...]


class Northwind(NamedTuple):
    """All of it. Orders are in the order of their dates, then of their numbers."""

    categories: Mapping[int, str]
    suppliers: Mapping[int, Supplier]
    products: Mapping[int, Product]
    customers: Mapping[str, Customer]
    orders: tuple[Order, ...]

    @property
    def last_day(self) -> date:
        """The last day on which anything was ordered or shipped."""
        return max(max(order.ordered, order.shipped or order.ordered) for order in self.orders)


def read_northwind(folder: Path) -> Northwind:
    """Read the folder; raise UnreadableFile, saying where, when it is not what it should be."""
    if not folder.is_dir():
        raise UnreadableFile(
            f"{folder} is not a folder; it should have {', '.join(f'{n}.csv' for n in FILES)}"
        )
    categories = _read(folder, "categories", _category)
    suppliers = _read(folder, "suppliers", _supplier)
    products = _read(folder, "products", _product)
    customers = _read(folder, "customers", _customer)
    for product in products.values():
        _require(folder, "products", suppliers, product.supplier_id, "supplier")
        _require(folder, "products", categories, product.category_id, "category")
    lines = _lines(folder, products)
    orders = _read(folder, "orders", lambda row: _order(row, lines))
    for order in orders.values():
        _require(folder, "orders", customers, order.customer_id, "customer")
    if not orders:
        raise UnreadableFile(f"{folder / 'orders.csv'} has no orders")
    return Northwind(
        categories,
        suppliers,
        products,
        customers,
        tuple(sorted(orders.values(), key=lambda order: (order.ordered, order.order_id))),
    )


# --- rows -------------------------------------------------------------------------------


class _Row:
    """One line of a file by its columns' names. What is wrong in it is an UnreadableFile."""

    def __init__(self, path: Path, number: int, cells: Mapping[str, str]) -> None:
        self._path = path
        self._number = number
        self._cells = cells

    def text(self, column: str) -> str:
        """Return a cell's text, "" when there is none."""
        return self._cells.get(column, "")

    def required(self, column: str) -> str:
        """Return the text of a cell that must not be empty."""
        if text := self.text(column):
            return text
        raise self.fault(f"has no {column}")

    def decimal(self, column: str) -> Decimal:
        """Return an exact decimal, not below zero."""
        try:
            value = decimal_of(column, self.text(column))
        except Unusable as error:
            raise self.fault(error.detail) from error
        if value < 0:
            raise self.fault(f"{column} is below zero")
        return value

    def whole(self, column: str) -> int:
        """Return a whole number."""
        value = self.decimal(column)
        if value != value.to_integral_value():
            raise self.fault(f"{column} is not a whole number")
        return int(value)

    def truth(self, column: str) -> bool:
        """Return whether it says yes."""
        try:
            return truth_of(column, self.text(column))
        except Unusable as error:
            raise self.fault(error.detail) from error

    def day(self, column: str) -> date | None:
        """Return a date, None when the cell is empty. A time of day behind it is left out."""
        text = self.text(column)
        if not text:
            return None
        try:
            return date.fromisoformat(text[:10])
        except ValueError as error:
            raise self.fault(f"{column}: {text[:60]!r} is not a date") from error

    def place(self, name: str, prefix: str = "") -> Place:
        """Return the address in the columns that begin with a prefix."""
        columns = ("address", "city", "region", "postal_code", "country")
        return Place(name, *(self.text(prefix + column) for column in columns))

    def fault(self, what: str) -> UnreadableFile:
        """Return what to raise when something is wrong here."""
        return UnreadableFile(f"{self._path}, line {self._number}: {what}")


def _category(row: _Row) -> tuple[int, str]:
    return row.whole("category_id"), row.required("category_name")


def _supplier(row: _Row) -> tuple[int, Supplier]:
    number = row.whole("supplier_id")
    return number, Supplier(number, row.required("company_name"), row.text("phone"))


def _product(row: _Row) -> tuple[int, Product]:
    number = row.whole("product_id")
    return number, Product(
        number,
        row.required("product_name"),
        row.whole("supplier_id"),
        row.whole("category_id"),
        row.text("quantity_per_unit"),
        row.decimal("unit_price"),
        row.decimal("units_in_stock"),
        row.decimal("units_on_order"),
        row.decimal("reorder_level"),
        row.truth("discontinued"),
    )


def _customer(row: _Row) -> tuple[str, Customer]:
    code = row.required("customer_id")
    address = row.place(row.text("contact_name"))
    return code, Customer(code, row.required("company_name"), row.text("phone"), address)


def _order(row: _Row, lines: Mapping[int, list[Line]]) -> tuple[int, Order]:
    number = row.whole("order_id")
    ordered = row.day("order_date")
    shipped = row.day("shipped_date")
    if ordered is None:
        raise row.fault("has no order_date")
    if shipped is not None and shipped < ordered:
        raise row.fault("was shipped before it was ordered")
    if number not in lines:
        raise row.fault("has no lines in order_details.csv")
    place = row.place(row.text("ship_name"), "ship_")
    return number, Order(
        number, row.required("customer_id"), ordered, shipped, place, tuple(lines[number])
    )


def _lines(folder: Path, products: Mapping[int, Product]) -> dict[int, list[Line]]:
    lines: dict[int, list[Line]] = {}
    for row in _rows(folder, "order_details"):
        product_id = row.whole("product_id")
        price, discount = row.decimal("unit_price"), row.decimal("discount")
        quantity = row.decimal("quantity")
        if product_id not in products:
            raise row.fault(f"there is no product {product_id} in products.csv")
        if discount > 1 or quantity == 0:
            raise row.fault("a discount is a part of 1, and a quantity above zero")
        line = Line(product_id, quantity, price, price * (1 - discount))
        lines.setdefault(row.whole("order_id"), []).append(line)
    return lines


# --- files ------------------------------------------------------------------------------


def _read(folder: Path, name: str, make: Callable[[_Row], tuple[Key, Row]]) -> dict[Key, Row]:
    made: dict[Key, Row] = {}
    for row in _rows(folder, name):
        key, value = make(row)
        if key in made:
            raise row.fault(f"{key} is there twice")
        made[key] = value
    return made


def _rows(folder: Path, name: str) -> Iterator[_Row]:
    table = Table(folder / f"{name}.csv")
    for line in table.lines():
        cells = {
            column: text_of(cell) for column, cell in zip(table.columns, line.cells, strict=False)
        }
        yield _Row(table.path, line.number, cells)


def _require(folder: Path, name: str, known: Mapping[Key, object], key: Key, what: str) -> None:
    if key not in known:
        raise UnreadableFile(f"{folder / f'{name}.csv'}: there is no {what} {key}")
