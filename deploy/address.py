"""Where the ledger's database is, and as whom to log in to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

OWNER_ROLE = "stockledger_owner"
APP_ROLE = "stockledger_app"


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
