"""Proofs from the Merkle tree (RFC 9162, sections 2.1.3 and 2.1.4): made, and checked.

Leaves are counted from 0 here, as there: the event at position p is leaf p - 1. Everything is
pure; what makes a proof says which parts of the tree it needs, as *nodes* ``(height, number)``: the
root of the perfect subtree over the 2^height leaves from ``number * 2^height`` on.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ledger.merkle import node_hash


class Node(NamedTuple):
    """The place of a perfect subtree."""

    height: int
    number: int


class Range(NamedTuple):
    """The leaves from ``first`` on, up to ``end``, which is not one of them."""

    first: int
    end: int


KEPT_EVERY = 8
"""Nodes of these heights, and multiples of it, are kept: 1/256 of all, and 256 lead to any."""


def append_keeping(
    frontier: list[bytes], size: int, leaves: Sequence[bytes]
) -> list[tuple[Node, bytes]]:
    """Extend a frontier in place as `ledger.merkle.append` does; return the nodes to be kept."""
    kept: list[tuple[Node, bytes]] = []
    for leaf in leaves:
        size += 1
        node = leaf
        height = 0
        while not size >> height & 1:
            node = node_hash(frontier.pop(), node)
            height += 1
            if height % KEPT_EVERY == 0:
                kept.append((Node(height, (size >> height) - 1), node))
        frontier.append(node)
    return kept


def inclusion(leaf: int, size: int) -> list[Range]:
    """Return whose roots prove that a leaf is in a tree of ``size``, from the leaf's sibling up.

    Raises ValueError for a leaf that is not in the tree.
    """
    if not 0 <= leaf < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {leaf}")
    path: list[Range] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if leaf < middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(first, middle))
            first = middle
    path.reverse()
    return path


def consistency(old: int, new: int) -> list[Range]:
    """Return whose roots prove that the tree of ``old`` leaves is the beginning of that of ``new``.

    None are needed for the empty tree and for the same one. Raises ValueError unless
    0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    if old in (0, new):
        return []
    path: list[Range] = []
    first, end = 0, new
    is_whole = True
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(first, middle))
            first = middle
            is_whole = False
    if not is_whole:
        path.append(Range(first, end))
    path.reverse()
    return path


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def nodes(leaves: Range) -> list[Node]:
    """Return the perfect subtrees that a range is made of, from the left.

    Its beginning must lie where a subtree of its size may begin, as that of a proof's ranges does.
    """
    found: list[Node] = []
    first, end = leaves
    while first < end:
        height = (end - first).bit_length() - 1
        if first:
            height = min(height, (first & -first).bit_length() - 1)
        found.append(Node(height, first >> height))
        first += 1 << height
    return found


def root_of(leaves: Range, hash_of: Callable[[Node], bytes]) -> bytes:
    """Return the root of a range, given the hashes of the subtrees that it is made of."""
    parts = [hash_of(node) for node in nodes(leaves)]
    root = parts.pop()
    while parts:
        root = node_hash(parts.pop(), root)
    return root


def included_root(leaf: int, size: int, leaf_hash: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion proof leads to; compare it with a trusted one.

    Raises ValueError for a proof that has not as many hashes as it must.
    """
    ranges = inclusion(leaf, size)
    if len(ranges) != len(path):
        raise ValueError(f"this proof must have {len(ranges)} hashes; it has {len(path)}")
    root = leaf_hash
    for place, sibling in zip(ranges, path, strict=True):
        root = node_hash(sibling, root) if place.end <= leaf else node_hash(root, sibling)
    return root


def consistent_roots(
    old: int, new: int, old_root: bytes, path: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the roots of the old and the new tree that a consistency proof leads to.

    Compare both with trusted ones. Not for the empty tree, with which any other is consistent.
    Raises ValueError for a proof that has not as many hashes as it must.
    """
    ranges = consistency(old, new)
    if not old or len(ranges) != len(path):
        raise ValueError(f"this proof must have {len(ranges)} hashes; it has {len(path)}")
    hashes = list(zip(ranges, path, strict=True))
    if hashes and hashes[0][0].end == old:
        # The last of the subtrees that the old tree is made of: it is not a perfect one.
        _, start = hashes.pop(0)
    else:
        start = old_root
    before = after = start
    for place, sibling in hashes:
        if place.first >= old:
            after = node_hash(after, sibling)
        else:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
    return before, after
