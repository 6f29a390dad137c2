"""A sweep that takes longer than its machine is lent goes on in the next command, to the same result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from processes.waiting import until
from safetensors.torch import load_file
from specimens.tiny_sweeps import write

from pebench.running.execution import Execution
from pebench.running.launch import execute_here
from pebench.store.run_folder import RunFolder
from pebench.sweeping.sweep import load_sweep

SMOKE = Path(__file__).resolve().parents[1] / "sweeps" / "seqpe-text-full-smoke.yaml"


def _smoke(place: Path) -> dict[str, Any]:
    """The smoke sweep over the text of a place, which is read in a moment, without a baseline."""
    written: dict[str, Any] = yaml.safe_load(SMOKE.read_text())
    (task,) = written["tasks"]
    task["language-modeling"]["data"] = str(place / "text.txt")
    return {**written, "baseline": None}


def _submit(file: Path) -> subprocess.Popen[bytes]:
    """Two ranks of a command with a process group of its own, as `timeout` starts it."""
    command = [sys.executable, "-m", "pebench", "submit", str(file), "--runs", "runs", "--ranks", "2"]
    return subprocess.Popen(command, cwd=file.parent, start_new_session=True, stdout=subprocess.DEVNULL)


def test_commands_that_a_time_limit_ends_come_to_the_result_of_one(place: Path) -> None:
    written = _smoke(place)
    written["encodings"] = written["encodings"][:1]
    written["train"] |= {"steps": 30}
    written["execution"] = {"device": "cpu", "threads": 1, "log_every": 1, "checkpoint_every": 1000}
    file = write(place, written, "smoke.yaml")
    (spec,) = load_sweep(file).cells
    folder, whole = RunFolder(place / "runs" / spec.run_id), RunFolder(place / "whole" / spec.run_id)

    ended = _submit(file)
    until(lambda: folder.path.exists() and sum(1 for _ in folder.points()) > 5)
    # A time limit reaches every process of the group, and the first of them twice.
    os.killpg(ended.pid, signal.SIGTERM)
    ended.send_signal(signal.SIGTERM)
    assert ended.wait(60) != 0
    (checkpoint,) = folder.checkpoint.glob("step-*")
    assert 5 <= int(checkpoint.name.removeprefix("step-")) < 30
    assert folder.failure() is None

    assert _submit(file).wait(60) == 0
    assert f"from step {int(checkpoint.name.removeprefix('step-'))}" in folder.log.read_text()
    whole.create(spec, {})
    undisturbed = execute_here(whole, Execution(device="cpu", threads=1, ranks=2))
    result = folder.result()
    assert result is not None
    assert undisturbed is not None
    assert result.scores == undisturbed.scores
    one, other = load_file(folder.weights), load_file(whole.weights)
    assert all(bool((one[name] == other[name]).all()) for name in one)


def _has_begun_a_rank(parent: int) -> bool:
    """Whether the other rank is there; it has yet to import what it needs."""
    try:
        return any("pebench.running.follower" in each.cmdline() for each in psutil.Process(parent).children())
    except psutil.Error:
        return False


def test_a_time_limit_in_the_first_moments_leaves_no_rank_waiting_for_another(place: Path) -> None:
    written = _smoke(place)
    written["encodings"] = ["none"]
    written["execution"] = {"device": "cpu", "threads": 1}
    file = write(place, written, "smoke.yaml")
    (spec,) = load_sweep(file).cells
    folder = RunFolder(place / "runs" / spec.run_id)
    ended = _submit(file)
    until(lambda: _has_begun_a_rank(ended.pid))
    os.killpg(ended.pid, signal.SIGTERM)
    assert ended.wait(60) != 0
    assert folder.failure() is None
    assert "stopped at step 1, checkpoint saved" in folder.log.read_text()
