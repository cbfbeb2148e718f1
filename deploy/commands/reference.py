"""``stockledger reference``: writes the reference pages that are made from the code.

What a page says of a command, an event, an error, a route, a limit, a setting or the command
line is read from where it is declared, so it cannot say something else; a test holds the
committed pages to what this makes.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import rich_click as click
from msgspec import inspect as shapes

from api.app import endpoints
from api.endpoint import Endpoint, Media
from api.ledger_commands import CLIENT_COMMANDS
from api.openapi import problem_codes
from api.problems import KINDS, all_refusals, kind_of, type_uri
from deploy.commands._asyncapi import asyncapi_text
from deploy.commands._cli_page import cli_page
from deploy.commands._limits import limits_page
from deploy.commands._pages import MADE, page, plain
from deploy.commands._tables_page import tables_page
from deploy.commands.settings import markdown
from deploy.settings import Settings
from ledger.domain.decision import Refusal
from ledger.domain.registry import COMMANDS
from ledger.mapper import EVENT_TYPES

# What problems that are no refusals carry besides the members that all have.
_MEMBERS: Final[Mapping[str, str]] = {
    "invalid_field": "`field`, where one is at fault",
    "invalid_parameter": "`field`: the parameter or header, where one is at fault",
    "idempotency_mismatch": "`differing`: the names of the fields that are not as they were",
    "version_conflict": "`expected_version`, `actual_version`",
    "body_too_large": "`limit`: how many bytes are taken",
    "not_yet": "`position`: where the ledger is; header `Retry-After`",
    "batch_invalid": "`results`, `accepted`, `refused`, `position`",
    "batch_refused": "`results`, `accepted`, `refused`, `position`",
    "queue_full": "header `Retry-After`",
    "unavailable": "header `Retry-After`",
    "outcome_unknown": "header `Retry-After`",
    "too_many_attempts": "header `Retry-After`",
    "too_many_followers": "header `Retry-After`",
    "too_many_tables": "header `Retry-After`",
    "table_too_large": "`limit`: how many rows, or characters of a cell, there is room for",
    "unauthenticated": "header `WWW-Authenticate`",
    "method_not_allowed": "header `Allow`",
}
# The private classes whose text belongs to each that is made from them.
_TELLING: Final = frozenset(
    {"_Quantified", "_ProductFields", "_LocationFields", "_CustomerFields", "_TierFields"}
)
# Values that make an example of a refusal's text: by the refusal's and the field's name, by the
# field's alone, and then by its type.
_SAMPLES: Final[Mapping[str, Any]] = {
    "sku": "MUG",
    "product_id": 1,
    "location": "MAIN",
    "location_id": 1,
    "location_ids": (1, 2),
    "requested": Decimal(50),
    "stock_limit": Decimal(0),
    "reservation_id": "order-1001",
    "field": "unit",
    "fault": "there is no unit 'box'; use one of each",
    "objection": "that is a variant itself; name 3, which it is a variant of",
    "event_type": "StockReserved",
    "kind": "products",
    "batch_id": "8b6be307",
    "expires_at": datetime(2026, 5, 6, 12, tzinfo=UTC),
    "effective_at": datetime(2026, 5, 5, 12, tzinfo=UTC),
    "moved_at": datetime(2026, 5, 6, 12, tzinfo=UTC),
    "at": None,
    "lot": "BTH-2026-041",
    "past_removal": ("BTH-2026-009",),
    "serial": "SN-20260401-0001",
    "serial_status": "sold",
    "wanted_status": "in_stock",
    "order_status": "fulfilling",
    "requested_status": "shipped",
    "allowed": ("fulfilled", "cancelled"),
    "open_lines": ((1042001, Decimal(2)),),
    "order_items": (1042001, 1042002),
    "orders": (1042, 1051),
    "purchase_order_id": 88,
    "purchase_order_items": (88001, 88002),
    "purchase_order_status": "sent",
    "line_id": 88003,
    "hint": None,
    "topic": "stock.low",
    "WebhookEndpointIdle.reason": "disabled",
    "system": "mipos",
    "external_id": "item_abc123",
    "StoreLinkedElsewhere.external_id": "17",
    "SupplierLinkedElsewhere.external_id": "pos_sup_1",
    "ExternalSupplierNotFound.external_id": "pos_sup_1",
    "ExternalItemNotFound.product_id": None,
    "amount": Decimal("-40.00"),
    "cost": Decimal("38.00"),
    "time_zone": "Europe/London",
    "today": date(2026, 5, 6),
    "valuation_method": "fifo",
    "ClosedFurther.through": date(2026, 3, 31),
    "DayNotOver.through": date(2026, 5, 6),
    "NotClosedThatFar.through": date(2026, 5, 31),
    "NotAReceipt.event_type": "StockIssued",
    "IllegalPurchaseTransition.requested_status": "draft",
    "IllegalPurchaseTransition.allowed": ("partial", "received", "closed", "cancelled"),
    "PurchaseLineNotFound.product_id": None,
}


# --- types and fields -------------------------------------------------------------------


def shape(kind: shapes.Type) -> str:
    """Return a field's type in words."""
    match kind:
        case shapes.Metadata():
            words = shape(kind.type)
            return f"{words}, personal" if (kind.extra or {}).get("personal") else words
        case shapes.UnionType():
            words = [shape(member) for member in kind.types if not _is_null(member)]
            return " or ".join(dict.fromkeys(words))
        case shapes.DecimalType():
            return "decimal"
        case shapes.IntType():
            return _bounded("whole number", kind.ge, kind.le)
        case shapes.StrType():
            return _bounded("text", kind.min_length, kind.max_length, " characters")
        case shapes.DateTimeType():
            return "time with its zone"
        case shapes.DateType():
            return "date"
        case shapes.BoolType():
            return "true or false"
        case shapes.LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in kind.values)
        case shapes.ListType() | shapes.VarTupleType():
            most = f" (at most {kind.max_length:,})" if kind.max_length else ""
            return f"list of {shape(kind.item_type)}{most}"
        case shapes.DictType():
            return "object"
        case shapes.StructType():
            members = ", ".join(f"`{field.encode_name}`" for field in kind.fields)
            return f"object with {members}"
        case _:
            return "anything"


def _is_for_nobody(kind: shapes.Type) -> bool:
    """Tell whether no client can send a field, since nothing decodes to it."""
    members = kind.types if isinstance(kind, shapes.UnionType) else (kind,)
    return any(isinstance(member, shapes.CustomType) for member in members)


def _is_null(kind: shapes.Type) -> bool:
    return isinstance(kind, shapes.NoneType)


def _bounded(noun: str, least: int | None, most: int | None, unit: str = "") -> str:
    if most is None:
        return noun
    if most == 2**53 - 1:
        return f"{noun}, {least} or more"
    return f"{noun}, {least or 0:,} to {most:,}{unit}"


def _default(field: shapes.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT:
        return "empty"
    if value is None or value is msgspec.UNSET:
        return ""
    if value == ():
        return "empty"
    return f"`{json.dumps(value, default=str).strip(chr(34))}`"


def _fields(kind: type[msgspec.Struct]) -> Iterator[str]:
    described = shapes.type_info(kind)
    assert isinstance(described, shapes.StructType)
    if not described.fields:
        return
    yield "| field | type | default |"
    yield "|---|---|---|"
    # What must be said comes first.
    for field in sorted(described.fields, key=lambda field: not field.required):
        if _is_for_nobody(field.type):
            continue
        yield f"| `{field.encode_name}` | {shape(field.type)} | {_default(field)} |"


def _documented(kind: type[Any]) -> list[str]:
    """Return the paragraphs of a class, and of those it is made from that tell more."""
    paragraphs: list[str] = []
    for each in kind.__mro__:
        text = each.__dict__.get("__doc__")
        if text and (each is kind or each.__name__ in _TELLING):
            paragraphs += inspect.cleandoc(text).split("\n\n")
    return [plain(paragraph) for paragraph in paragraphs]


# --- pages ------------------------------------------------------------------------------


def commands_page() -> str:
    """Return ``commands.md``: every command, its fields, and where it can be sent."""
    lines = [
        "# Commands",
        "",
        MADE,
        "What a client asks for. `POST /api/ledger/commands` takes those marked *bulk*, each as",
        '`{"type": …, "data": {…}}`; the others belong to routes of their own. A decimal is a',
        "JSON number or a string, exact, with at most 12 digits before the point and 6 behind.",
        "Unknown fields are refused. A product is named by `product_id` or `sku`, a location by",
        "`location_id` or `location` (its code): give one of each pair. A text that is *personal*",
        "is [sealed](../concepts/erasure.md).",
    ]
    for name, kind in COMMANDS.items():
        lines += ["", f"## {name}", ""]
        lines += [line for text in _documented(kind) for line in (text, "")]
        lines += ["*Bulk.*" if name in CLIENT_COMMANDS else "*By its own route or tool only.*", ""]
        lines += _fields(kind)
    return page(lines)


def events_page() -> str:
    """Return ``events.md``: every event type that is stored."""
    lines = [
        "# Events",
        "",
        MADE,
        "What the log holds, for ever: facts in the past tense. `data` has these fields; one that",
        "has its default is left out. Decimals are strings. Around `data`, every event has",
        "`position`, `stream`, `version`, `type`, `schema_version`, `effective_at`, `recorded_at`",
        "and `meta`, which says who asked (`actor`, `actor_name`), through what (`source`), in",
        "which request (`correlation_id`) and under which `idempotency_key`.",
        "",
        "The quantity of a stock event is in the product's own unit and above zero unless the",
        "text says otherwise; `entered_quantity` and `unit` are what the client said where that",
        "was in another unit. The accounts are told of in [movements](../concepts/movements.md).",
        "",
        "A text that is *personal* is stored [sealed](../concepts/erasure.md), as a token.",
    ]
    for name, kind in EVENT_TYPES.items():
        lines += ["", f"## {name}", ""]
        lines += [line for text in _documented(kind) for line in (text, "")]
        lines += [f"Schema version {kind.SCHEMA_VERSION}.", ""]
        lines += _fields(kind)
    return page(lines)


def errors_page() -> str:
    """Return ``errors.md``: every kind of problem a client may be answered."""
    refused = {kind.CODE: kind for kind in all_refusals()}
    lines = [
        "# Errors",
        "",
        MADE,
        "Every error is a problem document (RFC 9457, `application/problem+json`) with `type`,",
        "`title`, `status`, `detail` (what is wrong here, and the way out), `code`, and `error`,",
        "which is the detail again, or a text that an API of ours has fixed. Act on `code`. A",
        "refusal has recorded nothing.",
        "",
        "## The request, the service",
        "",
        "| code | status | title | carries besides |",
        "|---|---|---|---|",
    ]
    for code, kind in KINDS.items():
        if code not in refused:
            fixed = "" if kind.error is None else f"`error`: “{kind.error}”"
            carries = "; ".join(part for part in (_MEMBERS.get(code, ""), fixed) if part)
            lines.append(f"| `{code}` | {kind.status} | {kind.title} | {carries} |")
    lines += ["", "## Refusals: what the ledger decided against"]
    for code, refusal in sorted(refused.items()):
        kind = kind_of(code)
        names = ", ".join(f"`{name}`" for name in refusal.__struct_fields__)
        fixed = "" if kind.error is None else f" `error` is “{kind.error}”."
        lines += [
            "",
            f"### {code}",
            "",
            f"{kind.status}, `{type_uri(code)}`. Carries {names}.{fixed}",
            "",
            *(line for text in _documented(refusal) for line in (text, "")),
            f"> {_sample(refusal).detail()}",
        ]
    return page(lines)


def _sample(kind: type[Refusal]) -> Refusal:
    described = shapes.type_info(kind)
    assert isinstance(described, shapes.StructType)
    return kind(**{field.name: _sample_value(kind, field) for field in described.fields})


def _sample_value(kind: type[Refusal], field: shapes.Field) -> Any:
    for name in (f"{kind.__name__}.{field.name}", field.name):
        if name in _SAMPLES:
            return _SAMPLES[name]
    words = shape(field.type)
    if "decimal" in words:
        return Decimal(38)
    if words == "date":
        return date(2026, 4, 30)
    return 7 if "whole number" in words else "…"


def routes_page() -> str:
    """Return ``routes.md``: every route, who may call it, with what, and what it answers."""
    listed = endpoints()
    lines = [
        "# Routes",
        "",
        MADE,
        "The same, for machines, is at `/openapi.json`; `/docs` is a page to try it with. What all",
        "routes have in common is in [HTTP](http.md). *Role* is the least that a user needs, in",
        "the order staff, manager, admin, owner; *scope* is what an API key needs; a dash shuts",
        "them out; *public* takes no credentials.",
    ]
    for tag in dict.fromkeys(endpoint.tag for endpoint in listed):
        lines += ["", f"## {tag}"]
        for endpoint in listed:
            if endpoint.tag == tag:
                lines += _route(endpoint)
    return page(lines)


def _route(endpoint: Endpoint) -> Iterator[str]:
    yield from ("", f"### {endpoint.method} {_path(endpoint)}", "")
    yield plain(endpoint.description)
    yield ""
    if endpoint.is_public:
        yield "- Public."
    else:
        yield f"- Role {endpoint.role or '—'}, scope {endpoint.scope or '—'}."
    headers: list[str] = []
    if endpoint.commits:
        headers.append("`Idempotency-Key`")
    if endpoint.conditional:
        headers.append("`If-Match`")
    if headers:
        yield f"- Takes {' and '.join(headers)}."
    yield f"- Answers {_answers(endpoint)}."
    codes: dict[int, list[str]] = {}
    for code in problem_codes(endpoint):
        codes.setdefault(endpoint.family.status(code), []).append(f"`{code}`")
    problems = "; ".join(f"{status} {', '.join(names)}" for status, names in sorted(codes.items()))
    yield f"- Problems: {problems}."
    if endpoint.parameters:
        yield from ("", "| query | type | default | what it is |", "|---|---|---|---|")
        for parameter in endpoint.parameters:
            default = "required" if parameter.required else _code(parameter.default)
            yield (
                f"| `{parameter.name}` | {_query_type(parameter.schema())} | {default} "
                f"| {parameter.description} |"
            )
    if endpoint.body is not None:
        yield from ("", "Body:", "", *_fields(endpoint.body))
    for media in endpoint.bodies:
        yield from (
            "",
            f"Body, `{media.media_type}`: {media.schema.get('description', '')}".strip(),
        )


def _path(endpoint: Endpoint) -> str:
    return endpoint.path.replace(":path}", "}")


def _answers(endpoint: Endpoint) -> str:
    return "; ".join(
        f"{status} {_reply(reply)}".strip() for status, reply in endpoint.replies.items()
    )


def _reply(reply: Any) -> str:
    if isinstance(reply, tuple):
        return " or ".join(map(_reply, cast("tuple[Any, ...]", reply)))
    if isinstance(reply, Media):
        return f"`{reply.media_type}`"
    if reply is None:
        return ""
    described = shapes.type_info(reply)
    if isinstance(described, shapes.ListType):
        described = described.item_type
        return f"with a list of {shape(described)}"
    assert isinstance(described, shapes.StructType)
    return "with " + ", ".join(f"`{field.encode_name}`" for field in described.fields)


def _query_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return ", or ".join(_query_type(one) for one in schema["anyOf"])
    if schema["type"] == "integer":
        return _bounded("whole number", schema["minimum"], schema["maximum"])
    if schema.get("format") == "date-time":
        return "time with its zone"
    if schema.get("format") == "date":
        return "date"
    if schema["type"] == "boolean":
        return "`true` or `false`"
    return _bounded("text", 1, schema["maxLength"], " characters")


def _code(value: object) -> str:
    return "" if value is None else f"`{value}`"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "asyncapi.json": asyncapi_text,
    "cli.md": cli_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "limits.md": limits_page,
    "routes.md": routes_page,
    "settings.md": markdown,
    "tables.md": tables_page,
}


@click.command("reference")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    required=True,
    help="Where the pages are, such as docs/reference.",
)
@click.pass_obj
def command(_settings: Settings, folder: Path) -> None:
    """Write the reference pages that are made from the code."""
    for name, make in PAGES.items():
        path = folder / name
        content = make()
        changed = not path.is_file() or path.read_text(encoding="utf-8") != content
        if changed:
            path.write_text(content, encoding="utf-8")
        click.echo(f"{path}: {'written' if changed else 'as it was'}")
