"""The quick way into tables that are still empty: folded in memory, in columns, and copied in.

A rebuild begins with nothing, so a fold need not ask the database what is there: it can keep what
it has to know of earlier events in memory, and write each row once, when it is final, by COPY, into
tables without keys. `projections.shadow` goes on with the ordinary fold from where this
ends, and digests prove that the rows are the same.
"""

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, runtime_checkable

from projections.projection import Connection

if TYPE_CHECKING:
    from projections.log_columns import Stretch
    from projections.moves import Moves

HELD_ROWS_MAX: Final = 500_000
"""How many rows a fold keeps in memory, some hundreds of bytes each; beyond it, it ends early."""


class Copied(NamedTuple):
    """Rows as COPY reads them; text is for what has names of any length."""

    content: bytes
    format: Literal["binary", "text"] = "binary"


CopyRows = Mapping[str, Copied]
"""Rows by table."""


class BulkFold(Protocol):
    """Folds one tenant's log from its first event on. Its rows are the same as the fold's own."""

    @property
    def held(self) -> int:
        """How many rows are kept in memory, until they are final."""
        ...

    def takes(self, stretch: "Stretch", moves: "Moves") -> bool:
        """Tell whether it can fold these as well: not if its sums might become too large."""
        ...

    def add(self, stretch: "Stretch", moves: "Moves") -> CopyRows:
        """Fold the next events, and what they move; return the rows that are final now."""
        ...

    def finish(self) -> CopyRows:
        """Return all other rows. Nothing is added after this."""
        ...

    async def settle(self, connection: Connection, schema: str) -> None:
        """Change what later events changed of rows that had been given out already.

        Called once all rows are in and the tables have their keys.
        """
        ...


@runtime_checkable
class Bulk(Protocol):
    """A projection that has a quick way into empty tables."""

    def bulk_fold(self, tenant_id: int) -> BulkFold:
        """Return a fold that begins with the tenant's first event."""
        ...


async def copy_rows(connection: Connection, schema: str, rows: CopyRows) -> None:
    """Write rows into tables of a schema that row-level security does not hold us to."""
    for table, copied in rows.items():
        if copied.content:
            await connection.copy_to_table(
                table,
                schema_name=schema,
                source=io.BytesIO(copied.content),
                format=copied.format,
            )


_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def text_rows(rows: Iterable[str]) -> Copied:
    """Return rows, each a line of fields with a tab between, in COPY's text format."""
    return Copied("".join(rows).encode(), "text")


def text_field(value: str | None) -> str:
    """Return a text as a field of COPY's text format."""
    return r"\N" if value is None else value.translate(_ESCAPES)
