"""What a user does with sweeps from the first submit to the last cell, at the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_sweeps import load, tiny, write

from pebench.cli import main
from pebench.store import RunFolder
from pebench.submission.resources import Resources
from pebench.submission.submit import idle_devices


@pytest.fixture
def submitted(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The runs of a finished sweep 'tiny' and of a second, 'other', that shares a cell with it."""
    write(place, tiny(place))
    write(place, tiny(place, "other", encodings=["none", "alibi"]), "other.yaml")
    assert main(["submit", "tiny.yaml", "other.yaml"]) == 0
    capsys.readouterr()
    return place / "runs"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command line prints, on either stream."""
    assert main(list(arguments)) == status
    said = capsys.readouterr()
    return said.out + said.err


def the_run(runs: Path, encoding: str) -> RunFolder:
    (path,) = runs.glob(f"{encoding}-*")
    return RunFolder(path)


def test_without_a_sweep_the_status_is_a_line_a_sweep(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "status").splitlines()
    assert lines == ["other  2 cells: 2 done", "tiny   2 cells: 2 done"]
    assert len(told(capsys, "status", "tiny", "other").splitlines()) == 4, "three cells and the summary"


def test_a_sweep_can_be_submitted_again_by_its_name_alone(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny.yaml").unlink()
    removed = the_run(submitted, "rope")
    shutil.rmtree(removed.path)
    assert "1 of 2 cells to start, 1 finished before" in told(capsys, "submit", "tiny")
    assert removed.result() is not None
    assert "has none here any more" in told(capsys, "submit", "tiny", "--set", "seeds=2", status=2)


def test_keys_of_a_file_can_be_set_at_the_command_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place))
    arguments = [
        "submit",
        "tiny.yaml",
        "--set",
        "name=short",
        "--set",
        "train.steps=2",
        "--dry-run",
        "--json",
    ]
    found = json.loads(told(capsys, *arguments))
    assert found["sweep"] == "short"
    assert len(found["started"]) == 2
    assert "unknown option 'stes'" in told(capsys, "submit", "tiny.yaml", "--set", "train.stes=2", status=2)
    assert "holds no keys" in told(capsys, "submit", "tiny.yaml", "--set", "name.a=2", status=2)
    assert (
        main(["submit", "tiny.yaml", "--set", "name=short", "--set", "train.steps=2", "--set", "seeds=1"])
        == 0
    )
    capsys.readouterr()
    assert {the_run(place / "runs", name).spec().train.steps for name in ("none", "rope")} == {2}
    assert "2 finished before" in told(capsys, "retry", "short"), "what was set stands in the record"


def test_retry_names_what_it_leaves(submitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = the_run(submitted, "rope")
    (folder.path / "result.json").unlink()
    said = told(capsys, "retry", "tiny", "--failed")
    assert "0 of 2 cells to start, 1 finished before" in said
    assert "1 cancelled is left: 'pebench retry tiny --cancelled' starts them." in said


def test_watching_ends_with_a_failure_where_a_cell_has_failed(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "tiny", "--watch"]) == 0
    folder = the_run(submitted, "rope")
    (folder.path / "result.json").unlink()
    folder.write_failure("no luck")
    assert main(["status", "tiny", "--watch"]) == 1
    assert main(["status", "tiny"]) == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpus": 2}, "--ranks 2 shares each batch"),
        ({"gpus": 2, "ranks": 2}, ""),
        ({"gpus": 2, "pack": 2}, ""),
        ({"gpus": 1, "ranks": 2}, "--gpus 2 gives each its own"),
        ({"gpus": 4, "nodes": 2, "ranks": 2}, "--ranks 8 shares each batch"),
        ({"ranks": 2}, ""),
    ],
)
def test_gpus_that_nobody_uses_are_told(place: Path, asked: dict[str, Any], said: str) -> None:
    found = idle_devices(load(place), Resources(**asked))
    assert said in found
    assert bool(said) == bool(found)
