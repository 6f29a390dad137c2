"""Runs on CUDA: one that was killed ends like one that was not, and precision and compilation are recorded.

Sums on CUDA come in no fixed order, so that losses agree to a tolerance and not to the last digit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pebench.resolve import resolve
from pebench.running.compilation import compile_whole
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

LOSS_TOLERANCE = 5e-3
"""Nats between two runs of one specification on one device, over 60 steps; ten times as much over 150."""

STILL = {"seqpe": {"positions": 200, "dropout": 0.0}}
"""SeqPE without dropout, which compiled kernels draw in a way of their own."""

EXECUTION = Execution(device="cuda", threads=1, log_every=4, checkpoint_every=0)

WORKER = """
import sys
from pathlib import Path
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder
execute(RunFolder(Path(sys.argv[1])), Execution(device="cuda", threads=1, log_every=4, checkpoint_every=0))
"""

LOSING = """
import os, sys, torch
from pebench.running.lost_device import is_lost
if "AGAIN" in os.environ:
    sys.exit(print(torch.ones(3, device="cuda").sum().item()))
try:
    torch.empty(2**50, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    print(is_lost(error))
try:
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].cpu()
except RuntimeError as error:
    print(is_lost(error), is_lost(ValueError("of another library")), flush=True)
os.environ["AGAIN"] = ""
os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
"""


def _run(place: Path, name: str, encoding: Any = "rope", **training: Any) -> RunFolder:
    options = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32, 64], "tail": 8, "tokens": 500}
    train = {"steps": 60, "batch": 4, "learning_rate": 3e-3, **training}
    model = {"width": 32, "layers": 1, "heads": 2}
    spec = resolve(encoding, {"language-modeling": options}, model=model, train=train)
    folder = RunFolder(place / name / spec.run_id)
    folder.create(spec, {})
    return folder


def _losses(folder: RunFolder) -> dict[int, float]:
    """The training loss by step."""
    found = {point.step: point.values.get("train/loss") for point in folder.points()}
    return {step: loss for step, loss in found.items() if loss is not None}


def _result(folder: RunFolder, execution: Execution = EXECUTION) -> Result:
    result = execute(folder, execution)
    assert result is not None
    assert result.status == "done"
    return result


def _alike(one: RunFolder, other: RunFolder, tolerance: float) -> None:
    losses, other_losses = _losses(one), _losses(other)
    assert losses.keys() == other_losses.keys()
    for step, loss in losses.items():
        assert loss == pytest.approx(other_losses[step], abs=tolerance), step
    for score, other_score in zip(_result(one).scores, _result(other).scores, strict=True):
        assert score.value == pytest.approx(other_score.value, rel=tolerance)


@pytest.mark.parametrize(
    ("encoding", "precision"), [("t5", "float32"), ({"seqpe": {"positions": 200}}, "bfloat16")], ids=str
)
def test_a_stopped_run_ends_like_an_undisturbed_one(place: Path, encoding: Any, precision: str) -> None:
    whole, stopped = (_run(place, name, encoding, precision=precision) for name in ("whole", "stopped"))
    _result(whole)
    left = iter([False] * 20 + [True])
    assert execute(stopped, EXECUTION, stop=left.__next__) is None
    _result(stopped)
    _alike(stopped, whole, LOSS_TOLERANCE * (4 if precision == "bfloat16" else 1))
    losses = list(_losses(whole).values())
    assert losses[-1] < losses[0] - 0.5


def test_a_killed_run_ends_like_an_undisturbed_one(place: Path) -> None:
    whole, killed = _run(place, "whole", steps=150), _run(place, "killed", steps=150)
    _result(whole)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(killed.path)])
    while worker.poll() is None:
        if max((path.name for path in killed.checkpoint.glob("step-*")), default="") >= "step-00000020":
            os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.001)
    assert worker.wait() == -signal.SIGKILL, "the worker was to be killed while it trained"
    assert killed.result() is None
    _result(killed)
    _alike(killed, whole, 10 * LOSS_TOLERANCE)


@pytest.mark.parametrize(
    ("encoding", "precision"),
    [
        ("rope", "float32"),
        (STILL, "float32"),
        (STILL, "bfloat16"),
        ("fox", "bfloat16"),
        ("liere", "bfloat16"),
    ],
    ids=str,
)
def test_compiled_training_is_that_of_eager_training(place: Path, encoding: Any, precision: str) -> None:
    plain, compiled = (
        _run(place, name, encoding, steps=6, precision=precision) for name in ("plain", "compiled")
    )
    _result(plain)
    _result(compiled, EXECUTION.model_copy(update={"compile": True}))
    _alike(plain, compiled, LOSS_TOLERANCE * (4 if precision == "bfloat16" else 1))


@pytest.mark.parametrize(
    "encoding",
    ["none", {"seqpe": {"positions": 200}}, {"seqpe": {"positions": 200, "shifted": 1.0}}],
    ids=str,
)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("parts_from", [1, 10_000], ids=["by-blocks", "as-one-graph"])
def test_replayed_graphs_compute_and_draw_what_single_kernels_do(
    place: Path, monkeypatch: pytest.MonkeyPatch, encoding: Any, accumulate: int, parts_from: int
) -> None:
    """Dropout of model and encoder is drawn anew in each replay, and as without graphs."""
    monkeypatch.setattr("pebench.models.decoder.PARTS_FROM", parts_from)
    compiled = EXECUTION.model_copy(update={"compile": True, "log_every": 1})
    training = {"steps": 12, "accumulate": accumulate, "precision": "bfloat16"}
    replayed, launched = (_run(place, name, encoding, **training) for name in ("replayed", "launched"))
    _result(replayed, compiled)
    monkeypatch.setattr("pebench.running.train.compile_whole", lambda f, graphs: compile_whole(f))
    _result(launched, compiled)
    losses, others = _losses(replayed), _losses(launched)
    for step, loss in losses.items():
        assert loss == pytest.approx(others[step], abs=1e-3), step


def test_costs_are_those_of_the_device(place: Path) -> None:
    folder = _run(place, "runs", steps=6)
    result = _result(folder)
    assert result.cost.peak_memory_bytes is not None
    assert 0 < result.cost.peak_memory_bytes < 2**30
    assert result.cost.kernels == ("fused",)
    assert folder.provenance()["device"] == torch.cuda.get_device_name()


def test_a_fault_in_a_kernel_takes_the_device_from_a_process_and_a_fresh_one_has_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", LOSING], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue True\n3.0\n", done.stderr
