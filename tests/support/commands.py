"""Commands of the command line, run in the test's own process."""

from pathlib import Path

import click
from click.testing import CliRunner

from deploy.settings import Settings


def do(command: click.Command, *arguments: str, data_dir: Path | None = None) -> tuple[int, str]:
    """Run a command that needs no database; return its exit status and what it said.

    It takes a hundredth of the time of a process, of which each of these commands has one as well:
    what they are given is what differs.
    """
    settings = None if data_dir is None else Settings(data_dir=data_dir)
    result = CliRunner().invoke(command, arguments, obj=settings)
    return result.exit_code, result.output
