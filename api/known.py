"""How far a moment of the past is prepared, for reads that need all of a long log."""

from datetime import datetime
from typing import Final

import msgspec

from api.context import Call
from api.endpoint import Routes, query
from api.moments import AS_OF
from api.problems import Problem
from api.query import refuse_unknown
from api.reads import answer, path_id, reading
from api.reply import Reply
from projections import known_snapshots as known
from projections.past import Moment
from schemas.http_ledger import KnownReply

routes = Routes("Ledger")

_PARAMETERS: Final = (AS_OF,)


@routes.add(
    "GET",
    "/api/ledger/known/{position}",
    "Progress of a moment's preparation",
    parameters=_PARAMETERS,
    replies={200: KnownReply},
    problems=("moment_not_found",),
)
async def get_known(call: Call) -> Reply:
    """How far the log is folded to what it came to at a position, and with as_of to what had
    happened by then. Reads with known_at or as_of ask for that by themselves where the log is
    long; they answer when the state is ready."""
    position = path_id(call, "position", code="moment_not_found")
    values = query(call, _PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    as_of: datetime | None = values["as_of"]
    moment = Moment(position, as_of)
    async with reading(call, isolation="read committed") as read:
        kept = await known.progress(read.connection, call.house.engine, read.tenant_id, moment)
    if kept is None:
        raise Problem(
            "moment_not_found",
            f"Nothing is kept of position {position} and this as_of; a read with known_at asks "
            f"for it where more than {known.FOLDED_AT_ONCE_MAX:,} events have to be folded.",
        )
    reply = KnownReply(
        position=position,
        as_of=msgspec.UNSET if as_of is None else as_of,
        state=kept.state,
        folded=kept.folded,
        percent=100 if kept.state == "ready" else 100 * kept.folded // max(position, 1),
        requested_at=kept.requested_at,
        ready_at=kept.ready_at,
        reason=kept.reason,
    )
    return answer(reply, read.position)
