"""Forward-only migrations: ``deploy/migrations/NNNN_name.sql``, each once, in order, for ever.

Each runs in a transaction of its own as stockledger_owner, under a lock that processes which
start together queue at. What was applied is recorded with its SHA-256, so that a file edited
afterwards is refused instead of leaving two installations that differ.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg
import structlog

from ledger.errors import OperatorError

FOLDER: Final = Path(__file__).with_name("migrations")
# Any number will do, as long as nothing else in the database locks it.
LOCK: Final = 7_463_109_421

Connection: TypeAlias = asyncpg.Connection
log = structlog.get_logger(__name__)


class MigrationRefused(OperatorError):
    """The database and the migrations of this release do not fit together."""


class Migration(NamedTuple):
    """One file of SQL."""

    name: str
    sql: str
    sha256: bytes


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations in their order; raise MigrationRefused when a number is missing."""
    migrations: list[Migration] = []
    for number, path in enumerate(sorted(folder.glob("*.sql")), start=1):
        if not path.name.startswith(f"{number:04d}_"):
            raise MigrationRefused(f"{path.name}: the migration numbered {number:04d} is missing")
        content = path.read_bytes()
        migrations.append(
            Migration(path.stem, content.decode("utf-8"), hashlib.sha256(content).digest())
        )
    return migrations


async def migrate(
    owner: Mapping[str, Any],
    *,
    migrations: Sequence[Migration] | None = None,
    then: Sequence[Callable[[Connection], Awaitable[object]]] = (),
) -> list[str]:
    """Bring the database up to this release; return the names of what was applied.

    ``owner`` holds asyncpg's parameters for logging in as stockledger_owner. Each of ``then``
    (the projections' own tables) is called with a connection in a transaction under the lock,
    every time, and must do nothing when there is nothing to do. Raises MigrationRefused when
    an applied file has changed or the database is of a newer release; nothing is done then.
    """
    wanted = read_migrations() if migrations is None else migrations
    connection = await asyncpg.connect(**owner)
    try:
        applied: list[str] = []
        async with connection.transaction():
            await _lock(connection)
            await connection.execute(_PREPARE)
        for number, migration in enumerate(wanted):
            async with connection.transaction():
                await _lock(connection)
                recorded = await _recorded(connection)
                _require_fit(recorded, wanted)
                if number < len(recorded):
                    continue
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO deploy.migration (name, sha256) VALUES ($1, $2)",
                    migration.name,
                    migration.sha256,
                )
            applied.append(migration.name)
            log.info("migration_applied", migration=migration.name)
        for step in then:
            async with connection.transaction():
                await _lock(connection)
                await step(connection)
        return applied
    finally:
        await connection.close()


_PREPARE = """
CREATE SCHEMA IF NOT EXISTS deploy;
CREATE TABLE IF NOT EXISTS deploy.migration (
    name       text COLLATE "C" PRIMARY KEY,
    sha256     bytea NOT NULL CHECK (length(sha256) = 32),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


async def _lock(connection: Connection) -> None:
    """Wait for who is migrating already; the end of the transaction lets the next one on."""
    await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL client_min_messages = warning")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)


async def _recorded(connection: Connection) -> list[tuple[str, bytes]]:
    rows = await connection.fetch("SELECT name, sha256 FROM deploy.migration ORDER BY name")
    return [(row["name"], row["sha256"]) for row in rows]


def _require_fit(recorded: Sequence[tuple[str, bytes]], wanted: Sequence[Migration]) -> None:
    for index, (name, sha256) in enumerate(recorded):
        if index >= len(wanted):
            raise MigrationRefused(
                f"the database has the migration {name}, which this release does not know: "
                "run the newer release that applied it"
            )
        migration = wanted[index]
        if migration.name != name:
            raise MigrationRefused(
                f"the database has the migration {name} where this release has {migration.name}"
            )
        if migration.sha256 != sha256:
            raise MigrationRefused(
                f"the migration {name} was changed after it had been applied: put the file back "
                "as it was, and make the change in a new migration"
            )
