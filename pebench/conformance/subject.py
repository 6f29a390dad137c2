"""An encoding under examination, and the small model around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pebench.encoding_config import build_encoding, encoding_class
from pebench.models.decoder import Decoder
from pebench.models.host import Host
from pebench.position_encoding import Extrapolation, Geometry, PositionEncoding, grid, tabulate
from pebench.randomness import generator

VOCABULARY = 31
TOLERANCE = 2e-5
"""Of outputs of the order of one, in float32."""

EXTENTS: dict[int, tuple[int, ...]] = {1: (24,), 2: (4, 6), 3: (2, 3, 4)}
"""Trained extents by number of axes."""


@dataclass(frozen=True)
class Subject:
    """An encoding under examination.

    Attributes:
        name: as the registry knows it. axes: number of position axes. causal: kind of attention.
        options: of the encoding. extent: trained; empty for that of `EXTENTS`. device: it is examined on.
        host: the kind of model around it. head_dim: channels of a head there, 0 for a share of the width.
    """

    name: str
    axes: int
    causal: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    extent: tuple[int, ...] = ()
    device: str = "cpu"
    host: Host = field(default_factory=Host)
    head_dim: int = 0

    def __str__(self) -> str:
        """The setting: axes and kind of attention."""
        return f"{self.axes}-D, {'causal' if self.causal else 'bidirectional'}"

    @property
    def declared(self) -> type[PositionEncoding]:
        """The class of the encoding, with what it says of itself."""
        return encoding_class(self.name, self.options)

    @property
    def geometry(self) -> Geometry:
        """A model of three layers and four heads."""
        extent = self.extent or EXTENTS[self.axes]
        return Geometry(64, 4, 3, extent, self.causal, head_dim=self.head_dim)

    def encoding(self, layers: int = 3, seed: int = 0) -> PositionEncoding:
        """The encoding, every parameter moved off its initial value: what starts at zero hides mistakes."""
        geometry = replace(self.geometry, layers=max(layers, self.declared.fewest_layers))
        encoding = build_encoding(self.name, self.options, geometry, seed)
        with torch.no_grad():
            for name, parameter in encoding.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator(seed, "noise", name))
                parameter.add_(noise * 0.2)
        return encoding.to(self.device)

    def model(self, layers: int = 3) -> Decoder:
        """A model in evaluation mode whose attention is far from uniform."""
        encoding = self.encoding(layers)
        model = Decoder(encoding.geometry, VOCABULARY, encoding, self.host, seed=0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim >= 2 and not name.startswith("encoding."):
                    parameter.mul_(8.0)
        return model.eval().to(self.device)

    def grid(self, times: int = 1) -> Tensor:
        """(1, N, A) every position of so many times the trained extent."""
        return grid(self.reach(times).extent).to(self.device)

    def tokens(self, count: int, rows: int = 2) -> Tensor:
        """(rows, count) tokens."""
        drawn = torch.randint(VOCABULARY, (rows, count), generator=generator(0, "tokens", count))
        return drawn.to(self.device)

    def scattered(self, count: int) -> tuple[Tensor, Extrapolation]:
        """(1, N, A) increasing positions with gaps and an offset, and an extent that holds them."""
        steps = torch.randint(1, 4, (1, count, self.axes), generator=generator(0, "gaps", count))
        positions = 3 + steps.cumsum(1)
        extent = tuple(int(size) + 1 for size in positions.amax((0, 1)))
        return positions.to(self.device), Extrapolation(extent, self.declared.extrapolations[0])

    def reach(self, times: int = 1) -> Extrapolation:
        """So many times the trained extent, by the encoding's own preference."""
        extent = tuple(size * times for size in EXTENTS[self.axes])
        return Extrapolation(extent, self.declared.extrapolations[0])


def subjects(name: str, options: Mapping[str, Any] | None = None, device: str = "cpu") -> Iterator[Subject]:
    """An encoding in every setting it says it can serve."""
    declared = encoding_class(name, options or {})
    for axes in declared.axes:
        for causal in (True, False) if axes == 1 else (False,):
            if causal or not declared.causal_only:
                yield Subject(name, axes, causal, options or {}, device=device)


def run_forward(model: Decoder, tokens: Tensor, positions: Tensor, reach: Extrapolation) -> Tensor:
    """(B, N, D) hidden states."""
    hidden: Tensor = model(tokens, tabulate(model.encoding, positions, reach))
    return hidden


def assert_close(found: Tensor, wanted: Tensor, message: str) -> None:
    """Raises an AssertionError with the message and the largest difference, unless the tensors agree."""
    scale = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    difference = float((found.double() - wanted.double()).abs().max()) if wanted.numel() else 0.0
    assert difference <= TOLERANCE * scale, f"{message} (by {difference:.1e})"
