"""Proofs that anybody can check without trusting us: checkpoints, inclusion, consistency."""

from typing import Any, Final

import asyncpg

from api.context import Call
from api.endpoint import Media, Routes, query
from api.problems import Problem
from api.query import LIMIT, PAGE, Parameter, refuse_unknown
from api.reads import Reading, answer, path_id, reading
from api.reply import Reply, encode
from ledger import notes
from ledger.checkpoints import HistoryChanged, consistency_path, inclusion_path
from ledger.showing import event_json
from ledger.store import EventRow, read_between
from schemas.http_proof import (
    CheckpointReply,
    CheckpointsReply,
    ConsistencyReply,
    InclusionReply,
    ReceiptReply,
    VerifierKeyReply,
    VerifierKeysReply,
)

routes = Routes("Proofs")

RECEIPT_VERSION: Final = 1
_NOTE: Final = b"text/plain; charset=utf-8"

_SIZE = Parameter("size", "integer", "A checkpoint's size; the newest one's if not given", None, 1)
_POSITION = Parameter("position", "integer", "The event's position", required=True, minimum=1)
_FROM = Parameter("from", "integer", "An earlier checkpoint's size", required=True, minimum=1)
_TO = Parameter("to", "integer", "A later one's; the newest one's if not given", None, 1)

_CHECKPOINT = """
SELECT size, root, note, keys, signed_at FROM proof.checkpoint
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR size = $2) ORDER BY size DESC LIMIT 1
"""

_CHECKPOINTS = """
SELECT size, root, note, keys, signed_at FROM proof.checkpoint
WHERE tenant_id = $1 ORDER BY size DESC LIMIT $2 OFFSET $3
"""

_KEYS = """
SELECT key, min(signed_at) AS first_signed_at, max(signed_at) AS last_signed_at
FROM proof.checkpoint, unnest(keys) AS key
WHERE tenant_id = $1 GROUP BY key ORDER BY min(signed_at), key
"""


async def _checkpoint(read: Reading, size: int | None) -> asyncpg.Record:
    """Return a checkpoint's row; raise Problem (404) where there is none."""
    row = await read.connection.fetchrow(_CHECKPOINT, read.tenant_id, size)
    if row is None:
        which = "yet; it is signed a second after the first event"
        if size is not None:
            which = f"of size {size}; GET /api/ledger/checkpoints lists those there are"
        raise Problem("not_found", f"There is no checkpoint {which}.")
    return row


def _shown(row: asyncpg.Record) -> CheckpointReply:
    return CheckpointReply(
        origin=notes.read(row["note"]).origin,
        size=row["size"],
        root=row["root"].hex(),
        signed_at=row["signed_at"],
        note=row["note"],
        keys=row["keys"],
    )


def _values(call: Call, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    refuse_unknown(call.scope["query_string"], parameters)
    return query(call, parameters)


@routes.add(
    "GET",
    "/api/ledger/checkpoint",
    "Get a signed checkpoint",
    parameters=(_SIZE,),
    replies={200: Media("text/plain")},
    problems=("not_found", "history_changed"),
)
async def get_checkpoint(call: Call) -> Reply:
    """The newest checkpoint, or that of a size, as a signed note (C2SP signed-note and
    tlog-checkpoint, Ed25519): the log's name, how many events it had, and the root over them. One
    is signed at most every second while there are new events. Keep it elsewhere."""
    values = _values(call, (_SIZE,))
    async with reading(call) as read:
        row = await _checkpoint(read, values["size"])
    headers = [(b"ledger-position", b"%d" % row["size"])]
    return Reply(200, row["note"].encode(), headers, _NOTE)


_LIST = (PAGE, LIMIT)


@routes.add(
    "GET",
    "/api/ledger/checkpoints",
    "List signed checkpoints",
    parameters=_LIST,
    replies={200: CheckpointsReply},
)
async def list_checkpoints(call: Call) -> Reply:
    """All that have been signed, the newest first."""
    values = _values(call, _LIST)
    page, limit = values["page"], values["limit"]
    async with reading(call) as read:
        rows = await read.connection.fetch(_CHECKPOINTS, read.tenant_id, limit, (page - 1) * limit)
        total = await read.connection.fetchval(
            "SELECT count(*) FROM proof.checkpoint WHERE tenant_id = $1", read.tenant_id
        )
    listed = [_shown(row) for row in rows]
    reply = CheckpointsReply(checkpoints=listed, total=total or 0, page=page, limit=limit)
    return answer(reply, read.position)


@routes.add(
    "GET",
    "/api/ledger/keys",
    "List the keys that sign checkpoints",
    replies={200: VerifierKeysReply},
)
async def list_keys(call: Call) -> Reply:
    """Every key that has signed a checkpoint of this log, as a verifier key. Compare them with
    those that the operator has given you by another way: a key from here proves nothing alone."""
    async with reading(call) as read:
        rows = await read.connection.fetch(_KEYS, read.tenant_id)
    keys = [VerifierKeyReply(**dict(row)) for row in rows]
    return answer(VerifierKeysReply(keys=keys), read.position)


_INCLUSION = (_POSITION, _SIZE)


@routes.add(
    "GET",
    "/api/ledger/proof/inclusion",
    "Prove that an event is in the log",
    parameters=_INCLUSION,
    replies={200: InclusionReply},
    problems=("not_found", "history_changed"),
)
async def prove_inclusion(call: Call) -> Reply:
    """The hashes that lead from an event's leaf to a signed root (RFC 9162, section 2.1.3; leaves
    are counted from 0 there). What a leaf is the hash of, docs/adr/0003 says."""
    values = _values(call, _INCLUSION)
    async with reading(call) as read:
        row = await _checkpoint(read, values["size"])
        proof = await _inclusion(read, values["position"], row)
    return answer(proof, read.position)


async def _inclusion(read: Reading, position: int, row: asyncpg.Record) -> InclusionReply:
    size = row["size"]
    if position > size:
        raise Problem(
            "not_found",
            f"The event at position {position} is not in the checkpoint of size {size}; one that "
            f"holds it is signed within about a second.",
        )
    event = await _event(read, position)
    path = await inclusion_path(read.connection, read.tenant_id, position, size)
    return InclusionReply(
        position=position,
        leaf_index=position - 1,
        leaf_hash=event.leaf_hash.hex(),
        size=size,
        root=row["root"].hex(),
        hashes=[part.hex() for part in path],
    )


async def _event(read: Reading, position: int) -> EventRow:
    found = await read_between(read.connection, read.tenant_id, position, position)
    if not found:
        raise HistoryChanged(f"the event at position {position} is missing")
    return found[0]


_CONSISTENCY = (_FROM, _TO)


@routes.add(
    "GET",
    "/api/ledger/proof/consistency",
    "Prove that nothing was changed between two checkpoints",
    parameters=_CONSISTENCY,
    replies={200: ConsistencyReply},
    problems=("not_found", "history_changed"),
)
async def prove_consistency(call: Call) -> Reply:
    """The hashes that lead to both roots: the later log begins with the earlier one, whole and
    unchanged (RFC 9162, section 2.1.4)."""
    values = _values(call, _CONSISTENCY)
    if values["to"] is not None and values["to"] < values["from"]:
        raise Problem("invalid_parameter", "to: must not be below from.", field="to")
    async with reading(call) as read:
        old = await _checkpoint(read, values["from"])
        new = await _checkpoint(read, values["to"])
        path = await consistency_path(read.connection, read.tenant_id, old["size"], new["size"])
    reply = ConsistencyReply(
        from_size=old["size"],
        from_root=old["root"].hex(),
        to_size=new["size"],
        to_root=new["root"].hex(),
        hashes=[part.hex() for part in path],
    )
    return answer(reply, read.position)


@routes.add(
    "GET",
    "/api/ledger/events/{position}/receipt",
    "Get an event's receipt",
    parameters=(_SIZE,),
    replies={200: ReceiptReply},
    problems=("history_changed",),
    as_stored=True,
)
async def get_receipt(call: Call) -> Reply:
    """One event with its proof and the signed checkpoint, in one file that ``stockledger verify``
    checks offline."""
    position = path_id(call, "position")
    values = _values(call, (_SIZE,))
    async with reading(call) as read:
        row = await _checkpoint(read, values["size"])
        proof = await _inclusion(read, position, row)
        event = await _event(read, position)
    receipt = {
        "stockledger_receipt": RECEIPT_VERSION,
        "tenant_id": read.tenant_id,
        "inclusion": proof,
        "checkpoint": row["note"],
        "keys": row["keys"],
    }
    body = encode(receipt)[:-1] + b',"event":' + event_json(event) + b"}"
    headers = [
        (b"ledger-position", b"%d" % read.position),
        (b"content-disposition", b'attachment; filename="receipt-%d.json"' % position),
    ]
    return Reply(200, body, headers)
