"""RoPE: channel pairs of queries and keys turn by an angle in proportion to the position."""

from typing import Annotated

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from pebench.formulas.frequency_maps import (
    Dynamic,
    FrequencyMap,
    Linear,
    Llama3,
    LongRope,
    Ntk,
    Rotation,
    Yarn,
)
from pebench.formulas.rotation import rotate_pairs
from pebench.machine.to_device import send
from pebench.position_encoding import AttentionInputs, Extrapolation, Geometry, PositionEncoding, TableInputs

MAPS: dict[str, type[FrequencyMap]] = {
    "pi": Linear,
    "ntk": Ntk,
    "yarn": Yarn,
    "dynamic": Dynamic,
    "llama3": Llama3,
    "longrope": LongRope,
}
"""Frequency maps by the name of the extrapolation."""

Share = Annotated[float, Field(gt=0, le=1)]


class RotaryEncoding(PositionEncoding):
    """The interleaved pair (2c, 2c+1) of a head (GPT-J style) turns by i·θ_c, θ_c = base^(−2c/d).

    Past the trained extent L₀, with s = L/L₀: `extend` turns on as it is; `pi` divides positions by s; `ntk`
    raises the base to base·s^(d/(d−2)); `yarn` divides by s only the frequencies that turn less than once in
    the trained extent, none that turn more than 32 times, with a ramp between, and scales cosine and sine by
    0.1·ln s + 1. `dynamic`, `llama3` and `longrope` are those of transformers. With options each has the
    fixed factor of a deployed model, under the names of transformers: ``{yarn: {factor: 4}}``; `dynamic`
    needs one, and ``{dynamic: {factor: 1}}`` is `ntk`, which the paper of YaRN calls dynamic.
    """

    axes = (1,)
    acts = "R"
    shared_keys = True
    extrapolations = ("extend", "pi", "ntk", "yarn", "dynamic", "llama3", "longrope")
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

    @classmethod
    def extrapolation_options(cls, method: str) -> type[BaseModel] | None:
        """Those of the frequency map; none for `extend`."""
        return MAPS.get(method)

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
        rotation = Rotation(self.base, self.turning, self.geometry.extent[0], at.extent[0])
        plain = Dynamic(factor=1.0) if at.name == "dynamic" else MAPS.get(at.name, FrequencyMap)()
        chosen = at.options or plain
        assert isinstance(chosen, FrequencyMap)
        frequencies, factor = chosen.apply(rotation)
        frequencies[self.kept :] = 0
        return send(frequencies.float(), device), factor
