"""What `stockledger explain` and `diff` have in common: naming a figure, and showing its steps."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

import msgspec
import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.explain import changed_columns, wanted_of
from deploy.wiring import House
from ledger.aliases import LOCATION, SKU, fold
from ledger.sealing import Keys, open_json, open_text, subjects_in
from ledger.store import Connection, EventRow
from projections import figures as figures_of
from projections.aliases import find_aliases
from projections.explaining_fold import Explanation, Step
from projections.figures import Figure, ReadModel, Row
from projections.reach import Span

_ALIASES: Final = {"sku": (SKU, "product_id"), "location": (LOCATION, "location_id")}
# What changes with every event and says nothing of a figure.
_UNTOLD: Final = frozenset({"position", "version"})
_FIGURES_SHOWN_MAX: Final = 6

Found = TypeVar("Found")


async def figure_of(
    connection: Connection, tenant_id: int, table: str, pairs: Sequence[str]
) -> Figure:
    """Return the figure that a table and ``COLUMN=VALUE`` pairs name.

    Raises LookupError for a table or a name that there is not, api.problems.Problem for a column
    that is none of the key or a value that is none of its type.
    """
    if table not in figures_of.names():
        known = ", ".join(figures_of.names())
        raise LookupError(f"there is no read model {table!r}; there are: {known}")
    model = (await figures_of.read_models(connection, [table]))[table]
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r}: write COLUMN=VALUE, such as sku=MUG")
        given[name.strip()] = value.strip()
    for name, (kind, column) in _ALIASES.items():
        if name in given and column in model.key:
            said = given.pop(name)
            found = await find_aliases(connection, tenant_id, [(kind, fold(said))])
            if not found:
                raise LookupError(f"there is no {name} {said!r}; check the spelling")
            given[column] = str(next(iter(found.values())))
    return Figure(model, wanted_of(model, given))


async def unsealed(house: House, tenant_id: int, found: Found) -> Found:
    """Return what was found with all personal texts in it opened, as the API shows them."""
    subjects = subjects_in(msgspec.json.encode(found))
    if not subjects:
        return found
    return _opened(found, await house.personal.keys(tenant_id, subjects))


def _opened(value: Any, keys: Keys) -> Any:
    if isinstance(value, str):
        return open_text(value, keys)
    if isinstance(value, EventRow):
        return value._replace(data=open_json(value.data.encode(), keys).decode())
    if isinstance(value, dict):
        return {name: _opened(each, keys) for name, each in cast(Row, value).items()}
    if isinstance(value, list | tuple):
        several = cast(Sequence[Any], value)
        parts = [_opened(each, keys) for each in several]
        # A named tuple is made of its fields, not of a list of them.
        kind: Any = type(several)
        return getattr(kind, "_make", kind)(parts)
    return value


def title_of(figure: Figure) -> str:
    """Return how a figure is called."""
    wanted = figure.wanted
    parts = [f"{name} {_span(wanted[name])}" for name in figure.model.key if name in wanted]
    return ", ".join([figure.model.table, *parts])


def _span(value: Any) -> str:
    if isinstance(value, Span):
        return f"{value.first or '…'} to {value.last or '…'}"
    return str(value)


def figures(model: ReadModel, rows: Sequence[Row | None]) -> list[str]:
    """Return the columns of which a running value is worth a column: quantities that change."""
    there = [row for row in rows if row is not None]
    names = list(there[0]) if there else []
    numeric = [
        name
        for name in names
        if name not in model.key
        and name not in _UNTOLD
        and any(isinstance(row[name], Decimal | int) for row in there)
        and not any(isinstance(row[name], bool) for row in there)
    ]
    changing = [name for name in numeric if len({str(row[name]) for row in there}) > 1]
    return (changing or numeric)[:_FIGURES_SHOWN_MAX]


def show_steps(console: Console, figure: Figure, made: Explanation) -> None:
    """Print steps, newest last, each with the running values of what changes."""
    rows = [made.brought_forward, *(step.after for step in made.steps)]
    columns = figures(figure.model, rows)
    others = [_others(figure, step, columns) for step in made.steps]
    is_told = any(others)
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("position", justify="right", no_wrap=True)
    grid.add_column("effective (UTC)", no_wrap=True)
    grid.add_column("event", no_wrap=True)
    for name in columns:
        grid.add_column(name, justify="right", style="bold", overflow="fold")
    if is_told:
        grid.add_column("also changed", overflow="fold")
    grid.add_column("by", no_wrap=True)
    if made.brought_forward is not None:
        grid.add_row(
            "", "", "brought forward", *(cell(value_of(made.brought_forward, c)) for c in columns)
        )
    for step, also in zip(reversed(made.steps), reversed(others), strict=True):
        meta: dict[str, Any] = msgspec.json.decode(step.event.meta)
        grid.add_row(
            f"{step.event.position:,}",
            f"{step.event.effective_at.astimezone(UTC):%Y-%m-%d %H:%M}",
            step.event.type,
            *(_running(step.before, step.after, name) for name in columns),
            *([Text(also)] if is_told else []),
            Text(str(meta.get("actor_name") or meta.get("actor") or "")),
        )
    console.print(grid)


def _others(figure: Figure, step: Step, columns: Sequence[str]) -> str:
    """Return what else than the columns shown an event changed, in words."""
    if step.after is None:
        return "gone"
    if step.before is None:
        return ""
    return "; ".join(
        f"{name}: {cell(step.after.get(name))}"
        for name in changed_columns(step.before, step.after)
        if name not in columns and name not in _UNTOLD and name not in figure.model.key
    )


def value_of(row: Row | None, name: str) -> Any:
    """Return a row's value of a column, None where there is no row."""
    return None if row is None else row.get(name)


def _running(before: Row | None, after: Row | None, name: str) -> Text:
    value = value_of(after, name)
    same = value == value_of(before, name)
    return Text(cell(value), style="dim not bold" if same else "")


def show_row(console: Console, row: Row | None) -> None:
    """Print a figure, a column a line, without those that say nothing."""
    if row is None:
        console.print("There is no such row.")
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in row.items():
        if value not in (None, "", [], {}):
            grid.add_row(name, Text(cell(value), style="bold"))
    console.print(grid)


def cell(value: Any) -> str:
    """Return a value as it is shown in a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return f"{value.normalize():,f}" if value else "0"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case str() | int():
            return str(value)
        case _:
            return msgspec.json.encode(value).decode().strip('"')


def steps_json(made: Explanation) -> list[dict[str, Any]]:
    """Return steps for JSON, oldest first, decimals as strings."""
    return [
        {
            "position": step.event.position,
            "stream": step.event.stream,
            "type": step.event.type,
            "effective_at": step.event.effective_at,
            "recorded_at": step.event.recorded_at,
            "meta": msgspec.Raw(step.event.meta.encode()),
            "data": msgspec.Raw(step.event.data.encode()),
            "changes": changes_json(step.before, step.after),
        }
        for step in reversed(made.steps)
    ]


def changes_json(before: Row | None, after: Row | None) -> Mapping[str, Any]:
    """Return the columns that are not the same, each with both values."""
    return {
        name: {"before": value_of(before, name), "after": value_of(after, name)}
        for name in changed_columns(before, after)
    }
