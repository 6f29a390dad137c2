"""The vision model is timm's with pebench's attention in it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.errors import UserError
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.vision import VisionModel, VisionOptions
from pebench.plugins.registry import encodings
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.running.optimisation import optimiser
from pebench.specification.run_spec import Training

IN_2D = [name for name in encodings.origins() if 2 in encodings.load(name).axes]


def model_of(
    name: str, options: VisionOptions | None = None, image: tuple[int, int] = (32, 32), seed: int = 0
) -> VisionModel:
    options = options or VisionOptions(width=64, layers=2)
    patch = options.outline().patch
    extent = (image[0] // patch[0], image[1] // patch[1])
    encoding = build_encoding(name, {}, options.outline().geometry(extent), seed)
    return VisionModel(options, image, 10, encoding, seed).eval()


def logits(model: VisionModel, images: Tensor) -> Tensor:
    rows, columns = model.transformer.patch_embed.patch_size
    extent = (images.shape[2] // rows, images.shape[3] // columns)
    reach = Extrapolation(extent, model.encoding.extrapolations[0])
    out: Tensor = model(images, tabulate(model.encoding, grid(extent), reach))
    return out


def pictures(rows: int = 32, columns: int = 32, count: int = 2) -> Tensor:
    return torch.randn(count, 3, rows, columns, generator=torch.Generator().manual_seed(0))


NAMED = VisionOptions(name="vit_tiny_patch16_224", width=48, layers=2, heads=3)
PLAIN = VisionOptions(width=32, layers=2, layer_scale=0.1, drop_path=0.1)
AVERAGE = VisionOptions(width=32, layers=2, pool="average")


@pytest.mark.parametrize("options", [NAMED, PLAIN, AVERAGE], ids=["named", "plain", "average"])
@pytest.mark.parametrize("image", [(32, 32), (64, 64), (48, 96), (16, 16)], ids=str)
@torch.no_grad()
def test_with_learned_rows_the_model_equals_timms_own_with_the_same_weights(
    options: VisionOptions, image: tuple[int, int]
) -> None:
    declare_missing()
    from timm import create_model
    from timm.models.vision_transformer import VisionTransformer

    model = model_of("learned", options, (64, 64) if options.name else (32, 32))
    keywords = {
        **options.keywords(),
        "img_size": model.transformer.patch_embed.img_size,
        "num_classes": 10,
        "dynamic_img_size": True,
        "no_embed_class": True,
    }
    own = create_model(options.name, **keywords) if options.name else VisionTransformer(**keywords)
    weights = model.transformer.state_dict()
    rows = model.encoding.get_parameter("rows")
    own.load_state_dict({**weights, "pos_embed": rows.flatten(0, 1)[None]})
    images = pictures(*image)
    wanted = own.eval()(images)
    assert float(wanted.std()) > 1e-3
    torch.testing.assert_close(logits(model, images), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", IN_2D)
def test_every_encoding_of_two_axes_trains_in_it_and_goes_to_other_resolutions(name: str) -> None:
    model = model_of(name).train()
    logits(model, pictures()).logsumexp(-1).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None and not n.startswith("encoding.")]
    assert without == []
    model.eval()
    with torch.no_grad():
        for size in [(16, 16), (64, 64), (32, 48)]:
            assert bool(torch.isfinite(logits(model, pictures(*size))).all())


@pytest.mark.parametrize("name", IN_2D)
def test_with_one_seed_every_weight_of_the_model_is_the_same_whatever_the_encoding(name: str) -> None:
    one, other = model_of(name, seed=3).transformer, model_of("none", seed=3).transformer
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, tensor in other.state_dict().items():
        assert torch.equal(one.state_dict()[key], tensor), key
    different = model_of("none", seed=4).transformer.state_dict()
    assert not torch.equal(different["head.weight"], other.state_dict()["head.weight"])


def test_building_a_model_draws_from_nobody_elses_numbers() -> None:
    before = torch.random.get_rng_state()
    model_of("none")
    assert torch.equal(before, torch.random.get_rng_state())


@torch.no_grad()
def test_without_an_encoding_the_order_of_the_patches_makes_no_difference_and_with_one_it_does() -> None:
    images = pictures(8, 8)
    mirrored = torch.cat((images[..., 4:], images[..., :4]), dim=-1)
    none = model_of("none", image=(8, 8))
    torch.testing.assert_close(logits(none, images), logits(none, mirrored), atol=1e-5, rtol=1e-5)
    rope = model_of("rope-mixed", image=(8, 8))
    assert not torch.allclose(logits(rope, images), logits(rope, mirrored), atol=1e-5)


def test_seqpe_gives_the_class_token_a_learned_vector_that_trains() -> None:
    model = model_of("seqpe").train()
    vectors = model.encoding.get_parameter("unplaced_vectors")
    assert vectors.shape == (1, 64)
    logits(model, pictures()).logsumexp(-1).sum().backward()
    assert vectors.grad is not None
    assert bool(vectors.grad.any())
    without = model_of("seqpe", AVERAGE)
    assert "unplaced_vectors" not in dict(without.encoding.named_parameters())


def test_weight_decay_spares_the_class_token_and_the_encoding() -> None:
    model = model_of("learned")
    decayed, _ = optimiser(model, model.encoding, Training(optimiser="lamb", weight_decay=0.03)).param_groups
    assert decayed["weight_decay"] == 0.03
    matrices = {id(p) for n, p in model.named_parameters() if p.ndim > 1 and n.startswith("transformer.")}
    token = id(model.transformer.cls_token)
    assert {id(parameter) for parameter in decayed["params"]} == matrices - {token}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("vit_smal_patch16_224", "unknown timm model 'vit_smal_patch16_224': did you mean"),
        ("resnet18", "timm's 'resnet18' is no vision Transformer"),
        ("vit_relpos_small_patch16_224", "timm's 'vit_relpos_small_patch16_224' is no vision Transformer"),
        ("vit_large_patch16_sapiens2", "is not the plain one"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_in_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        VisionOptions(name=name).outline()


def test_the_sizes_of_a_named_model_are_known_without_building_its_weights() -> None:
    outline = VisionOptions(name="vit_large_patch16_224").outline()
    assert (outline.width, outline.heads, outline.layers, outline.patch) == (1024, 16, 24, (16, 16))
    assert outline.prefix_tokens == 1
    assert VisionOptions(name="vit_large_patch16_224", pool="average", patch=8).outline().prefix_tokens == 0
