"""Files of what is where and how it is sold, as the WooCommerce API exports them.

A line is one product at one location, by SKU and the location's code. Its stock is what is on
hand from then on. A blank price, or blank backorders, is as the product has it; a blank stock,
and a column that is not there, leaves that as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from api.formula_guard import unguard
from api.imports.catalogue import Reading, RecordTranslator
from api.imports.cells import decimal_of, text_of, truth_of
from api.imports.tables import Cell, Line, Table
from api.imports.translation import Translated
from schemas.import_batch import ImportKind
from schemas.listing import SyncListing


def _name(_field: str, cell: Cell) -> object:
    """Return a name as it was before the export made it safe for spreadsheets."""
    return unguard(text_of(cell))


def _backorders(field: str, cell: Cell) -> object:
    return text_of(cell).casefold() == "notify" or truth_of(field, cell)


LISTING_FIELDS: Final[Reading] = {
    "sku": ("sku", _name, ("sku",)),
    "location": ("location", _name, ("location_slug", "location")),
    "stock": ("stock", decimal_of, ("stock",)),
    "regular_price": ("regular_price", decimal_of, ("regular_price",)),
    "sale_price": ("sale_price", decimal_of, ("sale_price",)),
    "backorders": ("backorders", _backorders, ("backorders",)),
    "disabled": ("disabled", truth_of, ("disabled",)),
}
# What a blank cell stands for, where the file has the column.
_BLANK: Final[Mapping[str, bool | None]] = {
    "regular_price": None,
    "sale_price": None,
    "backorders": None,
    "disabled": False,
}


class ListingTranslator(RecordTranslator):
    """Products at locations. ``run`` tells one import of a file from another one of it."""

    command = SyncListing
    kind: ImportKind = "listings"
    fields = LISTING_FIELDS
    required: Sequence[str] = ("sku", "location")

    def __init__(self, table: Table, columns: Mapping[str, str], *, run: str | None = None) -> None:
        super().__init__(table, columns)
        self._said_blank = {name: blank for name, blank in _BLANK.items() if name in columns}
        self._run = run

    @property
    def options(self) -> Mapping[str, str]:
        """All that changes what the lines come to, and which import of the file this is."""
        return super().options if self._run is None else {**super().options, "run": self._run}

    def _translate(self, line: Line) -> Translated:
        return Translated(line, own=self._build({**self._said_blank, **self._read(line)}))
