"""Stick-breaking attention: keys take their share of what nearer keys have left, in place of the softmax."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pebench.position_encoding import (
    AttentionInputs,
    Bias,
    Block,
    Dense,
    Geometry,
    PositionEncoding,
    TableInputs,
)


class StickBreakingEncoding(PositionEncoding):
    """Weights σ(z_ij)·Π_{j < t < i} (1 − σ(z_it)) for j < i, z = q·k/√d; the own value gets what remains.

    What remains is ρ_i = Π_{t < i} (1 − σ(z_it)), so that weights add up to one and are the softmax of their
    own logarithms: logit + Σ_{j ≤ t < i} ln(1 − σ(z_it)), and ln ρ_i on the own key in place of its logit.
    With `attend_current` the products run up to t = i, and the own key has a share before what remains.
    """

    axes = (1,)
    acts = "C"
    causal_only = True
    kernels = ("blocked",)
    cost = "O(N·K·D) for the products q·k once more and N·K·H logarithms and sums, 128 queries at a time"
    claims = ("shift",)
    source = "Tan et al. 2024, https://arxiv.org/abs/2410.17980"

    def __init__(self, geometry: Geometry, attend_current: bool = False) -> None:
        """
        Args:
            attend_current: whether a query looks at its own key, as at the others.
        """
        super().__init__(geometry)
        self.attend_current = attend_current

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def bias(self, x: AttentionInputs) -> Bias:
        """The logarithm of what nearer keys have left, summed from the query outwards."""
        exact = torch.promote_types(x.q.dtype, torch.float32)

        def values(block: Block) -> Tensor:
            query, key = x.q[:, :, block.rows].to(exact), x.k[:, :, block.keys].to(exact)
            logits = query @ key.mT * self.scale()
            row = torch.arange(block.rows.start, block.rows.stop, device=key.device) + x.mask.first
            column = torch.arange(block.keys.start, block.keys.stop, device=key.device)
            own = row[:, None] == column
            seen = block.visible if self.attend_current else block.visible & ~own
            passed = F.logsigmoid(-logits).masked_fill(~seen, 0)
            left = passed.flip(-1).cumsum(-1).flip(-1)
            rest = left[..., :1] - logits
            return torch.where(own, torch.logaddexp(left, rest) if self.attend_current else rest, left)

        return Dense(values)
