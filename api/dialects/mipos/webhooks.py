"""miPOS's webhooks: the one for stock (seed 001), and those for orders and menus (seed 002).

The stock webhook, type 3, is one a point of sale: another address moves it. ``ORDER`` and ``Menu``
are as many as there are addresses, and known by these. Secrets are in no answer here, as in none
of the documents': the webhooks' own API tells how to get one.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final

import msgspec

from api.context import Call
from api.dialects.mipos.answers import MIPOS, Done, body_of, faults, field_faults
from api.dialects.mipos.bodies import Fields, document, is_missing, webhook_type
from api.dialects.mipos.replay import kept_reply
from api.endpoint import Handler, Media, Routes
from api.problems import Problem, of_exception
from api.reads import answer, reading
from api.reply import Reply
from api.writes import commit, rendered
from ledger.domain.decision import Refusal
from ledger.domain.refusals_webhooks import WebhookEndpointNotFound
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from projections.webhook_secrets import forget_secrets, keep_secret, new_secret
from projections.webhook_sending import check_url
from schemas.common import Command
from schemas.webhook import (
    CreateWebhookEndpoint,
    DeleteWebhookEndpoint,
    EnableWebhookEndpoint,
    ReviseWebhookEndpoint,
    WebhookEndpointCreated,
    WebhookTopic,
)

routes = Routes("miPOS", family=MIPOS)

STOCK: Final = "3"
"""The one type that an inventory system sends; the others of miPOS's go to other parties."""
KINDS: Final[Mapping[str, tuple[WebhookTopic, ...]]] = {
    "ORDER": ("order.status_changed",),
    "Menu": (),
}
"""What an address of each type is told; nothing is ever asked for a menu here."""
URL_LENGTH_MAX: Final = 2000

MANAGED: Final = "Webhook successfully created."
CREATED: Final = "Webhook successfully created"
UPDATED: Final = "Webhook successfully updated"
REMOVED: Final = "Webhook successfully removed"
INVALID_TYPE: Final = "Invalid type."
INVALID_CHOICE: Final = "The selected type is invalid."
EXISTS: Final = "This webhook already exists"
NOT_THERE: Final = "This webhook does not exist"
NEW_EXISTS: Final = "This new webhook already exists"
UNABLE_TO_SET_UP: Final = "Unable to set up the webhook URL."
UNABLE_TO_UPDATE: Final = "Unable to update the webhook URL."
UNABLE_TO_REMOVE: Final = "Unable to remove the webhook URL."
NOT_AUTHENTICATED: Final = "User not authenticated."
NO_USER: Final = "User not found."


class WebhookRow(msgspec.Struct, frozen=True, kw_only=True):
    url: str


_URL: Final = {"type": "string", "format": "uri", "maxLength": URL_LENGTH_MAX}
_UPDATE: Final = {"current_url": _URL, "new_url": _URL}

# --- users ------------------------------------------------------------------------------


def _by_a_user(handler: Handler) -> Handler:
    """Return a handler that tells a session's user who is let in no more, or gone, so.

    Seed 002 has sentences for that; of any other credential it only says ``Unauthorized.``
    """

    @wraps(handler)
    async def handle(call: Call) -> Reply:
        try:
            return await handler(call)
        except Exception as fault:
            problem, principal = of_exception(fault), call.principal
            if problem is None or problem.code != "unauthenticated":
                raise
            if principal is None or principal.kind != "user":
                raise
            async with tenant_transaction(call.house.pool, principal.tenant_id) as connection:
                known = await connection.fetchval(_USER, principal.tenant_id, principal.id)
            raise faults([NOT_AUTHENTICATED if known else NO_USER]) from fault

    return handle


_USER: Final = "SELECT EXISTS (SELECT FROM access.app_user WHERE tenant_id = $1 AND user_id = $2)"


# --- the stock webhook ------------------------------------------------------------------


@routes.add(
    "POST",
    "/api/v1/inventory/pos/webhook/manage",
    "Manage webhook",
    role="admin",
    scope="write",
    bodies=(body_of(["type", "url"], {"type": {"enum": ["3", 3]}, "url": _URL}),),
    replies={200: Done},
    commits=True,
)
async def manage(call: Call) -> Reply:
    """Register the address that stock updates go to (type 3), or move it. The webhook is a point
    of sale's, which the credential stands for; it is told of at once, without a challenge."""
    body, said = await document(call)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    fields = Fields(said)
    kind = webhook_type(fields.require("type"))
    if not is_missing(said.get("type")) and not kind.isdecimal():
        fields.refuse("type", INVALID_CHOICE)
    url = _address(fields, "url")
    fields.check()
    if kind != STOCK:
        raise faults([INVALID_TYPE])
    unfit = _unfit(call, url)
    if unfit is not None:
        raise field_faults({"url": [unfit]})
    pos_id = _pos_id(call)
    rows = await _endpoints(call, (STOCK,))
    found = next((row for row in rows if row["url"] == url), None)
    found = found or next((row for row in rows if row["receiver_id"] == pos_id), None)
    render = _done(MANAGED)
    if found is None:
        return await _create(
            call, body, _stock_endpoint(url, pos_id), render, _unable(UNABLE_TO_SET_UP)
        )
    return await commit(
        call, body, _moved(found, url), render, problem_of=_unable(UNABLE_TO_UPDATE)
    )


def _pos_id(call: Call) -> str:
    """Return what miPOS's ``pos_id`` is here: the API key's id, or the user's."""
    caller = call.caller
    return str(caller.id) if caller.kind == "key" else f"user-{caller.id}"


def _stock_endpoint(url: str, pos_id: str) -> CreateWebhookEndpoint:
    return CreateWebhookEndpoint(
        url=url,
        topics=("stock.changed",),
        format="mipos",
        description="miPOS: stock updates",
        verified=True,
        kind=STOCK,
        receiver_id=pos_id,
    )


def _moved(row: Any, url: str) -> Sequence[Command]:
    """Return what makes an endpoint that of an address, and what it was if it was that already.

    Who registers an address wants to be told, so one that was disabled is enabled again.
    """
    revise = ReviseWebhookEndpoint(
        endpoint_id=row["endpoint_id"],
        url=url,
        topics=tuple(row["topics"]),
        description=row["description"],
        verified=True,
    )
    return [revise, EnableWebhookEndpoint(endpoint_id=row["endpoint_id"])]


# --- orders and menus -------------------------------------------------------------------


@routes.add(
    "POST",
    "/api/v1/integration/webhook/create",
    "Set up webhook",
    role="admin",
    scope="write",
    bodies=(body_of(["url"], {"url": _URL, "type": {"enum": list(KINDS), "default": "ORDER"}}),),
    replies={200: Done},
    commits=True,
)
@_by_a_user
async def create(call: Call) -> Reply:
    """Add an address that orders' status changes are told (ORDER), or that is kept (Menu)."""
    body, said = await document(call)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    fields = Fields(said)
    url = _address(fields, "url")
    asked = "ORDER" if is_missing(said.get("type")) else webhook_type(said["type"])
    kind = next((kind for kind in KINDS if kind.lower() == asked.lower()), None)
    if kind is None:
        fields.refuse("type", INVALID_CHOICE)
    fields.check()
    unfit = _unfit(call, url)
    if unfit is not None:
        raise faults([UNABLE_TO_SET_UP, unfit])
    assert kind is not None, "one that is none has been refused"
    if any(row["url"] == url for row in await _endpoints(call, tuple(KINDS))):
        raise faults([EXISTS])
    command = CreateWebhookEndpoint(
        url=url,
        topics=KINDS[kind],
        format="standard",
        description=f"miPOS: {kind}",
        verified=True,
        kind=kind,
    )
    return await _create(call, body, command, _done(CREATED), _unable(UNABLE_TO_SET_UP))


@routes.add(
    "POST",
    "/api/v1/integration/webhook/update",
    "Update webhook",
    role="admin",
    scope="write",
    bodies=(
        body_of(list(_UPDATE), _UPDATE),
        Media("application/jsonc", {"type": "string", "description": "JSON with comments"}),
    ),
    replies={200: Done},
    commits=True,
)
@_by_a_user
async def update(call: Call) -> Reply:
    """Move a webhook to another address. The body may be JSON with comments."""
    body, said = await document(call, comments=True)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    fields = Fields(said)
    current, new = _address(fields, "current_url"), _address(fields, "new_url")
    fields.check()
    rows = await _endpoints(call)
    found = _of_kinds(rows, current)
    wrong: list[str] = []
    if found is None:
        is_anothers = any(row["url"] == current for row in rows)
        wrong.append(UNABLE_TO_UPDATE if is_anothers else NOT_THERE)
    if _of_kinds(rows, new) is not None:
        wrong.append(NEW_EXISTS)
    unfit = _unfit(call, new)
    if unfit is not None:
        wrong += [UNABLE_TO_UPDATE, unfit]
    if wrong:
        raise faults(list(dict.fromkeys(wrong)))
    return await commit(
        call,
        body,
        _moved(found, new),
        _done(UPDATED),
        side_effect=_alone(new, NEW_EXISTS),
        problem_of=_unable(UNABLE_TO_UPDATE),
    )


@routes.add(
    "POST",
    "/api/v1/integration/webhook/delete",
    "Delete webhook",
    role="admin",
    scope="write",
    bodies=(body_of(["url"], {"url": _URL}),),
    replies={200: Done},
    commits=True,
)
@_by_a_user
async def delete(call: Call) -> Reply:
    """Remove a webhook. One of another API is not removed by this one."""
    body, said = await document(call)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    fields = Fields(said)
    url = _address(fields, "url")
    fields.check()
    rows = await _endpoints(call)
    found = _of_kinds(rows, url)
    if found is None:
        is_anothers = any(row["url"] == url for row in rows)
        raise faults([UNABLE_TO_REMOVE if is_anothers else NOT_THERE])
    endpoint_id: int = found["endpoint_id"]

    async def forget(connection: Connection, _outcomes: Sequence[Outcome]) -> None:
        await forget_secrets(connection, call.caller.tenant_id, endpoint_id)

    return await commit(
        call,
        body,
        [DeleteWebhookEndpoint(endpoint_id=endpoint_id)],
        _done(REMOVED),
        side_effect=forget,
        problem_of=_unable(UNABLE_TO_REMOVE),
    )


@routes.add(
    "GET",
    "/api/v1/integration/webhooks",
    "Get user webhooks",
    role="admin",
    scope="read",
    replies={200: list[WebhookRow]},
    problems=("command_refused",),
)
@_by_a_user
async def list_webhooks(call: Call) -> Reply:
    """The addresses of orders' and menus' webhooks, in the order in which they were added."""
    async with reading(call) as read:
        rows = await read.connection.fetch(_ENDPOINTS, read.tenant_id, list(KINDS))
    return answer([WebhookRow(url=row["url"]) for row in rows], read.position)


# --- all of them ------------------------------------------------------------------------

_ENDPOINTS: Final = """
SELECT endpoint_id, url, kind, topics, description, receiver_id
FROM projections.webhook_endpoint
WHERE tenant_id = $1 AND ($2::text[] IS NULL OR kind = ANY ($2))
ORDER BY endpoint_id
"""

_SAME: Final = """
SELECT count(*) FROM projections.webhook_endpoint
WHERE tenant_id = $1 AND url = $2 AND kind = ANY ($3::text[])
"""


async def _endpoints(call: Call, kinds: Sequence[str] | None = None) -> Sequence[Any]:
    """Return the tenant's endpoints: of some kinds, or those of other APIs as well."""
    async with reading(call) as read:
        return await read.connection.fetch(
            _ENDPOINTS, read.tenant_id, None if kinds is None else list(kinds)
        )


def _of_kinds(rows: Sequence[Any], url: str) -> Any:
    return next((row for row in rows if row["url"] == url and row["kind"] in KINDS), None)


def _address(fields: Fields, field: str) -> str:
    """Return an address that is required, with a note when it is none."""
    url = fields.text(field, URL_LENGTH_MAX)
    is_address = url.startswith(("https://", "http://")) and not any(c.isspace() for c in url)
    if url and field not in fields.wrong and not is_address:
        fields.refuse(field, f"The {field.replace('_', ' ')} format is invalid.")
    return url


def _unfit(call: Call, url: str) -> str | None:
    """Return why nothing can be sent to an address, as a sentence; None when it can."""
    reason = check_url(url, call.house.settings.webhooks)
    return None if reason is None else f"The url {reason}."


async def _create(
    call: Call,
    body: bytes,
    command: CreateWebhookEndpoint,
    render: Callable[[Sequence[Outcome]], Rendered],
    problem_of: Callable[[Refusal], Problem],
) -> Reply:
    """Create an endpoint with a secret of its own, unless another request has just done so."""
    kinds = (STOCK,) if command.kind == STOCK else tuple(KINDS)
    alone = _alone(command.url, EXISTS, kinds)

    async def keep(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await alone(connection, outcomes)
        recorded = outcomes[0].events[0]
        created = recorded.event
        assert isinstance(created, WebhookEndpointCreated), "a creation that was not refused"
        await keep_secret(
            connection,
            call.caller.tenant_id,
            created.endpoint_id,
            new_secret(),
            recorded.recorded_at,
        )

    return await commit(call, body, [command], render, side_effect=keep, problem_of=problem_of)


def _alone(
    url: str, sentence: str, kinds: Sequence[str] = tuple(KINDS)
) -> Callable[[Connection, Sequence[Outcome]], Awaitable[None]]:
    """Return what refuses, within the commit, an address that another request has just taken."""

    async def check(connection: Connection, _outcomes: Sequence[Outcome]) -> None:
        tenant_id = await connection.fetchval("SELECT ledger.current_tenant()")
        if await connection.fetchval(_SAME, tenant_id, url, list(kinds)) > 1:
            raise faults([sentence])

    return check


def _done(message: str) -> Callable[[Sequence[Outcome]], Rendered]:
    def render(_outcomes: Sequence[Outcome]) -> Rendered:
        return rendered(200, Done(message=message))

    return render


def _unable(sentence: str) -> Callable[[Refusal], Problem]:
    """Return what tells a refusal of the ledger in these pages' sentences."""

    def problem(refusal: Refusal) -> Problem:
        if isinstance(refusal, WebhookEndpointNotFound):
            return faults([NOT_THERE])
        return faults([sentence, refusal.detail()])

    return problem
