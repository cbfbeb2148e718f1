"""Commands in bulk: decoded in one pass, submitted at once, each answered for itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Union, get_args

import msgspec

from api.bulk_keys import duplicates_possible
from api.context import ROLE_RANK, Call
from api.decoding import DECODE_FAULTS, BodyDecoder, is_suspicious, read_body, require_body
from api.endpoint import Media, Routes, query
from api.problems import Problem, of_decoding, of_refusal
from api.query import Parameter
from api.reply import Reply, encode
from api.writes import check_instants, committed, idempotency_of
from ledger.submission import Idempotency, Item, Outcome, Rendered, Submission
from schemas.access import Role
from schemas.books import BooksCommand, ClosePeriod, ConfigureBooks, ReopenPeriod
from schemas.category import CategoryCommand
from schemas.common import Command
from schemas.customer import CustomerCommand, PriceTierCommand
from schemas.http_ledger import (
    CommandItem,
    CommandsBody,
    CommandsReply,
    IdempotencyKey,
    Mode,
)
from schemas.listing import ListingCommand
from schemas.location import LocationCommand, OpenLocation, ReviseLocation
from schemas.lot import LotCommand
from schemas.order import OrderCommand
from schemas.product import DiscontinueProduct, ProductCommand
from schemas.purchase import PurchaseOrderCommand
from schemas.stock import StockCommand
from schemas.supplier import SupplierCommand

routes = Routes("Ledger")

# What a client may ask for; the rest of the commands belong to the API's own routes.
CLIENT_COMMANDS: Final[Mapping[str, type[Command]]] = {
    kind.TYPE: kind
    for union in (
        StockCommand,
        ProductCommand,
        CategoryCommand,
        LotCommand,
        LocationCommand,
        ListingCommand,
        CustomerCommand,
        PriceTierCommand,
        OrderCommand,
        SupplierCommand,
        PurchaseOrderCommand,
        BooksCommand,
    )
    for kind in get_args(union)
}

_ROLES: Final[Mapping[type[Command], Role]] = {
    OpenLocation: "admin",
    ReviseLocation: "admin",
    DiscontinueProduct: "admin",
    ConfigureBooks: "admin",
    ClosePeriod: "admin",
    ReopenPeriod: "admin",
}


def _tagged(kind: type[Command]) -> type[msgspec.Struct]:
    """Return the struct of an item of one type, so that one pass decodes item and command."""
    return msgspec.defstruct(
        f"{kind.TYPE}Item",
        [("data", kind), ("idempotency_key", IdempotencyKey | None, None)],
        tag_field="type",
        tag=kind.TYPE,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


_TAGGED: Final = {name: _tagged(kind) for name, kind in CLIENT_COMMANDS.items()}
_ANY_ITEM: Any = Union[tuple(_TAGGED.values())]  # noqa: UP007
_WHOLE_BODY: Any = msgspec.defstruct(
    "CommandsBodyDecoded",
    [("commands", list[_ANY_ITEM]), ("mode", Mode, "atomic")],
    kw_only=True,
    forbid_unknown_fields=True,
)
_decode_whole = msgspec.json.Decoder(_WHOLE_BODY).decode
_decode_lines = msgspec.json.Decoder(_ANY_ITEM).decode_lines
_decode_raw = msgspec.json.Decoder(CommandsBody).decode
_decode_raw_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_ITEM = BodyDecoder(CommandItem)
_DATA = {name: BodyDecoder(kind) for name, kind in CLIENT_COMMANDS.items()}
_encode_command = msgspec.json.Encoder().encode

_NDJSON_TYPES: Final = frozenset({b"application/x-ndjson", b"application/jsonl"})
_MODE = Parameter(
    "mode",
    "string",
    "For NDJSON: atomic or independent",
    "atomic",
    values=("atomic", "independent"),
)

Entry = Item | Problem


def _item_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "type": {"enum": list(CLIENT_COMMANDS)},
            "data": {"type": "object", "description": "The command's own fields"},
            "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255},
        },
        "additionalProperties": False,
    }


_BODIES: Final = (
    Media(
        "application/json",
        {
            "type": "object",
            "required": ["commands"],
            "properties": {
                "mode": {"enum": ["atomic", "independent"], "default": "atomic"},
                "commands": {"type": "array", "minItems": 1, "items": _item_schema()},
            },
            "additionalProperties": False,
        },
    ),
    Media("application/x-ndjson", {"type": "string", "description": "One command a line"}),
)


@routes.add(
    "POST",
    "/api/ledger/commands",
    "Submit commands in bulk",
    role="manager",
    scope="write",
    bodies=_BODIES,
    parameters=(_MODE,),
    replies={200: CommandsReply},
    problems=("batch_invalid", "batch_refused"),
    commits=True,
)
async def submit_commands(call: Call) -> Reply:
    """Commands with a result each, in their order. ``atomic``: when one is refused, none has an
    effect, and the whole is answered 409 (or 400 when one is not well-formed), with every
    item's result. ``independent``: each takes effect for itself."""
    settings = call.house.settings
    declared = call.headers.get(b"content-type", b"application/json")
    media = declared.partition(b";")[0].strip().lower()
    is_lines = media in _NDJSON_TYPES
    if not is_lines and media != b"application/json":
        raise Problem(
            "unsupported_media_type",
            "Send the commands as application/json or application/x-ndjson.",
        )
    body = await read_body(call.receive, call.headers, settings.body_bytes_max)
    require_body(body)
    entries, mode = decode_commands(call, body, is_lines)
    if not 1 <= len(entries) <= settings.bulk_commands_max:
        raise Problem(
            "invalid_field",
            f"commands: must have 1 to {settings.bulk_commands_max} items.",
            field="commands",
        )
    results: list[bytes | None] = [
        _refused_result(entry) if isinstance(entry, Problem) else None for entry in entries
    ]
    items = [entry for entry in entries if isinstance(entry, Item)]
    invalid = len(entries) - len(items)
    if invalid and (mode == "atomic" or not items):
        rendered = _whole(results, "batch_invalid", None)
        return committed(rendered.status, rendered.body, 0, False)
    return await _submit(call, body, items, mode, results)


async def _submit(
    call: Call, body: bytes, items: Sequence[Item], mode: Mode, results: list[bytes | None]
) -> Reply:
    caller = call.caller
    idempotency = idempotency_of(call, body)
    is_atomic = mode == "atomic"

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        # A group may be decided twice, so the results of the commands are filled in anew.
        filled = list(results)
        given = iter(outcomes)
        position = None
        for index, result in enumerate(results):
            if result is None:
                outcome = next(given)
                filled[index] = render_result(outcome)
                if outcome.events:
                    position = outcome.events[-1].position
        refused = any(outcome.refusal is not None for outcome in outcomes)
        return _whole(filled, "batch_refused" if refused and is_atomic else None, position)

    reply = await call.house.committer.submit(
        Submission(
            tenant_id=caller.tenant_id,
            items=items,
            meta=call.meta(None if idempotency is None else idempotency.key),
            atomic=is_atomic,
            render=render,
            render_item=render_result,
            idempotency=idempotency,
            credential=caller.credential,
        )
    )
    return committed(reply.status, reply.body, reply.position, reply.replayed)


def render_result(outcome: Outcome) -> bytes:
    """Return one command's result."""
    if outcome.refusal is not None:
        return _refused_result(of_refusal(outcome.refusal))
    if outcome.replay is not None:
        return outcome.replay[:-1] + b',"replayed":true}'
    if not outcome.applied:
        return b'{"status":"not_applied"}'
    events = outcome.events
    if len(events) == 1:
        position, _, _, event, _, _ = events[0]
        return b'{"status":"accepted","events":[{"position":%d,"type":"%s"}]}' % (
            position,
            event.TYPE.encode(),
        )
    listed = b",".join(
        b'{"position":%d,"type":"%s"}' % (recorded.position, recorded.event.TYPE.encode())
        for recorded in events
    )
    return b'{"status":"accepted","events":[%s]}' % listed


def _refused_result(problem: Problem) -> bytes:
    return b'{"status":"refused","problem":%s}' % encode(problem.document())


def _whole(results: Sequence[bytes | None], failed: str | None, position: int | None) -> Rendered:
    """Return the response; with ``failed`` it is a problem that carries the results."""
    listed = [result or b'{"status":"not_applied"}' for result in results]
    accepted = sum(result.startswith(b'{"status":"accepted"') for result in listed)
    refused = sum(result.startswith(b'{"status":"refused"') for result in listed)
    tail = b'"position":%s,"accepted":%d,"refused":%d,"results":[%s]}' % (
        b"null" if position is None else b"%d" % position,
        accepted,
        refused,
        b",".join(listed),
    )
    if failed is None:
        return Rendered(200, b"{" + tail)
    problem = Problem(
        failed,
        f"{refused} of {len(listed)} commands cannot be taken, so none had an effect; correct "
        f"them, or send mode independent.",
    )
    return Rendered(problem.status, encode(problem.document())[:-1] + b"," + tail)


# --- decoding ---------------------------------------------------------------------------


def decode_commands(call: Call, body: bytes, is_lines: bool) -> tuple[list[Entry], Mode]:
    """Return each command, or the problem with it, and the mode; raise Problem for the whole.

    The first pass decodes everything at once. Only when it fails, or something in the body is
    suspicious, is each item decoded for itself.
    """
    mode: Mode = query(call, (_MODE,))["mode"]
    try:
        if is_lines:
            decoded: list[Any] = _decode_lines(body)
        else:
            whole = _decode_whole(body)
            decoded, mode = whole.commands, whole.mode
    except DECODE_FAULTS:
        return _decode_each(call, body, is_lines, mode)
    if is_suspicious(body) or duplicates_possible(body, decoded):
        return _decode_each(call, body, is_lines, mode)
    forbidden = _forbidden(call, {type(item.data) for item in decoded})
    try:
        for item in decoded:
            check_instants(item.data)
    except Problem:
        return _decode_each(call, body, is_lines, mode)
    items = [_item(item.data, item.idempotency_key) for item in decoded]
    if forbidden:
        return [forbidden.get(type(item.command)) or item for item in items], mode
    return list(items), mode


def _item(command: Command, key: str | None) -> Item:
    if key is None:
        return Item(command)
    # What an item's key stands for is the command itself, however it was written.
    request = f"command {command.TYPE}\n".encode() + _encode_command(command)
    return Item(command, Idempotency(key, request))


def _decode_each(call: Call, body: bytes, is_lines: bool, mode: Mode) -> tuple[list[Entry], Mode]:
    try:
        if is_lines:
            raws: list[msgspec.Raw] = _decode_raw_lines(body)
        else:
            whole = _decode_raw(body)
            raws, mode = whole.commands, whole.mode
    except DECODE_FAULTS as fault:
        raise of_decoding(fault) from None
    entries: list[Entry] = []
    for raw in raws:
        try:
            entries.append(_decode_one(call, raw))
        except Problem as problem:
            entries.append(problem)
    return entries, mode


def _decode_one(call: Call, raw: msgspec.Raw) -> Item:
    item = _ITEM.decode(raw)
    decoder = _DATA.get(item.type)
    if decoder is None:
        raise Problem(
            "invalid_field",
            f"type: there is no command {item.type[:60]!r} here; it is one of "
            f"{', '.join(CLIENT_COMMANDS)}.",
            field="type",
        )
    try:
        command = decoder.decode(item.data)
        check_instants(command)
    except Problem as problem:
        if "field" in problem.members:
            problem.members["field"] = f"data.{problem.members['field']}"
        raise
    forbidden = _forbidden(call, {type(command)})
    if forbidden:
        raise forbidden[type(command)]
    return _item(command, item.idempotency_key)


def _forbidden(call: Call, kinds: set[type[Command]]) -> dict[type[Command], Problem]:
    """Return the problem of each kind of command that the caller's role does not reach."""
    rank = ROLE_RANK[call.caller.role]
    return {
        kind: Problem("forbidden", f"{kind.TYPE} needs the role '{_ROLES[kind]}' or above.")
        for kind in kinds
        if kind in _ROLES and ROLE_RANK[_ROLES[kind]] > rank
    }
