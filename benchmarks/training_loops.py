"""Training of equal language models by pebench, by a plain loop, and by x-transformers: tokens a second.

The plain loop is what one would write by hand in the manner of nanoGPT: learned positions, PyTorch's fused
attention, all logits at once. All sides are measured in one process, and so with one allocator.

- `equal`: every side computes in the same precision, compiled or not, with the fused optimiser, and takes
  denormal numbers for zero.
- `defaults`: each does what it does when nothing is asked for.
  - pebench: float32 and eager, and denormal numbers are zero.
  - The plain loop: bfloat16 and compiled on CUDA, float32 and eager elsewhere.
  - x-transformers: float32, eager, without its flash option, with AdamW as PyTorch has it.

Of a head x-transformers' RoPE rotates half by default, and pebench's all: here both rotate all of it. The
results of commit 802ab1bb00 are from before and have half.

x-transformers is measured where it is installed: pip install 'pebench[bench]'.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from measuring.alternation import Row, alternate, clock, device, timed
from measuring.plain_loop import Conditions, Loop, plain_updates
from measuring.preparation import prepare
from measuring.reporting import Arguments, in_one_line, positive, report
from measuring.training import (
    add_model_arguments,
    flops_of_a_token,
    random_text,
    steps,
    utilisation,
)
from torch import Tensor, nn

from pebench.models.host import SIZES
from pebench.specification.run_spec import Training

BASELINE = "plain loop, learned"
STEPS = 4
"""Updates in one measurement."""

ENCODINGS = ("none", "learned", "rope", "alibi")
OPTION = {"rope": "rotary_pos_emb", "alibi": "alibi_pos_bias"}
"""How x-transformers' decoder calls them; learned positions are a choice of the model around it."""


class PlainBlock(nn.Module):
    """A block of GPT-2 (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.input, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        shape = (*hidden.shape[:2], 3, self.heads, -1)
        q, k, v = self.input(self.first(hidden)).view(shape).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = hidden + self.output(attended.transpose(1, 2).flatten(2))
        inner = F.gelu(self.expand(self.second(hidden)), approximate="tanh")
        out: Tensor = hidden + self.contract(inner)
        return out


class PlainModel(nn.Module):
    """GPT-2 with learned positions and tied embeddings."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__()
        width, layers, heads = SIZES[chosen.size]
        self.tokens, self.positions = (
            nn.Embedding(chosen.vocabulary, width),
            nn.Embedding(chosen.extent, width),
        )
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = (
                    0.02 / math.sqrt(2 * layers)
                    if name.endswith(("output.weight", "contract.weight"))
                    else 0.02
                )
                nn.init.normal_(parameter, std=scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N) tokens to (B, N, vocabulary) logits."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.norm(self.blocks(self.tokens(tokens) + self.positions(places)))
        return F.linear(hidden, self.tokens.weight)


def other_model(encoding: str, chosen: argparse.Namespace, fused: bool) -> nn.Module:
    """x-transformers' decoder in GPT-2's proportions."""
    from x_transformers import Decoder, TransformerWrapper

    width, layers, heads = SIZES[chosen.size]
    options: dict[str, Any] = {OPTION[encoding]: True} if encoding in OPTION else {}
    if encoding == "rope":
        options["rotary_emb_dim"] = width // heads
    decoder = Decoder(
        dim=width, depth=layers, heads=heads, attn_dim_head=width // heads, attn_flash=fused, **options
    )
    model: nn.Module = TransformerWrapper(
        num_tokens=chosen.vocabulary,
        max_seq_len=chosen.extent,
        attn_layers=decoder,
        tie_embedding=True,
        use_abs_pos_emb=encoding == "learned",
    )
    return model


def rivals(chosen: argparse.Namespace, sides: dict[str, Conditions]) -> dict[str, Callable[[], Loop]]:
    """How to begin a training of each side, by name.

    Args:
        chosen: sizes. sides: how pebench, the plain loop and x-transformers compute.
    """
    plain, ours, theirs = sides["plain loop"], sides["pebench"], sides["x-transformers"]
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    training = Training(steps=10**6, batch=chosen.batch, precision="bfloat16" if ours.half else "float32")
    begin: dict[str, Callable[[], Loop]] = {
        BASELINE: lambda: plain_updates(PlainModel(chosen), chosen, plain),
    }
    for name in ENCODINGS:
        begin[f"pebench, {name}"] = partial(steps, name, task, training, ours.compiled)
    for name in ENCODINGS if find_spec("x_transformers") else ():
        begin[f"x-transformers, {name}"] = partial(_theirs, name, chosen, theirs)
    return begin


def _theirs(encoding: str, chosen: argparse.Namespace, how: Conditions) -> Loop:
    return plain_updates(other_model(encoding, chosen, how.fused), chosen, how)


def measure(chosen: argparse.Namespace, conditions: str, sides: dict[str, Conditions]) -> Iterator[Row]:
    """Rows of each side, as ratios to the plain loop, each measured alone beside it.

    Args:
        chosen: on the command line. conditions: what they are called. sides: see `rivals`.
    """
    setting = {
        "conditions": conditions,
        "model": chosen.size,
        "extent": chosen.extent,
        "batch": chosen.batch,
        "vocabulary": chosen.vocabulary,
    }
    needed = flops_of_a_token(random_text(chosen.extent, chosen.size, chosen.vocabulary), chosen.vocabulary)
    base, *others = rivals(chosen, sides)
    base_loop = _begun(base, chosen, sides)
    with_base = True
    for name in others:
        try:
            loops = {base: base_loop, name: _begun(name, chosen, sides)}
            works = {each: partial(_advance, loops[each], _side(each, sides), STEPS) for each in loops}
            found = alternate(works, base, setting, chosen.rounds, units=dict.fromkeys(works, STEPS))
        except Exception as error:  # one that cannot be trained must not cost the others' rows
            sys.stderr.write(f"{name} left out: {in_one_line(error)}\n")
            continue
        finally:
            # What has been measured must leave the memory before the next begins; models may hold themselves.
            loops, works = {}, {}
            gc.collect()
        for row in found if with_base else found[1:]:
            rate = chosen.batch * chosen.extent / row.seconds
            yield replace(row, more={"tokens/s": rate, "utilisation": utilisation(rate * needed)})
        with_base = False


def _begun(name: str, chosen: argparse.Namespace, sides: dict[str, Conditions]) -> Loop:
    """A training that has compiled what it needs."""
    loop = rivals(chosen, sides)[name]()
    _advance(loop, _side(name, sides), 3)
    return loop


def _first_steps(name: str, chosen: argparse.Namespace, sides: dict[str, Conditions]) -> float:
    return timed(lambda: _begun(name, chosen, sides))


def _side(name: str, sides: dict[str, Conditions]) -> Conditions:
    return sides[name.partition(",")[0]]


def _advance(loop: Loop, how: Conditions, count: int) -> None:
    # It is set for this thread, and so right for all of the work if there is one thread.
    torch.set_flush_denormal(how.flush)
    for _ in range(count):
        next(loop)


def equal(compiled: bool) -> dict[str, Conditions]:
    """The same for all, in bfloat16 on CUDA and float32 elsewhere."""
    how = Conditions(half=device().type == "cuda", compiled=compiled, fused=True, flush=True)
    return dict.fromkeys(("pebench", "plain loop", "x-transformers"), how)


def defaults() -> dict[str, Conditions]:
    """The precision and the compiler that each has unasked."""
    fast = device().type == "cuda"
    return {
        "pebench": Conditions(half=False, compiled=False, fused=True, flush=True),
        "plain loop": Conditions(half=fast, compiled=fast, fused=fast, flush=False),
        "x-transformers": Conditions(half=False, compiled=False, fused=False, flush=False),
    }


def main() -> None:
    """Prints the table."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    add_model_arguments(parser)
    compiled = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compiled, default=here, help="all, under equal conditions")
    parser.add_argument("--conditions", choices=["both", "equal", "defaults"], default="both")
    parser.add_argument("--prepare", type=positive, help="compile everything first, in so many processes")
    chosen = parser.parse_args()
    if find_spec("x_transformers") is None:
        missing = "x-transformers is not installed here and not measured: pip install 'pebench[bench]'"
        sys.stderr.write(missing + "\n")
    every = {"equal": equal(chosen.compile), "defaults": defaults()}
    wanted = {name: sides for name, sides in every.items() if chosen.conditions in ("both", name)}
    if chosen.prepare:
        prepare(
            {
                f"{name}, {conditions}": partial(_first_steps, name, chosen, sides)
                for conditions, sides in wanted.items()
                for name in rivals(chosen, sides)
                if _side(name, sides).compiled
            },
            chosen.prepare,
        )
    measured = (measure(chosen, conditions, sides) for conditions, sides in wanted.items())
    report("Training loops", BASELINE, chain.from_iterable(measured), chosen.output, clock=clock())


if __name__ == "__main__":
    main()
