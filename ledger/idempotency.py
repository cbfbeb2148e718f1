"""Requests and responses kept under idempotency keys, and how a second request compares (I3)."""

import zlib
from decimal import Decimal
from typing import Any, cast

import msgspec

from ledger.errors import IdempotencyMismatch
from ledger.store import IdempotencyRow
from ledger.submission import Idempotency, Reply

_COMPRESS_FROM_BYTES = 1024


def _packed(content: bytes) -> tuple[bytes, bool]:
    if len(content) < _COMPRESS_FROM_BYTES:
        return content, False
    return zlib.compress(content, 1), True


def _unpacked(content: bytes, compressed: bool) -> bytes:
    return zlib.decompress(content) if compressed else content


def keep(idempotency: Idempotency, status: int, response: bytes, position: int) -> IdempotencyRow:
    """Return the row that answers the next request with this key."""
    # Of a body with personal data nothing is kept: no line feed behind the first line says so.
    line, _, _ = idempotency.request.partition(b"\n")
    request, request_compressed = _packed(
        idempotency.request if idempotency.secret is None else line
    )
    kept, kept_compressed = _packed(response)
    return IdempotencyRow(
        idempotency.key,
        idempotency.fingerprint(),
        request,
        request_compressed,
        status,
        kept,
        kept_compressed,
        position,
    )


def replay(kept: IdempotencyRow, idempotency: Idempotency) -> Reply:
    """Return the response kept under a key.

    Raise IdempotencyMismatch, naming what differs, when it was kept for another request. Two
    bodies that are the same JSON are the same request, however they are spaced and ordered.
    Of one with personal data it is not told what differs.
    """
    if kept.fingerprint != idempotency.fingerprint():
        before = _unpacked(kept.request, kept.request_compressed)
        differing = _differences(before, idempotency.request)
        if differing:
            raise IdempotencyMismatch(differing=differing)
    body = _unpacked(kept.response, kept.response_compressed)
    return Reply(kept.status, body, kept.position, True)


def canonical(body: bytes) -> bytes:
    """Return a body as all are written that are the same JSON, so that digests can tell it.

    What is no JSON stays as it is.
    """
    try:
        return _encode_sorted(_decode_exactly(body))
    except (msgspec.DecodeError, RecursionError, ArithmeticError, UnicodeDecodeError):
        return body


def _number(text: str) -> object:
    value = Decimal(text).normalize()
    return int(value) if value == value.to_integral_value() and value.adjusted() < 30 else value


_decode_exactly = msgspec.json.Decoder(float_hook=_number).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def _differences(before: bytes, now: bytes) -> list[str]:
    line_before, has_body, body_before = before.partition(b"\n")
    line_now, _, body_now = now.partition(b"\n")
    differing = [] if line_before == line_now else ["method or path"]
    if not has_body:
        # It held personal data, so all that is known is that it was another one.
        return differing or ["body"]
    try:
        value_before, value_now = msgspec.json.decode(body_before), msgspec.json.decode(body_now)
    except (msgspec.DecodeError, RecursionError):
        return differing if body_before == body_now else [*differing, "body"]
    if value_before == value_now:
        return differing
    if isinstance(value_before, dict) and isinstance(value_now, dict):
        old, new = cast(dict[str, Any], value_before), cast(dict[str, Any], value_now)
        names = sorted(old.keys() | new.keys())
        return differing + [name for name in names if old.get(name, ...) != new.get(name, ...)]
    return [*differing, "body"]
