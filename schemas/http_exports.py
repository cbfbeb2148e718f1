"""What the export of tables answers."""

import msgspec


class ExportColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column: its name, its type as Arrow has it, and what it means."""

    name: str
    type: str
    description: str


class ExportTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table that can be exported. One that ``grows`` takes ``after``, a position."""

    name: str
    description: str
    grows: bool
    columns: list[ExportColumn]


class ExportTablesReply(msgspec.Struct, frozen=True, kw_only=True):
    """All tables, and the position as of which they are now."""

    tables: list[ExportTable]
    position: int
