"""Where a training batch stands: from zero on, or somewhere in a larger range."""

from __future__ import annotations

import torch
from torch import Tensor

from pebench.position_encoding import PositionEncoding, StepRNG, grid
from pebench.specification.run_spec import Training


def training_positions(
    training: Training, encoding: PositionEncoding, extent: tuple[int, ...], examples: int, draw: StepRNG
) -> Tensor:
    """(1|G, N, A) positions of the batch of a step, each axis on its own; example i stands where group i
    modulo G does.

    Args:
        training: names the scheme. encoding: was built for the range that the scheme draws from.
        extent: positions an axis of a batch. examples: of the batch, all ranks together.
        draw: the step as a source of randomness.
    """
    ranges = encoding.geometry.extent
    generator = draw.generator("positions", draw.step)
    match training.positions:
        case "own":
            return encoding.training_positions(extent, examples, draw)
        case "shifted":
            starts = [
                int(torch.randint(size - length + 1, (), generator=generator))
                for size, length in zip(ranges, extent, strict=True)
            ]
            return grid(extent) + torch.tensor(starts)
        case "randomized":
            axes = [
                torch.randperm(size, generator=generator)[:length].sort().values
                for size, length in zip(ranges, extent, strict=True)
            ]
            cells = grid(extent).unbind(-1)
            return torch.stack([axis[cell] for axis, cell in zip(axes, cells, strict=True)], dim=-1)
