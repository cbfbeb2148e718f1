"""A server that we run as our child, which ends when we end, however we end.

It is run by a supervisor of its own (``postgres_supervisor``, which is as good for any server
that shuts down on SIGINT): a pipe to it closes with us, and Linux tells the server to stop where
even the supervisor is killed.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_SUPERVISOR: Final = Path(__file__).with_name("postgres_supervisor.py")


async def start_child(
    argv: Sequence[str],
    *,
    output: Path,
    folder: Path,
    environment: Mapping[str, str],
    run_as: Mapping[str, Any] | None = None,
) -> asyncio.subprocess.Process:
    """Start a server; return its supervisor, whose end is the server's end.

    What it writes goes to the file ``output``, anew at each start. ``run_as``: see
    ``postgres_supervisor``.
    """
    with output.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_SUPERVISOR),
            json.dumps({"argv": list(argv), **(run_as or {})}),
            stdin=asyncio.subprocess.PIPE,
            stdout=file,
            stderr=file,
            cwd=folder,
            env=dict(environment),
            # A Ctrl-C in the terminal is for us alone; we stop the server when we are done.
            start_new_session=True,
        )


async def stop_child(supervisor: asyncio.subprocess.Process | None, timeout_s: float) -> None:
    """Close the supervisor's input, which makes it shut the server down, and wait."""
    if supervisor is None or supervisor.returncode is not None:
        return
    assert supervisor.stdin is not None
    supervisor.stdin.close()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(supervisor.wait())
    except TimeoutError:
        supervisor.kill()
        await supervisor.wait()
