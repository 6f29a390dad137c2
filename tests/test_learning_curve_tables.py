"""Scores against updates in tables, pictures and the tracking store; whether the order is still changing."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pandas
import pytest
from rich.console import Console
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.leaderboard import from_runs, make_board, write_leaderboard
from pebench.leaderboard.board import Board
from pebench.leaderboard.terminal import print_board
from pebench.store.records import CurvePoint, Point, Score
from pebench.store.run_folder import RunFolder
from pebench.tracking.record import read_record
from pebench.tracking.sync import sync

Curve = dict[int, tuple[float, float]]
"""Bits per byte at 128 and 512 by update."""

FALLING: dict[str, Curve] = {
    "rope": {10: (5.0, 5.2), 20: (4.0, 4.4), 40: (3.0, 3.6)},
    "alibi": {10: (5.5, 5.1), 20: (4.2, 4.3), 40: (3.4, 3.4)},
    "t5": {10: (5.8, 5.6), 20: (4.1, 4.5), 40: (2.9, 2.9)},
}


def run(runs: Path, encoding: str, seed: int, curve: Curve, finished: bool = True) -> RunFolder:
    spec = specification(encoding, seed, train={"evaluate_at": [10, 20]})
    folder = begin(runs, spec)
    for step, (inside, outside) in curve.items():
        scores = tuple(
            Score(metric=m, extent=(e,) if isinstance(e, int) else e, extrapolation=x, value=v)
            for (m, e, x), v in text_scores(inside + seed / 100, outside + seed / 100).items()
        )
        folder.append_to_curve(CurvePoint(step=step, items=step * 2048, scores=scores))
        values = {f"bits-per-byte/{score.extent[0]}": score.value for score in scores}
        folder.append(Point(step=step, items=step * 2048, time=1_700_000_100.0 + step, values=values))
    if finished:
        inside, outside = (value + seed / 100 for value in curve[40])
        finish(folder, text_scores(inside, outside))
    return folder


@pytest.fixture
def board(tmp_path: Path) -> Board:
    folders = [
        run(tmp_path / "runs", name, seed, curve) for name, curve in FALLING.items() for seed in (0, 1)
    ]
    record_sweep(tmp_path / "runs", [folder.spec() for folder in folders])
    (collection,) = from_runs(tmp_path / "runs", ["quickstart"])
    return make_board(collection)


def test_the_means_are_over_all_seeds(board: Board) -> None:
    assert [curves.extent for curves in board.curves] == [(128,), (512,)]
    inside, outside = board.curves
    assert inside.updates == outside.updates == (10, 20, 40)
    assert inside.means["rope"] == pytest.approx({10: 5.005, 20: 4.005, 40: 3.005})
    assert outside.means["t5"] == pytest.approx({10: 5.605, 20: 4.505, 40: 2.905})


def test_whether_the_order_is_still_changing_is_a_number_and_a_sentence(board: Board) -> None:
    inside, outside = (curves.order for curves in board.curves)
    assert inside is not None
    assert outside is not None
    # At 128: rope, t5, alibi became t5, rope, alibi. At 512: alibi, rope, t5 became t5, alibi, rope.
    assert [(order.swapped, order.pairs) for order in (inside, outside)] == [(1, 3), (2, 3)]
    assert [order.correlation for order in (inside, outside)] == pytest.approx([1 / 3, -1 / 3])
    assert inside.sentence((128,)) == (
        "The order of the 3 encodings at 128 is still changing: 1 of 3 pairs changed places between updates "
        "20 and 40 (Kendall's τ 0.33)."
    )
    shown = io.StringIO()
    print_board(board, Console(file=shown, width=200))
    assert inside.sentence((128,)) in shown.getvalue()


def test_an_order_that_stays_is_called_so(tmp_path: Path) -> None:
    staying = {**FALLING, "t5": {10: (6.0, 6.0), 20: (5.0, 5.0), 40: (4.0, 4.0)}}
    folders = [run(tmp_path / "runs", name, 0, curve) for name, curve in staying.items()]
    record_sweep(tmp_path / "runs", [folder.spec() for folder in folders])
    (collection,) = from_runs(tmp_path / "runs", ["quickstart"])
    order = make_board(collection).curves[0].order
    assert order is not None
    assert order.correlation == 1
    assert order.sentence((128,)) == (
        "The order of the 3 encodings at 128 did not change between updates 20 and 40 (Kendall's τ 1.00)."
    )


def test_rows_that_lack_a_seed_or_a_look_are_left_out_of_the_order(tmp_path: Path) -> None:
    folders = [
        run(tmp_path / "runs", "rope", 0, FALLING["rope"]),
        run(tmp_path / "runs", "rope", 1, {10: (5.0, 5.2)}, finished=False),
        run(tmp_path / "runs", "alibi", 0, FALLING["alibi"]),
    ]
    record_sweep(tmp_path / "runs", [folder.spec() for folder in folders])
    (collection,) = from_runs(tmp_path / "runs", ["quickstart"])
    curves = make_board(collection).curves[0]
    assert sorted(curves.means["rope"]) == [10]
    assert sorted(curves.seeds["rope"]) == [10, 20, 40]
    assert curves.order is None


def test_files_of_a_sweep_with_curves(board: Board, tmp_path: Path) -> None:
    folder = write_leaderboard(board, tmp_path / "results")
    names = {path.name for path in folder.iterdir()}
    assert {"curves.csv", "score-by-update.png", "score-by-update.svg"} <= names
    frame = pandas.read_csv(folder / "curves.csv")
    assert len(frame) == 3 * 2 * 3 * 2
    alibi = frame[(frame.encoding == "alibi") & (frame.extent == 512) & (frame["update"] == 20)]
    assert sorted(alibi.value) == pytest.approx([4.3, 4.31])
    text = (folder / "leaderboard.md").read_text()
    assert "### By updates, at 512" in text
    assert "2 of 3 pairs changed places between updates 20 and 40 (Kendall's τ −0.33)" in text
    page = (folder / "report.html").read_text()
    assert "language-modeling: score against updates" in page
    assert "is still changing" in page
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_leaderboard(board, tmp_path / "results")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_sweep_without_curves_has_none_of_their_files(board: Board, tmp_path: Path) -> None:
    write_leaderboard(board, tmp_path / "results")
    plain = [specification(name) for name in FALLING]
    for spec in plain:
        finish(begin(tmp_path / "plain", spec), text_scores(3.0, 4.0))
    record_sweep(tmp_path / "plain", plain)
    (collection,) = from_runs(tmp_path / "plain", ["quickstart"])
    folder = write_leaderboard(make_board(collection), tmp_path / "results")
    assert not {path.name for path in folder.iterdir()} & {"curves.csv", "score-by-update.png"}
    assert "updates" not in (folder / "leaderboard.md").read_text()


def test_the_tracking_store_has_scores_by_update_and_none_at_zero(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", "rope", 0, FALLING["rope"])
    record = read_record(folder, list(folder.points()), [])
    found = [(point.step, point.value) for point in record.points if point.metric == "bits-per-byte/512"]
    assert found == [(10, 5.2), (20, 4.4), (40, 3.6)]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_a_tracking_store_gives_the_same_curves(board: Board, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sync(tmp_path / "runs", uri)
    here = write_leaderboard(board, tmp_path / "results")
    output = ["--output", str(tmp_path / "tracked")]
    assert main(["leaderboard", "quickstart", "--from-mlflow", uri, *output]) == 0
    for name in ("curves.csv", "score-by-update.png"):
        assert (tmp_path / "tracked" / "quickstart" / name).read_bytes() == (here / name).read_bytes()


@pytest.mark.usefixtures("without_pictures")
def test_on_the_command_line(place: Path) -> None:
    train = {"steps": 6, "batch": 2, "learning_rate": 1e-2, "evaluate_every": 2}
    file = write(place, tiny(place, train=train, seeds=2))
    assert main(["submit", str(file), "--cluster", "inline"]) == 0
    assert main(["leaderboard", "tiny"]) == 0
    folder = place / "results" / "tiny"
    frame = pandas.read_csv(folder / "curves.csv")
    assert sorted(set(frame["update"])) == [2, 4, 6]
    last = frame[frame["update"] == 6].set_index(["run_id", "metric", "extent", "extrapolation"]).value
    scores: Any = pandas.read_csv(folder / "scores.csv").set_index(last.index.names).value
    assert last.to_dict() == scores.to_dict()
    assert all(math.isfinite(value) for value in last)
    text = (folder / "leaderboard.md").read_text()
    assert "The order of the 2 encodings at 32" in text
    assert "between updates 4 and 6" in text
