"""Two ranks on one GPU, through Gloo, or on one each, through NCCL, train as one does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pebench.resolve import resolve
from pebench.running.execution import Execution
from pebench.running.launch import execute_here
from pebench.running.ranks import RankLost
from pebench.store.run_folder import RunFolder

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.cuda

ALONE = Execution(device="cuda", threads=1, log_every=1, checkpoint_every=0)
TOGETHER = ALONE.model_copy(update={"ranks": 2})
COMPILED = TOGETHER.model_copy(update={"compile": True})
BACKEND = "cpu:gloo,cuda:nccl" if torch.cuda.device_count() > 1 else "gloo"


def _run(place: Path, name: str, encoding: Any = "rope", **training: Any) -> RunFolder:
    options = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32, 64], "tail": 8, "tokens": 500}
    train = {"steps": 10, "batch": 8, **training}
    model = {"width": 32, "layers": 2, "heads": 2}
    spec = resolve(encoding, {"language-modeling": options}, model=model, train=train)
    folder = RunFolder(place / name / spec.run_id)
    folder.create(spec, {})
    return folder


def _losses(folder: RunFolder) -> list[float]:
    values = (point.values.get("train/loss") for point in folder.points())
    return [loss for loss in values if loss is not None]


@pytest.mark.parametrize(
    ("execution", "precision", "tolerance"),
    [(TOGETHER, "float32", 1e-4), (COMPILED, "float32", 1e-4), (TOGETHER, "bfloat16", 1e-2)],
    ids=["float32", "compiled", "bfloat16"],
)
@pytest.mark.parametrize("encoding", ["rope", {"seqpe": {"positions": 200, "dropout": 0.1}}], ids=str)
def test_two_ranks_agree_with_one(
    place: Path, encoding: Any, execution: Execution, precision: str, tolerance: float
) -> None:
    alone, together = (_run(place, name, encoding, precision=precision) for name in ("alone", "together"))
    # Compiled kernels draw dropout in a way of their own, so both are compiled or none is.
    execute_here(alone, execution.model_copy(update={"ranks": ALONE.ranks}))
    result = execute_here(together, execution)
    assert result is not None
    assert result.cost.ranks == 2
    assert together.provenance()["ranks"]["backend"] == BACKEND
    assert _losses(together) == pytest.approx(_losses(alone), rel=tolerance)


def test_a_rank_that_is_killed_ends_the_other_and_the_next_attempt_goes_on(place: Path) -> None:
    killed = _run(place, "killed")
    asked = iter(range(1000))

    def kill() -> bool:
        if next(asked) == 4:
            for process in psutil.Process().children():
                process.kill()
        return False

    with pytest.raises(RankLost):
        execute_here(killed, TOGETHER, stop=kill)
    assert killed.failure() is not None
    assert execute_here(killed, TOGETHER) is not None
    assert re.search("from step [45]", killed.log.read_text())
