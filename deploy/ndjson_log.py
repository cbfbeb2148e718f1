"""A file of lines that holds a log: an event a line, in its exact bytes; resumed at its end."""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from deploy.parquet_log import Exported, NoExport, schema_text, write_notes, write_whole
from ledger.checkpoints import origin_of
from ledger.offline import ExportHeader, line_of
from ledger.showing import event_json
from ledger.store import Pool, read_after, read_head, tenant_transaction

EXPORT_VERSION: Final = 1
BATCH_EVENTS: Final = 2_000
_TAIL_BYTES: Final = 16 * 1024 * 1024

_LOG: Final = "SELECT log_id FROM proof.tree WHERE tenant_id = $1"


async def export_log(
    pool: Pool, tenant_id: int, out: Path, now: datetime, show: Callable[[int, int], None]
) -> Exported:
    """Write a tenant's log to a file, and its checkpoints and the events' schemas beside it.

    Raises LookupError when nothing has been signed of the log yet, and NoExport for a file of
    something else.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        log_id = await connection.fetchval(_LOG, tenant_id)
        if log_id is None:
            raise LookupError("nothing has been signed of this log yet; start the service once")
        head = (await read_head(connection, tenant_id)).position
    origin = origin_of(log_id)
    if out.is_dir():
        raise NoExport(f"{out} is a folder; name a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    before = _resume(out, origin)
    with out.open("ab") as file:
        if before is None:
            header = ExportHeader(
                stockledger_log=EXPORT_VERSION,
                tenant_id=tenant_id,
                origin=origin,
                exported_at=now,
            )
            file.write(msgspec.json.encode(header) + b"\n")
        start = position = before or 0
        while position < head:
            async with tenant_transaction(pool, tenant_id) as connection:
                events = await read_after(connection, tenant_id, position, BATCH_EVENTS)
            events = [event for event in events if event.position <= head]
            file.write(b"".join(line_of(event_json(e), e.leaf_hash) for e in events))
            position = events[-1].position
            show(position, head)
        file.flush()
        os.fsync(file.fileno())
    notes = await write_notes(pool, tenant_id, head, out.with_name(f"{out.name}.checkpoints"))
    write_whole(out.with_name(f"{out.name}.schema.json"), schema_text())
    return Exported(start, head, notes)


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
