"""The ledger's database, ready to serve from: embedded or one's own, migrated, roles checked."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from deploy.address import ANALYSIS_ROLES, APP_ROLE, OWNER_ROLE, DatabaseAddress
from deploy.embedded_postgres import embedded_postgres, require_durable
from deploy.migrate import Connection, migrate
from deploy.settings import Settings
from ledger.errors import OperatorError

SERVER_VERSION_MIN: Final = 160000


class UnfitDatabase(OperatorError):
    """The database given cannot be served from; the message says why and what to do."""


@asynccontextmanager
async def open_database(
    settings: Settings,
    *,
    exclusive: bool = False,
    then: Sequence[Callable[[Connection], Awaitable[object]]] = (),
    on_lost: Callable[[], object] | None = None,
) -> AsyncGenerator[DatabaseAddress]:
    """Give the way in to the database of the settings, migrated and checked.

    ``then``: see ``deploy.migrate``. ``exclusive`` and ``on_lost``: see
    ``deploy.embedded_postgres``. Raises UnfitDatabase, PostgresFailed, DataFolderBusy or
    MigrationRefused.
    """
    if settings.database_url is None:
        async with embedded_postgres(
            settings.data_dir,
            exclusive=exclusive,
            tcp_port=settings.postgres_port,
            on_lost=on_lost,
        ) as address:
            await migrate(address.owner, then=then)
            await require_confined(address.app)
            yield address
    else:
        address = await external_database(settings)
        await migrate(address.owner, then=then)
        await require_confined(address.app)
        yield address


async def external_database(settings: Settings) -> DatabaseAddress:
    """Return the way in to ``database_url``, having checked it and made the roles it lacks."""
    assert settings.database_url is not None
    login: dict[str, Any] = {"dsn": settings.database_url}
    administrator: dict[str, Any] = {
        "dsn": settings.migration_database_url or settings.database_url
    }
    owner = {**administrator, "server_settings": {"role": OWNER_ROLE}}
    await _prepare(administrator)
    await require_durable(administrator)
    try:
        connection = await asyncpg.connect(**login)
    except (OSError, asyncpg.PostgresError) as error:
        raise UnfitDatabase(f"cannot log in with STOCKLEDGER_DATABASE_URL: {error}") from error
    try:
        user = await connection.fetchval("SELECT session_user")
        allowed = await connection.fetchval("SELECT pg_has_role($1, 'SET')", APP_ROLE)
    finally:
        await connection.close()
    if user == APP_ROLE:
        return DatabaseAddress(login, owner, administrator)
    if not allowed:
        raise UnfitDatabase(
            f"the user {user} of STOCKLEDGER_DATABASE_URL cannot become {APP_ROLE}, as which the "
            f"service runs: GRANT {APP_ROLE} TO {user}; or log in as {APP_ROLE} itself"
        )
    return DatabaseAddress({**login, "server_settings": {"role": APP_ROLE}}, owner, administrator)


async def _prepare(administrator: Mapping[str, Any]) -> None:
    """Check the server's version, and make the two roles and their rights where missing."""
    try:
        connection = await asyncpg.connect(**administrator)
    except (OSError, asyncpg.PostgresError) as error:
        raise UnfitDatabase(f"cannot log in to the database: {error}") from error
    try:
        version = await connection.fetchval("SELECT current_setting('server_version_num')::int")
        if version < SERVER_VERSION_MIN:
            shown = await connection.fetchval("SHOW server_version")
            raise UnfitDatabase(f"PostgreSQL 16 or newer is needed; this one is {shown}")
        encoding = await connection.fetchval("SHOW server_encoding")
        if encoding != "UTF8":
            raise UnfitDatabase(f"the database's encoding must be UTF8; this one's is {encoding}")
        async with connection.transaction():
            await connection.execute(_ROLES)
            await connection.execute(ANALYSIS_ROLES)
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnfitDatabase(
            f"{error}. Let an administrator run, in this database:\n{_BY_HAND}"
        ) from error
    finally:
        await connection.close()


_ROLES = f"""
SELECT pg_advisory_xact_lock(7463109422);
DO $$
DECLARE
    role text;
    here text := current_database();
    is_superuser boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
BEGIN
    FOREACH role IN ARRAY ARRAY['{OWNER_ROLE}', '{APP_ROLE}'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
        IF NOT is_superuser AND NOT pg_has_role(role, 'SET')
           AND (role = '{OWNER_ROLE}' OR pg_has_role(role, 'MEMBER WITH ADMIN OPTION')) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT FALSE, SET TRUE', role);
        END IF;
    END LOOP;
    IF NOT has_database_privilege('{OWNER_ROLE}', here, 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO {OWNER_ROLE}', here);
    END IF;
    IF NOT has_database_privilege('{OWNER_ROLE}', here, 'CREATE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('{OWNER_ROLE} may not create schemas in %I', here);
    END IF;
    -- Temporary tables hold read models as they were at another moment (projections.past).
    IF NOT has_database_privilege('{APP_ROLE}', here, 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {APP_ROLE}', here);
    END IF;
    IF NOT has_database_privilege('{APP_ROLE}', here, 'TEMPORARY') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('{APP_ROLE} may not make temporary tables in %I', here);
    END IF;
END $$;
"""
_BY_HAND = f"""\
CREATE ROLE {OWNER_ROLE} NOLOGIN;
CREATE ROLE {APP_ROLE} NOLOGIN;
GRANT {OWNER_ROLE} TO <the user of STOCKLEDGER_MIGRATION_DATABASE_URL>;
GRANT {APP_ROLE} TO <the user of STOCKLEDGER_DATABASE_URL>;
GRANT CREATE ON DATABASE <this database> TO {OWNER_ROLE};
GRANT TEMPORARY ON DATABASE <this database> TO {APP_ROLE};"""


async def require_confined(app: Mapping[str, Any]) -> None:
    """Raise UnfitDatabase unless the service's connections are held by row-level security.

    As a superuser, with BYPASSRLS, or as an owner of the tables, they would not be (I9, I1).
    """
    connection = await asyncpg.connect(**app)
    try:
        row = await connection.fetchrow(
            """
            SELECT current_user AS name, rolsuper, rolbypassrls,
                   pg_has_role(current_user, $1, 'MEMBER') AS owns
            FROM pg_roles WHERE rolname = current_user
            """,
            OWNER_ROLE,
        )
    finally:
        await connection.close()
    assert row is not None
    faults = [
        fault
        for fault, present in (
            ("is a superuser", row["rolsuper"]),
            ("has BYPASSRLS", row["rolbypassrls"]),
            (f"is a member of {OWNER_ROLE}", row["owns"]),
        )
        if present
    ]
    if faults:
        raise UnfitDatabase(
            f"the service must not serve as {row['name']}, which {' and '.join(faults)}: "
            f"row-level security would not hold it. Let it be {APP_ROLE}."
        )
