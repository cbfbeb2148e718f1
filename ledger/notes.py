"""Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint), signed with Ed25519.

A checkpoint says: this log had so many events, and this was the root over them. Its text::

    stockledger/3d40a24e-d570-4598-ae68-e20687edd1f9
    1500
    1Cxnx4uhuZRS6bO7L3Yh8kV7wXXwQ0sV5z8d5oC1fQo=

    — stockledger VNcG5bOQ…

A verifier key, ``stockledger+54d706e5+AQ…``, holds the key's name, a hash that tells it from
others, and the public key.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

_ED25519: Final = b"\x01"
_DASH: Final = "\u2014"
_ID_LENGTH: Final = 4
NOTE_LENGTH_MAX: Final = 64 * 1024
_NAME: Final = re.compile(r"[^\s+]{1,200}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class InvalidNote(ValueError):
    """A note is not well-formed, or none of the given keys has signed it."""


class Checkpoint(NamedTuple):
    """What a checkpoint says: whose log, how many events, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


class VerifierKey(NamedTuple):
    """Who may have signed: a name, the key's id, and its public part."""

    name: str
    id: bytes
    public: Ed25519PublicKey

    @classmethod
    def of(cls, name: str, public: Ed25519PublicKey) -> "VerifierKey":
        """Return the verifier key of a public key under a name."""
        if not _NAME.fullmatch(name):
            raise ValueError("a key's name must be 1 to 200 characters, without spaces and +")
        digest = sha256(name.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()
        return cls(name, digest[:_ID_LENGTH], public)

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a verifier key; raise InvalidNote for a text that is none."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            key = base64.b64decode(encoded, validate=True)
            if len(key) != 33 or not key.startswith(_ED25519):
                raise InvalidNote("a verifier key must be of an Ed25519 key")
            found = cls.of(name, Ed25519PublicKey.from_public_bytes(key[1:]))
        except (binascii.Error, ValueError) as fault:
            raise InvalidNote(f"this is no verifier key, <name>+<id>+<base64>: {fault}") from None
        if found.id.hex() != key_id:
            raise InvalidNote(f"the verifier key's id is {found.id.hex()}, not {key_id!r}")
        return found

    def __str__(self) -> str:
        encoded = _base64(_ED25519 + self.public.public_bytes_raw())
        return f"{self.name}+{self.id.hex()}+{encoded}"


class Signer:
    """Signs under a name."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = VerifierKey.of(name, private.public_key())

    def line(self, text: str) -> str:
        """Return the signature line for a note's text."""
        signature = self.key.id + self._private.sign(text.encode())
        return f"{_DASH} {self.key.name} {_base64(signature)}\n"


def sign(checkpoint: Checkpoint, signers: Sequence[Signer]) -> str:
    """Return the note: the checkpoint's text, an empty line, and a line for each signature."""
    text = checkpoint.text()
    return text + "\n" + "".join(signer.line(text) for signer in signers)


def opened(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Return what a note says, once one of the keys is found to have signed it.

    Signatures by others are passed over. Raises InvalidNote when there is no good one, when a
    known key's signature is wrong, and when the note is not well-formed.
    """
    text, signatures = _parts(note)
    good = False
    for name, key_id, signature in signatures:
        for key in keys:
            if (key.name, key.id) == (name, key_id):
                try:
                    key.public.verify(signature, text.encode())
                except InvalidSignature:
                    raise InvalidNote(f"the signature by {name} is not of this text") from None
                good = True
    if not good:
        raise InvalidNote("none of the given keys has signed this checkpoint")
    return read(note)


def read(note: str) -> Checkpoint:
    """Return what a note says, whoever signed it; raise InvalidNote for one that is none."""
    text, _ = _parts(note)
    lines = text.split("\n")
    if len(lines) < 4 or not _SIZE.fullmatch(lines[1]):
        raise InvalidNote("a checkpoint has an origin, a size and a root, a line each")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidNote("the checkpoint's root is not base64") from None
    if len(root) != 32 or not lines[0]:
        raise InvalidNote("the checkpoint's origin is empty, or its root not 32 bytes long")
    return Checkpoint(lines[0], int(lines[1]), root)


def _parts(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return a note's text, and of each signature its key's name and id, and itself."""
    text, gap, rest = note.rpartition("\n\n")
    if not gap or not rest.endswith("\n") or len(note) > NOTE_LENGTH_MAX:
        raise InvalidNote("a note is a text, an empty line, and signatures, a line each")
    signatures: list[tuple[str, bytes, bytes]] = []
    for line in rest[:-1].split("\n"):
        dash, _, signed = line.partition(" ")
        name, _, encoded = signed.partition(" ")
        try:
            signature = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidNote("a signature is not base64") from None
        if dash != _DASH or not name or len(signature) <= _ID_LENGTH:
            raise InvalidNote(f"a signature line is '{_DASH} <name> <base64>'")
        signatures.append((name, signature[:_ID_LENGTH], signature[_ID_LENGTH:]))
    return text + "\n", signatures


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
