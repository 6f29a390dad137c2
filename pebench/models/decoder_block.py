"""A block of a decoder: attention and a perceptron, in the layout that the options of the model say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pebench.attention.cache import LayerCache
from pebench.attention.encoded_positions import EncodedPositions
from pebench.attention.self_attention import SelfAttention
from pebench.models.host import Activation, BlockLayout, Host
from pebench.position_encoding import Geometry

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
"""Functions within the perceptron; ``gelu-tanh`` is GPT-2's approximation of GELU."""


def norm(width: int, layout: BlockLayout) -> nn.LayerNorm | nn.RMSNorm:
    """A norm of the model."""
    if layout.norm == "rms":
        return nn.RMSNorm(width, eps=layout.norm_epsilon)
    return nn.LayerNorm(width, eps=layout.norm_epsilon, bias=layout.norm_bias)


class DecoderBlock(nn.Module):
    """Attention and a perceptron, each behind a norm and beside a residual."""

    def __init__(self, geometry: Geometry, layer: int, host: Host) -> None:
        super().__init__()
        width, layout = geometry.width, host.layout(geometry)
        inner, bias = layout.inner, layout.perceptron_bias
        self.attention_norm = norm(width, layout)
        self.attention = SelfAttention(
            geometry,
            layer,
            layout.key_value_heads,
            input_bias=layout.attention_bias != "none",
            output_bias=layout.attention_bias == "all",
            norm_epsilon=layout.norm_epsilon if layout.qk_norm else None,
            window=host.window(layer),
            softcap=host.attention_softcap,
        )
        self.perceptron_norm = norm(width, layout)
        self.gate = nn.Linear(width, inner, bias=bias) if layout.gated else None
        self.expand = nn.Linear(width, inner, bias=bias)
        self.contract = nn.Linear(inner, width, bias=bias)
        self.dropout = nn.Dropout(host.dropout)
        self.activate = ACTIVATIONS[layout.activation]
        self.parallel = layout.parallel

    def forward(self, hidden: Tensor, here: EncodedPositions, cache: LayerCache | None) -> Tensor:
        """(B, N, D) to (B, N, D); see `SelfAttention.forward` for the rest."""
        attended = self.dropout(self.attention(self.attention_norm(hidden), here, cache))
        between = hidden if self.parallel else hidden + attended
        perceived = self._perceive(between)
        out: Tensor = between + (attended + perceived if self.parallel else perceived)
        return out

    def _perceive(self, hidden: Tensor) -> Tensor:
        """What the perceptron adds."""
        normed = self.perceptron_norm(hidden)
        if self.gate is None:
            inner = self.activate(self.expand(normed))
        else:
            inner = self.activate(self.gate(normed)) * self.expand(normed)
        out: Tensor = self.dropout(self.contract(inner))
        return out
