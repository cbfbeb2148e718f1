"""miPOS's inventory sync and stock update (seed 001)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from api.context import Call
from api.dialects.mipos.answers import MIPOS, SYSTEM, Done, body_of, faults, field_faults
from api.dialects.mipos.bodies import (
    Document,
    Fields,
    document,
    is_missing,
    webhook_type,
)
from api.dialects.mipos.known import sync_commands
from api.dialects.mipos.replay import kept_reply
from api.dialects.mipos.sync_body import SyncSaid, sync_said
from api.endpoint import Routes
from api.imports.cells import Unusable, instant_of
from api.query import parse_integer
from api.reads import reading
from api.reply import Reply
from api.writes import (
    EFFECTIVE_MAX,
    EFFECTIVE_MIN,
    committed,
    idempotency_of,
    json_body,
    refused,
    rendered,
)
from ledger.aliases import fold
from ledger.domain.books import is_zone
from ledger.domain.decision import Refusal
from ledger.domain.refusals_integration import ChangedMeanwhile, ExternalItemNotFound
from ledger.store import Connection
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.common import Command
from schemas.integration import ApplyExternalMovement, MovementType

routes = Routes("miPOS", family=MIPOS)

SYNCED: Final = "Synchronization data was sent to the inventory system."
UPDATED: Final = "Stock movement was sent to the inventory system."

NO_STORE: Final = "You don't have this store available."
NO_SYSTEM: Final = "The third_party_id does not have an Inventory System role or does not exist."
NOT_OWNER: Final = "This user_id_tps does not own this inventory system."
NO_RECORD: Final = (
    "No integration record was found between this user store and the third party system."
)
NO_ITEM: Final = "External id not found for this store in the inventory system."
NO_SUCH_WEBHOOK: Final = "This type of webhook is not available."
NO_WEBHOOK: Final = "This inventory system does not have this type of webhook available."

STOCK_WEBHOOK: Final = "3"
"""The one type of webhook that an inventory system sends."""
MOVEMENTS: Final[Mapping[str, MovementType]] = {"1": "add", "2": "remove"}
DATE_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
SENTENCES_MAX: Final = 1_000
ATTEMPTS_MAX: Final = 3

_STRING: Final = {"type": "string"}


def _entries(*required: str, **optional: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what OpenAPI says of a list of objects that have these texts."""
    properties = {**dict.fromkeys(required, _STRING), **optional}
    entry = {"type": "object", "required": list(required), "properties": properties}
    return {"type": "array", "minItems": 1, "items": entry}


_FACTOR: Final = {
    **_STRING,
    "description": "How many consumption units one purchase unit is: 12, 0.5 or 1/3. A field of "
    "ours; without it the purchase unit is not taken over",
}
_SYNC_BODY: Final = body_of(
    ["items", "inventory_system_id", "units", "suppliers", "user_id_tps"],
    {
        "items": _entries(
            "name",
            "external_id",
            "purchase_unit_external_id",
            "consumption_unit_external_id",
            "supplier_external_id",
            "cost",
            "stock",
            purchase_unit_factor=_FACTOR,
        ),
        "units": _entries("name", "short_name", "external_id"),
        "suppliers": _entries("name", "external_id"),
        "user_id_tps": _STRING,
        "inventory_system_id": _STRING,
    },
)


# --- who and where ----------------------------------------------------------------------


class Store(NamedTuple):
    """One of our locations as miPOS's store, and what the ids sent with it come to."""

    location_id: int
    time_zone: str
    wrong: Sequence[str]


# A link comes first, then the location's code, then its id: a store's number may well be the
# id of another location.
_STORE = """
SELECT w.location_id, w.time_zone, l.target_id IS NOT NULL AS is_linked
FROM (
    SELECT target_id AS location_id, 1 AS place FROM projections.external_link
    WHERE tenant_id = $1 AND external_id = $2 AND kind = 'store' AND system = $5
    UNION ALL
    SELECT target_id, 2 FROM projections.alias
    WHERE tenant_id = $1 AND kind = 'location' AND key = $3
    UNION ALL
    SELECT $4::bigint, 3
) named
JOIN projections.location w ON w.tenant_id = $1 AND w.location_id = named.location_id
LEFT JOIN projections.external_link l
    ON l.tenant_id = $1 AND l.system = $5 AND l.kind = 'store' AND l.target_id = w.location_id
ORDER BY named.place LIMIT 1
"""

_SYSTEM = "SELECT inventory_system_id::text FROM ledger.tenant WHERE tenant_id = $1"

_OWNERS = """
SELECT user_id::text FROM access.app_user
WHERE tenant_id = $1 AND role = 'owner' AND is_active
"""


async def _store(
    connection: Connection, tenant_id: int, store_id: str, system_id: str, user_id: str
) -> Store:
    """Return the store, with miPOS's sentences about the ids that do not fit it."""
    row = await connection.fetchrow(
        _STORE, tenant_id, store_id, fold(store_id), parse_integer(store_id), SYSTEM
    )
    own = await connection.fetchval(_SYSTEM, tenant_id)
    owners = {owner["user_id"] for owner in await connection.fetch(_OWNERS, tenant_id)}
    wrong: list[str] = []
    if row is None:
        wrong.append(NO_STORE)
    if system_id.lower() != own:
        wrong.append(NO_SYSTEM)
    elif user_id not in owners:
        wrong.append(NOT_OWNER)
    if row is not None and not row["is_linked"]:
        wrong.append(NO_RECORD)
    if row is None:
        return Store(0, "UTC", wrong)
    return Store(row["location_id"], row["time_zone"], wrong)


def _store_id(call: Call) -> str:
    """Return the store that the path names; no name that long is one."""
    return call.path_params["store_id"].replace("\x00", "")[:200]


# --- synchronising ----------------------------------------------------------------------


@routes.add(
    "POST",
    "/api/v1/inventory/pos/store/{store_id}/system/sync",
    "Sync inventory",
    role="manager",
    scope="write",
    bodies=(_SYNC_BODY,),
    replies={200: Done},
    commits=True,
)
async def sync(call: Call) -> Reply:
    """Take over the point of sale's units, suppliers, items and stock, all of it or nothing. The
    same again changes nothing."""
    settings = call.house.settings
    body = await json_body(call, settings.body_bytes_max)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    read = sync_said(body, settings.bulk_commands_max)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        reply = await _sync(call, body, read, is_last=attempt == ATTEMPTS_MAX)
        if reply is not None:
            return reply
    raise AssertionError("the last attempt is answered")


async def _sync(call: Call, body: bytes, said: SyncSaid, *, is_last: bool) -> Reply | None:
    """Submit a synchronisation; None when what it was made from has changed meanwhile."""
    async with reading(call) as read:
        store = await _store(
            read.connection,
            read.tenant_id,
            _store_id(call),
            said.inventory_system_id,
            said.user_id_tps,
        )
        wrong = [*store.wrong, *said.wrong]
        if wrong:
            raise faults(wrong[:SENTENCES_MAX])
        commands = await sync_commands(read.connection, read.tenant_id, store.location_id, said)
    changed = False

    def refuse(refusals: Sequence[Refusal]) -> Rendered:
        nonlocal changed
        changed = any(isinstance(refusal, ChangedMeanwhile) for refusal in refusals)
        return _refused(refusals)

    reply = await _submit(call, body, commands, SYNCED, refuse)
    return None if changed and not is_last else reply


# --- stock update -----------------------------------------------------------------------

_UPDATE_BODY = body_of(
    [
        "user_id_tps",
        "inventory_system_id",
        "current_stock",
        "quantity",
        "date",
        "movement_type",
        "external_id",
    ],
    {
        "user_id_tps": _STRING,
        "inventory_system_id": _STRING,
        "current_stock": {**_STRING, "examples": ["12.44"]},
        "quantity": {**_STRING, "examples": ["1.25"]},
        "date": {**_STRING, "examples": ["2020-05-30 12:45:03"]},
        "movement_type": {"enum": [1, 2], "description": "1: add, 2: remove"},
        "external_id": _STRING,
        "webhook_type": {
            "enum": [3, "3"],
            "description": "Ours: the type of webhook that must be there to tell of movements",
        },
    },
)

_ITEM_LINKED = """
SELECT EXISTS (
    SELECT FROM projections.external_link
    WHERE tenant_id = $1 AND external_id = $2 AND kind = 'item' AND system = $3
)
"""

_HAS_WEBHOOK = """
SELECT EXISTS (
    SELECT FROM projections.webhook_endpoint
    WHERE tenant_id = $1 AND format = $2 AND kind = $3 AND verified AND disabled_cause IS NULL
)
"""


class Movement(NamedTuple):
    """What a stock update says. ``date`` is on the store's clocks."""

    user_id_tps: str
    inventory_system_id: str
    current_stock: Decimal
    quantity: Decimal
    date: str
    movement: MovementType
    external_id: str
    webhook_type: str | None


def movement_said(said: Document) -> Movement:
    """Return what a stock update says; raise Problem (422) for what is missing or cannot be."""
    fields = Fields(said)
    user_id = fields.text("user_id_tps")
    system_id = fields.text("inventory_system_id")
    current_stock = fields.number("current_stock")
    quantity = fields.number("quantity")
    if "quantity" not in fields.wrong and quantity <= 0:
        fields.refuse("quantity", "The quantity must be greater than 0.")
    date = fields.text("date")
    kind = fields.require("movement_type")
    movement = MOVEMENTS.get(webhook_type(kind))
    if kind is not None and movement is None:
        fields.refuse("movement_type", "The selected movement type is invalid.")
    external_id = fields.text("external_id")
    fields.check()
    asked = said.get("webhook_type")
    return Movement(
        user_id,
        system_id,
        current_stock,
        quantity,
        date,
        movement or "add",
        external_id,
        None if is_missing(asked) else webhook_type(asked),
    )


@routes.add(
    "POST",
    "/api/v1/inventory/pos/store/{store_id}/system/stock/update",
    "Send update of stock of an item",
    role="manager",
    scope="write",
    bodies=(_UPDATE_BODY,),
    replies={200: Done},
    commits=True,
)
async def update_stock(call: Call) -> Reply:
    """Take over a movement of one item. ``date`` is on the store's clocks. Where current_stock is
    not what is on hand then, that is recorded as a divergence; nothing moves by it."""
    body, said = await document(call)
    kept = await kept_reply(call, body)
    if kept is not None:
        return kept
    movement = movement_said(said)
    async with reading(call) as read:
        connection, tenant_id = read.connection, read.tenant_id
        store = await _store(
            connection,
            tenant_id,
            _store_id(call),
            movement.inventory_system_id,
            movement.user_id_tps,
        )
        wrong = list(store.wrong)
        if not await connection.fetchval(_ITEM_LINKED, tenant_id, movement.external_id, SYSTEM):
            wrong.append(NO_ITEM)
        if movement.webhook_type not in (None, STOCK_WEBHOOK):
            wrong.append(NO_SUCH_WEBHOOK)
        elif movement.webhook_type is not None and not await connection.fetchval(
            _HAS_WEBHOOK, tenant_id, SYSTEM, STOCK_WEBHOOK
        ):
            wrong.append(NO_WEBHOOK)
    if wrong:
        raise faults(wrong)
    command = ApplyExternalMovement(
        system=SYSTEM,
        location_id=store.location_id,
        item=movement.external_id,
        movement=movement.movement,
        quantity=movement.quantity,
        current_stock=movement.current_stock,
        effective_at=_instant(movement.date, store.time_zone),
    )
    return await _submit(call, body, [command], UPDATED, _refused)


def _instant(date: str, time_zone: str) -> datetime:
    """Return a store's time as an instant; raise Problem (422) when its clocks never show it."""
    try:
        zone = ZoneInfo(time_zone if is_zone(time_zone) else "UTC")
        at = instant_of("date", date, zone, DATE_FORMAT)
    except Unusable as unusable:
        sentence = "The date does not match the format Y-m-d H:i:s."
        if unusable.code == "no_such_local_time":
            sentence = f"The date is none: {unusable.detail}."
        raise field_faults({"date": [sentence]}) from None
    if not EFFECTIVE_MIN <= at < EFFECTIVE_MAX:
        raise field_faults({"date": ["The date must be from 1970 to 2199."]})
    return at


# --- both -------------------------------------------------------------------------------


async def _submit(
    call: Call,
    body: bytes,
    commands: Sequence[Command],
    done: str,
    refuse: Any,
) -> Reply:
    """Submit commands that take effect together; every refusal among them is told."""
    caller = call.caller
    idempotency = idempotency_of(call, body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        refusals = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
        return refuse(refusals) if refusals else rendered(200, Done(message=done))

    reply = await call.house.committer.submit(
        Submission(
            tenant_id=caller.tenant_id,
            items=[Item(command) for command in commands],
            meta=call.meta(None if idempotency is None else idempotency.key),
            render=render,
            idempotency=idempotency,
            credential=caller.credential,
        )
    )
    return committed(reply.status, reply.body, reply.position, reply.replayed, call.family)


def _refused(refusals: Sequence[Refusal]) -> Rendered:
    """Return the answer to what the ledger refuses: its own sentences, each once."""
    sentences: dict[str, None] = {}
    if any(isinstance(refusal, ExternalItemNotFound) for refusal in refusals):
        sentences[NO_ITEM] = None
    sentences.update(dict.fromkeys(refusal.detail() for refusal in refusals))
    problem = faults(list(sentences)[:SENTENCES_MAX])
    return refused(refusals[0], lambda _refusal: problem, MIPOS)
