"""Replies about checkpoints and proofs. Hashes are hexadecimal, 32 bytes each."""

from datetime import datetime

import msgspec


class CheckpointReply(msgspec.Struct, frozen=True, kw_only=True):
    """A signed checkpoint; ``note`` is what was signed, with its signatures (C2SP signed-note)."""

    origin: str
    size: int
    root: str
    signed_at: datetime
    note: str
    keys: list[str]


class CheckpointsReply(msgspec.Struct, frozen=True, kw_only=True):
    checkpoints: list[CheckpointReply]
    total: int
    page: int
    limit: int


class VerifierKeyReply(msgspec.Struct, frozen=True, kw_only=True):
    """A key that has signed checkpoints: from when, and until when as far as is known."""

    key: str
    first_signed_at: datetime
    last_signed_at: datetime


class VerifierKeysReply(msgspec.Struct, frozen=True, kw_only=True):
    keys: list[VerifierKeyReply]


class InclusionReply(msgspec.Struct, frozen=True, kw_only=True):
    """That an event is among the first ``size`` (RFC 9162, section 2.1.3)."""

    position: int
    leaf_index: int
    leaf_hash: str
    size: int
    root: str
    hashes: list[str]


class ConsistencyReply(msgspec.Struct, frozen=True, kw_only=True):
    """That the log of ``to_size`` events begins with that of ``from_size`` (section 2.1.4)."""

    from_size: int
    from_root: str
    to_size: int
    to_root: str
    hashes: list[str]


class ReceiptReply(msgspec.Struct, frozen=True, kw_only=True):
    """An event with all that proves it: to be kept, and checked offline.

    ``event`` is as the log shows it, its data and meta in their exact bytes.
    """

    stockledger_receipt: int
    tenant_id: int
    event: msgspec.Raw
    inclusion: InclusionReply
    checkpoint: str
    keys: list[str]
