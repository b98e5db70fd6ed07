"""A live process, a dead one, a later one with the same number, and one of another machine."""

from __future__ import annotations

import os
import subprocess
import sys

from tenuto import processes
from tenuto.processes import ABANDONED_AFTER_SECONDS


def test_this_process_is_not_abandoned() -> None:
    assert not processes.is_abandoned(processes.this_process())


def test_a_killed_child_is_abandoned_before_and_after_it_is_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = processes.this_process().model_copy(update={"pid": child.pid, "began": processes.began(child.pid)})
    assert not processes.is_abandoned(process)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    assert processes.is_abandoned(process)
    child.communicate()
    assert processes.is_abandoned(process)


def test_a_later_process_with_the_same_number_is_another() -> None:
    assert processes.is_abandoned(processes.this_process().model_copy(update={"began": "1"}))


def test_another_machine_is_given_an_hour() -> None:
    elsewhere = processes.this_process().model_copy(update={"host": "elsewhere.example", "pid": 1})
    long_ago = elsewhere.noted_at - ABANDONED_AFTER_SECONDS - 1
    assert not processes.is_abandoned(elsewhere)
    assert processes.is_abandoned(elsewhere.model_copy(update={"noted_at": long_ago}))
