"""The quick way into tables that are still empty: folded in memory, in columns, and copied in.

A rebuild begins with nothing, so a fold need not ask the database what is there: it can keep what
it has to know of earlier events in memory, and write each row once, when it is final, by COPY, into
tables without keys. `projections.shadow` goes on with the ordinary fold from where this
ends, and digests prove that the rows are the same.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from ledger.domain.decision import RecordedEvent
from projections.projection import Connection
from schemas.common import Event

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


class Part(Protocol):
    """Some of a projection's tables, and the fold of the events that go into them."""

    @property
    def tables(self) -> Mapping[str, Sequence[str]]:
        """The tables, each with its primary key."""
        ...

    @property
    def event_types(self) -> frozenset[type[Event]]:
        """The types that are folded."""
        ...

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Fold events of these types, in order of position."""
        ...


@runtime_checkable
class PartlyBulk(Bulk, Protocol):
    """A projection whose quick way fills some of its tables, from some of its events.

    The ``rest``, which has no table and no type of event in common with those, is folded in the
    ordinary way, stretch by stretch along with them, into tables that have their keys.
    """

    @property
    def rest(self) -> Part:
        """What the quick way leaves out."""
        ...


def rest_of(projection: object) -> Part | None:
    """Return what a projection's quick way leaves out; None where it leaves nothing."""
    return projection.rest if isinstance(projection, PartlyBulk) else None


async def lay_bare(connection: Connection, schema: str, table: str) -> list[str]:
    """Take away a table's keys, indexes and protection; return what gives them back."""
    name = f"{schema}.{table}"
    constraints = await connection.fetch(_CONSTRAINTS, name)
    indexes = await connection.fetch(_INDEXES, name)
    drops = [f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY"]
    drops += [f'ALTER TABLE {name} DROP CONSTRAINT "{row[0]}"' for row in constraints]
    drops += [f"DROP INDEX {row[0]}" for row in indexes]
    await connection.execute(";".join(drops))
    return [
        *(f'ALTER TABLE {name} ADD CONSTRAINT "{row[0]}" {row[1]}' for row in constraints),
        *(row[1] for row in indexes),
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
    ]


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


def text_row(*values: Any) -> str:
    """Return a row of COPY's text format: of numbers, texts, truths, dates, times and nulls."""
    return "\t".join(map(_field, values)) + "\n"


def _field(value: Any) -> str:
    if value is None or isinstance(value, str):
        return text_field(value)
    # Of all of these PostgreSQL reads what Python writes.
    return str(value)


def text_field(value: str | None) -> str:
    """Return a text as a field of COPY's text format."""
    return r"\N" if value is None else value.translate(_ESCAPES)


def instant_field(at: datetime | None) -> str:
    """Return a time as a field of COPY's text format."""
    return r"\N" if at is None else at.isoformat()


_CONSTRAINTS: Final = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = $1::text::regclass AND contype IN ('p', 'u') ORDER BY contype
"""

_INDEXES: Final = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index i
WHERE indrelid = $1::text::regclass
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""
