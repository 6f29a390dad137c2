"""Wall attention: each channel of a key fades at a rate of its own, read off the content of what follows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.formulas.accumulation import accumulate
from pebench.formulas.decay import decayed_products
from pebench.formulas.measurement import measure_for_heads
from pebench.formulas.projection import each, projection
from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)


class WallEncoding(PositionEncoding):
    """logit_ij = 1/√d·Σ_n q_in·k_jn·exp(P_in − P_jn), with P_i = Σ_{t ≤ i} ln σ(W x_t + b).

    x_t is the layer's normed input. W is drawn from N(0, 0.02), and b starts at 8, so that little is
    forgotten. With `scalar_gate` the logit also gets C_i − C_j, the gate of FoX, whose b starts at 8 too.
    """

    axes = (1,)
    acts = "C"
    head_width_only = True
    causal_only = True
    kernels = ("blocked",)
    cost = (
        "O(N·K·D) for the products q·k twice more, N·K·D/128 + 24·N·D exponentials, 128 queries at a time;"
        " N·D sums in float64 and a Linear D → D a layer"
    )
    claims = ("shift",)
    source = "Pai et al. 2026, https://blog.tilderesearch.com/blog/wall-attn"

    def __init__(self, geometry: Geometry, scalar_gate: bool = False) -> None:
        """
        Args:
            scalar_gate: whether each head has a forget gate beside those of its channels.
        """
        super().__init__(geometry)
        layers, width = geometry.layers, geometry.width
        self.decays = each(layers, lambda: projection(width, geometry.channels, bias=8.0))
        self.gates = each(layers if scalar_gate else 0, lambda: projection(width, geometry.heads, bias=8.0))

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def bias(self, x: AttentionInputs) -> Bias:
        """Loss of q·k by the decays."""
        steps = self._log_gates(self.decays[x.layer], x)
        if self.gates:
            steps = torch.cat((steps, self._log_gates(self.gates[x.layer], x)), dim=-1)
        sums = accumulate(steps.movedim(1, -1), x.state).mT
        width, own = x.q.shape[-1], sums[:, :, x.mask.first :]
        exact = torch.promote_types(x.q.dtype, torch.float32)

        def values(block: Block) -> Tensor:
            query, key = x.q[:, :, block.rows].to(exact), x.k[:, :, block.keys].to(exact)
            here, there = own[:, :, block.rows], sums[:, :, block.keys]
            products = decayed_products(query, key, here[..., :width], there[..., :width])
            change = (products - query @ key.mT) * self.scale()
            return change + (here[..., width:] - there[..., width:].mT).to(exact) if self.gates else change

        return Dense(values)

    def _log_gates(self, linear: nn.Linear, x: AttentionInputs) -> Tensor:
        """(B, N, H, channels) ln σ of a map of the normed input."""
        gates = F.logsigmoid(measure_for_heads(x.hidden, linear.weight, x.q) + linear.bias)
        by_head: Tensor = gates.unflatten(-1, (self.geometry.heads, -1))
        return by_head
