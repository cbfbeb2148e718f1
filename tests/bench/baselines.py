"""What the figures are measured against in the database itself, through asyncpg, durable.

All of it goes to ``bench.event``, a copy of the log's table with all columns, keys and checks,
on the same server as the log; without the log's trigger, row-level security and role.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from ledger.store import Connection

BATCH_EVENTS = 1_000
SCAN_BATCH_EVENTS = 2_000

PREPARE = """
CREATE SCHEMA bench;
CREATE TABLE bench.event (LIKE ledger.event INCLUDING ALL);
"""

_COLUMNS = """position, stream, version, type, schema_version, data::text, meta::text,
    effective_at, recorded_at, leaf_hash"""

_INSERT = """
INSERT INTO bench.event
    (tenant_id, position, stream, version, type, schema_version, data, meta, effective_at,
     recorded_at, leaf_hash)
SELECT $1, e.position, e.stream, e.version, e.type, e.schema_version, e.data::json,
       e.meta::json, e.effective_at, e.recorded_at, e.leaf_hash
FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::smallint[], $7::text[],
            $8::text[], $9::timestamptz[], $10::timestamptz[], $11::bytea[])
    AS e (position, stream, version, type, schema_version, data, meta, effective_at,
          recorded_at, leaf_hash)
"""
_INSERT_ONE = """
INSERT INTO bench.event
    (tenant_id, position, stream, version, type, schema_version, data, meta, effective_at,
     recorded_at, leaf_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8::text::json, $9, $10, $11)
"""

# The same rows can be inserted again as another tenant's: only then are their keys new.
_tenants = itertools.count(1_000_001)


class Batch(NamedTuple):
    """Event rows as columns, ready for unnest."""

    columns: tuple[Sequence[Any], ...]
    events: int


async def read_batches(connection: Connection, batches: int) -> list[Batch]:
    """Return the newest stock events of the log, whole batches of them."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM ledger.event WHERE type = 'StockAdjusted' "
        "ORDER BY position DESC LIMIT $1",
        batches * BATCH_EVENTS,
    )
    rows.reverse()
    found: list[Batch] = []
    for start in range(0, len(rows) - BATCH_EVENTS + 1, BATCH_EVENTS):
        part = rows[start : start + BATCH_EVENTS]
        found.append(Batch(tuple(zip(*map(tuple, part), strict=True)), BATCH_EVENTS))
    assert found, "there must be a batch of events in the log before it is measured"
    return found


async def insert_batches(
    administrator: Mapping[str, Any],
    batches: Sequence[Batch],
    seconds: float,
    *,
    connections: int = 1,
) -> float:
    """Insert batches one after another on each connection; return events a second."""

    async def insert_on(connection: Connection, until: float) -> int:
        statement = await connection.prepare(_INSERT)
        events = 0
        while True:
            tenant_id = next(_tenants)
            for batch in batches:
                await statement.fetch(tenant_id, *batch.columns)
                events += batch.events
                if time.perf_counter() >= until:
                    return events

    opened = [await asyncpg.connect(**administrator) for _ in range(connections)]
    try:
        began = time.perf_counter()
        events = await asyncio.gather(*(insert_on(c, began + seconds) for c in opened))
        elapsed = time.perf_counter() - began
    finally:
        for connection in opened:
            await connection.close()
    return sum(events) / elapsed


async def insert_one_by_one(
    administrator: Mapping[str, Any], batch: Batch, seconds: float
) -> float:
    """Insert one event row and commit, over and over; return the median time in ms."""
    connection = await asyncpg.connect(**administrator)
    try:
        statement = await connection.prepare(_INSERT_ONE)
        rows = list(zip(*batch.columns, strict=True))
        taken: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            tenant_id = next(_tenants)
            for row in rows:
                began = time.perf_counter()
                await statement.fetch(tenant_id, *row)
                now = time.perf_counter()
                taken.append(now - began)
                if now >= until:
                    break
    finally:
        await connection.close()
    return statistics.median(taken) * 1000


async def scan(administrator: Mapping[str, Any]) -> float:
    """Read the whole log in batches with a cursor and do nothing; return events a second."""
    connection = await asyncpg.connect(**administrator)
    try:
        events = 0
        began = time.perf_counter()
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor(
                f"SELECT tenant_id, {_COLUMNS} FROM ledger.event ORDER BY tenant_id, position"
            )
            while rows := await cursor.fetch(SCAN_BATCH_EVENTS):
                events += len(rows)
        return events / (time.perf_counter() - began)
    finally:
        await connection.close()


async def clear(administrator: Mapping[str, Any]) -> None:
    """Empty the copy of the table, so that it does not grow from round to round."""
    connection = await asyncpg.connect(**administrator)
    try:
        await connection.execute("TRUNCATE bench.event")
    finally:
        await connection.close()
