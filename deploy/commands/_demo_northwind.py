"""``stockledger demo northwind``: a known company's years of trade, told over HTTP."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from api.credentials import new_session
from api.imports.northwind import Northwind, read_northwind
from api.imports.northwind_replay import ZONE, AnotherLedger, Month, Outcome, Replay, Told
from api.imports.tables import UnreadableFile
from deploy.bootstrap import USER_ID, Founded, found_tenant, slug
from deploy.commands._http_client import HttpClient, RequestRefused
from deploy.http_server import claim_port, serve_http
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import House, following, open_ledger
from ledger.store import tenant_transaction

# Keys are kept for 30 days at least, and a run again relies on them.
AGAIN_WITHIN: Final = timedelta(days=29)


class Replayed(NamedTuple):
    """What a whole run came to, and what the service's reports say of it, month by month."""

    outcome: Outcome
    months: Sequence[Month]


@click.command("northwind")
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Where the CSV files are: categories, suppliers, products, customers, orders,"
    " order_details.",
)
@click.option("--tenant", default="northwind", show_default=True, help="The new tenant's slug.")
def command(folder: Path, tenant: str) -> None:
    """Replay Northwind, Microsoft's sample company: 830 orders of two years, over HTTP.

    Run again, it goes on where it was stopped; a whole run adds nothing the second time.
    """
    if slug(tenant) != tenant:
        raise click.BadParameter("lower-case letters, digits and hyphens", param_hint="--tenant")
    settings = load_settings()
    console = Console(soft_wrap=True, highlight=False)
    try:
        northwind = read_northwind(folder)
        replayed, api_key = run(settings, _make(settings, console, northwind, tenant))
    except KeyboardInterrupt:
        raise click.ClickException("stopped; the same command goes on where it was") from None
    except (UnreadableFile, AnotherLedger, RequestRefused, LookupError) as error:
        raise click.ClickException(str(error)) from error
    _tell(console, settings, tenant, api_key or "<its API key>", replayed)


async def _make(
    settings: Settings, console: Console, northwind: Northwind, tenant: str
) -> tuple[Replayed, str | None]:
    """Return what it came to, and the key of the tenant where it was made now."""
    bar = Progress(
        TextColumn("{task.description:<21}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    tasks: dict[str, TaskID] = {}

    def show(told: Told) -> None:
        if told.stage not in tasks:
            tasks[told.stage] = bar.add_task(told.stage, total=told.total)
        bar.update(tasks[told.stage], completed=told.done)

    async with open_ledger(settings) as house:
        tenant_id, api_key = await _tenant_begun(house, tenant), None
        if tenant_id is None:
            founded = await found_tenant(
                house, tenant, email=f"owner@{tenant}.example", time_zone=ZONE
            )
            tell_secrets(console, founded)
            tenant_id, api_key = founded.tenant_id, founded.api_key
        with bar:
            return await replay_northwind(house, tenant_id, northwind, show), api_key


async def _tenant_begun(house: House, tenant: str) -> int | None:
    """Return the id of the tenant where an earlier run has begun; None when there is none.

    Raises LookupError when that is too long ago to be gone on with.
    """
    async with house.pool.acquire() as connection:
        ids = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    for tenant_id in ids:
        async with tenant_transaction(house.pool, tenant_id) as connection:
            created_at = await connection.fetchval(
                "SELECT created_at FROM ledger.tenant WHERE slug = $1", tenant
            )
        if created_at is None:
            continue
        if house.now() - created_at > AGAIN_WITHIN:
            raise LookupError(
                f"there is a tenant {tenant!r} of {created_at:%Y-%m-%d} already;"
                f" name another: --tenant {tenant}-2"
            )
        return tenant_id
    return None


async def replay_northwind(
    house: House,
    tenant_id: int,
    northwind: Northwind,
    on_step: Callable[[Told], None] = lambda told: None,
) -> Replayed:
    """Serve a house on a port of its own, and replay Northwind in a tenant through it.

    Raises RequestRefused when the service will not have something, and AnotherLedger when the
    tenant has been used for something else.
    """
    token = new_session(
        house.settings.jwt_secret,
        tenant_id=tenant_id,
        user_id=USER_ID,
        role="owner",
        name="Northwind replay",
        now=house.now(),
    )
    stop = threading.Event()

    def replay(url: str) -> Replayed:
        client = HttpClient(url, token, stop)
        try:
            telling = Replay(client, northwind, on_step)
            outcome = telling.run()
            return Replayed(outcome, list(telling.months()))
        finally:
            client.close()

    async with following(house), _served(house) as url:
        try:
            return await asyncio.to_thread(replay, url)
        finally:
            # When we are cancelled, the thread ends before its next request.
            stop.set()


@asynccontextmanager
async def _served(house: House) -> AsyncGenerator[str]:
    """Serve on a free port of this machine for as long as the block lasts; give its address."""
    from api.app import create_app

    settings = msgspec.structs.replace(
        house.all_settings, host="127.0.0.1", port=0, http_server="uvicorn"
    )
    settings = msgspec.structs.replace(settings, port=claim_port(settings))
    ready, stop = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(
        serve_http(create_app(house), settings, stop, on_ready=ready.set), name="serving"
    )
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield f"http://{settings.host}:{settings.port}"
    finally:
        stop.set()
        await serving


def tell_secrets(console: Console, founded: Founded) -> None:
    """Print what a new tenant's owner must note, since nothing keeps it in clear."""
    console.print(Text(f"Tenant {founded.tenant}, API key {founded.api_key}"))
    console.print(Text(f"Owner {founded.email}, password {founded.shown_password}"))
    console.print("[bold yellow]Note these now: they are not shown again.[/]")


def _tell(
    console: Console, settings: Settings, tenant: str, api_key: str, replayed: Replayed
) -> None:
    grid = Table("month", title="By the service's reports")
    for heading in ("orders", "ordered", "shipped", "cost of it", "margin"):
        grid.add_column(heading, justify="right")
    for month in replayed.months:
        amounts = (month.revenue, month.shipped, month.cogs, month.margin)
        grid.add_row(month.month, f"{month.orders}", *(f"{each:,.2f}" for each in amounts))
    grid.add_section()
    months = replayed.months
    totals = (
        sum(month.revenue for month in months),
        sum(month.shipped for month in months),
        sum(month.cogs for month in months),
        sum(month.margin for month in months),
    )
    orders = sum(month.orders for month in months)
    grid.add_row("all", f"{orders:,}", *(f"{each:,.2f}" for each in totals))
    console.print(grid)
    outcome = replayed.outcome
    console.print(f"{outcome.writes:,} requests; the log is at {outcome.position:,}.")
    if outcome.replayed == outcome.writes:
        console.print("All of them had been taken by an earlier run; nothing was added.")
    elif outcome.replayed:
        console.print(f"{outcome.replayed:,} of them had been taken by an earlier run.")
    base = f"http://{settings.host}:{settings.port}"
    console.print("\nTry (with the service running: make run):")
    console.print(Text(_TRY.format(base=base, key=api_key, tenant=tenant)))


_TRY: Final = """\
  export KEY='{key}' BASE={base}
  1. What has not left yet?    curl -sS "$BASE/api/orders?status=paid" -H "X-API-Key: $KEY"
  2. What is on its way to us?  curl -sS "$BASE/api/suppliers/purchase-orders/all?status=sent" \
-H "X-API-Key: $KEY"
  3. What did a year earn?      curl -sS "$BASE/api/reports/financial?from=1997-01-01\
&to=1997-12-31&group_by=month" -H "X-API-Key: $KEY"
  4. What was it worth then?    curl -sS "$BASE/api/reports/inventory?valuation_date=1997-12-31" \
-H "X-API-Key: $KEY"
  5. Why is it that many?       stockledger explain NW-40 NORTHWIND --tenant {tenant}
  6. Is all of it right?        stockledger verify --tenant {tenant}"""
