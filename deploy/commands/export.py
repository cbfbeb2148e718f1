"""`stockledger export`: the log as a file, to be kept, read elsewhere, and proven offline."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import rich_click as click
from rich.console import Console

from deploy.commands._progress import event_progress
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger.checkpoints import origin_of
from ledger.mapper import EVENT_TYPES
from ledger.offline import ExportHeader, line_of
from ledger.showing import event_json
from ledger.store import read_after, read_head, tenant_transaction

EXPORT_VERSION: Final = 1
BATCH_EVENTS: Final = 2_000
_TAIL_BYTES: Final = 16 * 1024 * 1024

_LOG: Final = "SELECT log_id FROM proof.tree WHERE tenant_id = $1"
_NOTES: Final = """
SELECT note, signed_at, size FROM proof.checkpoint
WHERE tenant_id = $1 AND size <= $2 ORDER BY size
"""


class NoExport(Exception):
    """The file that is to be gone on with is not an export of this log."""


@click.group()
def command() -> None:
    """Write the log to a file."""


@command.command("log")
@click.option("--tenant", metavar="SLUG", help="Whose log; the first tenant's if not said.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; one that an earlier run began is gone on with.",
)
@click.pass_obj
def export_log(settings: Settings, tenant: str | None, out: Path) -> None:
    """Write every event, one a line of JSON, in the order of the log, in its exact bytes.

    Beside it go OUT.checkpoints, the signed checkpoints so far, and OUT.schema.json, which says
    what the events' data hold. Prove all of it with `stockledger verify OUT --key KEY`. Run again,
    it adds what is new.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        with event_progress(console) as progress:
            task = progress.add_task(out.name, total=None)

            def show(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            before, events, notes = run(settings, _export(settings, tenant, out, show))
    except (LookupError, NoExport) as error:
        raise click.ClickException(str(error)) from error
    console.print(f"{events - before:,} events written; {out} holds {events:,}.")
    console.print(f"{notes:,} checkpoints in {out}.checkpoints.")


async def _export(
    settings: Settings, slug: str | None, out: Path, show: Callable[[int, int], None]
) -> tuple[int, int, int]:
    """Return how many events were there before, how many are now, and how many checkpoints."""
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, slug)
        async with tenant_transaction(house.pool, tenant_id) as connection:
            log_id = await connection.fetchval(_LOG, tenant_id)
            if log_id is None:
                raise LookupError("nothing has been signed of this log yet; start the service once")
            head = (await read_head(connection, tenant_id)).position
        origin = origin_of(log_id)
        out.parent.mkdir(parents=True, exist_ok=True)
        before = _resume(out, origin)
        with out.open("ab") as file:
            if before is None:
                header = ExportHeader(
                    stockledger_log=EXPORT_VERSION,
                    tenant_id=tenant_id,
                    origin=origin,
                    exported_at=house.now(),
                )
                file.write(msgspec.json.encode(header) + b"\n")
            start = position = before or 0
            while position < head:
                async with tenant_transaction(house.pool, tenant_id) as connection:
                    events = await read_after(connection, tenant_id, position, BATCH_EVENTS)
                events = [event for event in events if event.position <= head]
                file.write(b"".join(line_of(event_json(e), e.leaf_hash) for e in events))
                position = events[-1].position
                show(position, head)
            file.flush()
            os.fsync(file.fileno())
        notes = await _write_notes(house, tenant_id, out, head)
    schema = out.with_name(f"{out.name}.schema.json")
    schema.write_bytes(msgspec.json.format(msgspec.json.encode(event_schemas())))
    return start, head, notes


def _resume(out: Path, origin: str) -> int | None:
    """Return the last position in a file that was begun, a line cut off taken away; else None."""
    if not out.exists() or not out.stat().st_size:
        return None
    with out.open("r+b") as file:
        try:
            header = msgspec.json.decode(file.readline(), type=ExportHeader)
        except msgspec.DecodeError:
            raise NoExport(f"{out} is there and is no export of a log; name another file") from None
        if header.origin != origin:
            raise NoExport(f"{out} is an export of {header.origin}, not of {origin}")
        begin = file.tell()
        size = file.seek(0, os.SEEK_END)
        file.seek(max(begin, size - _TAIL_BYTES))
        base = file.tell()
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        file.truncate(base + whole)
        lines = tail[:whole].splitlines()
    with suppress(IndexError, msgspec.DecodeError, KeyError):
        return msgspec.json.decode(lines[-1])["position"]
    return 0


async def _write_notes(house: House, tenant_id: int, out: Path, head: int) -> int:
    async with tenant_transaction(house.pool, tenant_id) as connection:
        rows = await connection.fetch(_NOTES, tenant_id, head)
    path = out.with_name(f"{out.name}.checkpoints")
    lines = [msgspec.json.encode(dict(row)) + b"\n" for row in rows]
    path.write_bytes(b"".join(lines))
    return len(rows)


def event_schemas() -> dict[str, Any]:
    """Return the JSON Schema of every event's data, by type and present schema version."""
    kinds = dict(sorted(EVENT_TYPES.items()))
    schemas, components = msgspec.json.schema_components(
        kinds.values(), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "events": {
            name: {"schema_version": kind.SCHEMA_VERSION, "data": schema}
            for (name, kind), schema in zip(kinds.items(), schemas, strict=True)
        },
        "$defs": components,
    }
