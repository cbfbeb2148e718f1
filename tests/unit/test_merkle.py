"""The Merkle tree against RFC 9162, an independent implementation, and its own properties."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from ledger import merkle

# The first inputs and tree heads of the test data that certificate transparency's reference
# implementations share; RFC 9162 section 2.1.1 defines them.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

leaves = st.lists(st.binary(min_size=32, max_size=32), max_size=70)
bigint = st.integers(min_value=-(2**63), max_value=2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
fields = st.tuples(
    bigint, bigint, text, bigint, text, bigint, st.binary(max_size=8), st.binary(max_size=8),
    bigint, bigint,
)  # fmt: skip


def _leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def _root_by_definition(hashes: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1: split at the largest power of two below n."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    left, right = _root_by_definition(hashes[:split]), _root_by_definition(hashes[split:])
    return sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(len(CT_ROOTS)))
def test_published_roots(size: int) -> None:
    """The tree heads of 0 to 8 leaves that everybody's implementation gives."""
    frontier: list[bytes] = []

    merkle.append(frontier, 0, [_leaf(data) for data in CT_LEAVES[:size]])

    assert merkle.root(frontier).hex() == CT_ROOTS[size]


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_the_root_is_that_of_an_independent_implementation(entries: list[bytes]) -> None:
    """At every size on the way."""
    independent = InmemoryTree(algorithm="sha256")
    frontier: list[bytes] = []
    for size, entry in enumerate(entries):
        independent.append_entry(entry)
        merkle.append(frontier, size, [_leaf(entry)])

        assert merkle.root(frontier) == independent.get_root()


@given(leaves)
def test_the_root_is_that_of_the_definition(hashes: list[bytes]) -> None:
    """The compact range folds to what the recursive definition gives."""
    frontier: list[bytes] = []

    merkle.append(frontier, 0, hashes)

    assert merkle.root(frontier) == _root_by_definition(hashes)
    assert len(frontier) == len(hashes).bit_count()


@given(leaves, st.lists(st.integers(min_value=0, max_value=20), max_size=10))
def test_appending_in_chunks_is_appending_at_once(hashes: list[bytes], cuts: list[int]) -> None:
    """However a log's commits were grouped, its tree is one."""
    at_once: list[bytes] = []
    merkle.append(at_once, 0, hashes)
    in_chunks: list[bytes] = []
    size = 0
    for length in [*cuts, len(hashes)]:
        chunk = hashes[size : size + length]
        merkle.append(in_chunks, size, chunk)
        size += len(chunk)

    assert in_chunks == at_once


@given(leaves.filter(bool), st.data())
def test_a_changed_leaf_changes_the_root(hashes: list[bytes], data: st.DataObject) -> None:
    """Whichever leaf it is."""
    index = data.draw(st.integers(min_value=0, max_value=len(hashes) - 1))
    changed = [*hashes[:index], sha256(hashes[index]).digest(), *hashes[index + 1 :]]
    before: list[bytes] = []
    after: list[bytes] = []

    merkle.append(before, 0, hashes)
    merkle.append(after, 0, changed)

    assert merkle.root(before) != merkle.root(after)


def _framed(one: tuple[int, int, str, int, str, int, bytes, bytes, int, int]) -> bytes:
    """The bytes under the leaf hash, written out from the documentation of `leaf_hash`."""
    parts = [
        field.to_bytes(8, "big", signed=True)
        if isinstance(field, int)
        else field.encode()
        if isinstance(field, str)
        else sha256(field).digest()
        if index == 6
        else field
        for index, field in enumerate(one)
    ]
    return b"\x00" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@given(fields)
def test_a_leaf_is_what_its_documentation_says(
    one: tuple[int, int, str, int, str, int, bytes, bytes, int, int],
) -> None:
    """So that anybody can recompute it, in any language."""
    assert merkle.leaf_hash(*one) == sha256(_framed(one)).digest()


@given(fields, fields)
def test_two_events_have_two_leaves(
    one: tuple[int, int, str, int, str, int, bytes, bytes, int, int],
    other: tuple[int, int, str, int, str, int, bytes, bytes, int, int],
) -> None:
    """No field can lend its bytes to its neighbour."""
    assert (merkle.leaf_hash(*one) == merkle.leaf_hash(*other)) is (one == other)


@given(text, text, st.integers(min_value=0, max_value=8))
def test_moving_text_from_one_field_to_another_changes_the_leaf(
    stream: str, type_name: str, shift: int
) -> None:
    """The framing that keeps apart what concatenation would not."""
    joined = stream + type_name
    moved_stream, moved_type = joined[:shift], joined[shift:]

    leaf = merkle.leaf_hash(1, 1, stream, 1, type_name, 1, b"", b"", 0, 0)
    moved = merkle.leaf_hash(1, 1, moved_stream, 1, moved_type, 1, b"", b"", 0, 0)

    assert (leaf == moved) is ((stream, type_name) == (moved_stream, moved_type))


def test_a_leaf_is_no_inner_node() -> None:
    """The prefixes 0x00 and 0x01 keep a leaf from passing for a subtree (RFC 9162, 2.1.1)."""
    left, right = _leaf(b"a"), _leaf(b"b")

    assert merkle.node_hash(left, right) == sha256(b"\x01" + left + right).digest()
    assert merkle.node_hash(left, right) != _leaf(left + right)
