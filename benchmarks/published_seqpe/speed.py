"""SeqPE's encoder and attention beside the published code on a CPU.

    PYTHONPATH=benchmarks:. OMP_NUM_THREADS=1 python -m published_seqpe.speed CHECKOUT

The encoder reads positions without dropout, forward alone. Attention is that of one layer of GPT-2 on one
text, forward and backward, whose logits have the product of two vectors of each position added: from queries,
keys, values and vectors to the output of all heads, without the projections before and behind, which are
alike. tests/test_golden.py and tests/test_seqpe_trajectory.py hold both to equal values.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from measuring.alternation import Row, Work, alternate, clock
from measuring.reporting import Arguments, positive, report
from published_seqpe.modules import Published, Setting, load
from torch import Tensor, nn

from pebench.attention.encoded_positions import encoded_positions
from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe import SeqPE
from pebench.position_encoding import Geometry, grid, tabulate

BASELINE = "published code"
PLACES = 20_000
"""Positions that can be spelt, as published for text."""


def made(width: int, heads: int, extent: int) -> tuple[Setting, SeqPE]:
    """Sizes of the published code, and the encoding of the same sizes."""
    setting = Setting(vocabulary=64, width=width, layers=1, heads=heads, longest=extent, places=PLACES)
    geometry = Geometry(width, heads, 1, (extent,))
    encoding = build_encoding("seqpe", {"positions": PLACES}, geometry)
    assert isinstance(encoding, SeqPE)
    return setting, encoding.eval()


def encoders(code: Published, setting: Setting, encoding: SeqPE, count: int) -> dict[str, Work]:
    """The vectors of that many positions, by side."""
    published = code.encoder(setting).eval()
    positions = grid((count,))

    @torch.no_grad()
    def theirs() -> Tensor:
        # The strings are part of the work here and there.
        vectors: Tensor = published(*code.spelt(list(range(count)), setting))
        return vectors

    @torch.no_grad()
    def own() -> Tensor:
        table = tabulate(encoding, positions, encoding.trained_with, torch.device("cpu"))
        vectors: Tensor = table.vectors
        return vectors

    return {BASELINE: theirs, "pebench": own}


def layers(code: Published, setting: Setting, encoding: SeqPE, count: int) -> dict[str, Work]:
    """Attention on that many tokens and its gradients, by side."""
    published = code.model(setting).transformer.h[0].attn
    published.c_attn = published.c_proj = nn.Identity()
    projected = torch.randn(1, count, 3 * setting.width, requires_grad=True)
    vectors = torch.randn(1, count, 2 * setting.width, requires_grad=True)
    visible = torch.ones(count, count).tril()[None, None]
    with torch.no_grad():
        table = tabulate(encoding, grid((count,)), encoding.trained_with, torch.device("cpu"))

    def theirs() -> None:
        published(projected, attention_mask=visible, pe=vectors)[0].square().sum().backward()

    def own() -> None:
        q, k, v = (part.unflatten(-1, (setting.heads, -1)).transpose(1, 2) for part in projected.chunk(3, -1))
        query, key = vectors.chunk(2, dim=-1)
        here = encoded_positions(encoding, table._replace(query=query, key=key))
        here.attend(q, k, v, projected, 0, causal=True).values.square().sum().backward()

    return {BASELINE: theirs, "pebench": own}


def measure(chosen: argparse.Namespace) -> Iterator[Row]:
    """A table of both."""
    code = load(chosen.checkout)
    torch.manual_seed(0)
    setting, encoding = made(chosen.width, chosen.heads, chosen.tokens)
    sizes: dict[str, object] = {"width": chosen.width, "heads": chosen.heads}
    works = encoders(code, setting, encoding, chosen.positions)
    what = {"what": "encoder, forward", "positions": chosen.positions}
    yield from alternate(works, BASELINE, {**what, **sizes}, chosen.rounds)
    works = layers(code, setting, encoding, chosen.tokens)
    what = {"what": "attention, forward and backward", "positions": chosen.tokens}
    yield from alternate(works, BASELINE, {**what, **sizes}, chosen.rounds)


def main() -> None:
    """Reads the command line, measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/ghrua/seqpe at 4c4b908")
    parser.add_argument("--width", type=positive, default=768)
    parser.add_argument("--heads", type=positive, default=12)
    parser.add_argument("--positions", type=positive, default=4096, help="that the encoder reads")
    parser.add_argument("--tokens", type=positive, default=2048, help="of the text")
    chosen = parser.parse_args()
    report("SeqPE beside the published code", BASELINE, measure(chosen), chosen.output, clock=clock())


if __name__ == "__main__":
    main()
