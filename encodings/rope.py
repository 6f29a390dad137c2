"""RoPE: channel pairs of queries and keys turn by an angle in proportion to the position."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pebench.formulas.rotation import rotate_pairs
from pebench.position_encoding import AttentionInputs, Extrapolation, Geometry, PositionEncoding, TableInputs

Share = Annotated[float, Field(gt=0, le=1)]


class RotaryEncoding(PositionEncoding):
    """The interleaved pair (2c, 2c+1) of a head (GPT-J style) turns by i·θ_c, θ_c = base^(−2c/d).

    Past the trained extent L₀, with s = L/L₀ (Peng et al. 2024, https://arxiv.org/abs/2309.00071, names them
    all): `extend` turns on as it is; `pi` divides positions by s; `ntk` raises the base to base·s^(d/(d−2));
    `dynamic-ntk` to base·(s·L/L₀ − (s−1))^(d/(d−2)); `yarn` divides by s only the frequencies that turn less
    than once in the trained extent, none that turn more than 32 times, with a ramp over the pairs between,
    and scales cosine and sine by 0.1·ln s + 1.
    """

    axes = (1,)
    acts = "R"
    extrapolations = ("extend", "pi", "ntk", "dynamic-ntk", "yarn")
    cost = "O(N·D) time a layer; N·d cosines and sines, made once a forward pass"
    claims = ("shift",)
    source = "Su et al. 2021, https://arxiv.org/abs/2104.09864; frequencies: Barbero et al. 2025, https://arxiv.org/abs/2410.06205"

    def __init__(
        self,
        geometry: Geometry,
        base: Annotated[float, Field(gt=1)] = 10000.0,
        rotated: Share = 1.0,
        frequencies: Share = 1.0,
    ) -> None:
        """
        Args:
            base: of the geometric progression of frequencies.
            rotated: share of a head's channels that turn at all, the first ones (GPT-NeoX 0.25).
            frequencies: share of the frequencies that are kept, the lowest being dropped (p-RoPE 0.75).
        """
        super().__init__(geometry)
        self.base = base
        self.turning = round(geometry.head_dim * rotated)
        self.kept = round(self.turning // 2 * frequencies)
        if self.turning % 2 or self.turning < 4:
            raise ValueError(
                f"{self.turning} of {geometry.head_dim} channels a head do not make up two pairs or more"
            )
        if not self.kept:
            raise ValueError(f"of {self.turning // 2} frequencies a share of {frequencies} is none")

    def table(self, x: TableInputs) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (B|1, N, pairs) float32."""
        frequencies, factor = self._frequencies(x.extrapolation, x.positions.device)
        angles = x.positions.float() * frequencies
        return angles.cos() * factor, angles.sin() * factor

    def rotate(self, x: AttentionInputs) -> tuple[Tensor, Tensor]:
        """The first channels turned, the others as they are."""
        cosine, sine = (part[:, None] for part in x.q_table)
        return self._turn(x.q, cosine, sine), self._turn(x.k, cosine, sine)

    def _turn(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        turned = rotate_pairs(x[..., : self.turning], cosine, sine)
        return torch.cat((turned, x[..., self.turning :]), dim=-1) if self.turning < x.shape[-1] else turned

    def _frequencies(self, at: Extrapolation, device: torch.device) -> tuple[Tensor, float]:
        """The (pairs,) angles a position, and the factor on cosine and sine."""
        scale = max(1.0, at.extent[0] / self.geometry.extent[0])
        width, base, factor = self.turning, self.base, 1.0
        if at.name == "ntk":
            base *= scale ** (width / (width - 2))
        if at.name == "dynamic-ntk":
            base *= (scale * scale - (scale - 1)) ** (width / (width - 2))
        # In float64 first: a frequency is multiplied by positions of many thousands.
        pairs = torch.arange(0, width, 2, dtype=torch.float64, device=device)
        frequencies = base ** (-pairs / width)
        if at.name == "pi":
            frequencies = frequencies / scale
        if at.name == "yarn":
            stretched = self._yarn_ramp(len(pairs)).to(device)
            frequencies = frequencies * (1 - stretched) + frequencies / scale * stretched
            factor = 0.1 * math.log(scale) + 1
        frequencies[self.kept :] = 0
        return frequencies.float(), factor

    def _yarn_ramp(self, pairs: int) -> Tensor:
        """(pairs,): 0 for pairs that keep their frequency, 1 for those that are stretched in full."""

        def pair_that_turns(times: float) -> float:
            return (
                self.turning
                * math.log(self.geometry.extent[0] / (times * 2 * math.pi))
                / (2 * math.log(self.base))
            )

        first = max(math.floor(pair_that_turns(32)), 0)
        last = min(math.ceil(pair_that_turns(1)), self.turning - 1)
        ramp = (torch.arange(pairs, dtype=torch.float64) - first) / max(last - first, 1e-3)
        return ramp.clamp(0, 1)
