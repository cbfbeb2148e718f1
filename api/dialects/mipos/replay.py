"""Answers kept under an Idempotency-Key, looked up before anything is looked at.

These pages tell everything that is wrong with a request at once, from what is there when it
comes. A request that has taken effect would find, sent again, that it has.
"""

from api.context import Call
from api.reads import reading
from api.reply import Reply
from api.writes import committed, idempotency_of
from ledger.idempotency import replay
from ledger.store import read_kept_responses


async def kept_reply(call: Call, body: bytes) -> Reply | None:
    """Return the answer that this very request was given before under its key; else None.

    Raise IdempotencyMismatch where it was given to another request.
    """
    idempotency = idempotency_of(call, body)
    if idempotency is None:
        return None
    async with reading(call) as read:
        kept = await read_kept_responses(read.connection, read.tenant_id, {idempotency.key})
    if idempotency.key not in kept:
        return None
    reply = replay(kept[idempotency.key], idempotency)
    return committed(reply.status, reply.body, reply.position, True, call.family)
