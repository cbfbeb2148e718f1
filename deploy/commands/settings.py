"""``stockledger settings``: every setting, what it is, and its value now."""

import rich_click as click
from rich.console import Console
from rich.table import Table

from deploy.settings import Settings, fields, markdown


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
