"""A folder of Parquet files that holds a log: written by one process, resumed by another.

Each file holds a range of positions of one length, but for the last, which holds what is left. A
file is there whole or not at all: it is written under another name, and renamed. So what goes on
with a folder looks at the files that are there, keeps those that are full, and writes the last one
again with what has come since.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from api.exports.copying import aside
from api.exports.event_schemas import event_schemas
from api.exports.log import Log, event_blocks, file_schema, look_at, writer
from ledger.offline_parquet import describe, files_of
from ledger.store import Pool, tenant_transaction

EVENTS_PER_FILE: Final = 1_000_000
# Names with a line first are passed over by what reads a folder of Parquet files as one table.
CHECKPOINTS: Final = "_checkpoints"
SCHEMA: Final = "_schema.json"
UNFINISHED: Final = ".unfinished"
FILE_TIMEOUT_S: Final = 3600.0
TURN_S: Final = 0.000_2

Show = Callable[[int, int], None]

_NOTES: Final = """
SELECT note, signed_at, size FROM proof.checkpoint
WHERE tenant_id = $1 AND size <= $2 ORDER BY size
"""


class NoExport(Exception):
    """What is to be gone on with is not an export of this log; the message says why."""


class Exported(NamedTuple):
    """What came of an export: events that were there and are there now, and checkpoints."""

    before: int
    events: int
    notes: int


async def export_log(
    pool: Pool,
    tenant_id: int,
    folder: Path,
    show: Show,
    *,
    events_per_file: int = EVENTS_PER_FILE,
) -> Exported:
    """Write a tenant's log to a folder, going on with what an earlier run has written.

    Raises LookupError when nothing has been signed of the log yet, and NoExport for a folder of
    something else, or one that another run is writing to.
    """
    async with tenant_transaction(pool, tenant_id) as connection:
        log = await look_at(connection, tenant_id)
    with locked(folder), _short_turns():
        for left in folder.glob(f"*{UNFINISHED}"):
            left.unlink()
        before, first = _resume(folder, log, events_per_file)
        while first <= log.head:
            last = min(first + events_per_file - 1, log.head)
            await _write(pool, folder, log, first, last, show)
            first = last + 1
        notes = await write_notes(pool, tenant_id, log.head, folder / CHECKPOINTS)
        write_whole(folder / SCHEMA, schema_text())
    return Exported(before, log.head, notes)


@contextmanager
def _short_turns() -> Generator[None]:
    """Have threads of this process wait for each other less.

    One that comes back from Arrow waits for the interpreter while the other reads what PostgreSQL
    sends, without a pause: 5 ms each time, as Python has it, ten times a block.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _resume(folder: Path, log: Log, events_per_file: int) -> tuple[int, int]:
    """Return the last position that is there, and the first one that is to be written."""
    end, begin = 0, 1
    for path in files_of(folder):
        try:
            file = describe(path)
        except ValueError as fault:
            raise NoExport(f"{fault}; name another folder") from None
        if file.origin != log.origin:
            of = file.origin or "something else"
            raise NoExport(f"{path} is of {of}, not of {log.origin}; name another folder")
        if (file.first, file.last) != (end + 1, end + file.rows):
            raise NoExport(f"{path} does not go on at position {end + 1}; name another folder")
        begin, end = end + 1, end + file.rows
    if end > log.head:
        raise NoExport(f"{folder} holds {end:,} events, and the log has {log.head:,} only")
    # The last file is written again unless it is full, or there is nothing to add to it.
    if end == log.head or end - begin + 1 >= events_per_file:
        return end, end + 1
    return end, begin


async def _write(pool: Pool, folder: Path, log: Log, first: int, last: int, show: Show) -> None:
    """Write one file, and put it in its place."""
    path = folder / f"log-{first:012d}.parquet"
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    file = await aside(writer, unfinished, file_schema(log, first, last))
    try:
        # A transaction a file: the log does not change, and a long one would hold back vacuum.
        async with (
            tenant_transaction(pool, log.tenant_id) as connection,
            aclosing(
                event_blocks(connection, log.tenant_id, first, last, timeout_s=FILE_TIMEOUT_S)
            ) as blocks,
        ):
            async for block in blocks:
                await aside(file.write, block)
                show(first + file.rows - 1, log.head)
        if file.rows != last - first + 1:
            raise NoExport(f"the log has {file.rows} events from position {first} to {last}")
        await aside(file.writer.close)
    except BaseException:
        file.writer.abandon()
        unfinished.unlink(missing_ok=True)
        raise
    put_in_place(unfinished, path)


async def write_notes(pool: Pool, tenant_id: int, head: int, path: Path) -> int:
    """Write the signed checkpoints up to a position, a line of JSON each; return how many."""
    async with tenant_transaction(pool, tenant_id) as connection:
        rows = await connection.fetch(_NOTES, tenant_id, head)
    write_whole(path, b"".join(msgspec.json.encode(dict(row)) + b"\n" for row in rows))
    return len(rows)


def schema_text() -> bytes:
    """Return what the events' data hold, as a file says it."""
    return msgspec.json.format(msgspec.json.encode(event_schemas()))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f"{path.name}{UNFINISHED}")
    unfinished.write_bytes(content)
    put_in_place(unfinished, path)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Have a finished file on the disk, and then under its name."""
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold a folder, made where it is missing, against other runs until the block ends."""
    if folder.exists() and not folder.is_dir():
        raise NoExport(f"{folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NoExport(f"another run is writing to {folder}") from None
        yield
    finally:
        os.close(descriptor)
