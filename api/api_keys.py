"""API keys: made, listed, revoked, and what they were used for (seed 003, "API Keys")."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

import msgspec
from asyncpg import Record

from api.context import Call
from api.credentials import hash_api_key, key_prefix, masked, new_api_key
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, PAGE, Parameter
from api.reads import answer, path_id, reading
from api.reply import Reply, encode
from api.writes import commit, json_body, made, no_body, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from schemas.access import (
    ApiKeyCreated,
    ApiKeyRotated,
    RecordApiKeyCreated,
    RevokeApiKey,
    RotateApiKey,
    Scope,
)
from schemas.http_access import (
    ApiKeyBody,
    ApiKeyCreatedReply,
    ApiKeyLogReply,
    ApiKeyReply,
    ApiKeysReply,
    ApiKeyUseReply,
)
from schemas.http_common import MessageReply

routes = Routes("API keys")

KEYS_MAX: Final = 1000
ATTEMPTS_MAX: Final = 3
_ID_TAKEN: Final = 409
_BODY = BodyDecoder(ApiKeyBody)

_LIST = """
SELECT key_id, name, key_prefix, permissions, last_used_at, expires_at, revoked_at, created_at,
       rotated_at, previous_valid_until
FROM access.api_key WHERE tenant_id = $1 ORDER BY key_id LIMIT $2 OFFSET $3
"""

_COUNT = "SELECT count(*) FROM access.api_key WHERE tenant_id = $1"


@routes.add(
    "GET",
    "/api/api-keys",
    "List API keys",
    role="admin",
    scope=None,
    replies={200: ApiKeysReply},
)
async def list_keys(call: Call) -> Reply:
    """All keys of the tenant, those revoked too. No key is ever shown again."""
    now = call.house.now()
    rows, _, position = await listed(call, KEYS_MAX, 0)
    keys = [
        ApiKeyReply(
            id=row["key_id"],
            name=row["name"],
            key_prefix=row["key_prefix"],
            permissions=row["permissions"],
            last_used_at=row["last_used_at"],
            expires_at=row["expires_at"],
            is_active=is_active(row, now),
            created_at=row["created_at"],
        )
        for row in rows
    ]
    return answer(ApiKeysReply(api_keys=keys), position)


async def listed(call: Call, limit: int, offset: int) -> tuple[list[Record], int, int]:
    """Return keys of the caller's tenant, how many there are, and the position of the reading."""
    async with reading(call) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, limit, offset)
        total = await read.connection.fetchval(_COUNT, read.tenant_id)
    return rows, total, read.position


def is_active(row: Record, now: datetime) -> bool:
    """Tell whether a key can be used."""
    return row["revoked_at"] is None and (row["expires_at"] is None or row["expires_at"] > now)


_NEXT_ID = "SELECT coalesce(max(key_id), 0) + 1 FROM access.api_key WHERE tenant_id = $1"

_INSERT = """
INSERT INTO access.api_key (tenant_id, key_id, name, key_prefix, key_hash, permissions,
                            created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


class MadeKey(NamedTuple):
    """A key as the one reply shows it that has its secret, or, kept for replays, without."""

    event: ApiKeyCreated
    secret: str
    created_at: datetime


@routes.add(
    "POST",
    "/api/api-keys",
    "Create an API key",
    role="admin",
    scope=None,
    body=ApiKeyBody,
    replies={201: ApiKeyCreatedReply},
    commits=True,
)
async def create_key(call: Call) -> Reply:
    """Make a key. This reply is the only one that shows it: sent again with the same
    Idempotency-Key, the request is answered with the key masked."""
    raw = await json_body(call)
    body = _BODY.decode(raw)
    expires_at = expiry(body.expires_at, call.house.now(), "expires_at")

    def show(made: MadeKey) -> ApiKeyCreatedReply:
        return ApiKeyCreatedReply(
            id=made.event.key_id,
            name=made.event.name,
            key=made.secret,
            permissions=made.event.permissions,
            expires_at=made.event.expires_at,
            created_at=made.created_at,
        )

    return await create(call, raw, body.name, body.permissions, expires_at, show)


async def create(
    call: Call,
    raw: bytes,
    name: str,
    permissions: Sequence[Scope],
    expires_at: datetime | None,
    show: Callable[[MadeKey], msgspec.Struct],
) -> Reply:
    """Make a key of the caller's tenant; ``show`` makes the body of the reply."""
    if len(set(permissions)) != len(permissions):
        raise Problem(
            "invalid_field", "permissions: name each permission once.", field="permissions"
        )
    if "webhook" in permissions and len(permissions) > 1:
        raise Problem(
            "invalid_field",
            "permissions: webhook stands alone; make another key for the rest.",
            field="permissions",
        )
    for attempt in range(1, ATTEMPTS_MAX + 1):
        reply = await _create(call, raw, name, tuple(permissions), expires_at, show)
        # Where another process took the id at the same moment, the next one is tried.
        if reply.status != _ID_TAKEN or attempt == ATTEMPTS_MAX:
            return reply
    raise AssertionError("the loop returns")


async def _create(
    call: Call,
    raw: bytes,
    name: str,
    permissions: tuple[Scope, ...],
    expires_at: datetime | None,
    show: Callable[[MadeKey], msgspec.Struct],
) -> Reply:
    caller = call.caller
    secret = new_api_key(caller.tenant_id)
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        key_id = await connection.fetchval(_NEXT_ID, caller.tenant_id)
    command = made(
        RecordApiKeyCreated,
        {
            "key_id": key_id,
            "name": name,
            "key_prefix": key_prefix(secret),
            "permissions": permissions,
            "expires_at": expires_at,
        },
    )

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        if not outcomes[0].events:
            taken = Problem("id_taken", "Another API key was made at this moment; try again.")
            return Rendered(_ID_TAKEN, call.family.reply(taken).body)
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ApiKeyCreated)
        shown = MadeKey(event, secret, recorded.recorded_at)
        kept = shown._replace(secret=masked(secret))
        return Rendered(201, encode(show(shown)), encode(show(kept)))

    async def insert(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ApiKeyCreated)
        await connection.execute(
            _INSERT,
            caller.tenant_id,
            event.key_id,
            event.name,
            event.key_prefix,
            hash_api_key(secret),
            list(event.permissions),
            caller.actor,
            recorded.recorded_at,
            event.expires_at,
        )

    return await commit(call, raw, [command], render, side_effect=insert)


_ROTATE = """
UPDATE access.api_key
SET key_hash = $3, key_prefix = $4, generation = $5, rotated_at = $6, previous_valid_until = $7,
    previous_hash = CASE WHEN $7::timestamptz IS NOT NULL THEN key_hash END
WHERE tenant_id = $1 AND key_id = $2
"""


class RotatedKey(NamedTuple):
    """A key with its new secret, or, kept for replays, without."""

    event: ApiKeyRotated
    secret: str
    rotated_at: datetime


async def rotate(
    call: Call,
    raw: bytes,
    key_id: int,
    overlap_hours: int,
    show: Callable[[RotatedKey], msgspec.Struct],
) -> Reply:
    """Give a key a new secret; the one before it stays good for so many hours.

    ``show`` makes the body of the reply, the only one that has the secret.
    """
    caller = call.caller
    secret = new_api_key(caller.tenant_id)
    command = RotateApiKey(
        key_id=key_id, key_prefix=key_prefix(secret), overlap_hours=overlap_hours
    )

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ApiKeyRotated)
        shown = RotatedKey(event, secret, recorded.recorded_at)
        kept = shown._replace(secret=masked(secret))
        return Rendered(200, encode(show(shown)), encode(show(kept)))

    async def replace(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ApiKeyRotated)
        await connection.execute(
            _ROTATE,
            caller.tenant_id,
            event.key_id,
            hash_api_key(secret),
            event.key_prefix,
            event.generation,
            recorded.recorded_at,
            event.old_valid_until,
        )

    return await commit(call, raw, [command], render, side_effect=replace)


def expiry(text: str | None, now: datetime, field: str) -> datetime | None:
    """Return the end of a day given as a date, or a time given with its zone.

    Raise Problem (400) naming the field for anything else, and for what does not lie ahead.
    """
    if text is None:
        return None
    wrong = Problem(
        "invalid_field",
        f"{field}: must be a date such as 2027-01-31, or a time with its zone.",
        field=field,
    )
    try:
        if len(text) == 10:
            day = msgspec.convert(text, date)
            expires_at = datetime.combine(day, time(), UTC) + timedelta(days=1)
        else:
            expires_at = msgspec.convert(text, datetime)
    except (msgspec.ValidationError, OverflowError):
        raise wrong from None
    if expires_at.tzinfo is None:
        raise wrong
    if not now < expires_at < datetime(2200, 1, 1, tzinfo=UTC):
        raise Problem(
            "invalid_field", f"{field}: must lie ahead, before the year 2200.", field=field
        )
    return expires_at.astimezone(UTC)


_REVOKE = """
UPDATE access.api_key SET revoked_at = $3
WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL
"""


@routes.add(
    "DELETE",
    "/api/api-keys/{id}",
    "Revoke an API key",
    role="admin",
    scope=None,
    replies={200: MessageReply},
    commits=True,
)
async def revoke_key(call: Call) -> Reply:
    """End a key at once: every request with it gets 401 from here on. One that is revoked
    already stays so."""
    return await revoke(call, path_id(call), MessageReply(message="API key revoked"))


async def revoke(call: Call, key_id: int, reply: msgspec.Struct) -> Reply:
    """End a key of the caller's tenant, all secrets of it; raise Problem (404) for none."""
    body = await no_body(call)
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        known = await connection.fetchval(
            "SELECT 1 FROM access.api_key WHERE tenant_id = $1 AND key_id = $2",
            caller.tenant_id,
            key_id,
        )
    if known is None:
        raise Problem("not_found", f"There is no API key with id {key_id}.")

    async def end(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await connection.execute(
            _REVOKE, caller.tenant_id, key_id, outcomes[0].events[0].recorded_at
        )

    return await commit(
        call,
        body,
        [RevokeApiKey(key_id=key_id)],
        lambda outcomes: rendered(200, reply),
        side_effect=end,
    )


_LOG_PARAMETERS = (
    PAGE,
    LIMIT,
    Parameter("api_key_id", "integer", "Only this key's", minimum=1),
)

_LOG = """
SELECT l.*, k.name AS key_name
FROM access.api_key_log l
LEFT JOIN access.api_key k ON k.tenant_id = l.tenant_id AND k.key_id = l.key_id
WHERE l.tenant_id = $1 AND ($2::bigint IS NULL OR l.key_id = $2)
ORDER BY l.log_id DESC LIMIT $3 OFFSET $4
"""

_LOG_COUNT = """
SELECT count(*) FROM access.api_key_log
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR key_id = $2)
"""


@routes.add(
    "GET",
    "/api/api-keys/logs/all",
    "API usage logs",
    role="admin",
    scope=None,
    parameters=_LOG_PARAMETERS,
    replies={200: ApiKeyLogReply},
)
async def list_log(call: Call) -> Reply:
    """The requests made with API keys, the newest first, a second or so behind."""
    values = query(call, _LOG_PARAMETERS)
    page, limit, key_id = values["page"], values["limit"], values["api_key_id"]
    async with reading(call) as read:
        rows = await read.connection.fetch(_LOG, read.tenant_id, key_id, limit, (page - 1) * limit)
        total = await read.connection.fetchval(_LOG_COUNT, read.tenant_id, key_id) or 0
    logs = [
        ApiKeyUseReply(
            id=row["log_id"],
            api_key_id=row["key_id"],
            key_name=row["key_name"],
            method=row["method"],
            path=row["path"],
            status_code=row["status_code"],
            response_time_ms=row["response_time_ms"],
            ip_address=row["ip_address"],
            created_at=row["created_at"],
        )
        for row in rows
    ]
    return answer(ApiKeyLogReply(logs=logs, total=total, page=page, limit=limit), read.position)
