"""The log of inbound webhooks: switched on and off by a tenant, read by day, kept for a time.

It is for setting an outside system up and for finding out what it sends. A request whose secret
is not valid belongs to no tenant, and is in no log.
"""

import os
import re
import time
from collections.abc import AsyncGenerator
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import structlog
from asyncpg import PostgresError, Record

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Media, Routes, query
from api.problems import Problem
from api.query import LIMIT, PAGE, Parameter
from api.reads import answer, reading
from api.reply import Reply, StreamReply, encode
from api.writes import json_body
from ledger.session import CONNECTION_LOST
from ledger.store import tenant_transaction
from schemas.http_woocommerce import (
    WebhookLogReply,
    WebhookLogRow,
    WebhookLogSwitchBody,
    WebhookLogSwitchReply,
)

routes = Routes("Inbound webhooks")

HEAD_BYTES: Final = 2_000
TEXT_ROWS: Final = 500
_MASK: Final = b"***"
_SECRET_LENGTH_MIN: Final = 8
_FILE: Final = re.compile(r"mulopimfwc-webhook-log-([0-9]{4}-[0-9]{2}-[0-9]{2})\.log")

log = structlog.get_logger("stockledger.api")

# --- writing ----------------------------------------------------------------------------

_INSERT: Final = """
INSERT INTO access.webhook_log (tenant_id, log_id, received_at, key_id, path, status_code,
                                duration_ms, request_bytes, response_bytes, ip_address,
                                request_head, response_head)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
FROM access.webhook_log_switch WHERE tenant_id = $1 AND enabled
"""


class Received(NamedTuple):
    """One request as it came: when, and its body as far as that was read."""

    at: datetime
    started: float
    body: bytes


class _Ids:
    """Ids that go up with the time, and are not given out twice by the processes of a machine."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return one: microseconds since 1970, then three digits of the process's own."""
        self._last = max(self._last + 1, time.time_ns() // 1_000)
        return self._last * 1_000 + os.getpid() % 1_000


_IDS: Final = _Ids()


async def note(call: Call, received: Received, reply: Reply) -> None:
    """Keep a request and its answer, where the caller's tenant has the log switched on.

    That it cannot be kept is no reason to refuse it: its answer stands.
    """
    caller = call.caller
    secret = call.headers.get(b"x-webhook-secret", b"")
    values = (
        _IDS.next(),
        received.at,
        caller.id,
        call.scope["path"],
        reply.status,
        int((time.perf_counter() - received.started) * 1_000),
        len(received.body),
        len(reply.body),
        call.address,
        _head(received.body, secret),
        _head(reply.body, secret),
    )
    try:
        async with tenant_transaction(call.house.pool, caller.tenant_id) as connection:
            await connection.execute(_INSERT, caller.tenant_id, *values)
    except (PostgresError, *CONNECTION_LOST) as fault:
        log.warning("inbound webhook not logged", fault=type(fault).__name__)


def _head(body: bytes, secret: bytes) -> str:
    """Return the first bytes of a body as text, without the secret, should it be in there."""
    if len(secret) >= _SECRET_LENGTH_MIN:
        body = body.replace(secret, _MASK)
    return body[:HEAD_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")


# --- the switch -------------------------------------------------------------------------

_SWITCH: Final = BodyDecoder(WebhookLogSwitchBody)
_READ_SWITCH: Final = """
SELECT enabled, changed_at, changed_by FROM access.webhook_log_switch WHERE tenant_id = $1
"""
_SET_SWITCH: Final = """
INSERT INTO access.webhook_log_switch (tenant_id, enabled, changed_at, changed_by)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id) DO UPDATE
SET enabled = excluded.enabled, changed_at = excluded.changed_at, changed_by = excluded.changed_by
WHERE webhook_log_switch.enabled <> excluded.enabled
"""


@routes.add(
    "GET",
    "/api/webhook-log/switch",
    "Whether inbound webhooks are logged",
    role="admin",
    scope=None,
    replies={200: WebhookLogSwitchReply},
)
async def read_switch(call: Call) -> Reply:
    """Whether inbound webhooks are logged; they are not until that is switched on."""
    async with reading(call) as read:
        row = await read.connection.fetchrow(_READ_SWITCH, read.tenant_id)
    return answer(_switch(row), read.position)


@routes.add(
    "PUT",
    "/api/webhook-log/switch",
    "Switch the log of inbound webhooks on or off",
    role="admin",
    scope=None,
    body=WebhookLogSwitchBody,
    replies={200: WebhookLogSwitchReply},
)
async def set_switch(call: Call) -> Reply:
    """Log inbound webhooks from now on, or no more. What has been logged stays for its time. It
    changes no event, so it takes no Idempotency-Key: sent again, it is so already."""
    body = _SWITCH.decode(await json_body(call))
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        await connection.execute(
            _SET_SWITCH, caller.tenant_id, body.enabled, call.house.now(), caller.actor
        )
        row = await connection.fetchrow(_READ_SWITCH, caller.tenant_id)
    return Reply(200, encode(_switch(row)))


def _switch(row: Record | None) -> WebhookLogSwitchReply:
    if row is None:
        return WebhookLogSwitchReply(enabled=False, changed_at=None, changed_by=None)
    return WebhookLogSwitchReply(**row)


# --- reading ----------------------------------------------------------------------------

_DATE: Final = Parameter("date", "date", "The day, in UTC; today if not said")
_LOG_PARAMETERS: Final = (_DATE, PAGE, LIMIT)
_OF_DAY: Final = "tenant_id = $1 AND received_at >= $2 AND received_at < $3"
_PAGE: Final = f"""
SELECT * FROM access.webhook_log WHERE {_OF_DAY}
ORDER BY received_at, log_id LIMIT $4 OFFSET $5
"""
_COUNT: Final = f"SELECT count(*) FROM access.webhook_log WHERE {_OF_DAY}"
_AFTER: Final = f"""
SELECT * FROM access.webhook_log WHERE {_OF_DAY} AND (received_at, log_id) > ($4, $5)
ORDER BY received_at, log_id LIMIT $6
"""


@routes.add(
    "GET",
    "/api/webhook-log",
    "Inbound webhook requests of a day",
    role="admin",
    scope=None,
    parameters=_LOG_PARAMETERS,
    replies={200: WebhookLogReply},
)
async def list_log(call: Call) -> Reply:
    """The requests of one day, in UTC, in the order in which they came. Sizes are in bytes."""
    values = query(call, _LOG_PARAMETERS)
    page, limit = values["page"], values["limit"]
    day: date = values["date"] or call.house.now().date()
    begin, end = _bounds(day)
    async with reading(call) as read:
        connection, tenant_id = read.connection, read.tenant_id
        rows = await connection.fetch(_PAGE, tenant_id, begin, end, limit, (page - 1) * limit)
        total = await connection.fetchval(_COUNT, tenant_id, begin, end) or 0
        switch = await connection.fetchrow(_READ_SWITCH, tenant_id)
    reply = WebhookLogReply(
        date=day.isoformat(),
        enabled=_switch(switch).enabled,
        entries=[_row(row) for row in rows],
        total=total,
        page=page,
        limit=limit,
    )
    return answer(reply, read.position)


def _bounds(day: date) -> tuple[datetime, datetime]:
    """Return when a day begins and ends, in UTC; raise Problem (400) for one out of bounds."""
    if not date(1970, 1, 1) <= day < date(2200, 1, 1):
        raise Problem("invalid_parameter", "date: must be a day from 1970 to 2199.", field="date")
    begin = datetime.combine(day, datetime.min.time(), UTC)
    return begin, begin + timedelta(days=1)


def _row(row: Record) -> WebhookLogRow:
    return WebhookLogRow(
        id=row["log_id"],
        received_at=row["received_at"],
        api_key_id=row["key_id"],
        path=row["path"],
        status=row["status_code"],
        duration_ms=row["duration_ms"],
        request_bytes=row["request_bytes"],
        response_bytes=row["response_bytes"],
        ip_address=row["ip_address"],
        request_head=row["request_head"],
        response_head=row["response_head"],
    )


@routes.add(
    "GET",
    "/wp-content/uploads/{name}",
    "Inbound webhook requests of a day, as a text file",
    role="admin",
    scope=None,
    replies={200: Media("text/plain; charset=utf-8")},
)
async def text_of_day(call: Call) -> Reply:
    """The log of a day as text, under the name that the WooCommerce plugin gives it:
    mulopimfwc-webhook-log-YYYY-MM-DD.log. A day without requests is an empty file."""
    match = _FILE.fullmatch(call.path_params["name"])
    try:
        day = None if match is None else date.fromisoformat(match[1])
    except ValueError:
        day = None
    if day is None:
        raise Problem(
            "not_found",
            "There is no such file; the log of a day is mulopimfwc-webhook-log-YYYY-MM-DD.log.",
        )
    begin, end = _bounds(day)
    first = await _read_after(call, begin, end, (begin, 0))
    return StreamReply(_lines(call, begin, end, first), b"text/plain; charset=utf-8")


async def _read_after(
    call: Call, begin: datetime, end: datetime, after: tuple[datetime, int]
) -> list[Record]:
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        return await connection.fetch(_AFTER, caller.tenant_id, begin, end, *after, TEXT_ROWS)


async def _lines(
    call: Call, begin: datetime, end: datetime, rows: list[Record]
) -> AsyncGenerator[bytes, None]:
    """Yield the file page by page; no connection is held while the client reads."""
    while rows:
        yield "".join(_text(row) for row in rows).encode()
        if len(rows) < TEXT_ROWS:
            return
        after = rows[-1]["received_at"], rows[-1]["log_id"]
        rows = await _read_after(call, begin, end, after)


def _text(row: Record) -> str:
    """Return a request's lines; bodies are JSON strings, so that none can look like a line."""
    request, response = (
        msgspec.json.encode(row[name]).decode() for name in ("request_head", "response_head")
    )
    return (
        f"[{row['received_at'].isoformat()}] {row['status_code']} POST {row['path']} "
        f"key {row['key_id']} from {row['ip_address']} in {row['duration_ms']} ms\n"
        f"  {row['request_bytes']} bytes in: {request}\n"
        f"  {row['response_bytes']} bytes out: {response}\n"
    )
