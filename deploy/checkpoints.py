"""What signs checkpoints, and where they go besides the database: a file, NATS, an auditor.

Keys and the notes that were signed are under the data folder, out of the database's reach: who
can change every table can neither sign nor make anybody forget.
"""

import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.settings import Settings
from deploy.wiring import House
from ledger.checkpoints import Outlet, Signed, run_signing
from ledger.notes import Checkpoint, InvalidNote, Signer, read

SIGN_ALONG: Final = timedelta(days=7)
_TAIL_BYTES: Final = 64 * 1024
_KEY_SUFFIX: Final = ".pem"

log = structlog.get_logger(__name__)


def signing_keys(settings: Settings) -> "SigningKeys":
    """Return the keys that sign this installation's checkpoints."""
    return SigningKeys(settings.data_dir / "secrets" / "checkpoint-keys", settings.checkpoint_name)


async def run_checkpoints(house: House) -> None:
    """Sign checkpoints of every tenant's log, and pass them on, until cancelled."""
    settings = house.all_settings
    memory = NotesFile(settings.data_dir / "checkpoints")
    async with AsyncExitStack() as stack:
        open_ones: Sequence[Outlet] = ()
        if house.nats is not None or settings.checkpoint_url is not None:
            # Loaded where it is used: most have no address but the file's.
            from deploy.checkpoint_outlets import outlets

            open_ones = await stack.enter_async_context(
                outlets(house.nats, settings.checkpoint_url)
            )
        await run_signing(
            house.pool, house.feed, signing_keys(settings).signers, memory, house.now, open_ones
        )


# --- keys -------------------------------------------------------------------------------


class SigningKeys:
    """The signing keys in a folder, named by when they were made. The newest signs.

    For a week after a rotation the one before it signs along, so that whoever knows only that one
    learns of its successor from notes that both have signed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._read: tuple[tuple[str, ...], list[tuple[float, Signer]]] = ((), [])

    def signers(self, at: float | None = None) -> list[Signer]:
        """Return who signs at a time (now, unless said), the newest key first.

        Makes the first key where there is none. Raises OSError and ValueError for files that
        cannot be read.
        """
        now = time.time() if at is None else at
        found = self._keys()
        if not found:
            self.rotate(now)
            found = self._keys()
        newest = found[0][0]
        along = found[1:2] if now - newest < SIGN_ALONG.total_seconds() else []
        return [signer for _, signer in (found[0], *along)]

    def rotate(self, at: float | None = None) -> Signer:
        """Make a new key, which signs from the next checkpoint on, and return it."""
        made_at = time.time() if at is None else at
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self._folder / f"{int(made_at * 1000):015d}{_KEY_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        return Signer(self._name, private)

    def all(self) -> list[tuple[float, Signer]]:
        """Return every key there is with when it was made, the newest first."""
        return self._keys()

    def _keys(self) -> list[tuple[float, Signer]]:
        paths = sorted(self._folder.glob(f"*{_KEY_SUFFIX}"), reverse=True)
        names = tuple(path.name for path in paths)
        if names != self._read[0]:
            self._read = names, [(int(p.stem) / 1000, self._signer(p)) for p in paths]
        return self._read[1]

    def _signer(self, path: Path) -> Signer:
        private = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError(f"{path} is not an Ed25519 key")
        return Signer(self._name, private)


# --- memory -----------------------------------------------------------------------------


class NotesFile:
    """Checkpoints in files, a line of JSON each, one file a log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[str, Checkpoint] = {}

    def last(self, origin: str) -> Checkpoint | None:
        """Return what was signed last; a line that a crash has cut off is none."""
        known = self._last.get(origin)
        if known is not None:
            return known
        path = self.path(origin)
        if not path.exists():
            return None
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().split(b"\n")
        for line in reversed(lines):
            with suppress(msgspec.DecodeError, KeyError, TypeError, InvalidNote):
                found = self._last[origin] = read(msgspec.json.decode(line)["note"])
                return found
        return None

    def keep(self, signed: Signed) -> None:
        """Append a checkpoint and have it on the disk."""
        checkpoint = signed.checkpoint
        path = self.path(checkpoint.origin)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        line = msgspec.json.encode(
            {"signed_at": signed.signed_at, "size": checkpoint.size, "note": signed.note}
        )
        with path.open("ab") as file:
            # A line feed first: what a crash has cut off before is then a line of its own.
            file.write((b"\n" if file.tell() else b"") + line)
            file.flush()
            os.fsync(file.fileno())
        self._last[checkpoint.origin] = checkpoint

    def path(self, origin: str) -> Path:
        """Return the file of a log's checkpoints."""
        return self._folder / f"{origin.rpartition('/')[2]}.jsonl"
