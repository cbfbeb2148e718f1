"""Inclusion and consistency proofs, against an independent implementation and against forgery."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion
from pymerkle.proof import MerkleProof

from ledger import merkle
from ledger.merkle_proofs import (
    Node,
    Range,
    consistency,
    consistent_roots,
    included_root,
    inclusion,
    nodes,
    root_of,
)

SIZE_MAX = 70
ENTRIES = [b"entry %d" % number for number in range(SIZE_MAX)]
LEAVES = [sha256(b"\x00" + entry).digest() for entry in ENTRIES]


def _hash_of(node: Node) -> bytes:
    first = node.number << node.height
    frontier: list[bytes] = []
    merkle.append(frontier, 0, LEAVES[first : first + (1 << node.height)])
    (found,) = frontier
    return found


def _root(size: int) -> bytes:
    frontier: list[bytes] = []
    merkle.append(frontier, 0, LEAVES[:size])
    return merkle.root(frontier)


def _tree(size: int) -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for entry in ENTRIES[:size]:
        tree.append_entry(entry)
    return tree


def _path(proof: MerkleProof) -> list[bytes]:
    return [bytes.fromhex(text) for text in proof.serialize()["path"] or ()]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 33, 64, 70])
def test_every_leaf_is_proven_as_by_another_implementation(size: int) -> None:
    """Our path holds the hashes of its path (which begins with the leaf), and leads to its root."""
    tree = _tree(size)
    for leaf in range(size):
        path = [root_of(place, _hash_of) for place in inclusion(leaf, size)]
        theirs = tree.prove_inclusion(leaf + 1, size)
        verify_inclusion(LEAVES[leaf], tree.get_root(size), theirs)
        assert sorted([*path, LEAVES[leaf]]) == sorted(_path(theirs))
        assert included_root(leaf, size, LEAVES[leaf], path) == tree.get_root(size) == _root(size)


@pytest.mark.parametrize("new", [1, 2, 3, 7, 8, 21, 64, 70])
def test_every_beginning_is_proven_as_by_another_implementation(new: int) -> None:
    """Both roots are those that the other implementation has, and its proof holds as well."""
    tree = _tree(new)
    for old in range(1, new + 1):
        path = [root_of(place, _hash_of) for place in consistency(old, new)]
        verify_consistency(tree.get_root(old), tree.get_root(new), tree.prove_consistency(old, new))
        found = consistent_roots(old, new, tree.get_root(old), path)
        assert found == (tree.get_root(old), tree.get_root(new))


@given(st.data())
def test_a_changed_proof_leads_elsewhere(data: st.DataObject) -> None:
    """One bit of a hash, another leaf or another place give another root, or no proof at all."""
    size = data.draw(st.integers(2, SIZE_MAX))
    leaf = data.draw(st.integers(0, size - 1))
    path = [root_of(place, _hash_of) for place in inclusion(leaf, size)]
    which = data.draw(st.integers(0, len(path) - 1))
    bit = data.draw(st.integers(0, 255))
    number = int.from_bytes(path[which]) ^ (1 << bit)
    forged = [*path[:which], number.to_bytes(32), *path[which + 1 :]]
    assert included_root(leaf, size, LEAVES[leaf], forged) != _root(size)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != leaf))
    assert included_root(leaf, size, LEAVES[other], path) != _root(size)
    with pytest.raises(ValueError, match="must have"):
        included_root(leaf, size, LEAVES[leaf], path[:-1])


@given(st.integers(1, SIZE_MAX), st.integers(1, SIZE_MAX), st.integers(0, 255))
def test_a_changed_beginning_is_not_consistent(first: int, second: int, bit: int) -> None:
    """No proof leads from another old root to the new one."""
    old, new = sorted((first, second))
    path = [root_of(place, _hash_of) for place in consistency(old, new)]
    forged = (int.from_bytes(_root(old)) ^ (1 << bit)).to_bytes(32)
    assert consistent_roots(old, new, forged, path) != (forged, _root(new))


def test_ranges_are_made_of_perfect_subtrees() -> None:
    """From the left, the largest first, each where it may begin."""
    assert nodes(Range(0, 70)) == [Node(6, 0), Node(2, 16), Node(1, 34)]
    assert nodes(Range(64, 67)) == [Node(1, 32), Node(0, 66)]


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    """A leaf behind the end, and a tree that is larger than the one it should begin."""
    with pytest.raises(ValueError, match="no leaf 5"):
        inclusion(5, 5)
    with pytest.raises(ValueError, match="does not begin"):
        consistency(6, 5)
