"""The reference page of the command line, read from the commands themselves."""

from collections.abc import Iterator
from enum import Enum

import rich_click as click

from deploy.commands._pages import MADE, page, plain


def cli_page() -> str:
    """Return ``cli.md``: every command of the command line."""
    from deploy.cli import group

    lines = [
        "# Command line",
        "",
        MADE,
        "`.venv/bin/stockledger` in a checkout. Every command reads the [settings](settings.md),",
        "and works with the service running or not: it attaches to the service's database, or",
        "starts the embedded one for as long as it takes. `--help` says the same as this page.",
    ]
    context = click.Context(group, info_name="stockledger")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        lines += _command_lines(f"stockledger {name}", command)
    return page(lines)


def _command_lines(path: str, command: click.Command) -> Iterator[str]:
    yield from ("", f"## {path}", "", plain(command.help or ""))
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command_lines(f"{path} {name}", inner)
        return
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    words = [_argument(each) for each in arguments]
    yield from ("", f"    {' '.join([path, '[OPTIONS]', *words])}")
    options = [each for each in command.params if isinstance(each, click.Option)]
    if options:
        yield from ("", "| option | default | what it is |", "|---|---|---|")
    for option in options:
        value = "" if option.is_flag else f" {option.metavar or _value_of(option)}"
        shown = f"`{option.opts[0]}{value}`"
        required = "required" if option.required else _option_default(option)
        yield f"| {shown} | {required} | {plain(option.help or '')} |"


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return f"[{name}]..." if argument.nargs == -1 and not argument.metavar else name


def _value_of(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "{" + ",".join(str(choice) for choice in option.type.choices) + "}"
    return "NUMBER" if "integer" in option.type.name else option.type.name.upper()


def _option_default(option: click.Option) -> str:
    value = option.default
    if option.is_flag or value is None or value == "" or isinstance(value, Enum):
        return ""
    return f"`{value}`" if isinstance(value, str | int) else ""
