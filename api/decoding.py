"""Strict, exact decoding of request bodies, straight from bytes into structs.

msgspec decodes strictly by type; three things it lets pass are looked for here. A key given
twice (it takes the last), a decimal written as ``"1_0"``, with full-width digits or with white
space around it (Python's ``Decimal`` takes them), and compressed bodies. Each look costs about
a microsecond; only a suspicious body is parsed a second time.
"""

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from msgspec import inspect

from api.problems import Problem, of_decoding

if TYPE_CHECKING:
    from litestar.types import Receive

T = TypeVar("T")

_DECIMAL_TEXT: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_KEY: Final = re.compile(rb'"([a-zA-Z_]+)"\s*:')

# Digits and what may stand at the ends of a number become "0", other white space a space.
_CLASSES: Final = bytes.maketrans(b"123456789+-.\t\r\n", b"000000000000   ")

DECODE_FAULTS: Final = (
    msgspec.MsgspecError,
    RecursionError,
    ArithmeticError,
    UnicodeError,
)


class BodyDecoder(Generic[T]):
    """Decodes one type of body. Made once, at import."""

    def __init__(self, body_type: type[T]) -> None:
        self.body_type = body_type
        self._decode = msgspec.json.Decoder(body_type, strict=True).decode
        self._decimals = frozenset(_decimal_fields(inspect.type_info(body_type)))

    def decode(self, body: bytes | msgspec.Raw) -> T:
        """Return the body; raise Problem (400) that names the field, the fault and the way out."""
        try:
            value = self._decode(body)
        except DECODE_FAULTS as fault:
            raise of_decoding(fault) from None
        self.refuse_lenient(bytes(body) if isinstance(body, msgspec.Raw) else body)
        return value

    def refuse_lenient(self, body: bytes) -> None:
        """Raise Problem for what msgspec takes and we do not, in a body that it has taken."""
        keys = _KEY.findall(body)
        if len(keys) != len(set(keys)) or is_suspicious(body):
            refuse_leniency(body, self._decimals)


def is_suspicious(body: bytes) -> bool:
    """Return whether a well-formed body must be looked at closely; cheap, with false alarms."""
    if not body.isascii() or b"\\" in body:
        return True
    classes = body.translate(_CLASSES)
    return (
        b"0_" in classes
        or b"_0" in classes
        or b'" 0' in classes
        or b'0 "' in classes
        or b'"  ' in classes
    )


def refuse_leniency(body: bytes, decimal_fields: frozenset[str]) -> None:
    """Raise Problem when a key stands twice in one object, or a decimal's text is not plain."""

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, value in pairs:
            if name in members:
                raise Problem("invalid_field", f"{name}: is given twice; give it once.", field=name)
            if (
                name in decimal_fields
                and isinstance(value, str)
                and not _DECIMAL_TEXT.fullmatch(value)
            ):
                raise Problem(
                    "invalid_field",
                    f"{name}: must be a plain decimal, such as 12.5.",
                    field=name,
                )
            members[name] = value
        return members

    try:
        # parse_int keeps long digit strings from being turned into numbers at length.
        json.loads(body, object_pairs_hook=checked, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as fault:
        raise of_decoding(fault) from None


def _decimal_fields(kind: inspect.Type) -> set[str]:
    """Return the names of all decimal fields in a type, however deep."""
    if isinstance(kind, inspect.StructType):
        names: set[str] = set()
        for field in kind.fields:
            if _holds_decimal(field.type):
                names.add(field.encode_name)
            names |= _decimal_fields(field.type)
        return names
    if isinstance(kind, inspect.UnionType):
        return {name for member in kind.types for name in _decimal_fields(member)}
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return _decimal_fields(kind.item_type)
    if isinstance(kind, inspect.Metadata):
        return _decimal_fields(kind.type)
    return set()


def _holds_decimal(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _holds_decimal(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(_holds_decimal(member) for member in kind.types)
    return isinstance(kind, inspect.DecimalType)


async def read_body(receive: "Receive", headers: dict[bytes, bytes], limit: int) -> bytes:
    """Return the request's body, of at most ``limit`` bytes.

    Raise Problem: 413 when it is longer, by its header or by what arrives, 415 when it is
    compressed, 400 when the client went away before its end.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise Problem("unsupported_media_type", "Compressed bodies are not taken; send it plain.")
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 15 or int(length) > limit):
        raise _too_large(limit)
    message = await receive()
    body = message.get("body", b"")
    if len(body) > limit:
        raise _too_large(limit)
    if not message.get("more_body", False):
        if message["type"] == "http.disconnect":
            raise Problem("malformed_body", "The body ended early; send it whole.")
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("malformed_body", "The body ended early; send it whole.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def require_json(headers: dict[bytes, bytes]) -> None:
    """Raise Problem (415) unless the body is declared JSON, or is not declared at all."""
    declared = headers.get(b"content-type")
    if declared is None or declared == b"application/json":
        return
    media = declared.partition(b";")[0].strip().lower()
    if media != b"application/json" and not (
        media.startswith(b"application/") and media.endswith(b"+json")
    ):
        raise Problem("unsupported_media_type", "Send the body as Content-Type: application/json.")


def require_body(body: bytes) -> None:
    """Raise Problem (400) for a body with nothing in it."""
    if not body or body.isspace():
        raise Problem("malformed_body", "The body is empty; send a JSON document.")


def parse_decimal(name: str, text: str) -> Decimal:
    """Return a decimal from a query parameter's text; raise Problem (400) unless it is plain."""
    if not _DECIMAL_TEXT.fullmatch(text) or len(text) > 40:
        raise Problem("invalid_parameter", f"{name}: must be a plain decimal.", field=name)
    return Decimal(text)


def _too_large(limit: int) -> Problem:
    return Problem(
        "body_too_large", f"The body is longer than {limit} bytes; send less at once.", limit=limit
    )
