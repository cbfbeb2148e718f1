"""What a projection is, and how its tables are made, protected and written."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.store import Connection as Connection
from schemas.common import Event

SCHEMA: Final = "projections"
QUANTITY: Final = "numeric(18,6)"
"""One quantity or price: the bounds of invariant I7."""
BALANCE: Final = "numeric(30,6)"
"""A sum of quantities: a billion of the largest fit, so that no fold overflows."""


class Projection(Protocol):
    """One read model: its tables, the events it folds, and the fold itself.

    ``version`` goes up when tables or fold change; what is stored is then rebuilt. ``tables``
    maps each table to its primary key. A fold reads and writes nothing but its own tables:
    that is what lets it be rebuilt alone.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[Mapping[str, Sequence[str]]]
    event_types: ClassVar[frozenset[type[Event]]]

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables, empty, in ``schema``."""
        ...

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Fold events of ``event_types``, in order of position, in the caller's transaction.

        A batch may hold one event or many thousands: the number of statements is the same, and
        folding a log in batches of whatever sizes gives the same rows.
        """
        ...


class Columns:
    """A table's columns after ``tenant_id``: ``name type``, with ``null`` where one may be."""

    def __init__(self, *definitions: str) -> None:
        self._definitions = definitions
        self.names = [definition.split()[0] for definition in definitions]

    def create(self, schema: str, table: str, key: Sequence[str], storage: str = "") -> str:
        """Return CREATE TABLE, keyed by tenant and ``key``, protected by row-level security."""
        body = ", ".join(
            definition if definition.endswith(" null") else f"{definition} NOT NULL"
            for definition in self._definitions
        )
        return f"""
            CREATE TABLE {schema}.{table} (
                tenant_id integer NOT NULL, {body}, PRIMARY KEY ({", ".join(key)})
            ) {storage};
            {protection(schema, table)}
        """

    @property
    def listed(self) -> str:
        """The names, for INSERT."""
        return ", ".join(self.names)

    @property
    def recordset(self) -> str:
        """The names with their types, for ``json_to_recordset``."""
        return ", ".join(definition.removesuffix(" null") for definition in self._definitions)

    def overwrite(self, keep: Collection[str]) -> str:
        """Return the SET list that takes all but ``keep`` from ``excluded``."""
        return ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in keep)


def protection(schema: str, table: str) -> str:
    """Return the statements that hold a table to one tenant and let the service use it."""
    return f"""
        ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY own_tenant ON {schema}.{table}
            USING (tenant_id = (SELECT ledger.current_tenant()));
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.{table} TO stockledger_app;
    """


class Statements:
    """SQL with ``{schema}`` in it, filled in once a schema.

    The text of a statement is then the same at every call, so asyncpg prepares it once.
    """

    def __init__(self, **templates: str) -> None:
        self._templates = templates
        self._filled: dict[str, dict[str, str]] = {}

    def of(self, schema: str) -> dict[str, str]:
        """Return the statements by name, for tables in ``schema``."""
        filled = self._filled.get(schema)
        if filled is None:
            filled = self._filled[schema] = {
                name: text.replace("{schema}", schema) for name, text in self._templates.items()
            }
        return filled


def rows_as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a JSON array for ``json_to_recordset``, decimals as exact strings."""
    return msgspec.json.encode(list(rows)).decode()
