"""Ingestion batches: listed, read with the lines that were refused, and demand taken back."""

from collections.abc import Sequence
from typing import Final, get_args

import msgspec
from asyncpg import Record

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, refuse_unknown
from api.reads import Reading, answer, reading
from api.reply import Reply
from api.writes import commit, no_body, rendered
from ledger.submission import Outcome, Rendered
from projections.import_batches import STATUSES, list_batches, list_refusals, read_batch
from schemas.demand import ReverseImportBatch
from schemas.http_demand import (
    BatchReversedReply,
    ImportBatchesReply,
    ImportBatchRow,
    ImportRefusalRow,
    ImportRefusalsReply,
    ReversalBody,
)
from schemas.import_batch import ImportKind

routes = Routes("Import batches")

BATCH_ID_LENGTH_MAX: Final = 50
_BODY: Final = BodyDecoder(ReversalBody)
_KINDS: Final[tuple[str, ...]] = get_args(ImportKind)
_LIST_PARAMETERS: Final = (
    Parameter("kind", "string", "Only batches of this kind", values=_KINDS),
    Parameter("status", "string", "Only those that are open, closed or reversed", values=STATUSES),
    PAGE,
    LIMIT,
    MIN_POSITION,
)
_PAGE_PARAMETERS: Final = (PAGE, LIMIT, MIN_POSITION)


@routes.add(
    "GET",
    "/api/import-batches",
    "List import batches",
    parameters=_LIST_PARAMETERS,
    replies={200: ImportBatchesReply},
    problems=("not_yet",),
)
async def list_import_batches(call: Call) -> Reply:
    """What was taken in from files and feeds, the latest first."""
    values = query(call, _LIST_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _LIST_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call, values["min_position"]) as read:
        rows, total = await list_batches(
            read.connection,
            read.tenant_id,
            values["kind"],
            values["status"],
            limit,
            (page - 1) * limit,
        )
    reply = ImportBatchesReply(
        import_batches=[_row(row) for row in rows], total=total, page=page, limit=limit
    )
    return answer(reply, read.position)


@routes.add(
    "GET",
    "/api/import-batches/{batch}",
    "Get an import batch",
    parameters=(MIN_POSITION,),
    replies={200: ImportBatchRow},
    problems=("import_batch_not_found", "not_yet"),
)
async def get_import_batch(call: Call) -> Reply:
    """One batch: how far it is, and how many of its lines were accepted and refused."""
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await _batch(call, read)
    return answer(_row(row), read.position)


@routes.add(
    "GET",
    "/api/import-batches/{batch}/refusals",
    "List a batch's refused lines",
    parameters=_PAGE_PARAMETERS,
    replies={200: ImportRefusalsReply},
    problems=("import_batch_not_found", "not_yet"),
)
async def list_batch_refusals(call: Call) -> Reply:
    """The lines that became no event, in their order, each with the reason."""
    values = query(call, _PAGE_PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PAGE_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call, values["min_position"]) as read:
        batch = await _batch(call, read)
        rows = await list_refusals(
            read.connection, read.tenant_id, batch["batch_id"], limit, (page - 1) * limit
        )
    reply = ImportRefusalsReply(
        refusals=[
            ImportRefusalRow(line=row["line"], code=row["code"], detail=row["detail"])
            for row in rows
        ],
        total=batch["refused"],
        page=page,
        limit=limit,
    )
    return answer(reply, read.position)


@routes.add(
    "POST",
    "/api/import-batches/{batch}/reverse",
    "Reverse an import batch",
    role="manager",
    scope="write",
    body=ReversalBody,
    replies={200: BatchReversedReply},
    problems=("import_batch_not_found",),
    commits=True,
)
async def reverse_import_batch(call: Call) -> Reply:
    """Take back all demand that a batch recorded: it is gone from the report, and stays in the
    history. A batch that is open takes no more lines from then on. Reversed already: nothing to
    do."""
    batch_id = _batch_id(call)
    body = await no_body(call)
    said = _BODY.decode(body) if body.strip() else ReversalBody()

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        return rendered(200, BatchReversedReply(id=batch_id, already=not outcomes[0].events))

    command = ReverseImportBatch(batch_id=batch_id, reason=said.reason)
    return await commit(call, body, [command], render)


# --- parts ------------------------------------------------------------------------------


def _batch_id(call: Call) -> str:
    """Return the batch that the path names; raise Problem (404) for what can be no name of one."""
    batch_id: str = call.path_params["batch"]
    if not 1 <= len(batch_id) <= BATCH_ID_LENGTH_MAX or not batch_id.isprintable():
        raise _not_found(batch_id)
    return batch_id


async def _batch(call: Call, read: Reading) -> Record:
    batch_id = _batch_id(call)
    row = await read_batch(read.connection, read.tenant_id, batch_id)
    if row is None:
        raise _not_found(batch_id)
    return row


def _not_found(batch_id: str) -> Problem:
    shown = batch_id[:BATCH_ID_LENGTH_MAX].encode("utf-8", "replace").decode()
    return Problem("import_batch_not_found", f"There is no import batch {shown!r}.")


def _row(row: Record) -> ImportBatchRow:
    return ImportBatchRow(
        id=row["batch_id"],
        kind=row["kind"],
        status=row["status"],
        source_name=row["source_name"],
        source_digest=row["source_digest"],
        options=msgspec.json.decode(row["options"], type=dict[str, str]),
        lines=row["accepted"] + row["refused"],
        accepted=row["accepted"],
        refused=row["refused"],
        chunks=row["chunks"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        reversed_at=row["reversed_at"],
        reversed_reason=row["reversed_reason"],
    )
