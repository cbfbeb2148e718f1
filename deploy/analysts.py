"""Analysts: roles of the database's own that read one tenant's views (`projections.star_views`).

A role's name says nothing of its tenant, since every role can be read by every other. What it is
given as defaults (read only, one snapshot a transaction, time limits) keeps an honest reader from
doing harm by accident; what it may not see does not rest on them.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import asyncpg

from deploy.address import APP_ROLE, OWNER_ROLE, DatabaseAddress
from projections.star_views import READERS, SCHEMA, roles_are_there

PREFIX: Final = "analyst_"
CONNECTIONS_MAX: Final = 10
STATEMENT_TIMEOUT: Final = "5min"
IDLE_TIMEOUT: Final = "1min"
_DEFAULTS: Final[Mapping[str, str]] = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
    "search_path": SCHEMA,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": IDLE_TIMEOUT,
    "lock_timeout": "30s",
    "jit": "off",
    # One processor for a query, beside those that write.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
}
_SCRAM_ITERATIONS: Final = 4096

# What any role may do by default and no reader needs: temporary tables and large objects, which
# fill the disk, and locks that others wait for. Taken from everybody, where the login may do so.
_HARDENING: Final = f"""
DO $$
DECLARE
    each regprocedure;
BEGIN
    IF (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())
    THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO {OWNER_ROLE}, {APP_ROLE}',
                       current_database());
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RETURN;
    END IF;
    FOR each IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace
          AND (p.proname LIKE 'pg%advisory%' OR p.proname LIKE 'lo\\_%' OR p.proname = 'pg_notify'
               OR p.proname IN ('loread', 'lowrite'))
          AND has_function_privilege('{READERS}', p.oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', each);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {OWNER_ROLE}, {APP_ROLE}', each);
    END LOOP;
END $$;
"""


class AnalystsUnavailable(Exception):
    """This database's login may not make roles; the message says what to do."""


class Analyst(NamedTuple):
    """One who reads: the name given, the role, and when it was made and revoked."""

    name: str
    role: str
    created_at: datetime
    revoked_at: datetime | None


async def create_analyst(address: DatabaseAddress, tenant_id: int, name: str) -> str:
    """Make a reader of a tenant's views; return the connection string, which is kept nowhere.

    Raises AnalystsUnavailable where the database's login may not make roles.
    """
    role, password = f"{PREFIX}{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    connection = await asyncpg.connect(**address.administrator)
    try:
        if not await roles_are_there(connection):
            raise AnalystsUnavailable(_unavailable("the roles for analysts are missing"))
        async with connection.transaction():
            defaults = "".join(
                f"ALTER ROLE {role} SET {setting} = '{value}';"
                for setting, value in _DEFAULTS.items()
            )
            await connection.execute(
                f"""
                CREATE ROLE {role} LOGIN CONNECTION LIMIT {CONNECTIONS_MAX}
                    PASSWORD '{scram_verifier(password)}';
                GRANT {READERS} TO {role} WITH INHERIT TRUE, SET FALSE;
                {defaults}
                {_HARDENING}
                """
            )
            database = await connection.fetchval("SELECT current_database()")
            listens = await connection.fetchval("SHOW listen_addresses")
            if not await connection.fetchval(
                "SELECT has_database_privilege($1, $2, 'CONNECT')", READERS, database
            ):
                await connection.execute(f'GRANT CONNECT ON DATABASE "{database}" TO {READERS}')
            await connection.execute(f"SET LOCAL ROLE {OWNER_ROLE}")
            await connection.execute(
                "INSERT INTO access.analyst (tenant_id, role_name, name) VALUES ($1, $2, $3)",
                tenant_id,
                role,
                name,
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise AnalystsUnavailable(_unavailable(str(error))) from error
    finally:
        await connection.close()
    return connection_string(address, role, password, by_tcp=bool(listens))


def _unavailable(fault: str) -> str:
    return (
        f"{fault}. Analysts are roles of the database's own: let the user of "
        "STOCKLEDGER_MIGRATION_DATABASE_URL have CREATEROLE, and run: stockledger migrate"
    )


async def list_analysts(address: DatabaseAddress, tenant_id: int) -> Sequence[Analyst]:
    """Return a tenant's readers, revoked ones among them, in the order they were made."""
    connection = await asyncpg.connect(**address.owner)
    try:
        rows = await connection.fetch(
            "SELECT name, role_name, created_at, revoked_at FROM access.analyst "
            "WHERE tenant_id = $1 ORDER BY created_at",
            tenant_id,
        )
    finally:
        await connection.close()
    return [Analyst(*row) for row in rows]


async def revoke_analyst(address: DatabaseAddress, tenant_id: int, name: str) -> int:
    """Take the readers of a name away, and end their sessions; return how many there were."""
    roles = [
        analyst.role
        for analyst in await list_analysts(address, tenant_id)
        if name in (analyst.name, analyst.role) and analyst.revoked_at is None
    ]
    connection = await asyncpg.connect(**address.administrator)
    try:
        for role in roles:
            async with connection.transaction():
                # First of all it sees nothing any more; then it is no more.
                await connection.execute(f"SET LOCAL ROLE {OWNER_ROLE}")
                await connection.execute(
                    "UPDATE access.analyst SET revoked_at = clock_timestamp() WHERE role_name = $1",
                    role,
                )
            await connection.execute(f"ALTER ROLE {role} NOLOGIN")
            # To end somebody's sessions one has to have his rights, where one is no superuser.
            if not await connection.fetchval("SELECT pg_has_role($1, 'USAGE')", role):
                await connection.execute(f"GRANT {role} TO CURRENT_USER WITH INHERIT TRUE")
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1",
                role,
            )
            await connection.execute(f"DROP ROLE {role}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise AnalystsUnavailable(_unavailable(str(error))) from error
    finally:
        await connection.close()
    return len(roles)


def connection_string(
    address: DatabaseAddress, role: str, password: str, *, by_tcp: bool = False
) -> str:
    """Return how a reader connects, as a URI that libpq's tools and drivers understand.

    To the embedded server ``by_tcp`` where that listens there, else by its socket.
    """
    login = f"{role}:{quote(password, safe='')}"
    app: Mapping[str, Any] = address.app
    if "dsn" in app:
        parts = urlsplit(str(app["dsn"]))
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, f"{login}@{place}", parts.path, parts.query, ""))
    if by_tcp:
        return f"postgresql://{login}@127.0.0.1:{app['port']}/{app['database']}"
    query = urlencode({"host": app["host"], "port": app["port"]}, safe="/")
    return f"postgresql://{login}@/{app['database']}?{query}"


def scram_verifier(password: str) -> str:
    """Return what the server stores of an ASCII password (RFC 5803), so that it never sees it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    shown = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *shown)
