"""GRAPE-A: ALiBi whose slopes depend on the content of the key, of the query or of both."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pebench.encodings.alibi import slopes
from pebench.position_encoding import AttentionInputs, Bias, Factored, Geometry, PositionEncoding, TableInputs


class GrapeAEncoding(PositionEncoding):
    """logit − (i − j)·m_h·softplus(ω_h)·γ, m being ALiBi's slopes and γ a gate of the content.

    The gate of a key is softplus(û_h·k_j/√d), that of a query softplus(v̂_h·q_i/√d), û and v̂ being u and v at
    length 1; `gate: both` is their sum. Each layer has ω, with softplus(ω) = 1 at first, and u and v of its
    own, drawn from N(0, 1/d). Queries and keys are taken as attention has them: normed where the model norms
    them, as the published one does.
    """

    axes = (1,)
    acts = "C"
    head_width_only = True
    causal_only = True
    kernels = ("factored",)
    cost = (
        "two channels more a head, one for the gate of a query, six times as many in bfloat16; N·D"
        " multiplications a layer"
    )
    claims = ("shift",)
    source = "Zhang et al. 2025, https://arxiv.org/abs/2512.07805"
    slopes: Tensor
    key: nn.Parameter | None
    query: nn.Parameter | None

    def __init__(self, geometry: Geometry, gate: Literal["key", "query", "both"] = "key") -> None:
        """
        Args:
            gate: whose content scales the slopes.
        """
        super().__init__(geometry)
        self.register_buffer("slopes", slopes(geometry.heads), persistent=False)
        layers, heads, width = geometry.layers, geometry.heads, geometry.head_dim
        self.omega = nn.Parameter(torch.ones(layers, heads).expm1().log())
        for part in ("key", "query"):
            drawn = nn.Parameter(torch.randn(layers, heads, width) * width**-0.5)
            self.register_parameter(part, drawn if gate in (part, "both") else None)

    def table(self, x: TableInputs) -> Tensor:
        """(B|1, N) positions."""
        return x.positions[..., 0]

    def bias(self, x: AttentionInputs) -> Bias:
        """−i·r_j + j·(r_j + r_i), r being rates; what is constant along a row is left out."""
        # The terms cancel. From the middle of the keys they are smallest, and their sum is the same.
        middle = x.k_table.double().mean(-1, keepdim=True).round()
        place, other = ((table - middle)[:, None].double() for table in (x.q_table, x.k_table))
        query, key = [], []
        if self.key is not None:
            rate = self._rates(x.k, self.key, x.layer)
            query += [place, torch.ones_like(place)]
            key += [-rate, other * rate]
        if self.query is not None:
            query.append(self._rates(x.q, self.query, x.layer))
            key.append(other)
        return Factored(_features(key), _features(query))

    def _rates(self, heads: Tensor, direction: Tensor, layer: int) -> Tensor:
        """(B, H, tokens) float64 m·softplus(ω)·γ."""
        unit = F.normalize(direction[layer], dim=-1)[..., None]
        gate = F.softplus((heads.to(unit.dtype) @ unit)[..., 0] * self.scale())
        return gate.double() * (self.slopes * F.softplus(self.omega[layer]))[:, None]


def _features(parts: list[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*parts), dim=-1)
