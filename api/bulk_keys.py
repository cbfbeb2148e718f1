"""Whether a bulk body may hold a key twice in one object, told from its keys in a row."""

import re
from collections.abc import Sequence
from typing import Any, Final

_KEY: Final = re.compile(rb'"([a-zA-Z_]+)"\s*:')


def duplicates_possible(body: bytes, decoded: Sequence[Any]) -> bool:
    """Return False when no object of a decoded body can have a key twice; True may be false.

    Commands sent in bulk nearly always have the same fields in the same order. Then the keys
    of the body are one period of distinct keys, repeated once for each item. A key twice in
    one item would need another item to lack it: ``type`` and ``data`` cannot lack, fields of
    ``data`` stand between the two, and ``idempotency_key`` is counted here. So a period is
    proof; anything else is looked at item by item, at a few microseconds each.
    """
    count = len(decoded)
    if not count:
        return False
    keys = _KEY.findall(body)
    start, end = 0, len(keys)
    outer = 0
    while start < end and keys[start] in (b"mode", b"commands"):
        start += 1
        outer += 1
    if end > start and keys[end - 1] == b"mode":
        end -= 1
        outer += 1
    if outer > 2:
        return True
    size, rest = divmod(end - start, count)
    period = keys[start : start + size]
    if rest or len(set(period)) != size or period * count != keys[start:end]:
        return True
    if b"idempotency_key" in period:
        return any(item.idempotency_key is None for item in decoded)
    return False
