"""`stockledger tenant`: who keeps a ledger here."""

import asyncpg
import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.bootstrap import Founded, found_tenant
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger
from ledger.store import tenant_transaction


@click.group()
def command() -> None:
    """Make a tenant, or list those there are."""


@command.command("create")
@click.argument("name")
@click.option("--email", required=True, help="The owner signs in with this address.")
@click.option("--time-zone", default="UTC", show_default=True, help="An IANA zone, as Asia/Tokyo.")
@click.pass_obj
def create(settings: Settings, name: str, email: str, time_zone: str) -> None:
    """Make a tenant with an owner and an API key, shown this once."""
    try:
        founded = run(settings, _create(settings, name, email, time_zone))
    except asyncpg.UniqueViolationError as error:
        raise click.ClickException(
            f"a tenant is called {name!r} already, or {email} signs in to another; choose anew"
        ) from error
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"Tenant    {founded.tenant} (id {founded.tenant_id})"))
    console.print(Text(f"Owner     {founded.email}"))
    console.print(Text(f"Password  {founded.shown_password}"))
    console.print(Text(f"API key   {founded.api_key}"))
    console.print(Text(f"For miPOS inventory_system_id {founded.inventory_system_id}"))
    console.print(Text(f"          user_id_tps         {founded.user_id_tps}"))
    console.print("[bold yellow]Note these now: they are not shown again.[/]")


@command.command("list")
@click.pass_obj
def list_tenants(settings: Settings) -> None:
    """List the tenants, what miPOS's clients call them, and how far their logs reach."""
    table = Table()
    headings = ("id", "slug", "name", "time zone", "inventory system id", "user id tps", "position")
    for heading in headings:
        # An id that is to be copied stays on one line.
        table.add_column(heading, overflow="fold", no_wrap=heading == "inventory system id")
    for row in run(settings, _list(settings)):
        table.add_row(*(str(value) for value in row))
    Console(soft_wrap=True).print(table)


async def _create(settings: Settings, name: str, email: str, time_zone: str) -> Founded:
    async with open_ledger(settings) as house:
        return await found_tenant(house, name, email=email, time_zone=time_zone)


async def _list(settings: Settings) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = []
    async with open_ledger(settings) as house:
        async with house.pool.acquire() as connection:
            ids = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
        for tenant_id in ids:
            async with tenant_transaction(house.pool, tenant_id) as connection:
                rows += await connection.fetch(
                    """
                    SELECT t.tenant_id, t.slug, t.name, t.time_zone, t.inventory_system_id, (
                               SELECT min(user_id) FROM access.app_user u
                               WHERE u.tenant_id = t.tenant_id AND role = 'owner' AND is_active
                           ), h.position
                    FROM ledger.tenant t JOIN ledger.head h USING (tenant_id)
                    """
                )
    return rows
