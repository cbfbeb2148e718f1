"""Signed notes: as C2SP writes them, and as nobody else can."""

import base64
from collections.abc import Callable
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.notes import Checkpoint, InvalidNote, Signer, VerifierKey, opened, read, sign

# The example of the package golang.org/x/mod/sumdb/note, which C2SP's signed-note describes.
THEIR_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
THEIR_PRIVATE_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
THEIR_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
THEIR_SIGNATURE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)
CHECKPOINT = Checkpoint("stockledger/3d40a24e", 1500, sha256(b"root").digest())


def _signer(name: str = "stockledger", seed: int = 1) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def test_keys_and_signatures_are_those_of_another_implementation() -> None:
    """The known key reads and writes as it is, and signs as it does there, byte for byte."""
    key = VerifierKey.parse(THEIR_KEY)
    assert str(key) == THEIR_KEY
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(THEIR_PRIVATE_KEY)[1:])
    signer = Signer("PeterNeumann", private)
    assert signer.key == key
    assert signer.line(THEIR_TEXT) == THEIR_SIGNATURE
    with pytest.raises(InvalidNote, match="a size and a root"):
        opened(f"{THEIR_TEXT}\n{THEIR_SIGNATURE}", [key])
    with pytest.raises(InvalidNote, match="not of this text"):
        opened(f"{THEIR_TEXT.replace('answer', 'cause')}\n{THEIR_SIGNATURE}", [key])


def test_a_note_is_read_as_it_was_signed() -> None:
    """Three lines, an empty one, and a signature line that begins with the key's id."""
    signer = _signer()
    note = sign(CHECKPOINT, [signer])
    root = base64.b64encode(CHECKPOINT.root).decode()
    assert note.startswith(f"stockledger/3d40a24e\n1500\n{root}\n\n\u2014 stockledger ")
    encoded = note.rstrip().rpartition(" ")[2]
    assert base64.b64decode(encoded)[:4] == signer.key.id
    assert opened(note, [VerifierKey.parse(str(signer.key))]) == CHECKPOINT
    assert read(note) == CHECKPOINT


def test_while_keys_change_either_opens_the_note() -> None:
    """Two sign; who knows the one or the other is content, who knows neither is not."""
    old, new = _signer(seed=1), _signer(seed=2)
    note = sign(CHECKPOINT, [new, old])
    assert opened(note, [old.key]) == opened(note, [new.key]) == CHECKPOINT
    with pytest.raises(InvalidNote, match="none of the given keys"):
        opened(note, [_signer(seed=3).key])
    with pytest.raises(InvalidNote, match="none of the given keys"):
        opened(note, [_signer("another", seed=1).key])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("1500", "1501"),
        lambda note: note.replace("3d40", "3d41"),
        lambda note: note.replace("\n\n", "\nmore\n\n"),
        lambda note: note[:-3] + "A=\n",
    ],
    ids=["size", "origin", "a line more", "signature"],
)
def test_no_change_passes(change: Callable[[str], str]) -> None:
    """Whatever is changed in the text or the signature, the note is refused."""
    signer = _signer()
    note = sign(CHECKPOINT, [signer])
    with pytest.raises(InvalidNote):
        opened(change(note), [signer.key])


@pytest.mark.parametrize("note", ["", "\n\n", "a\n1\n\n", "a\n1\nb\n\n- x y\n", "a\n01\nAA==\n\n"])
def test_what_is_no_note_is_refused(note: str) -> None:
    """With a reason, and never with another exception."""
    with pytest.raises(InvalidNote):
        read(note)


@pytest.mark.parametrize("text", ["", "a", "a+b+c", f"{THEIR_KEY}AAAA", "x" + THEIR_KEY])
def test_what_is_no_key_is_refused(text: str) -> None:
    """So is one whose id is not that of its name and key."""
    with pytest.raises(InvalidNote):
        VerifierKey.parse(text)
