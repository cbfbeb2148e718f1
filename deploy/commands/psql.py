"""``stockledger psql``: an SQL prompt on the ledger's database."""

import os
import subprocess
import sys

import rich_click as click

from deploy.address import DatabaseAddress
from deploy.database import open_database
from deploy.postgres_cluster import binary
from deploy.running import run
from deploy.settings import Settings


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--tenant", type=int, default=1, show_default=True, help="Whose rows to see.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(settings: Settings, tenant: int, arguments: tuple[str, ...]) -> None:
    """Open psql as the service's own role, on one tenant; further ARGUMENTS are psql's."""
    sys.exit(run(settings, _psql(settings, tenant, arguments)))


async def _psql(settings: Settings, tenant: int, arguments: tuple[str, ...]) -> int:
    async with open_database(settings) as address:
        # Blocking is right: nothing else happens in this process while psql has the terminal.
        return subprocess.run(  # noqa: ASYNC221
            [str(binary("psql")), *arguments],
            env={**os.environ, **_environment(address, tenant)},
            check=False,
        ).returncode


def _environment(address: DatabaseAddress, tenant: int) -> dict[str, str]:
    """Return how psql is told where to connect, which keeps passwords off its command line."""
    app = address.app
    options = f"-c ledger.tenant={tenant}"
    if "dsn" in app:
        role = app.get("server_settings", {}).get("role")
        return {
            "PGSERVICEFILE": os.devnull,
            "PGDATABASE": app["dsn"],
            "PGOPTIONS": options + (f" -c role={role}" if role else ""),
        }
    return {
        "PGHOST": app["host"],
        "PGPORT": str(app["port"]),
        "PGUSER": app["user"],
        "PGPASSWORD": app["password"],
        "PGDATABASE": app["database"],
        "PGOPTIONS": options,
    }
