"""Cost of an encoding beside none: time, memory and parameters, at two extents."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import Host
from pebench.position_encoding import Extrapolation, Geometry, StepRNG, grid, tabulate
from pebench.randomness import generator

Work = Callable[[], object]

EXTENTS = {1: ((128,), (512,)), 2: ((12, 12), (24, 24)), 3: ((5, 5, 5), (8, 8, 8))}
"""By number of axes."""

TOKENS = 1024
"""In a batch, about: fewer examples at the larger extent."""

_ROUNDS = 7
"""Measurements of each time."""


class Cost(NamedTuple):
    """One quantity at one extent.

    Attributes:
        extent: of the model. quantity: what was measured, with its unit.
        without: of a model without an encoding. own: of one with it.
        ratio: own to without: of times the median over rounds in alternation.
    """

    extent: tuple[int, ...]
    quantity: str
    without: float
    own: float
    ratio: float


def costs(name: str, options: Mapping[str, Any], axes: int, device: str) -> Iterator[Cost]:
    """Measures a model of width 128, 4 layers and 4 heads.

    Args:
        name: of the encoding. options: of it. axes: on so many.
        device: ``cpu`` or ``cuda``.
    """
    for extent in EXTENTS[axes]:
        geometry = Geometry(128, 4, 4, extent, causal=axes == 1)
        none, one = (_works(*one, geometry, device) for one in (("none", {}), (name, options)))
        yield Cost(extent, "parameters", none.parameters, one.parameters, one.parameters / none.parameters)
        pairs = {"forward pass": (none.forward, one.forward), "training step": (none.step, one.step)}
        for quantity, works in pairs.items():
            times = [tuple(_seconds(work, device) for work in works) for _ in range(_ROUNDS + 1)][1:]
            without, own = (median(column) * 1e3 for column in zip(*times, strict=True))
            yield Cost(extent, f"{quantity}, ms", without, own, median(b / a for a, b in times))
        for quantity, works in pairs.items():
            without, own = (_peak_bytes(work, device) / 2**20 for work in works)
            yield Cost(extent, f"{quantity}, MiB", without, own, own / without)


class _Works(NamedTuple):
    """A forward pass without gradients, a training step, and the number of parameters."""

    forward: Work
    step: Work
    parameters: int


def _works(name: str, options: Mapping[str, Any], geometry: Geometry, device: str) -> _Works:
    encoding = build_encoding(name, options, geometry)
    model: nn.Module = Decoder(geometry, 256, encoding, Host(), seed=0).to(device)
    positions = grid(geometry.extent)
    rows = max(1, TOKENS // positions.shape[1])
    tokens = torch.randint(256, (rows, positions.shape[1]), generator=generator(0, "cost")).to(device)
    there, reach = positions.to(device), Extrapolation(geometry.extent, encoding.extrapolations[0])

    def losses() -> torch.Tensor:
        table = tabulate(encoding, there, reach)
        loss: torch.Tensor = model.losses(model(tokens, table), tokens).mean()  # type: ignore[operator]
        if torch.is_grad_enabled():
            for value in encoding.auxiliary_losses(positions, table, StepRNG(0, 0)).values():
                loss = loss + value
        return loss

    def step() -> None:
        model.train()
        losses().backward()
        model.zero_grad()

    @torch.no_grad()
    def forward() -> None:
        model.eval()
        losses()

    return _Works(forward, step, sum(parameter.numel() for parameter in model.parameters()))


def _seconds(work: Work, device: str) -> float:
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _peak_bytes(work: Work, device: str) -> int:
    """The most memory that tensors took at once, beside what was there before."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # The profiler writes lines of its own to stderr unless it is told otherwise before its first use.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
