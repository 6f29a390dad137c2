"""timm's vision Transformers with trained weights: the encoding that each has, and its weights by our names.

A model is written ``timm:vit_small_patch16_rope_224``, with a tag behind a dot where timm has several sets of
weights. What timm rotates in another order of channels is put into ours, which changes no logit.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pebench.encoding_config import encoding_config
from pebench.errors import UserError, unknown
from pebench.machine.torchvision_operators import declare_missing
from pebench.models.vision import HOSTS
from pebench.position_encoding import Geometry
from pebench.specification.plugin_ref import PluginRef
from pebench.specification.run_spec import TIMM, PluginConfig

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of the colours by which our pictures are normalised."""


class TimmModel(NamedTuple):
    """A published model, before its weights are read.

    Attributes:
        name: with its tag, which says what it was trained on.
        architecture: without it.
        encoding: that it has.
        image: rows and columns that it was trained on, in pixels.
        geometry: of the Transformer, with the grid of patches of such an image.
        classes: that it tells apart; 0 for a model without a classifier.
    """

    name: str
    architecture: str
    encoding: PluginConfig
    image: tuple[int, int]
    geometry: Geometry
    classes: int

    @property
    def reference(self) -> str:
        """As a user writes it."""
        return TIMM + self.name

    @property
    def label(self) -> str:
        """How tables call it."""
        return self.reference


@functools.cache
def timm_model(reference: str) -> TimmModel:
    """The published model of a reference; reads no weights.

    Raises:
        UserError: timm has no weights of that name, or its positions are not those of an encoding here.
    """
    declare_missing()
    import timm
    from timm.models import get_pretrained_cfg, is_model_in_modules

    written = reference.removeprefix(TIMM)
    known = [name for module in HOSTS for name in timm.list_models(module=module, pretrained=True)]
    architectures = {name.partition(".")[0] for name in known}
    if written not in known and written not in architectures:
        raise unknown("model with weights of timm's", written, sorted({*known, *architectures}))
    assert is_model_in_modules(written, list(HOSTS))
    config = get_pretrained_cfg(written)
    assert config is not None
    with torch.device("meta"):
        network: Any = timm.create_model(written, pretrained=False)
    rows, columns = network.patch_embed.grid_size
    first = network.blocks[0].attn
    return TimmModel(
        name=f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture),
        architecture=str(config.architecture),
        encoding=encoding_config(encoding_of(network, written)),
        image=tuple(network.patch_embed.img_size),
        geometry=Geometry(
            network.embed_dim,
            first.num_heads,
            len(network.blocks),
            (rows, columns),
            causal=False,
            prefix_tokens=network.num_prefix_tokens,
        ),
        classes=network.num_classes,
    )


def encoding_of(network: Any, name: str) -> PluginRef:
    """The encoding of one of timm's models.

    Raises:
        UserError: there is none such here.
    """
    parts: list[PluginRef] = [] if network.pos_embed is None else ["learned"]
    rope = getattr(network, "rope", None)
    if rope is not None:
        parts.append(_rotation(rope, name))
    if not parts:
        return "none"
    return parts[0] if len(parts) == 1 else {"compose": parts}


def _rotation(rope: Any, name: str) -> PluginRef:
    kind = type(rope).__name__
    if kind == "RotaryEmbeddingMixed":
        return {"rope-mixed": {"base": float(rope.temperature)}}
    if kind == "RotaryEmbeddingDinoV3" and rope.grid_indexing == "ij" and not rope.grid_offset:
        options: dict[str, Any] = {"base": rope.temperature, "normalize": rope.normalize_coords}
        options |= {"periods": None if rope.min_period is None else (rope.min_period, rope.max_period)}
        options |= {"shift": rope.shift_coords or 0.0, "jitter": rope.jitter_coords or 1.0}
        return {"dinov3": options | {"rescale": rope.rescale_coords or 1.0}}
    # An offset of the whole grid turns queries and keys alike.
    if kind == "RotaryEmbeddingCat" and rope.grid_type == "index" and rope.ref_feat_shape is None:
        return {"rope-axial": {"base": float(rope.temperature)}}
    raise UserError(
        f"timm's '{name}' turns queries and keys in a way that no encoding here does, such as by places that "
        "are stretched to one size: take a model of RoPE-ViT's or DINOv3's."
    )


def trained_weights(model: TimmModel) -> tuple[dict[str, Tensor], str]:
    """The weights of a published model by the names of ours, from the hub or its cache, and their SHA-256.

    Raises:
        UserError: they cannot be had.
    """
    declare_missing()
    import timm

    try:
        network = timm.create_model(model.name, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"the weights of '{model.reference}' cannot be had from the hub: {reason}."
        ) from error
    weights = by_our_names(network, model.encoding)
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return weights, digest.hexdigest()


@torch.no_grad()
def by_our_names(network: Any, encoding: PluginConfig) -> dict[str, Tensor]:
    """The weights of one of timm's models as those of a `VisionModel` with its encoding."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    places = {"learned": "encoding.", "rope-mixed": "encoding."}
    for number, part in enumerate(encoding.parts if len(encoding.parts) > 1 else ()):
        places[part.name] = f"encoding.parts.{number}."
    found = {}
    if "pos_embed" in state:
        rows = _folded(network, state)
        found[f"{places['learned']}rows"] = rows.unflatten(0, network.patch_embed.grid_size)
    if "rope.freqs" in state:
        frequencies = state.pop("rope.freqs")
        # Ours count the column first, as timm's of 'xy' do.
        along = frequencies if network.rope.grid_indexing == "xy" else frequencies.flip(0)
        found[f"{places['rope-mixed']}frequencies"] = along
    order = _order(network)
    for name, tensor in state.items():
        found[f"transformer.{name}"] = tensor if order is None else _reordered(name, tensor, order)
    _normalised(network, found)
    return found


def _folded(network: Any, state: dict[str, Tensor]) -> Tensor:
    """(N, D) rows of the patches; those of the tokens before them go into these tokens."""
    rows = state.pop("pos_embed")[0]
    if network.no_embed_class:
        return rows
    place = 0
    for name in ("cls_token", "reg_token"):
        if state.get(name) is not None:
            count = state[name].shape[1]
            state[name] += rows[place : place + count]
            place += count
    return rows[place:]


def _order(network: Any) -> Tensor | None:
    """The channels of a head of timm's in our order: pairs beside each other, the column's first in
    `rope-axial`; None where that is timm's."""
    rope = getattr(network, "rope", None)
    if rope is None:
        return None
    width = network.embed_dim // network.blocks[0].attn.num_heads
    order = torch.arange(width)
    if getattr(rope, "rotate_half", False):
        order = order.unflatten(0, (2, -1)).T.flatten()
    if type(rope).__name__ == "RotaryEmbeddingCat" and rope.grid_indexing == "ij":
        order = order.roll(width // 2)
    return order


def _reordered(name: str, tensor: Tensor, order: Tensor) -> Tensor:
    """A tensor of queries and keys with the channels of each head in another order."""
    _, _, part = name.partition(".attn.")
    width = len(order)
    if part.startswith(("q_norm", "k_norm")):
        return tensor[order]
    if part.startswith(("q_proj", "k_proj", "q_bias")):
        ordered: Tensor = tensor.unflatten(0, (-1, width))[:, order].flatten(0, 1)
        return ordered
    if part.startswith("qkv"):
        heads = tensor.unflatten(0, (3, -1, width))
        joint: Tensor = torch.cat((heads[:2, :, order], heads[2:])).flatten(0, 2)
        return joint
    return tensor


def _normalised(network: Any, weights: dict[str, Tensor]) -> None:
    """Makes the patch embedding one of pictures that are normalised as ours are."""
    config = getattr(network, "pretrained_cfg", None) or {}
    theirs = tuple(tuple(config.get(key) or own) for key, own in zip(("mean", "std"), IMAGENET, strict=True))
    if theirs == IMAGENET:
        return
    (mean, deviation), (their_mean, their_deviation) = (
        [torch.tensor(numbers).view(1, 3, 1, 1) for numbers in pair] for pair in (IMAGENET, theirs)
    )
    kernel, bias = (f"transformer.patch_embed.proj.{part}" for part in ("weight", "bias"))
    if bias not in weights:
        raise UserError("timm normalises the pictures of this model in a way that it has no bias to undo.")
    shift = (mean - their_mean) / their_deviation
    weights[bias] = weights[bias] + (weights[kernel] * shift).sum((1, 2, 3))
    weights[kernel] = weights[kernel] * deviation / their_deviation
