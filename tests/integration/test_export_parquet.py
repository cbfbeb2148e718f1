"""`stockledger export log --format parquet`: the log in columns, exact, resumed, and proven."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.address import DatabaseAddress
from deploy.parquet_log import NoExport, export_log
from ledger import merkle
from ledger.checkpoints import origin_of
from ledger.notes import Checkpoint, Signer, sign
from ledger.offline import ExportedEvent, check_log, line_of
from ledger.offline_parquet import check_parquet, describe, files_of
from ledger.showing import event_json
from ledger.store import EventRow, Pool, read_after, tenant_transaction
from schemas.location import LocationOpened
from tests.support.postgres import create_tenant
from tests.support.written_log import Scribe

PER_FILE = 1_000
SIGNER = Signer("stockledger", Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32))
# What CSV, Arrow and JSON each give a meaning of its own.
AWKWARD = ('"', "'", ",", "\\", "\x01", "\x02", "\n", "\r\n", "\t", "\u2028", "é", "😀", "\\.", "")


class Desk(NamedTuple):
    """A tenant's log, and who writes to it."""

    pool: Pool
    scribe: Scribe
    tenant_id: int
    origin: str

    async def write(self, count: int, dice: random.Random) -> None:
        """Append events with all that a text may hold, some of them of long ago."""
        while count:
            group = min(count, 500)
            entries: list[Any] = []
            for _ in range(group):
                number = dice.randrange(1, 30)
                name = "x" + "".join(dice.choices(AWKWARD, k=dice.randrange(6)))
                at = datetime(dice.randrange(1900, 2029), 1, 1, 1, 2, 3, dice.randrange(10**6), UTC)
                event = LocationOpened(location_id=number, name=name, code=f"L{number}")
                entries.append((f"place-{number}", event, at))
            async with tenant_transaction(self.pool, self.tenant_id) as connection:
                await self.scribe._append(connection, entries)
            count -= group

    async def events(self) -> list[EventRow]:
        """Return the whole log."""
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            return await read_after(connection, self.tenant_id, 0, 1_000_000)

    async def checkpoints(self, sizes: Sequence[int]) -> list[Checkpoint]:
        """Sign the log at some sizes, keep that in the database, and return it."""
        events = await self.events()
        made: list[Checkpoint] = []
        for size in sizes:
            frontier: list[bytes] = []
            merkle.append(frontier, 0, [event.leaf_hash for event in events[:size]])
            made.append(Checkpoint(self.origin, size, merkle.root(frontier)))
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            await connection.executemany(
                "INSERT INTO proof.checkpoint VALUES ($1, $2, $3, $4, '{}', now())"
                " ON CONFLICT DO NOTHING",
                [(self.tenant_id, c.size, c.root, sign(c, [SIGNER])) for c in made],
            )
        return made


class _NoReadModels:
    """The log alone is exported."""

    async def apply(self, *_arguments: object) -> None:
        return None


@pytest.fixture
async def desk(database: DatabaseAddress, pool: Pool) -> Desk:
    tenant_id = await create_tenant(database)
    async with tenant_transaction(pool, tenant_id) as connection:
        log_id = await connection.fetchval(
            "INSERT INTO proof.tree (tenant_id) VALUES ($1) RETURNING log_id", tenant_id
        )
    scribe = Scribe(pool, _NoReadModels(), tenant_id)  # type: ignore[arg-type]
    return Desk(pool, scribe, tenant_id, origin_of(log_id))


def _ignore(_done: int, _total: int) -> None:
    return None


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in files_of(folder) for row in pq.read_table(path).to_pylist()]


async def _is_exact(desk: Desk, folder: Path) -> None:
    """Hold every value of every row against the database's own."""
    events = await desk.events()
    found = _rows(folder)
    assert len(found) == len(events)
    for event, row in zip(events, found, strict=True):
        assert tuple(row.values()) == tuple(event)


async def test_files_hold_the_log_exactly_and_grow_by_what_is_new(
    desk: Desk, tmp_path: Path
) -> None:
    """Full files stay as they are, the last one is written again, nothing is lost or doubled."""
    dice = random.Random(1)
    folder = tmp_path / "log"

    async def export() -> tuple[int, int, int]:
        return await export_log(
            desk.pool, desk.tenant_id, folder, _ignore, events_per_file=PER_FILE
        )

    await desk.write(2_500, dice)
    await desk.checkpoints([100, 2_400])
    assert await export() == (0, 2_500, 2)
    await _is_exact(desk, folder)
    names = [path.name for path in files_of(folder)]
    assert names == ["log-000000000001.parquet", "log-000000001001.parquet",
                     "log-000000002001.parquet"]  # fmt: skip
    kept = [path.stat().st_mtime_ns for path in files_of(folder)]
    assert await export() == (2_500, 2_500, 2)
    assert [path.stat().st_mtime_ns for path in files_of(folder)] == kept
    await desk.write(1_200, dice)
    (folder / "log-000000009001.parquet.unfinished").write_bytes(b"left by a run that was killed")
    assert await export() == (2_500, 3_700, 2)
    await _is_exact(desk, folder)
    assert [path.stat().st_mtime_ns for path in files_of(folder)][:2] == kept[:2]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["_checkpoints", "_schema.json", *(f"log-{n:012d}.parquet" for n in (1, 1001, 2001, 3001))]
    )


async def test_a_file_says_what_it_is(desk: Desk, tmp_path: Path) -> None:
    """Whose log, which positions, the newest checkpoint, what the columns and the data mean."""
    await desk.write(1_500, random.Random(2))
    (checkpoint,) = await desk.checkpoints([1_400])
    await export_log(desk.pool, desk.tenant_id, tmp_path, _ignore, events_per_file=PER_FILE)
    first, second = files_of(tmp_path)
    note = sign(checkpoint, [SIGNER])
    assert describe(first) == (desk.tenant_id, desk.origin, 1, 1_000, 1_000, note)
    assert describe(second) == (desk.tenant_id, desk.origin, 1_001, 1_500, 500, note)
    schema = pq.read_schema(second)
    types = {field.name: field.type for field in schema}
    assert types["recorded_at"] == types["effective_at"] == pa.timestamp("us", "UTC")
    assert types["leaf_hash"] == pa.binary(32)
    assert types["data"] == types["meta"] == pa.string()
    assert all(field.metadata[b"description"] for field in schema)
    schemas = msgspec.json.decode(schema.metadata[b"event_schemas"])
    assert schemas == msgspec.json.decode((tmp_path / "_schema.json").read_bytes())
    assert "StockReceived" in schemas["events"]


async def test_a_run_that_is_cancelled_is_gone_on_with(desk: Desk, tmp_path: Path) -> None:
    """Whole files are kept; none is there in part; its connection is not stuck."""
    await desk.write(5_000, random.Random(3))
    stop = asyncio.Event()

    def show(done: int, _total: int) -> None:
        if done > 2 * PER_FILE:
            stop.set()

    running = asyncio.create_task(
        export_log(desk.pool, desk.tenant_id, tmp_path, show, events_per_file=PER_FILE)
    )
    await stop.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    whole = [path.name for path in tmp_path.iterdir()]
    assert 2 <= len(whole) < 5
    assert all(name.endswith(".parquet") for name in whole)
    done = await export_log(desk.pool, desk.tenant_id, tmp_path, _ignore, events_per_file=PER_FILE)
    assert (done.before, done.events) == (len(whole) * PER_FILE, 5_000)
    await _is_exact(desk, tmp_path)


async def test_what_is_no_export_of_this_log_is_not_gone_on_with(
    desk: Desk, database: DatabaseAddress, tmp_path: Path
) -> None:
    """Another log's folder, a file with the same ending, a log that has become shorter."""
    await desk.write(1_200, random.Random(4))
    folder = tmp_path / "log"
    await export_log(desk.pool, desk.tenant_id, folder, _ignore, events_per_file=PER_FILE)
    other = await create_tenant(database)
    with pytest.raises(LookupError, match="nothing has been signed"):
        await export_log(desk.pool, other, tmp_path / "other", _ignore)
    async with tenant_transaction(desk.pool, other) as connection:
        await connection.execute("INSERT INTO proof.tree (tenant_id) VALUES ($1)", other)
    with pytest.raises(NoExport, match="name another folder"):
        await export_log(desk.pool, other, folder, _ignore)
    (folder / "log-000000000001.parquet").unlink()
    with pytest.raises(NoExport, match="does not go on at position 1"):
        await export_log(desk.pool, desk.tenant_id, folder, _ignore)
    (folder / "log-000000000001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(NoExport, match="no Parquet file"):
        await export_log(desk.pool, desk.tenant_id, folder, _ignore)


async def test_rows_are_checked_as_lines_are(desk: Desk, tmp_path: Path) -> None:
    """The same verdict on the same log, whichever it is written in; and every tampering found."""
    dice = random.Random(5)
    await desk.write(460, dice)
    checkpoints = await desk.checkpoints(range(10, 461, 10))
    await export_log(desk.pool, desk.tenant_id, tmp_path, _ignore, events_per_file=200)
    files = files_of(tmp_path)
    lines = [line_of(event_json(event), event.leaf_hash) for event in await desk.events()]
    assert check_parquet(files, checkpoints) == check_log(lines, checkpoints, desk.tenant_id)
    assert check_parquet(files, checkpoints).ok
    honest = pq.read_table(files[1])
    forged = tmp_path / "forged.parquet"
    for number in range(100):
        row = dice.randrange(1, honest.num_rows - 1)
        pq.write_table(_tampered(honest, row, dice), forged)
        is_last = number % 5 == 4
        checked = check_parquet(
            [files[0], forged] if is_last else [files[0], forged, files[2]], checkpoints
        )
        assert not checked.ok
        # Of an event that is there twice the first one is right.
        assert checked.signed <= 200 + row + 1
        first = checked.findings[0]
        assert first.file == "forged.parquet"
        assert first.line is not None
        assert abs(first.line - row - 1) <= 1
    assert not check_parquet(files[:2], checkpoints).ok
    assert not check_parquet([files[0], files[2]], checkpoints).ok
    assert not check_parquet([files[1], files[0], files[2]], checkpoints).ok


def _tampered(table: Any, row: int, dice: random.Random) -> Any:
    """Return a file's rows with one of them edited, taken out, doubled or moved."""
    rows = table.to_pylist()
    match dice.choice(["edit", "delete", "double", "swap", "empty"]):
        case "edit":
            name = dice.choice(["data", "meta", "type", "stream", "effective_at", "recorded_at"])
            other = rows[row - 1][name]
            rows[row][name] = (
                other if other != rows[row][name] else rows[row]["recorded_at"]
                if name.endswith("_at") else f"{other} "
            )  # fmt: skip
            if rows[row][name] == table.column(name)[row].as_py():
                rows[row]["version"] += 1
        case "delete":
            del rows[row]
        case "double":
            rows.insert(row, rows[row])
        case "swap":
            rows[row], rows[row + 1] = rows[row + 1], rows[row]
        case _:
            rows[row]["data"] = None
    return pa.Table.from_pylist(rows, schema=table.schema)


def test_what_is_no_log_is_told(tmp_path: Path) -> None:
    """Other columns, no rows, a file that was cut off, a folder with nothing in it."""
    checkpoint = Checkpoint("stockledger/x", 1, bytes(32))
    file = tmp_path / "a.parquet"
    with pytest.raises(ValueError, match="no Parquet file in there"):
        check_parquet(files_of(tmp_path), [checkpoint])
    pq.write_table(pa.table({"position": [1]}), file)
    with pytest.raises(ValueError, match="does not say its tenant"):
        check_parquet([file], [checkpoint])
    assert "no event can be read" in check_parquet([file], [checkpoint], 1).findings[0].fault
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is no Parquet file"):
        check_parquet([file], [checkpoint], 1)


def test_an_event_of_a_file_is_what_a_receipt_shows() -> None:
    """Both are read into the same fields."""
    wanted = {field.name for field in msgspec.structs.fields(ExportedEvent)}
    from api.exports.log import COLUMNS

    assert {column.name for column in COLUMNS} == wanted
