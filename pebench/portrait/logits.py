"""Effect of an encoding on a logit, by the distance of query and key.

All encodings are looked at alike. Query and key have the same content, channels drawn from N(0, 1) and
projected by the identity. The logit is what attention would compute from them; less what it would be without
an encoding, and averaged over draws of the content, it is what the encoding does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.position_encoding import (
    Bias,
    Block,
    Dense,
    Extrapolation,
    Factored,
    Geometry,
    PositionEncoding,
    grid,
    layer_inputs,
    tabulate,
)
from pebench.randomness import generator

DRAWS = 256
"""Contents that a logit is averaged over."""

BEYOND = 4
"""Times the trained extent that the positions go on for."""

FLAT = 0.05
"""Logits that a change spans at least if it is to be called one."""

TRAINED: dict[int, tuple[int, ...]] = {1: (64,), 2: (8, 8), 3: (4, 8, 8)}
"""Trained extents by number of axes."""


class Portrait(NamedTuple):
    """The change of the logits of one query.

    Attributes:
        change: (H, K) by key, in the order of distance or of the cells of the grid; −inf for keys that are
            hidden.
        extent: of the keys that are shown, without the frame on three axes.
        trained: the trained extent on the same axes.
        query: position of the query on the same axes.
        method: way past the trained extent.
        frames: on three axes, from the query's frame to that of the keys; None on fewer.
    """

    change: Tensor
    extent: tuple[int, ...]
    trained: tuple[int, ...]
    query: tuple[int, ...]
    method: str
    frames: int | None = None

    def is_flat(self) -> bool:
        """Whether no head tells distances apart by as much as a logit of 0.05."""
        return bool((self.change.amax(-1) - self.change.amin(-1)).max() < FLAT)


def portrait(
    name: str, options: Mapping[str, Any], axes: int, method: str | None = None, frames: int = 0
) -> Portrait:
    """Change of the logits of the last query over all keys before it, on a grid of one in the middle.

    Args:
        name: of the encoding.
        options: of it.
        axes: 1 to 3.
        method: way past the trained extent; by default the encoding's own.
        frames: on three axes, from the query's frame to that of the keys.
    """
    geometry = Geometry(128, 4, 1, TRAINED[axes], causal=axes == 1)
    return portrait_of(build_encoding(name, options, geometry).eval(), method, frames)


def portrait_of(
    encoding: PositionEncoding,
    method: str | None = None,
    frames: int = 0,
    layer: int = 0,
    draws: int | None = None,
) -> Portrait:
    """Portrait of an encoding with the weights and the trained extent that it has.

    Args:
        encoding: in evaluation mode, on the CPU.
        method: way past the trained extent; by default the encoding's own.
        frames: on three axes, from the query's frame to that of the keys.
        layer: of its model, from 0.
        draws: contents that a logit is averaged over, by default `DRAWS`.
    """
    trained = encoding.geometry.extent
    extent = tuple(BEYOND * size for size in trained)
    axes = len(trained)
    query = (extent[0] - 1,) if axes == 1 else tuple(size // 2 for size in extent)
    method = method or encoding.extrapolations[0]
    probe = _Probe(encoding, extent, query, method, layer, draws or DRAWS)
    if axes == 3:
        own, *place = query
        frame = grid(extent[1:])
        positions = torch.cat(
            [torch.nn.functional.pad(frame, (1, 0), value=time) for time in (own, own + frames)], dim=1
        )
        change = _change(probe, positions)[:, frame.shape[1] :]
        return Portrait(change, extent[1:], trained[1:], tuple(place), method, frames)
    change = _change(probe, grid(extent))
    return Portrait(change.flip(-1) if axes == 1 else change, extent, trained, query, method)


class _Probe(NamedTuple):
    """An encoding, and where it is looked at; see `Portrait` and `portrait_of`."""

    encoding: PositionEncoding
    extent: tuple[int, ...]
    query: tuple[int, ...]
    method: str
    layer: int
    draws: int


@torch.no_grad()
def _change(probe: _Probe, positions: Tensor) -> Tensor:
    encoding, extent, query, method, layer, draws = probe
    geometry, count = encoding.geometry, positions.shape[1]
    row = int((positions[0] == torch.tensor(query)).all(-1).nonzero()[0])
    table = tabulate(encoding, positions, Extrapolation(extent, method))
    added = encoding.embed(table)
    total = torch.zeros(geometry.heads, count)
    for draw in range(draws):
        content = torch.randn(1, 1, geometry.width, generator=generator(0, "portrait", draw))
        hidden = content.expand(1, count, -1)
        if added is not None:
            # Beside contents of deviation 1 a vector of deviation 0.02 would not be seen.
            hidden = hidden + added / added.std()
        heads = hidden.unflatten(-1, (geometry.heads, geometry.head_dim)).transpose(1, 2)
        plain = content.unflatten(-1, (geometry.heads, geometry.head_dim)).square().sum(-1)[0, 0, :, None]
        x = layer_inputs(encoding, heads, heads, hidden, table, layer)
        q, k = encoding.rotate(x)
        x = x._replace(q=q, k=k)
        temperature, bias = encoding.temperature(x), encoding.bias(x)
        products = (q[:, :, row : row + 1] * k).sum(-1)[0] * encoding.scale()
        if temperature is not None:
            products = products * temperature[0, :, row, None]
        total += products - plain * encoding.scale() + _row(bias, row, count)[0]
    visible = x.mask.visible(slice(row, row + 1), slice(0, count))[0, 0]
    return (total / draws).masked_fill(~visible, float("-inf"))


def _row(bias: Bias | None, row: int, count: int) -> Tensor:
    """(1, H|1, K) bias of one query."""
    match bias:
        case None:
            return torch.zeros(1, 1, count)
        case Dense():
            visible = torch.ones(1, 1, 1, count, dtype=torch.bool)
            return bias.values(Block(slice(row, row + 1), slice(0, count), visible))[:, :, 0].float()
        case Factored(key=key, query=None):
            values = key.sum(-1)
            return (values - values[..., row : row + 1]).float()
        case Factored(key=key, query=query):
            assert query is not None
            return (query[:, :, row : row + 1] * key).sum(-1).float()
