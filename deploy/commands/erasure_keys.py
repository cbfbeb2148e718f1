"""`stockledger erasure-keys`: the master keys, which wrap the keys of personal data."""

import rich_click as click
from rich.console import Console

from deploy.commands._progress import event_progress
from deploy.master_keys import MasterKeySetting, master_keys
from deploy.rewrapping import MasterKeyInUse, Progress, Rotation, discard_lost
from deploy.rewrapping import rotate as rotate_keys
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger


@click.group()
def command() -> None:
    """Show or change the master keys of personal data."""


@command.command("list")
@click.pass_obj
def list_keys(settings: Settings) -> None:
    """Show the master keys' ids, the newest first. The first wraps new keys."""
    masters = master_keys(settings)
    newest = masters.newest()
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{newest.id.hex()}  wraps new keys")
    for master in masters.retired():
        console.print(f"{master.id.hex()}  retired")


@command.command("rotate")
@click.pass_obj
def rotate(settings: Settings) -> None:
    """Make a new master key, wrap all keys with it, and destroy the old one.

    What is left of erased keys in the database's files, in its write-ahead log and in backups
    opens nothing from then on. Back the new master key up, and the database anew. The service may
    go on. Master keys that a setting names are not destroyed here: put a new one first in it,
    restart every machine, rotate, and take the old ones out of the setting.
    """
    console = Console(soft_wrap=True, highlight=False)
    try:
        with event_progress(console) as progress:
            task = progress.add_task("keys", total=None)

            def tell(done: int, total: int | None) -> None:
                progress.update(task, completed=done, total=total)

            rotation = run(settings, _rotate(settings, tell))
    except MasterKeyInUse as error:
        raise click.ClickException(str(error)) from error
    console.print(f"{rotation.keys:,} keys are wrapped by the new master key.")
    if isinstance(master_keys(settings), MasterKeySetting):
        console.print("Take the other master keys out of STOCKLEDGER_ERASURE_KEYS now.")
    else:
        console.print(f"{rotation.destroyed} old master keys are destroyed.")


@command.command("discard-lost")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@click.pass_obj
def discard(settings: Settings, yes: bool) -> None:
    """Give up the keys whose master key is gone, and what they sealed.

    For a database that was put back from before a rotation: without it no personal data could be
    recorded in it. What these keys sealed reads [erased] from then on. Stop the service first.
    """
    if not yes:
        click.confirm("Give up all personal data whose master key is missing?", abort=True)
    discarded = run(settings, _discard(settings))
    Console(highlight=False).print(f"{discarded:,} keys were given up.")


async def _discard(settings: Settings) -> int:
    async with open_ledger(settings) as house:
        return await discard_lost(house, house.masters)


async def _rotate(settings: Settings, progress: Progress) -> Rotation:
    async with open_ledger(settings) as house:
        return await rotate_keys(house, house.masters, progress)
