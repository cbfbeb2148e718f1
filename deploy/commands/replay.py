"""`stockledger replay`: what the log came to by a position or time, folded anew from its events."""

from collections.abc import Callable, Mapping, Sequence, Sized
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.commands._explaining import cell, show_row
from deploy.commands._moments import POINT, TIME, moment_at
from deploy.commands._progress import byte_progress, event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import open_ledger
from ledger.aliases import LOCATION, SKU, fold
from ledger.replaying import Replay, Replayed, exported_events, state_json
from ledger.store import tenant_transaction
from projections.aliases import find_aliases
from projections.past import HAPPENINGS, Moment
from projections.replaying import (
    MANIFEST_FILE,
    STATES_FILE,
    ItemReplay,
    StreamReplay,
    TableFile,
    replay_all,
    replay_item,
    replay_stream,
)

ROWS_SHOWN_MAX: Final = 50
_WIDE_COLUMNS: Final = 10
_ITEM_HIDDEN: Final = frozenset({"location_id", "version", "position", "product_id"})
Format = Literal["table", "json"]
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Asked(NamedTuple):
    """What is to be replayed, and up to when."""

    tenant: str | None
    to: int | datetime | None
    as_of: datetime | None
    stream: str | None
    sku: str | None
    location: str | None


@click.command()
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not said.")
@click.option(
    "--to",
    type=POINT,
    help="Of what had been recorded by this position or time; of all if not said.",
)
@click.option("--as-of", type=TIME, help="Of what had happened in the world by this time.")
@click.option("--stream", metavar="NAME", help="One stream, such as stock-7-1 or order-12.")
@click.option("--sku", help="One product: its stock, reservations, lots, serials and value.")
@click.option("--location", metavar="CODE", help="With --sku: at this location only.")
@click.option(
    "--all", "everything", is_flag=True, help="Every read model and stream, into the folder --out."
)
@click.option(
    "--from",
    "export",
    type=_FILE,
    help="Replay this export of a log, with no database: states of --stream or --all.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A file, or with --all a folder.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How it is printed; what goes into a file is JSON.",
)
@click.pass_obj
def command(
    settings: Settings,
    tenant: str | None,
    to: int | datetime | None,
    as_of: datetime | None,
    stream: str | None,
    sku: str | None,
    location: str | None,
    everything: bool,
    export: Path | None,
    out: Path | None,
    form: Format,
) -> None:
    """Fold the log anew, up to a position or time, and show or write what it comes to.

    A stream: the state that decisions about it are made on, and its rows in the read models. A
    product: its stock, and what it is worth. All: every row of every read model, a file a table
    (DIR/stock_level.ndjson …), and every stream's state (DIR/states.ndjson).

    Nothing is changed; the service may go on.
    """
    if sum((stream is not None, sku is not None, everything)) != 1:
        raise click.UsageError("say what to replay: --stream NAME, --sku SKU or --all")
    if location is not None and sku is None:
        raise click.UsageError("--location goes with --sku")
    if everything and out is None:
        raise click.UsageError("--all writes files: say where with --out")
    asked = _Asked(tenant, to, as_of, stream, sku, location)
    progress = Console(stderr=True)
    shown = Console(highlight=False, soft_wrap=True)
    try:
        if export is not None:
            if sku is not None:
                raise click.UsageError("an export is replayed by --stream or --all")
            _replay_export(export, asked, out, form, progress, shown)
        elif everything:
            assert out is not None, "asked for above"
            moment, files = run(settings, _all(settings, asked, out, progress))
            _tell_files(shown, moment, files, out)
        elif stream is not None:
            moment, replayed = run(settings, _stream(settings, asked, stream))
            _give(shown, out, form, _stream_json(moment, replayed), lambda: _show_stream(
                shown, stream, moment, replayed
            ))  # fmt: skip
        else:
            assert sku is not None, "one of the three"
            moment, item = run(settings, _item(settings, asked, sku))
            _give(shown, out, form, _item_json(moment, item), lambda: _show_item(
                shown, sku, moment, item
            ))  # fmt: skip
    except (LookupError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


# --- from the database --------------------------------------------------------------------


async def _stream(settings: Settings, asked: _Asked, stream: str) -> tuple[Moment, StreamReplay]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, asked.tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            moment = await moment_at(connection, tenant_id, asked.to, asked.as_of, "--to")
            return moment, await replay_stream(connection, tenant_id, stream, moment)


async def _item(settings: Settings, asked: _Asked, sku: str) -> tuple[Moment, ItemReplay]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, asked.tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            moment = await moment_at(connection, tenant_id, asked.to, asked.as_of, "--to")
            wanted = [(SKU, fold(sku))]
            if asked.location is not None:
                wanted.append((LOCATION, fold(asked.location)))
            ids = await find_aliases(connection, tenant_id, wanted)
            for alias, said in zip(wanted, (sku, asked.location), strict=False):
                if alias not in ids:
                    raise LookupError(f"there is no {alias[0]} {said!r}; check the spelling")
            location_id = ids[wanted[1]] if asked.location is not None else None
            item = await replay_item(connection, tenant_id, ids[wanted[0]], location_id, moment)
            return moment, item


async def _all(
    settings: Settings, asked: _Asked, out: Path, console: Console
) -> tuple[Moment, list[TableFile]]:
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, asked.tenant)
        async with tenant_transaction(
            house.pool, tenant_id, isolation="repeatable read"
        ) as connection:
            moment = await moment_at(connection, tenant_id, asked.to, asked.as_of, "--to")
            with event_progress(console, transient=True) as progress:
                task = progress.add_task("events", total=None)
                files = await replay_all(
                    connection,
                    tenant_id,
                    moment,
                    out,
                    lambda done, total: progress.update(task, completed=done, total=total),
                )
            return moment, files


# --- from an export -----------------------------------------------------------------------


def _replay_export(
    export: Path, asked: _Asked, out: Path | None, form: Format, console: Console, shown: Console
) -> None:
    stream = asked.stream
    replay = Replay()
    with export.open("rb") as file, byte_progress(console, transient=True) as progress:
        task = progress.add_task(export.name, total=export.stat().st_size)
        for event in exported_events(
            file,
            (lambda name: name == stream) if stream is not None else (lambda _name: True),
            asked.to,
            asked.as_of,
            HAPPENINGS,
            lambda _done: progress.update(task, completed=file.tell()),
        ):
            replay.take(event)
    states = replay.states
    if stream is None:
        assert out is not None, "--all has --out"
        out.mkdir(parents=True, exist_ok=True)
        with (out / STATES_FILE).open("wb") as file:
            file.writelines(state_json(state) + b"\n" for state in states)
        shown.print(f"{replay.events:,} events; {len(states):,} states in {out / STATES_FILE}.")
        return
    if not states:
        raise LookupError(f"there is no stream {stream!r} in {export} by then")
    body = state_json(states[0])
    _give(shown, out, form, body, lambda: _show_state(shown, states[0]))


# --- what is shown ------------------------------------------------------------------------


def _give(
    console: Console, out: Path | None, form: Format, body: bytes, show: Callable[[], None]
) -> None:
    if out is not None:
        out.write_bytes(msgspec.json.format(body) + b"\n")
        console.print(f"Written to {out}.")
    elif form == "json":
        click.echo(msgspec.json.format(body).decode())
    else:
        show()


def _moment_json(moment: Moment) -> dict[str, Any]:
    return {"position": moment.position, "as_of": moment.as_of}


def _stream_json(moment: Moment, replayed: StreamReplay) -> bytes:
    state = None if replayed.state is None else msgspec.Raw(state_json(replayed.state))
    shown = {**_moment_json(moment), "replayed": state, "rows": replayed.rows}
    return msgspec.json.encode(shown)


def _item_json(moment: Moment, item: ItemReplay) -> bytes:
    return msgspec.json.encode({**_moment_json(moment), **item._asdict()})


def _of(moment: Moment) -> str:
    words = f"by position {moment.position:,}"
    return words if moment.as_of is None else f"{words}, as of {cell(moment.as_of)}"


def _show_stream(console: Console, stream: str, moment: Moment, replayed: StreamReplay) -> None:
    if replayed.state is None:
        console.print(f"Nothing is in {stream} {_of(moment)}.", markup=False)
        return
    _show_state(console, replayed.state)
    for table, rows in replayed.rows.items():
        _show_rows(console, table, rows)


def _show_state(console: Console, replayed: Replayed) -> None:
    console.print(
        f"{replayed.stream} after {replayed.version:,} events, the last at position "
        f"{replayed.position:,}",
        markup=False,
        style="bold",
    )
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(replayed.state))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, [], {}, ""):
            grid.add_row(name, Text(cell(value), style="bold"))
    console.print(grid)


def _show_item(console: Console, sku: str, moment: Moment, item: ItemReplay) -> None:
    if item.product is None:
        console.print(f"There was no {sku} {_of(moment)}.", markup=False)
        return
    console.print(
        f"{item.product['sku']}, {item.product['name']}: {_of(moment)}", markup=False, style="bold"
    )
    _show_rows(console, "levels", item.levels)
    _show_rows(console, "reservations", item.reservations)
    _show_rows(console, "lots", item.lots)
    _show_rows(console, "serials", item.serials)
    _show_rows(console, "value", item.value)


def _show_rows(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, without the columns that say nothing in any of them.

    Where places are named, their ids and what counts events is left to JSON.
    """
    if not rows:
        return
    hidden = _ITEM_HIDDEN if "location" in rows[0] else frozenset[str]()
    names = [
        name
        for name in rows[0]
        if name not in hidden and any(row[name] not in (None, "", [], {}) for row in rows)
    ]
    if len(rows) == 1 and len(names) > _WIDE_COLUMNS:
        console.print(f"\n{title}", markup=False, style="italic")
        show_row(console, {name: _short(rows[0][name]) for name in names})
        return
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        numeric = any(isinstance(row[name], Decimal | int) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows[:ROWS_SHOWN_MAX]:
        grid.add_row(*(Text(cell(_short(row[name]))) for name in names))
    console.print(grid)
    if len(rows) > ROWS_SHOWN_MAX:
        console.print(f"and {len(rows) - ROWS_SHOWN_MAX:,} more; --format json has them all.")


def _short(value: Any) -> Any:
    """Return a list in words: what is in it is for JSON."""
    if isinstance(value, list | dict):
        return f"{len(cast('Sized', value))} entries"
    return value


def _tell_files(console: Console, moment: Moment, files: Sequence[TableFile], folder: Path) -> None:
    rows = sum(each.rows for each in files)
    console.print(
        f"{len(files)} tables with {rows:,} rows {_of(moment)} in {folder}; states of the streams "
        f"in {STATES_FILE}, what there is in {MANIFEST_FILE}."
    )
