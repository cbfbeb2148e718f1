"""The OpenAPI document, made from the routes' own declarations and the structs they decode.

Litestar's generator sees only handlers' signatures, and ours take the request whole; so the
document is built here, from the same `Endpoint` that the wrapper enforces.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from api.endpoint import Endpoint, Media
from api.problems import kind_of, type_uri
from api.tabular_reply import CSV_TYPE, XLSX_TYPE
from schemas.common import FRACTION_DIGITS_MAX, INTEGER_DIGITS_MAX
from schemas.http_ledger import IDEMPOTENCY_KEY_PATTERN

_SCHEMA_REF: Final = "#/components/schemas/{name}"
_PATH_PARAMETER: Final = re.compile(r"{(\w+)(?::path)?}")

# A decimal in a request: text or number, exact either way.
_DECIMAL: Final[dict[str, Any]] = {
    "description": (
        f"A plain decimal of at most {INTEGER_DIGITS_MAX} digits before the point and "
        f"{FRACTION_DIGITS_MAX} behind, as a number or as text; read exactly"
    ),
    "anyOf": [
        {"type": "number"},
        {
            "type": "string",
            "pattern": rf"^-?[0-9]{{1,{INTEGER_DIGITS_MAX}}}(\.[0-9]{{1,{FRACTION_DIGITS_MAX}}})?$",
        },
    ],
}

_DESCRIPTION: Final = """\
An inventory ledger. Every write is an event; every figure can be explained from them.

Writes take an `Idempotency-Key`: sent again with the same key and body, a request takes effect
once and is answered as before, with `Idempotent-Replayed: true`. Their answers say at which
`Ledger-Position` they are; a read with `min_position` waits for it. Errors are RFC 9457
problems which also carry `error`. Quantities and money are taken as JSON numbers or strings,
exactly.
"""


def openapi_document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    listed = sorted(endpoints, key=lambda endpoint: (endpoint.path, endpoint.method))
    types = {id(kind): kind for kind in _types(listed)}
    _, components = msgspec.json.schema_components(types.values(), ref_template=_SCHEMA_REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in listed:
        path = _PATH_PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stockledger",
            "version": version,
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in listed)],
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "securitySchemes": {
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "webhook_secret": {"type": "apiKey", "in": "header", "name": "X-Webhook-Secret"},
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token from POST /api/auth/login, or an API key",
                },
            },
        },
    }


def _types(endpoints: Iterable[Endpoint]) -> Iterator[Any]:
    for endpoint in endpoints:
        yield endpoint.family.document
        if endpoint.body is not None:
            yield endpoint.body
        for reply in endpoint.replies.values():
            for each in _alternatives(reply):
                if each is not None and not isinstance(each, Media):
                    yield each


def _alternatives(reply: Any) -> tuple[Any, ...]:
    """Return what a reply may be; several media types are declared as a tuple."""
    return cast("tuple[Any, ...]", reply) if isinstance(reply, tuple) else (reply,)


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "operationId": _operation_id(endpoint),
        "parameters": list(_parameters(endpoint)),
        "responses": _responses(endpoint),
    }
    content = {body.media_type: {"schema": dict(body.schema)} for body in endpoint.bodies}
    if endpoint.body is not None:
        content = {"application/json": {"schema": _reference(endpoint.body)}, **content}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    operation["security"] = _security(endpoint)
    if endpoint.role is not None:
        operation["x-role"] = endpoint.role
    if endpoint.scope is not None:
        operation["x-scope"] = endpoint.scope
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = [word for word in re.split(r"\W+", endpoint.path) if word not in ("", "api", "path")]
    return "_".join([endpoint.method.lower(), *words]) or endpoint.method.lower()


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    schemes: list[dict[str, list[str]]] = []
    if endpoint.scope == "webhook":
        return [{"webhook_secret": []}]
    if endpoint.scope is not None:
        schemes.append({"api_key": []})
    if not endpoint.is_public:
        schemes.append({"bearer": []})
    return schemes


def _parameters(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name in _PATH_PARAMETER.findall(endpoint.path):
        is_number = name == "id" or (name.endswith("_id") and name != "reservation_id")
        is_number = is_number or name == "position"
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": (
                {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
                if is_number
                else {"type": "string", "minLength": 1, "maxLength": 100}
            ),
        }
    for parameter in endpoint.parameters:
        yield {
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.description,
            "schema": parameter.schema(),
        }
    if endpoint.commits:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Your name for this request; sent again, it takes effect once",
            "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN, "maxLength": 255},
        }
    if endpoint.conditional:
        yield {
            "name": "If-Match",
            "in": "header",
            "description": "The version that must still be current, quoted, from ETag",
            "schema": {"type": "string", "pattern": r'^"[0-9]{1,15}"$'},
        }


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, reply in endpoint.replies.items():
        response: dict[str, Any] = {"description": "Done" if status < 300 else "See the body"}
        content: dict[str, Any] = {}
        for each in _alternatives(reply):
            if isinstance(each, Media):
                content[each.media_type] = {"schema": dict(each.schema)}
            elif each is not None:
                content["application/json"] = {"schema": _reference(each)}
        if endpoint.tabulated is not None:
            content[CSV_TYPE] = {"schema": {"type": "string"}}
            content[XLSX_TYPE] = {"schema": {"type": "string", "format": "binary"}}
        if content:
            response["content"] = content
        if endpoint.commits:
            response["headers"] = {
                "Ledger-Position": {"schema": {"type": "integer"}},
                "Idempotent-Replayed": {"schema": {"type": "string", "enum": ["true"]}},
            }
        responses[str(status)] = response
    codes: dict[int, list[str]] = {}
    for code in problem_codes(endpoint):
        codes.setdefault(endpoint.family.status(code), []).append(code)
    for status, named in sorted(codes.items()):
        problem = {
            "description": "; ".join(f"{kind_of(code).title} ({type_uri(code)})" for code in named),
        }
        known = responses.get(str(status))
        family = endpoint.family
        content = {family.media_type: {"schema": _reference(family.document)}}
        if known is None:
            responses[str(status)] = {**problem, "content": content}
        else:
            known["description"] += "; " + problem["description"]
            for media_type, described in content.items():
                before = known.get("content", {})
                if media_type in before:
                    either = [before[media_type]["schema"], described["schema"]]
                    described = {"schema": {"anyOf": either}}
                known["content"] = {**before, media_type: described}
    return responses


def problem_codes(endpoint: Endpoint) -> list[str]:
    """Return the codes of all problems that a route may answer with."""
    codes = list(endpoint.problems)
    if not endpoint.is_public:
        codes += ["unauthenticated", "forbidden", "superseded"]
    if endpoint.body is not None or endpoint.bodies:
        codes += ["malformed_body", "invalid_field", "body_too_large", "unsupported_media_type"]
    if endpoint.parameters:
        codes.append("invalid_parameter")
    if endpoint.tabulated is not None:
        codes += ["table_too_large", "too_many_tables"]
    if endpoint.commits:
        codes += [
            "invalid_parameter",
            "invalid_command",
            "command_refused",
            "idempotency_mismatch",
            "queue_full",
            "outcome_unknown",
        ]
    if endpoint.conditional:
        codes += ["invalid_parameter", "version_conflict"]
    if "{" in endpoint.path:
        codes.append("not_found")
    # The router refuses a Host header that is none.
    codes.append("invalid_parameter")
    codes += ["internal", "unavailable"]
    return list(dict.fromkeys(codes))


def _reference(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_SCHEMA_REF)
    return _plain(schema)


def _plain(given: Any) -> Any:
    """Return a schema of msgspec's with decimals as this API takes and gives them."""
    if isinstance(given, Mapping):
        schema = cast(Mapping[str, Any], given)
        if schema.get("type") == "string" and schema.get("format") == "decimal":
            return _DECIMAL
        if schema.get("type") == "number" and schema.get("format") == "decimal":
            return {key: value for key, value in schema.items() if key != "format"}
        return {
            key: value if key in ("default", "enum") else _plain(value)
            for key, value in schema.items()
        }
    if isinstance(given, list | tuple):
        return [_plain(member) for member in cast(Sequence[Any], given)]
    return given
