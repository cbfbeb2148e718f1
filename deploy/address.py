"""Where the ledger's database is, and as whom to log in to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from projections.star_views import OWNER, READERS

OWNER_ROLE = "stockledger_owner"
APP_ROLE = "stockledger_app"

# Whom analysts' views belong to, and what analysts are members of (projections.star_views). Where
# they may not be made there are no analysts; all else goes on.
ANALYSIS_ROLES = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{OWNER}') THEN
        CREATE ROLE {OWNER} NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{READERS}') THEN
        CREATE ROLE {READERS} NOLOGIN;
    END IF;
    IF NOT pg_has_role('{OWNER_ROLE}', '{OWNER}', 'SET') THEN
        GRANT {OWNER} TO {OWNER_ROLE} WITH INHERIT FALSE, SET TRUE;
    END IF;
    IF NOT pg_has_role('{OWNER}', 'SET') THEN
        GRANT {OWNER} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no roles for analysts: %', SQLERRM;
END $$;
"""


class DatabaseAddress(NamedTuple):
    """asyncpg's connection parameters for each of the three ways in.

    ``app`` is how the service serves: a role that owns nothing and that row-level security
    holds. ``owner`` owns the tables: migrations and administration. ``administrator`` is the
    login behind ``owner``, for making roles and databases.
    """

    app: Mapping[str, Any]
    owner: Mapping[str, Any]
    administrator: Mapping[str, Any]

    def of_database(self, name: str) -> "DatabaseAddress":
        """Return the same ways in to another database of the same server."""
        return DatabaseAddress(*({**parameters, "database": name} for parameters in self))
