"""Attention by path, length and dtype, forward alone and with the backward pass.

The baseline is PyTorch's fused attention without a bias. Beside it stand:

- `factored`: the same with ALiBi as further channels.
- `whole matrix`: a bias as one matrix of queries × keys.
- `blocked`: a bias in blocks of queries.
- `flex`: a bias compiled into flex attention.
- `shared`: a bias by kernels of our own, where all texts share it.

Each bias by position is measured on all ways that serve it. The making of the bias is part of what is timed,
and the gradients reach its parameters.

What `FLEX_FROM` in `pebench/attention/kernels.py` should say is the length from which flex is above blocked.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from unittest import mock

import torch
import torch.nn.functional as F
from measuring.alternation import Row, Work, alternate, clock, device
from measuring.reporting import Arguments, in_one_line, positive, report
from torch import Tensor

from pebench.attention import kernels
from pebench.attention.flex import attend_by_score
from pebench.attention.kernels import attend
from pebench.attention_mask import AttentionMask
from pebench.encoding_config import build_encoding
from pebench.plugins.registry import encodings
from pebench.position_encoding import (
    Bias,
    Block,
    Dense,
    Extrapolation,
    Geometry,
    grid,
    layer_inputs,
    tabulate,
)

BASELINE = "fused, no bias"

WHOLE_BELOW = 1 << 33
"""Bytes in float32 up to which the whole matrix is tried."""

Leaves = tuple[Tensor, Tensor, Tensor]
Path = Callable[[Leaves], Tensor]


class Setting:
    """One length, dtype and kind of attention."""

    def __init__(self, length: int, dtype: torch.dtype, causal: bool, heads: int, batch: int) -> None:
        self.length, self.dtype, self.causal, self.heads = length, dtype, causal, heads
        shape = (batch, heads, length, 64)
        q, k, v, self.weights = (torch.randn(shape, device=device(), dtype=dtype) for _ in range(4))
        self.leaves = (q, k, v)

    def bias(self, name: str) -> Callable[[Leaves], Bias]:
        """Makes the bias of an encoding: in one dimension if attention is causal, else in two."""
        extent = (self.length,) if self.causal else _rectangle(self.length)
        geometry = Geometry(64 * self.heads, self.heads, 1, extent, self.causal)
        encoding = build_encoding(name, {}, geometry).to(device())
        hidden = torch.empty(1, self.length, 0, device=device())

        def made(leaves: Leaves) -> Bias:
            q, k, _ = leaves
            reach = Extrapolation(extent, encoding.extrapolations[0])
            table = tabulate(encoding, grid(extent), reach, device())
            bias = encoding.bias(layer_inputs(encoding, q, k, hidden, table, 0))
            assert bias is not None
            return bias

        return made

    def paths(self, names: list[str]) -> dict[str, Path]:
        """Every way to compute attention here, by name."""
        found: dict[str, Path] = {BASELINE: self.attended}
        if self.causal:
            alibi = self.bias("alibi")
            found["factored, alibi"] = lambda x: self.attended(x, alibi(x))
        for name in names:
            bias = self.bias(name)
            if math.prod(self.weights.shape[:2]) * self.length**2 * 4 <= WHOLE_BELOW:
                found[f"whole matrix, {name}"] = partial(self.whole, bias)
            found[f"blocked, {name}"] = partial(self.blocked, bias)
            if device().type == "cuda":
                kinds = encodings.load(name).kernels
                if "flex" in kinds:
                    found[f"flex, {name}"] = partial(self.flex, bias)
                if "shared" in kinds:
                    found[f"shared, {name}"] = partial(self.shared, bias)
        return found

    def mask(self) -> AttentionMask:
        """Of as many queries as keys, without padding."""
        return AttentionMask(self.length, self.length, self.causal, device())

    def attended(self, leaves: Leaves, bias: Bias | None = None) -> Tensor:
        """The output of a model."""
        return attend(*leaves, bias, mask=self.mask(), scale=leaves[0].shape[-1] ** -0.5).values

    def whole(self, bias: Callable[[Leaves], Bias], leaves: Leaves) -> Tensor:
        """PyTorch's attention with the bias as a mask."""
        made = bias(leaves)
        assert isinstance(made, Dense)
        every = slice(0, self.length)
        visible = torch.ones(1, 1, self.length, self.length, dtype=torch.bool, device=device())
        visible = visible.tril() if self.causal else visible
        mask = made.values(Block(every, every, visible)).masked_fill(~visible, float("-inf"))
        return F.scaled_dot_product_attention(*leaves, attn_mask=mask.to(self.dtype))

    def blocked(self, bias: Callable[[Leaves], Bias], leaves: Leaves) -> Tensor:
        """Blocks of queries, whatever `choose_kernel` would say."""
        made = bias(leaves)
        assert isinstance(made, Dense)
        return self.attended(leaves, Dense(made.values))

    def flex(self, bias: Callable[[Leaves], Bias], leaves: Leaves) -> Tensor:
        """Flex attention, whatever `choose_kernel` would say."""
        made = bias(leaves)
        assert isinstance(made, Dense)
        assert made.score is not None
        return attend_by_score(*leaves, made.score, mask=self.mask(), scale=leaves[0].shape[-1] ** -0.5)

    def shared(self, bias: Callable[[Leaves], Bias], leaves: Leaves) -> Tensor:
        """The kernels for a bias that all texts share, whatever `choose_kernel` would say."""
        with kernels_from(1):
            return self.attended(leaves, bias(leaves))

    def forward(self, path: Path) -> Work:
        """Without gradients."""

        @torch.no_grad()
        def work() -> Tensor:
            return path(self.leaves)

        return work

    def backward(self, path: Path) -> Work:
        """With the gradients of queries, keys, values and the bias's parameters."""

        def work() -> None:
            q, k, v = (leaf.detach().requires_grad_() for leaf in self.leaves)
            (path((q, k, v)) * self.weights).sum().backward()

        return work


def kernels_from(tokens: int | None) -> AbstractContextManager[object]:
    """Within it the kernels for a bias that all texts share are taken from so many tokens on, or never."""
    kinds = product((torch.bfloat16, torch.float32), (True, False))
    least = {} if tokens is None else dict.fromkeys(kinds, tokens)
    return mock.patch.dict(kernels.SHARED_FROM, least, clear=True)


def _rectangle(length: int) -> tuple[int, int]:
    """The grid of so many cells that is nearest to a square."""
    rows = next(size for size in range(math.isqrt(length), 0, -1) if length % size == 0)
    return rows, length // rows


def possible(works: dict[str, Work]) -> dict[str, Work]:
    """Those that the device can do; of the others it is said why not."""
    found = {}
    for name, work in works.items():
        try:
            work()
        except Exception as error:  # one that fails must not cost the others' rows
            sys.stderr.write(f"{name} left out: {in_one_line(error)}\n")
            continue
        found[name] = work
    return found


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    here = device().type == "cuda"
    parser.add_argument(
        "--lengths", type=positive, nargs="+", default=[512, 2048, 8192] if here else [256, 1024]
    )
    parser.add_argument("--encodings", nargs="+", default=["t5", "kerple", "lookhere"])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"] if here else ["float32"])
    parser.add_argument("--heads", type=positive, default=12 if here else 4)
    parser.add_argument(
        "--tokens", type=positive, default=16384 if here else 1024, help="in a batch, at least one text"
    )
    chosen = parser.parse_args()
    report("Attention by path", BASELINE, measure(chosen), chosen.output, clock=clock())
    print(f"FLEX_FROM now: {kernels.FLEX_FROM}")  # noqa: T201


def measure(chosen: argparse.Namespace) -> Iterator[Row]:
    """The rows, setting after setting."""
    for length, dtype, causal in product(chosen.lengths, chosen.dtypes, (True, False)):
        names = [name for name in chosen.encodings if (1 if causal else 2) in encodings.load(name).axes]
        if not names:
            continue
        batch = max(1, chosen.tokens // length)
        setting = Setting(length, getattr(torch, dtype), causal, chosen.heads, batch)
        for direction in ("forward", "backward"):
            make = setting.forward if direction == "forward" else setting.backward
            works = possible({name: make(path) for name, path in setting.paths(names).items()})
            attention = "causal" if causal else "grid"
            at = {"tokens": length, "dtype": dtype, "attention": attention, "pass": direction}
            yield from alternate(works, BASELINE, at, chosen.rounds)


if __name__ == "__main__":
    main()
