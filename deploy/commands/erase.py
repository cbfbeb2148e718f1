"""`stockledger erase`: destroys the keys of personal data."""

from collections.abc import Sequence

import msgspec
import rich_click as click
from rich.console import Console

from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger.ports import Meta
from ledger.store import Connection, tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections import erasing
from schemas.customer import EraseCustomer


class EraseRefused(Exception):
    """The customer cannot be erased; the message says why, and the way out."""


class Erased(msgspec.Struct, frozen=True):
    """``keys`` were destroyed; ``plain_events`` are older than sealing, and stay readable."""

    keys: int
    plain_events: int


@click.group()
def command() -> None:
    """Erase personal data for ever."""


@command.command("customer")
@click.argument("customer_id", type=click.IntRange(1, 2**53 - 1))
@click.option("--reason", help="Why; it stays readable, so nothing personal belongs in it.")
@click.option("--tenant", metavar="SLUG", help="Whose customer; the first one's if not said.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@click.pass_obj
def customer(
    settings: Settings, customer_id: int, reason: str | None, tenant: str | None, yes: bool
) -> None:
    """Destroy the keys of a customer's personal data, and of that in the orders.

    It cannot be undone. Quantities, amounts, hashes and proofs stay as they are.
    """
    if reason is not None and len(reason) > 200:
        raise click.UsageError("--reason must have at most 200 characters")
    if not yes:
        click.confirm(f"Erase customer {customer_id} for ever?", abort=True)
    try:
        erased = run(settings, _erase(settings, customer_id, reason, tenant))
    except (LookupError, EraseRefused) as error:
        raise click.ClickException(str(error)) from error
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Customer {customer_id} is erased; {erased.keys} keys were destroyed.")
    if erased.plain_events:
        console.print(
            f"[bold yellow]{erased.plain_events} events are older than sealing is and tell of the "
            "customer in plain text; the log cannot be changed.[/]"
        )


async def _erase(
    settings: Settings, customer_id: int, reason: str | None, tenant: str | None
) -> Erased:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        return await erase_customer(house, tenant_id, customer_id, reason)


async def erase_customer(
    house: House, tenant_id: int, customer_id: int, reason: str | None = None
) -> Erased:
    """Erase a customer as the operator; raise EraseRefused where the ledger will not."""
    async with tenant_transaction(house.pool, tenant_id) as connection:
        plain = await erasing.plain_events(connection, tenant_id, customer_id)
    keys = 0

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        refusal = outcomes[0].refusal
        if refusal is not None:
            return Rendered(409, refusal.detail().encode())
        return Rendered(200, b"")

    async def destroy(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        nonlocal keys
        keys = await erasing.destroy_keys(connection, tenant_id, customer_id)

    reply = await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(EraseCustomer(customer_id=customer_id, reason=reason))],
            meta=Meta(actor="system:cli", source="cli"),
            render=render,
            side_effect=destroy,
        )
    )
    if reply.status != 200:
        raise EraseRefused(reply.body.decode())
    if not keys:
        # Erased before: what has been said in his orders since then goes as well.
        async with tenant_transaction(house.pool, tenant_id) as connection:
            keys = await erasing.destroy_keys(connection, tenant_id, customer_id)
    return Erased(keys, plain)
