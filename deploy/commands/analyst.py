"""`stockledger analyst`: who may read a tenant's tables with SQL."""

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.analysts import (
    Analyst,
    AnalystsUnavailable,
    create_analyst,
    list_analysts,
    revoke_analyst,
)
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger

_TENANT = click.option("--tenant", metavar="SLUG", help="Whose it is; the first one's if not said.")


@click.group()
def command() -> None:
    """Make readers of a tenant's tables, for SQL tools; list them; take them away."""


@command.command("create")
@click.argument("name")
@_TENANT
@click.pass_obj
def create(settings: Settings, name: str, tenant: str | None) -> None:
    """Make a reader and show its connection string, this once.

    It reads the views of the schema analysis, of the one tenant, and nothing else.
    """
    if not 1 <= len(name.strip()) <= 200:
        raise click.UsageError("NAME must have 1 to 200 characters")
    try:
        uri = run(settings, _create(settings, name, tenant))
    except (LookupError, AnalystsUnavailable) as error:
        raise click.ClickException(str(error)) from error
    click.echo(uri)
    Console(stderr=True).print("[bold yellow]Note it now: it is not shown again.[/]")


async def _create(settings: Settings, name: str, tenant: str | None) -> str:
    async with open_ledger(settings) as house:
        return await create_analyst(house.address, await tenant_named(house.pool, tenant), name)


@command.command("list")
@_TENANT
@click.pass_obj
def list_command(settings: Settings, tenant: str | None) -> None:
    """List a tenant's readers, and the roles of the database's that they log in as."""
    try:
        found = run(settings, _list(settings, tenant))
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    table = Table("name", "role", "created", "revoked")
    for analyst in found:
        table.add_row(
            Text(analyst.name),
            analyst.role,
            f"{analyst.created_at:%Y-%m-%d %H:%M}",
            "" if analyst.revoked_at is None else f"{analyst.revoked_at:%Y-%m-%d %H:%M}",
        )
    Console(soft_wrap=True).print(table)


async def _list(settings: Settings, tenant: str | None) -> list[Analyst]:
    async with open_ledger(settings) as house:
        return list(await list_analysts(house.address, await tenant_named(house.pool, tenant)))


@command.command("revoke")
@click.argument("name")
@_TENANT
@click.pass_obj
def revoke(settings: Settings, name: str, tenant: str | None) -> None:
    """Take away the readers of NAME, or the one whose role that is; their sessions end."""
    try:
        count = run(settings, _revoke(settings, name, tenant))
    except (LookupError, AnalystsUnavailable) as error:
        raise click.ClickException(str(error)) from error
    if not count:
        raise click.ClickException(f"there is no reader {name!r}; see: stockledger analyst list")
    click.echo(f"Revoked: {count}.")


async def _revoke(settings: Settings, name: str, tenant: str | None) -> int:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        return await revoke_analyst(house.address, tenant_id, name)
