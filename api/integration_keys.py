"""Keys on Mihwar's Integrations screen (seed 000): made, listed, rotated, revoked, by owners and
administrators alone. They are the API keys of `api.api_keys`."""

from typing import Final

from api import api_keys
from api.api_keys import MadeKey, RotatedKey, expiry, is_active, listed
from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.mihwar_errors import KEYS_PREFIX, mihwar_family
from api.query import LIMIT, PAGE, refuse_unknown
from api.reads import answer, path_id
from api.reply import Reply
from api.writes import json_body, no_body
from schemas.http_mihwar import (
    IntegrationKeyBody,
    IntegrationKeyCreatedReply,
    IntegrationKeyRow,
    IntegrationKeysReply,
    KeyRevokedReply,
    KeyRotatedReply,
    RotationBody,
)

routes = Routes("Mihwar", mihwar_family(KEYS_PREFIX))

_BODY: Final = BodyDecoder(IntegrationKeyBody)
_ROTATION: Final = BodyDecoder(RotationBody)
_PARAMETERS: Final = (PAGE, LIMIT)


@routes.add(
    "GET",
    KEYS_PREFIX,
    "List integration keys",
    role="admin",
    scope=None,
    parameters=_PARAMETERS,
    replies={200: IntegrationKeysReply},
)
async def list_integration_keys(call: Call) -> Reply:
    """All keys of the organisation, those revoked too. No secret is ever shown again."""
    values = query(call, _PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    page, limit = values["page"], values["limit"]
    now = call.house.now()
    rows, total, position = await listed(call, limit, (page - 1) * limit)
    keys = [
        IntegrationKeyRow(
            id=row["key_id"],
            name=row["name"],
            key_prefix=row["key_prefix"],
            permissions=row["permissions"],
            is_active=is_active(row, now),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            last_used_at=row["last_used_at"],
            rotated_at=row["rotated_at"],
            old_valid_until=row["previous_valid_until"],
        )
        for row in rows
    ]
    reply = IntegrationKeysReply(keys=keys, total=total, page=page, limit=limit)
    return answer(reply, position)


@routes.add(
    "POST",
    KEYS_PREFIX,
    "Create an integration key",
    role="admin",
    scope=None,
    body=IntegrationKeyBody,
    replies={201: IntegrationKeyCreatedReply},
    commits=True,
)
async def create_integration_key(call: Call) -> Reply:
    """Make a key. This reply is the only one that shows it: sent again with the same
    Idempotency-Key, the request is answered with the key masked."""
    raw = await json_body(call)
    body = _BODY.decode(raw)
    expires_at = expiry(body.expires_at, call.house.now(), "expiresAt")

    def show(made: MadeKey) -> IntegrationKeyCreatedReply:
        return IntegrationKeyCreatedReply(
            id=made.event.key_id,
            name=made.event.name,
            key=made.secret,
            permissions=made.event.permissions,
            created_at=made.created_at,
            expires_at=made.event.expires_at,
        )

    return await api_keys.create(call, raw, body.name, body.permissions, expires_at, show)


@routes.add(
    "POST",
    f"{KEYS_PREFIX}/{{id}}/rotate",
    "Rotate an integration key",
    role="admin",
    scope=None,
    body=RotationBody,
    replies={200: KeyRotatedReply},
    problems=("api_key_not_found", "api_key_over"),
    commits=True,
)
async def rotate_integration_key(call: Call) -> Reply:
    """Give a key a new secret, which this reply alone shows. The one before it stays good for
    ``overlapHours``, at most 720; with 0 it ends at once, as any older one does."""
    key_id = path_id(call)
    raw = await no_body(call)
    body = _ROTATION.decode(raw) if raw.strip() else RotationBody()

    def show(rotated: RotatedKey) -> KeyRotatedReply:
        return KeyRotatedReply(
            id=rotated.event.key_id,
            key=rotated.secret,
            rotated_at=rotated.rotated_at,
            old_valid_until=rotated.event.old_valid_until,
        )

    return await api_keys.rotate(call, raw, key_id, body.overlap_hours, show)


@routes.add(
    "DELETE",
    f"{KEYS_PREFIX}/{{id}}",
    "Revoke an integration key",
    role="admin",
    scope=None,
    replies={200: KeyRevokedReply},
    commits=True,
)
async def revoke_integration_key(call: Call) -> Reply:
    """End a key at once, all secrets of it: every request with it gets 401 from here on."""
    key_id = path_id(call)
    return await api_keys.revoke(call, key_id, KeyRevokedReply(id=key_id))
