"""Run PostgreSQL, or another server, for as long as who started us lives, and not a moment longer.

A program of its own, of the standard library only: ``python -I -S postgres_supervisor.py SPEC``,
where SPEC is JSON: ``argv``, and for a service started as root ``uid``, ``gid`` and
``pass_directories``. Its standard input is a pipe whose other end only the service holds: when
that closes, because the service stops or because it was killed with SIGKILL, PostgreSQL is
shut down. If this process itself is killed, Linux tells PostgreSQL to stop in its place. NATS is
run in the same way: it shuts down on the same signals.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

FAST_S = 60
IMMEDIATE_S = 10

# From Linux's prctl.h, securebits.h and capability.h.
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def leave_root(uid: int, gid: int, *, pass_directories: bool) -> None:
    """Become another user, for PostgreSQL refuses to be root.

    With ``pass_directories`` (Linux) the one power kept is to pass directories closed to that
    user, CAP_DAC_OVERRIDE: without it a data folder below root's own home would be out of
    reach. Raises OSError when the system does not let us.
    """
    libc = ctypes.CDLL(None, use_errno=True) if pass_directories else None
    if libc is not None and libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        # Without it access(2), by which PostgreSQL looks for its programs, ignores the power.
        raise _failure("cannot set the secure bits")
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None:
        bit = 1 << CAP_DAC_OVERRIDE
        header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
        data = (_CapabilityData * 2)(_CapabilityData(bit, bit, bit), _CapabilityData(0, 0, 0))
        if (
            libc.capset(ctypes.byref(header), data) != 0
            or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0) != 0
        ):
            raise _failure("cannot keep CAP_DAC_OVERRIDE")


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


def main() -> int:
    """Start PostgreSQL, wait for it or for the end of our input, and return its exit status."""
    spec = json.loads(sys.argv[1])
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    stop_asked: list[int] = []

    def on_signal(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            stop_asked.append(1)

    signal.signal(signal.SIGCHLD, on_signal)
    signal.signal(signal.SIGTERM, on_signal)

    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _become_postgres(spec, supervisor)

    while not stop_asked:
        readable, _, _ = select.select([0, wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
        status = _exit_status(child)
        if status is not None:
            return status
        if 0 in readable and not os.read(0, 4096):
            break

    for name, wait_s in ((signal.SIGINT, FAST_S), (signal.SIGQUIT, IMMEDIATE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, name)
        until = time.monotonic() + wait_s
        while (left_s := until - time.monotonic()) > 0:
            status = _exit_status(child)
            if status is not None:
                return status
            if select.select([wake_read], [], [], left_s)[0]:
                os.read(wake_read, 4096)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def _become_postgres(spec: dict[str, Any], supervisor: int) -> None:
    """In the forked child: drop root, tie our life to the supervisor's, become PostgreSQL."""
    try:
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(name, signal.SIG_DFL)
        os.umask(0o077)
        if spec.get("uid") is not None:
            leave_root(spec["uid"], spec["gid"], pass_directories=spec["pass_directories"])
        if sys.platform == "linux":
            # After the change of user, which clears it. SIGINT is PostgreSQL's fast shutdown.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execv(spec["argv"][0], spec["argv"])
    except BaseException as error:
        os.write(2, f"cannot run {spec['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _exit_status(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
