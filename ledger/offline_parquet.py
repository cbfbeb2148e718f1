"""Reading an export of the log that is in Parquet, for the check of `ledger.offline`.

It is one file, or a folder of them that hold the log in the order of their names. Which columns
there are, and what a file's metadata says: `docs/guides/analyst.md`.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow
import pyarrow.parquet

from ledger import merkle
from ledger.notes import Checkpoint
from ledger.offline import PROGRESS_EVERY, Checked, LogCheck, origin_of_all

pa: Any = pyarrow
parquet: Any = pyarrow.parquet

FORMAT: Final = "stockledger_log"
FORMAT_VERSION: Final = "1"
ROWS_AT_ONCE: Final = 10_000

# As which each column is read, whatever else holds the same: data and meta as their bytes.
_READ_AS: Final = {
    "position": pa.int64(),
    "stream": pa.string(),
    "version": pa.int64(),
    "type": pa.string(),
    "schema_version": pa.int64(),
    "data": pa.binary(),
    "meta": pa.binary(),
    "effective_at": pa.timestamp("us", "UTC"),
    "recorded_at": pa.timestamp("us", "UTC"),
    "leaf_hash": pa.binary(),
}
_TIMES: Final = ("effective_at", "recorded_at")
_UNREADABLE: Final = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)


class LogFile(NamedTuple):
    """What a file says of itself: whose log it is of, which events it holds, and how many."""

    tenant_id: int | None
    origin: str | None
    first: int | None
    last: int | None
    rows: int
    checkpoint: str


def files_of(path: Path) -> list[Path]:
    """Return the files of an export in the order of the log: a folder's, or the one itself."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def describe(path: Path) -> LogFile:
    """Return what a file says of itself; raise ValueError where it is no Parquet file."""
    try:
        metadata = parquet.read_metadata(path)
    except _UNREADABLE as fault:
        raise ValueError(f"{path.name} is no Parquet file: {_told(fault)}") from None
    said: dict[bytes, bytes] = metadata.metadata or {}

    def number(name: str) -> int | None:
        text = said.get(name.encode(), b"").decode(errors="replace")
        return int(text) if text.isascii() and text.isdigit() else None

    def text(name: str) -> str | None:
        value = said.get(name.encode())
        return None if value is None else value.decode(errors="replace")

    return LogFile(
        number("tenant_id"),
        text("origin"),
        number("first_position"),
        number("last_position"),
        metadata.num_rows,
        text("checkpoint") or "",
    )


def check_parquet(
    files: Sequence[Path],
    checkpoints: Sequence[Checkpoint],
    tenant_id: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Checked:
    """Check an export, row by row, against checkpoints whose signatures have been checked.

    As `ledger.offline.check_log` does with lines; a finding's line is the row of its file.
    """
    origin = origin_of_all(checkpoints)
    checked: LogCheck | None = None
    for path in files:
        said = describe(path)
        if checked is None:
            tenant = tenant_id if said.tenant_id is None else said.tenant_id
            if tenant is None:
                raise ValueError("the export does not say its tenant: say which one it is of")
            checked = LogCheck(tenant, checkpoints)
        checked.file = path.name
        if said.origin is not None and said.origin != origin:
            checked.find(None, f"the export is of {said.origin}, not of {origin}")
        if said.tenant_id not in (None, checked.tenant_id):
            checked.find(None, f"it is of tenant {said.tenant_id}, not of {checked.tenant_id}")
        _check_file(checked, path, progress)
    if checked is None:
        raise ValueError("there is no Parquet file in there")
    progress(checked.events)
    return checked.end()


def _check_file(checked: LogCheck, path: Path, progress: Callable[[int], None]) -> None:
    tenant_id, leaf_hash = checked.tenant_id, merkle.leaf_hash
    number = 0
    try:
        for rows in _rows(path):
            for (
                position,
                stream,
                version,
                kind,
                schema,
                data,
                meta,
                happened,
                recorded,
                said,
            ) in rows:
                number += 1
                leaf = leaf_hash(
                    tenant_id, position, stream, version, kind, schema, data, meta, happened,
                    recorded,
                )  # fmt: skip
                checked.take(number, position, stream, version, recorded, leaf, said)
                if checked.events % PROGRESS_EVERY == 0:
                    progress(checked.events)
    except (*_UNREADABLE, struct.error, KeyError, TypeError, AttributeError) as fault:
        # What is missing from here on is found by what comes next, or at the end.
        checked.find(number + 1, f"no event can be read from here on: {_told(fault)}")


def _rows(path: Path) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Yield the rows of a file, some at a time, as the values that are hashed."""
    with parquet.ParquetFile(path) as file:
        there = file.schema_arrow.names
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(_READ_AS), use_threads=False):
            columns: list[Any] = []
            for name, wanted in _READ_AS.items():
                if name not in there and name == "leaf_hash":
                    columns.append([None] * batch.num_rows)
                    continue
                column = batch.column(name).cast(wanted)
                if name in _TIMES:
                    column = column.cast(pa.int64())
                columns.append(column.to_pylist())
            yield zip(*columns, strict=True)


def _told(fault: BaseException) -> str:
    return str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
