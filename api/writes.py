"""Writing: from a decoded request to a submission, and from its outcome to a reply."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from api.context import Call
from api.decoding import read_body, require_body, require_json
from api.endpoint import BODY_BYTES_MAX
from api.problems import PROBLEMS, Family, Problem, of_refusal, of_value
from api.reply import JSON, Reply, encode
from ledger.domain.decision import Refusal
from ledger.store import Connection
from ledger.submission import Idempotency, Item, Outcome, Rendered, Submission
from schemas.common import Command

Render = Callable[[Sequence[Outcome]], Rendered]
SideEffect = Callable[[Connection, Sequence[Outcome]], Awaitable[None]]

_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_VERSION: Final = re.compile(rb'"([0-9]{1,15})"')
EFFECTIVE_MIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
EFFECTIVE_MAX: Final = datetime(2200, 1, 1, tzinfo=UTC)
_INSTANTS: Final[dict[type[Command], tuple[str, ...]]] = {}


async def json_body(call: Call, limit: int = BODY_BYTES_MAX) -> bytes:
    """Return the body of a request that must have one, as JSON; raise Problem (400, 413, 415)."""
    require_json(call.headers)
    body = await read_body(call.receive, call.headers, limit)
    require_body(body)
    return body


async def no_body(call: Call) -> bytes:
    """Return the body of a request that need not have one; it counts for idempotency."""
    return await read_body(call.receive, call.headers, BODY_BYTES_MAX)


def idempotency_of(call: Call, body: bytes) -> Idempotency | None:
    """Return the request's key with what it stands for; raise Problem (400) for a wrong one."""
    key = call.headers.get(b"idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Problem(
            "invalid_parameter",
            "Idempotency-Key: must be 1 to 255 printable ASCII characters.",
            field="Idempotency-Key",
        )
    scope = call.scope
    query: bytes = scope["query_string"]
    line = f"{scope['method']} {scope['path']}".encode()  # type: ignore[typeddict-item]
    if query:
        line += b"?" + query
    return Idempotency(key.decode("ascii"), line + b"\n" + body)


def expected_version(call: Call) -> int | None:
    """Return the stream version that If-Match names; None without it, or for ``*``."""
    value = call.headers.get(b"if-match")
    if value is None or value == b"*":
        return None
    match = _VERSION.fullmatch(value)
    if match is None:
        raise Problem(
            "invalid_parameter",
            'If-Match: must be one version in quotes, such as "7", as ETag gives it.',
            field="If-Match",
        )
    return int(match[1])


async def commit(
    call: Call,
    body: bytes,
    commands: Sequence[Command],
    render: Render,
    *,
    conditional: bool = False,
    side_effect: SideEffect | None = None,
    problem_of: Callable[[Refusal], Problem] = of_refusal,
) -> Reply:
    """Submit commands that take effect together, and return the reply.

    ``body`` is what the Idempotency-Key stands for, and is kept with it: a body with a secret
    in it must not come here. ``render`` makes the response of commands that were not refused;
    a refusal is answered with its problem here: ``problem_of`` makes it, where the body has
    other names than the command.
    """
    caller = call.caller
    idempotency = idempotency_of(call, body)
    for command in commands:
        check_instants(command)

    def respond(outcomes: Sequence[Outcome]) -> Rendered:
        for outcome in outcomes:
            if outcome.refusal is not None:
                return refused(outcome.refusal, problem_of, call.family)
        return render(outcomes)

    reply = await call.house.committer.submit(
        Submission(
            tenant_id=caller.tenant_id,
            items=[Item(command) for command in commands],
            meta=call.meta(None if idempotency is None else idempotency.key),
            render=respond,
            idempotency=idempotency,
            expected_version=expected_version(call) if conditional else None,
            credential=caller.credential,
            side_effect=side_effect,
        )
    )
    return committed(reply.status, reply.body, reply.position, reply.replayed, call.family)


def committed(
    status: int, body: bytes, position: int, replayed: bool, family: Family = PROBLEMS
) -> Reply:
    """Return what the committer answered, with its headers."""
    headers = [(b"ledger-position", b"%d" % position)]
    if replayed:
        headers.append((b"idempotent-replayed", b"true"))
    return Reply(status, body, headers, JSON if status < 400 else family.media_type.encode())


def refused(
    refusal: Refusal,
    problem_of: Callable[[Refusal], Problem] = of_refusal,
    family: Family = PROBLEMS,
) -> Rendered:
    """Return the response to a refused command."""
    reply = family.reply(problem_of(refusal))
    return Rendered(reply.status, reply.body)


def rendered(status: int, value: Any) -> Rendered:
    """Return a response with a struct as its body."""
    return Rendered(status, encode(value))


def check_instants(command: Command) -> None:
    """Raise Problem (400) for a time outside the years that are kept, 1970 to 2199."""
    kind = type(command)
    fields = _INSTANTS.get(kind)
    if fields is None:
        fields = _INSTANTS[kind] = tuple(
            field for field in ("effective_at", "expires_at") if field in kind.__struct_fields__
        )
    for field in fields:
        at = getattr(command, field)
        if at is not None and not EFFECTIVE_MIN <= at < EFFECTIVE_MAX:
            raise Problem(
                "invalid_field", f"{field}: must be a time from 1970 to 2199.", field=field
            )


def made(command_type: type[Any], fields: dict[str, Any]) -> Any:
    """Return a command made of a body's fields; raise Problem (400) for what it refuses."""
    try:
        return command_type(**fields)
    except (ValueError, ArithmeticError) as fault:
        raise of_value(fault) from None
