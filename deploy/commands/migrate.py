"""``stockledger migrate``: bring the database up to this release."""

import rich_click as click
from rich.console import Console

from deploy.commands._progress import event_progress
from deploy.migrate import read_migrations
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger


@click.command()
@click.pass_obj
def command(settings: Settings) -> None:
    """Bring the database up to this release; `serve` does so too.

    Read models of another version are built from the log while the release before goes on
    serving; once they are in place it takes no more commands.
    """
    run(settings, _migrate(settings))
    click.echo(f"The database is at {read_migrations()[-1].name}.")


async def _migrate(settings: Settings) -> None:
    with event_progress(Console(stderr=True)) as progress:
        task = progress.add_task("read models", total=None, visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        async with open_ledger(settings, deploys=show):
            pass
