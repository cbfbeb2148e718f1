"""`stockledger demo`: a made-up shop, or a known company, with years of history to explore."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from api.imports.demo_books import Answer, Answers
from api.imports.demo_shop import Step, history
from deploy.bootstrap import Founded, found_tenant
from deploy.commands import _demo_northwind as northwind
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import House, open_ledger
from ledger.ports import Meta
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.common import Command
from schemas.order import OrderPlaced
from schemas.purchase import PurchaseOrderCreated
from schemas.stock import TransferShipped

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class _Told(msgspec.Struct, frozen=True):
    """What a step's response carries: an answer for each command, and what was appended."""

    answers: list[tuple[int, int | None] | None]
    appended: dict[str, int]
    refused: dict[str, int]


class Traded(NamedTuple):
    """How many events of each type there were, and refusals by code."""

    appended: Counter[str]
    refused: Counter[str]


class _Demos(click.RichGroup):
    """Takes the made-up shop when no demo is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["shop", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Demos)
def command() -> None:
    """Make a tenant with years of history: the made-up `shop`, unless another is named."""


command.add_command(northwind.command)


@command.command("shop")
@click.option("--years", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another shop.")
@click.option("--tenant", default="demo", show_default=True, help="The new tenant's slug.")
def shop(years: int, seed: int, tenant: str) -> None:
    """Make a tenant with a shop that has traded for years, up to yesterday."""
    if _SLUG.fullmatch(tenant) is None:
        raise click.BadParameter("lower-case letters, digits and hyphens", param_hint="--tenant")
    settings = load_settings()
    console = Console(soft_wrap=True, highlight=False)
    try:
        founded, traded = run(settings, _make(settings, console, years, seed, tenant))
    except asyncpg.UniqueViolationError as error:
        raise click.ClickException(
            f"there is a tenant {tenant!r} already; name another: --tenant {tenant}-2"
        ) from error
    _tell(console, settings, tenant, founded.api_key, traded)


async def _make(
    settings: Settings, console: Console, years: int, seed: int, tenant: str
) -> tuple[Founded, Traded]:
    progress = Progress(
        TextColumn("trading"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} days"),
        TextColumn("[cyan]{task.fields[events]:,} events"),
        TimeRemainingColumn(),
        console=console,
    )
    async with open_ledger(settings) as house:
        founded = await found_tenant(house, tenant, email=f"owner@{tenant}.example")
        northwind.tell_secrets(console, founded)
        with progress:
            task = progress.add_task("", total=365 * years, events=0)

            def show(step: Step, traded: Traded) -> None:
                events = traded.appended.total()
                progress.update(
                    task, total=step.days_total, completed=step.days_done, events=events
                )

            return founded, await trade(house, founded.tenant_id, seed, years, show)


async def trade(
    house: House,
    tenant_id: int,
    seed: int,
    years: int,
    on_step: Callable[[Step, Traded], None] = lambda step, traded: None,
) -> Traded:
    """Let the shop trade in an empty tenant; return what was appended and what was refused."""
    traded = Traded(Counter(), Counter())
    story = history(seed, years, house.now())
    step = next(story)
    while True:
        answers = await _submit(house, tenant_id, step.commands, traded)
        on_step(step, traded)
        await asyncio.sleep(0)
        try:
            step = story.send(answers)
        except StopIteration:
            return traded


async def _submit(
    house: House, tenant_id: int, commands: Sequence[Command], traded: Traded
) -> Answers:
    reply = await house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(each) for each in commands],
            meta=Meta(actor="system:demo", source="demo"),
            atomic=False,
            render=_rendered,
        )
    )
    told = msgspec.json.decode(reply.body, type=_Told)
    traded.appended.update(told.appended)
    traded.refused.update(told.refused)
    return [None if answer is None else Answer(*answer) for answer in told.answers]


def _rendered(outcomes: Sequence[Outcome]) -> Rendered:
    told = _Told(
        answers=[_answer(outcome) for outcome in outcomes],
        appended=Counter(type(e.event).TYPE for outcome in outcomes for e in outcome.events),
        refused=Counter(o.refusal.CODE for o in outcomes if o.refusal is not None),
    )
    return Rendered(200, msgspec.json.encode(told))


def _answer(outcome: Outcome) -> tuple[int, int | None] | None:
    """Return the position of a command's first event, and the id of what it made."""
    if not outcome.events:
        return None
    made: int | None = None
    for recorded in outcome.events:
        match recorded.event:
            case TransferShipped(transfer_id=made):
                break
            case OrderPlaced(order_id=made):
                break
            case PurchaseOrderCreated(purchase_order_id=made):
                break
            case _:
                continue
    return outcome.events[0].position, made


def _tell(console: Console, settings: Settings, tenant: str, api_key: str, traded: Traded) -> None:
    events = ", ".join(f"{count:,} {kind}" for kind, count in traded.appended.most_common())
    console.print(f"[bold]{traded.appended.total():,} events[/]: {events}")
    if traded.refused:
        refused = ", ".join(f"{count} {code}" for code, count in traded.refused.most_common())
        console.print(f"Refused, as happens in a shop: {refused}")
    base = f"http://{settings.host}:{settings.port}"
    console.print("\nTry (with the service running: make run):")
    console.print(Text(_TRY.format(base=base, key=api_key, tenant=tenant)))


_TRY: Final = """\
  export KEY='{key}' BASE={base}
  1. What is short?          curl -sS "$BASE/api/inventory/alerts" -H "X-API-Key: $KEY"
  2. Why is it that many?    stockledger explain CUP-BLUE SHOP --tenant {tenant}
  3. What is on the counter?  curl -sS "$BASE/api/inventory?warehouse_id=4" -H "X-API-Key: $KEY"
  4. What did it earn?       curl -sS "$BASE/api/reports/financial" -H "X-API-Key: $KEY"
  5. Who ordered what?       curl -sS "$BASE/api/orders?limit=5" -H "X-API-Key: $KEY"
  6. The log itself          curl -sS "$BASE/api/ledger/events?limit=5" -H "X-API-Key: $KEY"
  7. Is all of it right?     stockledger verify --tenant {tenant}"""
