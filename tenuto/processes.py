"""Who is at work: a process of this or another machine, and whether it still lives.

What a run leaves half-done carries its process, so that a later run can tell a run that was killed from one that is
still busy.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from tenuto.records import Record

ABANDONED_AFTER_SECONDS = 3600.0
"""A process of another machine, which cannot be asked, is taken for dead after this long."""


class Process(Record):
    """One process, told from a later one that has its number."""

    host: str
    pid: int
    began: str
    """Its start in clock ticks since boot; '' where the system has no /proc."""
    noted_at: float
    """Unix time in seconds at which this was written down."""


def this_process() -> Process:
    """The process that runs this."""
    return Process(host=socket.gethostname(), pid=os.getpid(), began=began(os.getpid()), noted_at=time.time())


def is_abandoned(process: Process) -> bool:
    """True when `process` lives no more, or ran on another machine and has not been heard of for an hour."""
    if process.host != socket.gethostname():
        return time.time() - process.noted_at > ABANDONED_AFTER_SECONDS
    return not is_alive(process.pid, process.began)


def is_alive(pid: int, since: str) -> bool:
    """True while the process `pid` of this machine that began at `since` runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return began(pid) == since


def began(pid: int) -> str:
    """When process `pid` of this machine started, in clock ticks since boot; '' when there is none or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # a zombie has ended; its parent has not looked yet
    return "" if fields[0] == "Z" else fields[19]
