"""What the figures were measured on."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

_LIBRARIES = ("litestar", "granian", "uvicorn", "uvloop", "asyncpg", "msgspec")
_SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
)


async def describe(administrator: Mapping[str, Any], data_dir: Path) -> dict[str, str]:
    """Return the machine, the software and the database's settings, as texts by name."""
    connection = await asyncpg.connect(**administrator)
    try:
        server: str = await connection.fetchval("SHOW server_version")
        settings = {name: await connection.fetchval(f"SHOW {name}") for name in _SETTINGS}
    finally:
        await connection.close()
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "file system": _file_system(data_dir),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": f"{server}, embedded",
        "its settings": ", ".join(f"{name} = {value}" for name, value in settings.items()),
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path is on; mounts are listed outermost first."""
    found = "unknown"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    absolute = path.resolve()
    for mount in mounts:
        _, folder, kind = mount.split()[:3]
        if absolute.is_relative_to(folder):
            found = kind
    return found
