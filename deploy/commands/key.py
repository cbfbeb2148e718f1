"""`stockledger key`: API keys made by an operator, webhook secrets among them."""

from collections.abc import Sequence
from typing import cast

import rich_click as click
from rich.console import Console
from rich.text import Text

from api.credentials import hash_api_key, key_prefix, new_api_key
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger.ports import Meta
from ledger.store import Connection, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.access import ApiKeyCreated, RecordApiKeyCreated, Scope

ATTEMPTS_MAX = 3
_MADE = 201
_TAKEN = 409
_NEXT_ID = "SELECT coalesce(max(key_id), 0) + 1 FROM access.api_key WHERE tenant_id = $1"
_INSERT = """
INSERT INTO access.api_key (tenant_id, key_id, name, key_prefix, key_hash, permissions,
                            created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, 'system:cli', $7)
"""


@click.group()
def command() -> None:
    """Make API keys."""


@command.command("create")
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    type=click.Choice(["read", "write", "webhook"]),
    multiple=True,
    default=("read",),
    show_default=True,
    help="What it may do; webhook, which stands alone, makes the secret of an inbound webhook.",
)
@click.option("--tenant", metavar="SLUG", help="Whose it is; the first one's if not said.")
@click.pass_obj
def create(settings: Settings, name: str, permissions: tuple[str, ...], tenant: str | None) -> None:
    """Make an API key, shown this once."""
    scopes = tuple(dict.fromkeys(cast("tuple[Scope, ...]", permissions)))
    if "webhook" in scopes and len(scopes) > 1:
        raise click.UsageError("webhook stands alone; make another key for the rest")
    if not 1 <= len(name.strip()) <= 200:
        raise click.UsageError("NAME must have 1 to 200 characters")
    try:
        key_id, secret = run(settings, _create(settings, name, scopes, tenant))
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(f"{'Secret' if 'webhook' in scopes else 'API key'}   {secret}"))
    console.print(Text(f"Id       {key_id} ({', '.join(scopes)})"))
    console.print("[bold yellow]Note it now: it is not shown again.[/]")


async def _create(
    settings: Settings, name: str, scopes: tuple[Scope, ...], tenant: str | None
) -> tuple[int, str]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        return await make_key(house, tenant_id, name, scopes)


async def make_key(
    house: House, tenant_id: int, name: str, scopes: tuple[Scope, ...]
) -> tuple[int, str]:
    """Make a key of a tenant; return its id and its secret, which is kept nowhere."""
    secret = new_api_key(tenant_id)
    for _ in range(ATTEMPTS_MAX):
        async with tenant_transaction(house.pool, tenant_id) as connection:
            key_id: int = await connection.fetchval(_NEXT_ID, tenant_id) or 1

        async def insert(connection: Connection, outcomes: Sequence[Outcome]) -> None:
            recorded = outcomes[0].events[0]
            event = recorded.event
            assert isinstance(event, ApiKeyCreated)
            await connection.execute(
                _INSERT,
                tenant_id,
                event.key_id,
                name,
                key_prefix(secret),
                hash_api_key(secret),
                list(scopes),
                recorded.recorded_at,
            )

        made = RecordApiKeyCreated(
            key_id=key_id, name=name, key_prefix=key_prefix(secret), permissions=scopes
        )
        reply = await house.committer.submit(
            Submission(
                tenant_id=tenant_id,
                items=[Item(made)],
                meta=Meta(actor="system:cli", source="cli"),
                # Where another process took the id at the same moment, there is nothing to do.
                render=lambda outcomes: Rendered(_MADE if outcomes[0].events else _TAKEN, b""),
                side_effect=insert,
            )
        )
        if reply.status == _MADE:
            return key_id, secret
    raise LookupError("other keys were made at the same moment; try again")
