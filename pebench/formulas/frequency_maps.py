"""Frequencies of rotary encodings past the trained extent, with the parameter names of transformers.

Each map gives the angle of each channel pair a position, and a magnitude that multiplies cosine and sine. Its
factor s is a constant of the model where it is given, and L/L₀ where it is not, L being the extent that is
served and L₀ the trained one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

Factor = Annotated[float, Field(ge=1, le=1e6)]
Extent = Annotated[int, Field(ge=1, le=1 << 40)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]

OF_THE_ENCODING = {"rope_theta": "base", "partial_rotary_factor": "rotated"}
"""Names of transformers' `rope_parameters` that are options of the encoding here."""


class Rotation(NamedTuple):
    """Inputs of a map.

    Attributes:
        base: of the geometric progression of frequencies.
        width: w, channels that turn.
        trained: L₀.
        extent: L.
    """

    base: float
    width: int
    trained: int
    extent: int

    def frequencies(self, base: float | None = None) -> Tensor:
        """(w/2,) float64: base^(−2c/w) of pair c. In float64, for positions are many thousands."""
        pairs = torch.arange(0, self.width, 2, dtype=torch.float64)
        return (base or self.base) ** (-pairs / self.width)


class FrequencyMap(BaseModel):
    """Options of a map.

    Attributes:
        factor: s.
        original_max_position_embeddings: L₀ in place of the trained extent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str] = "default"
    """How transformers calls it."""

    factor: Factor | None = None
    original_max_position_embeddings: Extent | None = None

    @model_validator(mode="before")
    @classmethod
    def _pasted(cls, written: Any) -> Any:
        """The `rope_parameters` of a model, which also say what stands before them here."""
        if not isinstance(written, Mapping):
            return written
        for name in OF_THE_ENCODING.keys() & written.keys():
            raise ValueError(f"'{name}' is the option '{OF_THE_ENCODING[name]}' of the encoding")
        for name in ("rope_type", "type"):
            if written.get(name, cls.kind) != cls.kind:
                raise ValueError(f"'{name}' is '{cls.kind}' for this map, not {written[name]!r}")
        return {name: value for name, value in written.items() if name not in ("rope_type", "type")}

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """(w/2,) float64 frequencies, and the magnitude."""
        return rotation.frequencies(), 1.0

    def original(self, rotation: Rotation) -> int:
        """L₀."""
        return self.original_max_position_embeddings or rotation.trained

    def scale(self, rotation: Rotation) -> float:
        """s, at least 1."""
        return self.factor or max(1.0, rotation.extent / self.original(rotation))


class Linear(FrequencyMap):
    """Position interpolation (Chen et al. 2023, https://arxiv.org/abs/2306.15595): θ/s."""

    kind = "linear"

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """See the class."""
        return rotation.frequencies() / self.scale(rotation), 1.0


class Ntk(FrequencyMap):
    """NTK-aware scaling: base·s^(w/(w−2))."""

    kind = "ntk"

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """See the class."""
        power = rotation.width / (rotation.width - 2)
        return rotation.frequencies(rotation.base * self.scale(rotation) ** power), 1.0


class Dynamic(FrequencyMap):
    """Dynamic NTK as transformers has it: base·(s·L/L₀ − (s − 1))^(w/(w−2)) for L > L₀, else plain RoPE.

    L is the extent that is served. In transformers it is the number of tokens so far, so that cached keys
    keep the base of the text when it was shorter. With a factor of 1 this is `Ntk`.

    Attributes:
        factor: s, a constant.
    """

    kind = "dynamic"

    factor: Factor

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """See the class."""
        scale, original = self.scale(rotation), self.original(rotation)
        stretch = scale * max(rotation.extent, original) / original - (scale - 1)
        return rotation.frequencies(rotation.base * stretch ** (rotation.width / (rotation.width - 2))), 1.0


class Yarn(FrequencyMap):
    """YaRN (Peng et al. 2024, https://arxiv.org/abs/2309.00071): θ·(1 − r) + θ/s·r, and a magnitude.

    r rises from 0 to 1 between the pairs that turn beta_fast and beta_slow times in L₀, linearly in the index
    of the pair, as in the published code, or in the number of turns, as in the paper.

    Attributes:
        ramp: in what r is linear.
        beta_fast: turns from which a pair keeps its frequency.
        beta_slow: turns up to which a pair is stretched in full.
        truncate: whether the ends of the ramp in pairs are whole ones.
        attention_factor: the magnitude; by default 0.1·ln s + 1.
        mscale: with mscale_all_dim, magnitude (0.1·mscale·ln s + 1)/(0.1·mscale_all_dim·ln s + 1).
        mscale_all_dim: see mscale; one of them alone, and 0, says nothing.
    """

    kind = "yarn"

    ramp: Literal["pairs", "turns"] = "pairs"
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    truncate: bool = True
    attention_factor: Positive | None = None
    mscale: NotNegative | None = None
    mscale_all_dim: NotNegative | None = None

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """See the class."""
        scale, frequencies = self.scale(rotation), rotation.frequencies()
        stretched = self._by_turns(rotation) if self.ramp == "turns" else self._by_pairs(rotation)
        return frequencies * (1 - stretched) + frequencies / scale * stretched, self._magnitude(scale)

    def _by_turns(self, rotation: Rotation) -> Tensor:
        turns = self.original(rotation) * rotation.frequencies() / (2 * math.pi)
        return ((self.beta_fast - turns) / ((self.beta_fast - self.beta_slow) or 1e-3)).clamp(0, 1)

    def _by_pairs(self, rotation: Rotation) -> Tensor:
        width = rotation.width

        def pair_that_turns(times: float) -> float:
            turns = self.original(rotation) / (times * 2 * math.pi)
            return width * math.log(turns) / (2 * math.log(rotation.base))

        low, high = pair_that_turns(self.beta_fast), pair_that_turns(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        pairs = torch.arange(width // 2, dtype=torch.float64)
        return ((pairs - low) / ((high - low) or 1e-3)).clamp(0, 1)

    def _magnitude(self, scale: float) -> float:
        def of(multiple: float) -> float:
            return 0.1 * multiple * math.log(scale) + 1

        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return of(self.mscale) / of(self.mscale_all_dim)
        return of(1.0)


class Llama3(FrequencyMap):
    """Llama 3.1: θ·u + θ/s·(1 − u), u rising from 0 to 1 between two numbers of turns in L₀.

    Attributes:
        low_freq_factor: turns up to which a pair is stretched in full.
        high_freq_factor: turns from which a pair keeps its frequency.
    """

    kind = "llama3"

    low_freq_factor: Positive = 1.0
    high_freq_factor: Positive = 4.0

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """See the class."""
        frequencies = rotation.frequencies()
        turns = self.original(rotation) * frequencies / (2 * math.pi)
        low, high = self.low_freq_factor, self.high_freq_factor
        kept = ((turns - low) / ((high - low) or 1e-3)).clamp(0, 1)
        return frequencies * kept + frequencies / self.scale(rotation) * (1 - kept), 1.0


class LongRope(FrequencyMap):
    """LongRoPE (Ding et al. 2024, https://arxiv.org/abs/2402.13753): θ/f with f from a search.

    There is a list for each side of L₀; the magnitude of both is √(1 + ln s/ln L₀).

    Attributes:
        short_factor: f of each pair up to L₀; by default 1.
        long_factor: f of each pair beyond; by default 1.
        attention_factor: the magnitude in place of that.
    """

    kind = "longrope"

    short_factor: tuple[Positive, ...] | None = None
    long_factor: tuple[Positive, ...] | None = None
    attention_factor: Positive | None = None

    def apply(self, rotation: Rotation) -> tuple[Tensor, float]:
        """
        Raises:
            ValueError: there is not one factor for each pair.
        """
        original = self.original(rotation)
        listed = self.long_factor if rotation.extent > original else self.short_factor
        frequencies = rotation.frequencies()
        for each in (self.short_factor, self.long_factor):
            if each is not None and len(each) != len(frequencies):
                raise ValueError(f"longrope needs {len(frequencies)} factors a list, not {len(each)}")
        scale = self.scale(rotation)
        magnitude = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        divisor = frequencies.new_tensor(listed) if listed is not None else torch.ones_like(frequencies)
        return frequencies / divisor, self.attention_factor or magnitude
