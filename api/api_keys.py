"""API keys: made, listed, revoked, and what they were used for (seed 003, "API Keys")."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec

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
from schemas.access import ApiKeyCreated, RecordApiKeyCreated, RevokeApiKey
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

ATTEMPTS_MAX: Final = 3
_ID_TAKEN: Final = 409
_BODY = BodyDecoder(ApiKeyBody)

_LIST = """
SELECT key_id, name, key_prefix, permissions, last_used_at, expires_at, revoked_at, created_at
FROM access.api_key WHERE tenant_id = $1 ORDER BY key_id LIMIT 1000
"""


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
    async with reading(call) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id)
    keys = [
        ApiKeyReply(
            id=row["key_id"],
            name=row["name"],
            key_prefix=row["key_prefix"],
            permissions=row["permissions"],
            last_used_at=row["last_used_at"],
            expires_at=row["expires_at"],
            is_active=row["revoked_at"] is None
            and (row["expires_at"] is None or row["expires_at"] > now),
            created_at=row["created_at"],
        )
        for row in rows
    ]
    return answer(ApiKeysReply(api_keys=keys), read.position)


_NEXT_ID = "SELECT coalesce(max(key_id), 0) + 1 FROM access.api_key WHERE tenant_id = $1"

_INSERT = """
INSERT INTO access.api_key (tenant_id, key_id, name, key_prefix, key_hash, permissions,
                            created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


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
    if len(set(body.permissions)) != len(body.permissions):
        raise Problem(
            "invalid_field", "permissions: name each permission once.", field="permissions"
        )
    expires_at = _expiry(body.expires_at, call.house.now())
    for attempt in range(1, ATTEMPTS_MAX + 1):
        reply = await _create(call, raw, body, expires_at)
        # Where another process took the id at the same moment, the next one is tried.
        if reply.status != _ID_TAKEN or attempt == ATTEMPTS_MAX:
            return reply
    raise AssertionError("the loop returns")


async def _create(call: Call, raw: bytes, body: ApiKeyBody, expires_at: datetime | None) -> Reply:
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
            "name": body.name,
            "key_prefix": key_prefix(secret),
            "permissions": body.permissions,
            "expires_at": expires_at,
        },
    )

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        if not outcomes[0].events:
            taken = Problem("id_taken", "Another API key was made at this moment; try again.")
            return Rendered(_ID_TAKEN, encode(taken.document()))
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ApiKeyCreated)
        reply = ApiKeyCreatedReply(
            id=event.key_id,
            name=event.name,
            key=secret,
            permissions=event.permissions,
            expires_at=event.expires_at,
            created_at=recorded.recorded_at,
        )
        kept = msgspec.structs.replace(reply, key=masked(secret))
        return Rendered(201, encode(reply), encode(kept))

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


def _expiry(text: str | None, now: datetime) -> datetime | None:
    """Return the end of a day given as a date, or a time given with its zone."""
    if text is None:
        return None
    wrong = Problem(
        "invalid_field",
        "expires_at: must be a date such as 2027-01-31, or a time with its zone.",
        field="expires_at",
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
            "invalid_field", "expires_at: must lie ahead, before the year 2200.", field="expires_at"
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
    key_id = path_id(call)
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

    async def revoke(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await connection.execute(
            _REVOKE, caller.tenant_id, key_id, outcomes[0].events[0].recorded_at
        )

    return await commit(
        call,
        body,
        [RevokeApiKey(key_id=key_id)],
        lambda outcomes: rendered(200, MessageReply(message="API key revoked")),
        side_effect=revoke,
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
