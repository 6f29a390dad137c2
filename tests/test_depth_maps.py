"""Depth by length, from the file of a sweep to its picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from processes.browser import needs_chromium, told
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.leaderboard.board import Board
from pebench.leaderboard.plots import grid

TASKS: dict[str, dict[str, Any]] = {
    "retrieval": {"extent": 200, "evaluate": [200, 400], "depths": [0, 50, 100], "examples": 1},
    "question-answering": {"extent": 256, "evaluate": [256, 512], "depths": [0, 50, 100], "questions": 3},
}


def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure | None]:
    """What will be drawn, for tests that ask the figure rather than its pixels."""
    drawn: list[Figure | None] = []
    draw = grid.draw

    def remembered(board: Board) -> Figure | None:
        drawn.append(draw(board))
        return drawn[-1]

    monkeypatch.setattr(grid, "draw", remembered)
    return drawn


@pytest.mark.parametrize(("task", "headline"), [("retrieval", "accuracy"), ("question-answering", "f1")])
def test_the_headline_is_drawn_by_depth_and_extent_for_every_encoding(
    place: Path, monkeypatch: pytest.MonkeyPatch, task: str, headline: str
) -> None:
    drawn = figures(monkeypatch)
    path = write(place, tiny(place, tasks=[{task: TASKS[task]}], train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    assert {"grid.png", "grid.svg"} <= {file.name for file in Path("results/tiny").iterdir()}
    figure = drawn[0]
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{encoding}: {headline} (%)" for encoding in ("none", "rope")
    ]
    extents = [str(extent) for extent in TASKS[task]["evaluate"]]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "50", "100"]
        assert [label.get_text() for label in axes.get_xticklabels()] == extents
        assert len(axes.texts) == 6
        # Bright is found and dark is not, whatever the others do.
        assert axes.collections[0].get_clim() == (0.0, 100.0)
    rows = pd.read_csv("results/tiny/leaderboard.csv")
    assert {f"{headline}-depth-{depth}" for depth in (0, 50, 100)} < set(rows["metric"])


def test_a_way_past_the_trained_extent_has_a_map_of_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = figures(monkeypatch)
    tasks = [{"retrieval": TASKS["retrieval"] | {"extrapolations": ["extend", "yarn"]}}]
    path = write(place, tiny(place, encodings=["rope"], tasks=tasks, train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    assert drawn[0] is not None
    titles = sorted(axes.get_title(loc="left") for axes in drawn[0].axes)
    assert titles == ["rope, yarn: accuracy (%)", "rope: accuracy (%)"]
    # At the trained extent it is the encoding itself.
    assert [len(axes.texts) for axes in drawn[0].axes] == [6, 6]


def test_maps_of_several_tables_say_which_each_is_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = figures(monkeypatch)
    tasks = [{"retrieval": TASKS["retrieval"] | {"variant": variant}} for variant in ("passkey", "needle")]
    path = write(place, tiny(place, encodings=["none"], tasks=tasks, train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    assert drawn[0] is not None
    titles = {axes.get_title(loc="left") for axes in drawn[0].axes}
    variants = ("needle", "passkey")
    assert titles == {f"none, retrieval (variant={variant}): accuracy (%)" for variant in variants}


def test_tables_name_an_option_that_came_later_by_its_value_where_it_is_left_out(place: Path) -> None:
    counted = {"extent": 192, "evaluate": [192], "asked": 1, "examples": 1, "tokenizer": "words"}
    tasks = [{"word-frequency": counted}, {"word-frequency": counted | {"lexicon": "codes"}}]
    path = write(place, tiny(place, encodings=["none"], tasks=tasks, train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    page = Path("results/tiny/leaderboard.md").read_text()
    for lexicon in ("words", "codes"):
        assert f"word-frequency (lexicon={lexicon})" in page


def test_more_panels_than_fit_are_counted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = figures(monkeypatch)
    monkeypatch.setattr(grid, "_MOST_PANELS", 1)
    tasks = [{"retrieval": TASKS["retrieval"]}]
    path = write(place, tiny(place, tasks=tasks, train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    assert drawn[0] is not None
    assert drawn[0].get_supxlabel() == "the first 1 of 2; leaderboard.csv has all"


@needs_chromium
@pytest.mark.usefixtures("without_pictures")
def test_the_page_has_a_map_of_every_encoding_that_is_switched_on(place: Path) -> None:
    tasks = [{"retrieval": TASKS["retrieval"]}]
    path = write(place, tiny(place, tasks=tasks, train={"steps": 1, "batch": 1}))
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    assert main(["leaderboard", str(path)]) == 0
    looking = """
    const map = document.querySelector("#table-1-map-1");
    const marks = kind => map.querySelectorAll(`.mark-${kind}.role-mark > *`).length;
    const count = () => ["rect", "text"].map(marks);
    const title = map.querySelector("figcaption").textContent, before = count();
    map.querySelector("input[value=rope]").click();
    await new Promise(done => setTimeout(done, 500));
    return JSON.stringify([title, before, count()]);"""
    title, before, after = json.loads(told(Path("results/tiny/report.html").read_text(), looking, place))
    assert title == "retrieval: accuracy (%) by depth and extent"
    assert before == [12, 12]
    assert after == [6, 6]
