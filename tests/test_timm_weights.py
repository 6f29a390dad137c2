"""timm's RoPE vision Transformers give our logits, and their weights load into our model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pebench.encoding_config import build_encoding, encoding_config
from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.timm_weights import IMAGENET, by_our_names, encoding_of, timm_model
from pebench.models.vision import VisionModel, VisionOptions
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.resolve import resolve
from pebench.submission.start import starts_of
from pebench.sweeping.sweep import load_sweep

MODELS = {
    "vit_small_patch16_rope_224": "rope-axial",
    "vit_base_patch16_rope_224": "rope-axial",
    "vit_small_patch16_rope_mixed_224": "rope-mixed",
    "vit_small_patch16_rope_ape_224": "learned + rope-axial",
    "vit_small_patch16_rope_mixed_ape_224": "learned + rope-mixed",
    "vit_small_patch16_dinov3": "dinov3(rescale=1.0)",
    "vit_small_patch16_dinov3_qkvb": "dinov3(rescale=1.0)",
    "vit_small_plus_patch16_dinov3": "dinov3(rescale=1.0)",
    "vit_7b_patch16_dinov3": "dinov3(rescale=1.0)",
    "eva_large_patch14_196": "learned",
    "vit_tiny_patch16_224": "learned",
    "deit3_small_patch16_224": "learned",
}
"""timm's models, and what they are called here."""

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 16}
SIZES = [(64, 64), (32, 32), (96, 160), (128, 48)]


def _theirs(name: str, **keywords: Any) -> Any:
    """A small one of timm's, with random weights that matter."""
    declare_missing()
    from timm import create_model

    sizes = {**SMALL, "dynamic_img_size": True, "img_size": (64, 64), "num_classes": 7, **keywords}
    network = create_model(name, **sizes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.eval()


def _ours(name: str, encoding: str | dict[str, Any], **sizes: Any) -> VisionModel:
    options = VisionOptions(name=name, patch=16, **({"width": 48, "layers": 2, "heads": 3} | sizes))
    config = encoding_config(encoding)
    built = build_encoding(config.name, config.options, options.outline().geometry((4, 4)))
    return VisionModel(options, (64, 64), 7, built, 0).eval()


def _logits(model: VisionModel, pictures: Tensor) -> Tensor:
    extent = (pictures.shape[2] // 16, pictures.shape[3] // 16)
    reach = Extrapolation(extent, model.encoding.extrapolations[0])
    found: Tensor = model(pictures, tabulate(model.encoding, grid(extent), reach))
    return found


def _as_they_normalise(network: Any, pictures: Tensor) -> Tensor:
    config = network.pretrained_cfg
    ours, theirs = IMAGENET, (config["mean"], config["std"])
    (mean, deviation), (their_mean, their_deviation) = (
        [torch.tensor(numbers).view(3, 1, 1) for numbers in pair] for pair in (ours, theirs)
    )
    return (pictures * deviation + mean - their_mean) / their_deviation


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_are_those_of_timm_at_every_size(name: str) -> None:
    network = _theirs(name)
    config = encoding_config(encoding_of(network, name))
    assert config.label == MODELS[name]
    model = _ours(name, {config.name: config.options})
    model.load_state_dict(by_our_names(network, config))
    without = _ours(name, "none")
    without.load_state_dict(model.state_dict(), strict=False)
    for size in SIZES:
        pictures = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        wanted = network(_as_they_normalise(network, pictures))
        assert float((_logits(without, pictures) - wanted).abs().max()) > 1e-3, "positions do not matter"
        torch.testing.assert_close(_logits(model, pictures), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_another_order_of_axes_and_channels_is_put_into_ours() -> None:
    """Axial RoPE of 'ij', whose first channels are the row's, in halves."""
    network = _theirs("vit_small_patch16_rope_224", rope_grid_indexing="ij", rope_rotate_half=True)
    config = encoding_config(encoding_of(network, "it"))
    model = _ours("vit_small_patch16_rope_224", {config.name: config.options})
    model.load_state_dict(by_our_names(network, config))
    pictures = torch.randn(2, 3, 96, 160)
    torch.testing.assert_close(_logits(model, pictures), network(pictures), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_norms_of_queries_and_keys_are_put_into_our_order_with_them() -> None:
    name = "vit_base_patch16_sapiens2"
    network = _theirs(name, embed_dim=96, depth=12, num_heads=12)
    config = encoding_config(encoding_of(network, name))
    model = _ours(name, {config.name: config.options}, width=96, layers=12, heads=12)
    model.load_state_dict(by_our_names(network, config))
    pictures = torch.randn(2, 3, 96, 160)
    wanted = network(_as_they_normalise(network, pictures))
    torch.testing.assert_close(_logits(model, pictures), wanted, atol=1e-5, rtol=1e-5)


def test_a_published_model_is_known_by_its_architecture_or_with_its_tag() -> None:
    short, long = (timm_model(f"timm:vit_small_patch16_rope_224{tag}") for tag in ("", ".naver_in1k"))
    assert short == long
    assert short.reference == "timm:vit_small_patch16_rope_224.naver_in1k"
    assert (short.image, short.geometry.extent, short.classes) == ((224, 224), (14, 14), 1000)
    assert short.encoding.label == "rope-axial"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vit_smal_patch16_rope_224", "unknown model with weights of timm's 'vit_smal_patch16_rope_224'"),
        ("eva02_tiny_patch14_224", "stretched to one size"),
    ],
)
def test_a_model_that_is_not_there_or_has_no_encoding_here_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        timm_model(f"timm:{name}")


ROPE = "vit_small_patch16_rope_224"


@pytest.mark.parametrize(
    ("task", "model", "steps", "start", "sentence"),
    [
        ("language-modeling", {}, 0, ROPE, "classifies images, which task 'language-modeling' does not"),
        ("image-classification", {}, 0, ROPE, "'model.name' must be that, not None"),
        (
            "image-classification",
            {"name": "vit_small_patch16_dinov3"},
            0,
            "vit_small_patch16_dinov3",
            "no classifier",
        ),
    ],
)
def test_what_cannot_begin_with_them_is_one_sentence(
    task: str, model: dict[str, Any], steps: int, start: str, sentence: str
) -> None:
    encoding = "rope" if task == "language-modeling" else "dinov3" if "dinov3" in start else "rope-axial"
    with pytest.raises(UserError, match=sentence):
        resolve(encoding, task, model=model, train={"steps": steps}, start=timm_model(f"timm:{start}"))


def test_the_start_is_in_the_identity_and_in_the_name_of_the_row() -> None:
    start = timm_model(f"timm:{ROPE}")
    settings: dict[str, Any] = {"model": {"name": ROPE}, "train": {"steps": 0}, "start": start}
    task = {"image-classification": {"extent": 224, "evaluate": [224, 384]}}
    spec, other = (resolve(encoding, task, **settings) for encoding in ("rope-axial", "rope-mixed"))
    assert spec.start is not None
    assert other.start is not None
    assert spec.start.run == spec.start.group == spec.start.label == start.reference
    assert other.start.label == f"rope-axial on {start.reference}"
    assert not spec.start.is_run


def test_a_sweep_starts_from_them_and_waits_for_nobody(tmp_path: Path) -> None:
    file = tmp_path / "converted.yaml"
    file.write_text(
        "encodings: [rope-axial, rope-mixed, liere]\n"
        "tasks:\n"
        "  - image-classification: {extent: 224, evaluate: [224, 384]}\n"
        f"    from: {{run: timm:{ROPE}}}\n"
        f"model: {{name: {ROPE}}}\ntrain: {{steps: 10}}\nseeds: 1\n",
        "utf-8",
    )
    sweep = load_sweep(file)
    labels = [spec.start.label for spec in sweep.cells if spec.start is not None]
    other = f"rope-axial on timm:{ROPE}.naver_in1k"
    assert labels == [f"timm:{ROPE}.naver_in1k", other, other]
    assert starts_of(sweep) == {}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub that holds random weights under a published name, all of it there at that size."""
    declare_missing()
    from timm import create_model

    network: Any = create_model(ROPE, pretrained=False)
    with torch.no_grad():
        network.head.weight.normal_()
    cache: Path = tmp_path_factory.mktemp("hub")
    folder = cache / f"models--timm--{ROPE}.naver_in1k"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return cache


def _thousand_classes(folder: Path) -> Path:
    """A picture of each of as many classes as the published models tell apart."""
    from PIL import Image

    for number in range(1000):
        place = folder / "train" / f"class{number:04d}"
        place.mkdir(parents=True)
        Image.new("RGB", (8, 8), (number % 256, 90, 200)).save(place / "one.png")
    (folder / "validation").symlink_to(folder / "train")
    return folder


def _run(place: Path, hub: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pebench", "run", "--runs", str(place / "runs"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_they_are_converted_and_trained_on_from_the_command_line(hub: Path, tmp_path: Path) -> None:
    """From axial to mixed RoPE, with a classifier for other classes."""
    done = _run(
        tmp_path,
        hub,
        *("--from", f"timm:{ROPE}", "--encoding", "rope-mixed", "--task", "image-classification"),
        *("--set", "task.extent=16", "--set", "task.evaluate=[16]", "--set", "task.images=2"),
        *("--set", "train.steps=1", "--set", "train.batch=2", "--set", "train.learning_rate=1e-9"),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").glob("rope-mixed-*")
    log = (folder / "log.txt").read_text("utf-8")
    assert f"starts from timm:{ROPE}.naver_in1k, weights " in log
    assert "anew: encoding.frequencies, transformer.head.bias, transformer.head.weight" in log
    spec = json.loads((folder / "spec.json").read_text("utf-8"))
    assert spec["start"]["run"] == f"timm:{ROPE}.naver_in1k"


def test_they_are_evaluated_from_the_command_line_at_sizes_of_which_they_were_not_trained(
    hub: Path, tmp_path: Path
) -> None:
    pictures = _thousand_classes(tmp_path / "pictures")
    done = _run(
        tmp_path,
        hub,
        *("--from", f"timm:{ROPE}", "--task", "image-classification", "--set", "train.steps=0"),
        *("--set", f"task.data={pictures}"),
        *("--set", "task.evaluate=[32, [48, 64]]", "--set", "task.images=2"),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").glob("rope-axial-*")
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert {tuple(score["extent"]) for score in result["scores"]} == {(32, 32), (48, 64)}
    record = json.loads((folder / "provenance.json").read_text("utf-8"))["task"]
    assert record["trained_extent"] == [224, 224]
    (published,) = hub.glob("*/snapshots/*/model.safetensors")
    kept, theirs = load_file(folder / "model.safetensors"), load_file(published)
    assert all(torch.equal(kept[f"transformer.{name}"], tensor) for name, tensor in theirs.items())


def test_classes_that_are_not_theirs_are_refused_without_training(hub: Path, tmp_path: Path) -> None:
    done = _run(
        tmp_path,
        hub,
        *("--from", f"timm:{ROPE}", "--task", "image-classification", "--set", "train.steps=0"),
        *("--set", "task.evaluate=[32]", "--set", "task.images=2"),
    )
    assert done.returncode != 0
    assert "its 'transformer.head.bias' is 1000, and here it is 10" in done.stderr
