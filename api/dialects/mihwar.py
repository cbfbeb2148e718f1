"""Mihwar's ingestion of order lines (seed 000): historical quantities for existing SKUs.

The document fixes the path, the key, the header, ``externalSourceId``, ``orderDate``,
``periodKind`` and ``importBatchId``; the rest of the shape is ours (`docs/guides/mihwar.md`).
"""

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from api.bulk_keys import duplicates_possible
from api.context import Call
from api.decoding import DECODE_FAULTS, BodyDecoder, is_suspicious
from api.endpoint import Media, Routes, query
from api.ingestion import CHUNK_LINES, Chunk, DemandIngestion, Finished, SaidOfAll
from api.large_body import DocumentReader, LineSplitter, SpooledLines, body_pieces
from api.mihwar_errors import INGESTION_PREFIX, camel, mihwar_family
from api.problems import Problem, of_value
from api.query import Parameter, refuse_unknown
from api.reply import Reply
from api.writes import EFFECTIVE_MAX, EFFECTIVE_MIN, rendered
from ledger.submission import Rendered
from schemas.demand import DemandEntry, PeriodKind
from schemas.http_mihwar import (
    IngestionBody,
    IngestionHeader,
    IngestionReply,
    OrderLineBody,
    RefusedLine,
)
from schemas.import_batch import LineRefusal

routes = Routes("Mihwar", mihwar_family(INGESTION_PREFIX))

INVALID_LINE: Final = "invalid_line"
_DETAIL_LENGTH_MAX: Final = 200
_DATE_LENGTH: Final = 10
_NDJSON_TYPES: Final = frozenset({b"application/x-ndjson", b"application/jsonl"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_decode_lines = msgspec.json.Decoder(OrderLineBody).decode_lines
_LINE: Final = BodyDecoder(OrderLineBody)
_HEADER: Final = BodyDecoder(IngestionHeader)

_PARAMETERS: Final = (
    Parameter(
        "externalSourceId", "string", "The batch's name in your system, for NDJSON", maximum=200
    ),
    Parameter(
        "periodKind",
        "string",
        "The period of lines that name none, for NDJSON; day if not given",
        values=("day", "week", "month"),
    ),
    Parameter(
        "timeZone",
        "string",
        "The zone that says which day a time is in, for NDJSON; the default location's if not",
        maximum=50,
    ),
)


@routes.add(
    "POST",
    "/api/integrations/v1/ingestion/order-lines",
    "Ingest order lines",
    role="manager",
    scope="write",
    body=IngestionBody,
    bodies=(
        Media(
            "application/x-ndjson",
            {
                "type": "string",
                "description": "An order line a line; the first may hold what is said of all",
            },
        ),
    ),
    parameters=_PARAMETERS,
    replies={201: IngestionReply},
    problems=("import_batch_reversed",),
    commits=True,
)
async def ingest_order_lines(call: Call) -> Reply:
    """Record what was ordered in the past, as demand: it moves no stock. Each request is an import
    batch, committed a thousand lines at a time; each line is accepted, or refused with its reason.
    With an Idempotency-Key a request that was cut off goes on where it stopped when it is sent
    again, and one that was answered is answered the same."""
    declared = call.headers.get(b"content-type", b"application/json")
    media = declared.partition(b";")[0].strip().lower()
    if media not in _NDJSON_TYPES and media != b"application/json":
        raise Problem(
            "unsupported_media_type",
            "Send the lines as application/json or application/x-ndjson.",
        )
    settings = call.house.settings
    pieces = body_pieces(call.receive, call.headers, settings.ingestion_body_bytes_max)
    asked = _asked(call)
    ingestion = DemandIngestion(call, _render)
    try:
        if media in _NDJSON_TYPES:
            return await _take_lines(ingestion, asked, pieces)
        with closing(SpooledLines(settings.data_dir)) as spooled:
            document = DocumentReader("lines", spooled)
            async for piece in pieces:
                document.feed(piece)
            document.end()
            if not document.has_array:
                raise Problem("invalid_field", "lines: is missing; add it.", field="lines")
            said = _together(asked, _HEADER.decode(document.rest()))
            return await _take(ingestion, said, _each(spooled))
    except Exception as fault:
        raise ingestion.fault(fault) from None


# --- what is said of all lines ----------------------------------------------------------


def _asked(call: Call) -> IngestionHeader:
    """Return what the query says of all lines."""
    values = {name: value for name, value in query(call, _PARAMETERS).items() if value is not None}
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    return _HEADER.decode(msgspec.json.encode(values))


def _together(asked: IngestionHeader, header: IngestionHeader) -> SaidOfAll:
    """Return what query and body say; raise Problem (400) for what both of them do."""
    said: dict[str, Any] = {}
    for field in msgspec.structs.fields(IngestionHeader):
        given = [getattr(each, field.name) for each in (asked, header)]
        given = [value for value in given if value is not msgspec.UNSET]
        if len(given) > 1:
            fault = f"{field.encode_name}: is given in the query and in the body; give it once."
            raise Problem("invalid_field", fault, field=field.encode_name)
        said[field.name] = given[0] if given else None
    return SaidOfAll(
        external_source_id=said["external_source_id"] or None,
        period_kind=said["period_kind"] or "day",
        time_zone=said["time_zone"],
    )


# --- lines ------------------------------------------------------------------------------


async def _take_lines(
    ingestion: DemandIngestion, asked: IngestionHeader, pieces: AsyncGenerator[bytes]
) -> Reply:
    """Take NDJSON in as it arrives; its first line may be the header."""
    lines = _split(pieces)
    nothing: list[bytes] = []
    first = await anext(lines, nothing)
    try:
        said = _together(asked, _HEADER.decode(first[0] if first else b"{}"))
        first = first[1:]
    except Problem:
        if not first or b'"sku"' not in first[0]:
            raise
        said = _together(asked, IngestionHeader())
    return await _take(ingestion, said, lines, first)


async def _split(pieces: AsyncGenerator[bytes]) -> AsyncGenerator[list[bytes]]:
    """Yield the lines of NDJSON as they become whole, never none."""
    splitter = LineSplitter()
    async for piece in pieces:
        if whole := splitter.feed(piece):
            yield whole
    if rest := splitter.end():
        yield rest


async def _each(spooled: SpooledLines) -> AsyncGenerator[list[bytes]]:
    splitter = LineSplitter()
    for piece in spooled.pieces():
        yield splitter.feed(piece)


async def _take(
    ingestion: DemandIngestion,
    said: SaidOfAll,
    lines: AsyncGenerator[list[bytes]],
    first: Sequence[bytes] = (),
) -> Reply:
    """Hand the lines over, a chunk at a time; what is in memory is a chunk and a piece."""
    zone = await ingestion.begin(said)
    waiting = list(first)
    taken = 0
    async for more in lines:
        waiting += more
        start = 0
        while len(waiting) - start >= CHUNK_LINES:
            chunk = waiting[start : start + CHUNK_LINES]
            await ingestion.take(read_chunk(chunk, taken + 1, said.period_kind, zone))
            start += CHUNK_LINES
            taken += CHUNK_LINES
        del waiting[:start]
    if waiting:
        await ingestion.take(read_chunk(waiting, taken + 1, said.period_kind, zone))
    return await ingestion.end()


def read_chunk(lines: Sequence[bytes], first: int, period: PeriodKind, zone: ZoneInfo) -> Chunk:
    """Return lines, each the JSON of one, as a chunk of which ``first`` is the first one's number.

    A line that is no order line is refused for itself.
    """
    entries: list[DemandEntry] = []
    refusals: list[LineRefusal] = []
    digest = hashlib.sha256()
    for number, (raw, decoded) in enumerate(zip(lines, _decoded(lines), strict=True), first):
        if isinstance(decoded, OrderLineBody):
            try:
                entry = DemandEntry(
                    line=number,
                    sku=decoded.sku,
                    quantity=decoded.quantity,
                    order_date=_day(decoded.order_date, zone),
                    period=decoded.period_kind or period,
                )
            except (ValueError, ArithmeticError) as fault:
                decoded = of_value(fault)
            else:
                entries.append(entry)
                digest.update(
                    f"{entry.sku}\x1f{entry.quantity}\x1f{entry.order_date}\x1f{entry.period}\n".encode()
                )
                continue
        told = _CONTROL.sub(" ", decoded.detail)[:_DETAIL_LENGTH_MAX]
        refusals.append(LineRefusal(line=number, code=INVALID_LINE, detail=told))
        digest.update(_canonical(raw))
    return Chunk(first, first + len(lines) - 1, tuple(entries), tuple(refusals), digest.hexdigest())


def _decoded(lines: Sequence[bytes]) -> Sequence[OrderLineBody | Problem]:
    """Return each line decoded, or what is wrong with it.

    All of them in one pass; only where that fails, or something is suspicious, one by one.
    """
    joined = b"\n".join(lines)
    try:
        decoded = _decode_lines(joined)
    except DECODE_FAULTS:
        return [_one(line) for line in lines]
    named = sum(line.period_kind is not None for line in decoded)
    if (
        len(decoded) != len(lines)
        or is_suspicious(joined)
        or named not in (0, len(decoded))
        or duplicates_possible(joined, decoded)
        or (not named and b'"periodKind"' in joined)
    ):
        return [_one(line) for line in lines]
    return decoded


def _one(line: bytes) -> OrderLineBody | Problem:
    try:
        return _LINE.decode(line)
    except Problem as problem:
        return problem


@lru_cache(maxsize=4_096)  # the lines of one request share their days
def _day(text: str, zone: ZoneInfo) -> date:
    """Return the day of a date, or of a time in a zone; raise ValueError for anything else."""
    fault = ValueError(
        "orderDate must be a date such as 2026-03-02, or a time with its zone, from 1970 to 2199"
    )
    try:
        if len(text) == _DATE_LENGTH:
            day = msgspec.convert(text, date)
        else:
            at = msgspec.convert(text, datetime)
            if at.tzinfo is None:
                raise fault
            day = at.astimezone(zone).date()
    except (msgspec.ValidationError, OverflowError):
        raise fault from None
    if not EFFECTIVE_MIN.date() <= day < EFFECTIVE_MAX.date():
        raise fault
    return day


def _canonical(raw: bytes) -> bytes:
    """Return a line that is none, the same for the same JSON."""
    try:
        return msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
    except DECODE_FAULTS:
        return raw


# --- the answer -------------------------------------------------------------------------


def _render(finished: Finished) -> Rendered:
    said = finished.said
    return rendered(
        201,
        IngestionReply(
            import_batch_id=finished.batch_id,
            external_source_id=said.external_source_id,
            period_kind=said.period_kind,
            time_zone=said.time_zone or "UTC",
            status="closed",
            lines=finished.lines,
            accepted=finished.accepted,
            refused=finished.refused,
            refusals=[
                RefusedLine(line=each.line, code=camel(each.code), message=each.detail)
                for each in finished.refusals
            ],
        ),
    )
