"""``stockledger settings``: every setting, what it is, and its value now."""

import rich_click as click
from rich.console import Console
from rich.table import Table

from deploy.settings import CONFIG_FILE, CONFIG_VARIABLE, Settings, fields


@click.command()
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the reference page.")
@click.pass_obj
def command(settings: Settings, as_markdown: bool) -> None:
    """Show every setting, its value now, and what it is for."""
    if as_markdown:
        click.echo(markdown(), nl=False)
        return
    table = Table("environment", "value now", "what it is", show_lines=True)
    for field in fields():
        value = field.shown(getattr(settings, field.name))
        table.add_row(field.variable, "" if value is None else str(value), field.description)
    Console().print(table)


def markdown() -> str:
    """Return the reference page of all settings, ``docs/reference/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Made by `stockledger settings --markdown`; change `deploy/settings.py` instead.",
        "",
        f"Read from a TOML file (`{CONFIG_VARIABLE}`, or `{CONFIG_FILE}` in the current folder)",
        "under the name in the first column, and from the environment under the second, which",
        "wins. An unknown name or a wrong value is refused at start.",
        "",
        "| in the file | in the environment | default | what it is |",
        "|---|---|---|---|",
    ]
    for field in fields():
        default = "" if field.default is None else f"`{field.shown(field.default)}`"
        secret = " Secret: never logged or shown." if field.secret else ""
        lines.append(
            f"| `{field.name}` | `{field.variable}` | {default} | {field.description}{secret} |"
        )
    return "\n".join(lines) + "\n"
