"""What was sent to webhook endpoints and what came of it; sending again."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, PAGE, Parameter, refuse_unknown
from api.reads import Reading, answer, path_id, reading
from api.reply import Reply
from api.webhooks import NOT_FOUND, PREFIX, not_found
from api.writes import commit, json_body, made, no_body, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from projections.webhook_dispatch import begin_replay, position_at, resend
from projections.webhook_sending import message_id
from schemas.http_webhooks import (
    AttemptReply,
    AttemptsReply,
    DeliveriesReply,
    DeliveryDetailReply,
    DeliveryReply,
    ReplayBody,
    ReplayReply,
    ReplaysReply,
    WebhookActionReply,
)
from schemas.webhook import (
    ReplayWebhookMessages,
    ResendWebhookMessage,
    WebhookReplayRequested,
    WebhookTopic,
)

routes = Routes("Webhooks")

NO_DELIVERY: Final = "webhook_delivery_not_found"
NO_REPLAY: Final = "webhook_replay_not_found"
_REPLAY: Final = BodyDecoder(ReplayBody)
_MESSAGE_ID: Final = re.compile(r"msg_([0-9]{1,10})_([0-9]{1,16})_([0-9]{1,16})_([0-9]{1,5})")
_TOPICS: Final[tuple[str, ...]] = WebhookTopic.__args__
LOG_MAX: Final = 100
_decode_data: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode

_DELIVERY_PARAMETERS: Final = (
    Parameter("state", "string", "Only those", values=("waiting", "delivered", "parked")),
    Parameter("topic", "string", "Only those of a topic", values=_TOPICS),
    Parameter("item", "string", "Only those of an item, such as stock:7:1", maximum=200),
    Parameter("from_position", "integer", "Only those of this position and later", minimum=1),
    Parameter("to_position", "integer", "Only those of this position and earlier", minimum=1),
    PAGE,
    LIMIT,
)

_DELIVERIES_WHERE: Final = """
d.tenant_id = $1 AND d.endpoint_id = $2
AND ($3::text IS NULL OR d.state = $3) AND ($4::text IS NULL OR d.topic = $4)
AND ($5::text IS NULL OR d.item = $5)
AND ($6::bigint IS NULL OR d.position >= $6) AND ($7::bigint IS NULL OR d.position <= $7)
"""

_DELIVERIES: Final = f"""
SELECT d.* FROM webhook.delivery d WHERE {_DELIVERIES_WHERE}
ORDER BY d.position DESC, d.n DESC LIMIT $8 OFFSET $9
"""

_DELIVERIES_COUNT: Final = f"SELECT count(*) FROM webhook.delivery d WHERE {_DELIVERIES_WHERE}"

_KNOWN: Final = """
SELECT EXISTS (SELECT FROM projections.webhook_endpoint WHERE tenant_id = $1 AND endpoint_id = $2)
    OR EXISTS (SELECT FROM webhook.lane WHERE tenant_id = $1 AND endpoint_id = $2)
"""


async def _require_known(read: Reading, endpoint_id: int) -> None:
    """Raise Problem (404) for an endpoint that never was; one that is deleted has its log."""
    if not await read.connection.fetchval(_KNOWN, read.tenant_id, endpoint_id):
        raise not_found(endpoint_id)


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}/deliveries",
    "List webhook deliveries",
    role="admin",
    scope=None,
    parameters=_DELIVERY_PARAMETERS,
    replies={200: DeliveriesReply},
    problems=(NOT_FOUND,),
)
async def list_deliveries(call: Call) -> Reply:
    """What a receiver was to be sent, the newest first, and what came of it."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    values = query(call, _DELIVERY_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _DELIVERY_PARAMETERS)
    page, limit = values["page"], values["limit"]
    chosen = [values[p.name] for p in _DELIVERY_PARAMETERS[:5]]
    async with reading(call) as read:
        await _require_known(read, endpoint_id)
        rows = await read.connection.fetch(
            _DELIVERIES, read.tenant_id, endpoint_id, *chosen, limit, (page - 1) * limit
        )
        total = await read.connection.fetchval(
            _DELIVERIES_COUNT, read.tenant_id, endpoint_id, *chosen
        )
    found = [DeliveryReply(**_delivery(read.tenant_id, row)) for row in rows]
    reply = DeliveriesReply(deliveries=found, total=total or 0, page=page, limit=limit)
    return answer(reply, read.position)


def _delivery(tenant_id: int, row: Any) -> dict[str, Any]:
    names = set(DeliveryReply.__struct_fields__) - {"id"}
    return {"id": _id(tenant_id, row), **{name: row[name] for name in names}}


def _id(tenant_id: int, row: Any) -> str:
    return message_id(tenant_id, row["position"], row["endpoint_id"], row["n"])


_DELIVERY: Final = """
SELECT d.*, m.data FROM webhook.delivery d
LEFT JOIN projections.webhook_message m
  ON m.tenant_id = $1 AND m.position = d.position AND m.n = d.n
WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND d.position = $3 AND d.n = $4
"""

_LOG: Final = f"""
SELECT * FROM webhook.attempt
WHERE tenant_id = $1 AND endpoint_id = $2 AND position = $3 AND n = $4
ORDER BY started_at LIMIT {LOG_MAX}
"""


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}/deliveries/{{delivery}}",
    "Get a webhook delivery",
    role="admin",
    scope=None,
    replies={200: DeliveryDetailReply},
    problems=(NO_DELIVERY,),
)
async def get_delivery(call: Call) -> Reply:
    """One message to a receiver, named by its ``webhook-id``: what it says, and each attempt."""
    endpoint_id, position, n = _named(call)
    async with reading(call) as read:
        key = read.tenant_id, endpoint_id, position, n
        row = await read.connection.fetchrow(_DELIVERY, *key)
        log = await read.connection.fetch(_LOG, *key)
    if row is None:
        raise _no_delivery(call)
    reply = DeliveryDetailReply(
        **_delivery(read.tenant_id, row),
        data=None if row["data"] is None else _decode_data(row["data"]),
        log=[_attempt(read.tenant_id, attempt) for attempt in log],
    )
    return answer(reply, read.position)


def _named(call: Call) -> tuple[int, int, int]:
    """Return the endpoint, position and number in a path; raise Problem (404) for no such."""
    endpoint_id = path_id(call, code=NO_DELIVERY)
    match = _MESSAGE_ID.fullmatch(call.path_params["delivery"])
    if match is None:
        raise _no_delivery(call)
    tenant_id, position, named_endpoint, n = map(int, match.groups())
    if (tenant_id, named_endpoint) != (call.caller.tenant_id, endpoint_id) or n > 32767:
        raise _no_delivery(call)
    return endpoint_id, position, n


def _no_delivery(call: Call) -> Problem:
    shown = call.path_params["delivery"][:80]
    return Problem(NO_DELIVERY, f"There is no delivery {shown!r} to this webhook endpoint.")


_ATTEMPT_PARAMETERS: Final = (
    Parameter("status", "integer", "Only those answered with this status", maximum=999),
    Parameter("failed", "boolean", "Only those that failed, or that did not"),
    Parameter("position", "integer", "Only those at messages of this position", minimum=1),
    Parameter("from", "instant", "Only those begun at this time or later"),
    Parameter("to", "instant", "Only those begun before this time"),
    PAGE,
    LIMIT,
)

_ATTEMPTS_WHERE: Final = """
a.tenant_id = $1 AND a.endpoint_id = $2
AND ($3::integer IS NULL OR a.status = $3)
AND ($4::boolean IS NULL OR (a.problem IS NOT NULL) = $4)
AND ($5::bigint IS NULL OR a.position = $5)
AND ($6::timestamptz IS NULL OR a.started_at >= $6)
AND ($7::timestamptz IS NULL OR a.started_at < $7)
"""

_ATTEMPTS: Final = f"""
SELECT a.* FROM webhook.attempt a WHERE {_ATTEMPTS_WHERE}
ORDER BY a.started_at DESC, a.position DESC, a.n DESC LIMIT $8 OFFSET $9
"""

_ATTEMPTS_COUNT: Final = f"SELECT count(*) FROM webhook.attempt a WHERE {_ATTEMPTS_WHERE}"


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}/attempts",
    "List attempts at webhook deliveries",
    role="admin",
    scope=None,
    parameters=_ATTEMPT_PARAMETERS,
    replies={200: AttemptsReply},
    problems=(NOT_FOUND,),
)
async def list_attempts(call: Call) -> Reply:
    """Each request to a receiver, the newest first: how long it took, the status, the beginning
    of the answer, and why it failed."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    values = query(call, _ATTEMPT_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _ATTEMPT_PARAMETERS)
    page, limit = values["page"], values["limit"]
    chosen = [values[p.name] for p in _ATTEMPT_PARAMETERS[:5]]
    async with reading(call) as read:
        await _require_known(read, endpoint_id)
        rows = await read.connection.fetch(
            _ATTEMPTS, read.tenant_id, endpoint_id, *chosen, limit, (page - 1) * limit
        )
        total = await read.connection.fetchval(
            _ATTEMPTS_COUNT, read.tenant_id, endpoint_id, *chosen
        )
    found = [_attempt(read.tenant_id, row) for row in rows]
    reply = AttemptsReply(attempts=found, total=total or 0, page=page, limit=limit)
    return answer(reply, read.position)


def _attempt(tenant_id: int, row: Any) -> AttemptReply:
    names = set(AttemptReply.__struct_fields__) - {"delivery_id"}
    return AttemptReply(delivery_id=_id(tenant_id, row), **{name: row[name] for name in names})


# --- again ----------------------------------------------------------------------------------


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/deliveries/{{delivery}}/resend",
    "Send a webhook delivery again",
    role="admin",
    scope=None,
    replies={202: WebhookActionReply},
    problems=(NO_DELIVERY, NOT_FOUND, "webhook_endpoint_idle"),
    commits=True,
)
async def resend_delivery(call: Call) -> Reply:
    """Send one message again, under the same id, whatever came of it before. It goes out in a
    second or so, with all attempts ahead of it."""
    endpoint_id, position, n = _named(call)
    raw = await no_body(call)
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        key = caller.tenant_id, endpoint_id, position, n
        if await connection.fetchrow(_DELIVERY, *key) is None:
            raise _no_delivery(call)

    async def again(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await resend(connection, caller.tenant_id, endpoint_id, position, n)

    return await commit(
        call,
        raw,
        [ResendWebhookMessage(endpoint_id=endpoint_id, position=position, n=n)],
        lambda outcomes: rendered(
            202, WebhookActionReply(id=endpoint_id, message="The delivery will be sent again")
        ),
        side_effect=again,
    )


@routes.add(
    "POST",
    f"{PREFIX}/{{id}}/replays",
    "Replay webhook messages",
    role="admin",
    scope=None,
    body=ReplayBody,
    replies={202: ReplayReply},
    problems=(NOT_FOUND, "webhook_endpoint_idle", "invalid_command"),
    commits=True,
)
async def start_replay(call: Call) -> Reply:
    """Send all of a receiver's messages again, from a position or a time on, under the same ids
    and in order: those delivered as well as those parked, and those from before it was there, as
    far as somebody was told of its topics then."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    raw = await json_body(call)
    body = _REPLAY.decode(raw)
    caller = call.caller
    async with reading(call) as read:
        await _require_known(read, endpoint_id)
        if (body.from_position is None) == (body.from_time is None):
            raise Problem(
                "invalid_field",
                "from_position: give exactly one of from_position and from_time.",
                field="from_position",
            )
        from_position = body.from_position or await position_at(
            read.connection, caller.tenant_id, _utc(body.from_time)
        )
        head = read.position
    to_position = min(body.to_position or head, head)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, WebhookReplayRequested)
        reply = ReplayReply(
            id=recorded.position,
            endpoint_id=endpoint_id,
            from_position=event.from_position,
            to_position=event.to_position,
            done_position=event.from_position - 1,
            messages=0,
            created_at=recorded.recorded_at,
            finished_at=None,
        )
        return rendered(202, reply)

    async def begin(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, WebhookReplayRequested)
        await begin_replay(
            connection,
            caller.tenant_id,
            endpoint_id,
            recorded.position,
            event.from_position,
            event.to_position,
        )

    fields = {
        "endpoint_id": endpoint_id,
        "from_position": from_position,
        "to_position": to_position,
    }
    command = made(ReplayWebhookMessages, fields)
    return await commit(call, raw, [command], render, side_effect=begin)


def _utc(at: datetime | None) -> datetime:
    assert at is not None, "a replay begins at a position or at a time"
    return at


_PAGE_PARAMETERS: Final = (PAGE, LIMIT)

_REPLAYS: Final = """
SELECT * FROM webhook.replay WHERE tenant_id = $1 AND endpoint_id = $2
ORDER BY replay_id DESC LIMIT $3 OFFSET $4
"""

_REPLAYS_COUNT: Final = """
SELECT count(*) FROM webhook.replay WHERE tenant_id = $1 AND endpoint_id = $2
"""

_ONE_REPLAY: Final = """
SELECT * FROM webhook.replay WHERE tenant_id = $1 AND endpoint_id = $2 AND replay_id = $3
"""


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}/replays",
    "List webhook replays",
    role="admin",
    scope=None,
    parameters=_PAGE_PARAMETERS,
    replies={200: ReplaysReply},
    problems=(NOT_FOUND,),
)
async def list_replays(call: Call) -> Reply:
    """The replays that were asked for, the newest first, with how far each is."""
    endpoint_id = path_id(call, code=NOT_FOUND)
    values = query(call, _PAGE_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PAGE_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call) as read:
        await _require_known(read, endpoint_id)
        rows = await read.connection.fetch(
            _REPLAYS, read.tenant_id, endpoint_id, limit, (page - 1) * limit
        )
        total = await read.connection.fetchval(_REPLAYS_COUNT, read.tenant_id, endpoint_id)
    found = [_replay(row) for row in rows]
    reply = ReplaysReply(replays=found, total=total or 0, page=page, limit=limit)
    return answer(reply, read.position)


@routes.add(
    "GET",
    f"{PREFIX}/{{id}}/replays/{{replay}}",
    "Get a webhook replay",
    role="admin",
    scope=None,
    replies={200: ReplayReply},
    problems=(NO_REPLAY,),
)
async def get_replay(call: Call) -> Reply:
    """One replay, with how far it is."""
    endpoint_id = path_id(call, code=NO_REPLAY)
    replay_id = path_id(call, "replay", code=NO_REPLAY)
    async with reading(call) as read:
        row = await read.connection.fetchrow(_ONE_REPLAY, read.tenant_id, endpoint_id, replay_id)
    if row is None:
        raise Problem(NO_REPLAY, f"There is no replay {replay_id} of this webhook endpoint.")
    return answer(_replay(row), read.position)


def _replay(row: Any) -> ReplayReply:
    names = set(ReplayReply.__struct_fields__) - {"id"}
    return ReplayReply(id=row["replay_id"], **{name: row[name] for name in names})
