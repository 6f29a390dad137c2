"""How well single scores are known by what they were measured on, in tables, comparisons and MLflow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest
from scipy import stats
from specimens.run_folders import begin, cost, record_sweep, specification

from pebench.command_line.main import main
from pebench.leaderboard.sampling import between, counted, half_width, unanimous
from pebench.specification.run_spec import RunSpec
from pebench.store.example_scores import Examples, Ratio
from pebench.store.records import MetricRecord, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.tracking.record import read_record

RATIO = Ratio(metric="accuracy", over="right")


def answered(right: list[int]) -> Examples:
    return Examples(ratios=(RATIO,), columns={"right": tuple(right)}, counts={"images": len(right)})


def finished(runs: Path, spec: RunSpec, right: list[int]) -> None:
    """A run of which so many pictures were told right."""
    folder, extent = begin(runs, spec), (128,)
    examples = answered(right).model_copy(update={"extent": extent, "extrapolation": "extend"})
    value = examples.scores()["accuracy"]
    folder.write_result(
        Result(
            status="done",
            metrics={"accuracy": MetricRecord(unit="%", higher_is_better=True)},
            scores=(Score(metric="accuracy", extent=extent, extrapolation="extend", value=value),),
            cost=cost([(extent, "extend")], 1000.0),
        )
    )
    folder.write_examples([examples])


def test_the_interval_of_a_share_is_that_of_a_mean_of_its_examples() -> None:
    right = [1] * 18 + [0] * 12
    by_unit = answered(right).by_unit("accuracy")
    assert by_unit is not None
    error = 100 * numpy.std(right, ddof=1) / math.sqrt(30)
    assert half_width(by_unit) == pytest.approx(stats.t.ppf(0.975, 29) * error)
    assert half_width(by_unit) == pytest.approx(18.6, abs=0.1)


def test_one_example_has_no_interval_and_equal_ones_one_without_width() -> None:
    alone, equal = (answered(right).by_unit("accuracy") for right in ([1], [1] * 30))
    assert alone is not None
    assert equal is not None
    assert math.isnan(half_width(alone))
    assert half_width(equal) == 0.0


def test_words_of_an_interval() -> None:
    assert counted({"tokens": 65536, "windows": 256, "documents": 5}) == "5 documents"
    assert counted({"images": 1}) == "1 image"
    assert between([18.62, 17.94], "%") == "± 17.9 to 18.6 %"
    assert between([0.1, 0.1], "") == "± 0.1"
    assert between([1234.0], "") == "± 1230"
    assert "all of 30" in unanimous(30)
    assert "up to 9.5 %" in unanimous(30)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.usefixtures("without_pictures")
def test_a_small_set_says_its_own_error_everywhere(
    place: Path, capsys: pytest.CaptureFixture[str], seeds: int
) -> None:
    specs = [specification(encoding, seed) for encoding in ("rope", "none") for seed in range(seeds)]
    for spec in specs:
        finished(place / "runs", spec, [1] * 18 + [0] * 12)
    record_sweep(place / "runs", specs, "tiny")
    assert main(["leaderboard", "tiny"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    if seeds == 1:
        assert "the choice of the 30 images alone makes ± 18.6 % of each score" in told
    else:
        assert "± 18.6" in told
    page = (place / "results" / "tiny" / "leaderboard.md").read_text()
    assert ("One seed has no interval" in page) == (seeds == 1)
    assert main(["compare", "rope", "none"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "By the choice of the 30 images alone, a score of one seed lies within: A ± 18.6 % and B" in told


def test_a_small_set_says_its_own_error_in_mlflow(place: Path) -> None:
    notes = []
    for seed, right in enumerate([[1] * 18 + [0] * 12, [1] * 30]):
        spec = specification("rope", seed)
        finished(place / "runs", spec, right)
        folder = RunFolder(place / "runs" / spec.run_id)
        record = read_record(folder, list(folder.points()), ["tiny"])
        notes.append(record.tags["mlflow.note.content"])
    assert notes[0].startswith("By the choice of the 30 images alone, accuracy lies within ± 18.6 % at 128")
    assert notes[1] == unanimous(30)


def test_damaged_examples_leave_the_description_empty(place: Path) -> None:
    spec = specification("rope", 0)
    finished(place / "runs", spec, [1, 0, 1])
    folder = RunFolder(place / "runs" / spec.run_id)
    (folder.path / "examples.npz").write_bytes(b"nothing")
    assert read_record(folder, list(folder.points()), ["tiny"]).tags["mlflow.note.content"] == ""
