"""``stockledger serve``: what ``make run`` runs."""

import sys

import rich_click as click
from rich.console import Console
from rich.text import Text

from deploy.bootstrap import Founded
from deploy.embedded_nats import reader_url_file
from deploy.running import run
from deploy.service import serve
from deploy.settings import Settings


@click.command()
@click.pass_obj
def command(settings: Settings) -> None:
    """Run the service: database, API, and on the first start a tenant, its owner and a key."""
    sys.exit(run(settings, serve(settings, _tell)))


def _tell(settings: Settings, first: Founded | None) -> None:
    """Say that the service is up, what the first start made, and what to try next."""
    console = Console(soft_wrap=True, highlight=False)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    base = f"http://{host}:{settings.port}"
    console.print()
    console.print(f"[bold]Stockledger is ready at {base}[/]")
    console.print(f"  API description   {base}/docs")
    where = (
        "the database of STOCKLEDGER_DATABASE_URL"
        if settings.database_url
        else (f"{settings.data_dir.absolute()}")
    )
    console.print(Text(f"  Kept in           {where}"))
    if settings.relay:
        own = reader_url_file(settings.data_dir.absolute())
        streams = f"NATS, with the URL in {own}" if own.exists() else "STOCKLEDGER_NATS_URL"
        console.print(Text(f"  Event streams     {streams}"))
    if first is not None:
        shown = [
            ("Tenant", first.tenant),
            ("Owner", first.email),
            ("Password", first.shown_password or "as set by STOCKLEDGER_BOOTSTRAP_OWNER_PASSWORD"),
            ("API key", first.shown_api_key or "as set by STOCKLEDGER_BOOTSTRAP_API_KEY"),
            ("Inventory system", first.inventory_system_id),
            ("User id (miPOS)", first.user_id_tps),
        ]
        for label, value in shown:
            console.print(Text(f"  {label:<17} {value}"))
        if first.shown_password or first.shown_api_key:
            console.print("  [bold yellow]Note these now: they are not shown again.[/]")
    else:
        console.print("  Tenants           stockledger tenant list: their inventory systems' ids")
    console.print()
    console.print("Try next, in another terminal:")
    key = first.shown_api_key if first is not None and first.shown_api_key else "<your API key>"
    console.print(Text(_NEXT.format(base=base, key=key)))
    console.print("Ctrl-C stops it; the same command comes back to the same data.")
    # A pipe or a journal would hold it back until the service ends.
    sys.stdout.flush()


_NEXT = """\
  export KEY='{key}' BASE={base}
  curl -sS $BASE/api/warehouses -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
       -d '{{"code": "MAIN", "name": "Main warehouse"}}'
  curl -sS $BASE/api/products -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
       -d '{{"sku": "MUG", "name": "Mug", "base_price": "7.50"}}'
  curl -sS $BASE/api/inventory/adjust -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
       -H "Idempotency-Key: first-stock" \\
       -d '{{"product_id": 1, "warehouse_id": 1, "quantity": 40, "reason": "opening stock"}}'
  curl -sS "$BASE/api/inventory?product_id=1" -H "X-API-Key: $KEY"
  curl -sS "$BASE/api/ledger/explain?sku=MUG&location=MAIN" -H "X-API-Key: $KEY"
"""
