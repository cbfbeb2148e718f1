"""Where sealed texts are opened: as a reply leaves, for whom it is meant, and never before.

The keys are read for each reply. So a text can be read by whoever may read the rest of the
reply, until its key is destroyed; from then on `ledger.sealing.ERASED` stands in its place, in
replies that were kept under an Idempotency-Key too.
"""

from collections.abc import Sequence
from typing import Any, Final

from api.context import Call
from api.reply import Reply
from ledger.errors import OutcomeUnknown
from ledger.sealing import MARKER, PREFIX, TOKEN, Keys, open_json, open_text, subjects_in
from ledger.session import CONNECTION_LOST

_READING: Final = frozenset({"GET", "HEAD"})


async def unsealed(call: Call, reply: Reply) -> Reply:
    """Return a reply whose JSON has all tokens opened; the reply itself where there are none."""
    if MARKER not in reply.body or call.principal is None:
        return reply
    try:
        reply.body = await unsealed_json(call, reply.body)
    except CONNECTION_LOST as error:
        if call.scope["method"] in _READING:  # type: ignore[typeddict-item]
            raise
        # What was asked for has been done, or not; nobody must be told that it surely was not.
        raise OutcomeUnknown from error
    return reply


async def unsealed_json(call: Call, body: bytes) -> bytes:
    """Return JSON with all tokens in its strings opened."""
    if MARKER not in body:
        return body
    return open_json(body, await _keys(call, subjects_in(body)))


async def unsealed_rows(call: Call, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return rows of cells with all tokens in their texts opened.

    What is made of a cell, for a spreadsheet or a CSV file, must be made of the opened text: it
    is as much anybody's own text as any other.
    """
    subjects = {
        match[1]
        for row in rows
        for cell in row
        if isinstance(cell, str) and PREFIX in cell
        for match in TOKEN.finditer(cell)
    }
    if not subjects:
        return [list(row) for row in rows]
    keys = await _keys(call, subjects)
    return [
        [
            open_text(cell, keys) if isinstance(cell, str) and PREFIX in cell else cell
            for cell in row
        ]
        for row in rows
    ]


async def _keys(call: Call, subjects: set[str]) -> Keys:
    return await call.house.personal.keys(call.caller.tenant_id, subjects)
