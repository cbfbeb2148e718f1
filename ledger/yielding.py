"""Having a process yield to others on the same machine."""

import os
from contextlib import suppress
from pathlib import Path


def yield_to_others(pid: int, niceness: int) -> None:
    """Have a process get what others leave of the processors. Where the system does not let us, it
    is left as it is.

    Linux may share the processors out by session first (autogroup, sched(7)), whatever niceness its
    processes have: then the session's own counts. It is set where the process leads its session, as
    every process of PostgreSQL does, so that nobody else is slowed down.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        if os.getsid(pid) == pid:
            Path(f"/proc/{pid}/autogroup").write_text(f"{niceness}\n")
