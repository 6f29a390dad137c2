"""timm's vision Transformer around a position encoding: its attention is pebench's, all else is timm's."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pebench.attention.encoded_positions import EncodedPositions, encoded_positions
from pebench.attention.kernels import Kernel
from pebench.errors import UserError, unknown
from pebench.machine.torchvision_operators import declare_missing
from pebench.position_encoding import Geometry, PositionEncoding, Table
from pebench.randomness import derive
from pebench.specification.run_spec import Frozen

if TYPE_CHECKING:
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

SMALL = {"patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4}
"""The model without a name, for images of 8×8 to 32×32 pixels."""


class VisionOptions(Frozen):
    """Options of the model.

    Attributes:
        name: of one of timm's vision Transformers, such as ``vit_small_patch16_224``; by default a small one.
            It is built without its pretrained weights and without its own position embedding.
        patch: pixels of a side of the squares that are a token each, in place of what the name says.
        width: overrides that of the name.
        layers: override those of the name.
        heads: override those of the name.
        pool: ``token`` classifies a class token, ``average`` the mean over the patches, without such a token;
            by default what the name says.
        drop_path: probability of dropping a residual branch in the last layer, rising linearly to it.
        layer_scale: initial factor on each residual branch; none by default, or what the name says.
        dropout: on the outputs of attention and perceptron.
    """

    name: str | None = None
    patch: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    layers: Annotated[int, Field(ge=1)] | None = None
    heads: Annotated[int, Field(ge=1)] | None = None
    pool: Literal["token", "average"] | None = None
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layer_scale: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def keywords(self) -> dict[str, Any]:
        """The arguments that timm's model takes for these options."""
        chosen = {
            "patch_size": self.patch,
            "embed_dim": self.width,
            "depth": self.layers,
            "num_heads": self.heads,
            "init_values": self.layer_scale,
        }
        found: dict[str, Any] = {} if self.name else dict(SMALL)
        found |= {key: value for key, value in chosen.items() if value is not None}
        if self.pool is not None:
            found |= {"class_token": self.pool == "token", "global_pool": _POOLS[self.pool]}
        return found | {"drop_path_rate": self.drop_path, "proj_drop_rate": self.dropout}

    def outline(self) -> Outline:
        """The sizes of the model.

        Raises:
            UserError: timm knows no such vision Transformer, or its attention is of another kind.
        """
        if self.name is None:
            sizes = self.keywords()
            width, layers, heads = (sizes[key] for key in ("embed_dim", "depth", "num_heads"))
            patch = (sizes["patch_size"],) * 2
            prefix_tokens = 1 if self.pool != "average" else 0
            return Outline(width=width, heads=heads, layers=layers, patch=patch, prefix_tokens=prefix_tokens)
        return _named_outline(self)


_POOLS = {"token": "token", "average": "avg"}


class Outline(Frozen):
    """The sizes of a model.

    Attributes:
        width, heads, layers: of the Transformer. patch: pixels of a patch, rows and columns.
        prefix_tokens: leading tokens that are no patches.
    """

    width: int
    heads: int
    layers: int
    patch: tuple[int, int]
    prefix_tokens: int

    def geometry(self, extent: tuple[int, ...]) -> Geometry:
        """Geometry of the model for a grid of so many rows and columns of patches."""
        return Geometry(
            self.width, self.heads, self.layers, extent, causal=False, prefix_tokens=self.prefix_tokens
        )


class PlacedAttention(nn.Module):
    """The attention of one of timm's blocks, by its own weights and under their names, with pebench's kernels
    in between.

    Attributes:
        kernel: the kernel that the last forward pass used, None before the first.
    """

    qkv: Any
    q_proj: Any
    k_proj: Any
    v_proj: Any
    q_bias: Any
    v_bias: Any
    q_norm: Any
    k_norm: Any
    norm: Any
    gate: Any
    proj: Any
    proj_drop: Any

    def __init__(self, attention: Any, layer: int) -> None:
        """
        Args:
            attention: timm's, whose parts are taken over. layer: number of the layer, from 0.
        """
        super().__init__()
        for name in (*_PROJECTIONS, *_PARTS, "gate"):
            setattr(self, name, getattr(attention, name, None))
        self.heads = attention.num_heads
        self.layer = layer
        self.kernel: Kernel | None = None

    def forward(self, hidden: Tensor, attn_mask: EncodedPositions, **_: object) -> Tensor:
        """
        Args:
            hidden: (B, N, D) normed input.
            attn_mask: the positions of the tokens. timm's blocks hand on under this name whatever they are
                given.

        Returns:
            (B, N, D).
        """
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self._project(hidden))
        q, k = self.q_norm(q), self.k_norm(k)
        out, self.kernel = attn_mask.attend(q, k, v, hidden, self.layer, causal=False)
        out = self.norm(out.transpose(1, 2).flatten(2))
        if self.gate is not None:
            out = out * self.gate(hidden).sigmoid()
        projected: Tensor = self.proj_drop(self.proj(out))
        return projected

    def _project(self, hidden: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values of all heads, each (B, N, D)."""
        if self.qkv is None:
            return [part(hidden) for part in (self.q_proj, self.k_proj, self.v_proj)]
        bias = self.qkv.bias
        if self.q_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        joint: Tensor = F.linear(hidden, self.qkv.weight, bias)
        return joint.chunk(3, dim=-1)


class _Embedding(nn.Module):
    """Stands where timm drops patches, behind the joining of class token and patches, and adds what an
    encoding adds to the embeddings."""

    def __init__(self, beside: bool) -> None:
        """
        Args:
            beside: whether timm asks for the numbers of the patches that are left as well; None means all.
        """
        super().__init__()
        self.beside = beside
        self.added: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, None]:
        """(B, U + N, D) to the same."""
        added = tokens if self.added is None else tokens + self.added
        return (added, None) if self.beside else added


class VisionModel(nn.Module):
    """An image classifier around a position encoding."""

    def __init__(
        self,
        options: VisionOptions,
        image: tuple[int, int],
        classes: int,
        encoding: PositionEncoding,
        seed: int,
    ) -> None:
        """
        Args:
            options: of the model. image: rows and columns of a training image, in pixels.
            classes: there are.
            encoding: the encoding, already initialised.
            seed: decides every weight that is not the encoding's, whatever the encoding is.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights"))
            self.transformer = _transformer(options, image, classes)
        self.blocks = _take_over(self.transformer)
        self.embedding = _Embedding(beside=_module(self.transformer) == "eva")
        self.transformer.patch_drop = cast("Any", self.embedding)
        self.encoding = encoding

    def forward(self, images: Tensor, table: Table) -> Tensor:
        """(B, classes) logits of (B, 3, rows, columns) images; the table is that of their patches."""
        here = encoded_positions(self.encoding, table)
        self.embedding.added = here.embed()
        try:
            features = self.transformer.forward_features(images, attn_mask=cast("Any", here))
        finally:
            self.embedding.added = None
        logits: Tensor = self.transformer.forward_head(features)
        return logits

    def kernels(self) -> list[str]:
        """The attention kernels that the last forward pass used, sorted."""
        return sorted({block.kernel for block in self.blocks if block.kernel is not None})

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay should spare, as timm knows them: the class token."""
        # timm names those of all its vision Transformers.
        there = {name for name, _ in self.transformer.named_parameters()}
        return {f"transformer.{name}" for name in self.transformer.no_weight_decay() & there}


@functools.cache
def _named_outline(options: VisionOptions) -> Outline:
    with torch.device("meta"):
        model = _transformer(options, None, 1)
        attention = _take_over(model)
    return Outline(
        width=model.embed_dim,
        heads=attention[0].heads,
        layers=len(attention),
        patch=tuple(model.patch_embed.patch_size),
        prefix_tokens=model.num_prefix_tokens,
    )


HOSTS: dict[str, dict[str, Any]] = {
    "vision_transformer": {"pos_embed": "none"},
    "eva": {"use_abs_pos_emb": False, "use_rot_pos_emb": False},
}
"""timm's modules whose models can be taken, and what leaves their own positions out."""


def _transformer(
    options: VisionOptions, image: tuple[int, int] | None, classes: int
) -> VisionTransformer | Eva:
    declare_missing()
    import timm
    from timm.models.vision_transformer import VisionTransformer

    keywords: dict[str, Any] = {
        **options.keywords(),
        "num_classes": classes,
        "dynamic_img_size": True,
    } | ({} if image is None else {"img_size": image})
    if options.name is None:
        return VisionTransformer(**keywords, **HOSTS["vision_transformer"])
    # Those called so are as small as timm's own tests want them.
    known = [
        name for module in HOSTS for name in timm.list_models(module=module) if not name.startswith("test_")
    ]
    if not timm.is_model(options.name):
        raise unknown("timm model", options.name, known)
    in_eva = timm.models.is_model_in_modules(options.name, ["eva"])
    positions = HOSTS["eva" if in_eva else "vision_transformer"]
    try:
        model: Any = timm.create_model(options.name, pretrained=False, **keywords, **positions)
    except AssertionError as error:
        raise UserError(f"timm refuses to build '{options.name}' like that: {error}") from error
    except TypeError:
        model = None
    if _module(model) not in HOSTS or model.pos_embed is not None:
        near = unknown("", options.name, known)
        raise UserError(
            f"timm's '{options.name}' is no vision Transformer that can do without a position embedding of "
            f"its own: {str(near).partition(': ')[2]}"
        )
    built: VisionTransformer | Eva = model
    return built


def _module(transformer: object) -> str:
    """The module of timm's that a model comes from."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(transformer, Eva):
        return "eva"
    return "vision_transformer" if isinstance(transformer, VisionTransformer) else ""


def _take_over(transformer: VisionTransformer | Eva) -> list[PlacedAttention]:
    """Puts pebench's attention into each block; the blocks' own attention modules lend their weights."""
    found = []
    for layer, block in enumerate(transformer.blocks):
        attention: Any = getattr(block, "attn", nn.Identity())
        parts = {name for name, _ in attention.named_children()} - {*_PROJECTIONS, "gate"}
        if parts != {*_PARTS, "attn_drop"} or attention.attn_drop.p or not _is_plain(attention):
            raise UserError(
                f"the attention in timm's {type(block).__name__} is not the plain one that an encoding can "
                "be put into: choose another model."
            )
        block.attn = PlacedAttention(attention, layer)
        found.append(block.attn)
    return found


def _is_plain(attention: Any) -> bool:
    """Whether there are as many keys as queries, in heads that share the width among them."""
    grouped = getattr(attention, "num_kv_heads", attention.num_heads) != attention.num_heads
    return not grouped and attention.head_dim * attention.num_heads == attention.proj.out_features


_PARTS = ("q_norm", "k_norm", "norm", "proj", "proj_drop")
_PROJECTIONS = ("qkv", "q_proj", "k_proj", "v_proj", "q_bias", "v_bias")
"""To queries, keys and values, in one form or another."""
