"""The master keys, which wrap the keys of personal data: in files beside the database, or set.

Who has the database, or an old copy of it, but none of these, reads no personal data.
"""

import base64
import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from deploy.settings import InvalidSettings, Settings
from ledger.sealing import MasterKey

KEY_BYTES: Final = 32
_MAKING_S: Final = 0.005
_SUFFIX: Final = ".key"


def master_keys(settings: Settings) -> "MasterKeyFiles | MasterKeySetting":
    """Return this installation's master keys; raise InvalidSettings for a setting that is wrong."""
    if settings.erasure_keys is not None:
        return MasterKeySetting(settings.erasure_keys)
    return MasterKeyFiles(settings.data_dir / "secrets" / "erasure-keys")


class MasterKeyFiles:
    """Master keys in a folder, named by when they were made. The newest wraps new keys.

    The folder is looked at whenever one is asked for: another process may have made or retired
    one, and a retired one must not be used any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: tuple[tuple[str, ...], list[MasterKey]] = ((), [])

    def newest(self) -> MasterKey:
        """Return the one that wraps new keys, made now if there is none."""
        if not self._keys():
            # Another process may be making the first one in this very millisecond.
            with suppress(FileExistsError):
                self.make()
        while not self._keys():
            time.sleep(_MAKING_S)
        return self._keys()[0]

    def find(self, master_id: bytes) -> MasterKey | None:
        """Return the one of this id, None where there is none (any more)."""
        return next((key for key in self._keys() if key.id == master_id), None)

    def make(self) -> MasterKey:
        """Make a new one, which wraps new keys from now on."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{int(time.time() * 1000):015d}{_SUFFIX}"
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        secret = secrets.token_bytes(KEY_BYTES)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secret) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".new").replace(path)
        self._sync()
        return MasterKey(secret)

    def retired(self) -> list[MasterKey]:
        """Return all but the newest."""
        return self._keys()[1:]

    def destroy(self, ids: Sequence[bytes]) -> int:
        """Destroy master keys: overwritten, then deleted. Return how many there were."""
        destroyed = 0
        for path in self._paths():
            if _read(path).id in ids:
                with path.open("r+b") as file:
                    file.write(secrets.token_bytes(path.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                destroyed += 1
        self._sync()
        return destroyed

    def _keys(self) -> list[MasterKey]:
        paths = self._paths()
        names = tuple(path.name for path in paths)
        if names != self._read[0]:
            self._read = (
                names,
                [MasterKey(base64.b64decode(path.read_bytes(), validate=False)) for path in paths],
            )
        return self._read[1]

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"), reverse=True)

    def _sync(self) -> None:
        """Have the folder itself on the disk."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> MasterKey:
    return MasterKey(base64.b64decode(path.read_bytes()))


class MasterKeySetting:
    """Master keys that a setting names, the newest first: the same for every machine."""

    def __init__(self, setting: str) -> None:
        """Raise InvalidSettings for anything but 32 bytes in base64 each."""
        try:
            self._keys: Sequence[MasterKey] = [
                MasterKey(base64.b64decode(part, altchars=b"-_", validate=True))
                for part in setting.replace("+", "-").replace("/", "_").split(",")
            ]
        except ValueError:
            problem = (
                f"STOCKLEDGER_ERASURE_KEYS: each key must be {KEY_BYTES} bytes in base64, such "
                f"as `openssl rand -base64 {KEY_BYTES}` prints."
            )
            raise InvalidSettings([problem]) from None

    def newest(self) -> MasterKey:
        """Return the one that wraps new keys: the first."""
        return self._keys[0]

    def find(self, master_id: bytes) -> MasterKey | None:
        """Return the one of this id, None where it is not named (any more)."""
        return next((key for key in self._keys if key.id == master_id), None)

    def retired(self) -> list[MasterKey]:
        """Return all but the newest."""
        return list(self._keys[1:])
