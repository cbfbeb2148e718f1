"""`stockledger export tables`: the analysts' views in a folder, at one position, brought on."""

import asyncio
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.exports.columns import DECIMAL_DIGITS_MAX
from api.exports.tables import GROWING, tables_of
from deploy.address import DatabaseAddress
from deploy.parquet_log import NoExport
from deploy.parquet_tables import Manifest, export_tables, read_manifest
from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.following import _catch_up
from tests.proof.rig import Desk, Ledger
from tests.proof.test_relay_consumer import CODES, SKUS, load
from tests.support.postgres import create_tenant


class Shop:
    """A tenant that trades, and its tables in a folder."""

    def __init__(self, pool: Pool, desk: Desk, folder: Path) -> None:
        self.pool = pool
        self.desk = desk
        self.folder = folder
        self.dice = random.Random(8)

    async def trade(self, commits: int) -> None:
        """Commit groups of random commands, and let the read models follow."""
        await load(self.desk, self.dice, commits)
        await self.follow()

    async def follow(self) -> None:
        """Bring the read models to the head."""
        await _catch_up(self.pool, Engine().following, self.desk.tenant_id)

    async def export(self, folder: Path | None = None, **options: Any) -> Manifest:
        """Run the export."""
        where = folder or self.folder
        manifest, written = await export_tables(
            self.pool, self.desk.tenant_id, where, lambda _name, _done: None, **options
        )
        assert set(written) == set(manifest.tables)
        assert read_manifest(where) == manifest
        named = {file.path for table in manifest.tables.values() for file in table.files}
        there = {path.relative_to(where).as_posix() for path in where.rglob("*.parquet")}
        assert named == there
        assert not list(where.rglob("*.unfinished"))
        return manifest

    async def view(self, name: str) -> list[tuple[Any, ...]]:
        """Return a view's rows, as the database has them."""
        async with tenant_transaction(self.pool, self.desk.tenant_id) as connection:
            columns = (await tables_of(connection))[name].columns
            wanted = ", ".join(
                f'"{c.name}"::text' if pa.types.is_string(c.type) else f'"{c.name}"'
                for c in columns
            )
            rows = await connection.fetch(f"SELECT {wanted} FROM analysis.{name}")
            return sorted((tuple(row) for row in rows), key=repr)


def asked(query: str) -> list[Any]:
    """Return what DuckDB answers."""
    return duckdb.execute(query).fetchall()


def rows_of(folder: Path, manifest: Manifest, name: str) -> list[tuple[Any, ...]]:
    """Return a table's rows, as its files have them."""
    found: list[tuple[Any, ...]] = []
    for file in manifest.tables[name].files:
        table = pq.ParquetFile(folder / file.path).read()
        assert table.num_rows == file.rows
        assert table.schema.metadata[b"table"] == name.encode()
        found += [tuple(row.values()) for row in table.to_pylist()]
    return sorted(found, key=repr)


@pytest.fixture
async def shop(database: DatabaseAddress, pool: Pool, tmp_path: Path) -> Any:
    """A shop with three products in two places."""
    ledger = Ledger(database)
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop(SKUS, CODES)
        yield Shop(pool, desk, tmp_path / "tables")


async def test_files_hold_the_views_to_the_last_digit(shop: Shop) -> None:
    """All views, all rows, all values; decimals as decimals, times in UTC, texts as they are."""
    await shop.trade(15)
    manifest = await shop.export()
    assert len(manifest.tables) > 15
    for name, table in manifest.tables.items():
        expected = await shop.view(name)
        assert table.rows == len(expected)
        assert rows_of(shop.folder, manifest, name) == expected
        for column in table.columns:
            assert column["description"], (name, column)
            assert "double" not in column["type"]
    stock = pq.read_table(shop.folder / manifest.tables["stock_level"].files[0].path)
    assert stock.schema.field("on_hand").type == pa.decimal128(30, 6)
    assert stock.schema.metadata[b"position"] == str(manifest.position).encode()
    assert stock.schema.field("on_hand").metadata[b"description"]


async def test_a_second_run_adds_what_is_new_and_replaces_the_rest(shop: Shop) -> None:
    """What it leaves is what a run into an empty folder makes; files of what grows stay."""
    await shop.trade(10)
    first = await shop.export()
    await shop.trade(10)
    second = await shop.export()
    assert second.position > first.position
    for name in second.tables:
        assert rows_of(shop.folder, second, name) == await shop.view(name)
        old, new = first.tables[name].files, second.tables[name].files
        if name in GROWING:
            assert new[: len(old)] == old
            assert len(new) > len(old)
        else:
            assert not set(old) & set(new)
    again = await shop.export()
    assert again.position == second.position
    for name in GROWING:
        assert again.tables[name].files == second.tables[name].files


async def test_what_grows_is_kept_by_month_and_in_files_of_bounded_size(shop: Shop) -> None:
    """A folder a month, as hive has it, which DuckDB knows to read."""
    await shop.trade(10)
    manifest = await shop.export(rows_per_file=20)
    files = manifest.tables["event"].files
    assert len(files) > 3
    assert all(file.rows <= 20 for file in files)
    assert sum(file.rows for file in files) == manifest.tables["event"].rows == manifest.position
    assert all(file.path.startswith("event/recorded_month=20") for file in files)
    months = asked(
        f"SELECT recorded_month, count(*) FROM '{shop.folder}/event/*/*.parquet' GROUP BY ALL"
    )
    assert sum(count for _, count in months) == manifest.position
    assert all(len(str(month)) == 7 for month, _ in months)


async def test_all_tables_are_at_one_position_while_the_shop_trades(shop: Shop) -> None:
    """Stock is the sum of the movements in the same folder, run after run under load."""
    await shop.trade(5)
    trading = asyncio.create_task(load(shop.desk, shop.dice, 200))
    runs = 0
    while not trading.done():
        await shop.follow()
        manifest = await shop.export(names=["event", "movement", "stock_level"])
        events = rows_of(shop.folder, manifest, "event")
        assert sorted(row[0] for row in events) == [*range(1, manifest.position + 1)]
        moved = asked(
            f"""
            WITH leg AS (
                SELECT product_id, coalesce(to_location_id, location_id) AS place, to_account AS
                       account, quantity FROM '{shop.folder}/movement/*/*.parquet'
                UNION ALL
                SELECT product_id, coalesce(from_location_id, location_id), from_account, -quantity
                FROM '{shop.folder}/movement/*/*.parquet'
            )
            SELECT product_id, place, sum(quantity) FROM leg WHERE account = 'unrestricted'
            GROUP BY ALL HAVING sum(quantity) <> 0
            """
        )
        stock = asked(
            f"SELECT product_id, location_id, unrestricted"
            f" FROM '{shop.folder}/stock_level/*.parquet' WHERE unrestricted <> 0"
        )
        assert sorted(moved) == sorted(stock)
        runs += 1
    await trading
    assert runs >= 3


async def test_a_run_that_was_killed_is_as_if_it_had_not_been(shop: Shop) -> None:
    """Before the manifest is replaced, the folder is what the manifest says; then it goes on."""
    await shop.trade(10)
    before = await shop.export()
    rows = {name: rows_of(shop.folder, before, name) for name in before.tables}
    await shop.trade(10)
    seen: list[str] = []

    def show(name: str, _done: int) -> None:
        seen.append(name)
        if len(set(seen)) == 9:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await export_tables(shop.pool, shop.desk.tenant_id, shop.folder, show)
    assert len(list(shop.folder.rglob("*.parquet"))) > sum(
        len(table.files) for table in before.tables.values()
    )
    assert read_manifest(shop.folder) == before
    for name, expected in rows.items():
        assert rows_of(shop.folder, before, name) == expected
    after = await shop.export()
    for name in after.tables:
        assert rows_of(shop.folder, after, name) == await shop.view(name)


async def test_tables_that_are_named_and_positions_to_begin_behind(shop: Shop) -> None:
    """Only these; a folder's tables stay together; since holds for what grows."""
    await shop.trade(5)
    manifest = await shop.export(names=["movement"], since=10)
    assert set(manifest.tables) == {"movement"}
    behind = [row for row in await shop.view("movement") if row[0] > 10]
    assert rows_of(shop.folder, manifest, "movement") == behind
    await shop.trade(5)
    more = await shop.export(names=["stock_level"])
    assert set(more.tables) == {"movement", "stock_level"}
    behind = [row for row in await shop.view("movement") if row[0] > 10]
    assert rows_of(shop.folder, more, "movement") == behind
    with pytest.raises(NoExport, match="begins behind position 10"):
        await shop.export(since=11)
    with pytest.raises(LookupError, match="there is no table 'stock'; there are: cogs_by_day"):
        await shop.export(names=["stock"])


async def test_a_folder_of_something_else_is_left_alone(
    shop: Shop, database: DatabaseAddress
) -> None:
    """Another tenant's, another log's, or just files."""
    await shop.trade(2)
    manifest = await shop.export(names=["event"])
    own, other = shop.desk.tenant_id, await create_tenant(database)
    shop.desk.tenant_id = other
    with pytest.raises(NoExport, match="is of tenant"):
        await shop.export()
    shop.desk.tenant_id = own
    changed = msgspec.structs.replace(manifest, leaf_hash="00" * 32)
    (shop.folder / "manifest.json").write_bytes(msgspec.json.encode(changed))
    with pytest.raises(NoExport, match="no longer the one"):
        await shop.export()
    (shop.folder / "manifest.json").write_text("{}")
    with pytest.raises(NoExport, match="no manifest of tables"):
        await shop.export()
    photos = shop.folder.with_name("photos")
    photos.mkdir()
    (photos / "me.png").write_bytes(b"")
    with pytest.raises(NoExport, match=r"holds me\.png"):
        await shop.export(photos)


async def test_every_amount_of_the_views_fits_what_analysts_read(shop: Shop) -> None:
    """No numeric without precision, and none that DuckDB or polars would make a float of."""
    async with tenant_transaction(shop.pool, shop.desk.tenant_id) as connection:
        rows = await connection.fetch(
            """
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'analysis'::regnamespace AND a.atttypid = 'numeric'::regtype
            """
        )
    assert len(rows) > 30
    for row in rows:
        precision = row["type"].removeprefix("numeric(").partition(",")[0]
        assert precision.isdigit(), tuple(row)
        assert Decimal(precision) <= DECIMAL_DIGITS_MAX, tuple(row)
