"""A folder of Parquet files that holds the analysts' tables, all of them as of one position.

``manifest.json`` says which files those are. A run writes new files beside the old ones, then
replaces the manifest, by renaming, and only then takes away what it no longer names. So who goes by
the manifest sees one position, and never a part of a run; who has read the manifest before that
and opens a file after it finds that file gone, and reads the manifest again.

Of a table that only grows, a run adds what is new: files by the month in which their rows were
recorded. All others are replaced.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow
import pyarrow.compute

from api.exports.columns import ArrowSchema
from api.exports.copying import ArrowTable, BlockReader, ParquetWriter, aside
from api.exports.tables import (
    Snapshot,
    Table,
    columns_told,
    file_schema,
    snapshot,
    table_blocks,
    tables_of,
)
from deploy.parquet_log import UNFINISHED, NoExport, locked, put_in_place, write_whole
from ledger.showing import instant
from ledger.store import Pool

pa: Any = pyarrow
compute: Any = pyarrow.compute

MANIFEST: Final = "manifest.json"
MANIFEST_VERSION: Final = 1
ROWS_PER_FILE: Final = 1_000_000
TABLE_TIMEOUT_S: Final = 3600.0
MONTH: Final = "recorded_month"

Show = Callable[[str, int], None]
"""Told a table's name and how many of its rows have been written."""

_LEAF: Final = "SELECT leaf_hash FROM ledger.event WHERE tenant_id = $1 AND position = $2"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a table: where it is, below the folder, and how many rows it has."""

    path: str
    rows: int


class TableFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A table: what it is, its columns, and the files that hold its rows."""

    description: str
    grows: bool
    rows: int
    columns: list[dict[str, str]]
    files: list[File]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder holds. ``since`` is the position behind which tables that grow begin.

    ``leaf_hash`` is that of the event at ``position``: where it is another now, the log is not the
    one that was exported.
    """

    stockledger_tables: int
    tenant_id: int
    tenant: str
    inventory_system_id: str
    position: int
    snapshot_at: str
    leaf_hash: str
    since: int
    tables: dict[str, TableFiles]


class Run:
    """What a run found, and writes. ``written`` is how many rows, by table."""

    def __init__(self, folder: Path, shown: Snapshot, show: Show, rows_per_file: int) -> None:
        self.folder = folder
        self.shown = shown
        self.show = show
        self.rows_per_file = rows_per_file
        self.stamp = f"{shown.position:012d}-{shown.taken_at:%Y%m%dT%H%M%S%f}Z"
        self.written: dict[str, int] = {}

    async def table(self, table: Table, before: TableFiles | None, after: int) -> TableFiles:
        """Write what is new of a table; ``before`` is what stays of it, up to ``after``."""
        output = _Output(self, table)
        try:
            async with aclosing(
                table_blocks(self.shown, table, timeout_s=TABLE_TIMEOUT_S, after=after)
            ) as blocks:
                async for block in blocks:
                    await aside(output.write, block)
                    self.show(table.name, output.rows)
            await aside(output.close)
        except BaseException:
            output.abandon()
            raise
        self.written[table.name] = output.rows
        kept = before.files if before is not None else []
        files = [*kept, *output.files]
        return TableFiles(
            description=table.about,
            grows=table.grows,
            rows=sum(file.rows for file in files),
            columns=columns_told(table),
            files=files,
        )


class _Output:
    """The files that a table's rows go to, one after the other."""

    def __init__(self, run: Run, table: Table) -> None:
        self._run = run
        self._table = table
        self._schema: ArrowSchema = file_schema(table, run.shown)
        self._reader = BlockReader(table.columns, self._schema)
        self._writer: ParquetWriter | None = None
        self._path = Path()
        self._month = ""
        self.files: list[File] = []
        self.rows = 0

    def write(self, block: bytes) -> None:
        """Take rows in."""
        for month, rows in self._parts(self._reader.read(block)):
            start = 0
            while start < rows.num_rows:
                writer = self._writer
                if writer is None or month != self._month or writer.rows >= self._limit:
                    writer = self._next(month)
                part = rows.slice(start, self._limit - writer.rows)
                writer.add(part)
                start += part.num_rows
            self.rows += rows.num_rows

    def close(self) -> None:
        """Finish the last file. A table that is replaced has one even when it has no rows."""
        if not self.files and self._writer is None and not self._table.grows:
            self._next("")
        self._finish()

    def abandon(self) -> None:
        """Take away what has not been finished."""
        if self._writer is not None:
            self._writer.abandon()
            self._unfinished.unlink(missing_ok=True)

    @property
    def _limit(self) -> int:
        return self._run.rows_per_file

    @property
    def _unfinished(self) -> Path:
        return self._path.with_name(f"{self._path.name}{UNFINISHED}")

    def _parts(self, rows: ArrowTable) -> Iterator[tuple[str, ArrowTable]]:
        """Yield rows by the month in which they were recorded, which is in their order."""
        if not self._table.grows:
            yield "", rows
            return
        at = rows.column("recorded_at").cast(pa.timestamp("us"))
        months = compute.add(
            compute.multiply(compute.year(at), 12), compute.subtract(compute.month(at), 1)
        )
        start = 0
        for found in compute.value_counts(months).to_pylist():
            year, month = divmod(found["values"], 12)
            yield f"{year:04d}-{month + 1:02d}", rows.slice(start, found["counts"])
            start += found["counts"]

    def _next(self, month: str) -> ParquetWriter:
        self._finish()
        folder = self._run.folder / self._table.name
        if month:
            folder /= f"{MONTH}={month}"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{self._run.stamp}-{len(self.files) + 1:03d}.parquet"
        self._month = month
        self._writer = ParquetWriter(self._unfinished, self._schema)
        return self._writer

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        put_in_place(self._unfinished, self._path)
        path = self._path.relative_to(self._run.folder).as_posix()
        self.files.append(File(path=path, rows=self._writer.rows))
        self._writer = None


async def export_tables(
    pool: Pool,
    tenant_id: int,
    folder: Path,
    show: Show,
    *,
    names: Sequence[str] = (),
    since: int | None = None,
    rows_per_file: int = ROWS_PER_FILE,
) -> tuple[Manifest, Mapping[str, int]]:
    """Bring a folder to the present position; return its manifest, and the rows written by table.

    ``names`` are the tables to export, all there are where it is empty; a folder's stay. ``since``
    leaves out what tables that grow had up to a position. Raises NoExport for a folder of
    something else, LookupError for a table that there is not.
    """
    with locked(folder):
        before = read_manifest(folder)
        async with snapshot(pool, tenant_id) as shown:
            there = await tables_of(shown.connection)
            leaf: bytes | None = await shown.connection.fetchval(_LEAF, tenant_id, shown.position)
            if before is None:
                _must_be_ours(folder, there)
            else:
                await _goes_on(before, folder, shown, since)
            wanted = _wanted(there, names, before)
            _sweep(folder, there, before)
            run = Run(folder, shown, show, rows_per_file)
            begin = before.since if before is not None else since or 0
            tables: dict[str, TableFiles] = {}
            for name in wanted:
                table = there[name]
                kept = before.tables.get(name) if before is not None else None
                if before is None or not table.grows or not _is_same(table, kept):
                    tables[name] = await run.table(table, None, begin)
                else:
                    tables[name] = await run.table(table, kept, before.position)
        manifest = Manifest(
            stockledger_tables=MANIFEST_VERSION,
            tenant_id=tenant_id,
            tenant=shown.slug,
            inventory_system_id=shown.system_id,
            position=shown.position,
            snapshot_at=instant(shown.taken_at),
            leaf_hash="" if leaf is None else leaf.hex(),
            since=begin,
            tables=tables,
        )
        write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        _sweep(folder, there, manifest)
    return manifest, run.written


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder holds, None where it has no manifest; raise NoExport for another's."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError:
        raise NoExport(f"{path} is no manifest of tables; name another folder") from None


def _must_be_ours(folder: Path, there: Mapping[str, Table]) -> None:
    """Raise NoExport for a folder without manifest that holds more than a run that was killed."""
    for path in folder.iterdir():
        if path.name not in there and not path.name.endswith(UNFINISHED):
            raise NoExport(f"{folder} holds {path.name}, and no {MANIFEST}; name another folder")


async def _goes_on(before: Manifest, folder: Path, shown: Snapshot, since: int | None) -> None:
    """Raise NoExport unless a folder can be brought to a snapshot."""
    if before.inventory_system_id != shown.system_id:
        raise NoExport(f"{folder} is of tenant {before.tenant!r}, not of {shown.slug!r}")
    leaf = await shown.connection.fetchval(_LEAF, shown.tenant_id, before.position)
    if before.position > shown.position or before.leaf_hash != ("" if leaf is None else leaf.hex()):
        raise NoExport(
            f"the log is no longer the one that {folder} was made of, up to position "
            f"{before.position:,}; name another folder"
        )
    if since not in (None, before.since):
        raise NoExport(f"{folder} begins behind position {before.since:,}, not {since:,}")


def _wanted(there: Mapping[str, Table], names: Sequence[str], before: Manifest | None) -> list[str]:
    """Return the tables to write: those named and those that the folder has, or else all."""
    unknown = [name for name in names if name not in there]
    if unknown:
        raise LookupError(f"there is no table {unknown[0]!r}; there are: {', '.join(there)}")
    had = [] if before is None else [name for name in before.tables if name in there]
    # All of them are at one position, so that none of a folder's can be left behind.
    return sorted({*names, *had}) or list(there)


def _is_same(table: Table, kept: TableFiles | None) -> bool:
    """Say whether what a folder has of a table has the columns that the table has now."""
    return kept is not None and kept.columns == columns_told(table)


def _sweep(folder: Path, there: Mapping[str, Table], manifest: Manifest | None) -> None:
    """Take away what a run that was killed has left, and what a manifest no longer names."""
    tables = {} if manifest is None else manifest.tables
    named = {file.path for table in tables.values() for file in table.files}
    for name in {*there, *tables}:
        for pattern in ("*.parquet", f"*{UNFINISHED}"):
            for path in (folder / name).rglob(pattern):
                if path.relative_to(folder).as_posix() not in named:
                    path.unlink()
