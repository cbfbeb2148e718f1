"""Rebuilds of read models: asking for one, and how far it is.

The tables are those of all tenants, so this is for whoever runs the installation: the first
tenant's owners and admins. What they are told has no figure of another tenant's but how many of
them had a difference.
"""

from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, PAGE, refuse_unknown
from api.reads import answer, path_id, reading
from api.reply import Reply, encode
from api.writes import json_body
from ledger.store import tenant_transaction
from projections import rebuild_requests
from projections.engine import FOLLOWING, INLINE
from projections.rebuild_requests import Found, RebuildRunning
from schemas.http_rebuilds import RebuildBody, RebuildReply, RebuildsReply, RebuiltTableReply

routes = Routes("Rebuilds")

OPERATOR: Final = 1
"""The tenant of those who run the installation: the first one, which its first start made."""
NOT_FOUND: Final = "rebuild_not_found"
RUNNING: Final = "rebuild_running"
NAMES: Final = tuple(projection.name for projection in (*INLINE, *FOLLOWING))
_PREFIX: Final = "/api/ledger/rebuilds"
_BODY: Final = BodyDecoder(RebuildBody)
_PARAMETERS: Final = (PAGE, LIMIT)
_decode_found: Final = msgspec.json.Decoder(Found).decode


@routes.add(
    "POST",
    _PREFIX,
    "Rebuild read models",
    role="admin",
    scope=None,
    body=RebuildBody,
    replies={202: RebuildReply},
    problems=(RUNNING,),
)
async def start_rebuild(call: Call) -> Reply:
    """Make read models anew from the log, while the service goes on, and put them in the place of
    the live ones if both agree at one position. `Location` names where its progress is. For the
    first tenant of an installation. There is one at a time: asked for once more as it is, it is
    the one that is under way."""
    caller = call.caller
    body = _BODY.decode(await json_body(call))
    if caller.tenant_id != OPERATOR:
        raise Problem(
            "forbidden",
            "A rebuild is of all tenants' tables, so only the installation's first tenant may "
            "ask for one; ask who runs this service.",
        )
    names = NAMES if body.projections == "all" else tuple(dict.fromkeys(body.projections))
    unknown = next((name for name in names if name not in NAMES), None)
    if unknown is not None:
        raise Problem(
            "invalid_field",
            f"projections: there is no {unknown[:60]!r}; there are {', '.join(NAMES)}.",
            field="projections",
        )
    try:
        async with tenant_transaction(
            call.house.pool, caller.tenant_id, credential=caller.credential
        ) as connection:
            rebuild_id = await rebuild_requests.request(
                connection,
                caller.tenant_id,
                names,
                replace_different=body.replace_different,
                requested_by=caller.actor,
                now=call.house.now(),
            )
    except RebuildRunning as running:
        rebuild_id = running.rebuild_id
        if not running.same:
            raise Problem(
                RUNNING,
                f"Rebuild {rebuild_id} is under way; wait for its end: "
                f"GET {_PREFIX}/{rebuild_id} tells how far it is.",
                rebuild_id=rebuild_id,
            ) from None
    async with reading(call) as read:
        row = await rebuild_requests.read(read.connection, read.tenant_id, rebuild_id)
    location = f"{_PREFIX}/{rebuild_id}".encode()
    return Reply(202, encode(_shown(row)), [(b"location", location)])


@routes.add(
    "GET",
    _PREFIX,
    "List rebuilds",
    role="admin",
    scope=None,
    parameters=_PARAMETERS,
    replies={200: RebuildsReply},
)
async def list_rebuilds(call: Call) -> Reply:
    """The rebuilds that your tenant asked for, the newest first, with how far each is."""
    values = query(call, _PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call) as read:
        rows, total = await rebuild_requests.read_page(
            read.connection, read.tenant_id, limit, (page - 1) * limit
        )
    found = [_shown(row) for row in rows]
    reply = RebuildsReply(rebuilds=found, total=total, page=page, limit=limit)
    return answer(reply, read.position)


@routes.add(
    "GET",
    f"{_PREFIX}/{{id}}",
    "Get a rebuild",
    role="admin",
    scope=None,
    replies={200: RebuildReply},
    problems=(NOT_FOUND,),
)
async def get_rebuild(call: Call) -> Reply:
    """How far a rebuild is; at its end, whether each table was as the log says."""
    rebuild_id = path_id(call, code=NOT_FOUND)
    async with reading(call) as read:
        row = await rebuild_requests.read(read.connection, read.tenant_id, rebuild_id)
    if row is None:
        raise Problem(NOT_FOUND, f"There is no rebuild {rebuild_id}.")
    return answer(_shown(row), read.position)


def _shown(row: Any) -> RebuildReply:
    found = None if row["found"] is None else _decode_found(row["found"])
    seconds, done = row["seconds"], row["events_done"]
    return RebuildReply(
        id=row["rebuild_id"],
        projections=list(row["projections"]),
        replace_different=row["replace_different"],
        state=row["state"],
        step=row["step"],
        events_done=done,
        events_total=row["events_total"],
        events_per_second=int(done / seconds) if seconds else None,
        seconds=None if seconds is None else round(seconds, 3),
        swapped=None if found is None else found.swapped,
        tables=[]
        if found is None
        else [RebuiltTableReply(**msgspec.structs.asdict(table)) for table in found.tables],
        reason=row["reason"],
        requested_by=row["requested_by"],
        requested_at=row["requested_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
