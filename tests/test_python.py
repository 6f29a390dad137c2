"""The interface for Python: runs, sweeps, results as data frames, plugins, progress, and short reprs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from specimens.tiny_sweeps import tiny, write

import pebench
from pebench.errors import UserError
from pebench.running.execution import Execution

PLUGIN = """
from pebench.position_encoding import PositionEncoding


class Nothing(PositionEncoding):
    \"\"\"Nothing at all.\"\"\"

    name = "nothing-at-all"
    version = 1
    summary = "Nothing at all."
    source = "Here"
    acts = ""
"""


def request(place: Path, encoding: str = "rope") -> dict[str, object]:
    written = tiny(place)
    return {
        "encoding": encoding,
        "task": written["tasks"][0],
        "model": written["model"],
        "train": written["train"],
    }


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.places: list[str] = []

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        self.steps.append(step)

    def evaluating(self, done: int, total: int, what: str) -> None:
        self.places.append(what)


def test_completion_offers_what_there_is_without_an_import_of_torch() -> None:
    code = "import pebench, sys; print(*dir(pebench)); assert 'torch' not in sys.modules"
    offered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(offered.split()) == {*pebench.__all__, "__version__"}
    assert all(hasattr(pebench, name) for name in offered.split())


def test_a_run_tells_an_observer_and_its_result_is_short_and_a_frame(place: Path) -> None:
    told = Told()
    here = Execution(device="cpu", threads=1, log_every=1)
    result = pebench.run(request(place), place / "runs", here, progress=told)
    assert told.steps == [1, 2, 3, 4]
    assert told.places == ["16", "32"]
    assert repr(result).startswith(f"Result(done, {next(iter(result.metrics))} ")
    assert len(repr(result)) < 120
    frame = result.frame()
    assert list(frame["value"]) == [score.value for score in result.scores]
    assert set(frame["extent"]) == {"16", "32"}
    (run_id,) = (path.name for path in (place / "runs").glob("rope-*"))
    loaded = pebench.load(run_id, place / "runs", "cpu")
    assert repr(loaded) == f"FinishedRun({run_id}: rope, language-modeling, seed 0)"


def test_progress_is_shown_where_it_is_asked_for(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    here = Execution(device="cpu", threads=1)
    pebench.run(request(place), place / "runs", here)
    assert capfd.readouterr().err == ""
    pebench.run(request(place, "alibi"), place / "runs", here, progress=True)
    assert "alibi: done" in capfd.readouterr().err


def test_a_sweep_is_submitted_looked_at_and_read_as_frames(place: Path) -> None:
    file, runs = write(place, tiny(place, seeds=2, baseline="none")), place / "runs"
    sweep = pebench.load_sweep(file)
    assert repr(sweep) == "Sweep('tiny', 4 cells)"
    assert repr(pebench.submit(sweep, runs)) == "Submitted(4 started, 0 finished before, 0 under way)"
    assert repr(pebench.submit(file, runs)) == "Submitted(0 started, 4 finished before, 0 under way)"
    status = pebench.status("tiny", runs)
    assert list(status["state"]) == ["done"] * 4
    assert set(status["run"]) == {path.name for path in runs.glob("*-*")}
    found = pebench.results("tiny", runs)
    assert set(found.scores["seed"]) == {0, 1}
    assert {"mean", "low", "high", "difference", "p_holm"} <= set(found.leaderboard.columns)
    assert set(found.leaderboard["baseline"]) == {"", "none"}
    assert set(found.costs["phase"]) == {"training", "evaluation"}
    assert list(found.runs["status"]) == ["done"] * 4
    assert repr(found).startswith("Results of 'tiny', 4 runs\nlanguage-modeling: At 32 ")
    folder = found.write(place / "results")
    assert (folder / "report.html").is_file()
    with pytest.raises(UserError, match="unknown sweep 'tyni': did you mean 'tiny'"):
        pebench.results("tyni", runs)
    with pytest.raises(UserError, match="unknown option 'memory' of a submission: did you mean 'mem"):
        pebench.submit(file, runs, memory="4G")


def test_cells_that_fail_are_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UserError("the disk is full.")

    monkeypatch.setattr("pebench.submission.cells.execute_cell", fail)
    with pytest.raises(UserError, match=r"2 of 2 cells failed, .* with: the disk is full. pebench.status"):
        pebench.submit(write(place, tiny(place)), place / "runs")


def test_a_plugin_is_taken_in_by_name_or_with_a_run(place: Path) -> None:
    file = place / "nothing_at_all.py"
    file.write_text(PLUGIN, "utf-8")
    result = pebench.run(
        {**request(place, "nothing-at-all"), "plugins": [file]},
        place / "runs",
        Execution(device="cpu", threads=1),
    )
    assert result.status == "done"
    (copy,) = (place / "runs").glob("nothing-at-all-*/plugins/*.py")
    assert copy.read_text() == PLUGIN
    pebench.load_plugin(file)
    (place / "none.py").write_text("", "utf-8")
    with pytest.raises(UserError, match="defines neither"):
        pebench.load_plugin(str(place / "none.py"))
