"""The log itself: its events in pages, as lines or live, its head, and why a figure is so."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from decimal import Decimal
from typing import Any, Final, cast

import asyncpg
import msgspec

from api.context import Call
from api.endpoint import Media, Routes, query
from api.moments import MOMENT_PARAMETERS, moment_headers, moment_of
from api.problems import Problem
from api.query import MIN_POSITION, Parameter, parse_integer
from api.reads import answer, reading
from api.reply import NDJSON, Reply, StreamReply
from api.tabular import Table
from ledger.aliases import LOCATION, SKU, fold
from ledger.feed import READ_LIMIT_MAX, SCAN_POSITIONS_MAX, EventFilter, RawEvent
from ledger.showing import event_json
from ledger.store import read_head
from projections.aliases import find_aliases
from projections.stock_explained import explain_item
from schemas.http_ledger import EventsReply, ExplainReply, ExplainStep, HeadReply

routes = Routes("Ledger")

HEARTBEAT_S: Final = 15.0
FOLLOWERS_MAX: Final = 256
# The HTTP server holds some parts for a client that is slow to take them.
PART_BYTES_MAX: Final = 128 * 1024

_FILTERS = (
    Parameter("stream", "string", "Only this stream, such as stock-7-1", maximum=200),
    Parameter("category", "string", "Only streams of this category, such as stock", maximum=50),
    Parameter("type", "string", "Only these event types, separated by commas", maximum=500),
    Parameter("after", "integer", "Only positions after this one", 0),
    Parameter("effective_from", "instant", "Effective at this time or later"),
    Parameter("effective_to", "instant", "Effective before this time"),
    Parameter("recorded_from", "instant", "Recorded at this time or later"),
    Parameter("recorded_to", "instant", "Recorded before this time"),
)
_PAGE_FILTERS = (
    *_FILTERS,
    Parameter("limit", "integer", "Events per page; as lines: in all", None, 1, 1_000_000),
)


def _filter(values: dict[str, Any]) -> EventFilter:
    types = values["type"]
    return EventFilter(
        streams=None if values["stream"] is None else [values["stream"]],
        category=values["category"],
        types=None if types is None else types.split(","),
        effective_from=values["effective_from"],
        effective_to=values["effective_to"],
        recorded_from=values["recorded_from"],
        recorded_to=values["recorded_to"],
    )


@routes.add(
    "GET",
    "/api/ledger/events",
    "Read the log",
    parameters=_PAGE_FILTERS,
    replies={200: EventsReply},
    table=Table(page_rows=READ_LIMIT_MAX, follow=("after", "next_after"), until="position"),
    as_stored=True,
)
async def read_events(call: Call) -> Reply:
    """Events in the order of the log, at most 1,000 a page and 8 MiB of what they say, and fewer
    where few pass a filter: go on with ``after=next_after`` until that is null. With ``Accept:
    application/x-ndjson`` all that match are streamed, one a line, up to ``limit``."""
    values = query(call, _PAGE_FILTERS)
    caller = call.caller
    accept = call.headers.get(b"accept", b"")
    if NDJSON in accept:
        head = await call.house.feed.head_position(caller.tenant_id, credential=caller.credential)
        return StreamReply(_lines(call, values, head), NDJSON, [(b"ledger-position", b"%d" % head)])
    limit = values["limit"] or 100
    if limit > READ_LIMIT_MAX:
        raise Problem(
            "invalid_parameter",
            f"limit: must be a whole number from 1 to {READ_LIMIT_MAX}; ask for "
            f"application/x-ndjson to read more at once.",
            field="limit",
        )
    feed = call.house.feed
    head = await feed.head_position(caller.tenant_id, credential=caller.credential)
    up_to = head
    if values["stream"] is None:
        # A filter that hardly anything passes must not turn into one long scan.
        up_to = min(head, values["after"] + SCAN_POSITIONS_MAX)
    events, is_full = await feed.read_page(
        caller.tenant_id,
        values["after"],
        up_to=up_to,
        limit=limit,
        credential=caller.credential,
        **_filter(values),
    )
    next_after = b"null"
    if is_full:
        next_after = b"%d" % events[-1].position
    elif up_to < head:
        next_after = b"%d" % up_to
    listed = b",".join(event_json(event) for event in events)
    body = b'{"events":[%s],"position":%d,"next_after":%s}' % (listed, head, next_after)
    return Reply(200, body, [(b"ledger-position", b"%d" % head)])


async def _lines(call: Call, values: dict[str, Any], head: int) -> AsyncGenerator[bytes, None]:
    caller = call.caller
    where, after = _filter(values), values["after"]
    left = values["limit"] or head
    while left > 0:
        wanted = min(left, READ_LIMIT_MAX)
        events, is_full = await call.house.feed.read_page(
            caller.tenant_id,
            after,
            **where,
            up_to=head,
            limit=wanted,
            credential=caller.credential,
        )
        if events:
            yield b"".join(event_json(event) + b"\n" for event in events)
            after = events[-1].position
        if not is_full:
            return
        left -= len(events)


_followers = asyncio.Semaphore(FOLLOWERS_MAX)


@routes.add(
    "GET",
    "/api/ledger/events/stream",
    "Follow the log",
    parameters=_FILTERS,
    replies={200: Media("text/event-stream")},
    problems=("too_many_followers",),
)
async def follow_events(call: Call) -> Reply:
    """Server-sent events, each with its position as id, so that a client which reconnects with
    ``Last-Event-ID`` goes on right behind it. Without it and ``after``, from the beginning."""
    values = query(call, _FILTERS)
    last = call.headers.get(b"last-event-id")
    if last is not None:
        position = parse_integer(last.decode("latin-1"))
        if position is None:
            raise Problem(
                "invalid_parameter", "Last-Event-ID: must be a position.", field="Last-Event-ID"
            )
        values["after"] = position
    caller = call.caller
    # Refuses a revoked credential with a status, before the stream has begun.
    await call.house.feed.head_position(caller.tenant_id, credential=caller.credential)
    if _followers.locked():
        raise Problem(
            "too_many_followers",
            f"{FOLLOWERS_MAX} clients follow already; try again later or read pages.",
            headers=[(b"retry-after", b"10")],
        )
    return StreamReply(
        _server_sent(call, values),
        b"text/event-stream; charset=utf-8",
        [(b"x-accel-buffering", b"no")],
    )


async def _server_sent(call: Call, values: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """Yield events as they come, and a comment each 15 seconds so that idle proxies stay."""
    caller = call.caller
    async with _followers:
        batches = call.house.feed.follow(
            caller.tenant_id,
            values["after"],
            **_filter(values),
            bytes_max=PART_BYTES_MAX,
            credential=caller.credential,
        )
        yield b"retry: 1000\n\n"
        coming: asyncio.Future[list[RawEvent]] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(batches))
                await asyncio.wait({coming}, timeout=HEARTBEAT_S)
                if not coming.done():
                    yield b": still here\n\n"
                    continue
                try:
                    events = coming.result()
                except asyncpg.InvalidAuthorizationSpecificationError:
                    return
                coming = None
                yield b"".join(_server_sent_lines(events))
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})
            await batches.aclose()


def _server_sent_lines(events: Iterable[RawEvent]) -> Iterable[bytes]:
    for event in events:
        yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
            event.position,
            event.type.encode(),
            event_json(event),
        )


@routes.add(
    "GET",
    "/api/ledger/head",
    "The log's head",
    parameters=(MIN_POSITION,),
    replies={200: HeadReply},
    problems=("not_yet",),
)
async def get_head(call: Call) -> Reply:
    """The last position, and the root of the Merkle tree over all events up to it."""
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        head = await read_head(read.connection, read.tenant_id)
    reply = HeadReply(position=head.position, root=head.root.hex(), recorded_at=head.recorded_at)
    return answer(reply, head.position)


_EXPLAIN_PARAMETERS = (
    Parameter("sku", "string", "The product's SKU", maximum=100, required=True),
    Parameter("location", "string", "The location's code", maximum=50, required=True),
    Parameter("before", "integer", "Continue with what is older: next_before", minimum=1),
    Parameter("limit", "integer", "Steps per page", 100, 1, 1000),
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_data = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


@routes.add(
    "GET",
    "/api/ledger/explain",
    "Why is the stock so?",
    parameters=_EXPLAIN_PARAMETERS,
    replies={200: ExplainReply},
    table=Table(page_rows=1_000, follow=("before", "next_before")),
    problems=("product_not_found", "location_not_found", "not_yet"),
)
async def explain(call: Call) -> Reply:
    """The events behind a figure, newest first, each with what was on hand after it. With
    ``as_of`` and ``known_at``, what was behind it at a time in the world, as it was known at a time
    of the log. Any other figure: /api/ledger/explain/{table}."""
    values = query(call, _EXPLAIN_PARAMETERS)
    limit = values["limit"]
    async with reading(call, values["min_position"]) as read:
        product_id, location_id = await find_item(read, values["sku"], values["location"])
        moment = await moment_of(read, values)
        level, rows = await explain_item(
            read.connection,
            read.tenant_id,
            product_id,
            location_id,
            moment,
            before_version=values["before"],
            limit=limit + 1,
        )
    steps = [_step(row) for row in rows[:limit]]
    older = cast(Any, rows[limit]) if len(rows) > limit else None
    reply = ExplainReply(
        sku=values["sku"],
        product_id=product_id,
        location=values["location"],
        location_id=location_id,
        on_hand=level["on_hand"] if level else _ZERO,
        reserved=level["reserved"] if level else _ZERO,
        available=level["available"] if level else _ZERO,
        brought_forward=older["on_hand_after"] if older else _ZERO,
        steps=steps,
        next_before=steps[-1].version if older else None,
        position=read.position if moment is None else moment.position,
    )
    return answer(reply, read.position, moment_headers(moment))


def _step(row: asyncpg.Record) -> ExplainStep:
    return ExplainStep(
        position=row["position"],
        version=row["version"],
        type=row["type"],
        effective_at=row["effective_at"],
        recorded_at=row["recorded_at"],
        quantity=row["quantity"],
        from_account=row["from_account"],
        from_location_id=row["from_location_id"],
        to_account=row["to_account"],
        to_location_id=row["to_location_id"],
        on_hand_after=row["on_hand_after"],
        actor=row["actor"],
        actor_name=row["actor_name"],
        source=row["source"],
        reverses=row["reverses"],
        reversed_by=row["reversed_by"],
        data=_data.decode(row["data"]),
    )


async def find_item(read: Any, sku: str, location: str) -> tuple[int, int]:
    """Return the ids of a SKU and a location's code; raise Problem (404) for one unknown."""
    product_key, location_key = (SKU, fold(sku)), (LOCATION, fold(location))
    found = await find_aliases(read.connection, read.tenant_id, [product_key, location_key])
    if product_key not in found:
        raise Problem("product_not_found", f"There is no product with sku {sku!r}.", sku=sku)
    if location_key not in found:
        raise Problem(
            "location_not_found", f"There is no location with code {location!r}.", location=location
        )
    return found[product_key], found[location_key]


_ZERO: Final = Decimal(0)
