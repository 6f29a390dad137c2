"""Clips of moving digits, the model that reads them, and the task from the command line to its scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebench.command_line.main import main
from pebench.data.images.moving import HEADINGS, SIDE, STEPS, draw_moves, render, room
from pebench.encoding_config import build_encoding, serving
from pebench.errors import UserError
from pebench.models.video import PatchEmbedding, VideoModel, VideoOptions
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.resolve import build_task, resolve
from pebench.task import AnyTask

TINY = {"width": 16, "layers": 1, "heads": 2}


def task_of(**options: object) -> AnyTask:
    return build_task(resolve("none", {"video-classification": options}, model=TINY))


@given(frames=st.integers(1, 6), rows=st.integers(8, 30), columns=st.integers(8, 30), speed=st.integers(1, 3))
def test_digits_stay_inside_the_frame_and_go_where_they_head(
    frames: int, rows: int, columns: int, speed: int
) -> None:
    extent = (frames, rows, columns)
    if min(room(extent, speed)) < 0:
        return
    headings, places = draw_moves(40, extent, speed, torch.Generator().manual_seed(0))
    assert int(places.min()) >= 0
    assert int((places.amax((0, 1)) + SIDE - torch.tensor([rows, columns])).max()) <= 0
    steps = torch.tensor(STEPS)[headings] * speed
    assert torch.equal(places.diff(dim=1), steps[:, None].expand(-1, frames - 1, -1))


def test_every_heading_and_every_way_is_drawn() -> None:
    headings, places = draw_moves(4000, (4, 14, 16), 1, torch.Generator().manual_seed(1))
    assert torch.bincount(headings).min() > 400
    east = places[headings == HEADINGS.index("east")]
    starts = torch.bincount(east[:, 0, 0] * 20 + east[:, 0, 1])
    # 7 rows to stand in, and columns 0 to 5 to start from.
    assert int((starts > 0).sum()) == 7 * 6
    assert starts[starts > 0].float().std() < 6


def test_a_clip_shows_the_digit_where_it_is() -> None:
    pixels = torch.randint(0, 256, (2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    places = torch.tensor([[[0, 1], [1, 1]], [[2, 3], [2, 2]]])
    clips = render(pixels, places, (2, 10, 11))
    for clip in range(2):
        for frame, (row, column) in enumerate(places[clip].tolist()):
            shown = torch.full((10, 11), -1.0)
            shown[row : row + 8, column : column + 8] = pixels[clip] / 127.5 - 1
            torch.testing.assert_close(clips[clip, frame], shown)


def test_batches_are_functions_of_seed_split_and_step() -> None:
    task, other = task_of(), task_of()
    for each in (task, other):
        each.prepare()
    one, again = task.batch(3, "train", 5, 8), other.batch(3, "train", 5, 8)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert one["clips"].shape == (8, 4, 16, 16)
    for seed, step in ((3, 6), (4, 5)):
        assert not torch.equal(one["clips"], task.batch(seed, "train", step, 8)["clips"])


def test_a_model_without_numbers_has_no_accuracy_and_an_extent_counts_once() -> None:
    task = task_of(clips=4, evaluate=[[4, 16, 16], [4, 16, 16]])
    task.prepare()
    assert task.extents() == [(4, 16, 16)]
    model = task.build(build_encoding("none", {}, task.geometry()), 0).eval()
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    scores = task.evaluate(model, Extrapolation((4, 16, 16))).scores
    assert set(scores) == {"accuracy", "accuracy-digit", "accuracy-heading"}
    assert all(value != value for value in scores.values())


def test_a_patch_is_one_product_with_its_frames_rows_and_columns() -> None:
    embedding = PatchEmbedding((2, 3, 4), 5)
    clips = torch.randn(2, 4, 6, 8)
    found = embedding(clips)
    assert found.shape == (2, 2, 2, 2, 5)
    patch = clips[1, 2:4, 3:6, 0:4].flatten()
    weight, bias = (embedding.projection.get_parameter(name) for name in ("weight", "bias"))
    torch.testing.assert_close(found[1, 1, 1, 0], weight.flatten(1) @ patch + bias, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", serving(3, causal=False))
def test_every_encoding_of_three_axes_trains_in_it_and_goes_to_other_extents(name: str) -> None:
    options = VideoOptions(width=64, layers=2, heads=4, pool="average")
    encoding = build_encoding(name, {}, options.outline().geometry((2, 4, 4)))
    model = VideoModel(options, (2, 16, 16), 18, encoding, seed=0)
    for extent in ((2, 4, 4), (3, 4, 6)):
        at = Extrapolation(extent, encoding.extrapolations[0])
        frames, rows, columns = extent
        scores = model(torch.randn(2, frames, 4 * rows, 4 * columns), tabulate(encoding, grid(extent), at))
        scores.logsumexp(-1).sum().backward()
        assert bool(scores.isfinite().all())
    without = [
        key for key, p in model.named_parameters() if p.grad is None and not key.startswith("encoding.")
    ]
    assert without == []


def test_seven_encodings_and_more_serve_three_axes() -> None:
    assert {"seqpe", "rope-axial", "rope-mixed", "liere", "sinusoidal", "learned", "alibi"} < set(
        serving(3, causal=False)
    )
    assert all(3 in encodings.load(name).axes for name in serving(3, causal=False))


def test_with_one_seed_every_weight_of_the_model_is_the_same_whatever_the_encoding() -> None:
    options = VideoOptions(width=32, layers=1)
    geometry = options.outline().geometry((4, 4, 4))
    one, other = (
        VideoModel(options, (4, 16, 16), 18, build_encoding(name, {}, geometry), 3).transformer.state_dict()
        for name in ("none", "alibi")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_command_line_trains_on_clips_and_shows_every_extent(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--task", "video-classification", "--encoding", "rope-axial", "--device", "cpu"]
    settings = ["model.width=32", "model.layers=1", "model.heads=2", "train.steps=3", "task.clips=20"]
    settings.append("task.evaluate=[[4, 16, 16], [6, 16, 20]]")
    assert main([*arguments, *(part for value in settings for part in ("--set", value))]) == 0
    told = capsys.readouterr().out
    for shown in ("accuracy", "accuracy-digit", "accuracy-heading", "4×16×16", "6×16×20"):
        assert shown in told
    (result,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/result.json"))
    assert result["extent_unit"] == "frames × pixels"
    assert [score["extent"] for score in result["scores"][::3]] == [[4, 16, 16], [6, 16, 20]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"extent": [4, 10, 16]}, "a digit at speed 1 leaves the frame within an extent of 4×10×16"),
        ({"speed": 3}, "a digit at speed 3 leaves the frame within an extent of 4×16×16"),
        ({"evaluate": [[4, 18, 16]]}, "an extent of 4×18×16 does not divide into patches of 1×4×4"),
        ({"extent": [4, 16]}, "option 'extent"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        task_of(**options)
