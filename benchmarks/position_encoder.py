"""SeqPE's encoder and samplers by size, beside the same written plainly.

The encoder is measured with everything that training asks of it, backward pass included, in five forms:

- all tokens of every digit string in all layers, as one would write it and as the published code does (the
  baseline);
- the last layer for the read-out token alone;
- that with common prefixes computed once;
- the first two with dropout, with which sharing is no longer exact and is not done.

All forms have the same weights, and their outputs are compared before they are timed.

The samplers draw what several steps of training compare, as many as are drawn for at once: candidates and
labels of the contrastive loss, and offsets and windows of the distillation loss. The baseline draws one
number after another in plain Python.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from measuring.alternation import Row, Work, alternate, clock, device
from measuring.reporting import Arguments, positive, report
from torch import Tensor

from pebench.encodings.seqpe.comparisons import STEPS_AT_ONCE
from pebench.encodings.seqpe.encoder import DigitEncoder, to_digits
from pebench.encodings.seqpe.objectives import (
    EDITS,
    MIXES,
    draw_candidates,
    draw_offsets,
    draw_starts,
    nearest,
)

BASELINE = "plain"
BASE, DIGITS, LAYERS = 10, 5, 2
"""As published for text."""

PLACES = 20_000
PIVOTS = 64
MIX = MIXES["text"]
PUBLISHED_DROPOUT = 0.1


def encoder(width: int, heads: int, dropout: float) -> DigitEncoder:
    """The encoder of text positions; equal weights whatever the dropout."""
    torch.manual_seed(0)
    made = DigitEncoder(
        axes=1,
        base=BASE,
        digits=DIGITS,
        width=width,
        heads=heads,
        layers=LAYERS,
        out=width,
        dropout=dropout,
        bidirectional=False,
        mask_padding=False,
    )
    return made.to(device())


def all_tokens(model: DigitEncoder, positions: Tensor) -> Tensor:
    """Every token of every string through every layer, under a causal mask."""
    string = to_digits(positions, BASE, DIGITS).to(model.readout.device)
    places = torch.arange(DIGITS, device=string.device)
    embedded = model.value(string) + model.place(places)
    x = torch.cat((embedded, model.readout.expand(len(string), 1, -1)), dim=1)
    for block in model.blocks:
        q, k, v = (part.transpose(1, 2) for part in block.project(x))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = block.finish(x, attended.transpose(1, 2))
    vectors: Tensor = model.out(model.final_norm(x[:, -1]))
    return vectors


def read(model: DigitEncoder, positions: Tensor, share: bool) -> Tensor:
    """As SeqPE does it."""
    vectors: Tensor = model(model.spell(positions, share))
    return vectors


def encoders(count: int, width: int, heads: int) -> dict[str, Work]:
    """Forward and backward pass over that many positions, by name.

    Raises:
        AssertionError: the forms do not agree.
    """
    positions = torch.arange(count)[:, None]
    still, noisy = encoder(width, heads, 0.0), encoder(width, heads, PUBLISHED_DROPOUT)
    forms = {
        BASELINE: partial(all_tokens, still, positions),
        "read-out only": partial(read, still, positions, share=False),
        "shared prefixes": partial(read, still, positions, share=True),
        "plain, dropout": partial(all_tokens, noisy, positions),
        "read-out only, dropout": partial(read, noisy, positions, share=False),
    }
    with torch.no_grad():
        expected = forms[BASELINE]()
        for name in ("read-out only", "shared prefixes"):
            torch.testing.assert_close(forms[name](), expected, rtol=1e-3, atol=1e-5)

    def both_ways(form: partial[Tensor]) -> None:
        form().square().sum().backward()

    return {name: partial(both_ways, form) for name, form in forms.items()}


def samplers(extent: int) -> dict[str, dict[str, Work]]:
    """The work of some training steps, by what is drawn and how."""
    generator = torch.Generator().manual_seed(0)
    count = PIVOTS * STEPS_AT_ONCE
    pivots = torch.randint(PLACES, (count, 1), generator=generator)
    numbers = pivots[:, 0].tolist()
    plain = random.Random(0)

    def contrastive() -> None:
        candidates = draw_candidates(pivots, MIX, PLACES, BASE, DIGITS, generator)
        nearest(pivots, candidates)

    def plain_contrastive() -> None:
        for pivot in numbers:
            candidates = _plain_candidates(pivot, plain)
            min(range(len(candidates)), key=lambda at: abs(candidates[at] - pivot))

    def distillation() -> None:
        offsets = draw_offsets((extent,), count, MIX.size, generator)
        offsets + draw_starts((extent,), count, PLACES, generator)

    def plain_distillation() -> None:
        for _ in range(count):
            start = extent + plain.randrange(PLACES - 2 * extent + 1)
            [start + offset for offset in plain.sample(range(extent), min(extent, MIX.size))]

    def plain_digits() -> None:
        [[int(digit) for digit in str(position).zfill(DIGITS)] for position in range(extent)]

    every = torch.arange(extent)[:, None]
    steps = f"{STEPS_AT_ONCE} steps"
    return {
        f"contrastive, {steps}": {BASELINE: plain_contrastive, "tensor code": contrastive},
        f"distillation, {steps}": {BASELINE: plain_distillation, "tensor code": distillation},
        "digits": {BASELINE: plain_digits, "tensor code": lambda: to_digits(every, BASE, DIGITS)},
    }


def _plain_candidates(pivot: int, draw: random.Random) -> list[int]:
    """Candidates of one pivot, drawn one by one as the paper describes them."""
    kind = draw.random()
    if kind < MIX.local:
        start = draw.randrange(PLACES - MIX.window + 1)
        return draw.sample([p for p in range(start, start + MIX.window) if p != pivot], MIX.size)
    hard = round(MIX.size * MIX.hard) if kind < MIX.local + MIX.with_hard else 0
    found: list[int] = []
    while len(found) < MIX.size - hard:
        position = draw.randrange(PLACES)
        if position != pivot:
            found.append(position)
    bound = min(abs(position - pivot) for position in found)
    while len(found) < MIX.size:
        position = int("".join(_edited(list(str(pivot).zfill(DIGITS)), draw)))
        if position >= PLACES or abs(position - pivot) <= bound:
            position = draw.randrange(PLACES)
        found.append(position)
    return found


def _edited(string: list[str], draw: random.Random) -> list[str]:
    for _ in range(draw.randint(1, EDITS)):
        at, digit = draw.randrange(DIGITS), str(draw.randrange(BASE))
        match draw.randrange(4):
            case 0:
                string = [*string[1 : at + 1], digit, *string[at + 1 :]]
            case 1:
                string = ["0", *string[:at], *string[at + 1 :]]
            case 2:
                other = min(at + 1, DIGITS - 1)
                string[at], string[other] = string[other], string[at]
            case 3:
                string[at] = digit
    return string


def main() -> None:
    """Measures and reports."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--positions", type=positive, nargs="+", default=[512, 4096])
    parser.add_argument("--width", type=positive, default=768 if here else 128)
    parser.add_argument("--heads", type=positive, default=12 if here else 4)
    chosen = parser.parse_args()

    def rows() -> Iterator[Row]:
        for count in chosen.positions:
            at = {"what": f"encoder, width {chosen.width}", "positions": count}
            yield from alternate(encoders(count, chosen.width, chosen.heads), BASELINE, at, chosen.rounds)
        for count in chosen.positions:
            for what, works in samplers(count).items():
                yield from alternate(works, BASELINE, {"what": what, "positions": count}, chosen.rounds)

    report("SeqPE's encoder and samplers", BASELINE, rows(), chosen.output, clock=clock())


if __name__ == "__main__":
    main()
