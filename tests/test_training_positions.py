"""Shifted and randomized training positions around any encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.position_encoding import Geometry, StepRNG, grid
from pebench.resolve import build_task, encoding_geometry, resolve
from pebench.running.execution import Execution
from pebench.running.positions import training_positions
from pebench.running.run import execute
from pebench.specification.run_spec import Training
from pebench.store.run_folder import RunFolder

WIDE = build_encoding("rope", {}, Geometry(16, 2, 1, (100,)))


def test_a_shifted_window_stays_whole_and_in_the_range() -> None:
    starts = set()
    for step in range(200):
        positions = training_positions(Training(positions="shifted"), WIDE, (90,), 3, StepRNG(0, step))
        assert torch.equal(positions - positions[:, :1], grid((90,)))
        starts.add(int(positions[0, 0, 0]))
    assert starts == set(range(11))


def test_a_randomized_window_is_a_sorted_subset_of_the_range() -> None:
    seen = torch.zeros(100)
    for step in range(100):
        positions = training_positions(Training(positions="randomized"), WIDE, (20,), 3, StepRNG(0, step))[
            0, :, 0
        ]
        assert (positions.diff() > 0).all()
        seen[positions] += 1
    assert (seen > 0).all()


def test_axes_are_drawn_each_on_its_own() -> None:
    encoding = build_encoding("sinusoidal", {}, Geometry(16, 2, 1, (30, 30), causal=False))
    positions = training_positions(Training(positions="randomized"), encoding, (4, 5), 3, StepRNG(0, 0))[0]
    rows, columns = positions.view(4, 5, 2).unbind(-1)
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    assert (rows[:, 0].diff() > 0).all()
    assert (columns[0].diff() > 0).all()


def _spec(place: Path, encoding: Any, **train: Any) -> Any:
    task = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32, 64], "tail": 8, "tokens": 200}
    model = {"width": 32, "layers": 1, "heads": 2}
    return resolve(
        encoding, {"language-modeling": task}, model=model, train={"steps": 2, "batch": 2, **train}
    )


@pytest.mark.parametrize("scheme", ["shifted", "randomized"])
@pytest.mark.parametrize("encoding", ["learned", "rope", "t5", {"seqpe": {"positions": 300}}], ids=str)
def test_any_encoding_trains_so(place: Path, encoding: Any, scheme: str) -> None:
    spec = _spec(place, encoding, positions=scheme, range=128)
    folder = RunFolder(place / "runs" / spec.run_id)
    folder.create(spec, {})
    result = execute(folder, Execution(device="cpu", threads=1))
    assert result is not None
    assert result.status == "done"
    assert all(score.value is not None for score in result.scores)


def test_the_encoding_is_built_for_the_range(place: Path) -> None:
    for train, extent in (({}, 64), ({"range": 500}, 500)):
        spec = _spec(place, "learned", positions="randomized", **train)
        assert encoding_geometry(spec, build_task(spec)).extent == (extent,)


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ({"range": 64}, "goes with 'train.positions'"),
        ({"positions": "shifted", "range": 16}, "smaller than the trained extent 32"),
        ({"positions": "shiftd"}, "option 'positions'"),
    ],
)
def test_impossible_schemes_are_refused(place: Path, train: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _spec(place, "rope", **train)
