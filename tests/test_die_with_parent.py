"""No process outlives the one that started it, even if that was killed."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest
from processes.waiting import until

PYTHON = """
import os, subprocess, sys, time
from pebench.machine.die_with_parent import die_with_parent
child = "import sys, time; from pebench.machine.die_with_parent import die_with_parent;"
child += "die_with_parent(int(sys.argv[1])); time.sleep(100)"
print(subprocess.Popen([sys.executable, "-c", child, str(os.getpid())]).pid, flush=True)
time.sleep(100)
"""

COMMAND = """
import os, subprocess, sys, time
tied = [sys.executable, "-m", "pebench.machine.die_with_parent", str(os.getpid())]
command = [*tied, "sh", "-c", "sleep 100 & sleep 100"]
print(subprocess.Popen(command, start_new_session=True).pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize(("code", "processes"), [(PYTHON, 1), (COMMAND, 4)], ids=["python", "command"])
def test_all_of_a_process_ends_when_its_parent_is_killed(code: str, processes: int) -> None:
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        first = psutil.Process(int(parent.stdout.readline()))
        until(lambda: len(first.children(recursive=True)) == processes - 1)
        started = [first, *first.children(recursive=True)]
        parent.kill()
    until(lambda: not any(process.is_running() for process in started), 15)


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    code = (
        "import time; from pebench.machine.die_with_parent import die_with_parent as die;"
        "die(1); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 1


def test_a_command_gives_back_its_exit_status() -> None:
    command = [
        sys.executable,
        "-m",
        "pebench.machine.die_with_parent",
        str(psutil.Process().pid),
        "sh",
        "-c",
        "exit 7",
    ]
    assert subprocess.run(command, check=False).returncode == 7
