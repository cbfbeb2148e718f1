"""How miPOS's API answers: its sentences, and the shapes of what went wrong.

What is wrong in a field is a bare map of fields to sentences (422), what is wrong in the matter
a list of sentences (400), and a credential that is no good the text ``Unauthorized.`` (401).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from api.endpoint import Media
from api.problems import Family, Problem, kind_of
from api.reply import JSON, Reply, encode

PREFIX: Final = "/api/v1/"
SYSTEM: Final = "mipos"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """That it is done, in miPOS's words."""

    message: str
    data: None = None


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in the matter: every sentence that applies."""

    message: Sequence[str]
    data: None = None


def body_of(required: Sequence[str], properties: Mapping[str, Any]) -> Media:
    """Return what OpenAPI says of a JSON body. It is told field by field what is wrong in one."""
    named = ", ".join(f"`{name}`" for name in properties)
    return Media(
        JSON.decode(),
        {
            "type": "object",
            "description": f"An object with {named}",
            "required": list(required),
            "properties": dict(properties),
        },
    )


_SENTENCES: Final = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Wrong = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [
                {
                    "type": "object",
                    "required": ["message", "data"],
                    "properties": {"message": _SENTENCES, "data": {"type": "null"}},
                    "additionalProperties": False,
                },
                {"type": "object", "additionalProperties": _SENTENCES},
                {"const": "Unauthorized."},
            ]
        }
    ),
]
"""Sentences; or, with 422, fields and what is wrong with each; or, with 401, one text."""


def field_faults(fields: Mapping[str, Sequence[str]]) -> Problem:
    """Return the problem of fields that are missing or cannot be right."""
    detail = " ".join(sentence for sentences in fields.values() for sentence in sentences)
    return Problem("invalid_field", detail, fields=fields)


def faults(sentences: Sequence[str]) -> Problem:
    """Return the problem of a request that is refused, for every one of these reasons."""
    return Problem("command_refused", " ".join(sentences), sentences=sentences)


def _reply(problem: Problem) -> Reply:
    if problem.code == "unauthenticated":
        body: Any = "Unauthorized."
    elif "fields" in problem.members:
        body = problem.members["fields"]
    elif problem.code == "invalid_field" and "field" in problem.members:
        body = {problem.members["field"]: [problem.detail]}
    else:
        body = Faults(message=problem.members.get("sentences", [problem.detail]))
    return Reply(_status(problem.code), encode(body), problem.headers)


# Problems of the request itself, which miPOS's pages do not name, keep the status they have.
_OWN_STATUS: Final = frozenset(
    {"unauthenticated", "forbidden", "not_found", "method_not_allowed", "idempotency_mismatch"}
)


def _status(code: str) -> int:
    if code == "invalid_field":
        return 422
    status = kind_of(code).status
    return status if code in _OWN_STATUS or status in (413, 415, 429) or status >= 500 else 400


MIPOS: Final = Family(_reply, _status, Wrong, JSON.decode(), PREFIX, SYSTEM)
