"""``stockledger migrate``: bring the database up to this release."""

import rich_click as click

from deploy.migrate import read_migrations
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger


@click.command()
@click.pass_obj
def command(settings: Settings) -> None:
    """Bring the database up to this release; `serve` does so too."""
    run(settings, _migrate(settings))
    click.echo(f"The database is at {read_migrations()[-1].name}.")


async def _migrate(settings: Settings) -> None:
    async with open_ledger(settings):
        pass
