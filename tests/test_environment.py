"""The processor behind a score: recorded with the run, and shown wherever its environment is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores

from pebench.command_line.main import main
from pebench.leaderboard.read_results import from_results
from pebench.machine.environment import ENVIRONMENT, environment, from_text, processor
from pebench.store.run_folder import RunFolder

MACHINE = {"host": "secret", "processor": "Honest 9000", "cpu_capability": "AVX512"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """RoPE and ALiBi on one processor, and a run of no encoding whose record is of before there was one."""
    folder = tmp_path / "runs"
    specs = [specification(name, seed) for name in ("rope", "alibi", "none") for seed in (0, 1)]
    for spec in specs:
        run = begin(folder, spec)
        if spec.encoding.name != "none":
            run.write_provenance(run.provenance() | {"machine": MACHINE})
        finish(run, text_scores(2.0 + spec.seed / 10, 3.0 + spec.seed / 9))
    record_sweep(folder, specs)
    return folder


def moved(runs: Path, spec_name: str, machine: dict[str, str]) -> None:
    """Has the runs of an encoding computed on another processor."""
    for seed in (0, 1):
        run = RunFolder(runs / specification(spec_name, seed).run_id)
        run.write_provenance(run.provenance() | {"machine": machine})


def compare(runs: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["compare", "rope", "alibi", "--sweep", "quickstart", "--runs", str(runs)]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_results_say_on_which_processor_each_run_computed(runs: Path) -> None:
    command = ["leaderboard", "quickstart", "--runs", str(runs), "--output", str(runs.parent / "results")]
    assert main(command) == 0
    folder = runs.parent / "results" / "quickstart"
    rows = list(csv.DictReader(io.StringIO((folder / "runs.csv").read_text())))
    found = {(row["encoding"], row["processor"], row["cpu_capability"]) for row in rows}
    assert found == {("rope", "Honest 9000", "AVX512"), ("alibi", "Honest 9000", "AVX512"), ("none", "", "")}
    page = (folder / "report.html").read_text()
    assert "Honest 9000" in page
    assert "AVX512" in page
    assert "secret" not in page
    for run in from_results(folder).runs:
        assert processor(run.provenance) == ("" if run.encoding == "none" else "Honest 9000, AVX512")


def test_what_is_written_into_a_table_is_read_back() -> None:
    code = {"commit": "0123abc", "dirty": True, "pebench": "0.1.0", "python": "3.12.3"}
    provenance = {**code, "device": "cpu", "cuda": None, "threads": 2, "machine": MACHINE}
    told = environment(provenance)
    assert tuple(told) == ENVIRONMENT
    text = {name: "" if value is None else json.dumps(value).strip('"') for name, value in told.items()}
    assert environment(from_text(text)) == told
    assert environment(from_text({})) == dict.fromkeys(ENVIRONMENT)


@pytest.mark.parametrize("machine", [None, "a host", {}, {"processor": None}])
def test_a_record_without_a_processor_is_read_as_before(machine: object) -> None:
    assert processor({"machine": machine}) == ""
    assert processor({}) == ""


@pytest.mark.parametrize(
    "other",
    [
        {"processor": "Humble 80", "cpu_capability": "AVX512"},
        {"processor": "Honest 9000", "cpu_capability": "AVX2"},
    ],
)
def test_a_comparison_across_processors_says_so(
    runs: Path, capsys: pytest.CaptureFixture[str], other: dict[str, str]
) -> None:
    assert "processor" not in compare(runs, capsys)
    moved(runs, "alibi", other)
    there = ", ".join(other.values())
    assert f"Their processor is not the same: {processor({'machine': MACHINE})} and {there}." in compare(
        runs, capsys
    )


def test_the_processor_beside_a_gpu_is_no_difference(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved(runs, "alibi", {"processor": "Humble 80"})
    for spec in runs.glob("*/provenance.json"):
        run = RunFolder(spec.parent)
        run.write_provenance(run.provenance() | {"device": "NVIDIA H100"})
    assert "processor" not in compare(runs, capsys)
