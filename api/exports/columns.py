"""What a column of PostgreSQL's is in a Parquet file: its type, exactly, and what is said of it.

Rows come as ``COPY … (FORMAT csv)``, which Arrow reads by columns, without a Python object for any
value. What CSV cannot say goes as text that is turned back: bytes as hexadecimal digits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow

pa: Any = pyarrow

ArrowType = Any
ArrowSchema = Any

DECIMAL_DIGITS_MAX: Final = 38
"""What DuckDB and polars hold exactly; they read a wider decimal as a float, or not at all."""

DESCRIPTION: Final = b"description"
_TIME_ZONE: Final = "UTC"


class Column(NamedTuple):
    """A column: its name, the expression that is copied, its type, and what it means."""

    name: str
    expression: str
    type: ArrowType
    description: str
    is_bytes: bool = False

    @property
    def copied(self) -> ArrowType:
        """The type as which it is copied."""
        return pa.string() if self.is_bytes else self.type


_TYPES: Final[Mapping[str, ArrowType]] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", _TIME_ZONE),
}
INSTANT: Final = _TYPES["timestamptz"]


def column_of(name: str, type_name: str, modifier: int, description: str) -> Column:
    """Return a column of a table or view; ``modifier`` is its atttypmod, -1 for none.

    A numeric with precision and scale is a decimal of that scale; one without them has no type in
    Parquet that would hold it, and is text, as is every type that Parquet has not.
    """
    quoted = '"' + name.replace('"', '""') + '"'
    if type_name == "bytea":
        return Column(name, f"encode({quoted}, 'hex')", pa.binary(), description, is_bytes=True)
    if type_name == "numeric" and modifier >= 0:
        precision, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
        # Amounts of more digits than fit are refused when they come: none is rounded.
        digits = min(precision, DECIMAL_DIGITS_MAX)
        return Column(name, quoted, pa.decimal128(digits, min(scale, digits)), description)
    known = _TYPES.get(type_name)
    if known is not None:
        return Column(name, quoted, known, description)
    return Column(name, f"{quoted}::text", pa.string(), description)


def schema_of(columns: Sequence[Column], metadata: Mapping[str, str]) -> ArrowSchema:
    """Return the schema of a file: its columns, each with its description, and its metadata."""
    fields = [
        pa.field(column.name, column.type, metadata={DESCRIPTION: column.description.encode()})
        for column in columns
    ]
    return pa.schema(fields, {name.encode(): text.encode() for name, text in metadata.items()})
