"""`stockledger signing-keys`: what signs checkpoints."""

from datetime import UTC, datetime

import rich_click as click
from rich.console import Console
from rich.text import Text

from deploy.checkpoints import SIGN_ALONG, SigningKeys, signing_keys
from deploy.settings import Settings


@click.group()
def command() -> None:
    """Show the keys that sign checkpoints, or make a new one."""


@command.command("list")
@click.pass_obj
def list_keys(settings: Settings) -> None:
    """Show the verifier keys, the newest first. The first signs; give it to your auditors."""
    keys = signing_keys(settings)
    keys.signers()
    _show(keys)


@command.command("rotate")
@click.pass_obj
def rotate(settings: Settings) -> None:
    """Make a new key, which signs from the next checkpoint on.

    The one before it signs along for a week, so that whoever knows only that one learns of its
    successor from notes that both have signed. Nothing has to be restarted.
    """
    keys = signing_keys(settings)
    keys.signers()
    keys.rotate()
    _show(keys)


def _show(keys: SigningKeys) -> None:
    console = Console(soft_wrap=True, highlight=False)
    signing = [str(signer.key) for signer in keys.signers()]
    for made_at, signer in keys.all():
        made = datetime.fromtimestamp(made_at, UTC).isoformat(timespec="seconds")
        state = "signs" if str(signer.key) == signing[0] else "retired"
        if state == "retired" and str(signer.key) in signing:
            state = f"signs along for {SIGN_ALONG.days} days"
        console.print(Text(f"{signer.key}  {made.replace('+00:00', 'Z')}  {state}"))
