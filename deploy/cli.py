"""The command line, ``stockledger``. Each command is a file in ``deploy/commands``.

A file's ``command`` is a click command or group, named as the file is, with hyphens for
underscores (``import_.py`` is ``import``). Files are loaded only when they are needed. The
settings are the context's object (``click.pass_obj``).
"""

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

import asyncpg
import rich_click as click
from rich.console import Console

from deploy.settings import InvalidSettings, Settings, load_settings
from ledger.errors import OperatorError

COMMANDS: Final = Path(__file__).with_name("commands")


class _Commands(click.RichGroup):
    """Finds the commands in their folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(
            path.stem.rstrip("_").replace("_", "-") for path in COMMANDS.glob("[a-z]*.py")
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        stem = cmd_name.replace("-", "_")
        for name in (stem, f"{stem}_"):
            if stem.isidentifier() and (COMMANDS / f"{name}.py").is_file():
                command: click.Command = import_module(f"deploy.commands.{name}").command
                command.name = cmd_name
                return command
        return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("stockledger"), prog_name="stockledger")  # pyright: ignore[reportUnknownMemberType]
@click.pass_context
def group(context: click.Context) -> None:
    """An event-sourced inventory ledger. Settings: `stockledger settings`."""
    # Help can be had with wrong settings, which are refused before anything else.
    asks_for_help = bool({"-h", "--help", "--markdown"} & set(sys.argv))
    context.obj = Settings() if asks_for_help else load_settings()


def main() -> None:
    """Run the command named by the process's arguments."""
    errors = Console(stderr=True, soft_wrap=True)
    try:
        sys.exit(group(standalone_mode=True))
    except InvalidSettings as error:
        errors.print("[bold red]The settings are wrong:[/]")
        for problem in error.problems:
            errors.print(f"  {problem}", markup=False, highlight=False)
        sys.exit(2)
    except OperatorError as error:
        errors.print(f"stockledger: {error}", markup=False, highlight=False, style="red")
        sys.exit(1)
    except (asyncpg.PostgresError, OSError) as error:
        errors.print(
            f"stockledger: {type(error).__name__}: {error}",
            markup=False,
            highlight=False,
            style="red",
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
