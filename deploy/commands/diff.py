"""`stockledger diff`: what changed in a read model between two moments, and by which events."""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.explain import changed_columns
from api.problems import Problem
from deploy.commands._explaining import (
    cell,
    changes_json,
    figure_of,
    show_steps,
    steps_json,
    title_of,
    unsealed,
    value_of,
)
from deploy.commands._moments import POINT, TIME, moment_at, position_of
from deploy.commands._progress import event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger
from ledger.store import tenant_transaction
from projections import explaining
from projections.explaining import Difference
from projections.explaining_fold import RowChange
from projections.figures import Figure, Row
from projections.past import Moment

_ROWS_MAX: Final = 10_000
_UNTOLD: Final = frozenset({"position", "version"})


class _Asked(NamedTuple):
    tenant: str | None
    start: int | datetime
    end: int | datetime | None
    as_of: datetime | None
    limit: int
    rows: int


@click.command()
@click.argument("table")
@click.argument("pairs", metavar="[COLUMN=VALUE...]", nargs=-1)
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not said.")
@click.option(
    "--from",
    "start",
    type=POINT,
    required=True,
    help="What had been recorded by this position or time.",
)
@click.option(
    "--to", "end", type=POINT, help="What had been recorded by this position or time; now if left."
)
@click.option("--as-of", type=TIME, help="At both, of what had happened in the world by this time.")
@click.option(
    "--limit",
    type=click.IntRange(1, _ROWS_MAX),
    default=20,
    show_default=True,
    help="How many of the newest events between to show.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, _ROWS_MAX),
    default=20,
    show_default=True,
    help="How many of the rows that differ to show.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How it is printed.",
)
@click.pass_obj
def command(
    settings: Settings,
    table: str,
    pairs: tuple[str, ...],
    tenant: str | None,
    start: int | datetime,
    end: int | datetime | None,
    as_of: datetime | None,
    limit: int,
    rows: int,
    form: str,
) -> None:
    """Show what changed in the read model TABLE between two positions or times.

    With a key, such as `stock_level sku=MUG location=MAIN`, the row at both, and the events between
    that changed it. With a part of a key, the sums, the rows that differ, and the events. With
    neither, the rows of the whole table that were added, removed or changed.
    """
    console = Console(highlight=False)
    asked = _Asked(tenant, start, end, as_of, limit, rows)
    try:
        figure, first, moment, made = run(settings, _read(settings, table, pairs, asked))
    except (LookupError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except Problem as problem:
        raise click.ClickException(problem.detail) from problem
    changes = made.changes
    if form == "json":
        shown = {
            "table": table,
            "from_position": first,
            "to_position": moment.position,
            "as_of": moment.as_of,
            "changes": changes_json(made.before, made.after),
            "added": changes.added,
            "removed": changes.removed,
            "changed": changes.changed,
            "rows": [
                {"key": each.key, "changes": changes_json(each.before, each.after)}
                for each in changes.rows
            ],
            "steps": steps_json(made.between),
            "next_before": made.between.before,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    console.print(
        f"{title_of(figure)}: from position {first:,} to {moment.position:,}",
        markup=False,
        style="bold",
    )
    if figure.wanted:
        _show_change(console, made.before, made.after)
    if not figure.is_row:
        _show_rows(console, made)
    if made.between.steps:
        show_steps(console, figure, made.between)
        if made.between.before is not None:
            console.print("There were more events before these: --limit.")


async def _read(
    settings: Settings, table: str, pairs: tuple[str, ...], asked: _Asked
) -> tuple[Figure, int, Moment, Difference]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, asked.tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            figure = await figure_of(connection, tenant_id, table, pairs)
            start = await position_of(connection, tenant_id, asked.start, "--from")
            moment = await moment_at(connection, tenant_id, asked.end, asked.as_of, "--to")
            if start > moment.position:
                raise ValueError("--from must not be later than --to")
            with event_progress(Console(stderr=True), transient=True) as progress:
                task = progress.add_task("events", total=None)
                made = await explaining.diff(
                    connection,
                    tenant_id,
                    figure,
                    start,
                    moment,
                    limit=asked.limit,
                    rows=asked.rows,
                    folded_max=None,
                    progress=lambda done, of: progress.update(task, completed=done, total=of),
                )
            return figure, start, moment, await unsealed(house, tenant_id, made)


def _show_change(console: Console, before: Row | None, after: Row | None) -> None:
    names = [name for name in changed_columns(before, after) if name not in _UNTOLD]
    if not names:
        console.print("It is the same at both.")
        return
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("")
    grid.add_column("before", justify="right", overflow="fold")
    grid.add_column("after", justify="right", style="bold", overflow="fold")
    for name in names:
        grid.add_row(name, Text(cell(value_of(before, name))), Text(cell(value_of(after, name))))
    console.print(grid)


def _show_rows(console: Console, made: Difference) -> None:
    changes = made.changes
    console.print(
        f"{changes.added:,} rows added, {changes.removed:,} removed, {changes.changed:,} changed."
    )
    if not changes.rows:
        return
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in changes.rows[0].key:
        grid.add_column(name, overflow="fold")
    grid.add_column("")
    grid.add_column("what changed", overflow="fold")
    for each in changes.rows:
        what = "added" if each.before is None else "removed" if each.after is None else "changed"
        grid.add_row(*(cell(value) for value in each.key.values()), what, Text(_what(each)))
    console.print(grid)
    if changes.total > len(changes.rows):
        console.print(f"and {changes.total - len(changes.rows):,} more rows: --rows.")


def _what(change: RowChange) -> str:
    names = [
        name
        for name in changed_columns(change.before, change.after)
        if name not in _UNTOLD and name not in change.key
    ]
    if change.before is None or change.after is None:
        row = change.after or change.before
        told = [(name, value_of(row, name)) for name in names]
        return ", ".join(f"{name} {cell(value)}" for name, value in told if value)
    return ", ".join(
        f"{name} {cell(change.before[name])} → {cell(change.after[name])}" for name in names
    )
