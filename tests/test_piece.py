"""A piece of a sweep: what is started by --encoding and --seed, and that the whole sweep is on record."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_sweeps import load, tiny, write

from pebench.cli import main
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([("ropee")], []), "unknown encoding 'ropee' of sweep 'tiny': did you mean 'rope'"),
        (([], [7]), "unknown seed '7' of sweep 'tiny': there is '0' and '1'."),
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
