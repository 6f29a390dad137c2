"""Training of Llama's blocks by pebench beside a plain loop of the same blocks: tokens a second.

Both have RMSNorm, SwiGLU, RoPE on all of a head, no biases and equally many weights.

- `llama` is the block alone.
- `modern` has a quarter of the heads for keys and values, QK-norm and an output of its own.

The plain loop is what one would write by hand: PyTorch's fused attention with keys shared inside it, all
logits at once, halves of a head that turn as in Llama's own code. Both compute in bfloat16 under autocast on
CUDA and in float32 elsewhere, with the fused optimiser; eager, and compiled with --compile.

`first update, s` is what compiling takes. All layers of the other side are one graph, so that it grows with
their number; so are those of pebench up to a width of 511, and wider ones are compiled by blocks.

On a machine with a GPU: pebench bench host-training --device cuda --compile
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
import torch.nn.functional as F
from measuring.alternation import Row, Work, alternate, clock, device, wait
from measuring.plain_loop import Conditions, Loop, plain_updates
from measuring.reporting import Arguments, report
from measuring.training import add_model_arguments, random_text, steps
from torch import Tensor, nn

from pebench.models.host import DecoderOptions
from pebench.specification.run_spec import Training

BASELINE = "plain loop"
STEPS = 4
"""Updates in one measurement."""

HOSTS = ("llama", "modern")


def options(host: str, size: str) -> DecoderOptions:
    """A host by name."""
    plain = DecoderOptions.model_validate({"size": size, "block": "llama"})
    if host == "llama":
        return plain
    shared = max(1, plain.geometry(1).heads // 4)
    return plain.model_copy(update={"key_value_heads": shared, "qk_norm": True, "tied": False})


class PlainBlock(nn.Module):
    """A block of Llama (Touvron et al. 2023)."""

    def __init__(self, chosen: DecoderOptions) -> None:
        super().__init__()
        geometry = chosen.geometry(1)
        width, self.heads, self.head_dim = geometry.width, geometry.heads, geometry.head_dim
        layout = chosen.layout(geometry)
        self.shared, inner = layout.key_value_heads, layout.inner
        self.first, self.second = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.q = nn.Linear(width, self.heads * self.head_dim, bias=False)
        self.k = nn.Linear(width, self.shared * self.head_dim, bias=False)
        self.v = nn.Linear(width, self.shared * self.head_dim, bias=False)
        self.output = nn.Linear(self.heads * self.head_dim, width, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(self.head_dim, eps=1e-5) for _ in range(2 * layout.qk_norm))
        self.gate = nn.Linear(width, inner, bias=False)
        self.expand = nn.Linear(width, inner, bias=False)
        self.contract = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x = self.first(hidden)
        q, k, v = (
            projection(x).view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)
            for projection in (self.q, self.k, self.v)
        )
        if self.norms:
            q, k = self.norms[0](q), self.norms[1](k)
        q, k = _turned(q, cosine, sine).to(v.dtype), _turned(k, cosine, sine).to(v.dtype)
        grouped = self.shared != self.heads
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        hidden = hidden + self.output(attended.transpose(1, 2).flatten(2))
        x = self.second(hidden)
        out: Tensor = hidden + self.contract(F.silu(self.gate(x)) * self.expand(x))
        return out


class PlainModel(nn.Module):
    """Llama's blocks between an embedding and an output."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, chosen: DecoderOptions, extent: int, vocabulary: int) -> None:
        super().__init__()
        geometry = chosen.geometry(extent)
        self.tokens = nn.Embedding(vocabulary, geometry.width)
        self.blocks = nn.ModuleList(PlainBlock(chosen) for _ in range(geometry.layers))
        self.norm = nn.RMSNorm(geometry.width, eps=1e-5)
        self.head = nn.Linear(geometry.width, vocabulary, bias=False)
        if chosen.tied:
            self.head.weight = self.tokens.weight
        half = torch.arange(0, geometry.head_dim, 2) / geometry.head_dim
        angles = torch.outer(torch.arange(extent).float(), 10000.0**-half).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) tokens to (B, N, vocabulary) logits."""
        hidden, count = self.tokens(tokens), tokens.shape[1]
        for block in self.blocks:
            hidden = block(hidden, self.cosine[:count], self.sine[:count])
        logits: Tensor = self.head(self.norm(hidden))
        return logits


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    one, other = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-other, one), dim=-1) * sine


def measure(host: str, chosen: argparse.Namespace) -> Iterator[Row]:
    """The plain loop, and pebench as a ratio to it."""
    how = Conditions(half=device().type == "cuda", compiled=chosen.compile, fused=True, flush=True)
    model = options(host, chosen.size)
    torch.manual_seed(0)
    plain = PlainModel(model, chosen.extent, chosen.vocabulary)
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    task.model = model
    training = Training(steps=10**6, batch=chosen.batch, precision="bfloat16" if how.half else "float32")
    loops: dict[str, Loop] = {
        BASELINE: plain_updates(plain, chosen, how),
        "pebench": steps("rope", task, training, how.compiled),
    }
    first = {}
    for name, loop in loops.items():
        # Which compiles: the longest part of the benchmark, in which nothing else is said.
        first[name] = _wall_clock(partial(_advance, loop, 1))
        sys.stderr.write(f"{name}: the first update took {first[name]:.0f} s (host {host})\n")
        _advance(loop, 2)
    setting = {"host": host, "model": chosen.size, "extent": chosen.extent, "batch": chosen.batch}
    setting |= {"vocabulary": chosen.vocabulary, "compiled": chosen.compile}
    works = {name: partial(_advance, loop, STEPS) for name, loop in loops.items()}
    for row in alternate(works, BASELINE, setting, chosen.rounds, units=dict.fromkeys(works, STEPS)):
        rate = chosen.batch * chosen.extent / row.seconds
        yield replace(row, more={"tokens/s": rate, "first update, s": first[row.name]})
    loops, works = {}, {}
    gc.collect()


def _wall_clock(work: Work) -> float:
    """Seconds that a piece of work takes, whichever processes do it."""
    begin = time.perf_counter()
    work()
    wait(device())
    return time.perf_counter() - begin


def _advance(loop: Loop, count: int) -> None:
    torch.set_flush_denormal(True)
    for _ in range(count):
        next(loop)


def main() -> None:
    """Prints the table."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    add_model_arguments(parser)
    compiled = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compiled, default=here, help="both sides; by default on CUDA")
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS), help="which are measured")
    parser.add_argument("--device", choices=["auto", "cuda"], default="auto", help="cuda measures no CPU")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not here:
        parser.error("there is no CUDA device here")
    rows = chain.from_iterable(measure(host, chosen) for host in chosen.hosts)
    report("Training of Llama's blocks", BASELINE, rows, chosen.output, clock=clock())


if __name__ == "__main__":
    main()
