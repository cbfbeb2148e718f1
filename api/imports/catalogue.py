"""Files of products, suppliers and warehouses into the catalogue, one line one registration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from api.imports.cells import Unusable, decimal_of, text_of, truth_of
from api.imports.tables import Cell, Line, Table
from api.imports.translation import Columns, Fault, Translated, build
from schemas.common import Command
from schemas.import_batch import ImportKind
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from schemas.supplier import RegisterSupplier

Read = Callable[[str, Cell], object]
_SURVEY_STEP: Final = 1_000


def _text(_field: str, cell: Cell) -> object:
    return text_of(cell)


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
    "vendor": ("vendor", _text, ("vendor", "supplier_id")),
    "category": ("category_id", _whole, ("category_id",)),
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

    def _read(self, line: Line) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for field, (name, read, _) in self.fields.items():
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


class ProductTranslator(RecordTranslator):
    """Products, and with ``stock_column`` what is on hand of each at ``location``.

    That stock is received when the product is registered; a blank or zero cell means none.
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
    ) -> None:
        self._stock_column = stock_column
        self._location = location
        mapping = {**columns, **({"stock": stock_column} if stock_column else {})}
        super().__init__(table, mapping)

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to."""
        place = {"location": self._location} if self._stock_column else {}
        return {**super().options, **place}

    def opening(self) -> Sequence[Command]:
        """Open the location of the stock, unless it is there already."""
        if self._stock_column is None:
            return ()
        return [OpenLocation(name=self._location, code=self._location)]

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


class WarehouseTranslator(RecordTranslator):
    """Warehouses, which the ledger calls locations."""

    command = OpenLocation
    kind: ImportKind = "warehouses"
    fields = WAREHOUSE_FIELDS
    required = ("code", "name")
