"""Checking an export of the log against signed checkpoints, with no database and no service.

An export is what ``stockledger export log`` writes, or what GET /api/ledger/events gives as lines:
an event a line, data and meta in their exact bytes; or a row of Parquet
(`ledger.offline_parquet`). What is wrong is found, and told as exactly as what was signed allows:
where a line is not what its own leaf says, or the order is broken, at that line; where somebody has
made all of that fit, between the two checkpoints around it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from ledger import merkle
from ledger.merkle_proofs import included_root
from ledger.notes import Checkpoint, InvalidNote, VerifierKey, opened

FINDINGS_MAX: Final = 20
PROGRESS_EVERY: Final = 20_000
RECEIPT_MARK: Final = b'{"stockledger_receipt"'
PARQUET_MARK: Final = b"PAR1"
HEADER_MARK: Final = b'{"stockledger_log"'
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US: Final = 86_400_000_000


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of an export: whose log, and from which event on it holds."""

    stockledger_log: int
    tenant_id: int
    origin: str
    exported_at: datetime


class ExportedEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event as it is exported; ``leaf_hash`` is what the log itself says that it hashes to."""

    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    effective_at: datetime
    recorded_at: datetime
    data: msgspec.Raw
    meta: msgspec.Raw
    leaf_hash: str = ""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /api/ledger/events/{position}/receipt gives."""

    stockledger_receipt: int
    tenant_id: int
    event: ExportedEvent
    inclusion: "ReceiptProof"
    checkpoint: str


class ReceiptProof(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a receipt's proof that is not computed from the rest."""

    hashes: list[str]


class Finding(NamedTuple):
    """What is wrong: at which line or row of the file (None: not at one), and what.

    ``file`` is its name, where the export is of several.
    """

    line: int | None
    fault: str
    file: str = ""


class Checked(NamedTuple):
    """What became of a check: how many events, how many of them are signed, what is wrong."""

    events: int
    signed: int
    checkpoints: int
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        return not self.findings


def leaf_of(tenant_id: int, event: ExportedEvent) -> bytes:
    """Return the hash that an event has as a leaf of its log's tree."""
    return merkle.leaf_hash(
        tenant_id,
        event.position,
        event.stream,
        event.version,
        event.type,
        event.schema_version,
        bytes(event.data),
        bytes(event.meta),
        _microseconds(event.effective_at),
        _microseconds(event.recorded_at),
    )


def _microseconds(at: datetime) -> int:
    since = at - _EPOCH
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds


def check_receipt(content: bytes, keys: Sequence[VerifierKey]) -> ExportedEvent:
    """Return a receipt's event, once it is proven; raise InvalidNote or ValueError when it is not.

    ``keys`` are those that the reader trusts; what the receipt says of keys is not looked at.
    """
    receipt = msgspec.json.decode(content, type=Receipt)
    checkpoint = opened(receipt.checkpoint, keys)
    leaf = leaf_of(receipt.tenant_id, receipt.event)
    path = [bytes.fromhex(part) for part in receipt.inclusion.hashes]
    root = included_root(receipt.event.position - 1, checkpoint.size, leaf, path)
    if root != checkpoint.root:
        raise ValueError("the event is not in the log that was signed, or was not so there")
    return receipt.event


class LogCheck:
    """An export on its way through the check, whatever it is written in."""

    def __init__(self, tenant_id: int, checkpoints: Sequence[Checkpoint]) -> None:
        self.tenant_id = tenant_id
        self.file = ""
        self.findings: list[Finding] = []
        self.events = 0
        self.checked = 0
        self.signed = 0
        self._due = sorted({c.size: c for c in checkpoints}.values(), key=lambda c: -c.size)
        self._frontier: list[bytes] = []
        self._versions: dict[str, int] = {}
        self._last_us = 0
        self._expected = 1

    def find(self, line: int | None, fault: str) -> None:
        """Take down what is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(line, fault, self.file))

    def take(
        self,
        number: int,
        position: int,
        stream: str,
        version: int,
        recorded_us: int,
        leaf: bytes,
        leaf_said: bytes | None,
    ) -> None:
        """Check an event, and take its leaf into the tree; ``leaf_said`` is what the export says.

        ``number`` is its line's or row's. The leaf is made of everything that the event says.
        """
        if position != self._expected:
            self.find(number, _misplaced(position, self._expected))
        self._expected = position + 1
        known = self._versions.get(stream, 0)
        if version != known + 1:
            self.find(
                number, f"position {position} is version {version} of {stream}, after {known}"
            )
        self._versions[stream] = version
        if recorded_us < self._last_us:
            self.find(number, f"position {position} was recorded before the one before it")
        self._last_us = recorded_us
        if leaf_said is not None and leaf_said != leaf:
            self.find(number, f"position {position} is not what its leaf hash says")
        merkle.append(self._frontier, self.events, (leaf,))
        self.events += 1
        if self._due and self._due[-1].size == self.events:
            self._compare(self._due.pop())

    def _compare(self, checkpoint: Checkpoint) -> None:
        if merkle.root(self._frontier) == checkpoint.root:
            self.signed = checkpoint.size
            self.checked += 1
            return
        self.find(
            None,
            f"the events from {self.signed + 1} to {checkpoint.size} are not those that were "
            f"signed",
        )
        # What comes later cannot fit either, and would say nothing more.
        self._due.clear()

    def end(self) -> Checked:
        """See that nothing is missing at the end; return what became of it all."""
        self.file = ""
        if self._due:
            newest = self._due[0].size
            self.find(
                None,
                f"the file ends after {self.events} events; {newest} have been signed, of which "
                f"the first {self.signed} are as they were",
            )
        return Checked(self.events, self.signed, self.checked, self.findings)


def _misplaced(position: int, expected: int) -> str:
    if position > expected:
        span = (
            f"position {expected} is"
            if position == expected + 1
            else (f"positions {expected} to {position - 1} are")
        )
        return f"{span} missing before position {position}"
    return f"position {position} stands where {expected} should: inserted, doubled or moved"


def check_log(
    lines: Iterable[bytes],
    checkpoints: Sequence[Checkpoint],
    tenant_id: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Checked:
    """Check an export, line by line, against checkpoints whose signatures have been checked.

    ``tenant_id`` is needed where the export has no header. ``progress`` is told the events done.
    Memory grows with the number of streams, not with that of events. Raises ValueError where
    there is nothing to check it against.
    """
    origin = origin_of_all(checkpoints)
    decode = msgspec.json.Decoder(ExportedEvent).decode
    checked: LogCheck | None = None
    number = 0
    for line in lines:
        number += 1
        if checked is None:
            header = _header(line) if line.startswith(HEADER_MARK) else None
            tenant = tenant_id if header is None else header.tenant_id
            if tenant is None:
                raise ValueError("the export has no header: say which tenant it is of")
            checked = LogCheck(tenant, checkpoints)
            if header is not None:
                if header.origin != origin:
                    checked.find(number, f"the export is of {header.origin}, not of {origin}")
                continue
        if not line.strip():
            continue
        try:
            event = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
            checked.find(number, f"this is no event: {fault}")
            continue
        checked.take(
            number,
            event.position,
            event.stream,
            event.version,
            _microseconds(event.recorded_at),
            leaf_of(checked.tenant_id, event),
            _bytes_of(event.leaf_hash) if event.leaf_hash else None,
        )
        if checked.events % PROGRESS_EVERY == 0:
            progress(checked.events)
    if checked is None:
        checked = LogCheck(tenant_id or 0, checkpoints)
    progress(checked.events)
    return checked.end()


def origin_of_all(checkpoints: Sequence[Checkpoint]) -> str:
    """Return the log that checkpoints are of; raise ValueError where that is none, or several."""
    if not checkpoints:
        raise ValueError("there is no checkpoint to check the log against")
    (origin, *others) = {checkpoint.origin for checkpoint in checkpoints}
    if others:
        raise ValueError("the checkpoints are of different logs")
    return origin


def _bytes_of(text: str) -> bytes:
    """Return what hexadecimal digits spell; of anything else what is no leaf's hash."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _header(line: bytes) -> ExportHeader | None:
    try:
        return msgspec.json.decode(line, type=ExportHeader)
    except msgspec.DecodeError:
        return None


def read_checkpoints(content: str, keys: Sequence[VerifierKey]) -> list[Checkpoint]:
    """Return the checkpoints in a text: one note, or a line of JSON with a ``note`` for each.

    Each must be signed by one of the keys; raises InvalidNote when one is not.
    """
    if not content.lstrip().startswith("{"):
        return [opened(content, keys)]
    found: list[Checkpoint] = []
    for line in content.splitlines():
        if line.strip():
            try:
                note: Any = msgspec.json.decode(line)["note"]
            except (msgspec.DecodeError, KeyError, TypeError):
                raise InvalidNote("a line of the checkpoints holds no note") from None
            found.append(opened(note, keys))
    return found


def line_of(event_json: bytes, leaf_hash: bytes) -> bytes:
    """Return the line of an export for an event as the log shows it, with its leaf's hash."""
    return b'%s,"leaf_hash":"%s"}\n' % (event_json[:-1], leaf_hash.hex().encode())
