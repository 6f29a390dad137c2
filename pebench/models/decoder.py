"""A causal Transformer decoder of GPT-2's proportions: pre-LayerNorm, GELU, tied embeddings (Radford et al.
2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pebench.attention.cache import Cache, LayerCache
from pebench.attention.encoded_positions import EncodedPositions
from pebench.attention.self_attention import SelfAttention
from pebench.options import Added
from pebench.position_encoding import Geometry, PositionEncoding, Table
from pebench.randomness import generator
from pebench.spec import Frozen

SIZES = {
    "tiny": (128, 4, 4),
    "mini": (256, 6, 4),
    "small": (512, 8, 8),
    "gpt2-small": (768, 12, 12),
    "gpt2-medium": (1024, 24, 16),
}
"""Width, layers and heads by name."""

GPT2_DEVIATION = 0.02
"""Of GPT-2's weights at the start."""

LOGITS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}
"""Numbers in a chunk of logits, by device: at a large vocabulary all logits of a batch would be most of its
memory, and on a GPU small chunks would be most of its time."""

LOGITS_AT_ONCE_COMPILED = 1 << 31
"""The same where `torch.compile` keeps them in bfloat16 alone: GPT-2 small gains a tenth on an H200 by logits
that are not computed twice, and takes no more memory."""


class DecoderOptions(Frozen):
    """Options of the decoder.

    Attributes:
        size: gives width, layers and heads where these are not given.
        width, layers, heads: override the size.
        dropout: on the embeddings and on both residual branches.
        deviation: of the weights at the start. GPT-2's is meant for a width of 768; in proportion to 1/√width
            it is 0.07 at 64, which can be worth thousands of updates to so narrow a model.
    """

    size: Literal["tiny", "mini", "small", "gpt2-small", "gpt2-medium"] = "tiny"
    width: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    layers: Annotated[int, Field(ge=1, le=10_000)] | None = None
    heads: Annotated[int, Field(ge=1, le=10_000)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    deviation: Annotated[float, Field(gt=0), Added(before=GPT2_DEVIATION)] = GPT2_DEVIATION

    def geometry(self, extent: int) -> Geometry:
        """Geometry of a decoder trained on so many tokens.

        Raises:
            ValueError: the width does not divide into the heads.
        """
        width, layers, heads = SIZES[self.size]
        return Geometry(self.width or width, self.heads or heads, self.layers or layers, (extent,))

    def decoder(
        self, geometry: Geometry, vocabulary_size: int, encoding: PositionEncoding, seed: int
    ) -> Decoder:
        """The decoder with these options; see there."""
        return Decoder(geometry, vocabulary_size, encoding, self.dropout, seed, self.deviation)


class DecoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and beside a residual."""

    def __init__(self, geometry: Geometry, layer: int, dropout: float) -> None:
        super().__init__()
        width = geometry.width
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(geometry, layer)
        self.perceptron_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, here: EncodedPositions, cache: LayerCache | None) -> Tensor:
        """(B, N, D) to (B, N, D); see `SelfAttention.forward` for the rest."""
        attended = self.attention(self.attention_norm(hidden), here, cache)
        hidden = hidden + self.dropout(attended)
        inner = F.gelu(self.expand(self.perceptron_norm(hidden)), approximate="tanh")
        out: Tensor = hidden + self.dropout(self.contract(inner))
        return out


class Decoder(nn.Module):
    """A language model around a position encoding."""

    def __init__(
        self,
        geometry: Geometry,
        vocabulary_size: int,
        encoding: PositionEncoding,
        dropout: float,
        seed: int,
        deviation: float = GPT2_DEVIATION,
    ) -> None:
        """
        Args:
            geometry: sizes. vocabulary_size: tokens there are.
            encoding: the encoding, already initialised.
            dropout: on the embeddings and on both residual branches.
            seed: decides every weight that is not the encoding's, whatever the encoding is.
            deviation: of the weights at the start.
        """
        super().__init__()
        self.geometry = geometry
        self.token_embedding = nn.Embedding(vocabulary_size, geometry.width)
        self.dropout = nn.Dropout(dropout)
        blocks = nn.ModuleList(DecoderBlock(geometry, layer, dropout) for layer in range(geometry.layers))
        self.blocks = cast("Sequence[DecoderBlock]", blocks)
        self.final_norm = nn.LayerNorm(geometry.width)
        initialise(self, geometry.layers, seed, deviation)
        self.encoding = encoding

    def forward(
        self, tokens: Tensor, table: Table, key_mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """
        Args:
            tokens: (B, N) new tokens.
            table: the encoding's table of their positions.
            key_mask: (B, N) bool, False for padding among the new tokens.
            cache: holds the tokens before these, and takes these in.

        Returns:
            (B, N, D) normed hidden states; `logits` or `losses` read them.
        """
        hidden = self.token_embedding(tokens)
        key_table = table
        if cache is not None:
            key_table, key_mask = cache.append(table, tokens, key_mask)
        here = EncodedPositions(self.encoding, table, key_table, key_mask)
        added = here.embed()
        if added is not None:
            hidden = hidden + added
        hidden = self.dropout(hidden)
        for layer, block in enumerate(self.blocks):
            hidden = block(hidden, here, None if cache is None else cache.layers[layer])
        normed: Tensor = self.final_norm(hidden)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, vocabulary) scores of the next token, from (…, D) hidden states."""
        return F.linear(hidden, self.token_embedding.weight)

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihoods in nats, (B, N) float32, of the (B, N) targets; never all logits at
        once."""
        states, flat = hidden.flatten(0, 1), targets.flatten()
        compiled = hidden.device.type == "cuda" and torch.compiler.is_compiling()
        limit = LOGITS_AT_ONCE_COMPILED if compiled else LOGITS_AT_ONCE[hidden.device.type]
        rows = max(1, limit // self.token_embedding.num_embeddings)
        if rows >= len(flat):
            return self._losses(states, flat).view_as(targets)
        parts = zip(states.split(rows), flat.split(rows), strict=True)
        if torch.is_grad_enabled():
            losses = [checkpoint(self._losses, *part, use_reentrant=False) for part in parts]
        else:
            losses = [self._losses(*part) for part in parts]
        return torch.cat(losses).view_as(targets)

    def kernels(self) -> list[str]:
        """The attention kernels that the last forward pass used, sorted."""
        used = (block.attention.kernel for block in self.blocks)
        return sorted({kernel for kernel in used if kernel is not None})

    def _losses(self, states: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(states).float(), targets, reduction="none")


def initialise(module: nn.Module, layers: int, seed: int, deviation: float) -> None:
    """GPT-2's initialisation: N(0, deviation), output projections of residual branches narrower by
    √(2·layers), biases zero, norms one. Each tensor draws from a generator named after it, so that no tensor
    depends on another."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
                continue
            residual = name.endswith(("output.weight", "contract.weight"))
            scale = deviation / math.sqrt(2 * layers) if residual else deviation
            parameter.copy_(torch.randn(parameter.shape, generator=generator(seed, "weights", name)) * scale)
