"""The Merkle tree over a tenant's log (RFC 9162, section 2.1), kept as a compact range.

A *frontier* is the roots of the perfect subtrees that make up the tree, largest first: a tree
of n leaves has as many as n has bits set. Appending a leaf costs amortised one hash, and the
root is a fold of at most 64.
"""

from collections.abc import Sequence
from hashlib import sha256
from struct import Struct

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(
    tenant_id: int,
    position: int,
    stream: str,
    version: int,
    type_name: str,
    schema_version: int,
    data: bytes,
    meta: bytes,
    effective_us: int,
    recorded_us: int,
) -> bytes:
    """Return SHA-256 over 0x00 and an event's fields, each framed by its length.

    Whole numbers are 8 bytes big-endian; text is UTF-8; times are microseconds since
    1970-01-01T00:00Z; SHA-256 of ``data`` stands in place of ``data``, so that an event can be
    proven without showing what it holds. The order is that of the parameters.
    """
    stream_bytes = stream.encode()
    type_bytes = type_name.encode()
    return sha256(
        b"".join(
            (
                _PREFIX.pack(0, 8, tenant_id, 8, position, len(stream_bytes)),
                stream_bytes,
                _VERSION.pack(8, version, len(type_bytes)),
                type_bytes,
                _DATA.pack(8, schema_version, 32, sha256(data).digest(), len(meta)),
                meta,
                _TIMES.pack(8, effective_us, 8, recorded_us),
            )
        )
    ).digest()


_PREFIX = Struct(">BIqIqI")
_VERSION = Struct(">IqI")
_DATA = Struct(">IqI32sI")
_TIMES = Struct(">IqIq")


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 over 0x01 and its children."""
    return sha256(b"\x01" + left + right).digest()


def append(frontier: list[bytes], size: int, leaves: Sequence[bytes]) -> None:
    """Extend in place the frontier of a tree of ``size`` leaves.

    After leaf number n as many subtrees merge as n has trailing zero bits.
    """
    for leaf in leaves:
        size += 1
        node = leaf
        merges = size
        while not merges & 1:
            node = sha256(b"\x01" + frontier.pop() + node).digest()
            merges >>= 1
        frontier.append(node)


def root(frontier: Sequence[bytes]) -> bytes:
    """Return the tree's root hash: the subtrees folded from the smallest up."""
    if not frontier:
        return EMPTY_ROOT
    node = frontier[-1]
    for left in reversed(frontier[:-1]):
        node = sha256(b"\x01" + left + node).digest()
    return node
