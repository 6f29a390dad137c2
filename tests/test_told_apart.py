"""Cells of one encoding, task and seed are told apart by the settings that differ, and by no more of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.specification.flat_spec import told_apart


def test_by_as_few_settings_as_it_takes(place: Path) -> None:
    grid = {"train.learning_rate": [1e-3, 1e-2], "train.batch": [2, 3]}
    cells = load(place, encodings=["rope"], grid=grid, seeds=2).cells
    found = told_apart({cell.run_id: cell for cell in cells})
    assert sorted(set(found.values())) == [
        f"train.batch={batch}, train.learning_rate={rate}" for batch in (2, 3) for rate in (0.001, 0.01)
    ]
    assert set(told_apart({cell.run_id: cell for cell in cells[:2]}).values()) == {""}, "seeds do"


def test_what_only_looks_and_what_is_long_says_something_where_nothing_else_does(place: Path) -> None:
    (task,) = tiny(place)["tasks"]
    start = {**task, "train": {"steps": 3, "evaluate_every": 1}}
    for steps, said in ((4, {"train.steps=3", "train.steps=4"}), (3, None)):
        later = {**task, "from": start, "train": {"steps": steps}}
        cells = load(place, encodings=["rope"], tasks=[later]).cells
        found = set(told_apart({cell.run_id: cell for cell in cells}).values())
        assert len(found) == 2
        assert said is None or found == said


def test_on_the_command_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = {"settings": {"train.learning_rate": [1e-3, 1e-2]}}
    write(place, tiny(place, encodings=["rope"], tune=rates, train={"steps": 1, "batch": 2}))
    names = [f"rope [train.learning_rate={rate}]" for rate in (0.001, 0.01)]
    for command in (["submit", "tiny.yaml", "--dry-run"], ["submit", "tiny.yaml"], ["status", "tiny"]):
        assert main(command) == 0
        said = capsys.readouterr()
        for name in names:
            assert name in said.out + said.err, command
