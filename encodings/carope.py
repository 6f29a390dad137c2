"""CARoPE: rotary position embedding whose base frequency each token chooses for each head."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pebench.formulas.accumulation import go_on
from pebench.formulas.projection import each, projection
from pebench.formulas.rotation import cosines_and_sines, rotate_pairs
from pebench.position_encoding import AttentionInputs, Geometry, PositionEncoding, TableInputs


class CaropeEncoding(PositionEncoding):
    """The pair (2c−2, 2c−1) of a head turns by Σ_{t ≤ i} f_h(x_t)^c, f_h(x) = 1/(1 + softplus(w_h·x)).

    x_t is the layer's normed input. In RoPE f is the same for all tokens and heads, base^(−2/d). Each layer
    has a Linear D → H of its own without a bias, as the definition writes it, w drawn from N(0, 0.02).
    """

    axes = (1,)
    acts = "R"
    causal_only = True
    cost = "N·D/2 powers, sums in float64, cosines and sines and a Linear D → H a layer"
    claims = ("shift",)
    source = "Veisi et al. 2025, https://arxiv.org/abs/2507.23083"

    def __init__(self, geometry: Geometry, first_exponent: Literal[0, 1] = 1) -> None:
        """
        Args:
            first_exponent: exponent of the first pair, which the paper leaves open: with 0 this pair turns by
                one radian a token, whatever the content.
        """
        super().__init__(geometry)
        if geometry.head_dim % 2:
            raise ValueError(f"{geometry.head_dim} channels a head do not make up pairs")
        self.first_exponent = first_exponent
        self.steps = each(geometry.layers, lambda: projection(geometry.width, geometry.heads))

    def table(self, x: TableInputs) -> None:
        """Nothing: only the order of the tokens matters."""

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """Both turned by the sums up to their own token."""
        # Angles: never in half precision.
        steps = self.steps[x.layer]
        frequency = 1 / (1 + F.softplus(steps(x.hidden.to(steps.weight.dtype)))).transpose(1, 2)
        # Heads may have been widened.
        exponents = torch.arange(x.q.shape[-1] // 2, device=x.q.device)[:, None] + self.first_exponent
        sums = go_on(frequency[:, :, None] ** exponents, x.state)
        cosine, sine = cosines_and_sines(sums.mT)
        return rotate_pairs(x.q, cosine, sine), rotate_pairs(x.k, cosine, sine)
