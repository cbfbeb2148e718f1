"""Files of products, suppliers, customers and warehouses, one line one registration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from api.imports.cells import Unusable, decimal_of, text_of, truth_of
from api.imports.tables import Cell, Line, Table
from api.imports.translation import Columns, Fault, Translated, build, choose_columns
from ledger.aliases import fold
from schemas.address import Address
from schemas.category import DefineCategory
from schemas.common import Command
from schemas.customer import CustomerAddress, RegisterCustomer
from schemas.import_batch import ImportKind
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from schemas.supplier import RegisterSupplier

Read = Callable[[str, Cell], object]
_SURVEY_STEP: Final = 1_000
_PART_LENGTH_MAX: Final = 200
CATEGORIES_MAX: Final = 100_000


def _text(_field: str, cell: Cell) -> object:
    return text_of(cell)


def _part(field: str, cell: Cell) -> object:
    text = text_of(cell)
    if len(text) > _PART_LENGTH_MAX:
        raise Unusable(f"bad_{field}", f"{field}: is over {_PART_LENGTH_MAX} characters long")
    return text


def _whole(field: str, cell: Cell) -> object:
    number = decimal_of(field, cell)
    if number != number.to_integral_value():
        raise Unusable(f"bad_{field}", f"{field}: {text_of(cell)!r} is not a whole number")
    return int(number)


def _no(field: str, cell: Cell) -> object:
    return not truth_of(field, cell)


# For each field of a map: the command's field, how its cell is read, the headings known.
Reading = Mapping[str, tuple[str, Read, tuple[str, ...]]]

PRODUCT_FIELDS: Final[Reading] = {
    "sku": ("sku", _text, ("sku", "product_id")),
    "name": ("name", _text, ("name", "product_name")),
    "price": ("base_price", decimal_of, ("price", "unit_price")),
    "cost": ("cost_price", decimal_of, ("cost_price", "cost")),
    "description": ("description", _text, ("description", "quantity_per_unit")),
    "barcode": ("barcode", _text, ("barcode",)),
    "vendor": ("vendor", _text, ("vendor",)),
    "supplier": ("supplier", _text, ("supplier", "supplier_code", "supplier_id")),
    "category": ("category", _text, ("category", "category_name")),
    "unit": ("unit", _text, ("unit",)),
    "reorder": ("reorder_level", decimal_of, ("reorder_level",)),
    "discontinued": ("is_active", _no, ("discontinued",)),
}
SUPPLIER_FIELDS: Final[Reading] = {
    "name": ("name", _text, ("name", "company_name")),
    "code": ("code", _text, ("code", "supplier_id")),
    "email": ("email", _text, ("email",)),
    "phone": ("phone", _text, ("phone",)),
    "terms": ("payment_terms", _text, ("payment_terms",)),
    "lead_time": ("lead_time_days", _whole, ("lead_time_days",)),
}
CUSTOMER_FIELDS: Final[Reading] = {
    "name": ("name", _text, ("name", "company_name")),
    "code": ("code", _text, ("code", "customer_id")),
    "email": ("email", _text, ("email",)),
    "phone": ("phone", _text, ("phone",)),
    "company": ("company", _text, ("company", "company_name")),
    "type": ("customer_type", _text, ("customer_type", "type")),
}
# The parts of the address that a customer's goods are sent to; alone, a contact is none.
ADDRESS_FIELDS: Final[Reading] = {
    "contact": ("name", _part, ("contact", "contact_name")),
    "address": ("line1", _part, ("address", "line1")),
    "address2": ("line2", _part, ("line2",)),
    "city": ("city", _part, ("city",)),
    "state": ("state", _part, ("state", "region")),
    "postcode": ("postcode", _part, ("postcode", "postal_code")),
    "country": ("country", _part, ("country",)),
}
_CUSTOMER_COLUMNS: Final[Reading] = {**CUSTOMER_FIELDS, **ADDRESS_FIELDS}
WAREHOUSE_FIELDS: Final[Reading] = {
    "code": ("code", _text, ("code",)),
    "name": ("name", _text, ("name",)),
    "address": ("address", _text, ("address",)),
    "city": ("city", _text, ("city",)),
    "state": ("state", _text, ("state",)),
    "postcode": ("postcode", _text, ("postcode",)),
    "country": ("country", _text, ("country",)),
    "timezone": ("time_zone", _text, ("time_zone",)),
    "default": ("is_default", truth_of, ("is_default",)),
    "limit": ("stock_limit", decimal_of, ("stock_limit",)),
}


def known_headings(fields: Reading) -> dict[str, tuple[str, ...]]:
    """Return the headings that are looked for when no map says otherwise."""
    return {field: headings for field, (_, _, headings) in fields.items()}


class RecordTranslator:
    """Turns each line of a table into one command that registers what it describes.

    A blank cell leaves its field out. The ledger refuses what it has already, such as a
    second line with one SKU.
    """

    command: type[Command]
    kind: ImportKind
    fields: Reading
    required: Sequence[str]

    def __init__(self, table: Table, columns: Mapping[str, str]) -> None:
        self._table = table
        self._mapping = columns
        self._columns = Columns(table, columns)
        self._lines_total = 0

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to."""
        pairs = (f"{field}={self._mapping[field]}" for field in sorted(self._mapping))
        return {"map": ",".join(pairs)}

    @property
    def lines_total(self) -> int:
        """How many lines the file has, blank ones left out."""
        return self._lines_total

    def survey(self) -> Iterator[int]:
        """Count the lines."""
        for _ in self._table.lines():
            self._lines_total += 1
            if self._lines_total % _SURVEY_STEP == 0:
                yield self._lines_total
        yield self._lines_total

    def opening(self) -> Sequence[Command]:
        """Nothing goes before the lines."""
        return ()

    def translate(self) -> Iterator[Translated]:
        """Yield each line's command, or the column at fault and why."""
        for line in self._table.lines():
            try:
                yield self._translate(line)
            except Unusable as unusable:
                yield Translated(line, fault=Fault(unusable.code, unusable.detail))

    def _translate(self, line: Line) -> Translated:
        return Translated(line, own=self._build(self._read(line)))

    def _read(self, line: Line, fields: Reading | None = None) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for field, (name, read, _) in (self.fields if fields is None else fields).items():
            cell = self._columns.cell(line, field)
            if text_of(cell):
                given[name] = read(field, cell)
            elif field in self.required:
                raise Unusable(f"missing_{field}", f"{self._heading(field)} is blank")
        return given

    def _build(self, given: Mapping[str, Any]) -> Command:
        try:
            return build(self.command, given)
        except Unusable as unusable:
            for field, (name, _, _) in self.fields.items():
                if unusable.code == f"bad_{name}":
                    detail = f"{self._heading(field)}: {unusable.detail}"
                    raise Unusable(f"bad_{field}", detail) from unusable
            raise

    def _heading(self, field: str) -> str:
        return f"column {self._mapping.get(field, field)!r}"


class Categories:
    """The names of categories by the ids that another file knows them by."""

    def __init__(self, table: Table) -> None:
        """Read a table of ids and names.

        Raises ValueError for one without such columns, UnreadableFile for one that is damaged.
        """
        known = {"id": ("category_id", "id"), "name": ("category_name", "name")}
        columns = Columns(table, choose_columns(table, known, tuple(known)))
        self.digest = table.digest
        self._names: dict[str, str] = {}
        for line in table.lines():
            number = text_of(columns.cell(line, "id"))
            name = text_of(columns.cell(line, "name"))
            if len(self._names) == CATEGORIES_MAX:
                raise ValueError(f"{table.path} has more than {CATEGORIES_MAX} categories")
            if number and name:
                self._names[number] = name

    def name_of(self, number: str) -> str:
        """Return a category's name; raise Unusable for one that the file does not have."""
        name = self._names.get(number)
        if name is None:
            raise Unusable("bad_category", f"the categories' file has no {number[:60]!r}")
        return name


class ProductTranslator(RecordTranslator):
    """Products, and with ``stock_column`` what is on hand of each at ``location``.

    That stock is received when the product is registered; a blank or zero cell means none.
    Categories are named, or with ``categories`` numbered as that says; those that are not there
    yet are defined, at the top. A supplier is named by its code, and must be there.
    """

    command = RegisterProduct
    kind: ImportKind = "products"
    fields = PRODUCT_FIELDS
    required = ("sku", "name", "price")

    def __init__(
        self,
        table: Table,
        columns: Mapping[str, str],
        *,
        stock_column: str | None = None,
        location: str = "MAIN",
        categories: Categories | None = None,
    ) -> None:
        self._categories = categories
        self._stock_column = stock_column
        self._location = location
        mapping = {**columns, **({"stock": stock_column} if stock_column else {})}
        super().__init__(table, mapping)

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to."""
        place = {"location": self._location} if self._stock_column else {}
        named = {"categories": self._categories.digest} if self._categories else {}
        return {**super().options, **place, **named}

    def opening(self) -> Sequence[Command]:
        """Open the location of the stock, unless it is there already."""
        if self._stock_column is None:
            return ()
        return [OpenLocation(name=self._location, code=self._location)]

    def translate(self) -> Iterator[Translated]:
        """Yield each line's command, behind one that defines its category if that is new here."""
        defined: set[str] = set()
        for translated in super().translate():
            own = translated.own
            category = own.category if isinstance(own, RegisterProduct) else None
            if category is None or fold(category) in defined:
                yield translated
            else:
                defined.add(fold(category))
                yield translated._replace(before=[DefineCategory(name=category)])

    def _read(self, line: Line, fields: Reading | None = None) -> dict[str, Any]:
        given = super()._read(line, fields)
        if self._categories is not None and "category" in given:
            given["category"] = self._categories.name_of(given["category"])
        return given

    def _translate(self, line: Line) -> Translated:
        given = self._read(line)
        stock = Decimal(0)
        cell = self._columns.cell(line, "stock")
        if text_of(cell):
            stock = decimal_of("stock", cell)
            given["scale"] = max(0, -int(stock.normalize().as_tuple().exponent))
        if stock < 0:
            raise Unusable("bad_stock", f"{self._heading('stock')}: {stock} is below zero")
        own = self._build(given)
        if stock == 0:
            return Translated(line, own=own)
        receipt = ReceiveStock(
            sku=given["sku"],
            location=self._location,
            quantity=stock,
            unit_cost=given.get("cost_price"),
            reason="opening stock",
            notes=f"line {line.number}",
        )
        return Translated(line, own=own, after=[receipt])


class SupplierTranslator(RecordTranslator):
    """Suppliers."""

    command = RegisterSupplier
    kind: ImportKind = "suppliers"
    fields = SUPPLIER_FIELDS
    required = ("name",)


class CustomerTranslator(RecordTranslator):
    """Customers, each with the address of its line, which goods are sent to."""

    command = RegisterCustomer
    kind: ImportKind = "customers"
    fields = _CUSTOMER_COLUMNS
    required = ("name",)

    def _translate(self, line: Line) -> Translated:
        given = self._read(line, CUSTOMER_FIELDS)
        parts = self._read(line, ADDRESS_FIELDS)
        if parts.keys() - {"name"}:
            shipping = CustomerAddress(type="shipping", address=Address(**parts), is_default=True)
            given["addresses"] = (shipping,)
        return Translated(line, own=self._build(given))


class WarehouseTranslator(RecordTranslator):
    """Warehouses, which the ledger calls locations."""

    command = OpenLocation
    kind: ImportKind = "warehouses"
    fields = WAREHOUSE_FIELDS
    required = ("code", "name")
