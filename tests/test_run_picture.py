"""The picture of a run: all are drawn on one sheet, and none shows anything of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from specimens.run_folders import begin, diverge, finish, specification, text_scores

from pebench.store.records import Point
from pebench.store.run_folder import RunFolder
from pebench.tracking import plot


def curve(losses: Sequence[float | None], name: str = "train/loss") -> list[Point]:
    """Points of one metric, ten steps apart."""
    return [
        Point(step=10 * n, items=n, time=n, values={name: loss}) for n, loss in enumerate(losses, start=1)
    ]


def words(picture: bytes) -> list[str]:
    """All that stands in a picture."""
    texts = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()).strip() for text in texts]


@pytest.fixture
def drawn(tmp_path: Path) -> dict[str, tuple[RunFolder, list[Point]]]:
    """Runs whose pictures have little in common."""
    many, small = (begin(tmp_path, specification(seed=seed)) for seed in (0, 1))
    finish(many, {**text_scores(2.5, 3.0), ("bits-per-byte", 512, "yarn"): 2.75})
    finish(small, {("bits-per-byte", 64, "extend"): 1e-6})
    diverged = begin(tmp_path, specification(seed=2))
    diverge(diverged)
    return {
        "many": (many, curve([5.0 / n for n in range(1, 300)]) + curve([9.0, 8.0], "train/second-loss")),
        "small": (small, curve([1e-7, 2e-7, None])),
        "diverged": (diverged, []),
    }


@pytest.mark.parametrize("before", ["many", "small", "diverged"])
@pytest.mark.parametrize("name", ["many", "small", "diverged"])
def test_a_picture_is_the_same_whatever_was_drawn_before(
    drawn: dict[str, tuple[RunFolder, list[Point]]], before: str, name: str
) -> None:
    plot._sheet.cache_clear()
    alone = plot.draw(*drawn[name], name)
    plot.draw(*drawn[before], before)
    assert plot.draw(*drawn[name], name) == alone


def test_a_picture_shows_every_loss_and_every_way_past_the_trained_extent(
    drawn: dict[str, tuple[RunFolder, list[Point]]],
) -> None:
    found = words(plot.draw(*drawn["many"], "rope & more"))
    assert {"rope & more", "train/loss", "train/second-loss", "step", "extent"} <= set(found)
    assert {"extend", "yarn", "128", "512"} <= set(found)
    assert "diverged" in words(plot.draw(*drawn["diverged"], "diverged?"))


def test_scores_that_differ_by_little_are_labelled_in_full(tmp_path: Path) -> None:
    close = begin(tmp_path, specification())
    finish(close, text_scores(7.4172, 7.4174))
    numbers = [word for word in words(plot.draw(close, [], "close")) if word.replace(".", "").isdigit()]
    assert [number for number in numbers if number.startswith("7.417")]
    assert not [word for word in words(plot.draw(close, [], "close")) if word.startswith("+")]
