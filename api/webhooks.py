"""Webhook endpoints: made, verified, changed, disabled and deleted, by owners and administrators.

Also the endpoints on Mihwar's Integrations screen (seed 000).
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, refuse_unknown
from api.reads import answer, path_id, reading
from api.reply import Reply, encode
from api.writes import commit, json_body, made, no_body, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from projections.webhook_queue import read_target
from projections.webhook_secrets import (
    forget_secrets,
    keep_secret,
    masked_secret,
    new_secret,
    rotate_secret,
)
from projections.webhook_sending import Limits, Sender, check_url
from schemas.http_webhooks import (
    SecretRotatedReply,
    SecretRotationBody,
    WebhookActionReply,
    WebhookCreatedReply,
    WebhookEndpointBody,
    WebhookEndpointReply,
    WebhookEndpointsReply,
    WebhookRevisionBody,
)
from schemas.webhook import (
    CreateWebhookEndpoint,
    DeleteWebhookEndpoint,
    DisableWebhookEndpoint,
    EnableWebhookEndpoint,
    RecordWebhookVerified,
    ReviseWebhookEndpoint,
    RotateWebhookSecret,
    WebhookEndpointCreated,
    WebhookSecretRotated,
)

routes = Routes("Webhooks")

PREFIX: Final = "/api/integrations/v1/webhooks"
NOT_FOUND: Final = "webhook_endpoint_not_found"
_CREATE: Final = BodyDecoder(WebhookEndpointBody)
_REVISE: Final = BodyDecoder(WebhookRevisionBody)
_ROTATE: Final = BodyDecoder(SecretRotationBody)
_CHALLENGE_BYTES: Final = 24
_CHALLENGE_LIMITS: Final = Limits(connect_s=3.0, total_s=10.0)

_LIST_PARAMETERS: Final = (
    Parameter("state", "string", "Only those", values=("active", "disabled", "unverified")),
    PAGE,
    LIMIT,
    MIN_POSITION,
)

_WHERE: Final = """
e.tenant_id = $1 AND CASE $2::text
    WHEN 'active' THEN e.verified AND e.disabled_cause IS NULL
    WHEN 'disabled' THEN e.disabled_cause IS NOT NULL
    WHEN 'unverified' THEN NOT e.verified
    ELSE true
END
"""

_LIST: Final = f"""
SELECT e.*, l.failing_since FROM projections.webhook_endpoint e
LEFT JOIN webhook.lane l ON l.tenant_id = $1 AND l.endpoint_id = e.endpoint_id
WHERE {_WHERE} ORDER BY e.endpoint_id LIMIT $3 OFFSET $4
"""

_COUNT: Final = f"SELECT count(*) FROM projections.webhook_endpoint e WHERE {_WHERE}"

_ONE: Final = """
SELECT e.*, l.failing_since FROM projections.webhook_endpoint e
LEFT JOIN webhook.lane l ON l.tenant_id = $1 AND l.endpoint_id = e.endpoint_id
WHERE e.tenant_id = $1 AND e.endpoint_id = $2
"""


@routes.add(
    "GET",
    PREFIX,
    "List webhook endpoints",
    role="admin",
    scope=None,
    parameters=_LIST_PARAMETERS,
    replies={200: WebhookEndpointsReply},
    problems=("not_yet",),
)
async def list_endpoints(call: Call) -> Reply:
    """The tenant's receivers in the order of their ids. No secret is ever shown again."""
    values = query(call, _LIST_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _LIST_PARAMETERS)
    page, limit, state = values["page"], values["limit"], values["state"]
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, state, limit, (page - 1) * limit)
        total = await read.connection.fetchval(_COUNT, read.tenant_id, state) or 0
    found = [_shown(row) for row in rows]
    reply = WebhookEndpointsReply(webhooks=found, total=total, page=page, limit=limit)
    return answer(reply, read.position)


def _shown(row: Any) -> WebhookEndpointReply:
    names = set(WebhookEndpointReply.__struct_fields__) - {"id", "enabled"}
    return WebhookEndpointReply(
        id=row["endpoint_id"],
        enabled=row["disabled_cause"] is None,
        **{name: row[name] for name in names},
    )


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}",
    "Get a webhook endpoint",
    role="admin",
    scope=None,
    parameters=(MIN_POSITION,),
    replies={200: WebhookEndpointReply},
    problems=(NOT_FOUND, "not_yet"),
)
async def get_endpoint(call: Call) -> Reply:
    """One receiver. ETag is the version that If-Match takes."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await read.connection.fetchrow(_ONE, read.tenant_id, endpoint_id)
    if row is None:
        raise not_found(endpoint_id)
    reply = _shown(row)
    return answer(reply, read.position, [(b"etag", b'"%d"' % reply.version)])


def not_found(endpoint_id: int) -> Problem:
    """Return the problem of an endpoint that is not there."""
    return Problem(NOT_FOUND, f"There is no webhook endpoint with id {endpoint_id}.")


@routes.add(
    "POST",
    PREFIX,
    "Create a webhook endpoint",
    role="admin",
    scope=None,
    body=WebhookEndpointBody,
    replies={201: WebhookCreatedReply},
    problems=("webhook_topic_twice",),
    commits=True,
)
async def create_endpoint(call: Call) -> Reply:
    """Add a receiver. This reply is the only one that shows its secret: sent again with the same
    Idempotency-Key, the request is answered with the secret masked. Nothing is sent before the
    receiver is verified."""
    raw = await json_body(call)
    body = _CREATE.decode(raw)
    _require_usable(call, body.url)
    secret = new_secret()
    tenant_id = call.caller.tenant_id

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, WebhookEndpointCreated)
        reply = WebhookCreatedReply(
            id=event.endpoint_id,
            url=event.url,
            topics=event.topics,
            format=event.format,
            description=event.description,
            verified=event.verified,
            secret=secret,
            created_at=recorded.recorded_at,
        )
        kept = msgspec.structs.replace(reply, secret=masked_secret(secret))
        return Rendered(201, encode(reply), encode(kept))

    async def keep(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, WebhookEndpointCreated)
        await keep_secret(connection, tenant_id, event.endpoint_id, secret, recorded.recorded_at)

    command = made(CreateWebhookEndpoint, msgspec.structs.asdict(body))
    return await commit(call, raw, [command], render, side_effect=keep)


def _require_usable(call: Call, url: str) -> None:
    """Raise Problem (400) for an address that webhooks cannot go to."""
    fault = check_url(url, call.house.settings.webhooks)
    if fault is not None:
        raise Problem("invalid_field", f"url: {fault}.", field="url")


@routes.add(
    "PUT",
    f"{PREFIX}/{{id}}",
    "Revise a webhook endpoint",
    role="admin",
    scope=None,
    body=WebhookRevisionBody,
    replies={200: WebhookActionReply},
    problems=(NOT_FOUND, "webhook_topic_twice"),
    commits=True,
    conditional=True,
)
async def revise_endpoint(call: Call) -> Reply:
    """Replace a receiver's address, topics and description. Another address must be verified;
    until then what happens waits for it."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await json_body(call)
    body = _REVISE.decode(raw)
    _require_usable(call, body.url)
    fields = {**msgspec.structs.asdict(body), "endpoint_id": endpoint_id}
    return await commit(
        call,
        raw,
        [made(ReviseWebhookEndpoint, fields)],
        lambda outcomes: _done(endpoint_id, "Webhook endpoint revised"),
        conditional=True,
    )


def _done(endpoint_id: int, message: str) -> Rendered:
    return rendered(200, WebhookActionReply(id=endpoint_id, message=message))


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/verify",
    "Verify a webhook endpoint",
    role="admin",
    scope=None,
    replies={200: WebhookActionReply},
    problems=(NOT_FOUND, "webhook_not_verified"),
    commits=True,
)
async def verify_endpoint(call: Call) -> Reply:
    """Ask the receiver whether it wants to be sent to: it gets {"type": "webhook.verification",
    "challenge": …}, signed, and must answer 2xx with the challenge in the body, as
    {"challenge": …} or as plain text, within ten seconds."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await no_body(call)
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        row = await connection.fetchrow(_ONE, caller.tenant_id, endpoint_id)
        target = await read_target(connection, caller.tenant_id, endpoint_id)
    if row is None or target is None:
        raise not_found(endpoint_id)
    if not row["verified"]:
        challenge = secrets.token_urlsafe(_CHALLENGE_BYTES)
        async with Sender(call.house.settings.webhooks, _CHALLENGE_LIMITS) as sender:
            attempt = await sender.challenge(target, challenge)
        if not attempt.ok:
            raise Problem(
                "webhook_not_verified",
                f"The receiver did not answer the challenge: {attempt.problem}; let it answer "
                "with the challenge, and verify again.",
                answered=attempt.status,
            )
    return await commit(
        call,
        raw,
        [RecordWebhookVerified(endpoint_id=endpoint_id)],
        lambda outcomes: _done(endpoint_id, "Webhook endpoint verified"),
    )


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/rotate-secret",
    "Rotate a webhook endpoint's secret",
    role="admin",
    scope=None,
    body=SecretRotationBody,
    replies={200: SecretRotatedReply},
    problems=(NOT_FOUND,),
    commits=True,
)
async def rotate_endpoint_secret(call: Call) -> Reply:
    """Make a new secret, which this reply alone shows. The one before it signs beside it for
    ``overlap_hours``, so that the receiver can change its own at any time; miPOS's format has one
    signature, which is the new secret's at once."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await no_body(call)
    body = _ROTATE.decode(raw) if raw.strip() else SecretRotationBody()
    secret = new_secret()
    tenant_id = call.caller.tenant_id

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, WebhookSecretRotated)
        reply = SecretRotatedReply(
            id=endpoint_id,
            secret=secret,
            rotated_at=recorded.recorded_at,
            previous_secret_until=recorded.recorded_at + timedelta(hours=event.overlap_hours),
        )
        kept = msgspec.structs.replace(reply, secret=masked_secret(secret))
        return Rendered(200, encode(reply), encode(kept))

    async def keep(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        at = recorded.recorded_at
        until = at + timedelta(hours=body.overlap_hours)
        await rotate_secret(connection, tenant_id, endpoint_id, secret, at, old_until=until)

    command = RotateWebhookSecret(endpoint_id=endpoint_id, overlap_hours=body.overlap_hours)
    return await commit(call, raw, [command], render, side_effect=keep)


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/disable",
    "Disable a webhook endpoint",
    role="admin",
    scope=None,
    replies={200: WebhookActionReply},
    problems=(NOT_FOUND,),
    commits=True,
)
async def disable_endpoint(call: Call) -> Reply:
    """Send nothing more to a receiver. What waits for it, and what happens meanwhile, is parked,
    and can be sent again. One that is disabled already stays so."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await no_body(call)
    return await commit(
        call,
        raw,
        [DisableWebhookEndpoint(endpoint_id=endpoint_id)],
        lambda outcomes: _done(endpoint_id, "Webhook endpoint disabled"),
    )


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/enable",
    "Enable a webhook endpoint",
    role="admin",
    scope=None,
    replies={200: WebhookActionReply},
    problems=(NOT_FOUND,),
    commits=True,
)
async def enable_endpoint(call: Call) -> Reply:
    """Send to a receiver again: what happens from here on. What is parked stays so until it is
    sent again or replayed."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await no_body(call)
    return await commit(
        call,
        raw,
        [EnableWebhookEndpoint(endpoint_id=endpoint_id)],
        lambda outcomes: _done(endpoint_id, "Webhook endpoint enabled"),
    )


@routes.add(
    "DELETE",
    f"{PREFIX}/{{id}}",
    "Delete a webhook endpoint",
    role="admin",
    scope=None,
    replies={200: WebhookActionReply},
    problems=(NOT_FOUND,),
    commits=True,
)
async def delete_endpoint(call: Call) -> Reply:
    """Remove a receiver and its secrets for good. Its id is not given out again."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await no_body(call)
    tenant_id = call.caller.tenant_id

    async def forget(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await forget_secrets(connection, tenant_id, endpoint_id)

    return await commit(
        call,
        raw,
        [DeleteWebhookEndpoint(endpoint_id=endpoint_id)],
        lambda outcomes: _done(endpoint_id, "Webhook endpoint deleted"),
        side_effect=forget,
    )
