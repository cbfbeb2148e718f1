"""miPOS's request bodies: what is required in them, and what is wrong, in its sentences.

The sentences that its pages have are used to the letter. Those of other faults follow the same
manner, which is that of Laravel's validation.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from api.context import Call
from api.decoding import BodyDecoder, read_body, require_body
from api.dialects.mipos.answers import field_faults
from api.endpoint import BODY_BYTES_MAX
from api.problems import Problem
from api.writes import json_body
from schemas.common import FRACTION_DIGITS_MAX, INTEGER_DIGITS_MAX

Document = Mapping[str, Any]

_DOCUMENT: Final = BodyDecoder(dict[str, Any])
_DECIMAL: Final = re.compile(
    rf"[+-]?[0-9]{{1,{INTEGER_DIGITS_MAX}}}(\.[0-9]{{1,{FRACTION_DIGITS_MAX}}})?"
)
TEXT: Final = re.compile(r"[^\x00-\x1f\x7f]+")


async def document(call: Call, *, comments: bool = False) -> tuple[bytes, Document]:
    """Return the body as it was sent, and what it says: a JSON object.

    With ``comments`` it may also be declared ``application/jsonc``, and have comments in it and
    commas before closing brackets. Raise Problem (400, 413, 415).
    """
    declared = call.headers.get(b"content-type", b"")
    if comments and declared.partition(b";")[0].strip().lower() == b"application/jsonc":
        body = await read_body(call.receive, call.headers, BODY_BYTES_MAX)
        require_body(body)
        return body, decoded(plain_json(body))
    body = await json_body(call)
    return body, decoded(body)


def decoded(body: bytes) -> Document:
    """Return the JSON object that a body is; raise Problem (400) for any other."""
    try:
        return _DOCUMENT.decode(body)
    except Problem as problem:
        raise Problem("malformed_body", problem.detail) from None


# What comments and commas are told by. A text is taken whole: what is within it is left alone.
_JSONC: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|//[^\n\r]*|/\*|["/,\]}]|[^"/,\]}]+', re.DOTALL)


def plain_json(body: bytes) -> bytes:
    """Return JSON with comments as JSON: without them, and without commas behind the last.

    What is no JSON in either manner comes back as no JSON.
    """
    kept: list[bytes] = []
    comma: int | None = None
    place = 0
    while place < len(body):
        match = _JSONC.match(body, place)
        assert match is not None, "one of these there always is"
        token = match[0]
        place = match.end()
        if token == b'"':  # A text without an end: it can only get worse.
            return b"".join([*kept, body[match.start() :]])
        if token == b"/*":
            end = body.find(b"*/", place)
            if end < 0:
                return b"".join([*kept, body[match.start() :]])
            token, place = b" ", end + 2
        elif token.startswith(b"//"):
            token = b" "
        if token in (b"]", b"}") and comma is not None:
            kept[comma] = b" "
        if not token.isspace():
            comma = len(kept) if token == b"," else None
        kept.append(token)
    return b"".join(kept)


# --- fields -----------------------------------------------------------------------------


def label(field: str) -> str:
    """Return a field's name as sentences have it: ``user id tps``."""
    return field.replace("_", " ")


def is_missing(value: Any) -> bool:
    """Tell whether a value counts as none: null, blank, or an empty list or object."""
    return value is None or value == [] or value == {} or (value == "" or is_blank(value))


def is_blank(value: Any) -> bool:
    """Tell whether a value is text with nothing in it."""
    return isinstance(value, str) and not value.strip()


class Fields:
    """The fields of a body, taken one by one; what is wrong with them adds up."""

    def __init__(self, said: Document) -> None:
        self._said = said
        self.wrong: dict[str, list[str]] = {}

    def refuse(self, field: str, sentence: str) -> None:
        """Note what is wrong with a field."""
        self.wrong.setdefault(field, []).append(sentence)

    def require(self, field: str) -> Any:
        """Return a field's value; None, with a note, when there is none."""
        value = self._said.get(field)
        if is_missing(value):
            self.refuse(field, f"The {label(field)} field is required.")
            return None
        return value

    def text(self, field: str, length_max: int = 100) -> str:
        """Return a text that is required; anything, with a note, when it is none."""
        value = self.require(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.refuse(field, f"The {label(field)} must be a string.")
            return ""
        value = value.strip()
        if len(value) > length_max:
            self.refuse(
                field, f"The {label(field)} may not be greater than {length_max} characters."
            )
        elif not TEXT.fullmatch(value):
            self.refuse(field, f"The {label(field)} format is invalid.")
        return value

    def number(self, field: str) -> Decimal:
        """Return a decimal that is required, as text; anything, with a note, when it is none."""
        text = self.text(field)
        number = decimal_of(text)
        if number is None:
            if field not in self.wrong:
                self.refuse(field, f"The {label(field)} must be a number.")
            return Decimal(0)
        return number

    def check(self) -> None:
        """Raise Problem (422) when anything is wrong."""
        if self.wrong:
            raise field_faults(self.wrong)


def decimal_of(text: str) -> Decimal | None:
    """Return the number that text says in plain digits, exactly; None when it says none."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def webhook_type(value: Any) -> str:
    """Return a type of webhook as text; empty for what is neither text nor a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value).strip()
