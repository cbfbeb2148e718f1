"""Having processes and threads yield to others on the same machine."""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

FOLLOWER_NICENESS: Final = 10
"""How far what follows the log yields to commands and reads: a report may be late."""
EXPORT_NICENESS: Final = 19
"""How far exports, and analysts' queries, yield to these, and to what follows the log."""

# The longest that Linux takes. Whoever wakes up and asks for less than who runs may go first;
# otherwise he waits until that one's turn is over, however far it yields: some milliseconds, many
# times in the way of a command, which cost a third of all commands.
_TURN_NS: Final = 100_000_000
# C libraries have no function for these. From the kernel's tables, and linux/sched/types.h.
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_SCHED_GETATTR: Final = {"x86_64": 315, "aarch64": 275, "riscv64": 275}


class _SchedulingAttributes(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def yield_to_others(task: int, niceness: int) -> None:
    """Have a process, or on Linux a thread by its native id, get what others leave of the
    processors. Where the system does not let us, it is left as it is.

    Linux may share the processors out by session first (autogroup, sched(7)), whatever niceness its
    processes have: then the session's own counts. It is set where the process leads its session, as
    every process of PostgreSQL does, so that nobody else is slowed down.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, task, niceness)
        _take_long_turns(task)
        if os.getsid(task) == task:
            Path(f"/proc/{task}/autogroup").write_text(f"{niceness}\n")


def turn_ns(task: int) -> int:
    """Return how long a process or thread asks to go on before others have their turn.

    0 where that is not known: before Linux 6.12, on another system, or when it is gone.
    """
    attributes = _attributes(task)
    return 0 if attributes is None else attributes.runtime


def _take_long_turns(task: int) -> None:
    """Ask for long turns, so that all others may go before; Linux before 6.12 ignores it."""
    attributes = _attributes(task)
    if attributes is not None:
        attributes.runtime = _TURN_NS
        _system().syscall(_SCHED_SETATTR[platform.machine()], task, ctypes.byref(attributes), 0)


def _attributes(task: int) -> _SchedulingAttributes | None:
    number = _SCHED_GETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        return None
    attributes = _SchedulingAttributes(size=ctypes.sizeof(_SchedulingAttributes))
    failed = _system().syscall(number, task, ctypes.byref(attributes), attributes.size, 0)
    return None if failed else attributes


@cache
def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None)
