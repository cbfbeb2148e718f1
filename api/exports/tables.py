"""The analysts' tables: which there are, and their rows, all of them as of one position.

They are the views of the schema ``analysis``; names, columns, types and descriptions are what the
database says of them, so that a view that is added there is exported without a word here.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from api.exports.columns import ArrowSchema, Column, column_of, schema_of
from api.exports.copying import copied
from ledger.showing import instant
from ledger.store import Connection, Credential, Pool, tenant_transaction

SCHEMA: Final = "analysis"
FORMAT: Final = "stockledger_table"
FORMAT_VERSION: Final = "1"
GROWING: Final = frozenset({"event", "movement"})
"""Tables whose rows never change, each with the ``position`` at which it came."""

_COLUMNS: Final = f"""
SELECT c.relname::text AS table_name, coalesce(obj_description(c.oid, 'pg_class'), '') AS about,
       a.attname::text AS name, coalesce(t.typname, b.typname)::text AS type_name, a.atttypmod,
       coalesce(col_description(c.oid, a.attnum), '') AS description
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type b ON b.oid = a.atttypid
LEFT JOIN pg_type t ON t.oid = b.typbasetype
WHERE c.relnamespace = '{SCHEMA}'::regnamespace AND c.relkind IN ('v', 'm', 'r', 'p')
  AND has_table_privilege(c.oid, 'SELECT')
ORDER BY c.relname, a.attnum
"""
_SNAPSHOT: Final = f"""
SELECT {SCHEMA}.position() AS position, now() AS taken_at, t.slug, t.inventory_system_id::text
FROM ledger.tenant t WHERE t.tenant_id = $1
"""


class Table(NamedTuple):
    """A table that can be exported: its name, what it is, and its columns."""

    name: str
    about: str
    columns: Sequence[Column]

    @property
    def grows(self) -> bool:
        """Whether rows are only ever added, behind those that are there."""
        return self.name in GROWING


class Snapshot(NamedTuple):
    """An open transaction that shows one position."""

    connection: Connection
    tenant_id: int
    slug: str
    system_id: str
    position: int
    taken_at: datetime


@asynccontextmanager
async def snapshot(
    pool: Pool, tenant_id: int, *, credential: Credential | None = None
) -> AsyncGenerator[Snapshot]:
    """Open a transaction in which all tables show one position, whatever is recorded meanwhile."""
    async with tenant_transaction(
        pool, tenant_id, credential=credential, isolation="repeatable read"
    ) as connection:
        row = await connection.fetchrow(_SNAPSHOT, tenant_id)
        if row is None:
            raise LookupError(f"there is no tenant {tenant_id}")
        yield Snapshot(
            connection,
            tenant_id,
            row["slug"],
            row["inventory_system_id"],
            row["position"],
            row["taken_at"],
        )


async def tables_of(connection: Connection) -> dict[str, Table]:
    """Return all tables that there are, by name."""
    found: dict[str, Table] = {}
    columns: dict[str, list[Column]] = {}
    for row in await connection.fetch(_COLUMNS):
        name = row["table_name"]
        listed = columns.setdefault(name, [])
        found.setdefault(name, Table(name, row["about"], listed))
        listed.append(
            column_of(row["name"], row["type_name"], row["atttypmod"], row["description"])
        )
    return found


def file_schema(table: Table, shown: Snapshot) -> ArrowSchema:
    """Return the schema of a file of a table's rows."""
    metadata = {
        FORMAT: FORMAT_VERSION,
        "table": table.name,
        "description": table.about,
        "tenant_id": str(shown.tenant_id),
        "position": str(shown.position),
        "snapshot_at": instant(shown.taken_at),
    }
    return schema_of(table.columns, metadata)


def table_blocks(
    shown: Snapshot, table: Table, *, timeout_s: float, after: int = 0
) -> AsyncGenerator[bytes, None]:
    """Yield a table's rows as blocks; of one that grows those behind a position, in its order.

    See ``copied``.
    """
    columns = ", ".join(column.expression for column in table.columns)
    query = f'SELECT {columns} FROM {SCHEMA}."{table.name}"'
    if table.grows:
        query += f" WHERE position > {int(after)} ORDER BY position"
    return copied(shown.connection, query, timeout_s=timeout_s)


def columns_told(table: Table) -> list[dict[str, Any]]:
    """Return what is said of a table's columns to those who read it."""
    return [
        {"name": column.name, "type": str(column.type), "description": column.description}
        for column in table.columns
    ]
