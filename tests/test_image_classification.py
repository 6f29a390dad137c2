"""The task, from the command line to its scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from specimens.tiny_sweeps import tiny, write

import pebench
from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.position_encoding import Extrapolation
from pebench.resolve import build_task, resolve
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder
from pebench.task import AnyTask

TINY = {"width": 16, "layers": 1, "heads": 2}
BRIEF = {"steps": 6, "batch": 8}


@pytest.fixture
def zoo(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of small pictures, which can be told apart by their colour."""
    monkeypatch.setenv("PEBENCH_WORKERS", "0")
    drawn = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for label, shade in (("cat", 40), ("dog", 180)):
            (place / "zoo" / split / label).mkdir(parents=True)
            for number in range(count):
                noise = drawn.integers(0, 40, (24, 32, 3)) + shade
                picture = Image.fromarray(noise.astype("uint8"))
                picture.save(place / "zoo" / split / label / f"{number}.png")
    return place / "zoo"


def task_of(**options: object) -> AnyTask:
    return build_task(resolve("none", {"image-classification": options}, model=TINY))


def run(place: Path, encoding: str = "learned", **options: object) -> RunFolder:
    spec = resolve(encoding, {"image-classification": options}, model=TINY, train=BRIEF)
    folder = RunFolder(place / "runs" / spec.run_id)
    folder.create(spec, {})
    execute(folder, Execution(device="cpu"))
    return folder


def test_the_command_line_trains_on_digits_and_shows_every_resolution(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--task", "image-classification", "--encoding", "rope-axial", "--device", "cpu"]
    settings = ["model.width=16", "model.layers=1", "model.heads=2", "train.steps=3", "task.images=20"]
    settings.append("task.evaluate=[16, 12, [16, 24]]")
    assert main([*arguments, *(part for value in settings for part in ("--set", value))]) == 0
    told = capsys.readouterr().out
    for shown in ("top-1-crop-1", "top-5-crop-1", "16×16", "12×12", "16×24"):
        assert shown in told
    (result,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/result.json"))
    assert result["extent_unit"] == "pixels"
    assert [score["extent"] for score in result["scores"][::2]] == [[16, 16], [12, 12], [16, 24]]
    assert all(0 <= score["value"] <= 100 for score in result["scores"])


def test_the_command_line_refuses_bad_pictures_in_one_sentence_or_passes_over_them(
    zoo: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (zoo / "train" / "cat" / "3.png").write_bytes((zoo / "train" / "cat" / "3.png").read_bytes()[:99])
    arguments = ["run", "--task", "image-classification", "--encoding", "alibi", "--device", "cpu"]
    settings = [f"task.data={zoo}", "task.extent=16", "model.width=16", "model.layers=1", "train.steps=2"]
    for setting in [*settings, "model.heads=2", "task.evaluate=[12, 20]"]:
        arguments += ["--set", setting]
    assert main(arguments) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "split 'train': 1 of 16 pictures cannot be read: " in told
    assert told.count("cat/3.png") == 1
    assert "Traceback" not in told
    assert main([*arguments, "--set", "task.bad_images=skip"]) == 0
    assert "1 of 16 pictures cannot be read" in caplog.text
    assert "12×12" in capsys.readouterr().out


def test_a_folder_is_trained_on_and_learned(zoo: Path) -> None:
    spec = resolve(
        "rope-mixed",
        {"image-classification": {"data": str(zoo), "extent": [16, 24], "augment": {"scale": [0.5, 1]}}},
        model=TINY,
        train={"steps": 40, "batch": 8, "learning_rate": 3e-3},
    )
    folder = RunFolder(zoo.parent / "runs" / spec.run_id)
    folder.create(spec, {})
    result = execute(folder, Execution(device="cpu"))
    assert result is not None
    assert set(result.metrics) == {"top-1", "top-5"}
    first = result.scores[0]
    assert (first.metric, first.extent, first.value) == ("top-1", (16, 24), 100.0)
    assert {score.value for score in result.scores if score.metric == "top-5"} == {100.0}


def test_a_run_that_was_cut_off_ends_with_the_same_weights(zoo: Path) -> None:
    options = {"data": str(zoo), "augment": {"policy": "rand-m9"}, "mix": {"mixup": 0.8, "cutmix": 1.0}}
    spec = resolve("seqpe", {"image-classification": options}, model=TINY, train=BRIEF)
    weights = []
    for name, steps in (("whole", 99), ("cut", 3)):
        folder = RunFolder(zoo.parent / name / spec.run_id)
        folder.create(spec, {})
        asked = iter(range(99))
        execute(folder, Execution(device="cpu"), stop=lambda n=steps, a=asked: next(a) >= n)  # type: ignore[misc]
        execute(folder, Execution(device="cpu"))
        weights.append(folder.weights.read_bytes())
    assert weights[0] == weights[1]


def test_a_finished_model_is_loaded_from_its_folder_alone_and_scores_as_before(zoo: Path) -> None:
    folder = run(zoo.parent, data=str(zoo), evaluate=[16, 24])
    kept = zoo.rename(zoo.with_name("elsewhere"))
    loaded = pebench.load(folder.run_id, device="cpu")
    shutil.move(kept, zoo)
    loaded.task.prepare()
    with torch.no_grad():
        found = loaded.task.evaluate(loaded.model, Extrapolation((24, 24), "interpolate")).scores
    result = folder.result()
    assert result is not None
    there = {score.metric: score.value for score in result.scores if score.extent == (24, 24)}
    assert found == pytest.approx(there)


def test_evaluation_in_one_batch_or_in_many_gives_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(place, evaluate=[32], images=50)
    loaded = pebench.load(folder.run_id, device="cpu")
    loaded.task.prepare()
    module = type(loaded.task).__module__
    monkeypatch.setattr(f"{module}.TOKENS_AT_ONCE", 64 * 7)
    with torch.no_grad():
        again = loaded.task.evaluate(loaded.model, Extrapolation((32, 32), "interpolate"))
    result = folder.result()
    assert result is not None
    assert again.items == 50
    assert again.scores == {score.metric: score.value for score in result.scores}


@pytest.mark.parametrize("loss", ["cross-entropy", "binary"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_timm(place: Path, loss: str, smoothing: float) -> None:
    from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy

    task = task_of(loss=loss, smoothing=smoothing)
    logits, labels = torch.randn(6, 10), torch.arange(6)
    own = BinaryCrossEntropy(smoothing) if loss == "binary" else LabelSmoothingCrossEntropy(smoothing)
    found = task.loss(lambda images, table: logits, {"images": labels, "labels": labels}, None)  # type: ignore[arg-type]
    torch.testing.assert_close(found / 6, own(logits, labels), atol=1e-5, rtol=1e-5)


def test_the_grid_the_patches_and_the_pixels_agree() -> None:
    task = task_of(extent=[32, 48], evaluate=[16, [64, 32]])
    assert task.geometry().extent == (8, 12)
    assert task.geometry().prefix_tokens == 1
    assert task.extents() == [(16, 16), (64, 32)]
    assert [task.positions(extent) for extent in task.extents()] == [(4, 4), (16, 8)]
    assert task_of(extent=16).extents() == [(16, 16), (24, 24), (32, 32), (48, 48)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"extent": 18}, "an extent of 18×18 does not divide into patches of 4×4"),
        ({"evaluate": [[16, 30]]}, "an extent of 16×30 does not divide"),
        ({"extent": 10**6}, "option 'extent.0': input should be less than or equal to 16384"),
        (
            {"evaluate": [16, [16, 10**6]]},
            "option 'evaluate.1.1': input should be less than or equal to 16384",
        ),
        ({"data": {"dataset": "x", "path": "y"}}, "name one source of pictures"),
        ({"data": {"path": "y", "streaming": True}}, "'streaming' can only stand beside a 'dataset'"),
        ({"augment": {"policy": "strong"}}, "option 'augment.policy'"),
        ({"crop": 1.5}, "option 'crop'"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve("none", {"image-classification": options})


def test_an_encoding_of_one_axis_is_refused() -> None:
    with pytest.raises(UserError, match="encoding 'rope' serves 1 position axis"):
        resolve("rope", "image-classification")


def test_an_odd_batch_cannot_be_mixed(place: Path) -> None:
    task = task_of(mix={"mixup": 0.8})
    task.prepare()
    with pytest.raises(UserError, match="a batch of 7 must be even"):
        task.batch(0, "train", 0, 7)


@pytest.mark.usefixtures("without_pictures")
def test_few_pictures_that_are_all_right_are_said_to_prove_little(
    zoo: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"data": str(zoo), "extent": 16, "evaluate": [16]}
    train = {"steps": 20, "batch": 8}
    write(
        place, tiny(place, encodings=["none"], tasks=[{"image-classification": task}], seeds=2, train=train)
    )
    assert main(["submit", "tiny.yaml"]) == 0
    assert main(["leaderboard", "tiny"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "100.0 ± 0.0" in told
    assert "interval over the seeds and the examples" in told
    assert "kept no scores" not in told
    # 1 - 0.05^(1/6)
    assert "Where all of 6 examples are right, or all are wrong, up to 39 % of others may be" in told
