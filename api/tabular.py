"""Lists and reports as tables: which tables a reply holds, and how a row becomes cells.

Everything is read off the struct that a route declares as its reply: a list of structs is a
table, a struct within a row gives it dotted columns (``shipping_address.city``), a list of structs
within a row is a table of its own, whose rows begin with their parent's key. What is said once in a
reply, such as a total, stands in the table ``figures``. What a cell is, number or text, is said by
the type in the schema and never guessed from the value.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from msgspec import inspect as shapes

from api.query import Parameter

CellKind = Literal["number", "text", "flag", "date", "json"]
Row = Mapping[str, Any]

FIGURES: Final = "figures"
PAGE_ROWS: Final = 2_000
"""Rows that are read at once: what the service holds of a table in memory."""
PAST_PAGE_ROWS: Final = 20_000
"""Rows that are read at once of the past, where each page is folded anew."""
# What tells of the page, not of what is listed.
_PAGING: Final = frozenset({"total", "page", "limit", "next_cursor", "next_after", "next_before"})
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)

FORMAT: Final = Parameter(
    "format",
    "string",
    "json; or csv or xlsx: all rows that match as a table, or those of one page where page, limit "
    "or cursor is given. An Accept header asks for the same",
    values=("json", "csv", "xlsx"),
)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """How a route's replies become tables.

    ``rows`` names the list that the main table is made of, or ``figures``; None takes the first
    list, and the figures where there is none. ``page_rows`` is how many rows a page may have.
    ``follow`` are the parameter and the member of the reply that lead to the next page where that
    is not ``cursor``. ``until`` is the column that ``Ledger-Position`` bounds, where pages are read
    of a log that grows meanwhile.
    """

    rows: str | None = None
    page_rows: int = PAGE_ROWS
    follow: tuple[str, str] | None = None
    until: str | None = None


class Column(NamedTuple):
    """A column: its dotted name, where its value is in a row, and what it holds."""

    name: str
    path: tuple[str, ...]
    kind: CellKind


class Sheet(NamedTuple):
    """A table: its name, where its rows are, its columns, and the lists within its rows.

    ``path`` leads there from the reply, or from a row of the parent's. ``keys`` are the columns
    of its ancestors that its own rows begin with. ``lines`` are columns for the lists within a
    row, as JSON, for a format that has one table only.
    """

    name: str
    path: tuple[str, ...]
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    lines: tuple[Column, ...]
    children: tuple["Sheet", ...]

    def header(self, *, lines: bool) -> list[str]:
        """Return the names of the columns."""
        shown = (*self.keys, *self.columns, *(self.lines if lines else ()))
        return [column.name for column in shown]

    def kinds(self, *, lines: bool) -> list[CellKind]:
        """Return what the columns hold."""
        shown = (*self.keys, *self.columns, *(self.lines if lines else ()))
        return [column.kind for column in shown]

    def key(self) -> Column:
        """Return the column that names a row: its id, or else its first."""
        return next((column for column in self.columns if column.name == "id"), self.columns[0])

    def rows(self, holder: Row, *, lines: bool, keys: Sequence[Any] = ()) -> Iterator[list[Any]]:
        """Yield the rows that a reply, or a row of the parent's, has; values as in the JSON."""
        columns = (*self.columns, *self.lines) if lines else self.columns
        for row in listed(holder, self.path):
            yield [*keys, *(value_at(row, column.path) for column in columns)]


class Shape(NamedTuple):
    """All tables of a reply: the main one, those beside it, and the figures said once."""

    main: Sheet | None
    beside: tuple[Sheet, ...]
    figures: tuple[Column, ...]

    def names(self) -> list[str]:
        """Return the names of all tables, the main one first."""
        named = [sheet.name for sheet in self.sheets()]
        if not self.figures:
            return named
        return [FIGURES, *named] if self.main is None else [*named, FIGURES]

    def sheets(self) -> Iterator[Sheet]:
        """Yield all tables but the figures, each before those within its rows."""
        for sheet in (*(() if self.main is None else (self.main,)), *self.beside):
            yield from with_children(sheet)


def with_children(sheet: Sheet) -> Iterator[Sheet]:
    """Yield a table and those within its rows."""
    yield sheet
    for child in sheet.children:
        yield from with_children(child)


def shape_of(reply: type, table: Table) -> Shape:
    """Return the tables of a reply; raise ValueError where it has not the list that is named."""
    columns, lists = _members(shapes.type_info(reply))
    sheets = [_sheet(path, item, ()) for path, item in lists]
    main = next((sheet for sheet in sheets if table.rows in (None, sheet.name)), None)
    if main is None and table.rows not in (None, FIGURES):
        raise ValueError(f"{reply.__name__} has no list {table.rows!r}")
    return Shape(
        main,
        tuple(sheet for sheet in sheets if sheet is not main),
        tuple(column for column in columns if column.name not in _PAGING),
    )


def is_tabular(reply: Any) -> bool:
    """Tell whether a declared reply is a struct with a list of structs in it."""
    if not (isinstance(reply, type) and issubclass(reply, msgspec.Struct)):
        return False
    return bool(_members(shapes.type_info(reply))[1])


def _sheet(
    path: tuple[str, ...], item: shapes.StructType, above: tuple[Column, ...], within: str = ""
) -> Sheet:
    name = ".".join((within, *path)) if within else ".".join(path)
    columns, lists = _members(item)
    sheet = Sheet(
        name,
        path,
        above,
        tuple(columns),
        tuple(Column(".".join(inner), inner, "json") for inner, _ in lists),
        (),
    )
    key = sheet.key()
    keys = (*above, Column(f"{name}.{key.name}", key.path, key.kind))
    return sheet._replace(children=tuple(_sheet(p, i, keys, name) for p, i in lists))


def _members(
    kind: shapes.Type, within: tuple[str, ...] = ()
) -> tuple[list[Column], list[tuple[tuple[str, ...], shapes.StructType]]]:
    """Return a struct's columns, those of structs within it too, and its lists of structs."""
    columns: list[Column] = []
    lists: list[tuple[tuple[str, ...], shapes.StructType]] = []
    assert isinstance(kind, shapes.StructType), kind
    for field in kind.fields:
        path = (*within, field.encode_name)
        inner = _plain(field.type)
        if isinstance(inner, shapes.StructType):
            more_columns, more_lists = _members(inner, path)
            columns += more_columns
            lists += more_lists
            continue
        item = _plain(inner.item_type) if isinstance(inner, shapes.ListType) else None
        if isinstance(item, shapes.StructType):
            lists.append((path, item))
        else:
            columns.append(Column(".".join(path), path, _kind(field.type)))
    return columns, lists


def _plain(kind: shapes.Type) -> shapes.Type:
    """Return a type without its remarks, and without null where that is its only alternative."""
    if isinstance(kind, shapes.Metadata):
        return _plain(kind.type)
    if isinstance(kind, shapes.UnionType):
        said = _said(kind)
        if len(said) == 1:
            return _plain(said[0])
    return kind


def _said(kind: shapes.UnionType) -> list[shapes.Type]:
    silent = (shapes.NoneType,)
    return [member for member in kind.types if not isinstance(member, silent)]


def _kind(kind: shapes.Type) -> CellKind:
    match kind:
        case shapes.Metadata(type=shapes.StrType()) if _is_decimal_text(kind):
            return "number"
        case shapes.Metadata():
            return _kind(kind.type)
        case shapes.UnionType():
            kinds: set[CellKind] = {_kind(member) for member in _said(kind)}
            return kinds.pop() if len(kinds) == 1 else "json"
        case shapes.IntType() | shapes.DecimalType() | shapes.FloatType():
            return "number"
        case shapes.BoolType():
            return "flag"
        case shapes.DateType():
            return "date"
        case shapes.LiteralType():
            return "text" if all(isinstance(value, str) for value in kind.values) else "json"
        case shapes.StrType() | shapes.DateTimeType() | shapes.UUIDType() | shapes.EnumType():
            return "text"
        case _:
            return "json"


def _is_decimal_text(kind: shapes.Metadata) -> bool:
    """Tell whether text is declared to be a decimal: `schemas.http_common`'s exact numbers."""
    schema = cast("dict[str, Any]", kind.extra_json_schema or {})  # pyright: ignore[reportUnknownMemberType]
    return str(schema.get("pattern", "")).startswith("^-?[0-9]+")


# --- values -----------------------------------------------------------------------------

_decoder: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def decoded(body: bytes) -> dict[str, Any]:
    """Return a reply's JSON; numbers that are not whole are decimals, as they are written."""
    return _decoder.decode(body)


def listed(holder: Row, path: Sequence[str]) -> Sequence[Row]:
    """Return the list at a path; one that is not there is empty."""
    return cast("Sequence[Row]", value_at(holder, path) or ())


def value_at(holder: Row, path: Sequence[str]) -> Any:
    """Return the value at a path; None where there is none."""
    value: Any = holder
    for name in path:
        if value is None:
            return None
        value = cast(Row, value).get(name)
    return value


def figure_rows(shape: Shape, reply: Row) -> Iterator[tuple[str, CellKind, Any]]:
    """Yield name, kind and value of each figure that a reply says once."""
    for column in shape.figures:
        yield column.name, column.kind, value_at(reply, column.path)


def child_rows(
    sheet: Sheet, rows: Iterable[Row], *, lines: bool, above: Sequence[Any] = ()
) -> Iterator[tuple[Sheet, list[Any]]]:
    """Yield the rows of the tables within rows, each with its table."""
    if not sheet.children:
        return
    key = sheet.key()
    for row in rows:
        keys = [*above, value_at(row, key.path)]
        for child in sheet.children:
            for cells in child.rows(row, lines=lines, keys=keys):
                yield child, cells
            inner = listed(row, child.path)
            yield from child_rows(child, inner, lines=lines, above=keys)


def number_of(value: Any) -> Decimal | int | None:
    """Return the number that a cell of kind number holds; None for text that is none."""
    if isinstance(value, int | Decimal):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    return None


def text_of(value: Any) -> str:
    """Return a value as text: text as it is, all else as JSON."""
    return value if isinstance(value, str) else _encoder.encode(value).decode()
