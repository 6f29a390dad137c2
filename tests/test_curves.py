"""Score against extent, as it is drawn: every seed in the picture, and axes that make no more of a difference
than it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from specimens.run_folders import begin, finish, specification

from pebench.leaderboard.board import Board, make_board
from pebench.leaderboard.collect import collect
from pebench.leaderboard.plots import curves, heat_map, trade_off
from pebench.leaderboard.run_data import from_folders
from pebench.store.sweep_records import SweepRecord


def drawn(runs: Path, values: Mapping[str, Sequence[tuple[float, float]]], metric: str = "accuracy") -> Axes:
    """The panel of encodings with these scores at two extents, a pair for each seed."""
    (axes,) = curves.draw(measured(runs, values, metric)).axes
    return axes


def measured(runs: Path, values: Mapping[str, Sequence[tuple[float, float]]], metric: str) -> Board:
    """The board of them."""
    ids = []
    for encoding, pairs in values.items():
        for seed, (inside, outside) in enumerate(pairs):
            folder = begin(runs, specification(encoding, seed))
            finish(folder, {(metric, 128, "extend"): inside, (metric, 512, "extend"): outside})
            ids.append(folder.run_id)
    sweep = SweepRecord(name="s", source="name: s\n", runs=tuple(ids))
    return make_board(collect(sweep, *from_folders(runs, sweep)))


def test_seeds_that_lie_in_two_heaps_are_all_in_the_picture_and_drawn_over_their_mean(tmp_path: Path) -> None:
    values = {"rope": [(100.0, 0.0), (100.0, 0.0), (100.0, 100.0)], "alibi": [(99.0, 30.0)] * 3}
    axes = drawn(tmp_path, values)
    bottom, top = axes.get_ylim()
    assert bottom < 0 < 100 < top
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    heights = sorted(float(y) for line in rings for y in np.asarray(line.get_ydata()))
    assert heights == sorted(value for pairs in values.values() for pair in pairs for value in pair)
    assert min(ring.get_zorder() for ring in rings) > 2


def test_percents_that_do_not_differ_are_not_blown_up_and_none_is_drawn_beyond_what_can_be(
    tmp_path: Path,
) -> None:
    axes = drawn(tmp_path, {"rope": [(0.0, 0.0)] * 2})
    bottom, top = axes.get_ylim()
    assert top - bottom >= 5
    assert min(axes.get_yticks()) == 0
    assert "leave the picture" not in axes.get_xlabel()
    wide = drawn(tmp_path / "wide", {"rope": [(0.0, 0.0), (100.0, 40.0)]})
    assert wide.get_ylim()[0] >= -5
    assert wide.get_ylim()[1] <= 105
    assert "some intervals leave the picture" in wide.get_xlabel()


def test_percents_are_never_on_a_logarithmic_axis(tmp_path: Path) -> None:
    assert drawn(tmp_path, {"rope": [(90.0, 1.0)] * 2}).get_yscale() == "linear"
    assert drawn(tmp_path / "b", {"rope": [(2.0, 40.0)] * 2}, "bits-per-byte").get_yscale() == "log"


def test_an_interval_below_zero_makes_no_room_for_scores_that_are_never_there(tmp_path: Path) -> None:
    bottom, _ = drawn(tmp_path, {"rope": [(2.0, 9.0), (2.1, 4.0)]}, "bits-per-byte").get_ylim()
    assert bottom >= 0.0


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 100.0), ("bits-per-byte", 1.5)])
def test_scores_that_are_all_the_same_are_all_the_best_and_named_in_full(
    metric: str, value: float, tmp_path: Path
) -> None:
    board = measured(tmp_path, {"rope": [(value, value)], "none": [(value, value)]}, metric)
    (colours,) = heat_map.draw(board).axes[0].collections
    colours.update_scalarmappable()
    assert np.array_equal(colours.get_facecolor(), [matplotlib.colormaps["viridis"](1.0)] * 4)
    costs = trade_off.draw(board)
    assert costs is not None
    costs.draw_without_rendering()
    assert costs.axes[0].yaxis.get_major_formatter().get_offset() == ""


def test_rows_that_are_too_many_are_told_of_where_they_are_left_out(tmp_path: Path) -> None:
    close = {f"close{place}": [(1.5, 1.5 + place / 1000)] for place in range(8)}
    far = {f"far{place}": [(1.5, 2.0 + place / 10)] for place in range(15)}
    board = measured(tmp_path, {**close, **far}, "bits-per-byte")
    wide, near = curves.draw(board).axes
    assert "the best 21 of 23" in wide.get_xlabel()
    assert "of 23" not in near.get_xlabel()
    assert near.get_title(loc="left") == "language-modeling, the best 8 close up"
    costs = trade_off.draw(board)
    assert costs is not None
    assert "the best 21 of 23" in costs.axes[0].get_xlabel()


def test_a_long_caption_stays_inside_the_figure() -> None:
    from pebench.leaderboard.plots.curves import _keep_captions_inside
    from pebench.leaderboard.plots.style import End, Look, name_at_the_right, panels, short_names

    figure, (axes,) = panels(1, 7.2, 4.6)
    axes.set(xlabel="incomplete: " + "rope(a=1) " * 7, ylabel="score\nlower is better")
    long = "rope(base=500000, rotated=0.25, some=1, more=2, still=3)"
    look = Look("k", "-", "o")
    ends = [End(1, 1, long, look), End(1, 0.5, long + "x", look)]
    name_at_the_right(figure, {axes: ends}, short_names([long, long + "x"]))
    _keep_captions_inside(figure, [axes])
    figure.draw_without_rendering()
    caption = axes.xaxis.label.get_window_extent()
    assert caption.x0 >= 0
    assert caption.x1 <= figure.bbox.x1


def test_names_that_need_more_room_than_a_panel_has_make_it_higher() -> None:
    from pebench.leaderboard.plots.style import End, Look, name_at_the_right, panels

    figure, (axes,) = panels(1, 7.2, 4.2)
    axes.plot([0.0, 1.0], [0.0, 1.0])
    look = Look("k", "-", "o")
    ends = [End(1.0, number / 30, f"line {number:02}", look) for number in range(31)]
    name_at_the_right(figure, {axes: ends}, {end.label: end.label for end in ends})
    figure.draw_without_rendering()
    boxes = sorted(
        (text.get_window_extent() for text in axes.texts if text.get_text()), key=lambda box: box.y0
    )
    assert len(boxes) == 31
    assert boxes[0].y1 > axes.bbox.y0 > axes.xaxis.label.get_window_extent().y1
    assert boxes[-1].y0 < axes.bbox.y1
    assert all(below.y1 <= above.y0 + 2 for below, above in pairwise(boxes))


def test_long_titles_of_neighbours_do_not_meet() -> None:
    from pebench.leaderboard.plots.style import entitle, panels

    title = (
        "position-probe (evaluate=[16, 32], extent=16, letters=10, question=index, reach=null): exact-match"
    )
    figure, axes = panels(4, 7.2, 3.0)
    for each in axes:
        entitle(each, title)
    figure.draw_without_rendering()
    titles = [each._left_title.get_window_extent() for each in axes]  # type: ignore[attr-defined]
    for left, right in ((titles[0], titles[1]), (titles[2], titles[3])):
        assert left.x1 < right.x0
    assert all(found.x1 <= figure.bbox.x1 for found in titles)
    assert titles[0].y0 >= axes[0].get_window_extent().y1


def test_a_name_says_what_tells_it_from_others_of_its_encoding() -> None:
    from pebench.leaderboard.plots.style import short_names

    def settings(rate: str) -> str:
        return f" [train.encoding.clip=5.0, train.learning_rate={rate}]"

    one, two = ("seqpe(positions=20000, mix=[1, 2])" + settings(rate) for rate in ("3e-4", "6e-4"))
    labels = [one, two, "rope(base=5)", "alibi", "t5(far=1), yarn", "t5(far=2), yarn"]
    labels += ["xpos, yarn", "xpos(turned=1), yarn"]
    assert short_names(labels) == {
        one: "seqpe [train.learning_rate=3e-4]",
        two: "seqpe [train.learning_rate=6e-4]",
        "rope(base=5)": "rope",
        "alibi": "alibi",
        "t5(far=1), yarn": "t5(far=1), yarn",
        "t5(far=2), yarn": "t5(far=2), yarn",
        "xpos, yarn": "xpos, yarn",
        "xpos(turned=1), yarn": "xpos(turned=1), yarn",
    }


def test_names_of_several_lines_do_not_overlap() -> None:
    from pebench.leaderboard.plots.style import spread

    assert spread([0.0, 0.0, 1.0], [10.0, 30.0, 10.0], 0.0, 100.0) == [0.0, 20.0, 40.0]
    assert spread([99.0, 99.0], [10.0, 30.0], 0.0, 100.0) == [80.0, 100.0]
