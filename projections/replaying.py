"""Replaying the log into read models and states: a stream's, a product's, or all there are.

Everything is folded afresh by the ordinary folds, into the session's temporary tables; nothing is
read from the live ones but which ids a product's lots and serials have, which never changes.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from asyncpg import Record

from ledger.mapper import EVENT_TYPES
from ledger.replaying import Replay, Replayed, state_json
from projections.explaining import rows_at
from projections.figures import Figure, ReadModel, Row, read_models, row_of, tables
from projections.locations import Locations
from projections.lots import Lots
from projections.past import (
    PAST,
    Moment,
    Streams,
    empty_tables,
    fold_batch,
    past,
    read_past,
)
from projections.products import Products
from projections.projection import Connection
from projections.reach import rows_of_stream
from projections.serials import Serials
from projections.stock_levels import StockLevels
from projections.valuation import Valuation
from projections.valuation_queries import inventory_value

STATES_FILE: Final = "states.ndjson"
MANIFEST_FILE: Final = "replay.json"
CURSOR_ROWS: Final = 1_000
_SAVED: Final = "before_replaying"

Progress = Callable[[int, int], None]
"""Called with the position that is folded, and the one to be reached."""


class StreamReplay(NamedTuple):
    """A stream's state (None: it has no event by then), and its rows of each read model."""

    state: Replayed | None
    rows: Mapping[str, Sequence[Row]]


class ItemReplay(NamedTuple):
    """A product: what is said of it, its stock, and what that is worth."""

    product: Row | None
    levels: Sequence[Row]
    reservations: Sequence[Row]
    lots: Sequence[Row]
    serials: Sequence[Row]
    value: Sequence[Row]


class TableFile(NamedTuple):
    """A file that was written: its table, its projection, and how many rows it has."""

    table: str
    projection: str
    rows: int


async def replay_stream(
    connection: Connection, tenant_id: int, stream: str, moment: Moment
) -> StreamReplay:
    """Return what one stream came to by a moment."""
    replay = Replay()
    async for batch in read_past(
        connection, tenant_id, moment, frozenset(EVENT_TYPES), Streams([stream])
    ):
        for event in batch.events:
            replay.take(event)
    wanted = rows_of_stream(stream)
    models = await read_models(connection, list(wanted))
    rows = {
        table: await rows_at(connection, tenant_id, Figure(models[table], key), moment)
        for table, key in wanted.items()
        if table in models
    }
    return StreamReplay(replay.states[0] if replay.states else None, rows)


async def replay_item(
    connection: Connection,
    tenant_id: int,
    product_id: int,
    location_id: int | None,
    moment: Moment,
) -> ItemReplay:
    """Return what a product's stock was at a moment, everywhere or at one location."""
    lots = await _ids(connection, tenant_id, "lot", product_id)
    serials = await _ids(connection, tenant_id, "serial", product_id)
    streams = Streams(
        [
            f"product-{product_id}",
            *(f"lot-{each}" for each in lots),
            *(f"serial-{each}" for each in serials),
        ],
        [f"stock-{product_id}-", "location-", "books-"],
    )
    projections = [StockLevels(), Products(), Locations(), Lots(), Serials(), Valuation()]
    async with past(connection, tenant_id, moment, projections, streams) as then:

        async def rows(query: str) -> list[Row]:
            found = await then.fetch(query, tenant_id, product_id, location_id)
            return [_plain(row) for row in found]

        value = await inventory_value(then, tenant_id, date.max, product_id=product_id)
        product = await rows(_PRODUCT)
        return ItemReplay(
            product[0] if product else None,
            await rows(_LEVELS),
            await rows(_RESERVATIONS),
            await rows(_LOTS),
            await rows(_SERIALS),
            [
                each._asdict()
                for each in value
                if location_id is None or each.location_id == location_id
            ],
        )


async def replay_all(
    connection: Connection,
    tenant_id: int,
    moment: Moment,
    folder: Path,
    progress: Progress,
) -> list[TableFile]:
    """Fold the whole log up to a moment; write every table and every stream's state to a folder.

    A table's file has a JSON object a line, in the order of its key, with decimals as strings.
    """
    projections = list(dict.fromkeys(tables().values()))
    await empty_tables(connection, projections)
    await connection.execute(f"SAVEPOINT {_SAVED}")
    replay = Replay()
    async for batch in read_past(connection, tenant_id, moment, frozenset(EVENT_TYPES)):
        await fold_batch(connection, PAST, tenant_id, projections, batch)
        for event in batch.events:
            replay.take(event)
        progress(batch.last, moment.position)
    progress(moment.position, moment.position)
    models = await read_models(connection, list(tables()))
    folder.mkdir(parents=True, exist_ok=True)
    written: list[TableFile] = []
    for table, projection in tables().items():
        count = 0
        with (folder / f"{table}.ndjson").open("wb") as file:
            async for row in _table_rows(connection, tenant_id, models[table]):
                file.write(msgspec.json.encode(row) + b"\n")
                count += 1
        written.append(TableFile(table, projection.name, count))
    states = replay.states
    with (folder / STATES_FILE).open("wb") as file:
        file.writelines(state_json(state) + b"\n" for state in states)
    manifest = {
        "tenant_id": tenant_id,
        "position": moment.position,
        "as_of": moment.as_of,
        "streams": len(states),
        "tables": {
            each.table: {"projection": each.projection, "rows": each.rows} for each in written
        },
    }
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    # What was folded is not kept; after an error the whole transaction is rolled back.
    await connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVED}; RELEASE SAVEPOINT {_SAVED}")
    return written


async def _table_rows(
    connection: Connection, tenant_id: int, model: ReadModel
) -> AsyncGenerator[Row]:
    order = ", ".join(model.key) or "tenant_id"
    query = f"""
        SELECT {", ".join(model.columns)} FROM {PAST}.{model.table} WHERE tenant_id = $1
        ORDER BY {order}
    """
    async for record in connection.cursor(query, tenant_id, prefetch=CURSOR_ROWS):
        yield row_of(model, record)


async def _ids(connection: Connection, tenant_id: int, thing: str, product_id: int) -> list[int]:
    rows = await connection.fetch(
        f"""
        SELECT {thing}_id FROM projections.{thing}
        WHERE tenant_id = $1 AND product_id = $2 ORDER BY 1
        """,
        tenant_id,
        product_id,
    )
    return [row[0] for row in rows]


def _plain(row: Record) -> dict[str, Any]:
    return dict(row.items())


_PRODUCT: Final = """
SELECT product_id, sku, name, unit, scale FROM projections.product
WHERE tenant_id = $1 AND product_id = $2 AND ($3::bigint IS NULL OR TRUE)
"""
_LEVELS: Final = """
SELECT w.code AS location, l.location_id, trim_scale(l.unrestricted + l.quarantine) AS on_hand,
       trim_scale(l.reserved) AS reserved,
       trim_scale(l.unrestricted - l.reserved) AS available,
       trim_scale(l.quarantine) AS quarantine, trim_scale(l.in_transit) AS in_transit,
       l.movements, l.version, l.position
FROM projections.stock_level l
LEFT JOIN projections.location w USING (tenant_id, location_id)
WHERE l.tenant_id = $1 AND l.product_id = $2 AND ($3::bigint IS NULL OR l.location_id = $3)
ORDER BY l.location_id
"""
_RESERVATIONS: Final = """
SELECT w.code AS location, r.location_id, r.reservation_id, r.owner,
       trim_scale(r.reserved) AS reserved, trim_scale(r.quantity_left) AS quantity_left,
       r.expires_at, r.created_at, r.position
FROM projections.reservation r
LEFT JOIN projections.location w USING (tenant_id, location_id)
WHERE r.tenant_id = $1 AND r.product_id = $2 AND ($3::bigint IS NULL OR r.location_id = $3)
ORDER BY r.location_id, r.reservation_id
"""
_LOTS: Final = """
SELECT b.lot, b.lot_id, w.code AS location, v.location_id, b.expiry_date,
       trim_scale(v.unrestricted + v.quarantine) AS on_hand,
       trim_scale(v.quarantine) AS quarantine, trim_scale(v.in_transit) AS in_transit
FROM projections.lot b
JOIN projections.lot_level v USING (tenant_id, lot_id)
LEFT JOIN projections.location w USING (tenant_id, location_id)
WHERE b.tenant_id = $1 AND b.product_id = $2 AND ($3::bigint IS NULL OR v.location_id = $3)
ORDER BY b.lot_id, v.location_id
"""
_SERIALS: Final = """
SELECT s.*, w.code AS location FROM projections.serial s
LEFT JOIN projections.location w USING (tenant_id, location_id)
WHERE s.tenant_id = $1 AND s.product_id = $2 AND ($3::bigint IS NULL OR s.location_id = $3)
ORDER BY s.serial_id
"""
