"""A piece of a sweep: what is started by --encoding and --seed, and that the whole sweep is on record."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.sweeping.piece import piece
from pebench.sweeping.sweep import Sweep

ROWS = ["none", "rope", {"rope": {"rotated": 0.5}}]
TUNE = {"settings": {"train.learning_rate": [1e-3, 1e-2]}}


@pytest.fixture(params=[None, TUNE], ids=["plain", "tuned"])
def sweep(request: pytest.FixtureRequest, place: Path) -> Sweep:
    own = {} if request.param is None else {"tune": request.param}
    return load(place, encodings=ROWS, seeds=2, **own)


def test_the_pieces_are_the_sweep(sweep: Sweep) -> None:
    runs = set(sweep.record().runs)
    by_seed = [piece(sweep, (), [seed]) or frozenset() for seed in (0, 1)]
    assert runs <= by_seed[0] | by_seed[1]
    assert by_seed[0] & by_seed[1] & runs == set(sweep.trials)
    by_name = [piece(sweep, [name], ()) or frozenset() for name in ("none", "rope")]
    assert runs <= by_name[0] | by_name[1]
    assert not by_name[0] & by_name[1]
    assert piece(sweep, (), ()) is None


def test_a_label_names_one_row_and_both_are_asked_for(sweep: Sweep) -> None:
    (label,) = {
        label for label in (spec.encoding.label for spec in sweep.possible().values()) if "0.5" in label
    }
    one = piece(sweep, [label], [1]) or frozenset()
    assert one < (piece(sweep, ["rope"], [1]) or frozenset())
    assert {spec.encoding.label for run, spec in sweep.possible().items() if run in one} == {label}


def test_cells_bring_what_they_start_from(place: Path) -> None:
    base = tiny(place)["tasks"][0]
    converted = {"language-modeling": {**base["language-modeling"]}, "from": {**base, "encoding": "none"}}
    sweep = load(place, encodings=["rope"], tasks=[converted], seeds=2)
    found = piece(sweep, ["rope"], [1]) or frozenset()
    assert {(sweep.possible()[run].encoding.name, sweep.possible()[run].seed) for run in found} == {
        ("rope", 1),
        ("none", 1),
    }


def test_a_choice_brings_what_its_cells_start_from(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny(place)["tasks"][0]
    converted = {**base, "train": {"steps": 2}, "from": {**base, "encoding": "rope"}}
    tune = {"settings": {"model.width": [8, 16]}}
    write(place, tiny(place, encodings=["none", "rope"], tasks=[converted], seeds=2, tune=tune))
    assert main(["submit", "tiny.yaml", "--encoding", "none", "--seed", "1"]) == 0
    assert "6 of 6 cells to start" in capsys.readouterr().out
    # Rows converted from RoPE are not RoPE's, and their trials are none of its.
    assert main(["submit", "tiny.yaml", "--encoding", "rope", "--seed", "0", "--dry-run"]) == 0
    assert "\tnone" not in capsys.readouterr().out


def test_a_row_of_a_tuned_option_has_the_name_without_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, encodings=ROWS[1:], tune={"settings": {"encoding.base": [100, 500]}}))
    assert main(["submit", "tiny.yaml", "--encoding", "rope(rotated=0.5)", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "3 of 3 cells to start" in said
    assert "\trope(rotated=0.5)\t" in said


def test_a_dry_run_makes_the_choices_whose_trials_have_ended(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, encodings=["none"], tune=TUNE))
    assert main(["submit", "tiny.yaml"]) == 0
    before = sorted(Path("runs").rglob("*"))
    assert main(["submit", "tiny.yaml", "--set", "seeds=2", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "1 of 4 cells to start, 3 finished before" in said
    assert sorted(Path("runs").rglob("*")) == before
    assert main(["submit", "tiny.yaml", "--set", "seeds=2"]) == 0
    assert "1 of 4 cells to start, 3 finished before" in capsys.readouterr().out


def test_rows_that_wait_are_told_apart_by_what_is_known_of_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"model": [{"block": "gpt2", "heads": 2}, {"block": "llama", "heads": 2}]}
    sweep = tiny(place, encodings=["none"], tune=TUNE, grid=grid)
    del sweep["model"]["heads"]
    write(place, sweep)
    assert main(["submit", "tiny.yaml", "--dry-run"]) == 0
    waiting = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines() if ".0\t" in line]
    assert waiting == ["none", "none [model.block=llama]"]
    assert main(["submit", "tiny.yaml", "--dry-run", "--json"]) == 0
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([("ropee")], []), "unknown encoding 'ropee' of sweep 'tiny': did you mean 'rope'"),
        (([], [7]), "unknown seed '7' of sweep 'tiny': there are '0' and '1'."),
    ],
)
def test_what_the_sweep_has_not_is_refused(
    sweep: Sweep, arguments: tuple[list[str], list[int]], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        piece(sweep, *arguments)
    assert said in str(refused.value)


def test_pieces_add_to_the_same_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place, tiny(place, seeds=2))
    assert main(["submit", "tiny.yaml", "--seed", "0", "--encoding", "rope"]) == 0
    assert "1 of 1 cells to start" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "4 cells: 1 done, 3 missing" in capsys.readouterr().out
    assert main(["submit", "tiny.yaml", "--seed", "0"]) == 0
    assert "1 of 2 cells to start, 1 finished before" in capsys.readouterr().out
    assert main(["submit", "tiny.yaml", "--dry-run", "--seed", "1"]) == 0
    assert "2 of 2 cells to start" in capsys.readouterr().out


def test_a_trial_whose_folder_is_gone_is_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = load(place, encodings=["none"], tune=TUNE)
    assert main(["submit", "tiny.yaml"]) == 0
    (place / "tiny.yaml").unlink()
    rmtree(place / "runs" / sweep.trials[0])
    capsys.readouterr()
    assert main(["submit", "tiny", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "0 of 2 cells to start, 2 finished before" in said.out
    assert "'pebench submit' with its file makes them again" in said.err


def test_a_piece_may_start_from_a_run_that_is_no_cell(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (base,) = load(place, encodings=["rope"]).cells
    assert main(["submit", "tiny.yaml"]) == 0
    (task,) = tiny(place)["tasks"]
    begun = {**task, "from": {"run": base.run_id}}
    write(place, tiny(place, name="more", encodings=["rope"], tasks=[begun], seeds=2), "more.yaml")
    assert main(["submit", "more.yaml", "--seed", "1"]) == 0
    assert "1 of 1 cells to start" in capsys.readouterr().out
