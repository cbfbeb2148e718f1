"""Inventory pushed by an outside system (seed 004): the inbound webhook, and its log."""

import time

import msgspec

from api import webhook_log
from api.context import Call
from api.decoding import DECODE_FAULTS, read_body, require_body, require_json
from api.dialects.woocommerce import sync
from api.dialects.woocommerce.errors import NAMESPACE, WEBHOOK_ERRORS
from api.dialects.woocommerce.inventory import ITEM_PROBLEMS
from api.endpoint import Media, Routes, reply_to
from api.reply import Reply
from schemas.http_woocommerce import BulkSyncReply, BulkSyncRolledBack, InventoryUpdateReply

routes = Routes("WooCommerce", WEBHOOK_ERRORS)

_ITEM = {"$ref": "#/components/schemas/InventoryItemBody"}
_BODY = Media(
    "application/json",
    {
        "description": "One item, a list of items, or a body as bulk-sync takes it",
        "anyOf": [
            _ITEM,
            {"$ref": "#/components/schemas/BulkSyncBody"},
            {"type": "array", "minItems": 1, "items": _ITEM},
        ],
    },
)
_REPLY = Media(
    "application/json",
    {
        "anyOf": [
            {"$ref": f"#/components/schemas/{kind.__name__}"}
            for kind in (InventoryUpdateReply, BulkSyncReply)
        ]
    },
)


class _Many(msgspec.Struct, frozen=True):
    """What tells a body with items from one item."""

    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Many).decode


@routes.add(
    "POST",
    f"{NAMESPACE}/webhook/inventory-update",
    "Receive inventory updates from an outside system",
    role=None,
    scope="webhook",
    bodies=(_BODY,),
    replies={200: _REPLY, 409: BulkSyncRolledBack},
    problems=(*ITEM_PROBLEMS, "too_many_items", "rolled_back"),
    commits=True,
)
async def receive(call: Call) -> Reply:
    """Take one item, as inventory/update does, or items, as inventory/bulk-sync does. The secret
    is an API key whose only permission is webhook."""
    received = webhook_log.Received(call.house.now(), time.perf_counter(), b"")
    try:
        require_json(call.headers)
        body = await read_body(call.receive, call.headers, call.house.settings.body_bytes_max)
        received = received._replace(body=body)
        require_body(body)
        reply = await _apply(call, body)
    except Exception as fault:
        reply = reply_to(fault, call.family)
    await webhook_log.note(call, received, reply)
    return reply


async def _apply(call: Call, body: bytes) -> Reply:
    if _holds_many(body):
        return await sync.apply_many(call, body, sync.bulk_of(call, body))
    return await sync.apply_one(call, body, sync.one_of(body))


def _holds_many(body: bytes) -> bool:
    """Tell whether a body holds items, whether they are right or not."""
    if body.lstrip()[:1] == b"[":
        return True
    try:
        return _decode(body).items is not msgspec.UNSET
    except DECODE_FAULTS:
        return False
