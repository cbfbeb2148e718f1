"""Secrets that are made at the first start and kept in files that only their owner can read."""

import os
import secrets
import tempfile
from pathlib import Path

from deploy.settings import Settings


def kept_secret(folder: Path, name: str, *, entropy_bytes: int = 32) -> str:
    """Return the secret kept in ``folder/name``, made now if there is none.

    The file appears complete or not at all, and the first of two processes wins.
    """
    path = folder / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}-")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(entropy_bytes) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return path.read_text(encoding="ascii").strip()
        finally:
            Path(temporary).unlink()
    return path.read_text(encoding="ascii").strip()


def jwt_secret(settings: Settings) -> str:
    """Return what users' tokens are signed with: the setting, or one kept in a file."""
    return settings.jwt_secret or kept_secret(settings.data_dir / "secrets", "jwt")
