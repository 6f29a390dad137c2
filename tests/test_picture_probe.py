"""Pictures that ask where things are: classes are what is seen, and patches in any order say nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pebench.data.images.marks import MARKS, ORDERS, QUESTIONS, draw_pictures
from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.models.vision import VisionModel
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.randomness import generator
from pebench.resolve import build_task, resolve
from pebench.tasks.picture_probe import PictureProbe

SIDE = 4
GRIDS = [(4, 4), (6, 10), (16, 8)]


def _task(encoding: str = "rope-axial", **options: Any) -> tuple[PictureProbe, VisionModel]:
    model = {"width": 32, "layers": 1, "heads": 2, "pool": "average"}
    task = build_task(resolve(encoding, {"picture-probe": {"pictures": 40, **options}}, model=model))
    assert isinstance(task, PictureProbe)
    built = task.build(build_encoding(encoding, {}, task.geometry()), 0).eval()
    return task, built


def _fields(pictures: Tensor, fields: tuple[int, int]) -> Tensor:
    """(B, R, C) mean brightness."""
    rows, columns = fields
    return pictures[:, 0].view(len(pictures), rows, SIDE, columns, SIDE).mean((2, 4))


@pytest.mark.parametrize("fields", GRIDS, ids=str)
def test_relations_are_what_is_seen(fields: tuple[int, int]) -> None:
    pictures, classes = draw_pictures("relation", 50, fields, SIDE, generator(0))
    for brightness, found in zip(_fields(pictures, fields), classes.tolist(), strict=True):
        ((row, column),), ((other_row, other_column),) = (
            (sign * brightness > 0.5).nonzero().tolist() for sign in (1, -1)
        )
        assert found == 2 * (row < other_row) + (column < other_column)
        assert row != other_row
        assert column != other_column


@pytest.mark.parametrize("fields", GRIDS, ids=str)
def test_counts_are_what_is_seen(fields: tuple[int, int]) -> None:
    pictures, classes = draw_pictures("count", 50, fields, SIDE, generator(0))
    for brightness, found in zip(_fields(pictures, fields), classes.tolist(), strict=True):
        bright = (brightness > 0.5).nonzero()
        ((_, middle),) = (brightness < -0.5).nonzero().tolist()
        assert len(bright) == MARKS
        assert int((bright[:, 1] < middle).sum()) == found
        assert int((bright[:, 1] > middle).sum()) == MARKS - found


@pytest.mark.parametrize("fields", GRIDS, ids=str)
def test_quarters_put_back_in_order_make_a_disc(fields: tuple[int, int]) -> None:
    pictures, classes = draw_pictures("jigsaw", 50, fields, SIDE, generator(0))
    rows, columns = (size * SIDE // 2 for size in fields)
    for picture, order in zip(pictures[:, 0], classes.tolist(), strict=True):
        quarters = [part for half in picture.split(rows) for part in half.split(columns, dim=1)]
        back: list[Tensor] = [quarters[0]] * 4
        for place, number in enumerate(ORDERS[order]):
            back[number] = quarters[place]
        inner = [back[0][-1, -1], back[1][-1, 0], back[2][0, -1], back[3][0, 0]]
        outer = [back[0][0, 0], back[1][0, -1], back[2][-1, 0], back[3][-1, -1]]
        assert min(map(float, inner)) > 0.3
        assert max(map(float, outer)) < -0.3


@pytest.mark.parametrize("question", QUESTIONS)
def test_classes_are_as_likely_as_each_other(question: str) -> None:
    classes = QUESTIONS[question].classes
    drawn = draw_pictures(question, 200 * classes, (4, 6), 2, generator(0))[1].bincount(minlength=classes)
    assert len(drawn) == classes
    assert int(drawn.min()) > 140
    assert int(drawn.max()) < 270


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_model_without_positions_sees_the_same_in_every_order_of_the_patches(question: str) -> None:
    task, model = _task("none", question=question, extent=[4, 4])
    pictures, _ = draw_pictures(question, 5, (4, 4), SIDE, generator(0))
    patches = pictures.view(5, 3, 4, SIDE, 4, SIDE).permute(0, 1, 2, 4, 3, 5).flatten(2, 3)
    mixed = patches[:, :, torch.randperm(16, generator=generator(1))].unflatten(2, (4, 4))
    table = tabulate(model.encoding, grid((4, 4)), Extrapolation((4, 4)))
    one, other = (
        model(images, table) for images in (pictures, mixed.permute(0, 1, 2, 4, 3, 5).reshape(5, 3, 16, 16))
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert {metric.name for metric in task.metrics()} == {"accuracy"}


@pytest.mark.parametrize("question", QUESTIONS)
def test_training_and_evaluation_run_at_every_extent(question: str) -> None:
    task, model = _task(question=question, extent=[4, 6])
    assert task.extents() == [(4, 6), (4, 12), (8, 12), (12, 18)]
    one, again, other = (task.batch(1, "train", step, 3)["images"] for step in (4, 4, 5))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    for extent in task.extents():
        scores = task.evaluate(model, Extrapolation(extent)).scores
        assert 0 <= scores["accuracy"] <= 100
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    scores = task.evaluate(model, Extrapolation((4, 6))).scores
    assert scores["accuracy"] != scores["accuracy"]


def test_quarters_of_an_odd_grid_are_refused() -> None:
    with pytest.raises(UserError, match="a picture of 6×7 patches has no equal quarters"):
        resolve("none", {"picture-probe": {"question": "jigsaw", "evaluate": [[6, 6], [6, 7]]}})
