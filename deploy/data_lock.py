"""One process at a time runs a data folder's database: a lock that ends with its holder."""

import fcntl
import os
import sys
from pathlib import Path

from ledger.errors import OperatorError


class DataFolderBusy(OperatorError):
    """Another process serves from this data folder."""

    def __init__(self, data_dir: Path, holder: str) -> None:
        super().__init__(
            f"{data_dir} is in use by {holder}; stop that first, "
            "or give this one another STOCKLEDGER_DATA_DIR"
        )


class DataLock:
    """A lock on ``data_dir/lock``, freed by the system when the process ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock and return True, or return False when another process has it."""
        # Root's folder is passable, so that the database's own user can reach what is its own.
        self._path.parent.mkdir(
            mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True
        )
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        what = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} ({what})\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def holder(self) -> str:
        """Return who has the lock, for a message."""
        return self._path.read_text(encoding="utf-8", errors="replace").strip() or "a process"

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
