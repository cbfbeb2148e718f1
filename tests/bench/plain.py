"""The plain handler: what one writes without a ledger. One request, one transaction.

Lock the stock row, check it, insert an event row, update the stock row. It has the same
framework, HTTP server, driver, database server and request bodies as the service, and a pool
of 16 connections. It has none of authentication, idempotency keys, history that can be
proved, or further read models; its pool resets nothing on release, which saves it a round trip
a request over asyncpg's own default. So the comparison leans its way.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
from litestar import Litestar, Request, Response, post

from ledger.store import Pool

DSN_VARIABLE = "BENCH_PLAIN_DATABASE"
POOL_SIZE = 16

SCHEMA = """
CREATE TABLE stock (
    product_id  bigint NOT NULL,
    location_id bigint NOT NULL,
    sku         text NOT NULL UNIQUE,
    quantity    numeric(18,6) NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (product_id, location_id)
);
CREATE TABLE event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id  bigint NOT NULL,
    location_id bigint NOT NULL,
    type        text NOT NULL,
    data        json NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX event_by_stock ON event (product_id, location_id);
"""

_LOCK = "SELECT quantity FROM stock WHERE product_id = $1 AND location_id = $2 FOR UPDATE"
_FIND = "SELECT sku, product_id, location_id FROM stock WHERE sku = ANY ($1::text[])"
_RECORD = """
INSERT INTO event (product_id, location_id, type, data, recorded_at)
VALUES ($1, $2, 'StockAdjusted', $3, $4)
"""
_UPDATE = """
UPDATE stock SET quantity = quantity + $3 WHERE product_id = $1 AND location_id = $2
"""


class Adjustment(msgspec.Struct):
    """The body of one adjustment."""

    product_id: int
    warehouse_id: int
    quantity: Decimal


class BulkData(msgspec.Struct):
    """One adjustment of a bulk request."""

    sku: str
    location: str
    quantity: Decimal


class BulkCommand(msgspec.Struct):
    """One command of a bulk request."""

    type: str
    data: BulkData


class Bulk(msgspec.Struct):
    """The body of a bulk request."""

    mode: str
    commands: list[BulkCommand]


_decode = msgspec.json.Decoder(Adjustment).decode
_decode_bulk = msgspec.json.Decoder(Bulk).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def _answer(value: object, status: int = 200) -> Response[bytes]:
    return Response(_encode(value), status_code=status, media_type="application/json")


@post("/adjust", status_code=200)
async def adjust(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Adjust one stock figure."""
    body = await request.body()
    wanted = _decode(body)
    pool: Pool = request.app.state.pool
    async with pool.acquire() as connection, connection.transaction():
        on_hand = await connection.fetchval(_LOCK, wanted.product_id, wanted.warehouse_id)
        if on_hand is None:
            return _answer({"error": "no such stock"}, 404)
        if on_hand + wanted.quantity < 0:
            return _answer({"error": "not enough stock"}, 409)
        await connection.execute(
            _RECORD, wanted.product_id, wanted.warehouse_id, body.decode(), datetime.now(UTC)
        )
        await connection.execute(_UPDATE, wanted.product_id, wanted.warehouse_id, wanted.quantity)
    return _answer({"message": "adjusted", "new_quantity": on_hand + wanted.quantity})


@post("/bulk", status_code=200)
async def bulk(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Adjust many stock figures in one transaction: each of the three statements by executemany.

    The rows are locked in one order, so that two requests do not wait for each other; that no
    figure goes below zero is left to the table's check.
    """
    wanted = _decode_bulk(await request.body()).commands
    pool: Pool = request.app.state.pool
    now = datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_FIND, list({command.data.sku for command in wanted}))
        place = {sku: (product_id, location_id) for sku, product_id, location_id in rows}
        try:
            changes = [(*place[command.data.sku], command.data) for command in wanted]
        except KeyError as missing:
            return _answer({"error": "no such stock", "sku": missing.args[0]}, 404)
        await connection.executemany(_LOCK, sorted((*change[:2],) for change in changes))
        await connection.executemany(
            _RECORD,
            [
                (product, location, _encode(data).decode(), now)
                for product, location, data in changes
            ],
        )
        await connection.executemany(
            _UPDATE, [(product, location, data.quantity) for product, location, data in changes]
        )
    return _answer({"results": [{"status": "accepted"}] * len(wanted)})


@asynccontextmanager
async def database(application: Litestar) -> AsyncGenerator[None]:
    """Hold the pool while the server runs."""

    async def no_reset(_connection: object) -> None:
        return None

    parameters = msgspec.json.decode(os.environ[DSN_VARIABLE])
    async with asyncpg.create_pool(
        **parameters, min_size=POOL_SIZE, max_size=POOL_SIZE, reset=no_reset
    ) as pool:
        application.state.pool = pool
        yield


app = Litestar([adjust, bulk], lifespan=[database], openapi_config=None)
