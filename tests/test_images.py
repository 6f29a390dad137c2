"""Pictures: found, opened, augmented and batched; each batch is a function of seed, split and step."""

from __future__ import annotations

import itertools
import logging
import pickle
import random
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pebench.data.drawn import drawn
from pebench.data.images.batches import Recipe, TrainingBatches, evaluation_batches
from pebench.data.images.digits import digits
from pebench.data.images.folder import PictureFiles, folder
from pebench.data.images.mixing import Mixing
from pebench.data.images.pictures import NumberedPictures
from pebench.data.images.soundness import sift
from pebench.data.images.source import ImageSource, check_pictures, find_pictures
from pebench.data.images.transforms import Augmentation, drawing, plain_transform, training_transform
from pebench.errors import UserError

STRONG = Augmentation(policy="rand-m9-mstd0.5-inc1", erasing=0.5)
MIXED = Mixing(mixup=0.8, cutmix=1.0)


def paint(path: Path, shade: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No two are equal: a folder whose splits share pictures is refused.
    own = zlib.crc32(str(path).encode())
    noise = np.random.default_rng(own).integers(0, 40, (*size[::-1], 3))
    Image.fromarray((noise + shade).astype("uint8")).save(path)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits of two classes, 6 and 2 pictures each."""
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PEBENCH_WORKERS", "0")
    for split, count in (("train", 6), ("val", 2)):
        for number in range(count):
            paint(tmp_path / "zoo" / split / "cat" / f"{number}.jpg", 10 * number)
            paint(tmp_path / "zoo" / split / "dog" / f"{number}.png", 100 + 10 * number)
    (tmp_path / "zoo" / "README.txt").write_text("no picture")
    return tmp_path / "zoo"


def recipe_of(place: Path, augmentation: Augmentation = STRONG, mixing: Mixing = MIXED) -> Recipe:
    pictures = folder(str(place)).split("train")
    transform = training_transform((24, 32), augmentation)
    return Recipe(pictures, transform, random=True, mixing=mixing, classes=2, smoothing=0.1)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_digits_are_divided_without_overlap_and_hold_every_class_in_every_split() -> None:
    corpus = digits()
    counts = {split: len(list(corpus.split(split).evaluated())) for split in corpus.splits}
    assert sum(counts.values()) == 1797
    assert counts["validation"] > 250
    for split in corpus.splits:
        pictures = corpus.split(split)
        assert {pictures.load(item)[1] for item in pictures.evaluated()} == set(range(10))
    prints = {corpus.split(split).fingerprint() for split in corpus.splits}
    assert len(prints) == 3


def test_folders_named_after_splits_tell_them_apart(zoo: Path) -> None:
    corpus = folder(str(zoo))
    assert corpus.classes == ("cat", "dog")
    assert set(corpus.splits) == {"train", "validation"}
    pictures = corpus.split("train")
    assert len(list(pictures.evaluated())) == 12
    picture, label = pictures.load(0)
    assert (picture.size, picture.mode, label) == ((40, 30), "RGB", 0)
    with pytest.raises(UserError, match="no split 'test': there are 'train' and 'validation'"):
        corpus.split("test")


def test_class_folders_alone_are_divided_by_the_hashes_of_their_paths(zoo: Path) -> None:
    corpus = folder(str(zoo / "train"))
    assert set(corpus.splits) == {"train", "validation", "test"}
    counts = [len(list(corpus.split(split).evaluated())) for split in ("train", "validation", "test")]
    assert counts == [10, 1, 1]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda zoo: zoo / "nowhere", "no folder of pictures at"),
        (lambda zoo: _made(zoo / "empty"), "holds no class folders with pictures"),
        (lambda zoo: _with_strange_class(zoo), "split 'validation': no training picture of 'owl'"),
    ],
)
def test_a_folder_that_cannot_serve_is_refused(zoo: Path, damage: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        folder(str(damage(zoo)))


def _made(place: Path) -> Path:
    place.mkdir()
    return place


def _with_strange_class(zoo: Path) -> Path:
    paint(zoo / "val" / "owl" / "1.jpg", 50)
    return zoo


def test_bad_pictures_are_refused_by_name_or_passed_over_and_counted(
    zoo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = zoo / "train" / "cat" / "2.jpg"
    whole.write_bytes(whole.read_bytes()[:300])
    (zoo / "train" / "dog" / "9.png").write_text("not a picture")
    said = "2 of 13 pictures cannot be read: .*cat/2.jpg, .*dog/9.png"
    with pytest.raises(UserError, match=f"split 'train': {said}; 'bad_images: skip' passes over them"):
        sift(folder(str(zoo)).split("train"), "train", "refuse")
    pictures = folder(str(zoo)).split("train")
    with caplog.at_level(logging.WARNING, "pebench.data"):
        left, found = sift(pictures, "train", "skip")
    assert "2 of 13" in found["train, passed over"]
    assert "2 of 13" in caplog.text
    assert len(list(left.evaluated())) == 11
    assert found["train"] != left.fingerprint()
    for item in left.evaluated():
        left.load(item)


def test_sound_pictures_are_opened_once_and_then_remembered(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = sift(folder(str(zoo)).split("train"), "train", "refuse")
    pictures = folder(str(zoo)).split("train")
    monkeypatch.setattr(type(pictures), "load", None)
    assert sift(pictures, "train", "refuse")[1] == first


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_small_set_is_decoded_once_and_gives_the_same_batches(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    (zoo / "train" / "dog" / "0.png").write_text("not a picture")
    paint(zoo / "train" / "cat" / "7.jpg", 90, size=(25, 60))
    recipe = recipe_of(zoo)
    recipe.pictures.without([7])  # type: ignore[attr-defined]
    wanted = [TrainingBatches(recipe).batch(0, "train", step, 4) for step in range(6)]
    pictures, _ = sift(folder(str(zoo)).split("train"), "train", "skip")
    monkeypatch.setattr(PictureFiles, "load", None)
    monkeypatch.setenv("PEBENCH_WORKERS", workers)
    decoded = TrainingBatches(replace(recipe, pictures=pickle.loads(pickle.dumps(pictures))))
    for step in (0, 1, 2, 5):
        assert same(decoded.batch(0, "train", step, 4), wanted[step])


def test_pictures_that_take_too_much_room_are_decoded_whenever_they_are_needed(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pebench.data.images.decoded.BOUND", 12 * 40 * 30 * 3 - 1)
    pictures, _ = sift(folder(str(zoo)).split("train"), "train", "refuse")
    assert isinstance(pictures, PictureFiles)
    assert [path.stat().st_size for path in (zoo.parent / "cache").rglob("pixels.bin")] == [0]


def test_a_picture_that_was_replaced_by_another_of_its_size_is_decoded_anew(zoo: Path) -> None:
    path = zoo / "train" / "dog" / "0.png"
    Image.new("L", (40, 30), 10).save(path, "bmp")
    before, _ = sift(folder(str(zoo)).split("train"), "train", "refuse")
    Image.new("L", (40, 30), 20).save(path, "bmp")
    after, _ = sift(folder(str(zoo)).split("train"), "train", "refuse")
    shades = [int(np.asarray(pictures.load(6)[0])[0, 0, 0]) for pictures in (before, after)]
    assert shades == [10, 20]


def test_a_batch_is_a_function_of_seed_split_and_step_augmentation_and_mixing_included(zoo: Path) -> None:
    one, other = TrainingBatches(recipe_of(zoo)), TrainingBatches(recipe_of(zoo))
    in_order = [one.batch(0, "train", step, 4) for step in range(5)]
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    for step in (3, 1, 4, 0, 2):
        assert same(other.batch(0, "train", step, 4), in_order[step])
    assert not same(other.batch(1, "train", 0, 4), in_order[0])
    assert not same(in_order[3], in_order[0])
    assert in_order[0]["images"].shape == (4, 3, 24, 32)
    torch.testing.assert_close(in_order[0]["targets"].sum(-1), torch.ones(4))


def test_processes_make_the_same_batches_ahead_of_time(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = TrainingBatches(recipe_of(zoo))
    wanted = [alone.batch(0, "train", step, 4) for step in range(6)]
    monkeypatch.setenv("PEBENCH_WORKERS", "2")
    helped = TrainingBatches(recipe_of(zoo))
    for step in (0, 1, 2, 5, 3):
        assert same(helped.batch(0, "train", step, 4), wanted[step])


def test_making_a_batch_leaves_every_global_random_state_where_it_was(zoo: Path) -> None:
    before = random.getstate(), str(np.random.get_state(legacy=False)), torch.random.get_rng_state()
    TrainingBatches(recipe_of(zoo)).batch(0, "train", 0, 4)
    assert random.getstate() == before[0]
    assert str(np.random.get_state(legacy=False)) == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_a_pass_over_the_pictures_takes_each_once_and_passes_differ() -> None:
    pictures = _Counted(10)
    order = [item for item, _ in zip(pictures.training(0, ("x",), 0), range(30), strict=False)]
    passes = [order[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(each) == list(range(10)) for each in passes)
    assert passes[0] != passes[1]
    later = [item for item, _ in zip(pictures.training(0, ("x",), 13), range(17), strict=False)]
    assert later == order[13:]


def test_repeats_put_a_picture_into_a_batch_several_times_augmented_anew(zoo: Path) -> None:
    batch = TrainingBatches(recipe_of(zoo, mixing=Mixing()), repeats=3).batch(0, "train", 0, 6)
    labels = batch["labels"].view(2, 3)
    assert bool((labels == labels[:, :1]).all())
    assert not torch.equal(batch["images"][0], batch["images"][1])


def test_evaluation_reads_every_picture_once_in_order_or_those_that_are_asked_for(zoo: Path) -> None:
    recipe = Recipe(folder(str(zoo)).split("validation"), plain_transform((16, 16), 0.875))
    labels = [batch["labels"] for batch in evaluation_batches(recipe, 3, recipe.pictures.evaluated())]
    assert [len(each) for each in labels] == [3, 1]
    assert torch.cat(labels).tolist() == [0, 0, 1, 1]
    some = itertools.islice(recipe.pictures.evaluated(), 3)
    assert [batch["labels"].tolist() for batch in evaluation_batches(recipe, 2, some)] == [[0, 0], [1]]


def test_pictures_are_drawn_from_all_of_a_split_once_for_all_runs() -> None:
    chosen = drawn(range(1000), 100, "validation")
    assert chosen == sorted(set(chosen)) == drawn(iter(range(1000)), 100, "validation")
    assert len(chosen) == 100
    assert all(any(start <= one < start + 200 for one in chosen) for start in range(0, 1000, 200))
    assert sum(chosen) / 100 == pytest.approx(500, abs=90)
    assert chosen != drawn(range(1000), 100, "test")
    assert drawn(range(3), 5, "test") == [0, 1, 2]


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (96, 48)], ids=str)
def test_evaluation_keeps_the_proportions_of_a_picture_and_cuts_out_its_centre(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", (300, 200))
    picture.paste((255, 255, 255), (145, 95, 155, 105))
    transform = plain_transform(size, 0.875)
    (image,) = transform.batch([transform.change(picture)])
    assert image.shape == (3, *size)
    bright = (image[0] > image[0].mean()).nonzero().float()
    centre = torch.tensor([(side - 1) / 2 for side in size])
    torch.testing.assert_close(bright.mean(0), centre, atol=1.0, rtol=0)
    height, width = (bright.amax(0) - bright.amin(0) + 1).tolist()
    assert height == pytest.approx(width, abs=1)


def test_pictures_of_training_in_another_split_are_refused(zoo: Path) -> None:
    paint(zoo / "train" / "cat" / "7.jpg", 70)
    other = (zoo / "train" / "cat" / "7.jpg").read_bytes()
    source = ImageSource.model_validate(str(zoo))
    # Other pictures of one name are what two splits have that count from 0.
    check_pictures(source, ("train", "validation"))
    (zoo / "val" / "cat" / "7.jpg").write_bytes(other)
    with pytest.raises(UserError, match=r"pictures of split 'validation' .* 1 of them, as 'val/cat/7.jpg'"):
        check_pictures(source, ("train", "validation"))
    # What trains nothing may be judged by any.
    check_pictures(source, ("validation",))


@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        Augmentation(scale=(0.25, 1.0)),
        Augmentation(jitter=0.3, flip=0.0),
        Augmentation(erasing=1.0),
        STRONG,
    ],
    ids=["none", "crop", "jitter", "erasing", "policy"],
)
def test_a_batch_is_what_timm_makes_of_its_pictures_one_by_one(augmentation: Augmentation | None) -> None:
    from timm.data import create_transform

    kinds: dict[str, Any] = {"crop_pct": 0.875}
    transform = plain_transform((16, 24), 0.875)
    if augmentation is not None:
        transform = training_transform((16, 24), augmentation)
        kinds = {
            "is_training": True,
            "scale": augmentation.scale,
            "hflip": augmentation.flip,
            "color_jitter": augmentation.jitter,
            "auto_augment": augmentation.policy,
            "re_prob": augmentation.erasing,
            "re_mode": "pixel",
        }
    whole = create_transform((3, 16, 24), interpolation="bicubic", **kinds)
    noise = np.random.default_rng(0).integers(0, 256, (9, 30, 40, 3)).astype("uint8")
    pictures = [Image.fromarray(pixels) for pixels in noise]
    with drawing() as draw:
        draw(0)
        made = transform.batch([transform.change(picture) for picture in pictures])
        draw(0)
        expected = torch.stack([whole(picture) for picture in pictures])
    assert torch.equal(made, expected)


def test_a_policy_that_timm_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match="timm does not understand the policy 'rand-m9-x1'"):
        training_transform((16, 16), Augmentation(policy="rand-m9-x1"))


def test_a_policy_that_fails_on_some_pictures_is_refused_before_any() -> None:
    with pytest.raises(UserError, match=r"'v0' asks Pillow for pictures of no bits, .* take 'original'"):
        training_transform((16, 16), Augmentation(policy="v0"))


class _Counted(NumberedPictures):
    """Pictures that cannot be opened."""

    def fingerprint(self) -> str:
        return ""

    def load(self, item: int) -> Any:
        raise AssertionError

    def called(self, number: int) -> str:
        return str(number)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_streamed_pictures_that_cannot_be_read_are_met_on_the_way(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: str
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(zoo.parent / "datasets"))
    monkeypatch.setenv("PEBENCH_WORKERS", workers)
    for name in ("train/cat/2.jpg", "val/dog/0.png", "val/dog/1.png"):
        (zoo / name).write_bytes((zoo / name).read_bytes()[:200])
    corpus = find_pictures(ImageSource.model_validate({"dataset": str(zoo), "streaming": True}))
    transform = training_transform((16, 16), STRONG)
    refusing = Recipe(corpus.split("train"), transform, random=True, mixing=MIXED, classes=2)
    with pytest.raises(UserError, match=r"cat/2.jpg cannot be read; 'bad_images: skip' passes over"):
        TrainingBatches(refusing).batch(0, "train", 0, 12)
    skipping = replace(refusing, bad_images="skip")
    one, other = TrainingBatches(skipping), TrainingBatches(skipping)
    batches = [one.batch(0, "train", step, 4) for step in range(4)]
    assert {len(batch["images"]) for batch in batches} == {4}
    assert same(other.batch(0, "train", 3, 4), batches[3])
    assert re.search(r"cat/2.jpg cannot be read and is passed over, as were 0 before it", caplog.text)
    evaluated = Recipe(corpus.split("validation"), plain_transform((16, 16), 1.0), bad_images="skip")
    assert [
        batch["labels"].tolist() for batch in evaluation_batches(evaluated, 1, evaluated.pictures.evaluated())
    ] == [[0], [0]]


def test_a_recipe_can_be_handed_to_a_process_that_has_imported_nothing(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe").write_bytes(pickle.dumps(recipe_of(zoo)))
    program = "import pickle, sys; print(len(pickle.load(open(sys.argv[1], 'rb')).pictures.files))"
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "recipe")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("12", 0), done.stderr


@pytest.mark.parametrize("streaming", [False, True], ids=["prepared", "streamed"])
def test_sets_of_the_datasets_library_give_batches_too(
    zoo: Path, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(zoo.parent / "datasets"))
    source = ImageSource.model_validate({"dataset": str(zoo), "streaming": streaming})
    corpus = find_pictures(source)
    assert corpus.classes == ("cat", "dog")
    assert set(corpus.splits) == {"train", "validation"}
    recipe = Recipe(corpus.split("train"), training_transform((16, 16), STRONG), random=True)
    one, other = TrainingBatches(recipe), TrainingBatches(recipe)
    batches = [one.batch(0, "train", step, 5) for step in range(4)]
    assert same(other.batch(0, "train", 3, 5), batches[3])
    assert not same(batches[0], batches[1])
    validation = Recipe(corpus.split("validation"), plain_transform((16, 16), 1.0))
    assert [
        len(batch["labels"]) for batch in evaluation_batches(validation, 3, validation.pictures.evaluated())
    ] == [3, 1]


def paint_grey(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_a_class_is_the_folder_below_the_split_whatever_lies_between(zoo: Path) -> None:
    for split in ("train", "val"):
        for number in range(2):
            paint(zoo / split / "cat" / "images" / f"{number}.jpg", 20)
            paint(zoo / split / "owl" / "images" / "deep" / f"{number}.jpg", 60)
    corpus = folder(str(zoo))
    assert corpus.classes == ("cat", "dog", "owl")
    counts = [0, 0, 0]
    for item in corpus.split("train").evaluated():
        counts[corpus.split("train").load(item)[1]] += 1
    assert counts == [8, 6, 2]


def test_a_split_without_class_folders_and_a_single_class_are_refused(tmp_path: Path) -> None:
    for number in range(6):
        paint(tmp_path / "tiny" / "train" / f"n{number % 3}" / "images" / f"{number}.JPEG", 10)
        paint(tmp_path / "tiny" / "val" / "images" / f"{number}.JPEG", 10)
        paint(tmp_path / "one" / "all" / f"c{number % 2}" / f"{number}.png", 10)
    with pytest.raises(
        UserError,
        match=r"split 'validation': no training picture of 'images'; a picture lies in a folder named after "
        r"its class, right below 'val'\.",
    ):
        folder(str(tmp_path / "tiny"))
    with pytest.raises(
        UserError, match="has one class, 'all', and nothing to tell apart: a class is a folder"
    ):
        folder(str(tmp_path / "one"))


def test_folders_with_a_split_among_their_words_are_classes(tmp_path: Path) -> None:
    for name in ("bullet train", "test tube", "cup"):
        for number in range(4):
            paint(tmp_path / "things" / name / f"{number}.png", 10)
            paint(tmp_path / "split" / "train2017" / name / f"{number}.png", 10)
            paint(tmp_path / "split" / "val2017" / name / f"{number}.png", 10)
    assert folder(str(tmp_path / "things")).classes == ("bullet train", "cup", "test tube")
    assert set(folder(str(tmp_path / "split")).splits) == {"train", "validation"}


def test_what_is_no_example_is_counted(zoo: Path) -> None:
    paint(zoo / "train" / "stray.jpg", 10)
    paint(zoo / "raw" / "cat" / "1.jpg", 10)
    assert folder(str(zoo)).left_out.startswith("3 of 19 files of")
    assert folder(str(zoo / "train")).left_out.startswith("1 of 13 files of")


def test_linked_class_folders_are_followed_and_lead_in_no_circle(zoo: Path) -> None:
    (zoo / "train" / "cat" / "loop").symlink_to(zoo / "train")
    (zoo / "test").symlink_to(zoo / "val")
    assert len(list(folder(str(zoo)).split("test").evaluated())) == 4
    assert len(list(folder(str(zoo)).split("train").evaluated())) == 12


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    for split in ("train", "val"):
        for name, low in (("dark", 1000), ("bright", 40000)):
            values = (low + np.arange(3000).reshape(50, 60)).astype(np.uint16)
            paint_grey(tmp_path / split / name / f"{split}.{ending}", values)
    pictures = folder(str(tmp_path)).split("train")
    bright, dark = (np.asarray(pictures.load(number)[0]) for number in (0, 1))
    assert (int(dark.min()), int(dark.max())) == (4, 16)
    assert (int(bright.min()), int(bright.max())) == (156, 167)
    assert dark.shape == (50, 60, 3)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pictures_without_a_known_white_are_counted_among_the_bad(zoo: Path, kind: Any) -> None:
    paint_grey(zoo / "train" / "cat" / "9.tif", np.full((8, 8), 1, kind))
    with pytest.raises(UserError, match=r"1 of 13 pictures cannot be read: .*cat/9.tif"):
        sift(folder(str(zoo)).split("train"), "train", "refuse")
