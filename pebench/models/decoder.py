"""A causal Transformer decoder: blocks behind norms, and beside residuals, between an embedding of tokens and
the scores of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pebench.attention.cache import Cache
from pebench.attention.encoded_positions import EncodedPositions
from pebench.models.decoder_block import DecoderBlock, norm
from pebench.models.host import Host
from pebench.models.row_chunks import in_chunks
from pebench.position_encoding import Compile, Geometry, PositionEncoding, Table
from pebench.randomness import generator

LOGITS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}
"""Numbers in a chunk of logits, by device: at a large vocabulary all logits of a batch would be most of its
memory, and on a GPU small chunks would be most of its time."""

LOGITS_IN_CACHE = {"cpu": 1 << 21, "cuda": 1 << 28}
"""The same where no gradients are kept, so that smaller chunks cost nothing but a call: on a CPU a chunk that
is read before it leaves the cache makes losses as cheap as logits are alone."""

ROWS_AT_LEAST = 256
"""In such a chunk, if memory allows: products of fewer rows with the output's matrix are slower."""

LOGITS_AT_ONCE_COMPILED = 1 << 31
"""The same where `torch.compile` keeps them in bfloat16 alone: GPT-2 small gains a tenth on an H200 by logits
that are not computed twice, and takes no more memory."""


PARTS_FROM = 512
"""Width of a model from which on its blocks are compiled one by one. What the host does for each call, 0.3 ms
and more, is then hidden behind the work of a GPU: on an H200, in batches of 64 × 256 tokens, a step at 512
takes as long as that of one graph. At 256 it took 1.3 times as long without an encoding, and 1.6 times with
FoX. Where each layer has a form of its own the host looks through them, which takes longer the more layers
there are: for 24 layers of FoX twice as long for a block as for 8."""


class _Compiled(NamedTuple):
    """Compiled forms of parts of a decoder."""

    block: Callable[..., Tensor]
    losses: Callable[..., Tensor]


class Decoder(nn.Module):
    """A language model around a position encoding."""

    def __init__(
        self, geometry: Geometry, vocabulary_size: int, encoding: PositionEncoding, host: Host, seed: int
    ) -> None:
        """
        Args:
            geometry: sizes. vocabulary_size: tokens there are.
            encoding: the encoding, already initialised.
            host: kind of its blocks.
            seed: decides every weight that is not the encoding's, whatever the encoding is.
        """
        super().__init__()
        self.geometry = geometry
        self.token_embedding = nn.Embedding(vocabulary_size, geometry.width)
        self.embedding_norm = norm(geometry.width, host.layout(geometry)) if host.embedding_norm else None
        self.dropout = nn.Dropout(host.dropout)
        blocks = nn.ModuleList(DecoderBlock(geometry, layer, host) for layer in range(geometry.layers))
        self.blocks = cast("Sequence[DecoderBlock]", blocks)
        self.final_norm = norm(geometry.width, host.layout(geometry))
        self.head = None if host.tied else nn.Linear(geometry.width, vocabulary_size, bias=False)
        self.logit_softcap = host.logit_softcap
        initialise(self, geometry.layers, seed, host.deviation)
        self.encoding = encoding
        self._compiled: _Compiled | None = None

    def compiled_for_training(
        self, loss: Callable[..., Tensor], compile_whole: Compile
    ) -> Callable[..., Tensor]:
        """The loss for training that is compiled: a narrow model as one graph, others by their blocks.

        Blocks that differ in their weights alone have one form, so that compiling takes as long for many
        layers as for one. Where an encoding does something else in each layer, each has a form of its own.
        PyTorch's way to have one form within one graph returns wrong gradients
        (`findings/gradients-of-a-nested-region.sh`).
        """
        if self.geometry.width < PARTS_FROM:
            return compile_whole(loss)
        self._compiled = _Compiled(compile_whole(DecoderBlock.forward), compile_whole(Decoder._all_losses))
        return loss

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
        if self.embedding_norm is not None:
            hidden = self.embedding_norm(hidden)
        hidden = self.dropout(hidden)
        compiled = self._compiled if self.training else None
        for layer, block in enumerate(self.blocks):
            if compiled is not None:
                hidden = compiled.block(block, hidden, here, None)
            else:
                hidden = block(hidden, here, None if cache is None else cache.layers[layer])
        normed: Tensor = self.final_norm(hidden)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, vocabulary) scores of the next token, from (…, D) hidden states."""
        scores = F.linear(hidden, (self.head or self.token_embedding).weight)
        cap = self.logit_softcap
        return scores if cap is None else cap * (scores / cap).tanh()

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihoods in nats, (B, N) float32, of the (B, N) targets; never all logits at
        once."""
        if self._compiled is not None and self.training:
            return self._compiled.losses(self, hidden, targets)
        return self._all_losses(hidden, targets)

    def _all_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        states, flat = hidden.flatten(0, 1), targets.flatten()
        rows = self.rows_at_once(hidden.device.type)
        if rows >= len(flat):
            return self._losses(states, flat).view_as(targets)
        if not torch.is_grad_enabled():
            return in_chunks(self._losses, rows, states, flat).view_as(targets)
        parts = zip(states.split(rows), flat.split(rows), strict=True)
        losses = [checkpoint(self._losses, *part, use_reentrant=False) for part in parts]
        return torch.cat(losses).view_as(targets)

    def rows_at_once(self, device: str) -> int:
        """States whose logits are computed together on a kind of device, at least 1."""
        vocabulary = self.token_embedding.num_embeddings
        compiled = torch.compiler.is_compiling()
        limit = LOGITS_AT_ONCE_COMPILED if compiled and device == "cuda" else LOGITS_AT_ONCE[device]
        most = max(1, limit // vocabulary)
        if compiled or torch.is_grad_enabled():
            return most
        return min(most, max(ROWS_AT_LEAST, LOGITS_IN_CACHE[device] // vocabulary))

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
            if parameter.is_meta:
                continue  # only its shape is asked for
            if parameter.ndim < 2:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
                continue
            residual = name.endswith(("output.weight", "contract.weight"))
            scale = deviation / math.sqrt(2 * layers) if residual else deviation
            parameter.copy_(torch.randn(parameter.shape, generator=generator(seed, "weights", name)) * scale)
