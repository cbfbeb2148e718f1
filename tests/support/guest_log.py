"""The test server for tests without an event loop: those of the eventsourcing library."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from deploy.address import DatabaseAddress
from tests.support.postgres import TestServer, create_tenant


@contextmanager
def fresh_database(server: TestServer) -> Generator[DatabaseAddress]:
    """Give a migrated database; it is dropped at the end."""
    database = server.fresh_database()
    with asyncio.Runner() as runner:
        address = runner.run(database.__aenter__())
        try:
            yield address
        finally:
            runner.run(database.__aexit__(None, None, None))


def new_tenant(address: DatabaseAddress) -> int:
    """Make an empty tenant; return its id."""
    return asyncio.run(create_tenant(address))


def app_url(address: DatabaseAddress) -> str:
    """Return the service's way in as a URL, as an administrator would write it."""
    parts = dict(address.app)
    user = quote(parts.pop("user"), safe="")
    password = quote(parts.pop("password", ""), safe="")
    database = quote(parts.pop("database"), safe="")
    return f"postgresql://{user}:{password}@/{database}?{urlencode(parts)}"
